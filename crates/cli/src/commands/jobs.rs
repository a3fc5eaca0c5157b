//! `offpeak jobs`: the jobs of the data directory, and what `status` needs to find one of them.

use offpeak_core::job::outcome::Tally;
use offpeak_core::job::shard::{JobId, Shard, ShardState};
use offpeak_core::units::Usd;
use offpeak_engine::facts::JobFacts;
use offpeak_engine::purge::{Purged, purged};
use offpeak_engine::recover::standing;
use offpeak_engine::spool::SpoolDir;
use offpeak_report::{JobLine, jobs_text};
use offpeak_store::{JobRecord, JobState, Store};
use serde_json::json;

use crate::args::JobsArgs;
use crate::commands::{open_store, store_file};
use crate::error::{Exit, ExpectedError};
use crate::jobfile::nearest;
use crate::settings::Settings;

/// What a job came to so far.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) facts: JobFacts,
    pub(crate) shards: Vec<Shard>,
    /// Sums over the settled shards, and over what the others have answered.
    pub(crate) tally: Tally,
    /// Held by synchronous calls under way.
    pub(crate) held: Usd,
    /// Billed for batches that answer no row.
    pub(crate) waste: Usd,
    /// When its requests and answers were purged, if they were.
    pub(crate) purged: Option<Purged>,
}

impl Standing {
    pub(crate) fn of(
        store: &Store,
        record: &JobRecord,
        settings: &Settings,
        sim: bool,
    ) -> Result<Self, ExpectedError> {
        let facts = JobFacts::of(record)?;
        let shards = store.shards(&record.id)?;
        let book = settings.book_for(sim)?;
        let spool = spool_of(record, settings, sim)?;
        let purged = purged(&spool).map_err(|error| ExpectedError::engine(&error, true))?;
        let (mut tally, mut held) = (Tally::default(), Usd::ZERO);
        if let Some(purged) = &purged {
            tally.add(&purged.calls);
        }
        // An interrupted simulation leaves no files either.
        let has_files = purged.is_none() && spool.root().exists();
        for shard in &shards {
            match &shard.state {
                ShardState::Settled(part) => tally.add(part),
                ShardState::Running if has_files => {
                    let (part, in_flight) = standing(&spool, shard, &book, &facts.models)
                        .map_err(|error| ExpectedError::engine(&error, true))?;
                    tally.add(&part);
                    held += in_flight;
                }
                _ => {}
            }
        }
        Ok(Self {
            facts,
            shards,
            tally,
            held,
            waste: store.ledger(&record.id)?.waste,
            purged,
        })
    }

    /// Rows with an outcome.
    pub(crate) fn done(&self) -> u64 {
        self.facts.done(self.tally.outcomes.total())
    }
}

/// Where the files of a job are.
pub(crate) fn spool_of(
    record: &JobRecord,
    settings: &Settings,
    sim: bool,
) -> Result<SpoolDir, ExpectedError> {
    let jobs = settings.data_dir(sim)?.join("jobs");
    Ok(SpoolDir::new(jobs.join(record.id.as_str())))
}

pub(crate) fn jobs(args: &JobsArgs, settings: &Settings) -> Result<Exit, ExpectedError> {
    let lines = match existing_store(settings, args.sim)? {
        None => Vec::new(),
        Some(store) => {
            let line = |record: &JobRecord| line(&store, record, settings, args.sim);
            store.jobs()?.iter().map(line).collect::<Result<_, _>>()?
        }
    };
    let jobs: Vec<_> = lines
        .iter()
        .map(|line| {
            json!({
                "job": line.id,
                "name": line.name,
                "state": line.state,
                "rows": line.rows,
                "done": line.done,
                "cost_picousd": line.cost,
                "cost_usd": line.cost.to_decimal(),
                "created_at": line.created.to_string(),
            })
        })
        .collect();
    settings
        .printer
        .answer(|width| jobs_text(&lines, width), &json!({ "jobs": jobs }))?;
    Ok(Exit::Success)
}

/// The store, if there is one: looking must not make a data directory.
pub(crate) fn existing_store(
    settings: &Settings,
    sim: bool,
) -> Result<Option<Store>, ExpectedError> {
    let data_dir = settings.data_dir(sim)?;
    if store_file(&data_dir).exists() {
        open_store(&data_dir).map(Some)
    } else {
        Ok(None)
    }
}

/// The store, and the job that somebody means by its name or id.
pub(crate) fn job_named(
    settings: &Settings,
    sim: bool,
    job: &str,
) -> Result<(Store, JobRecord), ExpectedError> {
    let nothing = || {
        ExpectedError::usage(format!("there is no job `{job}`"))
            .hint("`offpeak jobs` lists them; `offpeak jobs --sim` the simulated ones")
    };
    let store = existing_store(settings, sim)?.ok_or_else(nothing)?;
    if let Some(record) = find(&store, job)? {
        return Ok((store, record));
    }
    let jobs = store.jobs()?;
    let names = jobs.iter().map(|job| job.name.as_str());
    Err(match nearest(job, names) {
        Some(name) => nothing().hint(format!("did you mean `{name}`?")),
        None => nothing(),
    })
}

/// The newest run of a name, or the job of an id.
fn find(store: &Store, job: &str) -> Result<Option<JobRecord>, ExpectedError> {
    if let Some(record) = store.latest_run(job)? {
        return Ok(Some(record));
    }
    match JobId::parse(job) {
        Some(id) => Ok(store.job(&id)?),
        None => Ok(None),
    }
}

/// The state of a job in a word.
pub(crate) fn state(record: &JobRecord, facts: &JobFacts) -> &'static str {
    match record.state {
        JobState::Open if facts.cancel.is_some() => "being cancelled",
        JobState::Open => "unfinished",
        JobState::Finished if facts.cancel.is_some() => "cancelled",
        JobState::Finished => "finished",
        JobState::Abandoned => "given up",
    }
}

fn line(
    store: &Store,
    record: &JobRecord,
    settings: &Settings,
    sim: bool,
) -> Result<JobLine, ExpectedError> {
    let standing = Standing::of(store, record, settings, sim)?;
    Ok(JobLine {
        id: record.id.clone(),
        name: record.name.clone(),
        state: state(record, &standing.facts).to_owned(),
        rows: standing.facts.rows,
        done: standing.done(),
        cost: standing.tally.cost + standing.waste,
        created: record.created_at,
    })
}
