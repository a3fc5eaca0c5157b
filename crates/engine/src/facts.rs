//! What the store keeps of a job beside its shards: what it was made of and what was decided for it.
//!
//! Leaves out how a job is made (`start`) and what its shards come to (`settle`).

use std::path::PathBuf;

use offpeak_core::job::cancel::Cancel;
use offpeak_core::job::outcome::Outcomes;
use offpeak_core::job::unmark::MarkFacts;
use offpeak_core::plan::{self, Plan};
use offpeak_core::units::{Span, Timestamp, Usd};
use offpeak_store::{JobRecord, StoreError};
use serde::{Deserialize, Serialize};

use crate::ingest::{Group, RowSums};
use crate::spec::Need;

/// What the store keeps of a job beside its shards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobFacts {
    /// The models that rows name by number.
    pub models: Vec<String>,
    /// Rows of the input.
    pub rows: u64,
    /// Rows that can never be sent.
    pub invalid: u64,
    /// The route that the plan took.
    pub route: String,
    /// The same with its marks and how the cache is first filled, for people.
    #[serde(default)]
    pub variant: String,
    /// The prefix groups of the plan.
    #[serde(default)]
    pub groups: GroupFacts,
    /// What the marks of the plan need to pay.
    #[serde(default)]
    pub marks: MarkFacts,
    /// Why that route: questions, answers, facts and sentences, as the plan gave them.
    #[serde(default)]
    pub reasons: Vec<serde_json::Value>,
    /// The expected cost, in dollars: an estimate.
    pub planned_usd_estimate: f64,
    /// What a row is expected to cost of its worst case; of a job that an earlier version made, all of it.
    #[serde(default = "all_of_it")]
    pub expected_share: f64,
    /// Most that the dearest row can cost as a call; nothing in a job that an earlier version made.
    #[serde(default)]
    pub dearest: Usd,
    /// The date of the price book.
    pub prices_as_of: String,
    /// The input.
    pub input: PathBuf,
    /// BLAKE3 of its bytes, hex.
    pub input_digest: String,
    /// The output.
    pub output: PathBuf,
    /// Seconds that a whole synchronous answer is expected to take at the most.
    pub answer_seconds: i64,
    /// The first row whose input has no upper bound, and why; a budget cannot be kept with it.
    pub unbounded: Option<(u64, String)>,
    /// Rows that share the answer of an identical row, so they are in no shard.
    #[serde(default)]
    pub shared: u64,
    /// Rows whose answer was taken over from an earlier run.
    #[serde(default)]
    pub taken_over: u64,
    /// This run asks rows again that were cut off, with this `max_tokens`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_truncated: Option<u32>,
    /// How many rows it asks so.
    #[serde(default)]
    pub asked_again: u64,
    /// How the rows ended that were taken over; `None` where only answers are that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_over_as: Option<Outcomes>,
    /// `anthropic-beta` names of the requests, when the job was made.
    #[serde(default)]
    pub betas: Vec<String>,
    /// Only the probe was planned and cut so far.
    #[serde(default)]
    pub probing: bool,
    /// What the newest run was told to keep to.
    #[serde(default)]
    pub limits: JobLimits,
    /// The job was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<Cancel>,
    /// This data directory knew no run of this name: batches of an earlier life of this job may be upstream.
    pub scout: bool,
}

/// What a run of a job is told to keep to, and may be told otherwise by the next. It is kept for whoever
/// looks at the job, ends it or clears it away without its job file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobLimits {
    /// When the answers are needed.
    pub need: Need,
    /// Most that may be spent.
    pub budget: Option<Usd>,
    /// What is not expected to be crossed.
    pub soft_budget: Option<Usd>,
    /// Batches are deleted upstream once their answers are here.
    pub delete_upstream: bool,
    /// How long requests and answers stay on this disk once the job has finished.
    pub kept_for: Option<Span>,
}

impl JobLimits {
    /// The deadline of a job that was made then.
    #[must_use]
    pub fn deadline_at(&self, created_at: Timestamp) -> Option<Timestamp> {
        match self.need {
            Need::Within(span) => Some(created_at + span),
            Need::Seconds | Need::Whenever => None,
        }
    }
}

impl JobFacts {
    /// The facts of a stored job.
    ///
    /// # Errors
    /// If they do not decode.
    pub fn of(record: &JobRecord) -> Result<Self, StoreError> {
        serde_json::from_str(&record.facts).map_err(|error| {
            let (what, detail) = ("job", error.to_string());
            StoreError::Damaged { what, detail }
        })
    }

    /// As the store keeps them.
    pub(crate) fn text(&self) -> String {
        serde_json::to_string(self).expect("facts have only string keys")
    }

    /// Rows that have their outcome once so many were settled. Those that share an answer have it with the
    /// last of the others.
    #[must_use]
    pub fn done(&self, settled: u64) -> u64 {
        let done = settled + self.invalid + self.taken_over;
        if done + self.shared == self.rows {
            self.rows
        } else {
            done
        }
    }

    /// Rows that are sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.rows - self.invalid - self.shared - self.taken_over
    }

    /// The same with another plan.
    pub(crate) fn planned(self, plan: &Plan) -> Self {
        let expected = plan.cost_of(plan.route).cost.map_or(0.0, |cost| cost.mid);
        let worst = plan.worst.approx();
        Self {
            route: plan.route.as_str().to_owned(),
            variant: plan.variant.to_string(),
            groups: GroupFacts::of(plan),
            reasons: plan
                .reasons
                .iter()
                .map(|reason| serde_json::json!(reason))
                .collect(),
            planned_usd_estimate: expected,
            expected_share: if worst > expected {
                expected / worst
            } else {
                1.0
            },
            ..self
        }
    }
}

fn all_of_it() -> f64 {
    1.0
}

/// How many prefix groups a plan has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupFacts {
    /// All of them.
    pub groups: u64,
    /// Those whose rows are given a cache mark.
    pub marked: u64,
    /// Those that send a row ahead.
    pub canaries: u64,
}

impl GroupFacts {
    pub(crate) fn of(plan: &Plan) -> Self {
        let count = |counts: fn(&plan::GroupPlan) -> bool| {
            let groups = plan.groups.iter().filter(|group| counts(group));
            u64::try_from(groups.count()).unwrap_or(u64::MAX)
        };
        Self {
            groups: count(|_| true),
            marked: count(|group| group.mark.is_some()),
            canaries: count(|group| group.canary),
        }
    }
}

/// Time that a whole answer takes at the most: the longest average of a group, at a cautious speed.
pub(crate) fn answer_seconds(ungrouped: &RowSums, groups: &[Group]) -> i64 {
    const TOKENS_PER_SECOND: u64 = 40;
    const FIRST_TOKEN_SECONDS: u64 = 3;
    let sums = groups.iter().map(|group| &group.sums).chain([ungrouped]);
    let tokens = sums
        .map(|sums| sums.max_tokens / sums.rows.max(1))
        .max()
        .unwrap_or(0);
    i64::try_from(FIRST_TOKEN_SECONDS + tokens / TOKENS_PER_SECOND).unwrap_or(i64::MAX)
}
