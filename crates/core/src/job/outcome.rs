//! The terminal state of a row, its classes, and the sums of them that a shard and a job keep.
//!
//! Leaves out the decision whether a row is tried again (`retry`).

use serde::{Deserialize, Serialize};

use crate::units::Usd;

/// The classes of outcome (`architecture.md`). The order is that of every table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeClass {
    /// Answered.
    Succeeded,
    /// Answered, but cut at `max_tokens` or at the context window.
    Truncated,
    /// Answered with a refusal.
    Refused,
    /// Answered with `pause_turn`: a server tool loop that the caller must continue.
    Paused,
    /// Failed for a reason that another try would not change.
    Errored,
    /// Failed every try it had.
    Exhausted,
    /// Expired upstream, and was not sent again.
    Expired,
    /// Canceled.
    Canceled,
    /// Not a request that can be sent; never was.
    Invalid,
    /// Billed, but its result line is missing or cannot be read.
    ResultUnreadable,
}

impl OutcomeClass {
    /// All classes, in table order.
    pub const ALL: [Self; 10] = [
        Self::Succeeded,
        Self::Truncated,
        Self::Refused,
        Self::Paused,
        Self::Errored,
        Self::Exhausted,
        Self::Expired,
        Self::Canceled,
        Self::Invalid,
        Self::ResultUnreadable,
    ];

    /// The name in outputs and manifests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Truncated => "truncated",
            Self::Refused => "refused",
            Self::Paused => "paused",
            Self::Errored => "errored",
            Self::Exhausted => "exhausted",
            Self::Expired => "expired",
            Self::Canceled => "canceled",
            Self::Invalid => "invalid",
            Self::ResultUnreadable => "result_unreadable",
        }
    }

    /// Whether the row counts as succeeded.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::Succeeded
    }

    /// Whether the class is evidence that the bulk would fail in the same way.
    #[must_use]
    pub fn alarms(self) -> bool {
        matches!(self, Self::Truncated | Self::Refused | Self::Errored)
    }
}

/// Rows per outcome class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes([u64; OutcomeClass::ALL.len()]);

impl Outcomes {
    /// Counts one more row.
    pub fn count(&mut self, class: OutcomeClass) {
        self.0[class as usize] += 1;
    }

    /// Rows of one class.
    #[must_use]
    pub fn of(&self, class: OutcomeClass) -> u64 {
        self.0[class as usize]
    }

    /// The same rows when every answer among them was lost after it was counted.
    #[must_use]
    pub fn without_answers(mut self) -> Self {
        for class in [
            OutcomeClass::Succeeded,
            OutcomeClass::Truncated,
            OutcomeClass::Refused,
            OutcomeClass::Paused,
        ] {
            let rows = std::mem::take(&mut self.0[class as usize]);
            self.0[OutcomeClass::ResultUnreadable as usize] += rows;
        }
        self
    }

    /// Rows that went through, whatever the answer says.
    #[must_use]
    pub fn answered(&self) -> u64 {
        use OutcomeClass::{Paused, Refused, ResultUnreadable, Succeeded, Truncated};
        let classes = [Succeeded, Truncated, Refused, Paused, ResultUnreadable];
        classes.into_iter().map(|class| self.of(class)).sum()
    }

    /// Rows of all classes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Classes with at least one row, in table order.
    pub fn iter(&self) -> impl Iterator<Item = (OutcomeClass, u64)> + '_ {
        OutcomeClass::ALL
            .into_iter()
            .map(|c| (c, self.of(c)))
            .filter(|(_, n)| *n > 0)
    }

    /// Adds other counts.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}

/// What the rows of a shard, a lane or a job came to. Sums only, so that adding tallies of parts
/// gives the tally of the whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Rows with a terminal outcome.
    pub outcomes: Outcomes,
    /// Rows handed to a later shard.
    pub leftovers: u64,
    /// Tries that reached the upstream: rows of batches, and synchronous calls.
    pub attempts: u64,
    /// What was billed, from reported usage.
    pub cost: Usd,
    /// Most that calls of unknown outcome may have cost; the upstream's bill may exceed `cost` by
    /// up to this.
    pub unknown: Usd,
    /// Calls of unknown outcome.
    pub unknown_calls: u64,
    /// What the same answers would have cost synchronously without caching.
    pub naive: Usd,
    /// What the same answers would have cost in a batch without caching.
    pub plain_batch: Usd,
    /// Prompt tokens that were neither read from nor written to the cache.
    pub input_tokens: u64,
    /// Prompt tokens read from the cache.
    pub cache_read_tokens: u64,
    /// Prompt tokens written to the cache.
    pub cache_write_tokens: u64,
    /// Generated tokens.
    pub output_tokens: u64,
    /// Answers that read more of their prompt from the cache than they wrote to it.
    #[serde(default)]
    pub cache_hits: u64,
    /// The other answers that wrote to it.
    #[serde(default)]
    pub cache_misses: u64,
}

impl Tally {
    /// Adds another part.
    pub fn add(&mut self, other: &Self) {
        self.outcomes.add(&other.outcomes);
        self.leftovers += other.leftovers;
        self.attempts += other.attempts;
        self.cost += other.cost;
        self.unknown += other.unknown;
        self.unknown_calls += other.unknown_calls;
        self.naive += other.naive;
        self.plain_batch += other.plain_batch;
        self.input_tokens += other.input_tokens;
        self.cache_read_tokens += other.cache_read_tokens;
        self.cache_write_tokens += other.cache_write_tokens;
        self.output_tokens += other.output_tokens;
        self.cache_hits += other.cache_hits;
        self.cache_misses += other.cache_misses;
    }

    /// Share of prompt tokens that were read from the cache, 0 to 1; `None` without any.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share for display")]
    pub fn cache_hit_share(&self) -> Option<f64> {
        let all = self.input_tokens + self.cache_read_tokens + self.cache_write_tokens;
        (all > 0).then(|| self.cache_read_tokens as f64 / all as f64)
    }
}
