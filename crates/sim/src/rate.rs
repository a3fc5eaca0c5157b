//! Owns the rate limits: token buckets of the organisation, one set per class of models and one
//! each for counts and batches, refilled continuously (Anthropic docs, rate limits); the limit on
//! sharp rises; and their headers. The batch queue is counted by `endpoint::batches`, spending by
//! `bill`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::book::Book;
use crate::stamp::{self, MINUTE, SECOND};

/// Limits of an organisation's tier, per minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages calls of one class of models.
    pub messages: u32,
    /// Their input tokens; cache reads do not count.
    pub input_tokens: u32,
    /// Their output tokens.
    pub output_tokens: u32,
    /// The same three for Fable and Mythos, which have limits of their own.
    pub fable: [u32; 3],
    /// Token counts.
    pub count_tokens: u32,
    /// Calls to the batch endpoints.
    pub batches: u32,
    /// Rows waiting in all running batches of the organisation.
    pub queued_rows: u32,
    /// Whether a call over a limit is a 429. Off by default: the headers then run dry, nothing
    /// else.
    pub enforced: bool,
    /// Whether a sharp rise of input tokens is a 429 as well. The limit is documented, its size is
    /// not: here a class may double from one minute to the next, and always have a tenth of its
    /// tokens per minute.
    pub acceleration: bool,
    /// Dollars after which every call in the same calendar month (UTC) is a 429 without
    /// `retry-after`.
    pub spend_cap_usd: Option<u32>,
}

impl Default for Limits {
    /// The Scale tier's figures, not enforced.
    fn default() -> Self {
        Self {
            enforced: false,
            spend_cap_usd: None,
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
            fable: [1_000, 500_000, 100_000],
            count_tokens: 2_000,
            batches: 1_000,
            queued_rows: 200_000,
            enforced: true,
            acceleration: false,
            spend_cap_usd: Some(500),
        }
    }

    /// The Build tier, enforced.
    #[must_use]
    pub fn build() -> Self {
        Self {
            messages: 5_000,
            input_tokens: 5_000_000,
            output_tokens: 1_000_000,
            fable: [2_000, 1_500_000, 300_000],
            count_tokens: 4_000,
            batches: 2_000,
            queued_rows: 300_000,
            spend_cap_usd: Some(1_000),
            ..Self::start()
        }
    }

    /// The Scale tier, enforced.
    #[must_use]
    pub fn scale() -> Self {
        Self {
            messages: 10_000,
            input_tokens: 10_000_000,
            output_tokens: 2_000_000,
            fable: [4_000, 4_000_000, 800_000],
            count_tokens: 8_000,
            batches: 4_000,
            queued_rows: 500_000,
            spend_cap_usd: Some(200_000),
            ..Self::start()
        }
    }

    pub(crate) fn of(&self, pool: Pool, meter: Meter) -> u32 {
        match (pool, meter) {
            (Pool::CountTokens, _) => self.count_tokens,
            (Pool::Batches, _) => self.batches,
            (Pool::Models(class), _) if pool.is_fable(class) => self.fable[meter as usize],
            (Pool::Models(_), Meter::Requests) => self.messages,
            (Pool::Models(_), Meter::InputTokens) => self.input_tokens,
            (Pool::Models(_), Meter::OutputTokens) => self.output_tokens,
        }
    }
}

impl Limits {
    /// Of a pool's requests, input and output tokens.
    pub(crate) fn of_calls(&self, pool: Pool) -> [u64; 3] {
        let meters = [Meter::Requests, Meter::InputTokens, Meter::OutputTokens];
        meters.map(|meter| self.of(pool, meter).into())
    }
}

/// Whose buckets; pools are independent of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pool {
    /// Messages calls to the models of one class, by its index in the price book.
    Models(u8),
    CountTokens,
    Batches,
}

impl Pool {
    fn is_fable(self, class: u8) -> bool {
        Book::embedded().class(class).name.starts_with("fable")
    }

