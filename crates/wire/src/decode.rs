//! The one error of every response decoder, and the string form they share.
//!
//! Leaves out request bytes, whose errors carry offsets (`json`, `request`).

use std::borrow::Cow;

use serde::Deserialize;

/// A response body or line that is not what the API documents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unreadable {what}: {problem}")]
pub struct DecodeError {
    /// What was being read, e.g. `result line`.
    pub what: &'static str,
    /// What was wrong with it.
    pub problem: String,
}

impl DecodeError {
    pub(crate) fn new(what: &'static str, problem: impl ToString) -> Self {
        Self {
            what,
            problem: problem.to_string(),
        }
    }
}

/// A string that borrows where it can. Serde borrows a bare `Cow` field, but copies one that sits
/// inside an `Option`; this wrapper keeps the borrow there too.
#[derive(Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);
