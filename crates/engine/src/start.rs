//! Opening a job: is it new, unfinished or finished? A new one is read into the spool, planned and
//! cut into shards; nothing is sent before it is in the store.
//!
//! The same job is the same name and the same rendered requests. Limits, deadline, output and which
//! answers are reused may change between runs of it; an unfinished run goes on as it was cut. Leaves out the running (`run`) and the end (`finish`).

mod again;
mod settings;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use offpeak_client::Client;
use offpeak_client::clock::Clock;
use offpeak_core::job::shard::{JobId, Shard, ShardState};
use offpeak_core::job::unmark::MarkFacts;
use offpeak_core::plan::fields::FieldsEffect;
use offpeak_core::plan::lint::Warning;
use offpeak_core::plan::{Evidence, Plan};
use offpeak_core::price::{Book, Lane};
use offpeak_core::units::Timestamp;
use offpeak_store::{JobRecord, JobState, Store};

use crate::blocking::blocking;
use crate::cut::cut;
use crate::disk::Disk;
use crate::error::EngineError;
use crate::facts::{GroupFacts, JobFacts, answer_seconds};
use crate::fields::effect;
use crate::finish::Manifest;
use crate::history::recall;
use crate::identity::{again_digest, hex, job_id, short, source_digest};
use crate::ingest::{Before, IngestError, Ingested};
use crate::lint::warnings;
use crate::lock::JobLock;
use crate::planned::{cut_plan, decide, group_levels, read, workload};
use crate::probe::{Rest, cut_probe};
use crate::progress::Report;
use crate::recover::standing;
use crate::reuse::earlier_runs;
use crate::spec::JobSpec;
use crate::spool::SpoolDir;
use again::newest;

pub use settings::{Choice, Settings};

/// What a run needs from outside.
#[derive(Debug, Clone)]
pub struct Engine {
    /// The store of the data directory.
    pub store: Arc<Store>,
    /// The upstream.
    pub client: Client,
    /// The same upstream with an admin key, if there is one: for the limit of its queue.
    pub admin: Option<Client>,
    /// The clock.
    pub clock: Clock,
    /// The prices.
    pub book: Arc<Book>,
    /// Where store, spools and locks are.
    pub data_dir: PathBuf,
    /// Seed of the dice.
    pub seed: u64,
    /// What of that directory and the output is there for certain.
    pub disk: Disk,
}

impl Engine {
    /// Uniform numbers in [0, 1), from the seed.
    pub(crate) fn dice(&self) -> Box<dyn FnMut() -> f64 + Send> {
        splitmix(self.seed)
    }

    /// The directory of a job.
    #[must_use]
    pub fn spool(&self, id: &JobId) -> SpoolDir {
        SpoolDir::new(self.jobs_dir().join(id.as_str())).on(&self.disk)
    }

    pub(crate) fn jobs_dir(&self) -> PathBuf {
        self.data_dir.join("jobs")
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.clock.now())
    }
}

/// Uniform numbers in [0, 1) from a seed: SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) fn splitmix(seed: u64) -> Box<dyn FnMut() -> f64 + Send> {
    let mut state = seed;
    Box::new(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
        let uniform = (z >> 11) as f64 / (1u64 << 53) as f64;
        uniform
    })
}

/// A job that can be run. It holds the job's lock.
#[derive(Debug)]
pub struct Job {
    pub(crate) engine: Engine,
    /// What the store says of it.
    pub record: JobRecord,
    /// More of that.
    pub facts: JobFacts,
    /// The settings of this run.
    pub settings: Settings,
    pub(crate) spool: SpoolDir,
    pub(crate) scout: bool,
    /// Another process has run it before.
    pub(crate) resumed: bool,
    _lock: JobLock,
}

impl Job {
    /// The store, the prices, and the directory of all jobs.
    #[must_use]
    pub fn place(&self) -> (&Store, &Book, &Path) {
        (&self.engine.store, &self.engine.book, &self.engine.data_dir)
    }
}

/// A job that was read and planned, and is not in the store yet.
#[derive(Debug)]
pub struct FreshJob {
    pub(crate) engine: Engine,
    spec: JobSpec,
    pub(crate) settings: Settings,
    /// What was read.
    pub ingested: Ingested,
    /// What was decided.
    pub plan: Plan,
    marks: MarkFacts,
    /// What it was decided on beside the rows.
    pub(crate) evidence: Evidence,
    /// Rows that go before the others are planned.
    probe: Option<u32>,
    /// What is worth changing in the rows, dearest first.
    pub warnings: Vec<Warning>,
    source_digest: String,
    run: u32,
    /// Batches of an earlier life of this very run may be upstream.
    scout: bool,
    replaces: Option<JobId>,
    pub(crate) spool: SpoolDir,
    lock: JobLock,
}

