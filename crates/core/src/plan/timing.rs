//! The time a batch takes, held against the time there is.
//!
//! Leaves out the last safe moment of a running batch, which is computed from what has not ended
//! yet (`job`).

use serde::Serialize;

use crate::units::Span;

use super::workload::Need;

/// A typical turnaround: most batches end within the hour (Anthropic docs, batch processing).
pub(crate) const TURNAROUND: Span = Span::from_secs(3_600);
/// Time set aside to cancel a batch and settle what it finished.
pub(crate) const HEDGE_OVERHEAD: Span = Span::from_secs(120);
/// Calls that the sync lane makes in a minute, until its own rate is measured: half of the smallest
/// tier's limit.
pub(crate) const SYNC_CALLS_PER_MINUTE: u32 = 500;

/// The times that decide whether the calls can wait for a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Timing {
    /// Time left until the deadline.
    #[serde(rename = "slack_us")]
    pub slack: Span,
    /// A batch's typical turnaround.
    #[serde(rename = "turnaround_us")]
    pub turnaround: Span,
    /// Cancelling a late batch and settling what it finished.
    #[serde(rename = "overhead_us")]
    pub overhead: Span,
    /// Making every call synchronously, if the batch finishes none.
    #[serde(rename = "all_sync_us")]
    pub all_sync: Span,
}

impl Timing {
    /// The times of so many rows with a deadline.
    #[must_use]
    pub fn of(slack: Span, rows: u64) -> Self {
        let micros_per_call = 60_000_000 / i64::from(SYNC_CALLS_PER_MINUTE);
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        Self {
            slack,
            turnaround: TURNAROUND,
            overhead: HEDGE_OVERHEAD,
            all_sync: Span::from_micros(rows.saturating_mul(micros_per_call)),
        }
    }

    /// The hedge reserve: what must be left when a batch is given up.
    #[must_use]
    pub fn reserve(&self) -> Span {
        self.overhead + self.all_sync
    }

    /// One batch, with the reserve to finish without it.
    #[must_use]
    pub fn one_batch(&self) -> Span {
        self.turnaround + self.reserve()
    }

    /// A canary and then the bulk, with the reserve.
    #[must_use]
    pub fn two_batches(&self) -> Span {
        self.turnaround + self.one_batch()
    }

    /// Whether a batch and its reserve fit.
    #[must_use]
    pub fn allows_batch(&self) -> bool {
        self.slack >= self.one_batch()
    }

    /// Whether a canary, the bulk and the reserve fit.
    #[must_use]
    pub fn allows_canary(&self) -> bool {
        self.slack >= self.two_batches()
    }

    /// Whether the deadline is too close even for sending everything at once.
    #[must_use]
    pub fn is_late_anyway(&self) -> bool {
        self.slack < self.all_sync
    }
}

/// What the need for answers leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// None: each answer is awaited.
    None,
    /// As long as it takes.
    Endless,
    /// Up to a deadline.
    Until(Timing),
}

impl Patience {
    pub(crate) fn of(need: Need, rows: u64) -> Self {
        match need {
            Need::Seconds => Self::None,
            Need::Whenever => Self::Endless,
            Need::By { slack } => Self::Until(Timing::of(slack, rows)),
        }
    }

    pub(crate) fn allows_batch(&self) -> bool {
        match self {
            Self::None => false,
            Self::Endless => true,
            Self::Until(timing) => timing.allows_batch(),
        }
    }

    pub(crate) fn allows_canary(&self) -> bool {
        match self {
            Self::None => false,
            Self::Endless => true,
            Self::Until(timing) => timing.allows_canary(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_grows_with_the_rows() {
        // 1 h + 120 s + 5,000 calls at 500 a minute.
        let timing = Timing::of(Span::from_secs(4_320), 5_000);
        assert_eq!(timing.one_batch(), Span::from_secs(3_600 + 120 + 600));
        assert!(timing.allows_batch() && !timing.allows_canary());
        assert!(!Timing::of(Span::from_secs(4_319), 5_000).allows_batch());
        assert!(Timing::of(Span::from_secs(7_920), 5_000).allows_canary());
        assert!(Timing::of(Span::from_secs(599), 5_000).is_late_anyway());
        assert!(!Timing::of(Span::from_secs(600), 5_000).is_late_anyway());
    }

    #[test]
    fn absurd_numbers_stay_numbers() {
        assert!(!Timing::of(Span::from_secs(i64::MAX), u64::MAX).is_late_anyway());
        assert!(Timing::of(Span::from_secs(-1), 0).is_late_anyway());
    }
}
