//! Owns the time a served world lives by: real, faster than real, or standing still until it is
//! moved by hand. Reads no clock itself; that is the caller's.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Reads the time: microseconds since the Unix epoch.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// A world's time. Copies show the same time.
#[derive(Clone)]
pub struct Time(Kind);

#[derive(Clone)]
enum Kind {
    Flowing {
        clock: Clock,
        /// The clock's time and the world's at which they were put together.
        origin: (i64, i64),
        speed: u32,
    },
    ByHand(Arc<AtomicI64>),
}

impl Time {
    /// The clock's own time.
    #[must_use]
    pub fn of(clock: Clock) -> Self {
        Self(Kind::Flowing {
            clock,
            origin: (0, 0),
            speed: 1,
        })
    }

    /// Time that shows `from` now and runs `speed` times as fast as the clock.
    #[must_use]
    pub fn scaled(clock: Clock, from: i64, speed: u32) -> Self {
        let origin = (clock(), from);
        Self(Kind::Flowing {
            clock,
            origin,
            speed: speed.max(1),
        })
    }

    /// Time that shows `from` and stands still until [`Time::advance_to`]; nobody waits for it.
    #[must_use]
    pub fn by_hand(from: i64) -> Self {
        Self(Kind::ByHand(Arc::new(AtomicI64::new(from))))
    }

    /// The time now, µs since the Unix epoch.
    #[must_use]
    pub fn now(&self) -> i64 {
        match &self.0 {
            Kind::Flowing {
                clock,
                origin: (zero, from),
                speed,
            } => from.saturating_add((clock() - zero).saturating_mul(i64::from(*speed))),
            Kind::ByHand(now) => now.load(Ordering::SeqCst),
        }
    }

    /// How long the clock takes to show an instant; nothing for one that has passed, and under
    /// time that is moved by hand.
    #[must_use]
    pub fn until(&self, at: i64) -> Duration {
        let left = at.saturating_sub(self.now());
        self.lasting(u64::try_from(left).unwrap_or(0))
    }

    /// How long so many microseconds of the world take; no time at all under time that is moved by
    /// hand.
    #[must_use]
    pub fn lasting(&self, micros: u64) -> Duration {
        match &self.0 {
            Kind::Flowing { speed, .. } => Duration::from_micros(micros) / *speed,
            Kind::ByHand(_) => Duration::ZERO,
        }
    }

    /// Moves time that is moved by hand on to an instant; it never goes back. False for time that
    /// flows.
    #[must_use]
    pub fn advance_to(&self, at: i64) -> bool {
        match &self.0 {
            Kind::Flowing { .. } => false,
            Kind::ByHand(now) => {
                now.fetch_max(at, Ordering::SeqCst);
                true
            }
        }
    }

    pub(super) fn mode(&self) -> &'static str {
        match &self.0 {
            Kind::Flowing { speed: 1, .. } => "real",
            Kind::Flowing { .. } => "scaled",
            Kind::ByHand(_) => "virtual",
        }
    }

    pub(super) fn speed(&self) -> Option<u32> {
        match &self.0 {
            Kind::Flowing { speed, .. } => Some(*speed),
            Kind::ByHand(_) => None,
        }
    }
}

impl std::fmt::Debug for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Time").field(&self.mode()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_kinds_of_time() {
        let ticks = Arc::new(AtomicI64::new(1_000));
        let shown = Arc::clone(&ticks);
        let clock: Clock = Arc::new(move || shown.load(Ordering::SeqCst));
        let real = Time::of(Arc::clone(&clock));
        let fast = Time::scaled(clock, 5_000, 100);
        let hand = Time::by_hand(7_000);
        ticks.fetch_add(50, Ordering::SeqCst);
        assert_eq!([real.now(), fast.now(), hand.now()], [1_050, 10_000, 7_000]);
        assert_eq!(fast.until(20_000), Duration::from_micros(100));
        assert_eq!(hand.until(20_000), Duration::ZERO);
        assert!(!real.advance_to(9) && hand.advance_to(8_000) && hand.advance_to(1));
        assert_eq!(hand.now(), 8_000);
    }
}
