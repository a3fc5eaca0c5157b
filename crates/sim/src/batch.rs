//! Owns a message batch: its rows' life from creation to archival, and the object that describes
//! it. Which instants rows run at is `profile`'s, the endpoints are `endpoint::batches`'.
//!
//! A row keeps a few numbers, not its params: its result line is written again for each download.

mod create;
mod results;
mod row;

use std::sync::Arc;

use offpeak_wire::limits::{BATCH_EXPIRY_S, RESULTS_RETENTION_DAYS};
use serde::{Deserialize, Serialize};

use crate::bill::{self, Lane, Ledger};
use crate::cache::{Cache, Moment};
use crate::config::Config;
use crate::dice::{self, Purpose};
use crate::profile::Curve;
use crate::rule::Effects;
use crate::save::BadState;
use crate::stamp::{self, DAY, SECOND};

pub(crate) use create::{Draft, Origin};
pub use results::{Cut, Lines};
pub(crate) use row::{Outcome, Row, Rows};

/// One batch. Ranks are rows in running order, indices rows in input order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Batch {
    number: u32,
    id: String,
    workspace: u64,
    created: i64,
    /// Until when it is neither found nor listed.
    hidden_until: i64,
    curve: Curve,
    /// How long a cancellation takes to settle, µs.
    cancel_settles: i64,
    /// Index by rank; follows from the seed and is not saved.
    #[serde(skip)]
    order: Vec<u32>,
    #[serde(with = "saved_rows")]
    rows: Arc<Rows>,
    /// Ranks below have started.
    started: u32,
    /// Ranks below have ended.
    finished: u32,
    canceled_at: Option<i64>,
    ended_at: Option<i64>,
    deleted: bool,
    downloads: u64,
    counts: Counts,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) processing: u32,
    pub(crate) succeeded: u32,
    pub(crate) errored: u32,
    pub(crate) canceled: u32,
    pub(crate) expired: u32,
}

impl Counts {
    fn settle(&mut self, outcome: Outcome) {
        self.processing -= 1;
        match outcome {
            Outcome::Succeeded => self.succeeded += 1,
            Outcome::Invalid | Outcome::ApiError | Outcome::Overloaded => self.errored += 1,
            Outcome::Canceled => self.canceled += 1,
            Outcome::Expired => self.expired += 1,
            Outcome::Pending => unreachable!("a row that ends has an outcome"),
        }
    }
}

