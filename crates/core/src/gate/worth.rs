//! Whether a prefix is worth writing, for how long, and whether its entry is worth a ping.
//!
//! With one cache the habit decides that would have cost least over the gaps seen so far. With several,
//! an entry is found the more probably, the more calls have touched it within its lifetime: what was
//! used n times is expected to be used n times more, and each time the chance of a hit is that of the
//! touches there are and half of those to come, as far as the pace of the traffic lets them live
//! together.

use offpeak_wire::request::Ttl;

use crate::plan::{Gap, Habit, NodeId, Survival, best_habit, ping_limit, ping_pays};
use crate::price::Rates;
use crate::units::{Span, Timestamp};

use super::cache_gate::{AVAILABLE, CacheGate};
use super::prefix::{Kind, lifetime};

const FIVE: Span = Span::from_secs(300);

/// Pings on prefixes of a kind nothing is known of, without any use after them, before they end.
const FRUITLESS: u64 = 3;
/// Pings in a first gap while it isn't known whether there is one cache.
const LEARNING: u64 = 2;
/// Gaps of a prefix that say whether it is to be kept alive beyond five minutes.
const SEEN: usize = 3;

pub(super) fn write_rate(rates: &Rates, ttl: Ttl) -> u64 {
    match ttl {
        Ttl::FiveMinutes => rates.write_5m,
        Ttl::OneHour => rates.write_1h,
    }
}

/// Whether there are gaps enough for a habit with pings: a few long ones would cost all that may be lost.
fn is_known(habit: Habit, gaps: &[Span]) -> bool {
    let pings = match habit {
        Habit::Plain => 0,
        Habit::Keep { pings, .. } => pings,
    };
    pings == 0 || gaps.len() >= SEEN
}

impl CacheGate {
    /// Whether hits renew for an hour what was written for less: so it is assumed until answers say
    /// that entries are not where they should be.
    pub(super) fn renews(&self) -> bool {
        self.spread.is_single() && self.broken <= 1 + self.kept / 20
    }

    /// The rates with which habits are compared: an hour costs a write for five minutes and a ping.
    fn habit_rates(&self) -> Rates {
        let rates = self.rates;
        if self.renews() {
            let renewed = rates.write_5m + rates.read;
            Rates {
                write_1h: rates.write_1h.min(renewed),
                ..rates
            }
        } else {
            rates
        }
    }

    /// The lifetime for which a prefix is worth writing now, if it is and there is one cache.
    pub(super) fn worth(&self, node: NodeId) -> Option<Ttl> {
        let prefix = &self.prefixes[node.index()];
        let gaps: Vec<Span> = prefix.gaps.iter().copied().collect();
        match best_habit(&gaps, &self.habit_rates()) {
            Some((Habit::Plain, _)) => None,
            Some((Habit::Keep { ttl, .. }, _)) if ttl == Ttl::OneHour && !self.renews() => {
                Some(ttl)
            }
            // Five minutes that nothing renews would be for nothing.
            Some((habit, _)) if !is_known(habit, &gaps) && gaps.iter().all(|&gap| gap >= FIVE) => {
                None
            }
            Some(_) => Some(Ttl::FiveMinutes),
            None => {
                let kind = self.kinds.get(&prefix.kind)?;
                (!self.is_hopeless(kind)).then_some(Ttl::FiveMinutes)
            }
        }
    }

    /// Whether prefixes of a kind come again too seldom, or are found too seldom, to be written when
    /// they are first seen.
    fn is_hopeless(&self, kind: &Kind) -> bool {
        let rates = &self.rates;
        let found = if self.spread.is_single() {
            1.0
        } else {
            self.spread.hit(1)
        };
        let saved = found * rates.write_5m.saturating_sub(rates.read) as f64;
        let spent = rates.write_5m.saturating_sub(rates.input) as f64;
        kind.reused().is_some_and(|reused| reused * saved < spent)
    }

    /// What marking a prefix for so long is expected to save per use and token, in picodollars, when
    /// calls are spread over several caches. A prefix without a past is given its chance for five
    /// minutes.
    pub(super) fn expected_gain(&self, now: Timestamp, node: NodeId, ttl: Ttl) -> f64 {
        let prefix = &self.prefixes[node.index()];
        let rates = &self.rates;
        let [plain, read, write] =
            [rates.input, rates.read, write_rate(rates, ttl)].map(|rate| rate as f64);
        if prefix.gaps.is_empty() {
            let kind = self.kinds.get(&prefix.kind);
            let hopeless = kind.is_some_and(|kind| self.is_hopeless(kind));
            return if hopeless || ttl == Ttl::OneHour {
                plain - write
            } else {
                0.0
            };
        }
        let gaps: Vec<i64> = prefix.gaps.iter().map(|gap| gap.as_micros()).collect();
        let life = lifetime(ttl).as_micros();
        let elapsed: i64 = gaps.iter().sum();
        let mean = (elapsed / i64::try_from(gaps.len()).unwrap_or(1)).max(1);
        let pace = usize::try_from(life / mean).unwrap_or(usize::MAX);
        let to_come = (prefix.touches(now) + gaps.len() / 2).min(pace);
        // Uses within a lifetime before each of those remembered.
        let within = (0..gaps.len()).map(|use_| {
            let mut age = 0;
            let before = gaps[..=use_].iter().rev().take_while(|&&gap| {
                age += gap;
                age < life
            });
            before.filter(|&&gap| gap >= AVAILABLE.as_micros()).count()
        });
        let chances = within.map(|touches| self.spread.hit(touches.max(to_come)));
        let hit = chances.sum::<f64>() / gaps.len() as f64;
        plain - hit * read - (1.0 - hit) * write
    }

    /// Whether an entry that is about to end is worth a read.
    pub(super) fn wants_ping(&self, now: Timestamp, node: NodeId) -> bool {
        let prefix = &self.prefixes[node.index()];
        let Some((entry, last)) = prefix.entry.zip(prefix.last_use) else {
            return false;
        };
        // With several caches a ping meets the right one by chance only.
        if !self.spread.is_single() {
            return false;
        }
        let renews = self.renews() && entry.ttl == Ttl::FiveMinutes;
        let gaps: Vec<Span> = prefix.gaps.iter().copied().collect();
        if let Some((habit, _)) = best_habit(&gaps, &self.habit_rates()) {
            return is_known(habit, &gaps)
                && match habit {
                    Habit::Plain => false,
                    Habit::Keep { ttl, pings } if ttl == entry.ttl => prefix.pings < pings,
                    Habit::Keep { ttl, .. } => ttl == Ttl::OneHour && renews,
                };
        }
        let Some(kind) = self.kinds.get(&prefix.kind) else {
            return false;
        };
        if kind.gaps.is_empty() {
            // Until two answers have read, pings are how it is learnt whether they pay at all.
            let most = if self.spread.is_trusted() {
                1
            } else {
                LEARNING
            };
            return renews && prefix.pings < most && kind.fruitless < FRUITLESS;
        }
        let gaps: Vec<Gap> = kind.gaps.iter().copied().collect();
        let ttl = if self.renews() {
            Ttl::OneHour
        } else {
            entry.ttl
        };
        let most = ping_limit(&self.rates, entry.ttl, false);
        let pays = ping_pays(&self.rates, ttl, &Survival::of(&gaps), now - last);
        prefix.pings < most && pays == Some(true)
    }
}
