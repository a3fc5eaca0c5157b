//! Owns what is kept of a batch row: some hundred bytes, its id, for a marked row the few positions
//! at which the cache may know its prompt, and of its answer only what cannot be made up again
//! from a seed: calls of tools, JSON, canned texts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::answer::Plan;
use crate::bill::Tally;
use crate::cache::{Split, Spot};
use crate::http::Problem;

use super::usize_of;

/// What becomes of a row. Faults are decided at creation, success and the rest when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Pending,
    Succeeded,
    /// Refused for its params.
    Invalid,
    ApiError,
    Overloaded,
    Canceled,
    Expired,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Where its `custom_id` ends within [`Rows::ids`].
    pub(super) id_end: u32,
    pub(crate) model: u16,
    pub(super) outcome: Outcome,
    pub(super) us: bool,
    /// All prompt tokens as plain input, until the row has started.
    pub(super) split: Split,
    /// What it answers: its result line is written from this for each download.
    pub(super) plan: Plan,
    pub(super) spots: Option<Box<[Spot]>>,
}

impl Row {
    pub(crate) fn tally(&self) -> Tally {
        Tally {
            input: self.split.input,
            write_5m: self.split.write_5m,
            write_1h: self.split.write_1h,
            read: self.split.read,
            output: self.plan.tokens,
            us: self.us,
            fast: false,
        }
    }
}

/// The rows of one batch, in input order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Rows {
    pub(super) list: Vec<Row>,
    /// All `custom_id`s, one behind the other.
    pub(super) ids: String,
    /// Why rows are invalid, by index.
    pub(super) problems: BTreeMap<u32, Problem>,
    pub(super) batch: u32,
    pub(super) seed: u64,
}

impl Rows {
    pub(super) fn custom_id(&self, index: u32) -> &str {
        let index = usize_of(index);
        let start = match index.checked_sub(1) {
            None => 0,
            Some(before) => usize_of(self.list[before].id_end),
        };
        &self.ids[start..usize_of(self.list[index].id_end)]
    }
}
