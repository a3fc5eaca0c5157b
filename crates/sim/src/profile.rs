//! Owns when the rows of a batch run: the completion curve of a batch as a function of its rows'
//! ranks, so that nothing has to be stored per row. Which rows those are, and what becomes of
//! them, is `batch`'s matter.
//!
//! At most `workers` rows run at once: row k starts when row k − workers ends.

use serde::{Deserialize, Serialize};

use crate::dice::{self, Purpose};
use crate::stamp::{DAY, HOUR, MINUTE, SECOND};

/// How fast batches get done. Most real ones end within an hour; 24 hours is the hard expiry
/// (Anthropic docs, batch processing).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    /// Starts after about two minutes; even the largest batch ends within 25 minutes.
    #[default]
    Fast,
    /// Rows end exponentially with a mean of 20 minutes.
    Normal,
    /// Four rows in five end within an hour, 15 % within six hours, 5 % expire.
    SlowTail,
    /// Nothing happens for 23 hours, then everything does.
    Stuck,
    /// No row ever runs: all expire.
    Dead,
}

/// The longest a fast batch works, however many rows it has.
const FAST_SPREAD: i64 = 21 * MINUTE;
const NORMAL_MEAN: i64 = 20 * MINUTE;

/// The schedule of one batch. Ranks count in running order from 0.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Curve {
    profile: Profile,
    rows: u32,
    workers: u32,
    /// When the first rows start, µs.
    begin: i64,
    /// How long a row takes by itself, µs.
    service: i64,
    seed: u64,
}

impl Curve {
    pub(crate) fn new(
        profile: Profile,
        rows: u32,
        workers: u32,
        created: i64,
        seed: u64,
        batch: u64,
    ) -> Self {
        let delay = match profile {
            Profile::Fast | Profile::Normal | Profile::SlowTail => {
                let roll = dice::roll(seed, Purpose::StartDelay, batch, 0);
                signed(dice::between(roll, 90_000_000, 150_000_000))
            }
            Profile::Stuck => 23 * HOUR,
            Profile::Dead => 2 * DAY,
        };
        let service = dice::roll(seed, Purpose::Service, batch, 0);
        Self {
            profile,
            rows,
            workers: workers.max(1),
            begin: created + delay,
            service: signed(dice::between(service, 2_500_000, 4_500_000)),
            seed: dice::roll(seed, Purpose::Pace, batch, 0),
        }
    }

    /// When the row of this rank starts; `None`: never.
    pub(crate) fn start(&self, rank: u32) -> Option<i64> {
        match rank.checked_sub(self.workers) {
            None if self.profile == Profile::Dead => None,
            None => Some(self.begin),
            Some(before) => self.finish(before),
        }
    }

    /// When the row of this rank ends; `None`: never. Later ranks never end earlier.
    pub(crate) fn finish(&self, rank: u32) -> Option<i64> {
        let base = self.begin + self.service;
        match self.profile {
            Profile::Fast | Profile::Stuck => {
                let rows = i64::from(self.rows);
                let spread = (self.service * rows / i64::from(self.workers)).min(FAST_SPREAD);
                Some(base + spread * i64::from(rank) / rows)
            }
            Profile::Normal => Some(base + scaled(NORMAL_MEAN, -(1.0 - self.share(rank)).ln())),
            Profile::SlowTail => match self.share(rank) {
                u if u < 0.80 => Some(base + scaled(HOUR, u / 0.80)),
                u if u < 0.95 => Some(base + HOUR + scaled(5 * HOUR, (u - 0.80) / 0.15)),
                _ => None,
            },
            Profile::Dead => None,
        }
    }

    /// Where the rank stands in the curve, jittered within its own slot so that ranks keep order.
    fn share(&self, rank: u32) -> f64 {
        let jitter = dice::unit(dice::roll(self.seed, Purpose::Pace, u64::from(rank), 1));
        (f64::from(rank) + jitter) / f64::from(self.rows)
    }

    /// When the answer of a row begins, from which on its cache writes can be read.
    pub(crate) fn first_byte(&self, rank: u32, start: i64) -> i64 {
        let whole = self.finish(rank).map_or(self.service, |end| end - start);
        start + (4 * SECOND / 5).min(whole / 2)
    }
}

fn signed(micros: u64) -> i64 {
    i64::try_from(micros).expect("a delay of minutes fits i64")
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a span of hours times a small factor; microseconds need no more than 53 bits"
)]
fn scaled(span: i64, factor: f64) -> i64 {
    (span as f64 * factor) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Profile; 5] = [
        Profile::Fast,
        Profile::Normal,
        Profile::SlowTail,
        Profile::Stuck,
        Profile::Dead,
    ];

    #[test]
    fn fast_ends_well_under_an_hour() {
        for rows in [1, 50, 138, 100_000] {
            let curve = Curve::new(Profile::Fast, rows, 50, 0, 1, 1);
            assert!(curve.finish(rows - 1).unwrap() < 25 * MINUTE);
            assert!(curve.start(0).unwrap() >= 90 * SECOND);
        }
    }

    #[test]
    fn shares_of_the_slow_tail() {
        let n = 10_000;
        let curve = Curve::new(Profile::SlowTail, n, 50, 0, 1, 1);
        let done = |limit: i64| {
            (0..n)
                .filter(|&k| curve.finish(k).is_some_and(|f| f < limit))
                .count()
        };
        assert!(done(HOUR + 3 * MINUTE).abs_diff(8_000) < 50);
        assert!(done(6 * HOUR + 3 * MINUTE).abs_diff(9_500) < 5);
        assert_eq!((0..n).filter(|&k| curve.finish(k).is_none()).count(), 500);
    }

    proptest! {
        #[test]
        fn ranks_keep_order_and_workers_are_bounded(
            which in 0usize..5, rows in 1u32..400, workers in 1u32..60, seed: u64,
        ) {
            let curve = Curve::new(ALL[which], rows, workers, 1_000, seed, 3);
            let mut last = (0, 0);
            for rank in 0..rows {
                let start = curve.start(rank).unwrap_or(i64::MAX);
                let end = curve.finish(rank).unwrap_or(i64::MAX);
                prop_assert!(start >= last.0 && end >= last.1 && start <= end);
                let running = (0..rank).filter(|&k| curve.finish(k).is_none_or(|f| f > start)).count();
                prop_assert!(start == i64::MAX || running < workers as usize);
                last = (start, end);
            }
        }
    }
}
