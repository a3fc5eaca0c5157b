//! What is compared: tokens by class, and money, of one model at one service tier.

use std::fmt;

use offpeak_wire::usage::Usage;
use serde::Serialize;

use crate::price::Lane;
use crate::units::Usd;

/// A service tier, as usage and reports name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Synchronous calls.
    Standard,
    /// Rows of batches.
    Batch,
    /// Committed capacity: `priority` and what begins like it. The cost report leaves it out.
    Priority,
    /// Any other, by its name.
    Other(String),
}

impl Tier {
    /// The tier of this name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        match name {
            "standard" => Self::Standard,
            "batch" => Self::Batch,
            name if name.starts_with("priority") => Self::Priority,
            name => Self::Other(name.to_owned()),
        }
    }

    /// The tier of an answer: that of its lane, unless its usage says that a synchronous call was
    /// served by another. What a batch costs is known whatever the usage says.
    #[must_use]
    pub fn of(lane: Lane, usage: &Usage) -> Self {
        match (lane, usage.service_tier.as_deref()) {
            (Lane::Batch, _) => Self::Batch,
            (Lane::Sync, Some(name)) => Self::named(name),
            (Lane::Sync, None) => Self::Standard,
        }
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Standard => "standard",
            Self::Batch => "batch",
            Self::Priority => "priority",
            Self::Other(name) => name,
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Tier {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What has a line of its own: a model at a tier.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Cell {
    /// The model, by its id in the price book, or by the name that the upstream has for it.
    pub model: String,
    /// The tier.
    pub tier: Tier,
}

/// A kind of cost.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Charge {
    /// Tokens of a model at a tier.
    Tokens(Cell),
    /// Anything else, by the name that the cost report has for it: `web_search`, `code_execution`.
    Fee(String),
}

/// A class of tokens, each with a price of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Prompt tokens that were neither read from nor written to the cache.
    Input,
    /// Written to the cache for five minutes.
    #[serde(rename = "write_5m")]
    Write5m,
    /// Written to the cache for an hour.
    #[serde(rename = "write_1h")]
    Write1h,
    /// Read from the cache.
    Read,
    /// Generated.
    Output,
}

impl Class {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 5] = [
        Self::Input,
        Self::Write5m,
        Self::Write1h,
        Self::Read,
        Self::Output,
    ];
}

/// Tokens of each class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts([u64; Class::ALL.len()]);

impl Counts {
    /// None but `tokens` of `class`.
    #[must_use]
    pub fn only(class: Class, tokens: u64) -> Self {
        let mut counts = Self::default();
        counts.0[class as usize] = tokens;
        counts
    }

    /// The tokens of an answer.
    #[must_use]
    pub fn of(usage: &Usage) -> Self {
        Self([
            usage.input_tokens,
            usage.write_5m,
            usage.write_1h,
            usage.cache_read_input_tokens,
            usage.output_tokens,
        ])
    }

    /// Those of one class.
    #[must_use]
    pub fn get(&self, class: Class) -> u64 {
        self.0[class as usize]
    }

    /// Adds others. Counts of tokens stay far below the limit of their type.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine = mine.saturating_add(theirs);
        }
    }

    /// What is left when at most `other` is taken from each class.
    #[must_use]
    pub fn less(&self, other: &Self) -> Self {
        let mut left = *self;
        for (mine, theirs) in left.0.iter_mut().zip(other.0) {
            *mine = mine.saturating_sub(theirs);
        }
        left
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0 == [0; Class::ALL.len()]
    }

    /// An answer with these tokens and nothing else.
    pub(super) fn as_usage(&self) -> Usage {
        let [input_tokens, write_5m, write_1h, read, output_tokens] = self.0;
        Usage {
            input_tokens,
            output_tokens,
            cache_creation_input_tokens: write_5m.saturating_add(write_1h),
            cache_read_input_tokens: read,
            write_5m,
            write_1h,
            ..Usage::default()
        }
    }
}

/// Tokens, and what they and what came with them cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Tokens.
    pub counts: Counts,
    /// What the tokens cost.
    pub tokens: Usd,
    /// What web searches cost on top.
    pub searches: Usd,
}

impl Amounts {
    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        self.tokens += other.tokens;
        self.searches += other.searches;
    }

    /// All of the money.
    #[must_use]
    pub fn cost(&self) -> Usd {
        self.tokens + self.searches
    }
}
