//! What a run of a job is told that is no part of the job: how to take earlier runs, and the settings that may
//! differ from one run to the next.
//!
//! Leaves out what is done about it (`start`).

use std::path::PathBuf;

use offpeak_core::job::machine::OnUnknown;
use offpeak_core::units::{Span, Timestamp, Usd};

use crate::facts::JobLimits;
use crate::spec::{JobSpec, Need};

/// What the user said about an earlier run of the same name.
#[derive(Debug, Clone, Copy, Default)]
pub struct Choice {
    /// Start a new run, whatever there was.
    pub fresh: bool,
    /// Go on with the unfinished run although the input changed.
    pub resume_old: bool,
    /// Go on although the first answers alarmed the guard.
    pub past_guard: bool,
    /// Rows that expired twice go to the sync lane.
    pub expired_to_sync: bool,
    /// Rows of the newest run that were cut off are asked again with this `max_tokens`.
    pub retry_truncated: Option<u32>,
}

/// What may differ between two runs of the same job.
#[derive(Debug, Clone)]
pub struct Settings {
    /// When the answers are needed.
    pub need: Need,
    /// Most that may be spent.
    pub budget: Option<Usd>,
    /// What is not expected to be crossed.
    pub soft_budget: Option<Usd>,
    /// Beta names.
    pub betas: Vec<String>,
    /// Where the output goes.
    pub output: PathBuf,
    /// Whether an existing output may be replaced.
    pub overwrite: bool,
    /// Nothing may travel in a batch.
    pub zero_data_retention: bool,
    /// What becomes, at the last safe moment, of a batch that may exist.
    pub on_unknown: OnUnknown,
    /// Batches are deleted upstream once their answers are here.
    pub delete_upstream: bool,
    /// The higher goes first where jobs wait for room in the upstream's queue.
    pub priority: i64,
    /// How long requests and answers stay on this disk once the job has finished.
    pub kept_for: Option<Span>,
    /// See [`Choice::past_guard`].
    pub past_guard: bool,
    /// See [`Choice::expired_to_sync`].
    pub expired_to_sync: bool,
}

impl Settings {
    pub(super) fn new(spec: &JobSpec, choice: Choice) -> Self {
        Self {
            need: spec.need,
            budget: spec.budget,
            soft_budget: spec.soft_budget,
            betas: spec.betas.clone(),
            output: spec.output.clone(),
            overwrite: spec.overwrite,
            zero_data_retention: spec.zero_data_retention,
            on_unknown: spec.on_unknown,
            delete_upstream: spec.delete_upstream,
            priority: spec.priority,
            kept_for: spec.kept_for,
            past_guard: choice.past_guard,
            expired_to_sync: choice.expired_to_sync,
        }
    }

    pub(crate) fn limits(&self) -> JobLimits {
        JobLimits {
            need: self.need,
            budget: self.budget,
            soft_budget: self.soft_budget,
            delete_upstream: self.delete_upstream,
            kept_for: self.kept_for,
        }
    }

    pub(crate) fn deadline_at(&self, created_at: Timestamp) -> Option<Timestamp> {
        self.limits().deadline_at(created_at)
    }
}
