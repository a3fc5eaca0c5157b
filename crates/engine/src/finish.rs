//! The end of a job: the output in its place, the manifest beside it, the job closed, in this order.
//!
//! Every step can be done again after a crash. Leaves out how the manifest is shown (`report`).

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use offpeak_core::job::outcome::{OutcomeClass, Tally};
use offpeak_core::job::shard::{Shard, ShardState};
use offpeak_core::job::unmark::UnmarkedSum;
use offpeak_core::price::Lane;
use offpeak_core::units::{Timestamp, Usd};
use offpeak_store::JobState;
use serde::{Deserialize, Serialize};

use crate::blocking::blocking;
use crate::disk::Disk;
use crate::error::EngineError;
use crate::facts::GroupFacts;
use crate::identity::hex;
use crate::mend::mend;
use crate::output::write_output;
use crate::reuse::{Reused, Spared};
use crate::spool::SpoolDir;
use crate::start::Job;

/// What a finished job came to: the machine-readable proof beside the output. Money is a decimal
/// string of picodollars (1e-12 US$), with a `_usd` string for people next to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The job's id.
    pub job: String,
    /// Its name.
    pub name: String,
    /// Which run of that name.
    pub run: u32,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// When its output was in place, RFC 3339.
    pub finished_at: String,
    /// Seconds between the two.
    pub seconds: f64,
    /// Whether the output was in place after the deadline.
    pub after_deadline: bool,
    /// The input file.
    pub input: PathBuf,
    /// BLAKE3 of its bytes.
    pub input_blake3: String,
    /// The output file.
    pub output: PathBuf,
    /// BLAKE3 of its bytes.
    pub output_blake3: String,
    /// Rows of the input.
    pub rows_in: u64,
    /// Lines of the output.
    pub rows_out: u64,
    /// Rows by outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// Of these, the rows that were not sent because there was an answer already.
    #[serde(default, skip_serializing_if = "ReusedFacts::is_empty")]
    pub reused: ReusedFacts,
    /// Rows that were cut off in an earlier run and asked again, if this run did that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_again: Option<AskedAgainFacts>,
    /// The route that the plan took.
    pub route: String,
    /// The same with its marks and how the cache was first filled.
    #[serde(default)]
    pub variant: String,
    /// The prefix groups of the plan.
    #[serde(default)]
    pub groups: GroupFacts,
    /// Why that route: questions, answers, facts and sentences, as the plan gave them.
    #[serde(default)]
    pub reasons: Vec<serde_json::Value>,
    /// What was planned with cache marks and went without them, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmarked: Vec<UnmarkedSum>,
    /// How the rows travelled in fact.
    pub routes: BTreeMap<String, RouteShare>,
    /// The date of the price book.
    pub price_book_as_of: String,
    /// What the answers would have cost synchronously without caching.
    pub naive_picousd: Usd,
    /// The same for people.
    pub naive_usd: String,
    /// What they would have cost in a batch without caching.
    pub plain_batch_picousd: Usd,
    /// The same for people.
    pub plain_batch_usd: String,
    /// What the plan expected: an estimate, rounded.
    pub planned_picousd: Usd,
    /// The same for people.
    pub planned_usd: String,
    /// What was billed, from the usage that the upstream reported.
    pub cost_picousd: Usd,
    /// The same for people.
    pub cost_usd: String,
    /// Most that calls of unknown outcome may have cost on top.
    pub unknown_picousd: Usd,
    /// Such calls.
    pub unknown_calls: u64,
    /// Billed for batches that carry this job's mark and answer none of its rows, on top.
    #[serde(default)]
    pub waste_picousd: Usd,
    /// Those batches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wasted: Vec<Wasted>,
    /// The upstream's own bill for this run, where there is one (the simulator).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub upstream_bill_picousd: Option<Usd>,
    /// Tries that reached the upstream.
    pub attempts: u64,
    /// Prompt tokens that were neither read from nor written to the cache.
    pub input_tokens: u64,
    /// Prompt tokens read from the cache.
    pub cache_read_tokens: u64,
    /// Prompt tokens written to the cache.
    pub cache_write_tokens: u64,
    /// Generated tokens.
    pub output_tokens: u64,
}

/// A batch that was paid for and answers no row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wasted {
    /// Its id upstream.
    pub batch: String,
    /// Its rows.
    pub rows: u64,
    /// What its answers cost.
    pub cost_picousd: Usd,
}

