//! One model: what is known about it, and its rates at a moment.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::units::{Span, Timestamp};

use super::error::PriceError;
use super::multiplier::Scale;

/// Hidden prompt tokens assumed for requests with tools where no figure is published; the largest
/// published one is 804 (Anthropic docs, pricing).
const UNPUBLISHED_HIDDEN_TOOL_TOKENS: u64 = 1_000;

/// Where a request travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// One Messages call, answered at once.
    Sync,
    /// A row of a Message Batch.
    Batch,
}

impl Lane {
    /// `sync` or `batch`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Batch => "batch",
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What decides which rates apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mode {
    pub lane: Lane,
    /// Inference was kept in the US. Costs nothing extra on models without that choice.
    pub us: bool,
    /// Fast mode; on the sync lane only.
    pub fast: bool,
    /// The prompt is above the model's prompt-size step. Means nothing on models without one.
    pub long_prompt: bool,
}

impl Mode {
    /// Global inference, standard speed, a prompt below any step.
    pub const fn plain(lane: Lane) -> Self {
        Self {
            lane,
            us: false,
            fast: false,
            long_prompt: false,
        }
    }
}

/// What one token costs, in picodollars, by class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rates {
    /// A prompt token that is neither read from nor written to the cache.
    pub input: u64,
    /// A prompt token written to the cache for five minutes.
    pub write_5m: u64,
    /// A prompt token written to the cache for an hour.
    pub write_1h: u64,
    /// A prompt token read from the cache.
    pub read: u64,
    /// A generated token.
    pub output: u64,
}

/// Whether a model can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Active,
    /// Needs special access.
    Limited,
    /// Still answers; its end is announced.
    Deprecated,
    Retired,
}

impl Status {
    /// The spelling of the price book.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Limited => "limited",
            Self::Deprecated => "deprecated",
            Self::Retired => "retired",
        }
    }
}

/// A model of the price book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    pub id: String,
    pub aliases: Vec<String>,
    pub family: String,
    pub status: Status,
    /// The day of retirement, `YYYY-MM-DD`.
    pub retired_on: Option<String>,
    /// The model to use instead.
    pub replacement: Option<String>,
    /// Shorter prefixes are silently not cached. Where no figure is published (retired models), the
    /// largest published one.
    pub min_cacheable_tokens: u32,
    /// `min_cacheable_tokens` is a published figure.
    pub min_cacheable_known: bool,
    pub context_window: Option<u64>,
    /// The largest `max_tokens`.
    pub max_output: Option<u64>,
    /// May be batched.
    pub batch: bool,
    /// Accepts `inference_geo: "us"`, which then costs more.
    pub us_geo: bool,
    /// Published size of the hidden prompt that comes with tools; zero when it is unknown.
    pub hidden_tool_tokens: u64,
    /// The day these facts were read, `YYYY-MM-DD`.
    pub as_of: String,
    /// Where they were read.
    pub source: Vec<String>,
    /// In order of time, without overlap.
    pub(super) prices: Vec<Price>,
    pub(super) scale: Scale,
}

/// Listed rates and when they hold: from `from` on, before `until`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Price {
    pub(super) from: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    pub(super) standard: Rates,
    pub(super) step: Option<Step>,
    pub(super) fast: Option<Rates>,
}

/// Above so many prompt tokens, every token of the request is billed at these rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) above: u64,
    pub(super) rates: Rates,
}

impl Model {
    /// The rates in force at `at`, all multipliers applied exactly.
    ///
    /// # Errors
    ///
    /// When no price is known for that moment, the model cannot be batched, fast mode has no price
    /// there, or a contract price does not come out whole under US inference.
    pub fn rates(&self, at: Timestamp, mode: Mode) -> Result<Rates, PriceError> {
        let price = self.price(at)?;
        if mode.lane == Lane::Batch && !self.batch {
            return Err(PriceError::NotBatchable {
                model: self.id.clone(),
            });
        }
        let listed = if mode.fast {
            if mode.lane == Lane::Batch {
                return Err(PriceError::FastInBatch {
                    model: self.id.clone(),
                });
            }
            let missing = || PriceError::NoFastPrice {
                model: self.id.clone(),
                at,
            };
            price.fast.ok_or_else(missing)?
        } else {
            match price.step {
                Some(step) if mode.long_prompt => step.rates,
                _ => price.standard,
            }
        };
        let us = mode.us && self.us_geo;
        self.scale.apply(listed, mode.lane, us).map_err(|class| {
            let (model, lane) = (self.id.clone(), mode.lane);
            PriceError::NotExact {
                model,
                class,
                lane,
                us,
            }
        })
    }

    /// The number of prompt tokens above which the dearer rates of a prompt-size step apply, if the
    /// model has one at that time. Input, cache writes and cache reads all count.
    ///
    /// # Errors
    ///
    /// When no price is known for that moment.
    pub fn step_above(&self, at: Timestamp) -> Result<Option<u64>, PriceError> {
        Ok(self.price(at)?.step.map(|step| step.above))
    }

    /// An upper bound of the hidden prompt tokens that come with tools.
    pub fn hidden_tool_bound(&self) -> u64 {
        match self.hidden_tool_tokens {
            0 => UNPUBLISHED_HIDDEN_TOOL_TOKENS,
            published => published,
        }
    }

    /// The id and the aliases, each with the key of the price book it stands under.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, &'static str)> {
        let aliases = self.aliases.iter().map(|alias| (alias.as_str(), "aliases"));
        std::iter::once((self.id.as_str(), "id")).chain(aliases)
    }

    /// The price row of a moment.
    pub(super) fn price(&self, at: Timestamp) -> Result<&Price, PriceError> {
        if self.retirement().is_some_and(|end| at >= end) {
            return Err(PriceError::Retired {
                model: self.id.clone(),
                on: self.retired_on.clone().unwrap_or_default(),
                replacement: self.replacement.clone(),
            });
        }
        if self.prices.is_empty() {
            return Err(PriceError::NoPublicPrice {
                model: self.id.clone(),
            });
        }
        let holds = |price: &&Price| {
            price.from.is_none_or(|from| from <= at) && price.until.is_none_or(|until| at < until)
        };
        self.prices.iter().find(holds).ok_or_else(|| self.gap(at))
    }

    /// The end of the day of retirement. The hour is not published, so that day still counts.
    fn retirement(&self) -> Option<Timestamp> {
        let day = self
            .retired_on
            .as_deref()
            .and_then(|day| Timestamp::of_day(day).ok())?;
        Some(day + Span::from_secs(86_400))
    }

    fn gap(&self, at: Timestamp) -> PriceError {
        let next = self
            .prices
            .iter()
            .filter_map(|price| price.from)
            .find(|from| at < *from);
        let last = self
            .prices
            .iter()
            .filter_map(|price| price.until)
            .rfind(|until| *until <= at);
        let nearest = match (last, next) {
            (None, Some(next)) => format!("its first known price starts on {}", next.day()),
            (Some(last), Some(next)) => {
                format!(
                    "one price ends on {} and the next starts on {}",
                    last.day(),
                    next.day()
                )
            }
            (Some(last), None) => format!("its last known price ends on {}", last.day()),
            (None, None) => "its prices hold at other times".to_owned(),
        };
        PriceError::Gap {
            model: self.id.clone(),
            at,
            nearest,
        }
    }
}
