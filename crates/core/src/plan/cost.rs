//! The cost model: what calls with a shared preamble cost on a route, and when a cache mark pays.
//!
//! Expected costs are floating point and never become a `Usd`; comparisons that decide whether a
//! mark pays are exact, in the book's integer rates. Formulas: every call pays suffix and output;
//! the prefix is written W times and read n − W times, at the rates of the lane (all multipliers of
//! the price list only multiply). Leaves out where token counts come from.

use std::fmt;

use offpeak_wire::request::Ttl;
use serde::{Deserialize, Serialize};

use crate::price::Rates;

/// The calls of one prefix group: how many, and the mean tokens of one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Calls.
    pub calls: u64,
    /// Prompt tokens of a call that are shared.
    pub prefix: f64,
    /// Prompt tokens of a call that are its own.
    pub suffix: f64,
    /// Generated tokens of a call.
    pub output: f64,
}

/// What the cache does for the prefix of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// Nothing: every call pays the input price.
    None,
    /// So many calls write it and the others read it.
    Marked {
        /// The lifetime that is written.
        ttl: Ttl,
        /// Calls that find nothing to read; at most all of them.
        writes: u64,
    },
}

/// An expected cost in US dollars, by part of the call.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Expense {
    /// The shared part of the prompts.
    pub prefix: f64,
    /// The rest of the prompts.
    pub suffix: f64,
    /// The answers.
    pub output: f64,
}

impl Expense {
    /// The whole cost.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.prefix + self.suffix + self.output
    }
}

const USD_PER_PICO: f64 = 1e-12;

/// What the calls of a group cost at the given rates, which are those of a lane.
#[must_use]
pub fn route_cost(load: &Load, rates: &Rates, caching: Caching) -> Expense {
    let calls = load.calls as f64;
    let price = |tokens: f64, rate: u64| tokens * rate as f64 * USD_PER_PICO;
    let prefix = match caching {
        Caching::None => price(load.prefix * calls, rates.input),
        Caching::Marked { ttl, writes } => {
            let writes = writes.min(load.calls) as f64;
            price(load.prefix * writes, write_rate(rates, ttl))
                + price(load.prefix * (calls - writes), rates.read)
        }
    };
    Expense {
        prefix,
        suffix: price(load.suffix * calls, rates.input),
        output: price(load.output * calls, rates.output),
    }
}

/// The rate of a cache write, in picodollars per token.
pub(crate) fn write_rate(rates: &Rates, ttl: Ttl) -> u64 {
    match ttl {
        Ttl::FiveMinutes => rates.write_5m,
        Ttl::OneHour => rates.write_1h,
    }
}

/// The fewest calls for which one write and reads by all others are cheaper than no cache: the
/// least n with w + r(n − 1) < n, exactly. `None` if no number is enough.
#[must_use]
pub fn break_even_calls(rates: &Rates, ttl: Ttl) -> Option<u64> {
    let saved_by_a_read = rates
        .input
        .checked_sub(rates.read)
        .filter(|saved| *saved > 0)?;
    let premium = write_rate(rates, ttl).saturating_sub(rates.read);
    Some(premium / saved_by_a_read + 1)
}

/// The share of calls that must read the cache before marking all of them is cheaper than none:
/// (w − 1)/(w − r) in units of the input price.
#[must_use]
pub fn hit_threshold(rates: &Rates, ttl: Ttl) -> HitRate {
    let write = write_rate(rates, ttl);
    let part = write.saturating_sub(rates.input);
    let whole = write.saturating_sub(rates.read).max(1);
    let (mut divisor, mut rest) = (whole, part);
    while rest > 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    HitRate {
        part: part / divisor,
        whole: whole / divisor,
    }
}

/// A share of calls, as an exact fraction in lowest terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HitRate {
    /// Numerator.
    pub part: u64,
    /// Denominator, never zero.
    pub whole: u64,
}

impl HitRate {
    /// The share, 0 to 1.
    #[must_use]
    pub fn share(self) -> f64 {
        self.part as f64 / self.whole as f64
    }
}