/// What a name turned out to be.
#[derive(Debug)]
pub enum Opened {
    /// The same job has finished: no row is to be sent.
    Finished(Box<Manifest>, Box<Job>),
    /// An unfinished run.
    Unfinished(Box<Job>),
    /// A new run.
    Fresh(Box<FreshJob>),
}

/// Opens a job by its spec.
///
/// # Errors
/// If the input is bad, another run holds the lock, or an unfinished run has other requests.
pub async fn open(
    engine: &Engine,
    spec: &JobSpec,
    choice: Choice,
    report: Report,
) -> Result<Opened, EngineError> {
    let (engine, spec) = (engine.clone(), spec.clone());
    blocking(move || open_blocking(engine, spec, choice, &report)).await
}

fn open_blocking(
    engine: Engine,
    mut spec: JobSpec,
    choice: Choice,
    report: &Report,
) -> Result<Opened, EngineError> {
    let lock = JobLock::take(&engine.data_dir.join("locks"), &spec.name)?;
    let settings = Settings::new(&spec, choice);
    let latest = engine.store.latest_run(&spec.name)?;
    let runs = latest.as_ref().map_or(0, |record| record.run);
    // A run that was given up is no run to go on with.
    let latest = latest.filter(|record| record.state != JobState::Abandoned);
    let mut retried = None;
    if let Some(max_tokens) = choice.retry_truncated {
        // Where everything starts afresh, an unfinished run is not gone on with either.
        let goes_on = !choice.fresh;
        retried = newest(&engine, &spec, max_tokens, latest.as_ref(), goes_on)?;
        // What an earlier run has of the other rows is taken over, whatever the job says of that.
        spec.reuse.earlier_runs |= retried.is_some();
    }
    if let Some(retried) = retried.take_if(|retried| retried.again.rows == 0) {
        return reopen(engine, retried.record, settings, lock);
    }
    let source_digest = source_digest(&spec)?;
    if let Some(record) = &latest
        && !choice.fresh
        && retried.is_none()
        && (record.source_digest == source_digest
            || (choice.resume_old && record.state == JobState::Open))
    {
        return reopen(engine, record.clone(), settings, lock);
    }
    refuse_existing_output(&settings)?;
    let spool = SpoolDir::new(
        engine
            .jobs_dir()
            .join(format!(".new-{}", short(&spec.name))),
    )
    .on(&engine.disk);
    remove(spool.root())?;
    engine
        .disk
        .make_dir(&engine.jobs_dir(), true)
        .map_err(EngineError::io("create", &engine.jobs_dir()))?;
    spool
        .create()
        .map_err(EngineError::io("create", spool.root()))?;
    let now = engine.now();
    let earlier;
    let before = match &mut retried {
        Some(retried) => Before::Again(&mut retried.again),
        None if spec.reuse.earlier_runs => {
            earlier = earlier_runs(&engine.store, &engine.jobs_dir(), &spec.name, &spec.betas)?;
            Before::Runs(&earlier)
        }
        None => Before::Runs(&[]),
    };
    let ingested = read(&spec, &engine.book, now, before, Some(&spool), report)?;
    let params_digest = hex(&ingested.params_digest);
    if let Some(retried) = &retried
        && retried.record.params_digest != params_digest
    {
        let run = retried.record.run;
        remove(spool.root())?;
        return Err(IngestError::OtherRows { run }.into());
    }
    if let Some(record) = &latest
        && !choice.fresh
        && retried.is_none()
        && record.params_digest == params_digest
    {
        remove(spool.root())?;
        return reopen(engine, record.clone(), settings, lock);
    }
    let mut replaces = None;
    if let Some(record) = &latest
        && record.state == JobState::Open
    {
        if !choice.fresh {
            let facts = JobFacts::of(record)?;
            let settled = answered_rows(&engine, record, &facts)?;
            remove(spool.root())?;
            let (name, id, rows) = (spec.name, record.id.to_string(), facts.rows);
            return Err(EngineError::InputChanged {
                name,
                id,
                settled,
                rows,
            });
        }
        replaces = Some(record.id.clone());
    }
    let unbounded = ingested.first_unbounded;
    let unbounded = unbounded.map(|(line, why)| (line, why.to_owned()));
    refuse_unbounded(&settings, &spec.source.input, unbounded.as_ref())?;
    let evidence = recall(&engine.store, &spec.name, now)?;
    let (plan, marks) = decide(&spec, &ingested, evidence.clone(), &engine.book, now)?;
    let run = runs + 1;
    let scout = run == 1 || retried.is_some_and(|retried| retried.memory_was_lost);
    let warnings = warnings(&ingested, &plan, &engine.book, now);
    Ok(Opened::Fresh(Box::new(FreshJob {
        warnings,
        engine,
        spec,
        settings,
        ingested,
        plan,
        marks,
        evidence,
        probe: None,
        source_digest,
        run,
        scout,
        replaces,
        spool,
        lock,
    })))
}

