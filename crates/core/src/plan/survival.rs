//! How long it takes until a prefix is used again, learnt from gaps that ended and gaps that still
//! last (Kaplan and Meier's estimate).
//!
//! A gap that still lasts counts as longer than it is so far; leaving such gaps out would make every
//! long wait look unlikely. Gaps are weighted, by tokens if the caller wishes: long prompts come back
//! more rarely than short ones, and money goes by tokens.

use crate::units::Span;

/// One gap between two uses of a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Its length, or its length so far.
    pub length: Span,
    /// It ended with a use.
    pub ended: bool,
    /// What it counts for.
    pub weight: u64,
}

/// The estimated share of gaps that outlast a time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Survival {
    /// Each length at which gaps ended, with the share that is longer.
    steps: Vec<(Span, f64)>,
}

impl Survival {
    /// The estimate from observed gaps.
    #[must_use]
    pub fn of(gaps: &[Gap]) -> Self {
        let mut sorted = gaps.to_vec();
        // At the same length those that ended come first: the others are longer.
        sorted.sort_by_key(|gap| (gap.length, !gap.ended));
        let mut at_risk: f64 = sorted.iter().map(|gap| gap.weight as f64).sum();
        let (mut share, mut steps) = (1.0, Vec::new());
        for same in sorted.chunk_by(|a, b| a.length == b.length) {
            let weight = |ended: bool| -> f64 {
                let of = same.iter().filter(|gap| gap.ended == ended);
                of.map(|gap| gap.weight as f64).sum()
            };
            let ended = weight(true);
            if ended > 0.0 && at_risk > 0.0 {
                share *= (1.0 - ended / at_risk).max(0.0);
                steps.push((same[0].length, share));
            }
            at_risk -= ended + weight(false);
        }
        Self { steps }
    }

    /// The share of gaps longer than this.
    #[must_use]
    pub fn beyond(&self, length: Span) -> f64 {
        let passed = self.steps.partition_point(|&(at, _)| at <= length);
        passed.checked_sub(1).map_or(1.0, |last| self.steps[last].1)
    }

    /// How probably a gap that has lasted for `idle` ends within the next `window`; `None` when no
    /// gap was ever longer.
    #[must_use]
    pub fn ends_within(&self, idle: Span, window: Span) -> Option<f64> {
        let now = self.beyond(idle);
        (now > 0.0).then(|| 1.0 - self.beyond(idle + window) / now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gap(seconds: i64, ended: bool) -> Gap {
        let length = Span::from_secs(seconds);
        Gap {
            length,
            ended,
            weight: 1,
        }
    }

    #[test]
    fn gaps_that_last_are_not_forgotten() {
        let s = Span::from_secs;
        // By hand: 4 at risk, one ends at 10 (3/4); 3 at risk, one ends at 20 (1/2); at 30 two are
        // at risk, neither has ended.
        let gaps = [gap(10, true), gap(20, true), gap(30, false), gap(30, false)];
        let estimate = Survival::of(&gaps);
        assert!((estimate.beyond(s(10)) - 0.75).abs() < 1e-12);
        assert!((estimate.beyond(s(29)) - 0.5).abs() < 1e-12);
        assert!((estimate.ends_within(s(10), s(10)).unwrap() - 1.0 / 3.0).abs() < 1e-12);
        let resolved = Survival::of(&gaps[..2]);
        assert_eq!(resolved.ends_within(s(10), s(10)), Some(1.0), "too hopeful");
        assert_eq!(Survival::of(&[]).ends_within(s(1), s(1)), Some(0.0));
        assert_eq!(resolved.ends_within(s(20), s(1)), None);
    }

    #[test]
    fn weights_count_like_repetitions() {
        let heavy = Gap {
            weight: 3,
            ..gap(10, true)
        };
        let many = [gap(10, true), gap(10, true), gap(10, true), gap(50, false)];
        assert_eq!(Survival::of(&[heavy, gap(50, false)]), Survival::of(&many));
    }

    proptest! {
        #[test]
        fn shares_only_fall(seconds in prop::collection::vec((0i64..100, any::<bool>()), 0..40)) {
            let gaps: Vec<Gap> = seconds.iter().map(|&(s, ended)| gap(s, ended)).collect();
            let estimate = Survival::of(&gaps);
            let shares: Vec<f64> = (0..110).map(|s| estimate.beyond(Span::from_secs(s))).collect();
            prop_assert!(shares.windows(2).all(|pair| pair[1] <= pair[0] && pair[1] >= 0.0));
        }
    }
}
