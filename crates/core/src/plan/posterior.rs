//! What is believed about the share of batch rows that find their prefix in the cache: a beta
//! distribution, updated by reported usage.
//!
//! Live batches without a canary read nothing at first, so the belief starts there, with the weight of
//! ten rows, and marks pay only when even its lower tenth lies above the break-even. Leaves out where
//! beliefs are kept.

use offpeak_wire::request::Ttl;

use crate::price::Rates;

use super::cost::{HitRate, hit_threshold};

/// Rows that the first belief weighs.
const PRIOR_ROWS: f64 = 10.0;
/// Of these, those that hit: as good as none, but not impossible.
const PRIOR_HITS: f64 = 0.1;
/// Rows of one group in one batch count as at most so many.
const TELLING_ROWS: u64 = 100;
/// The quantile that decides.
const CAUTION: f64 = 0.1;

/// A belief about a hit rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HitPosterior {
    hits: f64,
    misses: f64,
}

impl HitPosterior {
    /// The belief about a batch that nothing was sent ahead of.
    #[must_use]
    pub fn cold() -> Self {
        Self {
            hits: PRIOR_HITS,
            misses: PRIOR_ROWS - PRIOR_HITS,
        }
    }

    /// The belief after so many more rows that read their prefix, or wrote it.
    #[must_use]
    pub fn after(self, hits: u64, misses: u64) -> Self {
        Self {
            hits: self.hits + hits as f64,
            misses: self.misses + misses as f64,
        }
    }

    /// The belief about a batch that follows a canary, before it was seen: anything is possible.
    #[must_use]
    pub fn led() -> Self {
        Self {
            hits: 1.0,
            misses: 1.0,
        }
    }

    /// The belief after more evidence that need not be whole rows.
    #[must_use]
    pub fn weighed(self, hits: f64, misses: f64) -> Self {
        Self {
            hits: self.hits + hits.max(0.0),
            misses: self.misses + misses.max(0.0),
        }
    }

    /// The belief after so many more rows of one batch. They share their fate, so however many they
    /// are, they say no more than a hundred.
    #[must_use]
    pub fn after_group(self, hits: u64, misses: u64) -> Self {
        let (hits, misses) = telling(hits, misses, 1);
        self.weighed(hits, misses)
    }

    /// The expected hit rate.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.hits / (self.hits + self.misses)
    }

    /// The hit rate that is exceeded with probability `1 - share`.
    #[must_use]
    pub fn quantile(&self, share: f64) -> f64 {
        let (mut low, mut high) = (0.0, 1.0);
        // Halved until a double cannot tell the two apart.
        for _ in 0..60 {
            let middle = (low + high) / 2.0;
            if beta_below(middle, self.hits, self.misses) < share {
                low = middle;
            } else {
                high = middle;
            }
        }
        (low + high) / 2.0
    }

    /// Whether marks pay even if the hit rate is at the lower tenth of what is believed.
    #[must_use]
    pub fn pays(&self, rates: &Rates, ttl: Ttl) -> bool {
        let needed = hit_threshold(rates, ttl).share();
        // The lower tenth lies below the mean, and is much dearer to find.
        self.mean() > needed && self.quantile(CAUTION) > needed
    }

    /// Whether marks lose even if the hit rate is at the upper tenth of what is believed.
    #[must_use]
    pub fn loses(&self, threshold: HitRate) -> bool {
        let needed = threshold.share();
        self.mean() < needed && self.quantile(1.0 - CAUTION) < needed
    }
}

/// Rows of so many groups as evidence: rows of one group in one batch share their fate.
pub(super) fn telling(hits: u64, misses: u64, groups: u64) -> (f64, f64) {
    let rows = hits.saturating_add(misses);
    let telling = TELLING_ROWS.saturating_mul(groups.max(1));
    let share = telling.min(rows) as f64 / rows.max(1) as f64;
    (hits as f64 * share, misses as f64 * share)
}

/// The beta distribution's share below `x`, by the continued fraction of the incomplete beta function
/// (Abramowitz and Stegun 26.5.8), on the side where it converges fast.
fn beta_below(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln();
    if x < (a + 1.0) / (a + b + 2.0) {
        front.exp() * fraction(x, a, b) / a
    } else {
        1.0 - front.exp() * fraction(1.0 - x, b, a) / b
    }
}

/// Lentz's evaluation of the continued fraction.
fn fraction(x: f64, a: f64, b: f64) -> f64 {
    let away = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut product = d;
    for m in 1..500 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for term in [even, odd] {
            d = 1.0 / away(1.0 + term * d);
            c = away(1.0 + term / c);
            change = c * d;
            product *= change;
        }
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    product
}

/// Stirling's series for the logarithm of the gamma function, after a shift to where it is exact to
/// a double.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 15.0 {
        shift += x.ln();
        x += 1.0;
    }
    let y = 1.0 / (x * x);
    let series = (1.0 / 12.0 - y * (1.0 / 360.0 - y * (1.0 / 1_260.0 - y / 1_680.0))) / x;
    (x - 0.5) * x.ln() - x + (2.0 * std::f64::consts::PI).ln() / 2.0 + series - shift
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATES: Rates = Rates {
        input: 1_000,
        write_5m: 1_250,
        write_1h: 2_000,
        read: 100,
        output: 5_000,
    };

    #[test]
    fn closed_forms_of_the_beta_distribution() {
        // Beta(a, 1) is x^a, Beta(1, b) is 1 - (1-x)^b, Beta(2, 2) is 3x² - 2x³.
        for x in [0.01_f64, 0.3, 0.5, 0.9] {
            assert!((beta_below(x, 3.5, 1.0) - x.powf(3.5)).abs() < 1e-12);
            assert!((beta_below(x, 1.0, 7.0) - (1.0 - (1.0 - x).powi(7))).abs() < 1e-12);
            let two = 3.0 * x * x - 2.0 * x * x * x;
            assert!((beta_below(x, 2.0, 2.0) - two).abs() < 1e-12);
        }
        assert!((ln_gamma(0.5) - std::f64::consts::PI.sqrt().ln()).abs() < 1e-12);
    }

    #[test]
    fn a_cold_batch_is_believed_to_read_nothing_until_it_did() {
        let cold = HitPosterior::cold();
        assert!(!cold.pays(&RATES, Ttl::FiveMinutes) && cold.mean() < 0.02);
        // 98 % of 50 rows are enough for either lifetime, 30 % of any number only for five minutes.
        let learnt = cold.after(49, 1);
        assert!(learnt.pays(&RATES, Ttl::OneHour));
        let floor = cold.after(300, 700);
        assert!(floor.pays(&RATES, Ttl::FiveMinutes) && !floor.pays(&RATES, Ttl::OneHour));
    }

    proptest! {
        #[test]
        fn a_quantile_has_its_share_below_it(hits in 0u64..5_000, misses in 0u64..5_000) {
            let belief = HitPosterior::cold().after(hits, misses);
            let tenth = belief.quantile(0.1);
            prop_assert!((beta_below(tenth, belief.hits, belief.misses) - 0.1).abs() < 1e-6);
            prop_assert!(tenth < belief.mean());
        }
    }
}
