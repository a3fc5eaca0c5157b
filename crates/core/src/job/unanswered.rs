//! An upstream that takes calls and answers none: a proxy that is less patient than the model, say. Each such
//! call may have been billed, so after some of them in turn it is left to somebody to find out why.
//!
//! Leaves out whose failure one is (`retry`), and which call goes next (`sync_lane`).

use crate::job::event::Stop;
use crate::units::Timestamp;

/// Calls one after the other that may have been billed and were not answered, after which the job stops
/// rather than pay for more of them.
const IN_TURN_MAX: u16 = 20;

/// Calls that may have been billed and were not answered, since one was.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unanswered {
    /// All of them.
    calls: u64,
    /// Those that were sent after the one before was known to be without an answer.
    in_turn: u16,
    /// When the last of these was.
    last: Timestamp,
}

impl Unanswered {
    /// One that was sent at `sent_at` is not answered, after `before`. Calls that went out together and are lost
    /// together are one event.
    pub(crate) fn after(before: Option<Self>, now: Timestamp, sent_at: Timestamp) -> Self {
        let Some(before) = before else {
            return Self {
                calls: 1,
                in_turn: 1,
                last: now,
            };
        };
        let calls = before.calls + 1;
        if sent_at < before.last {
            return Self { calls, ..before };
        }
        Self {
            calls,
            in_turn: before.in_turn + 1,
            last: now,
        }
    }

    /// Whether more than one was lost by itself.
    pub(crate) fn is_repeated(self) -> bool {
        self.in_turn > 1
    }

    /// Why the job stops, if it does.
    pub(crate) fn stop(self) -> Option<Stop> {
        let calls = self.calls;
        (self.in_turn >= IN_TURN_MAX).then_some(Stop::Unanswered { calls })
    }
}