/// Rows that were cut off in an earlier run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedAgainFacts {
    /// How many.
    pub rows: u64,
    /// What they were asked again with.
    pub max_tokens: u32,
}

/// Rows that were not sent because there was an answer already. Their lines say that they cost nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReusedFacts {
    /// Those that share the answer of an identical row of the job.
    pub identical: Spared,
    /// Those that an earlier run of the job has answered.
    pub earlier_runs: Spared,
}

impl ReusedFacts {
    fn of(reused: &Reused) -> Self {
        Self {
            identical: reused.identical,
            earlier_runs: reused.earlier,
        }
    }

    fn is_empty(&self) -> bool {
        self.rows() == 0
    }

    /// All of them.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.identical.rows + self.earlier_runs.rows
    }

    /// What it would have cost about to send them too.
    #[must_use]
    pub fn saved(&self) -> Usd {
        self.identical.cost + self.earlier_runs.cost
    }
}

/// The part of a job that travelled one route.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RouteShare {
    /// Rows that got their outcome there.
    pub rows: u64,
    /// What they cost.
    pub cost_picousd: Usd,
    /// Shards: batches, or runs of synchronous calls.
    pub shards: u64,
}

impl Manifest {
    /// The tally that the sums of a manifest say.
    #[must_use]
    pub fn count(&self, class: OutcomeClass) -> u64 {
        self.outcomes.get(class.as_str()).copied().unwrap_or(0)
    }

    /// Whether every row succeeded.
    #[must_use]
    pub fn all_succeeded(&self) -> bool {
        self.count(OutcomeClass::Succeeded) == self.rows_in
    }

    /// Where the manifest of an output is.
    #[must_use]
    pub fn path_beside(output: &Path) -> PathBuf {
        let mut name = output.as_os_str().to_owned();
        name.push(".manifest.json");
        PathBuf::from(name)
    }

    /// The manifest of a finished job.
    ///
    /// # Errors
    /// If it is missing or damaged.
    pub fn read(spool: &SpoolDir) -> Result<Self, EngineError> {
        let path = in_spool(spool);
        let bytes = std::fs::read(&path).map_err(EngineError::io("read", &path))?;
        serde_json::from_slice(&bytes).map_err(|error| EngineError::Damaged {
            path,
            detail: error.to_string(),
        })
    }
}

fn in_spool(spool: &SpoolDir) -> PathBuf {
    spool.root().join("manifest.json")
}

