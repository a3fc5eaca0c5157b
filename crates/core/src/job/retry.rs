//! What becomes of a row after one attempt: a terminal outcome, or another try. And how long the
//! lane waits after the upstream said "not now".
//!
//! Leaves out which lane the other try takes (`machine`) and how fast rows are sent (`pace`).

use offpeak_wire::error::ErrorKind;
use offpeak_wire::message::StopReason;

use crate::job::outcome::OutcomeClass;
use crate::units::Span;

/// Tries that a row has for failures of its own (economics.md, 2h). Pauses of a lane use none.
pub const ATTEMPTS_MAX: u16 = 3;

/// Rounds in which a row may expire before somebody has to say what to do with it.
pub const EXPIRED_ROUNDS_MAX: u16 = 2;

/// First step of the exponential backoff.
pub const BACKOFF_BASE: Span = Span::from_secs(1);

/// Longest backoff; a `retry-after` of the server may be longer and is obeyed.
pub const BACKOFF_CAP: Span = Span::from_secs(60);

/// Failures of a row in a row after which it is blamed for them even if no other row went through.
const BLAMED_AFTER: u16 = 10;

/// Failures of a row of which it is not clear whether they are its own or the upstream's. Rows that go through are
/// counted by shard and from its begin, so that the journal of the shard says the same as was seen live.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Blame {
    failures: u16,
    /// How many rows of its shard had gone through at the last one.
    passed: u64,
    /// One that may have been billed was its own.
    own: bool,
}

impl Blame {
    /// It failed again, when so many rows of its shard had gone through. Whether it is the row's own failure, which uses an
    /// attempt: because other rows passed since it failed before, or because it has failed so often.
    pub fn failed(&mut self, passed: u64) -> bool {
        let others_pass = self.failures > 0 && passed > self.passed;
        self.failures = self.failures.saturating_add(1);
        self.passed = passed;
        others_pass || self.failures >= BLAMED_AFTER
    }

    /// The same of a failure that may have been billed: once such a one was the row's own, all that follow are.
    pub fn unanswered(&mut self, passed: u64) -> bool {
        self.own |= self.failed(passed);
        self.own
    }

    /// How often it failed.
    #[must_use]
    pub fn failures(self) -> u16 {
        self.failures
    }
}

/// What an attempt at a row came back with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A message, and why it stopped.
    Message(StopReason),
    /// An error about this row.
    Error(ErrorKind),
    /// The batch expired before the row was done; not billed.
    Expired,
    /// The batch was canceled before the row was done; not billed.
    Canceled,
    /// No readable result for a row that was probably billed.
    Unreadable,
}

/// What follows from a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// The row is done.
    Final(OutcomeClass),
    /// The row is tried again.
    Again(Again),
    /// The account cannot go on; the row is kept for the next run and the job stops.
    Stop(ErrorKind),
}

/// Why a row is tried again, which says what the try counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It failed for a reason of its own that may pass: uses an attempt.
    Failed,
    /// It expired: uses a round.
    Expired,
    /// It was canceled so that another lane can take it: uses nothing.
    Canceled,
}

/// Judges one attempt at a row. `attempts` are those used up before this one.
#[must_use]
pub fn judge(finding: &Finding, attempts: u16) -> Judgement {
    match finding {
        Finding::Message(stop) => Judgement::Final(class_of(stop)),
        Finding::Expired => Judgement::Again(Again::Expired),
        Finding::Canceled => Judgement::Again(Again::Canceled),
        Finding::Unreadable => Judgement::Final(OutcomeClass::ResultUnreadable),
        Finding::Error(kind) if stops_the_account(*kind) => Judgement::Stop(*kind),
        Finding::Error(kind) if !kind.is_retryable() => Judgement::Final(OutcomeClass::Errored),
        Finding::Error(_) if attempts + 1 >= ATTEMPTS_MAX => {
            Judgement::Final(OutcomeClass::Exhausted)
        }
        Finding::Error(_) => Judgement::Again(Again::Failed),
    }
}

