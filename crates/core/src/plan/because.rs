//! The facts behind the answers, with their numbers; each can say itself in a sentence or two.
//!
//! Leaves out which fact holds (`explain`), and wrapping and layout (`offpeak-report`).

use std::fmt;

use offpeak_wire::request::Ttl;
use serde::Serialize;

use crate::units::{Estimate, Span, Tokens, Usd};

use super::cost::HitRate;
use super::timing::{SYNC_CALLS_PER_MINUTE, Timing};
use super::tokens::TokenRange;

/// The facts behind the answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Because {
    /// The workload says so.
    Awaited,
    /// The workload has no deadline.
    NoDeadline,
    /// A batch and the reserve fit before the deadline.
    TimeForBatch(Timing),
    /// They don't.
    NoTimeForBatch(Timing),
    /// There is not even time to make all calls synchronously.
    DeadlineAtRisk(Timing),
    /// A model that is not offered in batches.
    NotBatchable {
        /// Which.
        model: String,
    },
    /// Nothing may be kept upstream, and the answers of a batch are.
    ZeroDataRetention,
    /// No group has two rows.
    NothingShared,
    /// Long enough, and shared by enough calls.
    WorthCaching(Preamble),
    /// Shorter than the model can cache.
    TooShort {
        /// The longest shared one.
        preamble: Preamble,
        /// Expected tokens short of the minimum.
        missing_tokens: u64,
        /// What that many tokens more of a stable text would save; `None` if they would cost more.
        padding: Option<Padding>,
    },
    /// Shared by too few calls for a write to pay back.
    TooFewCalls(Preamble),
    /// The requests come with their own marks.
    CallerMarks(Preamble),
    /// The preambles beyond the one described.
    OfAll {
        /// Shared preambles.
        preambles: u64,
        /// Those that are cached.
        cached: u64,
        /// Calls that share them.
        cached_calls: u64,
    },
    /// The cache is filled by sending some calls ahead, in a batch.
    Canary {
        /// Preambles that send one; those in front of them are written along.
        preambles: u64,
    },
    /// The cache is filled by the first synchronous call of each preamble.
    FirstCallAlone {
        /// Preambles.
        preambles: u64,
    },
    /// The rows name several models.
    SeveralModels {
        /// How many.
        models: u64,
    },
    /// Batches like this one were seen to read what their own rows wrote, so no canary is sent.
    LearntHits {
        /// The expected share of calls that hit.
        hit_rate: f64,
        /// The share from which marks pay.
        threshold: HitRate,
    },
    /// What the budget covers.
    Budget {
        /// The most that may be spent.
        #[serde(rename = "budget_picousd")]
        budget: Usd,
        /// The expected cost.
        expected_usd_estimate: f64,
        /// The most that it can come to, if all calls are made one by one.
        #[serde(rename = "hedge_worst_picousd")]
        worst: Usd,
        /// Rows that it is expected to cover.
        covered_rows: u64,
    },
    /// A canary and then a batch do not fit before the deadline.
    NoTimeForCanary(Timing),
    /// Reading the cache synchronously beats a batch that cannot read it.
    SyncCacheCheaper {
        /// Expected cost of sync+cache.
        sync_cache_usd_estimate: f64,
        /// Expected cost of the batch.
        batch_usd_estimate: f64,
    },
}

/// What is known of a group's preamble.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Preamble {
    /// The group.
    pub group: u32,
    /// Its model.
    pub model: String,
    /// Calls that share it.
    pub calls: u64,
    /// Its length.
    pub tokens: TokenRange,
    /// The fewest tokens that the model caches.
    pub minimum_tokens: u32,
    /// The lifetime of the mark in question.
    pub ttl: Ttl,
    /// The fewest calls for which the mark pays; `None` if it never does.
    pub pays_from_calls: Option<u64>,
    /// The share of calls that must find it in the cache, if all of them carry the mark.
    pub pays_from_hit_rate: HitRate,
}

