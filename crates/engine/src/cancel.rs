//! Giving an unfinished job up: that it was given up is remembered first, so that it is from then on
//! whatever happens; the run that follows ends it.
//!
//! Leaves out what is done with its batches and rows (`job::cancel`, in `offpeak-core`).

use std::path::PathBuf;

use offpeak_core::job::cancel::Cancel;
use offpeak_core::job::machine::OnUnknown;
use offpeak_core::job::shard::{JobId, Shard, ShardState};
use offpeak_store::JobState;

use crate::blocking::blocking;
use crate::error::EngineError;
use crate::facts::JobFacts;
use crate::lock::JobLock;
use crate::start::{Engine, Job, Settings, refuse_existing_output};

/// Opens an unfinished job to give it up. Its output goes where the job wanted it, or to
/// `output`. Running and finishing the job then ends it.
///
/// # Errors
/// If the job is not unfinished, another process runs it, or the disk or the store fails.
pub async fn open_to_cancel(
    engine: &Engine,
    id: &JobId,
    how: Cancel,
    output: Option<PathBuf>,
) -> Result<Job, EngineError> {
    let (engine, id) = (engine.clone(), id.clone());
    let job = blocking(move || open(engine, &id, how, output)).await?;
    if job.is_probing() {
        // Only the probe was cut so far: the other rows are cut to be ended.
        return job.plan_the_rest().await;
    }
    Ok(job)
}

fn open(
    engine: Engine,
    id: &JobId,
    how: Cancel,
    output: Option<PathBuf>,
) -> Result<Job, EngineError> {
    let gone = || EngineError::NotUnfinished { id: id.to_string() };
    let name = engine.store.job(id)?.ok_or_else(gone)?.name;
    let lock = JobLock::take(&engine.data_dir.join("locks"), &name)?;
    let record = engine.store.job(id)?;
    let mut record = record
        .filter(|record| record.state == JobState::Open)
        .ok_or_else(gone)?;
    let facts = JobFacts {
        cancel: Some(how),
        ..JobFacts::of(&record)?
    };
    let text = facts.text();
    if text != record.facts {
        engine.store.extend_job(id, &record.facts, &text, &[])?;
        record.facts = text;
    }
    let settings = Settings {
        need: facts.limits.need,
        budget: None,
        soft_budget: None,
        betas: Vec::new(),
        output: output.unwrap_or_else(|| facts.output.clone()),
        overwrite: false,
        zero_data_retention: false,
        on_unknown: OnUnknown::Wait,
        past_guard: true,
        expired_to_sync: false,
        delete_upstream: facts.limits.delete_upstream,
        priority: 0,
        kept_for: facts.limits.kept_for,
    };
    let settled = |shard: &Shard| matches!(shard.state, ShardState::Settled(_));
    // A run that died between its last two steps left its output in place.
    if facts.probing || !engine.store.shards(id)?.iter().all(settled) {
        refuse_existing_output(&settings)?;
    }
    let spool = engine.spool(id);
    Ok(Job::reopened(engine, record, facts, settings, spool, lock))
}
