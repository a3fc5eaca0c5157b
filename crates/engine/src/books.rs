//! Our own books over a stretch of time, for all jobs of a data directory: what was billed by the usage
//! that the answers report, read again from what was received, and what may have been billed besides.
//!
//! Answers stream; what stays in memory is a sum per model, tier and minute. Leaves out the reports of
//! the upstream (`reports`) and the comparison (`offpeak_core::reconcile`).

use std::collections::BTreeMap;

use offpeak_core::job::outcome::Tally;
use offpeak_core::job::shard::{JobId, RESULTS_KEPT, Shard, ShardNo, ShardState};
use offpeak_core::price::{Book, Lane};
use offpeak_core::reconcile::{
    Allowance, Amounts, Books, Cell, Counts, Held, Stretch, Tier, Window,
};
use offpeak_core::units::{Span, Timestamp};
use offpeak_store::{JobRecord, Store};
use offpeak_wire::limits::BATCH_EXPIRY_S;

use crate::answers::{Prices, Unreadable, each_answer};
use crate::error::EngineError;
use crate::facts::JobFacts;
use crate::purge::purged;
use crate::recover::standing;
use crate::spool::SpoolDir;

/// Most that lies between the sending of a synchronous call and its end: the API's own limit is ten
/// minutes, and long answers are streamed.
const CALL_MAX: Span = Span::from_secs(3_600);

/// Calls of the same minute are entered as one.
const MINUTE: i64 = 60_000_000;

/// How the clock of the upstream stands to ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// Its time less ours.
    pub ahead: Span,
    /// What that, or the time that a call takes, may be off by.
    pub slack: Span,
}

impl Clocks {
    /// A stretch of our clock on the upstream's.
    fn upstream(self, from: Timestamp, to: Timestamp) -> Stretch {
        let ours = Stretch {
            from,
            to: to.max(from),
        };
        ours.on_clock(self.ahead, self.slack)
    }
}

/// What was read.
#[derive(Debug, Default)]
pub struct Read {
    /// The books, by the upstream's clock.
    pub books: Books,
    /// The jobs that have something in the window.
    pub jobs: Vec<JobRecord>,
    /// Answers that were priced again.
    pub answers: u64,
    /// What could not be read, in words: its sum is the ledger's.
    pub unread: Vec<String>,
}

/// What the answers of a shard come to.
#[derive(Debug, Default)]
struct Billed {
    answers: u64,
    sums: BTreeMap<(Cell, Stretch), Amounts>,
}

/// A job and where its files are.
#[derive(Debug)]
struct JobFiles<'a> {
    record: &'a JobRecord,
    spool: &'a SpoolDir,
    models: &'a [String],
}

impl JobFiles<'_> {
    /// What is wrong with a shard.
    fn named(&self, shard: &Shard, error: &dyn std::error::Error) -> String {
        format!("{}, shard {}: {error}", self.record.name, shard.no)
    }
}

/// Reads the books.
#[derive(Debug)]
pub struct Reader<'a> {
    /// The jobs.
    pub store: &'a Store,
    /// The prices.
    pub book: &'a Book,
    /// The upstream's clock.
    pub clocks: Clocks,
    /// Our time.
    pub now: Timestamp,
}

