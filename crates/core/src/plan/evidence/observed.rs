//! What a settled shard has to say to later plans: sums over its rows, without a word of them.
//!
//! Leaves out what follows from the sums of many shards (`evidence`).

use std::collections::BTreeMap;

use offpeak_wire::request::Ttl;
use serde::{Deserialize, Serialize};

use crate::plan::posterior::telling;
use crate::plan::tokens::SPREAD;

use super::OUTPUT_SHARES;

/// Calls that the first belief about the spread of token counts weighs.
const PRIOR_CALLS: f64 = 2.0;
/// A count is an estimate itself: no spread is narrower (Anthropic docs, token counting).
const LEAST_SPREAD: f64 = 0.01;

/// Groups of more rows are all alike: no batch has so many.
const LARGEST_CLASS: u8 = 16;

/// What one settled shard showed of the calls to one model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// The model's id in the price book.
    pub model: String,
    /// Tokens billed for the bytes of its requests.
    #[serde(default)]
    pub tokens: TokenSums,
    /// Tokens generated, as shares of `max_tokens`.
    #[serde(default)]
    pub outputs: OutputSums,
    /// Rows that read their preamble, and rows that wrote it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hits: Vec<HitCount>,
}

/// Sums over calls whose bytes and tokens are known; enough for the spread of their ratio. Floating
/// point, since a call that fades weighs less than one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenSums {
    calls: f64,
    bytes: f64,
    tokens: f64,
    bytes_squared: f64,
    tokens_squared: f64,
    product: f64,
}

impl TokenSums {
    /// Notes a call: bytes of its request, unmarked, and its input tokens without the hidden prompt
    /// of tools.
    pub fn note(&mut self, bytes: u64, tokens: u64) {
        let (bytes, tokens) = (bytes as f64, tokens as f64);
        self.calls += 1.0;
        self.bytes += bytes;
        self.tokens += tokens;
        self.bytes_squared += bytes * bytes;
        self.tokens_squared += tokens * tokens;
        self.product += bytes * tokens;
    }

    /// Adds other sums, which weigh so much.
    pub(super) fn add(&mut self, other: &Self, weight: f64) {
        self.calls += weight * other.calls;
        self.bytes += weight * other.bytes;
        self.tokens += weight * other.tokens;
        self.bytes_squared += weight * other.bytes_squared;
        self.tokens_squared += weight * other.tokens_squared;
        self.product += weight * other.product;
    }

    /// Calls.
    #[must_use]
    pub fn calls(&self) -> u64 {
        rounded(self.calls)
    }

    /// Tokens of a byte.
    #[must_use]
    pub fn per_byte(&self) -> Option<f64> {
        (self.bytes > 0.0 && self.tokens > 0.0).then(|| self.tokens / self.bytes)
    }

    /// How far the mean of such calls may be off, as a share: about two standard errors of the
    /// ratio. The spread that is assumed without any counts weighs two calls among them, so that few
    /// calls that agree by chance do not pass for certainty.
    #[must_use]
    pub(super) fn spread(&self) -> f64 {
        let Some(ratio) = self.per_byte() else {
            return SPREAD;
        };
        let residuals =
            self.tokens_squared - 2.0 * ratio * self.product + ratio * ratio * self.bytes_squared;
        let mean = self.tokens / self.calls;
        // Two standard deviations, squared, as the assumed spread is taken to be.
        let seen = 4.0 * residuals.max(0.0) / (mean * mean);
        let assumed = PRIOR_CALLS * SPREAD * SPREAD;
        let degrees = PRIOR_CALLS + (self.calls - 1.0).max(0.0);
        let spread = ((assumed + seen) / degrees / self.calls.max(1.0)).sqrt();
        spread.clamp(LEAST_SPREAD, SPREAD)
    }

    /// The spread of sums over all calls there are.
    pub(super) fn floor(&self) -> f64 {
        self.per_byte().map_or(SPREAD, |_| LEAST_SPREAD)
    }
}

/// Edges of the classes of shares: each a square root of a half of the one before, down to 1/1024.
const SHARE_CLASSES: usize = 21;

fn upper_edge(class: usize) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "at most twenty")]
    let halvings = class as f64 / 2.0;
    0.5_f64.powf(halvings)
}

fn class_of(share: f64) -> usize {
    (0..SHARE_CLASSES)
        .rev()
        .find(|&class| share <= upper_edge(class))
        .unwrap_or(0)
}

/// Answers by the share of their `max_tokens` that they took.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OutputSums {
    calls: f64,
    tokens: f64,
    most: f64,
    /// Answers by class of share, the largest first; empty if there are none.
    classes: Vec<f64>,
}

