//! Giving an unfinished job up: that it was given up is remembered first, so that it is from then on
//! whatever happens; the run that follows ends it.
//!
//! Leaves out what is done with its batches and rows (`job::cancel`, in `offpeak-core`).

use std::path::PathBuf;

use offpeak_core::job::cancel::Cancel;
use offpeak_core::job::machine::OnUnknown;
use offpeak_core::job::shard::JobId;
use offpeak_core::units::Span;
use offpeak_store::JobState;

use crate::blocking::blocking;
use crate::error::EngineError;
use crate::facts::{JobFacts, read_facts};
use crate::lock::JobLock;
use crate::spec::Need;
use crate::start::{Engine, Job, Settings};

/// How a job is given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// How much of it.
    pub cancel: Cancel,
    /// Where its output goes, if not where the job wanted it.
    pub output: Option<PathBuf>,
    /// See [`Settings::delete_upstream`].
    pub delete_upstream: bool,
    /// See [`Settings::kept_for`].
    pub kept_for: Option<Span>,
}

impl Ending {
    /// Of a job that asked for nothing else.
    #[must_use]
    pub fn plain(cancel: Cancel) -> Self {
        Self {
            cancel,
            output: None,
            delete_upstream: false,
            kept_for: None,
        }
    }
}

/// Opens an unfinished job to give it up. Running and finishing the job then ends it.
///
/// # Errors
/// If the job is not unfinished, another process runs it, or the disk or the store fails.
pub async fn open_to_cancel(
    engine: &Engine,
    id: &JobId,
    ending: Ending,
) -> Result<Job, EngineError> {
    let (engine, id) = (engine.clone(), id.clone());
    let job = blocking(move || open(engine, &id, ending)).await?;
    if job.is_probing() {
        // Only the probe was cut so far: the other rows are cut to be ended.
        return job.plan_the_rest().await;
    }
    Ok(job)
}

fn open(engine: Engine, id: &JobId, ending: Ending) -> Result<Job, EngineError> {
    let gone = || EngineError::NotUnfinished { id: id.to_string() };
    let name = engine.store.job(id)?.ok_or_else(gone)?.name;
    let lock = JobLock::take(&engine.data_dir.join("locks"), &name)?;
    let record = engine.store.job(id)?;
    let mut record = record
        .filter(|record| record.state == JobState::Open)
        .ok_or_else(gone)?;
    let facts = JobFacts {
        cancel: Some(ending.cancel),
        ..read_facts(&record)?
    };
    let text = serde_json::to_string(&facts).expect("facts have only string keys");
    if text != record.facts {
        engine.store.extend_job(id, &record.facts, &text, &[])?;
        record.facts = text;
    }
    let settings = Settings {
        need: Need::Whenever,
        budget: None,
        betas: Vec::new(),
        output: ending.output.unwrap_or_else(|| facts.output.clone()),
        overwrite: false,
        zero_data_retention: false,
        on_unknown: OnUnknown::Wait,
        past_guard: true,
        expired_to_sync: false,
        delete_upstream: ending.delete_upstream,
        kept_for: ending.kept_for,
    };
    let spool = engine.spool(id);
    Ok(Job::reopened(engine, record, facts, settings, spool, lock))
}
