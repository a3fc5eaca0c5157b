//! A trace's score under a policy: what it paid, beside what the plainest way would have paid and what
//! nobody can go below.

use offpeak_core::gate::HELD;
use offpeak_core::plan::{Bound, Demand, LaneRates, Terms, Trie, lower_bound};
use offpeak_core::price::{Book, Lane, Mode, Model, PriceError};
use offpeak_core::units::{Span, Timestamp, Usd};
use offpeak_sim::{CacheRules, Limits, Line, Outage, Profile, Referee, RefereeRules};
use serde::Serialize;

use crate::game::{Game, GameError, Record};
use crate::makespan::least;
use crate::policy::{Facts, Policy, PolicyName};
use crate::regret::{self, Regret};
use crate::trace::Trace;

/// From a call to the first byte of its answer, µs.
const FIRST_BYTE: i64 = 800_000;

/// Half of the smallest tier's limit.
const SYNC_PER_MINUTE: u32 = 500;

/// What keeps calls back.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pressure {
    /// What may be sent in a minute; nothing is refused without.
    pub limits: Option<Limits>,
    /// A time in which the upstream takes no call.
    pub outage: Option<Outage>,
    /// The most that a policy may spend.
    pub budget: Option<Usd>,
}

impl Pressure {
    /// Whether calls are refused.
    pub(crate) fn refuses(&self) -> bool {
        self.limits.is_some() || self.outage.is_some()
    }

    fn is_none(&self) -> bool {
        !self.refuses() && self.budget.is_none()
    }
}

/// How the upstream of a replay behaves.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The seed of schedules.
    pub seed: u64,
    /// How fast batches get done.
    pub profile: Profile,
    /// Rows of a batch that run at the same time.
    pub workers: u32,
    /// All batches in one line, whatever the profile says.
    pub line: Option<Line>,
    /// Synchronous calls that may be made in a minute instead of rows that no batch brings in time.
    pub sync_per_minute: u32,
    /// Caches that calls are spread over.
    pub domains: u32,
    /// The shortest prefix that is cached, instead of each model's own.
    pub min_cacheable: Option<u64>,
    /// The moment whose prices hold.
    pub prices_at: Timestamp,
    /// Limits, an outage, a budget.
    pub pressure: Pressure,
}

impl Options {
    /// A quiet day upstream, at the prices of the day that the book was read.
    #[must_use]
    pub fn quiet(book: &Book) -> Self {
        Self {
            seed: 0,
            profile: Profile::Fast,
            workers: 50,
            line: None,
            sync_per_minute: SYNC_PER_MINUTE,
            domains: 1,
            min_cacheable: None,
            prices_at: Timestamp::of_day(book.as_of()).unwrap_or_default(),
            pressure: Pressure::default(),
        }
    }

    pub(crate) fn rules(&self) -> RefereeRules {
        RefereeRules {
            seed: self.seed,
            profile: self.profile,
            workers: self.workers,
            line: self.line,
            cache: CacheRules {
                domains: self.domains,
                ..CacheRules::default()
            },
            first_byte: FIRST_BYTE,
            min_cacheable: self.min_cacheable,
            limits: self.pressure.limits.unwrap_or_default(),
            outage: self.pressure.outage,
            prices_at: self.prices_at.as_micros(),
        }
    }

    pub(crate) fn minimum(&self, model: &Model) -> u64 {
        self.min_cacheable
            .unwrap_or_else(|| u64::from(model.min_cacheable_tokens))
    }
}

/// What a policy came to on a trace.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Score {
    /// The policy.
    pub policy: PolicyName,
    /// Every call sent at once, without cache.
    pub naive: Usd,
    /// What was billed.
    pub realised: Usd,
    /// What nobody can go below.
    pub bound: Usd,
    /// Realised as a share of naive.
    pub realised_to_naive: f64,
    /// Realised as a multiple of the bound.
    pub realised_to_bound: f64,
    /// Prompt tokens read from the cache, pings' included.
    pub cache_read_tokens: u64,
    /// Prompt tokens written to the cache, pings' included.
    pub cache_write_tokens: u64,
    /// Calls answered after their deadline, or held back while somebody waited.
    pub deadline_misses: u64,
    /// Calls and rows sent, pings not included.
    pub attempts: u64,
    /// Of those, the ones that were not taken; pings included.
    pub refused: u64,
    /// Calls that were given up because the budget was spent.
    pub declined: u64,
    /// From the trace's beginning to the last answer.
    #[serde(rename = "makespan_us")]
    pub makespan: Span,
    /// The shortest that anybody could have brought it to, under the limits and the outage of the replay.
    #[serde(rename = "makespan_bound_us")]
    pub makespan_bound: Span,
    /// What is left of the budget; negative if it was exceeded.
    pub budget_left: Option<Usd>,
    /// Where the money above the bound went.
    pub regret: Regret,
}

