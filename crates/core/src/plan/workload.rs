//! What is asked of the planner: sums over the rows of a workload, by prefix group.
//!
//! Leaves out the rows themselves and how they were grouped (ingest, in `offpeak-engine`).

use serde::{Deserialize, Serialize};

use crate::units::{Span, Usd};

use super::evidence::Evidence;

/// When the answers are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// Somebody waits for each answer.
    Seconds,
    /// By a deadline.
    By {
        /// The time left until then; negative once it has passed.
        #[serde(rename = "slack_us")]
        slack: Span,
    },
    /// No deadline.
    Whenever,
}

/// What the user rules out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The most that the rows may cost.
    pub budget: Option<Usd>,
    /// Nothing may be kept upstream after it was answered, as a batch is.
    pub zero_data_retention: bool,
}

/// Sums over rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// Rows.
    pub rows: u64,
    /// Bytes of their requests, unmarked.
    pub request_bytes: u64,
    /// Their `max_tokens`.
    pub max_tokens: u64,
    /// Most they can cost on the sync lane, with an hour's cache write.
    pub worst: Usd,
}

impl Sums {
    /// The sums over both parts.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            rows: self.rows.saturating_add(other.rows),
            request_bytes: self.request_bytes.saturating_add(other.request_bytes),
            max_tokens: self.max_tokens.saturating_add(other.max_tokens),
            worst: self.worst + other.worst,
        }
    }
}

/// The rows whose longest shared preamble is the same.
///
/// Preambles are nested where prompts share more than tools and system prompt: some calls share a
/// document, all of them the instructions in front of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupProfile {
    /// The number that the rows know their group by.
    pub id: u32,
    /// The group with the next shorter preamble, which begins this one's.
    pub parent: Option<u32>,
    /// Model id or alias.
    pub model: String,
    /// Bytes of the shared preamble, its parent's included: the contents of its blocks.
    pub prefix_bytes: u64,
    /// The requests come with cache marks, which are kept as they are.
    pub caller_marked: bool,
    /// The requests give tools, which bring a hidden prompt with them.
    pub has_tools: bool,
    /// Sums over the group's own rows, without those of longer preambles.
    pub sums: Sums,
}

/// The rows to be routed together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// All rows: those of the groups and the ungrouped ones.
    pub rows: u64,
    /// Rows of no group.
    pub ungrouped: Sums,
    /// The prefix groups.
    pub groups: Vec<GroupProfile>,
    /// When the answers are needed.
    pub need: Need,
    /// The models of all rows, each once.
    pub models: Vec<String>,
    /// What is ruled out.
    pub limits: Limits,
    /// What was learnt from earlier runs or counted; by default nothing.
    #[serde(skip)]
    pub evidence: Evidence,
}

impl Workload {
    /// Sums over all rows.
    #[must_use]
    pub fn sums(&self) -> Sums {
        self.groups
            .iter()
            .fold(self.ungrouped, |sums, group| sums.plus(group.sums))
    }
}
