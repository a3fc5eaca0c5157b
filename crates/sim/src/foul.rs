//! Owns what the referee refuses because the API would: marks in the wrong places, batches of the wrong
//! size, models without a price.

use offpeak_wire::limits::MAX_BREAKPOINTS;
use offpeak_wire::request::Ttl;
use thiserror::Error;

use crate::referee::Play;

/// What the API would refuse.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Foul {
    /// No such model at that instant.
    #[error("there is no model `{0}` with a price")]
    UnknownModel(String),
    /// The model is not sold in batches.
    #[error("`{0}` is not offered in batches")]
    NotBatchable(String),
    /// More marks than a request may carry.
    #[error("{0} cache marks are more than a request may carry")]
    TooManyMarks(usize),
    /// A mark behind the last block, or not below the one before.
    #[error("a cache mark at block {0}, which is out of order or not there")]
    MisplacedMark(usize),
    /// An hour's mark below one of five minutes.
    #[error("an hour's mark at block {0} comes after one of five minutes")]
    HourBelowFive(usize),
    /// No rows, or more than a batch may have.
    #[error("a batch of {0} rows")]
    BatchSize(usize),
}

/// Whether the API would take these marks.
pub(crate) fn check_marks(play: &Play<'_>) -> Result<(), Foul> {
    if play.marks.len() > MAX_BREAKPOINTS {
        return Err(Foul::TooManyMarks(play.marks.len()));
    }
    let mut before: Option<(usize, Ttl)> = None;
    for &(at, ttl) in play.marks {
        if at >= play.blocks.len() || before.is_some_and(|(above, _)| above >= at) {
            return Err(Foul::MisplacedMark(at));
        }
        if ttl == Ttl::OneHour && before.is_some_and(|(_, above)| above == Ttl::FiveMinutes) {
            return Err(Foul::HourBelowFive(at));
        }
        before = Some((at, ttl));
    }
    Ok(())
}