/// `51.3%`, rounded half up.
impl fmt::Display for HitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = u128::from(self.whole);
        let tenths = (u128::from(self.part) * 1_000 + whole / 2) / whole;
        f.pad(&format!("{}.{}%", tenths / 10, tenths % 10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// US dollars per million tokens are picodollars per token times 10^6.
    fn class(input: u64, read: u64, output: u64) -> Rates {
        let usd = 1_000_000;
        Rates {
            input: input * usd,
            write_5m: input * usd * 5 / 4,
            write_1h: input * usd * 2,
            read: read * usd / 1_000,
            output: output * usd,
        }
    }

    fn halved(rates: Rates) -> Rates {
        Rates {
            input: rates.input / 2,
            write_5m: rates.write_5m / 2,
            write_1h: rates.write_1h / 2,
            read: rates.read / 2,
            output: rates.output / 2,
        }
    }

    /// A nightly enrichment: 5,000 calls, 4,500 shared and 1,500 own prompt tokens, 400 generated.
    const NIGHTLY: Load = Load {
        calls: 5_000,
        prefix: 4_500.0,
        suffix: 1_500.0,
        output: 400.0,
    };

    #[test]
    fn the_worked_example_of_a_nightly_enrichment() {
        let one = |ttl| Caching::Marked { ttl, writes: 1 };
        let missing = |share: f64, ttl| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "whole"
            )]
            let writes = (5_000.0 * share).round() as u64;
            Caching::Marked { ttl, writes }
        };
        let table = [
            (false, Caching::None, [200.0, 120.0, 40.0]),
            (false, one(Ttl::FiveMinutes), [98.776, 59.266, 19.755]),
            (true, Caching::None, [100.0, 60.0, 20.0]),
            (true, missing(0.7, Ttl::OneHour), [124.188, 74.513, 24.838]),
            (
                true,
                missing(0.7, Ttl::FiveMinutes),
                [94.656, 56.794, 18.931],
            ),
            (true, missing(0.3, Ttl::OneHour), [81.438, 48.863, 16.288]),
            (true, missing(0.02, Ttl::OneHour), [51.513, 30.908, 10.303]),
            (
                true,
                missing(0.02, Ttl::FiveMinutes),
                [50.669, 30.401, 10.134],
            ),
            (true, one(Ttl::OneHour), [49.396, 29.638, 9.879]),
            (true, one(Ttl::FiveMinutes), [49.388, 29.633, 9.878]),
        ];
        let sync = [class(5, 500, 25), class(3, 300, 15), class(1, 100, 5)];
        for (batch, caching, expected) in table {
            for (rates, expected) in sync.into_iter().zip(expected) {
                let rates = if batch { halved(rates) } else { rates };
                let cost = route_cost(&NIGHTLY, &rates, caching).total();
                assert!(
                    (cost - expected).abs() < 6e-4,
                    "{caching:?}: {cost} is not {expected}"
                );
            }
        }
    }

    #[test]
    fn a_synchronous_write_ahead_of_the_nightly_job() {
        // The write for an hour at the synchronous price, then rows that all read.
        for (rates, expected) in [
            (class(5, 500, 25), 49.420),
            (class(3, 300, 15), 29.652),
            (class(1, 100, 5), 9.884),
        ] {
            let ahead = 4_500.0 * rates.write_1h as f64 * 1e-12;
            let all_read = Caching::Marked {
                ttl: Ttl::OneHour,
                writes: 0,
            };
            let cost = ahead + route_cost(&NIGHTLY, &halved(rates), all_read).total();
            assert!((cost - expected).abs() < 6e-4, "{cost} is not {expected}");
        }
    }

    /// What a prefix costs over some calls, in thousandths of its plain price once.
    fn prefix_cost(calls: u64, rates: &Rates, caching: Caching) -> f64 {
        let load = Load {
            calls,
            prefix: 1e12,
            suffix: 0.0,
            output: 0.0,
        };
        route_cost(&load, rates, caching).prefix
    }

    #[test]
    fn one_write_and_some_reads_by_hand() {
        let rates = Rates {
            input: 1_000,
            write_5m: 1_250,
            write_1h: 2_000,
            read: 100,
            output: 5_000,
        };
        let table = [
            (0, 1_250.0, 2_000.0),
            (1, 1_350.0, 2_100.0),
            (2, 1_450.0, 2_200.0),
            (3, 1_550.0, 2_300.0),
            (5, 1_750.0, 2_500.0),
        ];
        for (reads, five, hour) in table {
            for (ttl, expected) in [(Ttl::FiveMinutes, five), (Ttl::OneHour, hour)] {
                let cost = prefix_cost(reads + 1, &rates, Caching::Marked { ttl, writes: 1 });
                assert!(
                    (cost - expected).abs() < 1e-9,
                    "{ttl:?}, {reads} reads: {cost}"
                );
            }
        }
        // In a batch, by the share of calls that hit: 0, 30, 70, 98 and 100 %, and at break-even.
        let batch = halved(rates);
        let table = [
            (10_000, 0, 625.0, 1_000.0),
            (10_000, 3_000, 452.5, 715.0),
            (10_000, 7_000, 222.5, 335.0),
            (10_000, 9_800, 61.5, 69.0),
            (10_000, 10_000, 50.0, 50.0),
            (19, 10, 322.368, 500.0),
        ];
        for (calls, hits, five, hour) in table {
            for (ttl, expected) in [(Ttl::FiveMinutes, five), (Ttl::OneHour, hour)] {
                let writes = calls - hits;
                let total = prefix_cost(calls, &batch, Caching::Marked { ttl, writes });
                let cost = total / calls as f64;
                assert!(
                    (cost - expected).abs() < 1e-3,
                    "{ttl:?}, {hits} of {calls}: {cost}"
                );
            }
        }
    }

    #[test]
    fn break_evens_are_two_and_three_calls_whatever_a_read_costs() {
        for read in [300, 150, 75] {
            let rates = class(3, read, 15);
            assert_eq!(break_even_calls(&rates, Ttl::FiveMinutes), Some(2));
            assert_eq!(break_even_calls(&rates, Ttl::OneHour), Some(3));
        }
        assert_eq!(break_even_calls(&class(3, 3_000, 15), Ttl::OneHour), None);
    }

    #[test]
    fn hit_rate_thresholds() {
        let shown = |read, ttl| hit_threshold(&class(3, read, 15), ttl).to_string();
        assert_eq!(shown(300, Ttl::FiveMinutes), "21.7%"); // 5/23
        assert_eq!(shown(300, Ttl::OneHour), "52.6%"); // 10/19
        assert_eq!(shown(150, Ttl::FiveMinutes), "20.8%"); // 5/24
        assert_eq!(shown(150, Ttl::OneHour), "51.3%"); // 20/39
        assert_eq!(shown(75, Ttl::OneHour), "50.6%"); // 40/79
        let exact = hit_threshold(&class(3, 75, 15), Ttl::OneHour);
        assert_eq!((exact.part, exact.whole), (40, 79));
    }

    #[test]
    fn a_break_even_is_where_the_two_costs_cross() {
        let load = |calls| Load {
            calls,
            prefix: 1_000.0,
            suffix: 10.0,
            output: 10.0,
        };
        for ttl in [Ttl::FiveMinutes, Ttl::OneHour] {
            let rates = class(3, 300, 15);
            let least = break_even_calls(&rates, ttl).unwrap();
            for calls in 1..10 {
                let plain = route_cost(&load(calls), &rates, Caching::None).total();
                let cached = route_cost(&load(calls), &rates, Caching::Marked { ttl, writes: 1 });
                assert_eq!(
                    cached.total() < plain,
                    calls >= least,
                    "{ttl:?} at {calls} calls"
                );
            }
        }
    }
}
