//! How early all answers could have been there: the calls of a trace, sent as soon as the upstream's limit
//! of requests and its outage allow, by somebody who knows both.
//!
//! A lower bound: token limits are left out, and every model has the limit for itself. A bucket of
//! requests starts full and fills up evenly; the n-th call cannot leave before n have fitted through, and
//! the last one takes as long as the shortest answer.

use std::collections::BTreeMap;

use offpeak_core::units::{Span, Timestamp};
use offpeak_sim::{Limits, Outage};

use crate::trace::Trace;

const MINUTE: i128 = 60_000_000;

/// From the beginning of the trace to the last answer. `answer` is how long each call's takes.
pub(crate) fn least(
    trace: &Trace,
    limits: Option<&Limits>,
    outage: Option<Outage>,
    answer: impl Fn(usize) -> Span,
) -> Span {
    let mut by_model: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (number, call) in trace.calls.iter().enumerate() {
        by_model.entry(&call.model).or_default().push(number);
    }
    let mut last = Timestamp::EPOCH;
    for calls in by_model.into_values() {
        let mut door = Requests::new(limits);
        let mut sent = Timestamp::EPOCH;
        for &call in &calls {
            sent = sent.max(trace.calls[call].at);
            if let Some(outage) = outage
                && (outage.from..outage.to).contains(&sent.as_micros())
            {
                sent = Timestamp::from_micros(outage.to);
            }
            let through = door.take(sent);
            // Waiting for the bucket can end in the outage, where it goes on filling.
            sent = match outage {
                Some(outage) if (outage.from..outage.to).contains(&through.as_micros()) => {
                    Timestamp::from_micros(outage.to)
                }
                _ => through,
            };
            last = last.max(trace.calls[call].at + answer(call));
        }
        let shortest = calls.iter().map(|&call| answer(call)).min();
        last = last.max(sent + shortest.unwrap_or(Span::ZERO));
    }
    last - Timestamp::EPOCH
}

/// A bucket of requests, in request-microseconds a minute as the simulator counts.
struct Requests {
    limit: Option<i128>,
    level: i128,
    at: i128,
}

impl Requests {
    fn new(limits: Option<&Limits>) -> Self {
        let limit = limits.map(|limits| i128::from(limits.messages.max(1)));
        Self {
            limit,
            level: limit.unwrap_or(0) * MINUTE,
            at: 0,
        }
    }

    /// Takes a request out, as soon as there is one from `from` on; says when.
    fn take(&mut self, from: Timestamp) -> Timestamp {
        let Some(limit) = self.limit else {
            return from;
        };
        let from = i128::from(from.as_micros()).max(self.at);
        let level = (self.level + limit * (from - self.at)).min(limit * MINUTE);
        let missing = (MINUTE - level).max(0);
        let at = from + (missing + limit - 1) / limit;
        self.level = (level + limit * (at - from)).min(limit * MINUTE) - MINUTE;
        self.at = at;
        Timestamp::from_micros(i64::try_from(at).expect("a time within the trace"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::Workload;

    #[test]
    fn a_full_bucket_goes_out_at_once_and_the_rest_as_it_fills() {
        let trace = Workload::W12.generate(0);
        let limits = Limits {
            messages: 1_000,
            ..Limits::start()
        };
        let answer = |_| Span::from_secs(2);
        assert_eq!(least(&trace, None, None, answer), Span::from_secs(2));
        // 4,000 of 5,000 come through at 1,000 a minute.
        let calm = least(&trace, Some(&limits), None, answer);
        assert_eq!(calm, Span::from_secs(240 + 2));
        // From 60 to 180 s nothing does, but the bucket is full again at the end of it: 1,000 at once.
        let second = 1_000_000;
        let outage = Outage {
            from: 60 * second,
            to: 180 * second,
        };
        let down = least(&trace, Some(&limits), Some(outage), answer);
        assert!(
            (down - Span::from_secs(300 + 2)).as_micros().abs() < second,
            "{down:?}"
        );
    }
}
