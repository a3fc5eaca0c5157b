//! Owns the simulator's own account of what was billed: a line per answered synchronous call
//! (answers that got lost on the way included) and per succeeded batch row. Rows that errored,
//! were canceled or expired cost nothing and have no line (Anthropic docs, batch processing).
//! Batch lines are derived from the batches' rows, not stored a second time. What `/_sim/bill`
//! says of it is `control`'s, the organisation's reports are `endpoint::reports`'.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::book::Book;
use crate::dice::{self, Purpose};
use crate::save::BadState;
use crate::stamp;

/// Where a request travelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// `POST /v1/messages`.
    Sync,
    /// A row of a batch.
    Batch,
}

/// Billed quantities of one call or row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Tally {
    /// Uncached input tokens.
    pub input: u32,
    /// Tokens written to the cache for five minutes.
    pub write_5m: u32,
    /// Tokens written to the cache for an hour.
    pub write_1h: u32,
    /// Tokens read from the cache.
    pub read: u32,
    /// Output tokens.
    pub output: u32,
    /// Inference in the US geography (1.1 times every class).
    pub us: bool,
    /// Fast mode.
    pub fast: bool,
}

impl Tally {
    /// All prompt tokens, cached or not.
    #[must_use]
    pub fn prompt(&self) -> u64 {
        [self.input, self.write_5m, self.write_1h, self.read]
            .into_iter()
            .map(u64::from)
            .sum()
    }
}

/// One billed call or row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillLine<'a> {
    /// The instant the price was taken at: creation of the call or of the batch, µs.
    pub at: i64,
    /// Where it travelled.
    pub lane: Lane,
    /// The resolved model id.
    pub model: &'a str,
    /// The message id, as the answer carries it.
    pub id: String,
    /// The batch and the row's `custom_id`; `None` on the sync lane.
    pub row: Option<(&'a str, &'a str)>,
    /// What was billed.
    pub tally: Tally,
    /// The price, picodollars.
    pub pico: i128,
    /// The answer was lost on the way: the caller cannot know this line.
    pub lost: bool,
}

/// A billed synchronous call, compactly.
#[derive(Debug, Serialize, Deserialize)]
struct Call {
    at: i64,
    number: u64,
    workspace: u64,
    model: u16,
    lost: bool,
    tally: Tally,
    pico: i128,
}

/// The running account.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Ledger {
    calls: Vec<Call>,
    sync: i128,
    batch: i128,
    rows: u64,
    /// What was billed in the calendar month that begins and ends at these instants.
    month: (i64, i64),
    month_pico: i128,
}

/// One billed call or row, as reports see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// When it was answered or, in a batch, ended.
    pub(crate) at: i64,
    /// When the price was taken.
    pub(crate) priced_at: i64,
    pub(crate) workspace: u64,
    pub(crate) lane: Lane,
    pub(crate) model: u16,
    pub(crate) tally: Tally,
}

impl Ledger {
    pub(crate) fn call(
        &mut self,
        at: i64,
        number: u64,
        workspace: u64,
        model: u16,
        tally: Tally,
        lost: bool,
    ) {
        let pico = Book::embedded().cost(at, Lane::Sync, model, &tally);
        self.sync += pico;
        self.spend(at, pico);
        self.calls.push(Call {
            at,
            number,
            workspace,
            model,
            lost,
            tally,
            pico,
        });
    }

    /// A row that ended at `at`, of a batch created at `created`.
    pub(crate) fn row(&mut self, created: i64, at: i64, model: u16, tally: &Tally) {
        let pico = Book::embedded().cost(created, Lane::Batch, model, tally);
        self.batch += pico;
        self.spend(at, pico);
        self.rows += 1;
    }

    /// Gives the calls of a saved state the present numbers of their models.
    pub(crate) fn restore(
        &mut self,
        mut model: impl FnMut(u16) -> Result<u16, BadState>,
    ) -> Result<(), BadState> {
        for call in &mut self.calls {
            call.model = model(call.model)?;
        }
        Ok(())
    }

    fn spend(&mut self, at: i64, pico: i128) {
        if at >= self.month.1 {
            self.month = stamp::month(at);
            self.month_pico = 0;
        }
        self.month_pico += pico;
    }

