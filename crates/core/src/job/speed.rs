//! How fast the sync lane may go, and how fast it went: the upstream's limits a minute as its answers
//! tell them, buckets that keep calls below them, and the rate to count on until a deadline.
//!
//! Leaves out how many calls are in flight and what follows from a refusal (`pace`). Limits hold for a
//! class of models (Anthropic docs, rate limits); a job that names several is paced by the one that
//! answered last.

use crate::plan::timing::SYNC_CALLS_PER_MINUTE;
use crate::units::{Span, Timestamp};

const MINUTE: f64 = 60e6;

/// Share of the limits that is counted on until the lane's own rate was seen: other users of the
/// account have theirs.
const CAUTION: f64 = 0.5;

/// The lane's rate is taken over at least this time, in which it always had more to send.
const OBSERVED: Span = Span::from_secs(60);

/// One limit of the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// The most in a minute.
    pub limit: u64,
    /// What is left of it now.
    pub left: u64,
}

/// The limits that an answer told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Calls.
    pub requests: Option<Allowance>,
    /// Prompt tokens that are not read from the cache.
    pub input_tokens: Option<Allowance>,
    /// Generated tokens.
    pub output_tokens: Option<Allowance>,
}

/// What an average call takes out of each limit.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Calls {
    count: f64,
    input: f64,
    output: f64,
}

impl Calls {
    /// Of requests, input tokens and output tokens; before the first answer a call counts as one.
    fn mean(&self) -> [f64; 3] {
        let count = self.count.max(1.0);
        [1.0, self.input / count, self.output / count]
    }
}

/// A limit that fills up evenly over the minute (Anthropic docs: token bucket algorithm).
#[derive(Debug, Clone, Copy)]
struct Bucket {
    limit: f64,
    level: f64,
    at: Timestamp,
}

impl Bucket {
    fn level(&self, now: Timestamp) -> f64 {
        let passed = (now - self.at).as_micros().max(0) as f64;
        (self.level + passed * self.limit / MINUTE).min(self.limit)
    }

    /// When so much may be taken out; at the latest when the bucket is full.
    fn holds_at(&self, now: Timestamp, amount: f64) -> Timestamp {
        let missing = amount.min(self.limit) - self.level(now);
        if missing <= 0.0 {
            return now;
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "microseconds of at most some minutes"
        )]
        let wait = (missing * MINUTE / self.limit).ceil().min(1e15) as i64;
        now + Span::from_micros(wait.max(1))
    }

    fn take(&mut self, now: Timestamp, amount: f64) {
        self.level = self.level(now) - amount;
        self.at = now;
    }
}

/// What is known of the lane's speed.
#[derive(Debug, Default)]
pub(crate) struct Speed {
    buckets: [Option<Bucket>; 3],
    calls: Calls,
    /// Since when the lane has had more to send than it could, and the answers since then.
    busy: Option<(Timestamp, u64)>,
    /// Answers a minute while it was busy.
    reached: Option<f64>,
}

impl Speed {
    /// An answer told the limits. Calls sent after the one that was answered may not be in what is
    /// left; so many of them are in flight.
    pub(crate) fn told(&mut self, now: Timestamp, limits: &Limits, later: usize) {
        let mean = self.calls.mean();
        let told = [limits.requests, limits.input_tokens, limits.output_tokens];
        for ((bucket, allowance), mean) in self.buckets.iter_mut().zip(told).zip(mean) {
            // A limit of nothing is no limit that anything could be sent under.
            if let Some(allowance) = allowance.filter(|allowance| allowance.limit > 0) {
                *bucket = Some(Bucket {
                    limit: allowance.limit as f64,
                    level: allowance.left as f64 - later as f64 * mean,
                    at: now,
                });
            }
        }
    }

    /// A call was answered with a message of so many tokens.
    pub(crate) fn answered(&mut self, now: Timestamp, input_tokens: u64, output_tokens: u64) {
        self.calls.count += 1.0;
        self.calls.input += input_tokens as f64;
        self.calls.output += output_tokens as f64;
        if let Some((since, answers)) = &mut self.busy {
            *answers += 1;
            let passed = now - *since;
            if passed >= OBSERVED {
                self.reached = Some(*answers as f64 * MINUTE / passed.as_micros() as f64);
                self.busy = Some((now, 0));
            }
        }
    }

    /// Whether the lane has more to send than it may.
    pub(crate) fn is_busy(&mut self, now: Timestamp, busy: bool) {
        match (busy, self.busy) {
            (true, None) => self.busy = Some((now, 0)),
            (false, Some(_)) => self.busy = None,
            _ => {}
        }
    }

    /// When the next call may go out.
    pub(crate) fn ready_at(&self, now: Timestamp) -> Timestamp {
        let mean = self.calls.mean();
        let waits = self.buckets.iter().zip(mean);
        let waits = waits.filter_map(|(bucket, amount)| Some((bucket.as_ref()?, amount)));
        waits
            .map(|(bucket, amount)| bucket.holds_at(now, amount))
            .max()
            .unwrap_or(now)
    }

