//! How fast a lane may go: a window of calls in flight that grows by addition and shrinks by
//! multiplication, a pause after the upstream said "not now", and a budget of retries.
//!
//! Leaves out what is sent (`sync_lane`, `batch_lane`). Constants from economics.md, 2h.

use crate::job::retry::backoff;
use crate::units::{Span, Timestamp};

/// Uniform numbers in [0, 1), from whoever owns the dice.
pub type Dice<'a> = &'a mut dyn FnMut() -> f64;

/// A pause of a lane: until when, and after how many failures in a row.
#[derive(Debug, Clone, Default)]
pub struct Pause {
    until: Option<Timestamp>,
    failures: u32,
}

impl Pause {
    /// The upstream said "not now": nothing goes out until the pause is over.
    pub fn failed(&mut self, now: Timestamp, retry_after: Option<Span>, dice: Dice<'_>) {
        // Failures that were already under way when the pause began say nothing new.
        let fresh = self.until.is_none_or(|until| now >= until);
        if fresh {
            self.failures += 1;
        }
        let until = now + backoff(retry_after, self.failures, dice());
        self.until = Some(self.until.map_or(until, |old| old.max(until)));
    }

    /// Something went through.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Whether the lane may send.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now >= until)
    }

    /// When the pause ends, if it has not ended by `now`.
    #[must_use]
    pub fn ends(&self, now: Timestamp) -> Option<Timestamp> {
        self.until.filter(|until| *until > now)
    }
}

/// Calls that may be in flight at once: it doubles with every window that goes through until the
/// first refusal; from then on additive increase and multiplicative decrease.
#[derive(Debug, Clone)]
pub struct Window {
    size: f64,
    shrunk_at: Option<Timestamp>,
}

impl Window {
    const START: f64 = 8.0;
    const MAX: f64 = 128.0;
    /// The largest window, in calls.
    pub(crate) const MAX_CALLS: i64 = 128;
    /// Answers one after the other until the window is as large as it gets: some while the guard
    /// watches, then four doublings.
    pub(crate) const OPENING: i64 = 7;
    const SHRINK: f64 = 0.7;
    /// The window shrinks at most once in this time: many refusals at once are one event.
    const EPOCH: Span = Span::from_secs(1);

    /// Calls that may be in flight.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and 128"
    )]
    pub fn size(&self) -> usize {
        self.size as usize
    }

    /// One call went through.
    pub fn succeeded(&mut self) {
        let growth = if self.shrunk_at.is_none() {
            1.0
        } else {
            1.0 / self.size
        };
        self.size = (self.size + growth).min(Self::MAX);
    }

    /// The upstream refused for load.
    pub fn refused(&mut self, now: Timestamp) {
        if self.shrunk_at.is_none_or(|at| now >= at + Self::EPOCH) {
            self.size = (self.size * Self::SHRINK).max(1.0);
            self.shrunk_at = Some(now);
        }
    }
}

impl Default for Window {
    fn default() -> Self {
        Self {
            size: Self::START,
            shrunk_at: None,
        }
    }
}

/// Retries may be at most a tenth of the calls, so that an overload is not answered with more
/// load. An empty budget delays a retry; it never fails a row.
#[derive(Debug, Clone)]
pub struct RetryBudget {
    /// Tenths of a retry that may be spent now.
    tenths: u64,
    /// When the last retry was let through without budget.
    trickled: Option<Timestamp>,
}

impl RetryBudget {
    const START_TENTHS: u64 = 100;
    const MAX_TENTHS: u64 = 1_000;
    /// Without fresh calls to earn from, one retry in this time still goes out.
    const TRICKLE: Span = Span::from_secs(1);

    /// A first try was sent.
    pub fn earn(&mut self) {
        self.tenths = (self.tenths + 1).min(Self::MAX_TENTHS);
    }

    /// Takes one retry out of the budget; otherwise says when to ask again.
    pub fn spend(&mut self, now: Timestamp) -> Result<(), Timestamp> {
        if self.tenths >= 10 {
            self.tenths -= 10;
            return Ok(());
        }
        match self.trickled {
            Some(at) if now < at + Self::TRICKLE => Err(at + Self::TRICKLE),
            _ => {
                self.trickled = Some(now);
                Ok(())
            }
        }
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            tenths: Self::START_TENTHS,
            trickled: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(0) + Span::from_secs(seconds)
    }

    #[test]
    fn failures_already_under_way_do_not_lengthen_the_backoff() {
        let mut pause = Pause::default();
        for _ in 0..50 {
            pause.failed(at(0), None, &mut || 0.999);
        }
        assert!(pause.ends(at(0)).unwrap() <= at(1));
        pause.failed(at(2), None, &mut || 0.999);
        assert!(
            pause.ends(at(2)).unwrap() > at(3),
            "the second failure doubles the window"
        );
    }

    #[test]
    fn a_pause_is_never_cut_short_by_a_later_failure() {
        let mut pause = Pause::default();
        pause.failed(at(0), Some(Span::from_secs(30)), &mut || 0.5);
        pause.failed(at(1), None, &mut || 0.0);
        assert!(pause.ends(at(1)).unwrap() >= at(30));
    }

    #[test]
    fn the_window_shrinks_once_per_epoch_and_never_closes() {
        let mut window = Window::default();
        for _ in 0..100 {
            window.refused(at(0));
        }
        assert_eq!(window.size(), 5);
        for second in 1..100 {
            window.refused(at(second));
        }
        assert_eq!(window.size(), 1);
        for _ in 0..100_000 {
            window.succeeded();
        }
        assert_eq!(window.size(), 128);
    }

    #[test]
    fn an_empty_retry_budget_delays_and_never_refuses_for_ever() {
        let mut budget = RetryBudget::default();
        let let_through = (0..1000).filter(|_| budget.spend(at(0)).is_ok()).count();
        assert_eq!(let_through, 11, "ten saved up, and one that trickles");
        let again = budget.spend(at(0)).unwrap_err();
        assert!(budget.spend(again).is_ok());
        for _ in 0..10 {
            budget.earn();
        }
        assert!(budget.spend(again).is_ok(), "ten calls earn one retry");
    }
}