/// A preamble made longer, so that it can be cached: the padding is paid once as a write and then
/// read, and so is what was there before.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Padding {
    /// Tokens to add.
    pub tokens: u64,
    /// What that saves over all calls, in US dollars.
    pub saves_usd_estimate: f64,
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Awaited => {
                f.write_str("Each answer is awaited, so the calls go out at once, one by one.")
            }
            Self::NoDeadline => f.write_str(
                "There is no deadline, so the calls can wait for a batch, at half the list price.",
            ),
            Self::TimeForBatch(timing) => write!(f, "{} are left. {}", timing.slack, keeps(timing)),
            Self::NoTimeForBatch(timing) if timing.slack <= Span::ZERO => {
                f.write_str("The deadline has passed, so the calls go out at once, one by one.")
            }
            Self::NoTimeForBatch(timing) => {
                write!(f, "Only {} are left. {}", timing.slack, keeps(timing))
            }
            Self::DeadlineAtRisk(timing) => write!(
                f,
                "Even sent from now on, at an assumed {} a minute, the calls take about {}: some \
                 answers will come after the deadline.",
                SYNC_CALLS_PER_MINUTE, timing.all_sync
            ),
            Self::NotBatchable { model } => {
                write!(
                    f,
                    "But `{model}` cannot be batched, so the calls go out one by one."
                )
            }
            Self::ZeroDataRetention => f.write_str(
                "The job asks for zero data retention, and the answers of a batch are kept for up to \
                 29 days, so the calls go out one by one. (An organisation set up for HIPAA is \
                 refused batches by the API.)",
            ),
            Self::NothingShared => f.write_str("No two calls share one."),
            Self::WorthCaching(preamble) => worth_caching(f, preamble),
            Self::TooShort {
                preamble,
                missing_tokens,
                padding,
            } => too_short(f, preamble, *missing_tokens, padding.as_ref()),
            Self::TooFewCalls(preamble) => too_few(f, preamble),
            Self::CallerMarks(preamble) => write!(
                f,
                "{} come with their own cache marks, which are kept as they are.",
                calls(preamble.calls)
            ),
            Self::OfAll {
                preambles,
                cached: 0,
                ..
            } => write!(
                f,
                "That is the one that matters most of {} preambles; none of them is cached.",
                count(*preambles)
            ),
            Self::OfAll {
                preambles,
                cached,
                cached_calls,
            } => write!(
                f,
                "That is the one that matters most of {} preambles; {} of them are cached, for {}.",
                count(*preambles),
                count(*cached),
                calls(*cached_calls)
            ),
            Self::SeveralModels { models } => write!(
                f,
                "The calls go to {} models, which share no cache with each other.",
                count(*models)
            ),
            Self::LearntHits {
                hit_rate,
                threshold,
            } => write!(
                f,
                "No call is sent ahead: in earlier batches of this kind about {:.0}% of the calls \
                 found their preamble in the cache, and marks pay from {threshold} on.",
                hit_rate * 100.0
            ),
            Self::Budget {
                budget,
                expected_usd_estimate,
                worst,
                covered_rows,
            } => within_budget(f, *budget, *expected_usd_estimate, *worst, *covered_rows),
            Self::Canary { preambles: 1 } => f.write_str(
                "One call is sent ahead in a batch of its own, the canary: it writes the cache \
                 entry that the others read.",
            ),
            Self::Canary { preambles } => write!(
                f,
                "{} are sent ahead in a small batch, the canaries: they write the cache entries \
                 that the others read.",
                calls(*preambles)
            ),
            Self::FirstCallAlone { preambles: 1 } => f.write_str(
                "The first call goes ahead alone: it writes the cache entry that the others read.",
            ),
            Self::FirstCallAlone { .. } => f.write_str(
                "The first call of each cached preamble goes ahead alone: it writes the cache \
                 entry that the others read.",
            ),
            Self::NoTimeForCanary(timing) => write!(
                f,
                "But a batch reads only what was cached before it started. A first batch that \
                 fills the cache, then the rest, and the reserve take {}; {} are left.",
                timing.two_batches(),
                timing.slack
            ),
            Self::SyncCacheCheaper {
                sync_cache_usd_estimate,
                batch_usd_estimate,
            } => write!(
                f,
                "One by one and reading the cache, the calls cost about {}; in a batch that \
                 cannot read it, about {}.",
                Estimate::point(*sync_cache_usd_estimate),
                Estimate::point(*batch_usd_estimate)
            ),
        }
    }
}

fn keeps(timing: &Timing) -> String {
    format!(
        "A batch takes about {}, and {} are kept in reserve to make the calls one by one if it is \
         late.",
        timing.turnaround,
        timing.reserve()
    )
}

fn worth_caching(f: &mut fmt::Formatter<'_>, preamble: &Preamble) -> fmt::Result {
    write!(
        f,
        "{} share one of about {} tokens ({} to {}, estimated). {} caches from {} tokens on",
        calls(preamble.calls),
        rough(preamble.tokens.mid),
        rough(preamble.tokens.low),
        rough(preamble.tokens.high),
        preamble.model,
        count(u64::from(preamble.minimum_tokens)),
    )?;
    if let Some(least) = preamble.pays_from_calls {
        write!(
            f,
            ", and a cache entry of {} pays from {} calls on",
            life(preamble.ttl),
            least
        )?;
    }
    f.write_str(".")?;
    if preamble.tokens.low < u64::from(preamble.minimum_tokens) {
        f.write_str(
            " Should it be shorter than that, nothing is cached and nothing extra is paid.",
        )?;
    }
    Ok(())
}