/// Writes output and manifest of a job whose every shard is settled, and closes it.
///
/// `upstream_bill` is what the upstream says it billed for this run, if it can be asked.
///
/// # Errors
/// If the outcomes are not complete or a file cannot be written; the job stays open.
pub async fn finish(job: &Job, upstream_bill: Option<Usd>) -> Result<Manifest, EngineError> {
    mend(job).await?;
    let (engine, record, facts) = (job.engine.clone(), job.record.clone(), job.facts.clone());
    let (settings, spool) = (job.settings.clone(), job.spool.clone());
    blocking(move || {
        let shards = engine.store.shards(&record.id)?;
        let out = &settings.output;
        if let Some(dir) = out.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            let made = spool.disk().make_dir(dir, false);
            made.map_err(EngineError::io("create", dir))?;
        }
        let output = write_output(&spool, facts.rows, out, settings.overwrite)?;
        let mut tally = Tally::default();
        for shard in &shards {
            if let ShardState::Settled(part) = &shard.state {
                tally.add(part);
            }
        }
        let mut outcomes: BTreeMap<String, u64> = tally
            .outcomes
            .iter()
            .map(|(class, rows)| (class.as_str().to_owned(), rows))
            .collect();
        if facts.invalid > 0 {
            outcomes.insert(OutcomeClass::Invalid.as_str().to_owned(), facts.invalid);
        }
        let wasted = engine.store.waste(&record.id)?.into_iter();
        let wasted: Vec<_> = wasted
            .map(|batch| Wasted {
                batch: batch.batch,
                rows: batch.rows,
                cost_picousd: batch.cost,
            })
            .collect();
        for (class, rows) in output.reused.outcomes.iter() {
            *outcomes.entry(class.as_str().to_owned()).or_default() += rows;
        }
        let reused = ReusedFacts::of(&output.reused);
        assert_eq!(
            (reused.identical.rows, reused.earlier_runs.rows),
            (facts.shared, facts.taken_over),
            "every row that was not sent has its outcome"
        );
        let finished_at = Timestamp::from_micros(engine.clock.now());
        let deadline = settings.deadline_at(record.created_at);
        let planned = approximate(facts.planned_usd_estimate);
        let manifest = Manifest {
            job: record.id.to_string(),
            name: record.name.clone(),
            run: record.run,
            created_at: record.created_at.to_string(),
            finished_at: finished_at.to_string(),
            seconds: (finished_at - record.created_at).as_secs_f64(),
            after_deadline: deadline.is_some_and(|deadline| finished_at > deadline),
            input: facts.input.clone(),
            input_blake3: facts.input_digest.clone(),
            output: out.clone(),
            output_blake3: hex(&output.digest),
            rows_in: facts.rows,
            rows_out: output.rows,
            outcomes,
            reused,
            asked_again: facts.retry_truncated.map(|max_tokens| AskedAgainFacts {
                rows: facts.asked_again,
                max_tokens,
            }),
            route: facts.route.clone(),
            variant: facts.variant.clone(),
            groups: facts.groups,
            reasons: facts.reasons.clone(),
            unmarked: UnmarkedSum::of(&shards),
            routes: routes(&shards),
            price_book_as_of: facts.prices_as_of.clone(),
            naive_picousd: tally.naive,
            naive_usd: tally.naive.to_decimal(),
            plain_batch_picousd: tally.plain_batch,
            plain_batch_usd: tally.plain_batch.to_decimal(),
            planned_picousd: planned,
            planned_usd: planned.to_decimal(),
            cost_picousd: tally.cost,
            cost_usd: tally.cost.to_decimal(),
            unknown_picousd: tally.unknown,
            unknown_calls: tally.unknown_calls,
            waste_picousd: wasted.iter().map(|batch| batch.cost_picousd).sum(),
            wasted,
            upstream_bill_picousd: upstream_bill,
            attempts: tally.attempts,
            input_tokens: tally.input_tokens,
            cache_read_tokens: tally.cache_read_tokens,
            cache_write_tokens: tally.cache_write_tokens,
            output_tokens: tally.output_tokens,
        };
        let bytes = serde_json::to_vec_pretty(&manifest).expect("a manifest has only string keys");
        replace(spool.disk(), &in_spool(&spool), &bytes)?;
        replace(spool.disk(), &Manifest::path_beside(out), &bytes)?;
        engine
            .store
            .close_job(&record.id, JobState::Finished, finished_at)?;
        Ok(manifest)
    })
    .await
}

/// An estimate in dollars as picodollars, for a field that compares it with money. It is rounded to
/// whole microdollars, so that nobody takes it for a sum.
#[expect(
    clippy::cast_possible_truncation,
    reason = "an estimate of less than 1e12 dollars"
)]
fn approximate(usd: f64) -> Usd {
    Usd::from_pico((usd * 1e6).round() as i128 * 1_000_000)
}

fn routes(shards: &[Shard]) -> BTreeMap<String, RouteShare> {
    let mut routes: BTreeMap<String, RouteShare> = BTreeMap::new();
    for shard in shards {
        let ShardState::Settled(tally) = &shard.state else {
            continue;
        };
        let lane = match shard.lane {
            Lane::Sync => "sync",
            Lane::Batch => "batch",
        };
        let cached = tally.cache_read_tokens + tally.cache_write_tokens > 0;
        let route = if cached {
            format!("{lane}+cache")
        } else {
            lane.to_owned()
        };
        let share = routes.entry(route).or_default();
        share.rows += tally.outcomes.total();
        share.cost_picousd += tally.cost;
        share.shards += 1;
    }
    routes
}

/// Puts a small file in its place, whole or not at all.
pub(crate) fn replace(disk: &Disk, path: &Path, bytes: &[u8]) -> Result<(), EngineError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let temporary = PathBuf::from(name);
    let mut file =
        std::fs::File::create(&temporary).map_err(EngineError::io("create", &temporary))?;
    file.write_all(bytes)
        .map_err(EngineError::io("write", &temporary))?;
    file.write_all(b"\n")
        .map_err(EngineError::io("write", &temporary))?;
    disk.content(&file, &temporary)
        .map_err(EngineError::io("write", &temporary))?;
    std::fs::rename(&temporary, path)
        .and_then(|()| disk.name_of(path))
        .map_err(EngineError::io("write", path))
}
