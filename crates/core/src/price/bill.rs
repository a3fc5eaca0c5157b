//! From reported usage to money, and from a request to the most it can cost.
//!
//! Formula (Anthropic docs, pricing; the multipliers multiply): the sum over token classes of tokens
//! times rate, times the batch multiplier on the batch lane, times the geography multiplier when the
//! answer says it stayed in the US, plus tool fees, which no multiplier touches. Which lane a call
//! took is the caller's knowledge; `usage.service_tier` does not decide.
#![deny(clippy::arithmetic_side_effects)]

use std::iter::Sum;
use std::ops::Add;

use offpeak_wire::request::Ttl;
use offpeak_wire::usage::Usage;
use serde::{Deserialize, Serialize};

use crate::units::{Timestamp, Tokens, Usd};

use super::book::Book;
use super::error::PriceError;
use super::model::{Lane, Mode, Model, Rates};

/// What a call cost, by class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Bill {
    pub input: Usd,
    pub write_5m: Usd,
    pub write_1h: Usd,
    pub read: Usd,
    pub output: Usd,
    /// Web searches; never discounted in a batch.
    pub tool_fees: Usd,
}

impl Bill {
    /// The whole cost.
    pub fn total(&self) -> Usd {
        [
            self.input,
            self.write_5m,
            self.write_1h,
            self.read,
            self.output,
            self.tool_fees,
        ]
        .iter()
        .sum()
    }
}

impl Add for Bill {
    type Output = Self;

    #[expect(
        clippy::arithmetic_side_effects,
        reason = "amounts panic on overflow by themselves"
    )]
    fn add(self, other: Self) -> Self {
        Self {
            input: self.input + other.input,
            write_5m: self.write_5m + other.write_5m,
            write_1h: self.write_1h + other.write_1h,
            read: self.read + other.read,
            output: self.output + other.output,
            tool_fees: self.tool_fees + other.tool_fees,
        }
    }
}

impl Sum for Bill {
    fn sum<I: Iterator<Item = Self>>(bills: I) -> Self {
        bills.fold(Self::default(), Add::add)
    }
}

/// What is known of a request before it is sent, as far as its price is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ceiling {
    /// UTF-8 bytes of the request. Every prompt token the caller controls takes at least one; where
    /// that is not so (server tools, URLs, files) no ceiling exists and none may be asked for.
    pub input_bytes: u64,
    /// `max_tokens` of the request.
    pub max_tokens: u64,
    /// The longest-lived cache mark, automatic caching included; `None` without any.
    pub marked: Option<Ttl>,
    /// At least one tool is given, so a hidden prompt comes with it.
    pub has_tools: bool,
    /// The request says `inference_geo: "global"`. Otherwise a workspace default can move it to the
    /// dearer geography silently.
    pub global_pinned: bool,
    /// The request asks for fast mode.
    pub fast: bool,
}

impl Book {
    /// What a call cost, from its reported usage alone, priced at the time it was created.
    ///
    /// # Errors
    ///
    /// When any part of it has no known price.
    pub fn bill(
        &self,
        at: Timestamp,
        lane: Lane,
        model: &str,
        usage: &Usage,
    ) -> Result<Bill, PriceError> {
        let model = self.model(model)?;
        let mode = Mode {
            lane,
            us: says_us(usage)?,
            fast: says_fast(usage)?,
            long_prompt: is_long(model, at, usage)?,
        };
        let rates = model.rates(at, mode)?;
        let parts = u128::from(usage.write_5m).saturating_add(usage.write_1h.into());
        if parts != u128::from(usage.cache_creation_input_tokens) {
            let total = usage.cache_creation_input_tokens;
            return Err(PriceError::WritesDoNotAddUp { parts, total });
        }
        Ok(Bill {
            input: cost(usage.input_tokens, rates.input),
            write_5m: cost(usage.write_5m, rates.write_5m),
            write_1h: cost(usage.write_1h, rates.write_1h),
            read: cost(usage.cache_read_input_tokens, rates.read),
            output: cost(usage.output_tokens, rates.output),
            tool_fees: self.web_search_fee().times(usage.web_search_requests),
        })
    }

    /// What the same answer would have cost on the sync lane without caching: every prompt token at
    /// the input price. Geography, speed and tool fees stay as they were.
    ///
    /// # Errors
    ///
    /// As [`Book::bill`].
    pub fn naive(&self, at: Timestamp, model: &str, usage: &Usage) -> Result<Usd, PriceError> {
        self.uncached(at, model, usage, Lane::Sync, says_fast(usage)?)
    }