impl Reader<'_> {
    /// When things of a job may have been billed, on the upstream's clock.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn stretch(&self, record: &JobRecord) -> Result<Stretch, EngineError> {
        let shards = self.store.shards(&record.id)?;
        Ok(self.stretch_of(record, &shards))
    }

    fn stretch_of(&self, record: &JobRecord, shards: &[Shard]) -> Stretch {
        let settled = |shard: &Shard| matches!(shard.state, ShardState::Settled(_));
        let end = match record.finished_at {
            Some(finished) if shards.iter().all(settled) => finished,
            // A batch goes on upstream when its job is given up.
            Some(finished) => {
                (finished + Span::from_secs(BATCH_EXPIRY_S.cast_signed())).min(self.now)
            }
            None => self.now,
        };
        self.clocks.upstream(record.created_at, end)
    }

    /// Reads what every job has in a window; `spool` says where a job's files are. Blocking.
    ///
    /// # Errors
    /// If the store cannot be read. Files that cannot be are told in what is returned.
    pub fn read(
        &self,
        window: Window,
        spool: impl Fn(&JobId) -> SpoolDir,
    ) -> Result<Read, EngineError> {
        let mut read = Read::default();
        for record in self.store.jobs()? {
            self.wasted(&record, &mut read)?;
            let shards = self.store.shards(&record.id)?;
            if window.touches(self.stretch_of(&record, &shards)) {
                self.job(&record, &shards, &spool(&record.id), &mut read)?;
                read.jobs.push(record);
            }
        }
        Ok(read)
    }

    /// Enters batches that answer no row. They may be from before the job was known here.
    fn wasted(&self, record: &JobRecord, read: &mut Read) -> Result<(), EngineError> {
        let facts = JobFacts::of(record)?;
        for batch in self.store.waste(&record.id)? {
            read.books.allow(Allowance {
                why: Held::Wasted,
                when: self
                    .clocks
                    .upstream(record.created_at - RESULTS_KEPT, self.now),
                cell: self.only_cell(&facts.models, Lane::Batch),
                amount: batch.cost,
            });
        }
        Ok(())
    }

    fn job(
        &self,
        record: &JobRecord,
        shards: &[Shard],
        spool: &SpoolDir,
        read: &mut Read,
    ) -> Result<(), EngineError> {
        let facts = JobFacts::of(record)?;
        let times = self.store.ledger_times(&record.id)?;
        let job = JobFiles {
            record,
            spool,
            models: &facts.models,
        };
        let mut under_way = self.store.ledger(&record.id)?.held;
        let gone = purged(spool)?;
        if let Some(gone) = &gone {
            let (name, run, at) = (&record.name, record.run, &gone.at);
            read.unread.push(format!(
                "{name}, run {run}: its answers were purged on {at}"
            ));
            read.books.allow(Allowance {
                why: Held::Unread,
                when: self.stretch_of(record, shards),
                cell: None,
                amount: gone.calls.cost + gone.calls.unknown,
            });
        }
        for shard in shards {
            match &shard.state {
                ShardState::Settled(tally) => {
                    let times = times.get(&shard.no).copied();
                    let times = times.unwrap_or((record.created_at, self.now));
                    self.settled((&job, gone.is_some()), shard, tally, times, read);
                }
                ShardState::Running if gone.is_some() => {}
                ShardState::Running => match standing(spool, shard, self.book, &facts.models) {
                    Ok((tally, held)) => under_way += tally.cost + tally.unknown + held,
                    Err(error) => read.unread.push(job.named(shard, &error)),
                },
                // What their batches may cost is held in the ledger.
                ShardState::Planned
                | ShardState::Submitting(_)
                | ShardState::Unknown(_)
                | ShardState::GivenUp(_)
                | ShardState::InProgress(_)
                | ShardState::Canceling(_)
                | ShardState::Ended(_)
                | ShardState::Collected(_) => {}
            }
        }
        read.books.allow(Allowance {
            why: Held::UnderWay,
            when: self.stretch_of(record, shards),
            cell: None,
            amount: under_way,
        });
        Ok(())
    }

    /// Enters a settled shard, which the ledger knows from the first to the last of `times`.
    fn settled(
        &self,
        (job, is_purged): (&JobFiles<'_>, bool),
        shard: &Shard,
        tally: &Tally,
        times: (Timestamp, Timestamp),
        read: &mut Read,
    ) {
        let from = match shard.lane {
            Lane::Batch => times.0,
            // The ledger hears of calls only when all of them are settled.
            Lane::Sync => job.record.created_at,
        };
        let when = self.clocks.upstream(from, times.1);
        let mut allow = |why, cell, amount| {
            read.books.allow(Allowance {
                why,
                when,
                cell,
                amount,
            });
        };
        let cell = self.only_cell(job.models, shard.lane);
        allow(Held::Unknown, cell, tally.unknown);
        if is_purged {
            allow(Held::Unread, None, tally.cost);
            return;
        }
        match self.answers(job, (shard.no, tally), times) {
            Ok(billed) => {
                read.answers += billed.answers;
                for ((cell, when), amounts) in billed.sums {
                    read.books.bill(cell, when, &amounts);
                }
            }
            Err(error) => {
                allow(Held::Unread, None, tally.cost);
                read.unread.push(job.named(shard, &error));
            }
        }
    }

    /// What the answers of a settled shard come to. Half of them would be worse than none: what was not
    /// read would pass for the traffic of others.
    fn answers(
        &self,
        job: &JobFiles<'_>,
        shard: (ShardNo, &Tally),
        (first, last): (Timestamp, Timestamp),
    ) -> Result<Billed, Unreadable> {
        let finished = job.record.finished_at.unwrap_or(self.now);
        let prices = Prices {
            book: self.book,
            models: job.models,
            times: vec![first, last, job.record.created_at, finished],
        };
        let mut billed = Billed::default();
        each_answer(job.spool, shard, &prices, |found| {
            let usage = &found.answer.usage;
            let cell = Cell {
                model: model_id(self.book, &found.answer.model),
                tier: Tier::of(found.kept.route.lane, usage),
            };
            let when = match found.sent_at {
                Some(sent) => {
                    let minute =
                        Timestamp::from_micros(sent.as_micros().div_euclid(MINUTE) * MINUTE);
                    let ended = minute + Span::from_micros(MINUTE) + CALL_MAX;
                    self.clocks.upstream(minute, ended.min(last))
                }
                None => self.clocks.upstream(first, last),
            };
            let searches = self.book.web_search_fee().times(usage.web_search_requests);
            let amounts = Amounts {
                counts: Counts::of(usage),
                tokens: found.cost - searches,
                searches,
            };
            billed.sums.entry((cell, when)).or_default().add(&amounts);
            billed.answers += 1;
        })?;
        Ok(billed)
    }

    /// The cell of calls that nobody knows the answers of, if there is only one that it can be.
    fn only_cell(&self, models: &[String], lane: Lane) -> Option<Cell> {
        let [only] = models else {
            return None;
        };
        let tier = match lane {
            Lane::Sync => Tier::Standard,
            Lane::Batch => Tier::Batch,
        };
        let model = model_id(self.book, only);
        Some(Cell { model, tier })
    }
}

/// The name that a model has in the books: its id, for an alias too; or the name itself, if the price
/// book does not know it.
#[must_use]
pub fn model_id(book: &Book, name: &str) -> String {
    book.model(name)
        .map_or_else(|_| name.to_owned(), |model| model.id.clone())
}
