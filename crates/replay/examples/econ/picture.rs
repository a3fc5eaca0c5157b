//! The picture: realised cost over the bound, workload by workload.

use crate::cases::Result;

pub(crate) fn of(_results: &[Result]) -> String {
    String::new()
}