impl OutputSums {
    /// Notes an answer of so many tokens, of at most so many.
    pub fn note(&mut self, tokens: u64, max_tokens: u64) {
        if max_tokens == 0 {
            return;
        }
        let (tokens, most) = (tokens as f64, max_tokens as f64);
        self.calls += 1.0;
        self.tokens += tokens;
        self.most += most;
        self.classes.resize(SHARE_CLASSES, 0.0);
        self.classes[class_of(tokens / most)] += 1.0;
    }

    pub(super) fn add(&mut self, other: &Self, weight: f64) {
        self.calls += weight * other.calls;
        self.tokens += weight * other.tokens;
        self.most += weight * other.most;
        self.classes.resize(SHARE_CLASSES, 0.0);
        for (mine, theirs) in self.classes.iter_mut().zip(&other.classes) {
            *mine += weight * theirs;
        }
    }

    /// Answers.
    #[must_use]
    pub fn calls(&self) -> u64 {
        rounded(self.calls)
    }

    /// The tenth, the mean and the nine tenths of the shares. The three that are assumed without any
    /// answers weigh an answer each, so that it takes about thirty to leave them behind.
    #[must_use]
    pub(super) fn shares(&self) -> [f64; 3] {
        let [low, expected, high] = OUTPUT_SHARES;
        if self.calls <= 0.0 || self.most <= 0.0 {
            return OUTPUT_SHARES;
        }
        let mut classes = self.classes.clone();
        classes.resize(SHARE_CLASSES, 0.0);
        for assumed in OUTPUT_SHARES {
            classes[class_of(assumed)] += 1.0;
        }
        let all: f64 = classes.iter().sum();
        // From the shortest answers up.
        let quantile = |share: f64, edge: fn(usize) -> f64, end: f64| {
            let mut below = 0.0;
            for class in (0..SHARE_CLASSES).rev() {
                below += classes[class];
                if below >= share * all {
                    return edge(class);
                }
            }
            end
        };
        let mean = (self.tokens / self.most * self.calls + expected) / (self.calls + 1.0);
        let mean = mean.clamp(0.0, 1.0);
        let lower_edge = |class: usize| match class + 1 {
            SHARE_CLASSES => 0.0,
            next => upper_edge(next),
        };
        [
            quantile(0.1, lower_edge, low).min(mean),
            mean,
            quantile(0.9, upper_edge, high).max(mean),
        ]
    }
}

/// How a group of marked rows met the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// Nothing was sent ahead of it.
    Cold,
    /// It followed a canary.
    Led,
}

/// The class of a group by its number of rows, its binary logarithm.
#[must_use]
pub fn size_class(rows: u64) -> u8 {
    let log = rows.max(1).ilog2();
    u8::try_from(log).unwrap_or(u8::MAX).min(LARGEST_CLASS)
}

/// Rows of groups of one size, in one shard: what reported usage says about their preambles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HitCount {
    /// The lifetime that was asked for.
    pub ttl: Ttl,
    /// See [`size_class`]: rows of the group in that shard.
    pub class: u8,
    /// How they met the cache.
    pub start: Start,
    /// Groups that these rows are of.
    pub groups: u64,
    /// Rows that read most of what they could.
    pub hits: u64,
    /// Rows that wrote it.
    pub misses: u64,
}

impl HitCount {
    /// The counts as evidence: rows of one group share their fate, so however many they are, they
    /// say no more than a hundred.
    #[must_use]
    pub fn telling(&self) -> (f64, f64) {
        telling(self.hits, self.misses, self.groups)
    }
}

type Class = (Ttl, u8, Start);

/// Hits and misses by model, lifetime and size of group.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HitSums(BTreeMap<String, Vec<(Class, f64, f64)>>);

impl HitSums {
    pub(super) fn add(&mut self, model: &str, count: &HitCount, weight: f64) {
        let (hits, misses) = count.telling();
        let (hits, misses) = (weight * hits, weight * misses);
        let class = (count.ttl, count.class, count.start);
        let sums = self.0.entry(model.to_owned()).or_default();
        match sums.iter_mut().find(|(of, _, _)| *of == class) {
            Some((_, h, m)) => {
                *h += hits;
                *m += misses;
            }
            None => sums.push((class, hits, misses)),
        }
    }

    pub(super) fn of(&self, model: &str, ttl: Ttl, rows: u64, start: Start) -> (f64, f64) {
        let class = (ttl, size_class(rows), start);
        let sums = self.0.get(model).into_iter().flatten();
        sums.filter(|(of, _, _)| *of == class)
            .fold((0.0, 0.0), |(h, m), (_, hits, misses)| {
                (h + hits, m + misses)
            })
    }
}

fn rounded(calls: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a sum of counts, never negative"
    )]
    let calls = calls.round() as u64;
    calls
}
