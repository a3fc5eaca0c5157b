//! The warnings of `offpeak plan`, each with the places to compare.
//!
//! Leaves out what is worth a warning (`offpeak_core::plan::lint`).

use offpeak_core::plan::lint::Warning;

use crate::layout::{listed, paragraph};

/// The warnings at most `width` columns wide; empty without any.
pub(crate) fn warnings_text(warnings: &[Warning], width: usize) -> String {
    if warnings.is_empty() {
        return String::new();
    }
    let mut out = "\nBefore you pay, look at this:\n".to_owned();
    for warning in warnings {
        out.push_str(&listed("! ", &warning.to_string(), 0, width));
        for place in warning.places() {
            out.push_str(&paragraph(&place.to_string(), 4, width));
        }
    }
    out
}