/// Replays a trace under each of the policies.
///
/// # Errors
///
/// When a policy does what the API refuses, which only a bug makes it do.
pub fn replay(
    trace: &Trace,
    policies: &[PolicyName],
    book: &Book,
    options: &Options,
) -> Result<Vec<Score>, GameError> {
    let facts = Facts::of(trace, book, options);
    let bound = bound(trace, book, options).expect("every model of a trace has a price");
    let (pressure, seed) = (&options.pressure, options.seed);
    let calm = Options {
        pressure: Pressure::default(),
        ..*options
    };
    let free = &calm.pressure;
    let naive = Game::new(trace, calm.rules(), false);
    let naive = naive.run(&mut Policy::new(PolicyName::Sync, &facts, free, seed))?;
    let soonest = least(trace, &options.rules());
    let budget = pressure.budget;
    let one = |&name: &PolicyName| {
        let game = Game::new(trace, options.rules(), !pressure.is_none());
        let record = game.run(&mut Policy::new(name, &facts, pressure, seed))?;
        let mut referee = Referee::new(options.rules());
        let regret = regret::split(trace, &record, &bound, &facts, &mut referee)?;
        Ok(score(
            name, &record, &naive, &bound, soonest, budget, regret,
        ))
    };
    policies.iter().map(one).collect()
}

fn score(
    policy: PolicyName,
    record: &Record,
    naive: &Record,
    bound: &Bound,
    soonest: Span,
    budget: Option<Usd>,
    regret: Regret,
) -> Score {
    let [naive, realised] = [naive.total, record.total].map(Usd::from_pico);
    let tokens = |of: fn(&offpeak_sim::Tally) -> u32| -> u64 {
        record
            .bill
            .iter()
            .map(|billed| u64::from(of(&billed.tally)))
            .sum()
    };
    Score {
        policy,
        naive,
        realised,
        bound: bound.timed,
        realised_to_naive: realised.ratio_to(naive).unwrap_or(1.0),
        realised_to_bound: realised.ratio_to(bound.timed).unwrap_or(1.0),
        cache_read_tokens: tokens(|tally| tally.read),
        cache_write_tokens: tokens(|tally| tally.write_5m) + tokens(|tally| tally.write_1h),
        deadline_misses: record.deadline_misses,
        attempts: record.attempts,
        refused: record.refused,
        declined: record.declined,
        makespan: record.last_answer - Timestamp::EPOCH,
        makespan_bound: soonest,
        budget_left: budget.map(|budget| budget - realised),
        regret,
    }
}

/// The bound of a trace: the sum over its models.
fn bound(trace: &Trace, book: &Book, options: &Options) -> Result<Bound, PriceError> {
    let mut names: Vec<&str> = trace.calls.iter().map(|call| call.model.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let mut models: Vec<&Model> = Vec::new();
    for name in names {
        let model = book.model(name)?;
        if models.iter().all(|known| known.id != model.id) {
            models.push(model);
        }
    }
    let mut sum = Bound::default();
    for model in models {
        let step = model.step_above(options.prices_at)?;
        let (mut trie, mut demands) = (Trie::new(), Vec::new());
        for call in &trace.calls {
            if book.model(&call.model)?.id != model.id {
                continue;
            }
            trie.insert(call.at, call.blocks.iter().map(|block| block.prompt()));
            demands.push(Demand {
                deferrable: call.deferrable,
                output: u64::from(call.output),
                long_prompt: step.is_some_and(|above| call.prompt_tokens() > above),
            });
        }
        let terms = Terms {
            standard: lanes(model, options.prices_at, false)?,
            long_prompt: lanes(model, options.prices_at, true)?,
            minimum: options.minimum(model),
            held: HELD,
            shared_caches: false,
        };
        let bound = lower_bound(&trie, &demands, &terms);
        sum.timed += bound.timed;
        sum.timeless += bound.timeless;
    }
    Ok(sum)
}

/// The rates of both lanes; without batches, the synchronous ones twice.
pub(crate) fn lanes(
    model: &Model,
    at: Timestamp,
    long_prompt: bool,
) -> Result<LaneRates, PriceError> {
    let rates = |lane| {
        let mode = Mode {
            long_prompt,
            ..Mode::plain(lane)
        };
        model.rates(at, mode)
    };
    let sync = rates(Lane::Sync)?;
    let batch = if model.batch {
        rates(Lane::Batch)?
    } else {
        sync
    };
    Ok(LaneRates { sync, batch })
}
