//! Token counts before anything is paid for: rows sent to the upstream's free counter, some or all, and
//! what it says as evidence for the plan.
//!
//! The counter has rate limits of its own; calls keep to the lowest documented one, and pause when it
//! refuses. A count that fails costs the plan its precision, never the job a row. Leaves out what
//! follows from counts (`offpeak_core::plan::evidence`).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use offpeak_client::Bytes;
use offpeak_core::job::pace::Pause;
use offpeak_core::job::retry::{Finding, Judgement, concerns_the_lane, judge};
use offpeak_core::plan::Evidence;
use offpeak_core::plan::evidence::TokenSums;
use offpeak_core::price::Book;
use offpeak_core::units::{Span, Timestamp};
use offpeak_wire::count::count_body;
use tokio::task::JoinSet;

use crate::blocking::blocking;
use crate::error::EngineError;
use crate::history::recall;
use crate::ingest::Before;
use crate::lint::warnings;
use crate::planned::{Planned, decide, read};
use crate::progress::{Progress, Report};
use crate::reuse::earlier_runs;
use crate::sample::choose;
use crate::spec::JobSpec;
use crate::spool::{RowAt, RowMarks, SpoolDir, SpoolError, SpoolReader};
use crate::start::{Engine, FreshJob, remove};
use crate::upstream::{Failure, Upstream};

/// Rows of a sample: enough for two or three per cent.
pub const SAMPLE_ROWS: usize = 128;

/// Most rows that are counted one by one: ten minutes at the lowest rate limit.
pub const EXACT_ROWS_MAX: usize = 20_000;

/// The lowest documented limit of the counter is 2,000 calls a minute (Anthropic docs, token counting).
const PACE: Span = Span::from_micros(30_000);

/// Calls under way at a time.
const AT_ONCE: usize = 8;

/// Rows whose requests are in memory at a time.
const CHUNK: usize = 64;

/// Refusals of single rows after which the others are not asked about, if they are the majority.
const REFUSED_MAX: u64 = 10;

/// Tries of a row whose count never comes, and calls in a row without any count, after which the
/// counter is taken to be out of reach.
const TRIES_MAX: u16 = 5;
const UNANSWERED_MAX: u64 = 64;

/// How many rows are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counting {
    /// [`SAMPLE_ROWS`], spread over groups and sizes.
    Sample,
    /// All, but at most [`EXACT_ROWS_MAX`].
    Exact,
}

/// What came of counting.
#[derive(Debug, Default)]
pub struct Counts {
    /// Rows that were counted.
    pub counted: u64,
    /// Rows that were to be.
    pub asked: u64,
    /// Rows of the job that can be sent.
    pub of: u64,
    /// Why not all of those were.
    pub problem: Option<CountProblem>,
    sums: BTreeMap<String, TokenSums>,
}

/// Why rows were not counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CountProblem {
    /// The upstream takes no counts of this key.
    #[error("the token counter refuses: {message}")]
    Refused {
        /// In its words.
        message: String,
    },
    /// It cannot be reached, or is too busy.
    #[error("the token counter does not answer: {message}")]
    Unreachable {
        /// In words.
        message: String,
    },
    /// It takes counts, but not of some rows.
    #[error("{rows} rows could not be counted: {message}")]
    Rows {
        /// How many.
        rows: u64,
        /// What it says about the last of them.
        message: String,
    },
}

impl CountProblem {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "check the API key; the plan goes on with estimates",
            Self::Unreachable { .. } => {
                "try again later, or leave `--count` away; the plan goes on with estimates"
            }
            Self::Rows { .. } => "check these rows: what cannot be counted is mostly not answered",
        }
    }
}

impl Counts {
    fn tell(&self, evidence: &mut Evidence) {
        let all = self.counted == self.of;
        for (model, sums) in &self.sums {
            evidence.count(model, sums, all);
        }
    }
}

impl FreshJob {
    /// Counts rows and plans anew with what they say.
    ///
    /// # Errors
    /// If the spool cannot be read, or there is no plan any more.
    pub async fn count(&mut self, how: Counting, report: &Report) -> Result<Counts, EngineError> {
        let asked = Asked {
            spool: &self.spool,
            models: &self.ingested.models,
            betas: &self.settings.betas,
        };
        let counts = count(&self.engine, asked, how, report).await?;
        counts.tell(&mut self.evidence);
        self.plan_again()?;
        Ok(counts)
    }
}

