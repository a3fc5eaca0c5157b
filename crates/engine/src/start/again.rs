//! A run that asks rows of the newest run again that were cut off at `max_tokens`: whether there is such a run,
//! and what it has to be like.
//!
//! Leaves out how its rows ended (`reuse::again`) and the making of the new run (`start`).

use offpeak_core::job::shard::Shard;
use offpeak_store::{JobRecord, JobState};

use super::Engine;
use crate::error::EngineError;
use crate::facts::JobFacts;
use crate::ingest::{IngestError, output_max};
use crate::purge::purged;
use crate::reuse::{Again, is_same};
use crate::spec::JobSpec;

/// A finished run whose rows are asked again.
pub(super) struct Newest {
    pub(super) record: JobRecord,
    pub(super) again: Again,
    /// Its batches were found upstream, so those of a run after it may be there too.
    pub(super) memory_was_lost: bool,
}

/// What is asked again of the newest run; `None` if that is itself an unfinished run of this kind, and such a
/// one `goes_on`.
pub(super) fn newest(
    engine: &Engine,
    spec: &JobSpec,
    max_tokens: u32,
    latest: Option<&JobRecord>,
    goes_on: bool,
) -> Result<Option<Newest>, EngineError> {
    let name = || spec.name.clone();
    let Some(record) = latest else {
        return Err(EngineError::NothingToRetry { name: name() });
    };
    let facts = JobFacts::of(record)?;
    if record.state == JobState::Open {
        if facts.retry_truncated == Some(max_tokens) && goes_on {
            return Ok(None);
        }
        return Err(EngineError::RetryUnfinished {
            name: name(),
            run: record.run,
            with: facts.retry_truncated,
        });
    }
    let spool = engine.spool(&record.id);
    if let Some(note) = purged(&spool)? {
        let (name, at) = (name(), note.at);
        return Err(EngineError::RetryPurged { name, at });
    }
    if !is_same(&facts.betas, &spec.betas) {
        let run = record.run;
        return Err(IngestError::OtherRows { run }.into());
    }
    let shards = engine.store.shards(&record.id)?;
    let again = Again::of(
        (record.run, spool),
        &shards,
        max_tokens,
        facts.retry_truncated,
        &engine.jobs_dir(),
    )?;
    for number in &again.models {
        let Some(model) = facts.models.get(usize::from(*number)) else {
            continue;
        };
        let max = output_max(spec, &engine.book, engine.now(), model);
        if let Some(max) = max.filter(|max| *max < u64::from(max_tokens)) {
            return Err(EngineError::RetryAboveModel {
                given: max_tokens,
                max,
                model: model.clone(),
            });
        }
    }
    Ok(Some(Newest {
        record: record.clone(),
        again,
        memory_was_lost: shards.iter().any(|shard: &Shard| shard.found),
    }))
}
