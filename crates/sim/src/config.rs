//! Owns the knobs of a simulated world. Every default is the documented or measured behaviour;
//! what is only assumed says so.

use crate::answer::rules::AnswerRules;
use crate::cache::CacheRules;
use crate::dice::{self, Purpose};
use crate::fault::Faults;
use crate::profile::Profile;
use crate::rate::Limits;

/// How a world behaves. `Config::default()` is a quiet day upstream.
#[derive(Clone, Debug)]
pub struct Config {
    /// The seed of ids, answers, latencies and schedules. Faults have their own.
    pub seed: u64,
    /// How fast batches get done.
    pub profile: Profile,
    /// Rows of one batch that run at the same time.
    pub workers: u32,
    /// What the documentation leaves open about the prompt cache.
    pub cache: CacheRules,
    /// What answers say.
    pub answers: Answers,
    /// How long answers are.
    pub output: OutputModel,
    /// Share of answers that end as a refusal after some words (billed), 0..=1.
    pub refusals: f64,
    /// How long synchronous answers take.
    pub latency: Latency,
    /// What goes wrong.
    pub faults: Faults,
    /// Rate limits and the batch queue.
    pub limits: Limits,
    /// Seconds until a cancellation is settled: about 25 were observed.
    pub cancel_settles_s: u32,
    /// Counters move while a batch runs, as observed live. The documentation, and the default,
    /// keep every row in `processing` until the batch has ended.
    pub live_counts: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 0,
            profile: Profile::Fast,
            workers: 50,
            cache: CacheRules::default(),
            answers: Answers::default(),
            output: OutputModel::default(),
            refusals: 0.0,
            latency: Latency::default(),
            faults: Faults::none(),
            limits: Limits::default(),
            cancel_settles_s: 25,
            live_counts: false,
        }
    }
}

/// What answers say.
#[derive(Clone, Debug)]
pub struct Answers {
    /// Canned answers; the first rule that fits a request wins.
    pub rules: AnswerRules,
    /// What is said where no rule, tool or schema decides.
    pub mode: AnswerMode,
    /// Share of the answers that call a tool where `tool_choice` leaves it to the model, 0..=1.
    /// An answer to the result of a tool never does.
    pub tool_use: f64,
    /// Whether a thinking block that comes back must be one that a simulator handed out,
    /// unchanged. The API refuses others; recorded conversations need this off.
    pub verify_thinking: bool,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            rules: AnswerRules::default(),
            mode: AnswerMode::Lorem,
            tool_use: 1.0,
            verify_thinking: true,
        }
    }
}

/// What an ordinary answer says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnswerMode {
    /// Plausible English, by the request's bytes; [`OutputModel`] says how much.
    #[default]
    Lorem,
    /// The text of the user's last message.
    Echo,
}

/// How many tokens an answer wants to have; `max_tokens` cuts it short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputModel {
    /// Always this many.
    Fixed(u32),
    /// Evenly between the two, by the request's bytes.
    Between(u32, u32),
}

impl Default for OutputModel {
    fn default() -> Self {
        Self::Between(60, 220)
    }
}

impl OutputModel {
    /// The wished length of the answer to the request of this digest; at least 1.
    pub(crate) fn tokens(self, seed: u64, digest: u64) -> u32 {
        let wish = match self {
            Self::Fixed(n) => n,
            Self::Between(low, high) => {
                let roll = dice::roll(seed, Purpose::OutputLength, digest, 0);
                let tokens = dice::between(roll, u64::from(low), u64::from(high.max(low)));
                u32::try_from(tokens).expect("at most a u32")
            }
        };
        wish.max(1)
    }
}

/// The time a synchronous answer takes: to its first byte (± 25 %), then by its tokens. A stream
/// begins at its first byte and hands its events out as their tokens are generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// To the first byte, milliseconds.
    pub first_byte_ms: u32,
    /// Output tokens per second after that; 0 for no wait at all.
    pub tokens_per_second: u32,
    /// Of every endpoint that generates nothing, milliseconds.
    pub overhead_ms: u32,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            first_byte_ms: 800,
            tokens_per_second: 80,
            overhead_ms: 40,
        }
    }
}

impl Latency {
    /// Microseconds to the first byte and to the last one.
    pub(crate) fn answer(self, seed: u64, call: u64, tokens: u32) -> (i64, i64) {
        let base = u64::from(self.first_byte_ms) * 1_000;
        let roll = dice::roll(seed, Purpose::Latency, call, 0);
        let first = dice::between(roll, base - base / 4, base + base / 4);
        let rest = self.generation(u64::from(tokens));
        let micros = |n| i64::try_from(n).expect("minutes fit i64");
        (micros(first), micros(first + rest))
    }

    /// Microseconds that this many tokens take, once they come.
    pub(crate) fn generation(self, tokens: u64) -> u64 {
        let rate = u64::from(self.tokens_per_second);
        (tokens * 1_000_000).checked_div(rate).unwrap_or(0)
    }

    pub(crate) fn overhead(self) -> i64 {
        i64::from(self.overhead_ms) * 1_000
    }
}
