//! The only clock and the only source of randomness that come from the operating system.
//!
//! Both are read here and handed down as arguments; nothing else in the product may ask the system for either.
//! The wall time is anchored once and then follows tokio's clock: paused and advanced tokio time moves it too, and a step
//! of the system clock during a run cannot make time go backwards. What it leaves out: time zones and formatting.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A wall clock in microseconds since the Unix epoch (UTC). A copy keeps showing the same time as its original.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    wall: i64,
    anchor: Instant,
}

impl Clock {
    /// The machine's clock, read once now.
    ///
    /// It does not follow later steps of the system clock, nor the time a suspended machine spends asleep.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the system clock"
    )]
    pub fn system() -> Self {
        let wall = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => micros(after),
            Err(before) => -micros(before.duration()),
        };
        Self::starting_at(wall)
    }

    /// A clock that shows `micros` (µs since the Unix epoch) now and runs with tokio's clock from here: for simulations.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads tokio's clock"
    )]
    pub fn starting_at(micros: i64) -> Self {
        Self {
            wall: micros,
            anchor: Instant::now(),
        }
    }

    /// The time now, µs since the Unix epoch.
    pub fn now(&self) -> i64 {
        self.wall.saturating_add(micros(self.anchor.elapsed()))
    }
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// Sixty-four random bits from the operating system, for seeding; not for cryptography.
pub fn entropy() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn advanced_time_moves_the_wall_clock() {
        let clock = Clock::starting_at(1_000_000);
        assert_eq!(clock.now(), 1_000_000);
        let copy = clock;
        tokio::time::advance(Duration::from_hours(24)).await;
        assert_eq!(clock.now(), 86_401_000_000);
        assert_eq!(copy.now(), clock.now());
    }

    #[test]
    fn the_system_clock_is_in_this_century_and_entropy_varies() {
        let now = Clock::system().now();
        assert!((1_700_000_000_000_000..4_102_444_800_000_000).contains(&now));
        assert_ne!(entropy(), entropy());
    }
}