/// Reads, counts and plans a job; what is written for it is removed again.
///
/// # Errors
/// If the input is bad, a price is missing, or the disk or the store fails.
pub async fn plan_counted(
    engine: &Engine,
    spec: &JobSpec,
    how: Counting,
    report: &Report,
) -> Result<(Planned, Counts), EngineError> {
    let spool = SpoolDir::new(
        engine
            .jobs_dir()
            .join(format!(".count-{}", std::process::id())),
    )
    .on(&engine.disk);
    let planned = plan_in(engine, spec, how, report, &spool).await;
    remove(spool.root())?;
    planned
}

async fn plan_in(
    engine: &Engine,
    spec: &JobSpec,
    how: Counting,
    report: &Report,
    spool: &SpoolDir,
) -> Result<(Planned, Counts), EngineError> {
    let now = engine.now();
    let earlier = earlier_runs(&engine.store, &engine.jobs_dir(), &spec.name, &spec.betas)?;
    let ingested = {
        let (spec, book) = (spec.clone(), engine.book.clone());
        let (spool, report) = (spool.clone(), report.clone());
        blocking(move || {
            remove(spool.root())?;
            spool
                .create()
                .map_err(EngineError::io("create", spool.root()))?;
            read(
                &spec,
                &book,
                now,
                Before::Runs(&earlier),
                Some(&spool),
                &report,
            )
        })
        .await?
    };
    let asked = Asked {
        spool,
        models: &ingested.models,
        betas: &spec.betas,
    };
    let counts = count(engine, asked, how, report).await?;
    let mut evidence = recall(&engine.store, &spec.name, now)?;
    counts.tell(&mut evidence);
    let (plan, _) = decide(spec, &ingested, evidence, &engine.book, now)?;
    let planned = Planned {
        warnings: warnings(&ingested, &plan, &engine.book, now),
        ingested,
        plan,
    };
    Ok((planned, counts))
}

/// What is counted.
#[derive(Clone, Copy)]
struct Asked<'a> {
    spool: &'a SpoolDir,
    models: &'a [String],
    betas: &'a [String],
}

/// A row to be counted.
#[derive(Debug, Clone)]
struct Pick {
    /// The model's id in the price book.
    model: String,
    /// Bytes of the request.
    bytes: u64,
    /// Tokens of a hidden prompt that its tools bring.
    hidden: u64,
    body: Bytes,
    tries: u16,
}

async fn count(
    engine: &Engine,
    asked: Asked<'_>,
    how: Counting,
    report: &Report,
) -> Result<Counts, EngineError> {
    let upstream = Upstream::new(engine.client.clone(), asked.betas.to_vec(), engine.clock);
    let mut dice = engine.dice();
    let wanted = match how {
        Counting::Sample => SAMPLE_ROWS,
        Counting::Exact => EXACT_ROWS_MAX,
    };
    let (of, rows) = {
        let spool = asked.spool.clone();
        let mut dice = engine.dice();
        blocking(move || choose(&spool, wanted, &mut *dice)).await?
    };
    let rows: Vec<RowAt> = rows.into_iter().map(|entry| entry.at).collect();
    let mut counter = Counter {
        upstream: std::sync::Arc::new(upstream),
        pause: Pause::default(),
        next: Timestamp::EPOCH,
        refused: 0,
        unanswered: 0,
        over: false,
        counts: Counts {
            asked: rows.len() as u64,
            of,
            ..Counts::default()
        },
    };
    for chunk in rows.chunks(CHUNK) {
        let picks = {
            let (spool, rows) = (asked.spool.clone(), chunk.to_vec());
            let (models, book) = (asked.models.to_vec(), engine.book.clone());
            blocking(move || read_picks(&spool, &rows, &models, &book)).await?
        };
        counter.count(picks, &mut *dice).await;
        report(Progress::Counting {
            done: counter.counts.counted,
            of: counter.counts.asked,
        });
        if counter.over {
            break;
        }
    }
    Ok(counter.counts)
}

