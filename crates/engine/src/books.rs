//! Our own books over a stretch of time, for all jobs of a data directory: what was billed by the usage
//! that the answers report, read again from what was received, and what may have been billed besides.
//!
//! Answers stream; what stays in memory is a sum per model, tier and minute. Leaves out the reports of
//! the upstream (`reports`) and the comparison (`offpeak_core::reconcile`).

use std::collections::BTreeMap;

use offpeak_core::job::shard::{JobId, Shard, ShardNo, ShardState};
use offpeak_core::price::{Book, Lane};
use offpeak_core::reconcile::{
    Allowance, Amounts, Books, Cell, Counts, Held, Stretch, Tier, Window,
};
use offpeak_core::units::{Span, Timestamp, Usd};
use offpeak_store::{JobRecord, Store};
use offpeak_wire::limits::BATCH_EXPIRY_S;

use crate::answers::{Prices, each_answer};
use crate::error::EngineError;
use crate::facts::read_facts;
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
            let shards = self.store.shards(&record.id)?;
            if window.touches(self.stretch_of(&record, &shards)) {
                self.job(&record, &shards, &spool(&record.id), &mut read)?;
                read.jobs.push(record);
            }
        }
        Ok(read)
    }

    fn job(
        &self,
        record: &JobRecord,
        shards: &[Shard],
        spool: &SpoolDir,
        read: &mut Read,
    ) -> Result<(), EngineError> {
        let facts = read_facts(record)?;
        let times = self.store.ledger_times(&record.id)?;
        let whole = self.stretch_of(record, shards);
        for shard in shards {
            let when = times.get(&shard.no).copied();
            match &shard.state {
                ShardState::Settled(tally) => {
                    let when = when.unwrap_or((record.created_at, self.now));
                    let mut allow = |why, cell, amount| {
                        let from = match shard.lane {
                            Lane::Batch => when.0,
                            // The ledger hears of calls only when all of them are settled.
                            Lane::Sync => record.created_at,
                        };
                        let when = self.clocks.upstream(from, when.1);
                        read.books.allow(Allowance {
                            why,
                            when,
                            cell,
                            amount,
                        });
                    };
                    allow(
                        Held::Unknown,
                        self.only_cell(&facts.models, shard.lane),
                        tally.unknown,
                    );
                    let finished = record.finished_at.unwrap_or(self.now);
                    let prices = Prices {
                        book: self.book,
                        models: &facts.models,
                        times: vec![when.0, when.1, record.created_at, finished],
                    };
                    match self.settled(spool, shard.no, &prices, when) {
                        Ok((billed, answers)) => {
                            read.answers += answers;
                            for ((cell, when), amounts) in billed {
                                read.books.bill(cell, when, &amounts);
                            }
                        }
                        Err(why) => {
                            allow(Held::Unread, None, tally.cost);
                            read.unread
                                .push(format!("{}, shard {}: {why}", record.name, shard.no));
                        }
                    }
                }
                ShardState::Running => {
                    let amount = match standing(spool, shard, self.book, &facts.models) {
                        Ok((tally, in_flight)) => tally.cost + tally.unknown + in_flight,
                        Err(error) => {
                            read.unread
                                .push(format!("{}, shard {}: {error}", record.name, shard.no));
                            Usd::ZERO
                        }
                    };
                    read.books.allow(Allowance {
                        why: Held::UnderWay,
                        when: whole,
                        cell: None,
                        amount,
                    });
                }
                // What their batches may cost is held in the ledger.
                ShardState::Planned
                | ShardState::Submitting(_)
                | ShardState::Unknown(_)
                | ShardState::InProgress(_)
                | ShardState::Canceling(_)
                | ShardState::Ended(_)
                | ShardState::Collected(_) => {}
            }
        }
        read.books.allow(Allowance {
            why: Held::UnderWay,
            when: whole,
            cell: None,
            amount: self.store.ledger(&record.id)?.held,
        });
        Ok(())
    }

    /// What the answers of a settled shard come to, and how many there are.
    fn settled(
        &self,
        spool: &SpoolDir,
        shard: ShardNo,
        prices: &Prices<'_>,
        (first, last): (Timestamp, Timestamp),
    ) -> Result<(BTreeMap<(Cell, Stretch), Amounts>, u64), String> {
        let mut billed: BTreeMap<(Cell, Stretch), Amounts> = BTreeMap::new();
        let mut answers = 0;
        let read = each_answer(spool, shard, prices, |found| {
            answers += 1;
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
            billed.entry((cell, when)).or_default().add(&amounts);
        });
        read.map(|()| (billed, answers))
            .map_err(|error| error.to_string())
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