fn class_of(stop: &StopReason) -> OutcomeClass {
    match stop {
        StopReason::MaxTokens | StopReason::ContextWindow => OutcomeClass::Truncated,
        StopReason::Refusal => OutcomeClass::Refused,
        StopReason::PauseTurn => OutcomeClass::Paused,
        StopReason::EndTurn
        | StopReason::StopSequence
        | StopReason::ToolUse
        | StopReason::Unknown(_)
        | StopReason::None => OutcomeClass::Succeeded,
    }
}

/// Errors that concern the key or the account, so that every other row would meet them too.
#[must_use]
pub fn stops_the_account(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Authentication
            | ErrorKind::Billing
            | ErrorKind::Permission
            | ErrorKind::SpendLimit
            | ErrorKind::OwnSpendLimit
    )
}

/// Errors that say something about the lane rather than about the row: they pause it, and use no
/// attempt.
#[must_use]
pub fn concerns_the_lane(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::RateLimit | ErrorKind::Overloaded | ErrorKind::Api | ErrorKind::Unknown
    )
}

/// How long to wait after the `failures`-th failure in a row (1 is the first): what the server
/// asked for, plus full jitter. Jitter is added, never taken from the larger of the two: a common
/// `retry-after` would line all clients up again (economics.md, 2h). `dice` is uniform in [0, 1).
#[must_use]
pub fn backoff(retry_after: Option<Span>, failures: u32, dice: f64) -> Span {
    let doublings = failures.saturating_sub(1).min(16);
    let window = Span::from_micros(BACKOFF_BASE.as_micros() << doublings).min(BACKOFF_CAP);
    retry_after.unwrap_or(Span::ZERO) + share(window, dice)
}

/// The part of a span that the dice say.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a share of a span of minutes is exact enough and no longer than the span"
)]
pub(crate) fn share(of: Span, dice: f64) -> Span {
    Span::from_micros((of.as_micros() as f64 * dice.clamp(0.0, 1.0)) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_row_error_has_three_attempts() {
        let finding = Finding::Error(ErrorKind::Api);
        let judged: Vec<_> = (0..3).map(|used| judge(&finding, used)).collect();
        assert_eq!(
            judged,
            [
                Judgement::Again(Again::Failed),
                Judgement::Again(Again::Failed),
                Judgement::Final(OutcomeClass::Exhausted),
            ]
        );
    }

    #[test]
    fn what_cannot_pass_is_not_tried_again() {
        for kind in [
            ErrorKind::InvalidRequest,
            ErrorKind::NotFound,
            ErrorKind::RequestTooLarge,
        ] {
            assert_eq!(
                judge(&Finding::Error(kind), 0),
                Judgement::Final(OutcomeClass::Errored)
            );
        }
    }

    #[test]
    fn billing_errors_stop_the_job_and_keep_the_row() {
        for kind in [
            ErrorKind::Billing,
            ErrorKind::SpendLimit,
            ErrorKind::OwnSpendLimit,
            ErrorKind::Authentication,
        ] {
            assert_eq!(judge(&Finding::Error(kind), 0), Judgement::Stop(kind));
        }
    }

    #[test]
    fn a_truncated_answer_is_an_outcome_and_is_never_bought_again() {
        let finding = Finding::Message(StopReason::MaxTokens);
        assert_eq!(
            judge(&finding, 0),
            Judgement::Final(OutcomeClass::Truncated)
        );
    }

    proptest! {
        #[test]
        fn backoff_is_at_least_what_the_server_asked_and_at_most_the_cap_more(
            asked in 0u32..7200, failures in 0u32..100, dice in 0.0f64..1.0,
        ) {
            let asked = Span::from_secs(i64::from(asked));
            let wait = backoff(Some(asked), failures, dice);
            prop_assert!(wait >= asked);
            prop_assert!(wait <= asked + BACKOFF_CAP);
        }

        #[test]
        fn backoff_spreads_over_the_whole_window(failures in 1u32..20) {
            let low = backoff(None, failures, 0.0);
            let high = backoff(None, failures, 0.999_999);
            let window = f64::from(1u32 << (failures - 1).min(6)).min(60.0);
            prop_assert_eq!(low, Span::ZERO);
            prop_assert!((high.as_secs_f64() - window).abs() < 0.001 * window + 0.001);
        }
    }
}