fn within_budget(
    f: &mut fmt::Formatter<'_>,
    budget: Usd,
    expected: f64,
    worst: Usd,
    covered_rows: u64,
) -> fmt::Result {
    if budget >= worst {
        return write!(
            f,
            "{budget} covers the most that the calls can cost, {}.",
            ceiling(worst)
        );
    }
    let expected = Estimate::point(expected);
    if budget.approx() >= expected.mid {
        write!(
            f,
            "{budget} covers the expected {expected}, but not the most that it can come to, {}.",
            ceiling(worst)
        )?;
    } else {
        write!(
            f,
            "About {expected} is expected; {budget} pays for about {}.",
            calls(covered_rows)
        )?;
    }
    f.write_str(
        " What a call can cost is set aside before it is sent, and the job stops rather than spend \
         more.",
    )
}

/// A ceiling for people, rounded up, as less would not be one: to cents from a dollar on, below that
/// to a hundredth of a cent, or of that.
#[must_use]
pub fn ceiling(amount: Usd) -> Usd {
    const MICRO: i128 = 1_000_000;
    let step = match amount.pico() / MICRO {
        1_000_000.. => 10_000 * MICRO,
        10_000.. => 100 * MICRO,
        _ => MICRO,
    };
    let steps = (amount.pico() + step - 1).div_euclid(step);
    Usd::from_pico(steps * step)
}

fn too_short(
    f: &mut fmt::Formatter<'_>,
    preamble: &Preamble,
    missing: u64,
    padding: Option<&Padding>,
) -> fmt::Result {
    write!(
        f,
        "{} share one of about {} tokens ({} to {}, estimated), but {} caches from {} tokens on: \
         about {} are missing.",
        calls(preamble.calls),
        rough(preamble.tokens.mid),
        rough(preamble.tokens.low),
        rough(preamble.tokens.high),
        preamble.model,
        count(u64::from(preamble.minimum_tokens)),
        rough(missing),
    )?;
    match padding {
        Some(padding) => write!(
            f,
            " That much more of text that never changes, like examples, would pay: it saves about {}.",
            Estimate::point(padding.saves_usd_estimate)
        ),
        None => f.write_str(" Adding that much text would cost more than the cache saves."),
    }
}

fn too_few(f: &mut fmt::Formatter<'_>, preamble: &Preamble) -> fmt::Result {
    match preamble.pays_from_calls {
        Some(least) => write!(
            f,
            "{} share the one that matters most; a cache entry of {} pays from {} calls on.",
            calls(preamble.calls),
            life(preamble.ttl),
            least
        ),
        None => write!(
            f,
            "At the prices of {}, a cache never pays.",
            preamble.model
        ),
    }
}

fn life(ttl: Ttl) -> &'static str {
    match ttl {
        Ttl::FiveMinutes => "5 minutes",
        Ttl::OneHour => "1 hour",
    }
}

fn count(number: u64) -> Tokens {
    Tokens::new(number)
}

fn calls(number: u64) -> String {
    let noun = if number == 1 { "call" } else { "calls" };
    format!("{} {noun}", count(number))
}

/// An estimate to three significant digits: more would be false precision.
fn rough(tokens: u64) -> Tokens {
    let mut step = 1;
    while tokens / step >= 1_000 {
        step *= 10;
    }
    let half = step / 2;
    Tokens::new(tokens.saturating_add(half) / step * step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ceiling_is_never_below_the_amount() {
        for (amount, shown) in [
            ("16.271", "$16.28"),
            ("1", "$1.00"),
            ("0.57123", "$0.5713"),
            ("0.0000741", "$0.000075"),
            ("0", "$0.00"),
        ] {
            let amount: Usd = amount.parse().unwrap();
            assert_eq!(ceiling(amount).to_string(), shown);
            assert!(ceiling(amount) >= amount);
        }
    }

    #[test]
    fn estimates_are_shown_to_three_digits() {
        for (tokens, shown) in [
            (0, "0"),
            (999, "999"),
            (5_028, "5,030"),
            (1_234_567, "1,230,000"),
        ] {
            assert_eq!(rough(tokens).to_string(), shown);
        }
        assert_eq!(rough(u64::MAX).count() % 10, 0);
    }
}
