//! One row's outcome: its answer priced, its line written, its numbers counted.
//!
//! Leaves out where the answer comes from and whether the row is tried again (`batch`, `sync`).

use offpeak_core::job::outcome::{OutcomeClass, Tally};
use offpeak_core::price::Lane;
use offpeak_core::units::{Timestamp, Usd};
use offpeak_wire::error::ErrorKind;
use offpeak_wire::usage::Usage;

use super::answer::Answer;
use super::line::{self, Line, Reason, Route};
use super::priced::priced;
use super::segment;
use super::{SettleContext, SettleError};
use crate::spool::{RowMeta, RowRef, SpooledRow};

/// Examples of failures that a settlement shows.
const EXAMPLES_MAX: usize = 3;

/// Characters of a key or a message within an example.
const EXAMPLE_CHARS: usize = 120;

/// A run of rows, settled.
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

/// A few failures, each for another reason.
#[derive(Debug, Default)]
pub(super) struct Examples(Vec<(String, String)>);

impl Examples {
    fn add(&mut self, row: u64, key: &[u8], reason: &str) {
        if self.0.len() < EXAMPLES_MAX && !self.0.iter().any(|(known, _)| known == reason) {
            let text = format!("row {row} (key {}): {}", key_text(key), short(reason));
            self.0.push((reason.to_owned(), text));
        }
    }

    /// Adds those of later rows.
    pub(super) fn extend(&mut self, later: Self) {
        for (reason, text) in later.0 {
            if self.0.len() < EXAMPLES_MAX && !self.0.iter().any(|(known, _)| *known == reason) {
                self.0.push((reason, text));
            }
        }
    }

    pub(super) fn into_texts(self) -> Vec<String> {
        self.0.into_iter().map(|(_, text)| text).collect()
    }
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

    /// Tries that reached the upstream before this shard; every round that expired was one.
    pub(super) fn attempts_before(&self) -> u32 {
        u32::from(self.reference.attempts) + u32::from(self.reference.round)
    }
}

/// How the rows of one shard travelled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Travel {
    pub(super) lane: Lane,
    /// The shard's rows carry a cache mark.
    pub(super) marked: bool,
}

impl Part {
    /// A row was answered: final, whatever the answer says.
    pub(super) fn answered(
        &mut self,
        ctx: &SettleContext<'_>,
        travel: Travel,
        row: Row<'_>,
        at: Timestamp,
        attempts: u32,
        (class, answer): (OutcomeClass, Answer<'_>),
    ) -> Result<(), SettleError> {
        let usage = &answer.usage;
        let priced = priced(ctx.book, travel.lane, at, [&answer.model, row.model], usage);
        let priced = priced.map_err(|source| SettleError::Unpriced {
            row: row.reference.row,
            key: key_text(row.key),
            model: answer.model.to_string(),
            source: Box::new(source),
        })?;
        self.tally.outcomes.count(class);
        self.tally.add(&priced);
        if !class.is_success() {
            let reason = format!("{} ({})", class.as_str(), answer.stop_reason.as_str());
            self.examples.add(row.reference.row, row.key, &reason);
        }
        let cache = travel.marked || touches_cache(usage);
        self.write(
            row,
            &Line {
                key: row.key,
                class,
                answer: Some(answer.shown),
                cost: Some(priced.cost),
                route: Some(Route {
                    lane: travel.lane,
                    cache,
                }),
                attempts,
                error: None,
            },
        );
        Ok(())
    }

    /// A row ends without an answer, and was not billed.
    pub(super) fn failed(
        &mut self,
        travel: Travel,
        row: Row<'_>,
        attempts: u32,
        class: OutcomeClass,
        reason: Reason<'_>,
    ) {
        if class != OutcomeClass::Canceled {
            let text = format!("{}: {}", reason.kind, reason.message);
            self.examples.add(row.reference.row, row.key, &text);
        }
        self.ended(travel, row, attempts, class, Some(Usd::ZERO), reason);
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
        self.examples.add(row.reference.row, row.key, problem);
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
        self.write(
            row,
            &Line {
                key: row.key,
                class,
                answer: None,
                cost,
                route,
                attempts,
                error,
            },
        );
    }

    fn write(&mut self, row: Row<'_>, line: &Line<'_>) {
        segment::frame(row.reference.row, &mut self.framed, |out| {
            line::write_line(line, out);
        });
    }

    /// Adds the part of the rows that follow; what is already in the segment is not kept.
    pub(super) fn append(&mut self, later: Self) {
        self.tally.add(&later.tally);
        self.leftovers.extend(later.leftovers);
        self.expired += later.expired;
        self.examples.extend(later.examples);
        if self.stop.is_none() {
            self.stop = later.stop;
        }
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

fn key_text(key: &[u8]) -> String {
    short(&String::from_utf8_lossy(key)).to_owned()
}

fn short(text: &str) -> &str {
    text.char_indices()
        .nth(EXAMPLE_CHARS)
        .map_or(text, |(end, _)| &text[..end])
}
