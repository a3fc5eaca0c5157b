//! Lifetimes and pings for calls that come one by one and aren't known ahead: rules of one prefix.
//!
//! Keeping an entry alive costs a read per lifetime, letting it die costs a write instead of a read
//! when the prefix is used again. So pings pay up to a fixed number per gap, whatever comes
//! (`ping_limit`), and beyond that only by what is known of the gaps (`ping_pays`, `best_habit`).
//! Decisions are exact in the book's integer rates; chances are floating point. Leaves out which part
//! of a prompt is the prefix.

use offpeak_wire::request::Ttl;

use crate::price::Rates;
use crate::units::Span;

use super::clairvoyant::{lifetime, lifetimes};
use super::cost::write_rate;
use super::survival::Survival;

/// Whether to write a prefix that was seen so many times within a lifetime, this call included, when
/// nothing else is known. Five minutes cost a quarter more and are written at once, at worst 5/4 of
/// the best; an hour costs twice and waits for a second sighting.
#[must_use]
pub fn write_on_sighting(ttl: Ttl, sightings: u64) -> bool {
    match ttl {
        Ttl::FiveMinutes => sightings >= 1,
        Ttl::OneHour => sightings >= 2,
    }
}

/// The most pings that are worth bridging one gap: k reads are cheaper than writing anew. `then_last`
/// means that the next use would be the last, which is paid plain if the entry is dead.
#[must_use]
pub fn ping_limit(rates: &Rates, ttl: Ttl, then_last: bool) -> u64 {
    let otherwise = if then_last {
        rates.input
    } else {
        write_rate(rates, ttl)
    };
    match otherwise.saturating_sub(rates.read).checked_sub(1) {
        Some(less) if rates.read > 0 => less / rates.read,
        Some(_) => u64::MAX,
        None => 0,
    }
}

/// Whether a ping pays at this idle age: the chance that the next use comes while it keeps the entry
/// alive, times what it saves then, is more than it costs. `None` when the gaps seen so far say
/// nothing about such an age.
#[must_use]
pub fn ping_pays(rates: &Rates, ttl: Ttl, gaps: &Survival, idle: Span) -> Option<bool> {
    let chance = gaps.ends_within(idle, lifetime(ttl))?;
    let saved = write_rate(rates, ttl).saturating_sub(rates.read);
    Some(chance * saved as f64 > rates.read as f64)
}

/// What to do with a prefix whenever it is used, gap after gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Habit {
    /// Never write it.
    Plain,
    /// Write it, and keep it alive with at most so many pings per gap.
    Keep {
        /// The lifetime that is written.
        ttl: Ttl,
        /// Pings per gap.
        pings: u64,
    },
}

impl Habit {
    /// What a gap and the use after it cost per token, in picodollars.
    #[must_use]
    pub fn cost_of(self, gap: Span, rates: &Rates) -> u64 {
        match self {
            Self::Plain => rates.input,
            Self::Keep { ttl, pings } => {
                let needed = lifetimes(gap, ttl);
                let paid = needed.min(pings).saturating_mul(rates.read);
                let end = if needed <= pings {
                    rates.read
                } else {
                    write_rate(rates, ttl)
                };
                paid.saturating_add(end)
            }
        }
    }
}

/// Pings per gap that are compared; the limits of every price row lie at or below the last.
const PINGS: [u64; 11] = [0, 1, 2, 3, 5, 8, 12, 18, 26, 38, 78];

/// The habit that would have cost least over the gaps seen so far, and what it would have cost per
/// gap. With gaps that are all of a kind it is the best there is, after a few.
#[must_use]
pub fn best_habit(gaps: &[Span], rates: &Rates) -> Option<(Habit, u64)> {
    let count = u64::try_from(gaps.len()).ok().filter(|&n| n > 0)?;
    let keeps = [Ttl::FiveMinutes, Ttl::OneHour]
        .into_iter()
        .flat_map(|ttl| {
            let most = ping_limit(rates, ttl, false);
            let within = PINGS.into_iter().filter(move |&pings| pings <= most);
            within.map(move |pings| Habit::Keep { ttl, pings })
        });
    let total = |habit: Habit| -> u64 {
        let costs = gaps.iter().map(|&gap| habit.cost_of(gap, rates));
        costs.fold(0, u64::saturating_add)
    };
    let all = keeps.chain([Habit::Plain]);
    let best = all
        .map(|habit| (habit, total(habit)))
        .min_by_key(|&(_, cost)| cost)?;
    Some((best.0, best.1 / count))
}

#[cfg(test)]
mod tests {
    use super::super::survival::Gap;
    use super::*;

    fn row(read: u64) -> Rates {
        Rates {
            input: 1_000,
            write_5m: 1_250,
            write_1h: 2_000,
            read,
            output: 5_000,
        }
    }

    #[test]
    fn ping_limits_of_every_price_row() {
        for (read, five, hour) in [(100, 11, 18), (50, 23, 38), (25, 48, 78)] {
            assert_eq!(ping_limit(&row(read), Ttl::FiveMinutes, false), five);
            assert_eq!(ping_limit(&row(read), Ttl::OneHour, false), hour);
        }
        assert_eq!(ping_limit(&row(100), Ttl::OneHour, true), 8);
        assert_eq!(ping_limit(&row(0), Ttl::OneHour, true), u64::MAX);
        assert_eq!(ping_limit(&row(3_000), Ttl::OneHour, false), 0);
    }

    #[test]
    fn writing_at_once_is_worst_at_five_quarters() {
        assert!(write_on_sighting(Ttl::FiveMinutes, 1));
        assert!(!write_on_sighting(Ttl::OneHour, 1) && write_on_sighting(Ttl::OneHour, 2));
    }

    #[test]
    fn a_ping_pays_by_the_hazard() {
        let gap = |minutes: i64| Gap {
            length: Span::from_secs(60 * minutes),
            ended: true,
            weight: 1,
        };
        let hour = Span::from_secs(3_600);
        // One gap in twenty ends within the second hour: 0.05 × 1.9 < 0.1. Two in twenty: pays.
        let mut gaps = vec![gap(6_000); 19];
        gaps.push(gap(90));
        let rare = Survival::of(&gaps);
        assert_eq!(ping_pays(&row(100), Ttl::OneHour, &rare, hour), Some(false));
        gaps[0] = gap(100);
        let likely = Survival::of(&gaps);
        assert_eq!(
            ping_pays(&row(100), Ttl::OneHour, &likely, hour),
            Some(true)
        );
        let none = Span::from_secs(60 * 6_000);
        assert_eq!(ping_pays(&row(100), Ttl::OneHour, &likely, none), None);
    }

    #[test]
    fn habits_follow_the_gaps() {
        let all = |minutes: i64| vec![Span::from_secs(60 * minutes); 10];
        let best = |minutes| best_habit(&all(minutes), &row(100)).unwrap();
        let hour = |pings| Habit::Keep {
            ttl: Ttl::OneHour,
            pings,
        };
        assert_eq!(best(6), (hour(0), 100));
        assert_eq!(best(90), (hour(1), 200));
        assert_eq!(best(60 * 7), (hour(8), 800), "seven pings and a read");
        assert_eq!(best(60 * 10), (Habit::Plain, 1_000));
        assert_eq!(best_habit(&[], &row(100)), None);
    }
}
