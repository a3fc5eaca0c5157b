//! The cheapest way to pay for one prefix, all of whose uses are known: the yardstick of every rule
//! that does not know them.
//!
//! Between two uses the prefix is cold, warm for five minutes or warm for an hour. A gap is bridged by
//! pings, calls that read the prefix and ask for nothing. A hit, a ping's too, may turn five minutes
//! into an hour at no cost: a deeper hour mark keeps the tokens above it, and is billed for the new
//! ones only. Delays before an entry can be read are left out, so nothing real is cheaper.

use offpeak_wire::request::Ttl;

use crate::price::Rates;
use crate::units::{Span, Timestamp};

/// What one token of a prefix costs by what happens to it, in picodollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrefixRates {
    /// Neither read nor written.
    pub input: u64,
    /// Written for five minutes.
    pub write_5m: u64,
    /// Written for an hour.
    pub write_1h: u64,
    /// Read by a call.
    pub read: u64,
    /// Read by a ping.
    pub ping: u64,
}

impl PrefixRates {
    /// The rates of a lane whose pings travel on it.
    #[must_use]
    pub fn of(rates: &Rates) -> Self {
        Self {
            input: rates.input,
            write_5m: rates.write_5m,
            write_1h: rates.write_1h,
            read: rates.read,
            ping: rates.read,
        }
    }

    /// The cheaper write.
    #[must_use]
    pub fn least_write(&self) -> u64 {
        self.write_5m.min(self.write_1h)
    }
}

/// The least that one token costs over all uses of its prefix, in picodollars. `uses` are ordered;
/// each may come up to `held` later than it says, which shortens the gaps.
#[must_use]
pub fn offline_optimum(uses: &[Timestamp], held: Span, rates: &PrefixRates) -> u128 {
    let [input, write_5m, write_1h, read, ping] = [
        rates.input,
        rates.write_5m,
        rates.write_1h,
        rates.read.min(rates.input),
        rates.ping,
    ]
    .map(u128::from);
    let pings = |gap: Span, ttl: Ttl| u128::from(lifetimes(gap, ttl)) * ping;
    let mut state = Warmth {
        cold: 0,
        five: None,
        hour: None,
    };
    let mut before: Option<Timestamp> = None;
    for &at in uses {
        if let Some(before) = before {
            let gap = (at - before - held).max(Span::ZERO);
            let five = state.five.map(|c| c + pings(gap, Ttl::FiveMinutes));
            let hour = state.hour.map(|c| c + pings(gap, Ttl::OneHour));
            // The first ping renews for an hour what was written for five minutes.
            let rest = gap - lifetime(Ttl::FiveMinutes);
            let renewed = state.five.filter(|_| rest >= Span::ZERO);
            let renewed = renewed.map(|c| c + ping + pings(rest, Ttl::OneHour));
            state = Warmth {
                cold: [Some(state.cold), state.five, state.hour]
                    .into_iter()
                    .flatten()
                    .min()
                    .unwrap_or(state.cold),
                five,
                hour: least(hour, renewed),
            };
        }
        state = Warmth {
            cold: state.cold + input,
            five: least(Some(state.cold + write_5m), state.five.map(|c| c + read)),
            hour: least(
                Some(state.cold + write_1h),
                least(state.five, state.hour).map(|c| c + read),
            ),
        };
        before = Some(at);
    }
    let ends = [Some(state.cold), state.five, state.hour];
    ends.into_iter().flatten().min().unwrap_or(0)
}

/// The least cost so far of being in each state.
struct Warmth {
    cold: u128,
    five: Option<u128>,
    hour: Option<u128>,
}

fn least(a: Option<u128>, b: Option<u128>) -> Option<u128> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

/// The lifetime of a mark.
pub(crate) fn lifetime(ttl: Ttl) -> Span {
    Span::from_secs(i64::try_from(ttl.seconds()).unwrap_or(i64::MAX))
}

/// Whole lifetimes within a gap, which is the number of pings that bridge it: an entry is dead at
/// exactly its lifetime.
pub(crate) fn lifetimes(gap: Span, ttl: Ttl) -> u64 {
    let whole = gap.as_micros().max(0) / lifetime(ttl).as_micros().max(1);
    u64::try_from(whole).unwrap_or(0)
}

