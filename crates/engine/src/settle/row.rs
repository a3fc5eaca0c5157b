//! One row's outcome: its answer priced and kept, or its line written, and its numbers counted.
//!
//! Leaves out where the answer comes from and whether the row is tried again (`batch`, `sync`).

use offpeak_core::job::outcome::{OutcomeClass, Tally};
use offpeak_core::job::shard::Shard;
use offpeak_core::price::Lane;
use offpeak_core::units::{Timestamp, Usd};
use offpeak_wire::error::ErrorKind;
use offpeak_wire::usage::Usage;

use super::answer::Answer;
use super::examples::{Examples, key_text};
use super::kept::Kept;
use super::line::{self, Line, Reason, Route};
use super::priced::priced;
use super::segment;
use super::{SettleContext, SettleError};
use crate::spool::{RowMeta, RowRef, SpooledRow};

/// Some rows, settled.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) tally: Tally,
    /// Records of the outcome segment.
    pub(super) framed: Vec<u8>,
    pub(super) leftovers: Vec<RowRef>,
    /// How many of the leftovers only expired.
    pub(super) expired: u32,
    pub(super) stop: Option<(ErrorKind, String)>,
    pub(super) examples: Examples,
}

/// A row of the shard: its reference, and what the spool knows of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) reference: RowRef,
    pub(super) key: &'a [u8],
    /// The model that its request names.
    pub(super) model: &'a str,
}

impl<'a> Row<'a> {
    pub(super) fn new(
        ctx: &SettleContext<'a>,
        reference: RowRef,
        spooled: &SpooledRow<'a>,
    ) -> Result<Self, SettleError> {
        let RowMeta { row, model, .. } = spooled.meta;
        let inconsistent = |problem| SettleError::Inconsistent {
            row: reference.row,
            problem,
        };
        if row != reference.row {
            return Err(inconsistent("its reference leads to another row"));
        }
        let model = ctx.models.get(usize::from(model));
        let model = model.ok_or_else(|| inconsistent("its model has no name"))?;
        Ok(Self {
            reference,
            key: spooled.key,
            model,
        })
    }

    /// What its answer cost, by the prices of `at`.
    pub(super) fn price(
        &self,
        ctx: &SettleContext<'_>,
        lane: Lane,
        at: Timestamp,
        answer: &Answer<'_>,
    ) -> Result<Tally, SettleError> {
        let models = [&*answer.model, self.model];
        let priced = priced(ctx.book, lane, at, models, &answer.usage);
        priced.map_err(|source| SettleError::Unpriced {
            row: self.reference.row,
            key: key_text(self.key),
            model: answer.model.to_string(),
            source: Box::new(source),
        })
    }
}

/// Tries that reached the upstream before this shard; every round that expired was one.
pub(super) fn attempts_before(reference: &RowRef) -> u32 {
    u32::from(reference.attempts) + u32::from(reference.round)
}

/// An answer as it was received.
#[derive(Debug, Clone)]
pub(super) struct Received<'a> {
    pub(super) class: OutcomeClass,
    pub(super) answer: Answer<'a>,
    /// Tries that reached the upstream.
    pub(super) attempts: u32,
    /// Where the message begins in the file that it was received into.
    pub(super) offset: u64,
    /// Bytes of the message.
    pub(super) len: u32,
}

/// How the rows of one shard travelled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Travel {
    pub(super) lane: Lane,
    /// The shard's rows carry a cache mark.
    pub(super) marked: bool,
}

impl Travel {
    pub(super) fn of(shard: &Shard) -> Self {
        Self {
            lane: shard.lane,
            marked: shard.mark.is_some(),
        }
    }
}

impl Part {
    /// A row was answered: final, whatever the answer says.
    pub(super) fn answered(
        &mut self,
        travel: Travel,
        reference: RowRef,
        received: &Received<'_>,
        priced: &Tally,
    ) {
        let Received { class, answer, .. } = received;
        self.tally.outcomes.count(*class);
        self.tally.add(priced);
        if !class.is_success() {
            let reason = format!("{} ({})", class.as_str(), answer.stop_reason.as_str());
            self.examples.add(reference.row, &reason);
        }
        let kept = Kept {
            class: *class,
            route: Route {
                lane: travel.lane,
                cache: travel.marked || touches_cache(&answer.usage),
            },
            attempts: received.attempts,
            cost: priced.cost,
            at: reference.at,
            offset: received.offset,
            len: received.len,
            places: answer.places,
        };
        segment::frame_kept(reference.row, &kept, &mut self.framed);
    }

    /// A row ends without an answer. It was not billed, or nobody knows and it was at most `in_doubt`: then
    /// its line names no cost, and the caller counts what is held for it.
    pub(super) fn failed(
        &mut self,
        travel: Travel,
        row: Row<'_>,
        attempts: u32,
        class: OutcomeClass,
        reason: Reason<'_>,
        in_doubt: Usd,
    ) {
        if class != OutcomeClass::Canceled {
            let text = format!("{}: {}", reason.kind, reason.message);
            self.examples.add(row.reference.row, &text);
        }
        if in_doubt == Usd::ZERO {
            self.ended(travel, row, attempts, class, Some(Usd::ZERO), reason);
            return;
        }
        let message = format!(
            "{}; the row may have been billed, at most ${}",
            reason.message,
            in_doubt.to_decimal()
        );
        let message = &message;
        let reason = Reason { message, ..reason };
        self.ended(travel, row, attempts, class, None, reason);
    }

    /// A try whose cost nobody knows, but that it is at most `held`.
    pub(super) fn hold(&mut self, held: Usd) {
        self.tally.unknown += held;
        self.tally.unknown_calls += 1;
    }

    /// A row was billed, but what came of it cannot be read: its line names no cost. The caller
    /// counts what is held for it.
    pub(super) fn unreadable(
        &mut self,
        travel: Travel,
        row: Row<'_>,
        attempts: u32,
        held: Usd,
        problem: &str,
    ) {
        let class = OutcomeClass::ResultUnreadable;
        self.examples.add(row.reference.row, problem);
        let message = format!(
            "{problem}; the row was probably billed, at most ${}",
            held.to_decimal()
        );
        self.ended(
            travel,
            row,
            attempts,
            class,
            None,
            Reason::of_class(class, &message),
        );
    }

    fn ended(
        &mut self,
        travel: Travel,
        row: Row<'_>,
        attempts: u32,
        class: OutcomeClass,
        cost: Option<Usd>,
        error: Reason<'_>,
    ) {
        self.tally.outcomes.count(class);
        let route = (attempts > 0).then_some(Route {
            lane: travel.lane,
            cache: travel.marked,
        });
        let error = Some(error);
        let line = Line {
            key: row.key,
            class,
            answer: None,
            cost,
            route,
            attempts,
            error,
            reused: None,
        };
        segment::frame_line(row.reference.row, &mut self.framed, |out| {
            line::write_line(&line, out);
        });
    }

    /// A row is left to a later shard.
    pub(super) fn left_over(&mut self, reference: RowRef) {
        self.tally.leftovers += 1;
        self.leftovers.push(reference);
    }
}

fn touches_cache(usage: &Usage) -> bool {
    usage.cache_read_input_tokens > 0 || usage.cache_creation_input_tokens > 0
}
