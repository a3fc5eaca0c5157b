//! Owns the rate limits: token buckets per workspace and pool, refilled continuously (Anthropic
//! docs, rate limits), their headers, and whether they bite. The batch queue's length is counted
//! by `world`.

use std::collections::BTreeMap;

use crate::stamp::{self, MINUTE, SECOND};

/// Limits of an organisation's tier, per minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages calls.
    pub messages: u32,
    /// Input tokens of Messages calls; cache reads do not count.
    pub input_tokens: u32,
    /// Output tokens of Messages calls.
    pub output_tokens: u32,
    /// Token counts.
    pub count_tokens: u32,
    /// Calls to the batch endpoints.
    pub batches: u32,
    /// Rows waiting in all running batches of the organisation.
    pub queued_rows: u32,
    /// Whether a call over a limit is a 429. Off by default: the headers then run dry, nothing
    /// else.
    pub enforced: bool,
}

impl Default for Limits {
    /// The Scale tier's figures, not enforced.
    fn default() -> Self {
        Self {
            enforced: false,
            ..Self::scale()
        }
    }
}

impl Limits {
    /// The Start tier, enforced.
    #[must_use]
    pub fn start() -> Self {
        Self {
            messages: 1_000,
            input_tokens: 2_000_000,
            output_tokens: 400_000,
            count_tokens: 2_000,
            batches: 1_000,
            queued_rows: 200_000,
            enforced: true,
        }
    }

    /// The Build tier, enforced.
    #[must_use]
    pub fn build() -> Self {
        Self {
            messages: 5_000,
            input_tokens: 5_000_000,
            output_tokens: 1_000_000,
            count_tokens: 4_000,
            batches: 2_000,
            queued_rows: 300_000,
            enforced: true,
        }
    }

    /// The Scale tier, enforced.
    #[must_use]
    pub fn scale() -> Self {
        Self {
            messages: 10_000,
            input_tokens: 10_000_000,
            output_tokens: 2_000_000,
            count_tokens: 8_000,
            batches: 4_000,
            queued_rows: 500_000,
            enforced: true,
        }
    }

    fn of(&self, meter: Meter) -> u32 {
        match meter {
            Meter::Messages => self.messages,
            Meter::InputTokens => self.input_tokens,
            Meter::OutputTokens => self.output_tokens,
            Meter::CountTokens => self.count_tokens,
            Meter::Batches => self.batches,
        }
    }
}

/// What is metered. Pools are independent of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Meter {
    Messages,
    InputTokens,
    OutputTokens,
    CountTokens,
    Batches,
}

impl Meter {
    /// The part of the header names that says what is limited.
    fn name(self) -> &'static str {
        match self {
            Self::Messages | Self::CountTokens | Self::Batches => "requests",
            Self::InputTokens => "input-tokens",
            Self::OutputTokens => "output-tokens",
        }
    }
}

/// A bucket's level at an instant. Levels are in units × µs per minute, so that refilling is
/// exact: the level grows by `limit` per microsecond up to `limit` × 60,000,000.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    level: i128,
    at: i64,
}

/// The buckets of every workspace.
#[derive(Debug)]
pub(crate) struct Buckets {
    limits: Limits,
    levels: BTreeMap<(u64, Meter), Bucket>,
}

impl Buckets {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            levels: BTreeMap::new(),
        }
    }

    fn level(&mut self, workspace: u64, meter: Meter, now: i64) -> &mut Bucket {
        let limit = i128::from(self.limits.of(meter));
        let full = limit * i128::from(MINUTE);
        let bucket = self.levels.entry((workspace, meter));
        let bucket = bucket.or_insert(Bucket {
            level: full,
            at: now,
        });
        let refilled = bucket.level + limit * i128::from((now - bucket.at).max(0));
        *bucket = Bucket {
            level: refilled.min(full),
            at: now,
        };
        bucket
    }

    /// Microseconds until the first of these meters is above zero again, if they bite.
    pub(crate) fn wait(&mut self, workspace: u64, meters: &[Meter], now: i64) -> Option<i64> {
        if !self.limits.enforced {
            return None;
        }
        let waits = meters.iter().map(|&meter| {
            let limit = i128::from(self.limits.of(meter).max(1));
            let unit = i128::from(MINUTE);
            let missing = (unit - self.level(workspace, meter, now).level).max(0);
            i64::try_from((missing + limit - 1) / limit).unwrap_or(i64::MAX)
        });
        waits.max().filter(|&wait| wait > 0)
    }

    /// Takes `amount` out; the level may go below zero, as actual usage is known only afterwards.
    pub(crate) fn take(&mut self, workspace: u64, meter: Meter, amount: u64, now: i64) {
        let unit = i128::from(MINUTE);
        let bucket = self.level(workspace, meter, now);
        bucket.level = (bucket.level - i128::from(amount) * unit).max(-unit * i128::from(u32::MAX));
    }

    /// The `limit`, `remaining`, `reset` headers of these meters.
    pub(crate) fn headers(
        &mut self,
        workspace: u64,
        meters: &[Meter],
        now: i64,
        out: &mut Vec<(String, String)>,
    ) {
        for &meter in meters {
            let limit = i128::from(self.limits.of(meter));
            let level = self.level(workspace, meter, now).level;
            let mut remaining = (level / i128::from(MINUTE)).max(0);
            if meter.name() != "requests" {
                remaining = (remaining + 500) / 1_000 * 1_000; // rounded to thousands, as documented
            }
            let missing = limit * i128::from(MINUTE) - level;
            let micros = i64::try_from(missing / limit.max(1)).unwrap_or(0);
            let seconds = (now + micros).div_euclid(SECOND) * SECOND;
            let name = meter.name();
            let mut push = |what: &str, value: String| {
                out.push((format!("anthropic-ratelimit-{name}-{what}"), value));
            };
            push("limit", limit.to_string());
            push("remaining", remaining.to_string());
            push("reset", stamp::rfc3339_seconds(seconds));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_runs_dry_and_refills_continuously() {
        let mut buckets = Buckets::new(Limits {
            messages: 60,
            ..Limits::start()
        });
        let meters = [Meter::Messages];
        for _ in 0..60 {
            assert_eq!(buckets.wait(1, &meters, 0), None);
            buckets.take(1, Meter::Messages, 1, 0);
        }
        assert_eq!(buckets.wait(1, &meters, 0), Some(SECOND));
        assert_eq!(buckets.wait(1, &meters, SECOND), None, "one call a second");
        assert_eq!(buckets.wait(2, &meters, 0), None, "workspaces are apart");
        let mut headers = Vec::new();
        buckets.headers(1, &meters, SECOND, &mut headers);
        let values: Vec<&str> = headers.iter().map(|(_, v)| v.as_str()).collect();
        assert_eq!(values, ["60", "1", "1970-01-01T00:01:00Z"]);
    }

    #[test]
    fn unenforced_limits_never_bite() {
        let mut buckets = Buckets::new(Limits {
            messages: 1,
            ..Limits::default()
        });
        buckets.take(1, Meter::Messages, 100, 0);
        assert_eq!(buckets.wait(1, &[Meter::Messages], 0), None);
    }
}
