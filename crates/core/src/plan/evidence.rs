//! What is known of a workload beside its bytes: tokens that were counted or billed, how much of
//! `max_tokens` answers took, and how often batch rows found their preamble in the cache.
//!
//! Everything is kept by model, and a belief that nothing was learnt about is the assumption that the
//! planner starts from. Estimates only: nothing in here becomes money. Leaves out where observations
//! are kept (`offpeak-store`) and who makes them (`offpeak-engine`).

mod observed;

use std::collections::BTreeMap;

use offpeak_wire::request::Ttl;

pub use observed::{HitCount, HitSums, Observed, OutputSums, Start, TokenSums, size_class};

use crate::price::Model;
use crate::units::{Span, Tokens};

use super::posterior::HitPosterior;
use super::tokens::{SPREAD, TokenRange, Tokenizer};

/// Generated tokens as shares of `max_tokens` before anything was seen: low, expected, high.
pub(super) const OUTPUT_SHARES: [f64; 3] = [0.05, 0.4, 1.0];

/// What was seen half a year ago says a sixty-fourth of what was seen today.
const HALF_LIFE: Span = Span::from_secs(30 * 86_400);

/// How the tokens of a model's requests are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Method {
    /// From their bytes, by the mean of the tokenizer.
    #[default]
    Uncalibrated,
    /// From bills of so many earlier calls.
    Billed(u64),
    /// Some rows of this job were counted by the upstream.
    Sampled(u64),
    /// Every row of this job was counted by the upstream.
    Counted(u64),
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Uncalibrated => f.write_str("uncalibrated"),
            Self::Billed(1) => f.write_str("measured in 1 earlier call"),
            Self::Billed(n) => write!(f, "measured in {} earlier calls", Tokens::new(*n)),
            Self::Sampled(1) => f.write_str("1 row counted"),
            Self::Sampled(n) => write!(f, "{} rows counted", Tokens::new(*n)),
            Self::Counted(_) => f.write_str("all rows counted"),
        }
    }
}

/// What is known of the requests of a model.
#[derive(Debug, Clone, Default, PartialEq)]
struct Known {
    method: Method,
    tokens: TokenSums,
    outputs: OutputSums,
}

/// What is known beside the bytes of a workload; by default nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evidence {
    models: BTreeMap<String, Known>,
    hits: HitSums,
}

impl Evidence {
    /// Learns from an earlier settlement of the same job, so long ago.
    pub fn learn(&mut self, observed: &Observed, age: Span) {
        let weight = fading(age);
        let known = self.models.entry(observed.model.clone()).or_default();
        known.outputs.add(&observed.outputs, weight);
        if !matches!(known.method, Method::Sampled(_) | Method::Counted(_)) {
            known.tokens.add(&observed.tokens, weight);
            let calls = match known.method {
                Method::Billed(calls) => calls,
                _ => 0,
            };
            let calls = calls.saturating_add(observed.tokens.calls());
            if calls > 0 {
                known.method = Method::Billed(calls);
            }
        }
    }

    /// Learns how often rows hit, from an earlier settlement of any job, so long ago.
    pub fn learn_hits(&mut self, observed: &Observed, age: Span) {
        for count in &observed.hits {
            self.hits.add(&observed.model, count, fading(age));
        }
    }

    /// Takes counts of this very job's rows, which outweigh whatever earlier runs were billed;
    /// `all` means that there are no other rows of that model.
    pub fn count(&mut self, model: &str, tokens: &TokenSums, all: bool) {
        if tokens.calls() == 0 {
            return;
        }
        let known = self.models.entry(model.to_owned()).or_default();
        known.tokens = tokens.clone();
        known.method = if all {
            Method::Counted(tokens.calls())
        } else {
            Method::Sampled(tokens.calls())
        };
    }

    /// How the tokens of a model's requests are known.
    #[must_use]
    pub fn method(&self, model: &str) -> Method {
        self.known(model).map_or_else(Method::default, |k| k.method)
    }

    /// How far the mean of its token counts may be off either way, as a share.
    #[must_use]
    pub fn token_spread(&self, model: &str) -> f64 {
        match self.known(model) {
            Some(known) if matches!(known.method, Method::Counted(_)) => known.tokens.floor(),
            Some(known) => known.tokens.spread(),
            None => SPREAD,
        }
    }

    /// Mean tokens of a byte of request, without the hidden prompt of tools.
    #[must_use]
    pub fn tokens_per_byte(&self, model: &str) -> f64 {
        self.known(model)
            .and_then(|known| known.tokens.per_byte())
            .unwrap_or_else(|| 1.0 / Tokenizer::of(model).bytes_per_token())
    }

    /// The tokens that so many bytes may be.
    #[must_use]
    pub fn tokens(&self, model: &str, bytes: u64) -> TokenRange {
        if self.method(model) == Method::Uncalibrated {
            return Tokenizer::of(model).estimate(bytes);
        }
        let (mid, spread) = (
            bytes as f64 * self.tokens_per_byte(model),
            self.token_spread(model),
        );
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and a cast of too much stops at the largest integer"
        )]
        let whole = |tokens: f64| tokens.round() as u64;
        TokenRange {
            low: whole(mid * (1.0 - spread)),
            mid: whole(mid),
            high: whole(mid * (1.0 + spread)),
        }
    }

    /// Tokens as multiples of the expected ones: low, expected, high.
    #[must_use]
    pub fn token_shares(&self, model: &str) -> [f64; 3] {
        let spread = self.token_spread(model);
        [1.0 - spread, 1.0, 1.0 + spread]
    }

    /// Generated tokens as shares of `max_tokens`: low, expected, high.
    #[must_use]
    pub fn output_shares(&self, model: &str) -> [f64; 3] {
        self.known(model)
            .map_or(OUTPUT_SHARES, |known| known.outputs.shares())
    }

    /// Answers that the output shares of a model rest on.
    #[must_use]
    pub fn answers(&self, model: &str) -> u64 {
        self.known(model).map_or(0, |known| known.outputs.calls())
    }

    /// What is believed of a group of so many rows that starts cold: nothing was sent ahead. Without
    /// evidence, [`HitPosterior::cold`].
    #[must_use]
    pub fn hit_rate(&self, model: &str, ttl: Ttl, rows: u64) -> HitPosterior {
        let (hits, misses) = self.hits.of(model, ttl, rows, Start::Cold);
        HitPosterior::cold().weighed(hits, misses)
    }

    /// What is believed of a group of so many rows that follows a canary; `None` if nothing was
    /// learnt about such groups.
    #[must_use]
    pub fn hit_rate_behind_canary(&self, model: &str, ttl: Ttl, rows: u64) -> Option<HitPosterior> {
        let (hits, misses) = self.hits.of(model, ttl, rows, Start::Led);
        (hits + misses > 0.0).then(|| HitPosterior::led().weighed(hits, misses))
    }

    fn known(&self, model: &str) -> Option<&Known> {
        self.models.get(model)
    }
}

/// The tokens of a preamble, the hidden prompt of tools included.
pub(super) fn prefix_tokens(
    evidence: &Evidence,
    model: &Model,
    prefix_bytes: u64,
    has_tools: bool,
) -> TokenRange {
    let hidden = if has_tools {
        model.hidden_tool_tokens
    } else {
        0
    };
    evidence.tokens(&model.id, prefix_bytes).plus(hidden)
}

/// What an observation of that age still weighs.
fn fading(age: Span) -> f64 {
    let age = age.max(Span::ZERO).as_secs_f64();
    0.5_f64.powf(age / HALF_LIFE.as_secs_f64())
}

#[cfg(test)]
mod tests;
