//! Over how many caches upstream spreads the calls: a belief, learnt from answers that found an entry
//! where it was written, or didn't.
//!
//! If each call meets one of d caches by chance and k calls have touched an entry within its lifetime,
//! the next one finds it with probability 1 − (1 − 1/d)^k. The documentation promises nothing here;
//! one cache is believed until answers say otherwise, and no number is ever ruled out, so that a change
//! upstream is noticed either way. Floating point, for comparison only.

/// Numbers of caches that are told apart, and what is believed of them at first.
const CACHES: [(f64, f64); 7] = [
    (1.0, 0.95),
    (2.0, 0.015),
    (4.0, 0.012),
    (8.0, 0.009),
    (16.0, 0.008),
    (32.0, 0.003),
    (64.0, 0.003),
];
/// Entries that vanish although there is one cache: evicted, or ended early.
const VANISHED: f64 = 0.02;
/// The share of the first belief that each number keeps, whatever answers said.
const KEPT: f64 = 0.02;
/// Shares above which one cache is assumed, was confirmed (by one answer at least), and is counted on
/// (by two).
const ASSUMED: f64 = 0.5;
const CONFIRMED: f64 = 0.96;
const TRUSTED: f64 = 0.99;

/// The belief.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spread([f64; CACHES.len()]);

impl Default for Spread {
    fn default() -> Self {
        Self(CACHES.map(|(_, share)| share))
    }
}

fn chance(caches: f64, touches: usize) -> f64 {
    let k = i32::try_from(touches).unwrap_or(i32::MAX);
    (1.0 - VANISHED) * (1.0 - (1.0 - 1.0 / caches).powi(k))
}

impl Spread {
    /// An answer found an entry that so many calls had touched, or didn't.
    pub(super) fn observe(&mut self, touches: usize, hit: bool) {
        if touches == 0 {
            return;
        }
        let mut sum = 0.0;
        for (share, (caches, _)) in self.0.iter_mut().zip(CACHES) {
            let chance = chance(caches, touches);
            *share *= if hit { chance } else { 1.0 - chance };
            sum += *share;
        }
        for (share, (_, first)) in self.0.iter_mut().zip(CACHES) {
            *share = (*share / sum).max(KEPT * first);
        }
        let sum: f64 = self.0.iter().sum();
        self.0.iter_mut().for_each(|share| *share /= sum);
    }

    /// Whether nothing speaks against one cache.
    pub(super) fn is_single(&self) -> bool {
        self.0[0] > ASSUMED
    }

    /// Whether answers speak for it.
    pub(super) fn is_confirmed(&self) -> bool {
        self.0[0] > CONFIRMED
    }

    /// Whether so many do that a miss would be a surprise.
    pub(super) fn is_trusted(&self) -> bool {
        self.0[0] > TRUSTED
    }

    /// How probably a call finds an entry that so many calls have touched.
    pub(super) fn hit(&self, touches: usize) -> f64 {
        let each = self.0.iter().zip(CACHES);
        each.map(|(share, (caches, _))| share * chance(caches, touches))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_answers_tell_how_many_caches_there_are() {
        let mut spread = Spread::default();
        assert!(spread.is_single() && spread.hit(1) > 0.85);
        for touches in 1..=3 {
            spread.observe(touches, false);
        }
        assert!(!spread.is_single() && spread.hit(1) < 0.2, "{spread:?}");
        // With many touches an entry is everywhere, with one it is not.
        assert!(spread.hit(200) > 0.9);
        for _ in 0..400 {
            spread.observe(1, true);
        }
        assert!(spread.is_single() && spread.hit(1) > 0.95);
    }

    #[test]
    fn one_answer_confirms_and_two_are_trusted() {
        let mut spread = Spread::default();
        let states = [(false, false), (true, false), (true, true)];
        for state in states {
            assert_eq!((spread.is_confirmed(), spread.is_trusted()), state);
            spread.observe(1, true);
        }
    }

    #[test]
    fn one_entry_that_vanished_changes_little_after_many_that_did_not() {
        let mut spread = Spread::default();
        for _ in 0..50 {
            spread.observe(1, true);
        }
        spread.observe(1, false);
        assert!(spread.is_single());
    }

    #[test]
    fn an_entry_that_nobody_touched_says_nothing() {
        let mut spread = Spread::default();
        spread.observe(0, false);
        assert_eq!(spread, Spread::default());
    }
}
