//! The documented limits of the API, and what its rate-limit headers say.
//!
//! Leaves out our own limits, and any reaction to a limit.

/// Rows in one batch (Anthropic docs, batch processing).
pub const MAX_ROWS_PER_BATCH: usize = 100_000;
/// Bytes of a create body: "256 MB" read the cautious way (Anthropic docs, batch processing).
pub const MAX_BATCH_BYTES: u64 = 256_000_000;
/// Bytes of a Messages or count_tokens body: "32 MB" read the cautious way (Anthropic docs, errors).
pub const MAX_MESSAGES_BYTES: u64 = 32_000_000;
/// The largest `max_tokens` of a call whose answer is not streamed: at 128,000 tokens an hour, a longer one may
/// take more than ten minutes, for which the official clients do not hold a connection (Anthropic docs, errors).
pub const MAX_TOKENS_UNSTREAMED: u32 = 21_333;
/// Characters of a `custom_id` (Anthropic docs, batch processing).
pub const CUSTOM_ID_MAX: usize = 64;
/// Seconds from a batch's creation to its expiry (Anthropic docs, batch processing).
pub const BATCH_EXPIRY_S: u64 = 86_400;
/// Days from a batch's creation for which its results are kept (Anthropic docs, batch processing).
pub const RESULTS_RETENTION_DAYS: u64 = 29;
/// Cache breakpoints in one request (Anthropic docs, prompt caching).
pub const MAX_BREAKPOINTS: usize = 4;
/// Positions, the breakpoint's own included, at which a breakpoint looks for an earlier write
/// (Anthropic docs, prompt caching).
pub const LOOKBACK_BLOCKS: usize = 20;
/// The `anthropic-version` sent by default (Anthropic docs, versioning).
pub const DEFAULT_VERSION: &str = "2023-06-01";

/// One `anthropic-ratelimit-*` triple.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitTriple {
    /// The most in one window.
    pub limit: u64,
    /// What is left; tokens are rounded to thousands.
    pub remaining: u64,
    /// When the limit is whole again, RFC 3339 as received.
    pub reset: String,
}

/// The rate-limit headers of one answer (Anthropic docs, rate limits).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RateLimitHeaders {
    /// `anthropic-ratelimit-requests-*`.
    pub requests: Option<LimitTriple>,
    /// `anthropic-ratelimit-input-tokens-*`.
    pub input_tokens: Option<LimitTriple>,
    /// `anthropic-ratelimit-output-tokens-*`.
    pub output_tokens: Option<LimitTriple>,
    /// Seconds to wait: `retry-after-ms` before `retry-after`. A date is passed over, as reading
    /// it takes a clock.
    pub retry_after: Option<f64>,
}

#[derive(Default)]
struct Partial<'h> {
    limit: Option<&'h str>,
    remaining: Option<&'h str>,
    reset: Option<&'h str>,
}

impl Partial<'_> {
    fn whole(&self) -> Option<LimitTriple> {
        Some(LimitTriple {
            limit: self.limit?.trim().parse().ok()?,
            remaining: self.remaining?.trim().parse().ok()?,
            reset: self.reset?.trim().to_owned(),
        })
    }
}

impl RateLimitHeaders {
    /// Reads header pairs, in any order and case; incomplete or unreadable triples are left out.
    pub fn from_pairs<'h>(pairs: impl Iterator<Item = (&'h str, &'h str)>) -> Self {
        let [mut requests, mut input, mut output] = [(); 3].map(|()| Partial::default());
        let (mut seconds, mut millis) = (None, None);
        for (name, value) in pairs {
            let name = name.to_ascii_lowercase();
            match name.as_str() {
                "retry-after" => seconds = wait(value),
                "retry-after-ms" => millis = wait(value).map(|ms| ms / 1000.0),
                _ => {}
            }
            let Some(rest) = name.strip_prefix("anthropic-ratelimit-") else {
                continue;
            };
            let Some((pool, part)) = rest.rsplit_once('-') else {
                continue;
            };
            let triple = match pool {
                "requests" => &mut requests,
                "input-tokens" => &mut input,
                "output-tokens" => &mut output,
                _ => continue,
            };
            match part {
                "limit" => triple.limit = Some(value),
                "remaining" => triple.remaining = Some(value),
                "reset" => triple.reset = Some(value),
                _ => {}
            }
        }
        Self {
            requests: requests.whole(),
            input_tokens: input.whole(),
            output_tokens: output.whole(),
            retry_after: millis.or(seconds),
        }
    }
}

fn wait(value: &str) -> Option<f64> {
    let amount: f64 = value.trim().parse().ok()?;
    (amount.is_finite() && amount >= 0.0).then_some(amount)
}