    fn name(self) -> String {
        match self {
            Self::Models(class) => Book::embedded().class(class).name.clone(),
            Self::CountTokens => "count_tokens".to_owned(),
            Self::Batches => "batches".to_owned(),
        }
    }

    /// `None` for a class that the price book no longer has.
    fn named(name: &str) -> Option<Self> {
        match name {
            "count_tokens" => Some(Self::CountTokens),
            "batches" => Some(Self::Batches),
            _ => {
                let mut classes = (0..).zip(Book::embedded().classes());
                let found = classes.find(|(_, class)| class.name == name);
                found.map(|(index, _)| Self::Models(index))
            }
        }
    }

    fn meters(self) -> &'static [Meter] {
        match self {
            Self::Models(_) => &[Meter::Requests, Meter::InputTokens, Meter::OutputTokens],
            Self::CountTokens | Self::Batches => &[Meter::Requests],
        }
    }
}

/// What is metered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Meter {
    Requests,
    InputTokens,
    OutputTokens,
}

impl Meter {
    /// The part of the header names that says what is limited.
    fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::InputTokens => "input-tokens",
            Self::OutputTokens => "output-tokens",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::InputTokens => "input tokens",
            Self::OutputTokens => "output tokens",
        }
    }
}

/// A bucket's level at an instant. Levels are in units × µs per minute, so that refilling is
/// exact: the level grows by `limit` per microsecond up to `limit` × 60,000,000.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Bucket {
    level: i128,
    at: i64,
}

/// Input tokens of a class in the current minute, and what it is used to.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Ramp {
    minute: i64,
    tokens: u64,
    usual: u64,
}

impl Ramp {
    fn roll_on(&mut self, now: i64) {
        let minute = now.div_euclid(MINUTE);
        let passed = minute - self.minute;
        if passed > 0 {
            let idle = u32::try_from(passed - 1).unwrap_or(u32::MAX).min(63);
            self.usual = (self.tokens.max(self.usual / 2)) >> idle;
            self.tokens = 0;
            self.minute = minute;
        }
    }
}

/// What is left of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLeft {
    /// The most in a minute.
    pub limit: u64,
    /// What is left of it.
    pub left: u64,
}

/// Why a call has to wait, and how long, µs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) message: String,
    /// `error.details.error_code`, by which the official clients tell this from other limits.
    pub(crate) code: Option<&'static str>,
    pub(crate) micros: i64,
}

/// What a saved state keeps of the buckets: levels and ramps, their pools by name.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Kept {
    levels: Vec<(String, Meter, Bucket)>,
    ramps: Vec<(String, Ramp)>,
}

/// All buckets.
#[derive(Debug)]
pub(crate) struct Buckets {
    limits: Limits,
    levels: BTreeMap<(Pool, Meter), Bucket>,
    ramps: BTreeMap<u8, Ramp>,
}