    /// What the same answer would have cost in a batch without caching, at standard speed because a
    /// batch has no other.
    ///
    /// # Errors
    ///
    /// As [`Book::bill`].
    pub fn plain_batch(
        &self,
        at: Timestamp,
        model: &str,
        usage: &Usage,
    ) -> Result<Usd, PriceError> {
        says_fast(usage)?;
        self.uncached(at, model, usage, Lane::Batch, false)
    }

    /// The most a request can cost: every possible prompt token in its dearest class, every output
    /// token there may be, the dearer of all geographies and prompt sizes it can come to. Tool fees
    /// are not in it: requests that can cause them have no ceiling.
    ///
    /// # Errors
    ///
    /// When no price is known for the model at that time, or it has none on that lane or in fast
    /// mode.
    pub fn worst_case(
        &self,
        at: Timestamp,
        lane: Lane,
        model: &str,
        ceiling: &Ceiling,
    ) -> Result<Usd, PriceError> {
        let model = self.model(model)?;
        let hidden = if ceiling.has_tools {
            model.hidden_tool_bound()
        } else {
            0
        };
        let prompt = ceiling.input_bytes.saturating_add(hidden);
        let may_be_long = model.step_above(at)?.is_some_and(|above| prompt > above);
        let mut worst = Usd::ZERO;
        for &us in can_be(!ceiling.global_pinned) {
            for &long_prompt in can_be(may_be_long) {
                // Fast mode may be answered, and billed, at standard speed.
                for &fast in can_be(ceiling.fast) {
                    let rates = model.rates(
                        at,
                        Mode {
                            lane,
                            us,
                            fast,
                            long_prompt,
                        },
                    )?;
                    let input = cost(prompt, dearest(rates, ceiling.marked));
                    let output = cost(ceiling.max_tokens, rates.output);
                    worst = worst.max([input, output].iter().sum());
                }
            }
        }
        Ok(worst)
    }

    fn uncached(
        &self,
        at: Timestamp,
        model: &str,
        usage: &Usage,
        lane: Lane,
        fast: bool,
    ) -> Result<Usd, PriceError> {
        let model = self.model(model)?;
        let long_prompt = is_long(model, at, usage)?;
        let rates = model.rates(
            at,
            Mode {
                lane,
                us: says_us(usage)?,
                fast,
                long_prompt,
            },
        )?;
        let tools = self.web_search_fee().times(usage.web_search_requests);
        let input = cost(usage.prompt_tokens(), rates.input);
        Ok([input, cost(usage.output_tokens, rates.output), tools]
            .iter()
            .sum())
    }
}

/// What a circumstance can turn out to be.
fn can_be(possible: bool) -> &'static [bool] {
    if possible { &[false, true] } else { &[false] }
}

fn cost(tokens: u64, rate: u64) -> Usd {
    Tokens::new(tokens).at_rate(rate)
}

/// The dearest class a prompt token can fall into under the longest-lived mark of its request.
fn dearest(rates: Rates, marked: Option<Ttl>) -> u64 {
    let unmarked = rates.input.max(rates.read);
    match marked {
        None => unmarked,
        Some(Ttl::FiveMinutes) => unmarked.max(rates.write_5m),
        Some(Ttl::OneHour) => unmarked.max(rates.write_5m).max(rates.write_1h),
    }
}

fn is_long(model: &Model, at: Timestamp, usage: &Usage) -> Result<bool, PriceError> {
    Ok(model
        .step_above(at)?
        .is_some_and(|above| usage.prompt_tokens() > above))
}

/// `not_available` is what models without the choice report (Anthropic docs, data residency).
fn says_us(usage: &Usage) -> Result<bool, PriceError> {
    match usage.inference_geo.as_deref() {
        None | Some("global" | "not_available") => Ok(false),
        Some("us") => Ok(true),
        Some(geo) => Err(PriceError::UnknownGeo {
            geo: geo.to_owned(),
        }),
    }
}

fn says_fast(usage: &Usage) -> Result<bool, PriceError> {
    match usage.speed.as_deref() {
        None | Some("standard") => Ok(false),
        Some("fast") => Ok(true),
        Some(speed) => Err(PriceError::UnknownSpeed {
            speed: speed.to_owned(),
        }),
    }
}