    /// A call goes out.
    pub(crate) fn sent(&mut self, now: Timestamp) {
        let mean = self.calls.mean();
        for (bucket, amount) in self.buckets.iter_mut().zip(mean) {
            if let Some(bucket) = bucket {
                bucket.take(now, amount);
            }
        }
    }

    /// Calls a minute to count on: what the lane reached, or else half of what its limits allow calls
    /// like those seen so far; never more than the limits.
    pub(crate) fn calls_per_minute(&self) -> f64 {
        let mean = self.calls.mean();
        let limits = self.buckets.iter().zip(mean);
        let limits = limits.filter_map(|(bucket, amount)| Some(bucket.as_ref()?.limit / amount));
        let allowed = limits.filter(|calls| calls.is_finite()).reduce(f64::min);
        let rate = match (self.reached, allowed) {
            (Some(reached), Some(allowed)) => reached.min(allowed),
            (Some(reached), None) => reached,
            (None, Some(allowed)) => allowed * CAUTION,
            (None, None) => f64::from(SYNC_CALLS_PER_MINUTE),
        };
        rate.max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(0) + Span::from_secs(seconds)
    }

    fn limits(requests: [u64; 2], input: Option<[u64; 2]>) -> Limits {
        let allowance = |[limit, left]: [u64; 2]| Allowance { limit, left };
        Limits {
            requests: Some(allowance(requests)),
            input_tokens: input.map(allowance),
            output_tokens: None,
        }
    }

    #[test]
    fn nothing_is_held_back_before_a_limit_is_known() {
        let mut speed = Speed::default();
        for _ in 0..10_000 {
            assert_eq!(speed.ready_at(at(0)), at(0));
            speed.sent(at(0));
        }
        assert!((speed.calls_per_minute() - 500.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_left_goes_out_at_once_and_the_rest_as_the_bucket_fills() {
        let mut speed = Speed::default();
        speed.told(at(0), &limits([60, 3], None), 0);
        for _ in 0..3 {
            assert_eq!(speed.ready_at(at(0)), at(0));
            speed.sent(at(0));
        }
        assert_eq!(
            speed.ready_at(at(0)),
            at(1),
            "sixty a minute are one a second"
        );
        assert_eq!(speed.ready_at(at(1)), at(1));
        speed.sent(at(1));
        assert_eq!(speed.ready_at(at(1)), at(2));
        // A minute later it is full, and no fuller after an hour.
        let sent = |from: i64| {
            let mut speed = Speed::default();
            speed.told(at(0), &limits([60, 0], None), 0);
            (0..1_000)
                .take_while(|_| {
                    let ready = speed.ready_at(at(from)) == at(from);
                    speed.sent(at(from));
                    ready
                })
                .count()
        };
        assert_eq!((sent(60), sent(3_600)), (60, 60));
    }

    #[test]
    fn tokens_hold_calls_back_as_calls_have_been() {
        let mut speed = Speed::default();
        speed.answered(at(0), 1_500, 10);
        speed.answered(at(0), 500, 10);
        speed.told(at(0), &limits([1_000, 1_000], Some([30_000, 2_500])), 0);
        assert_eq!(speed.ready_at(at(0)), at(0));
        speed.sent(at(0));
        speed.sent(at(0));
        // 500 are left and 500 come in a second.
        assert_eq!(speed.ready_at(at(0)), at(1));
        assert!(
            (speed.calls_per_minute() - 15.0).abs() < 1e-9,
            "half of thirty"
        );
    }

    #[test]
    fn a_prompt_larger_than_the_bucket_goes_out_when_it_is_full() {
        let mut speed = Speed::default();
        speed.answered(at(0), 90_000, 10);
        speed.told(at(0), &limits([1_000, 1_000], Some([30_000, 0])), 0);
        assert_eq!(speed.ready_at(at(0)), at(60));
    }

    #[test]
    fn the_rate_reached_under_load_is_counted_on() {
        let mut speed = Speed::default();
        speed.told(at(0), &limits([1_000, 1_000], None), 0);
        speed.is_busy(at(0), true);
        for second in 1..=120 {
            speed.answered(at(second), 10, 10);
            speed.answered(at(second), 10, 10);
        }
        assert!(
            (speed.calls_per_minute() - 120.0).abs() < 3.0,
            "{}",
            speed.calls_per_minute()
        );
        // Calls that nothing held back say nothing about the speed.
        speed.is_busy(at(120), false);
        for second in 121..=400 {
            speed.answered(at(second), 10, 10);
        }
        assert!((speed.calls_per_minute() - 120.0).abs() < 3.0);
        speed.told(at(400), &limits([50, 50], None), 0);
        assert!(
            (speed.calls_per_minute() - 50.0).abs() < 1e-9,
            "never more than the limit"
        );
    }
}