fn reopen(
    engine: Engine,
    mut record: JobRecord,
    settings: Settings,
    lock: JobLock,
) -> Result<Opened, EngineError> {
    let mut facts = JobFacts::of(&record)?;
    let remember = |record: &mut JobRecord, facts: &mut JobFacts| {
        if facts.limits != settings.limits() {
            facts.limits = settings.limits();
            let text = facts.text();
            engine
                .store
                .update_facts(&record.id, &record.facts, &text)?;
            record.facts = text;
        }
        Ok::<_, EngineError>(())
    };
    let spool = engine.spool(&record.id);
    if record.state == JobState::Finished {
        let manifest = Box::new(Manifest::read(&spool)?);
        remember(&mut record, &mut facts)?;
        let job = Job {
            scout: false,
            resumed: true,
            engine,
            record,
            facts,
            settings,
            spool,
            _lock: lock,
        };
        return Ok(Opened::Finished(manifest, Box::new(job)));
    }
    if facts.cancel.is_some() {
        return Err(EngineError::Canceled { name: record.name });
    }
    refuse_unbounded(&settings, &facts.input, facts.unbounded.as_ref())?;
    let shards = engine.store.shards(&record.id)?;
    let all_settled = shards
        .iter()
        .all(|s| matches!(s.state, ShardState::Settled(_)));
    // A run that died between its last two steps left its output in place.
    if !all_settled || facts.probing {
        refuse_existing_output(&settings)?;
    }
    let in_batches =
        |shard: &Shard| shard.lane == Lane::Batch && !matches!(shard.state, ShardState::Settled(_));
    if settings.zero_data_retention && shards.iter().any(in_batches) {
        let (name, id) = (record.name, record.id.to_string());
        return Err(EngineError::Retained { name, id });
    }
    remember(&mut record, &mut facts)?;
    let job = Job::reopened(engine, record, facts, settings, spool, lock);
    Ok(Opened::Unfinished(Box::new(job)))
}

impl Job {
    /// A job that another process has run before.
    pub(crate) fn reopened(
        engine: Engine,
        record: JobRecord,
        facts: JobFacts,
        settings: Settings,
        spool: SpoolDir,
        lock: JobLock,
    ) -> Self {
        Self {
            engine,
            record,
            scout: facts.scout,
            facts,
            settings,
            spool,
            resumed: true,
            _lock: lock,
        }
    }
}

impl FreshJob {
    /// Makes the job: cuts it into shards, puts its files in their place and commits it to the
    /// store. From here on it can be resumed.
    ///
    /// # Errors
    /// If the disk or the store fails.
    pub async fn commit(self) -> Result<Job, EngineError> {
        blocking(move || self.commit_blocking()).await
    }

    /// Sends so many rows before the others are planned, if there are more than these.
    pub fn probe(&mut self, rows: u32) {
        self.probe = Some(rows);
    }

    /// Plans anew, after more was learnt.
    pub(crate) fn plan_again(&mut self) -> Result<(), EngineError> {
        let (evidence, now) = (self.evidence.clone(), self.engine.now());
        (self.plan, self.marks) =
            decide(&self.spec, &self.ingested, evidence, &self.engine.book, now)?;
        self.warnings = warnings(&self.ingested, &self.plan, &self.engine.book, now);
        Ok(())
    }

    /// What an order of fields per row brings, if it is in use.
    #[must_use]
    pub fn fields(&self) -> Option<FieldsEffect> {
        effect(&self.ingested, &self.evidence, &self.engine.book)
    }

    /// Throws the spool of a job away that the user did not want.
    ///
    /// # Errors
    /// If the files cannot be removed.
    pub fn discard(self) -> Result<(), EngineError> {
        remove(self.spool.root())
    }