    /// Picodollars billed in the calendar month of `now`.
    pub(crate) fn this_month(&self, now: i64) -> i128 {
        if now < self.month.1 {
            self.month_pico
        } else {
            0
        }
    }
}

/// The message id of a call (its request number) or of a row (its batch's number and its index).
pub(crate) fn message_id(seed: u64, lane: Lane, a: u64, b: u64) -> String {
    let lane = lane as u64;
    dice::id(
        "msg_01",
        dice::roll(seed, Purpose::MessageId, a, lane << 32 | b),
        dice::roll(!seed, Purpose::MessageId, a, lane << 32 | b),
    )
}

/// The account as of the world's last instant.
#[derive(Clone, Copy, Debug)]
pub struct BillView<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) batches: &'a [Batch],
    pub(crate) seed: u64,
}

impl<'a> BillView<'a> {
    /// Everything billed so far, picodollars.
    #[must_use]
    pub fn total(&self) -> i128 {
        self.ledger.sync + self.ledger.batch
    }

    /// Everything billed on one lane so far, picodollars.
    #[must_use]
    pub fn of(&self, lane: Lane) -> i128 {
        match lane {
            Lane::Sync => self.ledger.sync,
            Lane::Batch => self.ledger.batch,
        }
    }

    /// Number of billed calls and rows.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.ledger.rows + self.calls()
    }

    /// Whether nothing was billed yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of billed batch rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.ledger.rows
    }

    /// Number of billed synchronous calls.
    #[must_use]
    pub fn calls(&self) -> u64 {
        u64::try_from(self.ledger.calls.len()).expect("a length fits u64")
    }

    /// Number of batches ever created.
    #[must_use]
    pub fn batches(&self) -> u64 {
        u64::try_from(self.batches.len()).expect("a length fits u64")
    }

    /// Billed batch rows beyond the first of the same `custom_id`, across the batches of a key.
    #[must_use]
    pub fn duplicates(&self) -> u64 {
        let mut seen: HashSet<u64, BuildHasherDefault<DefaultHasher>> = HashSet::default();
        let mut again = 0;
        for batch in self.batches {
            for (_, custom_id, _) in batch.billed() {
                let mut hasher = DefaultHasher::new();
                (batch.workspace(), custom_id).hash(&mut hasher);
                again += u64::from(!seen.insert(hasher.finish()));
            }
        }
        again
    }

    /// Number of synchronous calls that were billed and whose answers got lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let lost = self.ledger.calls.iter().filter(|call| call.lost).count();
        u64::try_from(lost).expect("a length fits u64")
    }

    /// Every billed call and row, for reports.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> + use<'a> {
        let calls = self.ledger.calls.iter().map(|call| Entry {
            at: call.at,
            priced_at: call.at,
            workspace: call.workspace,
            lane: Lane::Sync,
            model: call.model,
            tally: call.tally,
        });
        let rows = self.batches.iter().flat_map(|batch| {
            batch.ended_rows().map(move |(at, row)| Entry {
                at,
                priced_at: batch.created(),
                workspace: batch.workspace(),
                lane: Lane::Batch,
                model: row.model,
                tally: row.tally(),
            })
        });
        calls.chain(rows)
    }

    /// Every line: synchronous calls in the order of their arrival, then the rows batch by batch.
    pub fn lines(&self) -> impl Iterator<Item = BillLine<'a>> + use<'a> {
        let seed = self.seed;
        let book = Book::embedded();
        let calls = self.ledger.calls.iter().map(move |call| BillLine {
            at: call.at,
            lane: Lane::Sync,
            model: &book.model(call.model).id,
            id: message_id(seed, Lane::Sync, call.number, 0),
            row: None,
            tally: call.tally,
            pico: call.pico,
            lost: call.lost,
        });
        let rows = self.batches.iter().flat_map(move |batch| {
            batch.billed().map(move |(index, custom_id, row)| BillLine {
                at: batch.created(),
                lane: Lane::Batch,
                model: &book.model(row.model).id,
                id: batch.message_id(index),
                row: Some((batch.id(), custom_id)),
                tally: row.tally(),
                pico: book.cost(batch.created(), Lane::Batch, row.model, &row.tally()),
                lost: false,
            })
        });
        calls.chain(rows)
    }
}