fn read_picks(
    spool: &SpoolDir,
    rows: &[RowAt],
    models: &[String],
    book: &Book,
) -> Result<VecDeque<Pick>, SpoolError> {
    let mut reader = SpoolReader::open(spool)?;
    let mut picks = VecDeque::with_capacity(rows.len());
    let mut request = Vec::new();
    for at in rows {
        let row = reader.read(*at)?;
        request.clear();
        row.write_request(RowMarks::NONE, &mut request);
        let name = models.get(usize::from(row.meta.model));
        let model = name.and_then(|name| book.model(name).ok());
        // What was taken in has a model with a price, and reads as a request.
        let (Some(model), Ok(body)) = (model, count_body(&request)) else {
            continue;
        };
        picks.push_back(Pick {
            model: model.id.clone(),
            bytes: row.meta.prompt_bytes(),
            hidden: if row.meta.has_tools {
                model.hidden_tool_tokens
            } else {
                0
            },
            body: Bytes::from(body),
            tries: 0,
        });
    }
    Ok(picks)
}

/// Makes the calls.
struct Counter {
    upstream: std::sync::Arc<Upstream>,
    pause: Pause,
    /// Not before this.
    next: Timestamp,
    refused: u64,
    /// Calls in a row that brought no count.
    unanswered: u64,
    /// The other rows would meet the same.
    over: bool,
    counts: Counts,
}

impl Counter {
    async fn count(&mut self, mut waiting: VecDeque<Pick>, dice: &mut (dyn FnMut() -> f64 + Send)) {
        let mut flying: JoinSet<(Pick, Result<u64, Failure>)> = JoinSet::new();
        loop {
            let now = self.upstream.now();
            let due = self.pause.ends(now).unwrap_or(now).max(self.next);
            let room = !self.over && flying.len() < AT_ONCE;
            if room
                && now >= due
                && let Some(pick) = waiting.pop_front()
            {
                self.next = now + PACE;
                let upstream = std::sync::Arc::clone(&self.upstream);
                flying.spawn(async move {
                    let answer = upstream.count(pick.body.clone()).await;
                    (pick, answer)
                });
                continue;
            }
            let more = room && !waiting.is_empty();
            if flying.is_empty() && !more {
                return;
            }
            tokio::select! {
                biased;
                Some(done) = flying.join_next() => {
                    let (pick, answer) = done.expect("counting does not panic");
                    if let Some(again) = self.take(pick, answer, dice) {
                        waiting.push_back(again);
                    }
                }
                () = until(due - now), if more => {}
            }
        }
    }

    /// Takes an answer in; a row that is to be counted again comes back.
    fn take(
        &mut self,
        mut pick: Pick,
        answer: Result<u64, Failure>,
        dice: &mut (dyn FnMut() -> f64 + Send),
    ) -> Option<Pick> {
        let Failure {
            kind,
            message,
            retry_after,
        } = match answer {
            Ok(tokens) => {
                self.pause.succeeded();
                self.unanswered = 0;
                self.counts.counted += 1;
                let sums = self.counts.sums.entry(pick.model).or_default();
                sums.note(pick.bytes, tokens.saturating_sub(pick.hidden));
                return None;
            }
            Err(failure) => failure,
        };
        self.unanswered += 1;
        let judgement = kind.map(|kind| judge(&Finding::Error(kind), 0));
        match judgement {
            Some(Judgement::Stop(_)) => {
                self.over = true;
                self.counts.problem = Some(CountProblem::Refused { message });
                None
            }
            Some(Judgement::Final(_)) => {
                self.refused += 1;
                self.over |= self.refused >= REFUSED_MAX && self.refused > self.counts.counted;
                self.counts.problem = Some(CountProblem::Rows {
                    rows: self.refused,
                    message,
                });
                None
            }
            Some(Judgement::Again(_)) | None => {
                self.pause
                    .failed(self.upstream.now(), retry_after, &mut *dice);
                // What is said about the lane is not held against the row.
                pick.tries += u16::from(!kind.is_some_and(concerns_the_lane));
                if pick.tries >= TRIES_MAX || self.unanswered >= UNANSWERED_MAX {
                    self.over = true;
                    self.counts.problem = Some(CountProblem::Unreachable { message });
                    return None;
                }
                Some(pick)
            }
        }
    }
}

async fn until(wait: Span) {
    let micros = u64::try_from(wait.as_micros()).unwrap_or(0);
    // A timer may fire a little early.
    tokio::time::sleep(Duration::from_micros(micros + 1_000)).await;
}