    fn commit_blocking(self) -> Result<Job, EngineError> {
        let Self {
            engine,
            spec,
            settings,
            ingested,
            plan,
            marks,
            source_digest,
            ..
        } = self;
        let params_digest = hex(&ingested.params_digest);
        let before = engine.store.runs_of(&spec.name, &params_digest)?;
        let id = job_id(&spec.name, &params_digest, before + 1);
        let part = match ingested.again {
            Some(again) => Some(again_digest(ingested.unsent, again.max_tokens)),
            None => ingested.unsent,
        };
        let id = part.map_or_else(|| id.clone(), |part| id.of_part(&part));
        let probe = match self.probe {
            Some(rows) => cut_probe(&self.spool, &id, plan.route.lane(), rows)?,
            None => None,
        };
        let probing = probe.is_some();
        let workload = workload(&spec, &ingested, Evidence::default());
        let levels = group_levels(&ingested);
        let shards = match probe {
            Some(probe) => {
                Rest { workload, levels }.keep(&self.spool)?;
                vec![probe]
            }
            None => cut(&self.spool, &id, &cut_plan(&plan, &workload, &levels))
                .map_err(EngineError::io("write", self.spool.root()))?,
        };
        let spool = engine.spool(&id);
        // A directory of this id without a job in the store is what a crash left.
        remove(spool.root())?;
        std::fs::rename(self.spool.root(), spool.root())
            .map_err(EngineError::io("move", self.spool.root()))?;
        engine
            .disk
            .names(&engine.jobs_dir())
            .map_err(EngineError::io("write", &engine.jobs_dir()))?;
        let scout = self.scout;
        let (shared, taken_over) = (ingested.shared(), ingested.taken_over());
        let facts = JobFacts {
            models: ingested.models,
            rows: ingested.rows,
            shared,
            taken_over,
            retry_truncated: ingested.again.map(|again| again.max_tokens),
            asked_again: ingested.again.map_or(0, |again| again.rows),
            taken_over_as: ingested.again.map(|again| again.taken_over),
            betas: spec.betas,
            invalid: ingested.invalid,
            route: String::new(),
            variant: String::new(),
            groups: GroupFacts::default(),
            marks,
            reasons: Vec::new(),
            planned_usd_estimate: 0.0,
            expected_share: 1.0,
            dearest: ingested
                .dearest
                .map_or_else(Default::default, |(_, worst)| worst),
            prices_as_of: engine.book.as_of().to_string(),
            input: spec.source.input,
            input_digest: hex(&ingested.input_digest),
            output: settings.output.clone(),
            answer_seconds: answer_seconds(&ingested.ungrouped, &ingested.groups),
            unbounded: ingested
                .first_unbounded
                .map(|(line, why)| (line, why.to_owned())),
            probing,
            limits: settings.limits(),
            cancel: None,
            scout,
        }
        .planned(&plan);
        let record = JobRecord {
            id,
            name: spec.name,
            run: self.run,
            state: JobState::Open,
            created_at: engine.now(),
            finished_at: None,
            source_digest,
            params_digest,
            facts: facts.text(),
        };
        engine
            .store
            .create_job(&record, &shards, self.replaces.as_ref())?;
        Ok(Job {
            engine,
            record,
            facts,
            settings,
            spool,
            scout,
            resumed: false,
            _lock: self.lock,
        })
    }
}

/// Rows of an unfinished job that have their answer.
fn answered_rows(
    engine: &Engine,
    record: &JobRecord,
    facts: &JobFacts,
) -> Result<u64, EngineError> {
    let spool = engine.spool(&record.id);
    let mut settled = 0;
    for shard in engine.store.shards(&record.id)? {
        settled += match &shard.state {
            ShardState::Settled(tally) => tally.outcomes.total(),
            ShardState::Running => {
                let (tally, _) = standing(&spool, &shard, &engine.book, &facts.models)?;
                tally.outcomes.total()
            }
            _ => 0,
        };
    }
    Ok(facts.done(settled))
}

fn refuse_unbounded(
    settings: &Settings,
    input: &Path,
    unbounded: Option<&(u64, String)>,
) -> Result<(), EngineError> {
    match (settings.budget.or(settings.soft_budget), unbounded) {
        (Some(_), Some((line, why))) => Err(EngineError::Unbounded {
            path: input.to_owned(),
            line: *line,
            why: why.clone(),
        }),
        _ => Ok(()),
    }
}

pub(crate) fn refuse_existing_output(settings: &Settings) -> Result<(), EngineError> {
    if !settings.overwrite && settings.output.symlink_metadata().is_ok() {
        let path = settings.output.clone();
        return Err(crate::output::OutputError::Exists { path }.into());
    }
    Ok(())
}

pub(crate) fn remove(path: &Path) -> Result<(), EngineError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(EngineError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}
