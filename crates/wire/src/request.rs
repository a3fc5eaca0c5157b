//! A row of a batch input, and a view of one request.
//!
//! Owns what can be told from a request's bytes alone. Leaves out whether the API would take it:
//! members of an unexpected type are shown as absent, not refused, because judging them is the
//! caller's (or the upstream's) business.

mod block;
mod collect;
mod row;
mod view;

use crate::json::{JsonError, JsonErrorKind};

pub use block::{Block, BlockKind, Role, Section, Shape, Ttl};
pub use row::RowLine;
pub use view::{MaxTokens, RequestView};

/// Why a row or a request cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} (at byte {offset})")]
pub struct RowError {
    /// Where, in bytes from the start of the slice that was given.
    pub offset: usize,
    /// What is wrong.
    pub kind: RowErrorKind,
}

/// The kinds of [`RowError`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowErrorKind {
    /// Not the JSON we take.
    #[error(transparent)]
    Json(JsonErrorKind),
    /// A member that must be there is not.
    #[error("`{0}` is missing")]
    MissingMember(&'static str),
    /// A member a row does not have.
    #[error("unknown member `{0}`; a row holds `custom_id` and `params`")]
    UnknownMember(String),
    /// A value of another type than needed.
    #[error("{member} must be {wanted}")]
    WrongType {
        /// Which value.
        member: &'static str,
        /// The type it must have.
        wanted: &'static str,
    },
}

impl From<JsonError> for RowError {
    fn from(error: JsonError) -> Self {
        Self {
            offset: error.offset,
            kind: RowErrorKind::Json(error.kind),
        }
    }
}

impl RowError {
    fn wrong_type(offset: usize, member: &'static str, wanted: &'static str) -> Self {
        Self {
            offset,
            kind: RowErrorKind::WrongType { member, wanted },
        }
    }
}