impl Batch {
    pub(crate) fn new(
        config: &Config,
        number: u32,
        workspace: u64,
        created: i64,
        draft: Draft,
    ) -> Self {
        let (seed, n) = (config.seed, u64::from(number));
        let count = draft.len();
        let roll = |purpose, b| dice::roll(seed, purpose, n, b);
        Self {
            number,
            id: dice::id(
                "msgbatch_01",
                roll(Purpose::BatchId, 0),
                roll(Purpose::BatchId, 1),
            ),
            workspace,
            created,
            hidden_until: created + config.faults.hidden_for(n),
            curve: Curve::new(config.profile, count, config.workers, created, seed, n),
            cancel_settles: i64::from(config.cancel_settles_s) * SECOND,
            order: run_order(seed, number, count),
            rows: Arc::new(draft.into_rows(number, seed)),
            started: 0,
            finished: 0,
            canceled_at: None,
            ended_at: None,
            deleted: false,
            downloads: 0,
            counts: Counts {
                processing: count,
                ..Counts::default()
            },
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn workspace(&self) -> u64 {
        self.workspace
    }

    pub(crate) fn created(&self) -> i64 {
        self.created
    }

    pub(crate) fn is_visible(&self, workspace: u64, now: i64) -> bool {
        self.workspace == workspace && !self.deleted && self.hidden_until <= now
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended_at.is_some()
    }

    pub(crate) fn is_archived(&self, now: i64) -> bool {
        now >= self.archival()
    }

    /// Results live 29 days from the creation, not from the end (Anthropic docs, batch processing).
    fn archival(&self) -> i64 {
        self.created + i64::try_from(RESULTS_RETENTION_DAYS).expect("a few days") * DAY
    }

    fn expiry(&self) -> i64 {
        self.created + i64::try_from(BATCH_EXPIRY_S).expect("a day") * SECOND
    }

    /// Keeps the batch out of sight for so long after its creation.
    pub(crate) fn hide(&mut self, micros: i64) {
        self.hidden_until = self.hidden_until.max(self.created.saturating_add(micros));
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    pub(crate) fn is_canceling(&self) -> bool {
        !self.has_ended() && self.canceled_at.is_some()
    }

    pub(crate) fn queued(&self) -> u32 {
        self.counts.processing
    }

    fn len(&self) -> u32 {
        u32::try_from(self.order.len()).expect("a batch's rows fit u32")
    }

    /// When the next row starts, if one still does.
    pub(crate) fn next_start(&self) -> Option<i64> {
        if self.started == self.len() || self.has_ended() {
            return None;
        }
        let last = self.canceled_at.unwrap_or_else(|| self.expiry());
        self.curve.start(self.started).filter(|&at| at <= last)
    }

    /// Starts the next row: its prompt goes through the cache.
    pub(crate) fn start_next(&mut self, at: i64, cache: &mut Cache) {
        let rank = self.started;
        self.started += 1;
        let begins = self.curve.first_byte(rank, at);
        let index = self.order[usize_of(rank)];
        let row = &mut Self::owned(&mut self.rows).list[usize_of(index)];
        let Some(spots) = row.spots.take() else {
            return;
        };
        if row.outcome == Outcome::Pending {
            let moment = Moment {
                start: at,
                begins,
                batch: Some(self.number),
            };
            row.split = cache.pass(&spots, row.split.input, moment);
        }
    }

    /// Results are only handed out after the end, so until then nobody else holds the rows.
    fn owned(rows: &mut Arc<Rows>) -> &mut Rows {
        Arc::get_mut(rows).expect("no download before the end")
    }

    /// Ends what has ended by `now`, and says how many rows that were. Every start up to then must
    /// have been made.
    pub(crate) fn settle(&mut self, now: i64, ledger: &mut Ledger) -> u32 {
        if self.has_ended() {
            return 0;
        }
        let before = self.finished;
        let end = self.end();
        let reached = now.min(end);
        while self.finished < self.started
            && let Some(at) = self.curve.finish(self.finished)
            && at <= reached
        {
            let index = usize_of(self.order[usize_of(self.finished)]);
            let row = &mut Self::owned(&mut self.rows).list[index];
            if row.outcome == Outcome::Pending {
                row.outcome = Outcome::Succeeded;
                ledger.row(self.created, at, row.model, &row.tally());
            }
            self.counts.settle(row.outcome);
            self.finished += 1;
        }
        if now >= end {
            self.close(end);
        }
        self.finished - before
    }

    /// When the batch ends, as things stand.
    fn end(&self) -> i64 {
        match self.canceled_at {
            Some(at) => (at + self.cancel_settles).min(self.expiry()),
            None => {
                let last = self.curve.finish(self.len() - 1);
                last.unwrap_or(i64::MAX).min(self.expiry())
            }
        }
    }

    fn close(&mut self, end: i64) {
        let left = match self.canceled_at {
            Some(_) => Outcome::Canceled,
            None => Outcome::Expired,
        };
        for rank in self.finished..self.len() {
            let index = usize_of(self.order[usize_of(rank)]);
            let row = &mut Self::owned(&mut self.rows).list[index];
            row.outcome = left;
            row.spots = None;
            self.counts.settle(left);
        }
        self.finished = self.len();
        self.started = self.len();
        self.ended_at = Some(end);
    }

    /// Asks for the end. Idempotent while it is coming; false after the end.
    pub(crate) fn cancel(&mut self, now: i64) -> bool {
        if !self.has_ended() {
            self.canceled_at.get_or_insert(now);
        }
        !self.has_ended()
    }

    /// False while it is running.
    pub(crate) fn delete(&mut self) -> bool {
        self.deleted = self.has_ended();
        self.deleted
    }

    /// A download of the results of an ended batch.
    pub(crate) fn download(&mut self, config: &Config, effects: &Effects) -> Lines {
        let nth = self.downloads;
        self.downloads += 1;
        Lines::new(Arc::clone(&self.rows), config, nth, effects)
    }

    /// Every billed row with the instant it ended at.
    pub(crate) fn ended_rows(&self) -> impl Iterator<Item = (i64, &Row)> {
        (0..self.finished).filter_map(|rank| {
            let row = &self.rows.list[usize_of(self.order[usize_of(rank)])];
            let billed = row.outcome == Outcome::Succeeded;
            billed
                .then(|| Some((self.curve.finish(rank)?, row)))
                .flatten()
        })
    }

    /// Every billed row with its index and `custom_id`.
    pub(crate) fn billed(&self) -> impl Iterator<Item = (u32, &str, &Row)> {
        let rows = (0..self.len()).map(|i| (i, &self.rows.list[usize_of(i)]));
        rows.filter(|(_, row)| row.outcome == Outcome::Succeeded)
            .map(|(i, row)| (i, self.rows.custom_id(i), row))
    }

    pub(crate) fn message_id(&self, index: u32) -> String {
        self.rows.message_id(index)
    }

    /// Completes a batch that was read from a saved state: its order, and the models of its rows,
    /// whose numbers may have changed since.
    pub(crate) fn restore(
        &mut self,
        mut model: impl FnMut(u16) -> Result<u16, BadState>,
    ) -> Result<(), BadState> {
        let rows = Self::owned(&mut self.rows);
        let count = u32::try_from(rows.list.len()).map_err(|_| BadState::Damaged)?;
        for row in &mut rows.list {
            row.model = match row.outcome {
                Outcome::Invalid => 0,
                _ => model(row.model)?,
            };
        }
        self.order = run_order(rows.seed, self.number, count);
        Ok(())
    }

    /// The object that describes the batch.
    pub(crate) fn object(&self, now: i64, origin: &Origin, live_counts: bool) -> impl Serialize {
        #[derive(Serialize)]
        struct Object<'a> {
            id: &'a str,
            r#type: &'static str,
            processing_status: &'static str,
            request_counts: Counts,
            created_at: String,
            expires_at: String,
            ended_at: Option<String>,
            cancel_initiated_at: Option<String>,
            archived_at: Option<String>,
            results_url: Option<String>,
        }
        let counts = if self.has_ended() || live_counts {
            self.counts
        } else {
            Counts {
                processing: self.len(),
                ..Counts::default()
            }
        };
        Object {
            id: &self.id,
            r#type: "message_batch",
            processing_status: match (self.ended_at, self.canceled_at) {
                (Some(_), _) => "ended",
                (None, Some(_)) => "canceling",
                (None, None) => "in_progress",
            },
            request_counts: counts,
            created_at: stamp::rfc3339(self.created),
            expires_at: stamp::rfc3339(self.expiry()),
            ended_at: self.ended_at.map(stamp::rfc3339),
            cancel_initiated_at: self.canceled_at.map(stamp::rfc3339),
            archived_at: self
                .is_archived(now)
                .then(|| stamp::rfc3339(self.archival())),
            results_url: self.has_ended().then(|| origin.results_url(&self.id)),
        }
    }
}

fn run_order(seed: u64, number: u32, count: u32) -> Vec<u32> {
    let roll = dice::roll(seed, Purpose::RunOrder, u64::from(number), 0);
    dice::shuffled(count, roll)
}

/// Rows are shared with downloads, and saved as what they are.
mod saved_rows {
    use super::{Arc, Deserialize, Rows, Serialize};

    pub(super) fn serialize<S: serde::Serializer>(
        rows: &Arc<Rows>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        Rows::serialize(rows, serializer)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<Rows>, D::Error> {
        Rows::deserialize(deserializer).map(Arc::new)
    }
}

fn usize_of(n: u32) -> usize {
    usize::try_from(n).expect("the simulator needs 32 bits")
}

impl Rows {
    fn message_id(&self, index: u32) -> String {
        bill::message_id(
            self.seed,
            Lane::Batch,
            u64::from(self.batch),
            u64::from(index),
        )
    }
}