impl Buckets {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            levels: BTreeMap::new(),
            ramps: BTreeMap::new(),
        }
    }

    pub(crate) fn kept(&self) -> Kept {
        let levels = self.levels.iter();
        let ramps = self.ramps.iter();
        Kept {
            levels: levels
                .map(|(&(pool, meter), &b)| (pool.name(), meter, b))
                .collect(),
            ramps: ramps
                .map(|(&class, &ramp)| (Pool::Models(class).name(), ramp))
                .collect(),
        }
    }

    pub(crate) fn restored(limits: Limits, kept: Kept) -> Self {
        let mut buckets = Self::new(limits);
        for (name, meter, bucket) in kept.levels {
            if let Some(pool) = Pool::named(&name) {
                buckets.levels.insert((pool, meter), bucket);
            }
        }
        for (name, ramp) in kept.ramps {
            if let Some(Pool::Models(class)) = Pool::named(&name) {
                buckets.ramps.insert(class, ramp);
            }
        }
        buckets
    }

    pub(crate) fn len(&self) -> usize {
        self.levels.len()
    }

    fn level(&mut self, pool: Pool, meter: Meter, now: i64) -> &mut Bucket {
        let limit = i128::from(self.limits.of(pool, meter));
        let full = limit * i128::from(MINUTE);
        let bucket = self.levels.entry((pool, meter)).or_insert(Bucket {
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

    /// What a call has to wait for, if limits bite.
    pub(crate) fn wait(&mut self, pool: Pool, now: i64) -> Option<Wait> {
        if self.limits.enforced {
            let unit = i128::from(MINUTE);
            let waits = pool.meters().iter().map(|&meter| {
                let limit = i128::from(self.limits.of(pool, meter).max(1));
                let missing = (unit - self.level(pool, meter, now).level).max(0);
                let micros = i64::try_from((missing + limit - 1) / limit).unwrap_or(i64::MAX);
                (micros, meter)
            });
            if let Some((micros, meter)) = waits.max_by_key(|wait| wait.0).filter(|w| w.0 > 0) {
                return Some(Wait {
                    message: format!(
                        "This request would exceed the rate limit for your organization of {} {} \
                         per minute.",
                        self.limits.of(pool, meter),
                        meter.words()
                    ),
                    code: None,
                    micros,
                });
            }
        }
        let Pool::Models(class) = pool else {
            return None;
        };
        self.accelerates(class, now).then(|| Wait {
            message: "This request would exceed your organization's acceleration limit: its \
                usage has risen too sharply. Ramp up your traffic gradually and maintain \
                consistent usage patterns."
                .to_owned(),
            code: Some("ramp_limit_exceeded"),
            micros: MINUTE - now.rem_euclid(MINUTE),
        })
    }

    fn accelerates(&mut self, class: u8, now: i64) -> bool {
        if !self.limits.acceleration {
            return false;
        }
        let least = u64::from(self.limits.of(Pool::Models(class), Meter::InputTokens) / 10);
        let ramp = self.ramps.entry(class).or_default();
        ramp.roll_on(now);
        ramp.tokens >= least.max(ramp.usual * 2)
    }

    /// What a pool's meters allow in a minute, and what is left of it.
    pub(crate) fn left(&mut self, pool: Pool, now: i64) -> Vec<RateLeft> {
        let meters = pool.meters().iter();
        let left = meters.map(|&meter| {
            let left = self.level(pool, meter, now).level / i128::from(MINUTE);
            RateLeft {
                limit: self.limits.of(pool, meter).into(),
                left: u64::try_from(left.max(0)).unwrap_or(u64::MAX),
            }
        });
        left.collect()
    }

    /// Takes one request out.
    pub(crate) fn take_request(&mut self, pool: Pool, now: i64) {
        self.take(pool, Meter::Requests, 1, now);
    }

    /// Takes an answer's tokens out. Their level may go below zero, as actual usage is known only
    /// afterwards.
    pub(crate) fn take_tokens(&mut self, class: u8, input: u64, output: u64, now: i64) {
        self.take(Pool::Models(class), Meter::InputTokens, input, now);
        self.take(Pool::Models(class), Meter::OutputTokens, output, now);
        if self.limits.acceleration {
            let ramp = self.ramps.entry(class).or_default();
            ramp.roll_on(now);
            ramp.tokens += input;
        }
    }

    fn take(&mut self, pool: Pool, meter: Meter, amount: u64, now: i64) {
        let unit = i128::from(MINUTE);
        let bucket = self.level(pool, meter, now);
        bucket.level = (bucket.level - i128::from(amount) * unit).max(-unit * i128::from(u32::MAX));
    }

    /// The `limit`, `remaining`, `reset` headers of a pool. Without limits of a workspace's own,
    /// the `tokens` triple is the sum of input and output (Anthropic docs, rate limits).
    pub(crate) fn headers(&mut self, pool: Pool, now: i64, out: &mut Vec<(String, String)>) {
        let mut push = |name: &str, limit: i128, remaining: i128, reset: i64| {
            let mut put = |what: &str, value: String| {
                out.push((format!("anthropic-ratelimit-{name}-{what}"), value));
            };
            put("limit", limit.to_string());
            put("remaining", remaining.to_string());
            put("reset", stamp::rfc3339_seconds(reset));
        };
        let mut tokens = (0, 0, i64::MIN);
        for &meter in pool.meters() {
            let limit = i128::from(self.limits.of(pool, meter));
            let level = self.level(pool, meter, now).level;
            let mut remaining = (level / i128::from(MINUTE)).max(0);
            if meter != Meter::Requests {
                remaining = (remaining + 500) / 1_000 * 1_000; // rounded to thousands, as documented
            }
            let missing = limit * i128::from(MINUTE) - level;
            let micros = i64::try_from(missing / limit.max(1)).unwrap_or(0);
            let reset = (now + micros).div_euclid(SECOND) * SECOND;
            push(meter.name(), limit, remaining, reset);
            if meter != Meter::Requests {
                tokens = (tokens.0 + limit, tokens.1 + remaining, reset.max(tokens.2));
            }
        }
        if tokens.0 > 0 {
            push("tokens", tokens.0, tokens.1, tokens.2);
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
        // Neither class is Fable.
        let names = Book::embedded().classes().iter().map(|class| &class.name);
        let other = |name: &str| {
            let found = names.clone().position(|n| n == name).unwrap();
            Pool::Models(u8::try_from(found).unwrap())
        };
        let (pool, another) = (other("opus-4.x"), other("opus-5"));
        for _ in 0..60 {
            assert_eq!(buckets.wait(pool, 0), None);
            buckets.take_request(pool, 0);
        }
        assert_eq!(buckets.wait(pool, 0).unwrap().micros, SECOND);
        assert_eq!(buckets.wait(pool, SECOND), None, "one call a second");
        assert_eq!(buckets.wait(another, 0), None, "classes are apart");
        let mut headers = Vec::new();
        buckets.headers(pool, SECOND, &mut headers);
        let values: Vec<&str> = headers.iter().map(|(_, v)| v.as_str()).collect();
        assert_eq!(values[..3], ["60", "1", "1970-01-01T00:01:00Z"]);
        assert_eq!(headers[9].0, "anthropic-ratelimit-tokens-limit");
        assert_eq!(values[9], "2400000");
    }

    #[test]
    fn unenforced_limits_never_bite() {
        let mut buckets = Buckets::new(Limits {
            batches: 1,
            ..Limits::default()
        });
        for _ in 0..100 {
            buckets.take_request(Pool::Batches, 0);
        }
        assert_eq!(buckets.wait(Pool::Batches, 0), None);
    }

    #[test]
    fn usage_may_double_each_minute_and_falls_back_when_idle() {
        let mut buckets = Buckets::new(Limits {
            acceleration: true,
            ..Limits::default()
        });
        let minute = |n: i64| n * MINUTE;
        let mut burn = |tokens, at| {
            let wait = buckets.wait(Pool::Models(3), at);
            let waits = wait.is_some();
            let code = wait.and_then(|wait| wait.code);
            assert_eq!(code, waits.then_some("ramp_limit_exceeded"));
            buckets.take_tokens(3, tokens, 0, at);
            waits
        };
        assert!(!burn(1_000_000, minute(0)), "a tenth is always there");
        assert!(burn(1_000_000, minute(0) + SECOND));
        assert!(!burn(3_000_000, minute(1)), "twice two millions");
        assert!(!burn(2_000_000, minute(1) + SECOND));
        assert!(burn(0, minute(1) + SECOND));
        assert!(!burn(5_000_000, minute(2)));
        assert!(!burn(1_000_000, minute(60)), "an idle hour later");
        assert!(burn(0, minute(60)));
    }
}
