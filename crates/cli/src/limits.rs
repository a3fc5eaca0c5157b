//! The limits of a job's newest run, kept beside its requests so that `status` can tell them while
//! another process runs the job. They may change from run to run, so they are not part of the job.

use std::path::PathBuf;

use offpeak_core::units::{Span, Timestamp, Usd};
use offpeak_engine::spec::Need;
use offpeak_engine::spool::SpoolDir;
use offpeak_engine::start::Job;
use serde::{Deserialize, Serialize};

/// When the answers are needed, and the most that they may cost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) budget: Option<Usd>,
    /// How long requests and answers stay here once the job has finished.
    #[serde(default)]
    pub(crate) kept_for: Option<Span>,
    /// Whether its batches are deleted upstream once their answers are here.
    #[serde(default)]
    pub(crate) delete_upstream: bool,
}

impl Limits {
    pub(crate) fn of(job: &Job) -> Self {
        let deadline = match job.settings.need {
            Need::Within(span) => Some(job.record.created_at + span),
            Need::Seconds | Need::Whenever => None,
        };
        Self {
            deadline,
            budget: job.settings.budget,
            kept_for: job.settings.kept_for,
            delete_upstream: job.settings.delete_upstream,
        }
    }

    /// Keeps them. What cannot be kept is missing in `status`, and nowhere else.
    pub(crate) fn keep(&self, spool: &SpoolDir) {
        let text = serde_json::to_string(self).expect("limits have only string keys");
        drop(std::fs::write(file(spool), text));
    }

    /// The limits of a job; none if they were not kept.
    pub(crate) fn read(spool: &SpoolDir) -> Self {
        let text = std::fs::read_to_string(file(spool)).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }
}

fn file(spool: &SpoolDir) -> PathBuf {
    spool.root().join("limits.json")
}