/// The least that one token costs over `uses` uses at whatever times suit best.
#[must_use]
pub fn timeless_optimum(uses: u64, rates: &PrefixRates) -> u128 {
    let Some(again) = uses.checked_sub(1) else {
        return 0;
    };
    let plain = u128::from(uses) * u128::from(rates.input);
    let cached = u128::from(rates.least_write()) + u128::from(again) * u128::from(rates.read);
    plain.min(cached)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Thousandths of the input price are enough for every published multiplier.
    const RATES: PrefixRates = PrefixRates {
        input: 1_000,
        write_5m: 1_250,
        write_1h: 2_000,
        read: 100,
        ping: 100,
    };

    fn at(seconds: &[i64]) -> Vec<Timestamp> {
        let at = |&s: &i64| Timestamp::EPOCH + Span::from_secs(s);
        seconds.iter().map(at).collect()
    }

    fn optimum(seconds: &[i64]) -> u128 {
        offline_optimum(&at(seconds), Span::ZERO, &RATES)
    }

    /// The optimum without free renewal, as it was once written down.
    fn uncorrected(seconds: &[i64]) -> u128 {
        let (mut cold, mut five, mut hour) = (0u128, u128::MAX / 2, u128::MAX / 2);
        for (n, &s) in seconds.iter().enumerate() {
            if n > 0 {
                let gap = u128::try_from(s - seconds[n - 1]).unwrap();
                cold = cold.min(five).min(hour);
                five += gap / 300 * 100;
                hour += gap / 3_600 * 100;
            }
            five = (cold + 1_250).min(five + 100);
            hour = (cold + 2_000).min(hour + 100);
            cold += 1_000;
        }
        cold.min(five).min(hour)
    }

    #[test]
    fn the_uncorrected_optimum_is_no_bound() {
        // 20,000 tokens used at 0, 60 and 2,460 s, 100 more behind them from 60 s on, and 50 of its own
        // behind each call. Writing the first for five minutes and then an hour's mark behind the
        // others is legal.
        let own = 3 * 50 * 1_000;
        let legal = 20_000 * 1_250 + (20_000 * 100 + 100 * 2_000) + 20_100 * 100 + own;
        let claimed = 20_000 * uncorrected(&[0, 60, 2_460]) + 100 * uncorrected(&[60, 2_460]) + own;
        let bound = 20_000 * optimum(&[0, 60, 2_460]) + 100 * optimum(&[60, 2_460]) + own;
        assert_eq!(legal, 29_360_000);
        assert_eq!(claimed, 44_350_000);
        assert_eq!(bound, 20_000 * 1_450 + 100 * 1_450 + own);
        assert!(bound <= legal);
    }

    #[test]
    fn one_write_and_reads_when_uses_are_close() {
        // 36 uses ten seconds apart: 1.25 + 35 × 0.1.
        let times: Vec<i64> = (0..36).map(|n| n * 10).collect();
        assert_eq!(optimum(&times), 4_750);
        assert_eq!(optimum(&[]), 0);
        assert_eq!(optimum(&[7]), 1_000, "a single use is plain");
        assert_eq!(timeless_optimum(36, &RATES), 4_750);
        assert_eq!(timeless_optimum(1, &RATES), 1_000);
    }

    #[test]
    fn a_ping_renews_for_an_hour() {
        // Every six minutes: one ping within the first five minutes, then hits renew for free.
        let times: Vec<i64> = (0..240).map(|n| n * 360).collect();
        assert_eq!(optimum(&times), 1_250 + 100 + 239 * 100);
    }

    #[test]
    fn held_calls_shorten_the_gaps() {
        let uses = at(&[0, 301]);
        assert_eq!(offline_optimum(&uses, Span::ZERO, &RATES), 1_450);
        assert_eq!(offline_optimum(&uses, Span::from_secs(2), &RATES), 1_350);
    }

    /// Tries everything: at each use plain or either write when cold, either lifetime when warm; in
    /// gaps any number of pings, each just in time and for either lifetime.
    fn brute(uses: &[Timestamp], warm_until: Option<(Timestamp, Ttl)>, now: Timestamp) -> u128 {
        let Some((&next, rest)) = uses.split_first() else {
            return 0;
        };
        let hours = [Ttl::FiveMinutes, Ttl::OneHour];
        let mut best = u128::MAX;
        match warm_until {
            Some((dead, ttl)) if next < dead => {
                for renewed in hours
                    .into_iter()
                    .filter(|new| new.seconds() >= ttl.seconds())
                {
                    let warm = Some((next + lifetime(renewed), renewed));
                    best = best.min(100 + brute(rest, warm, next));
                }
            }
            Some((dead, ttl)) => {
                let ping = dead - Span::from_micros(1);
                if ping > now {
                    for renewed in hours
                        .into_iter()
                        .filter(|new| new.seconds() >= ttl.seconds())
                    {
                        let warm = Some((ping + lifetime(renewed), renewed));
                        best = best.min(100 + brute(uses, warm, ping));
                    }
                }
                best = best.min(brute(uses, None, now));
            }
            None => {
                best = best.min(1_000 + brute(rest, None, next));
                for (ttl, write) in hours.into_iter().zip([1_250, 2_000]) {
                    let warm = Some((next + lifetime(ttl), ttl));
                    best = best.min(write + brute(rest, warm, next));
                }
            }
        }
        best
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(120))]
        #[test]
        fn it_is_what_trying_everything_finds(
            gaps in prop::collection::vec(prop_oneof![1i64..700, 3_000i64..4_500, Just(300), Just(3_600)], 0..4),
        ) {
            let mut times = vec![0];
            for gap in gaps {
                times.push(times.last().unwrap() + gap);
            }
            prop_assert_eq!(optimum(&times), brute(&at(&times), None, Timestamp::EPOCH));
        }

        #[test]
        fn it_is_never_below_the_timeless_one(gaps in prop::collection::vec(0i64..20_000, 0..30)) {
            let mut times = vec![0];
            for gap in gaps {
                times.push(times.last().unwrap() + gap);
            }
            let uses = u64::try_from(times.len()).unwrap();
            prop_assert!(optimum(&times) >= timeless_optimum(uses, &RATES));
            prop_assert!(optimum(&times) <= uncorrected(&times));
        }
    }
}
