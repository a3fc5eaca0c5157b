//! The plan as data: the chosen route, what every route would cost, and the marks by group.
//!
//! Leaves out how it is found (`decide`) and how it looks (`offpeak-report`).

use std::fmt;

use offpeak_wire::request::Ttl;
use serde::{Deserialize, Serialize};

use crate::price::Lane;
use crate::units::{Estimate, Span, Usd};

use super::cost::HitRate;
use super::reason::Reason;

/// A lane with or without cache marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Route {
    /// Calls answered at once.
    #[serde(rename = "sync")]
    Sync,
    /// Calls answered at once that read a shared preamble from the cache.
    #[serde(rename = "sync+cache")]
    SyncCache,
    /// Rows of batches.
    #[serde(rename = "batch")]
    Batch,
    /// Rows of batches that read a shared preamble from the cache.
    #[serde(rename = "batch+cache")]
    BatchCache,
}

impl Route {
    /// All routes, in table order.
    pub const ALL: [Self; 4] = [Self::Sync, Self::SyncCache, Self::Batch, Self::BatchCache];

    /// The route of a lane.
    #[must_use]
    pub const fn of(lane: Lane, cached: bool) -> Self {
        match (lane, cached) {
            (Lane::Sync, false) => Self::Sync,
            (Lane::Sync, true) => Self::SyncCache,
            (Lane::Batch, false) => Self::Batch,
            (Lane::Batch, true) => Self::BatchCache,
        }
    }

    /// The lane it travels.
    #[must_use]
    pub const fn lane(self) -> Lane {
        match self {
            Self::Sync | Self::SyncCache => Lane::Sync,
            Self::Batch | Self::BatchCache => Lane::Batch,
        }
    }

    /// Whether its requests carry cache marks.
    #[must_use]
    pub const fn is_cached(self) -> bool {
        matches!(self, Self::SyncCache | Self::BatchCache)
    }

    /// The name in outputs: `sync`, `sync+cache`, `batch` or `batch+cache`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::SyncCache => "sync+cache",
            Self::Batch => "batch",
            Self::BatchCache => "batch+cache",
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What was decided for a workload, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The route taken.
    pub route: Route,
    /// Rows of the workload.
    pub rows: u64,
    /// Their models.
    pub models: Vec<String>,
    /// Why this route, in the order of the two questions; never empty.
    pub reasons: Vec<Reason>,
    /// What each route would cost, in the order of [`Route::ALL`].
    pub costs: [RouteCost; 4],
    /// How far the choice depends on the cache being hit; `None` on a route without cache.
    pub sensitivity: Option<Sensitivity>,
    /// Marks and canaries, one entry for each group of the workload, in its order.
    pub groups: Vec<GroupPlan>,
    /// Most that the calls can cost on the chosen lane, every output at its maximum.
    #[serde(rename = "worst_picousd")]
    pub worst: Usd,
    /// Most that they can cost if the deadline sends all of them to the sync lane.
    #[serde(rename = "hedge_worst_picousd")]
    pub hedge_worst: Usd,
    /// What the estimates rest on.
    pub assumptions: Assumptions,
}

impl Plan {
    /// What a route would cost.
    #[must_use]
    pub fn cost_of(&self, route: Route) -> &RouteCost {
        &self.costs[route as usize]
    }
}

/// The expected cost of a route.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RouteCost {
    /// The route.
    pub route: Route,
    /// In US dollars; `None` if a model has no price on this lane.
    #[serde(rename = "cost_usd_estimate")]
    pub cost: Option<Estimate>,
    /// Against the same calls one by one without cache.
    pub saving_vs_naive: Option<Saving>,
    /// Against a batch without cache.
    pub saving_vs_plain_batch: Option<Saving>,
    /// Why this route cannot be taken; its cost is what it would be if it could.
    pub barred: Option<Barred>,
}

/// A difference of two expected costs; negative if it is a loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Saving {
    /// In US dollars.
    #[serde(rename = "usd_estimate")]
    pub usd: f64,
    /// As a share of what it is compared with.
    pub share: f64,
}

impl Saving {
    /// What `cost` saves against `baseline`; `None` if there is nothing to save.
    pub(crate) fn of(cost: Estimate, baseline: Estimate) -> Option<Self> {
        let usd = baseline.mid - cost.mid;
        (baseline.mid > 0.0).then(|| Self {
            usd,
            share: usd / baseline.mid,
        })
    }
}

/// Why a route cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Barred {
    /// The answers are needed within seconds.
    Awaited,
    /// The deadline is too close for a batch.
    TooLittleTime,
    /// A model is not offered in batches.
    NotBatchable {
        /// Which.
        model: String,
    },
    /// No preamble is long enough and shared by enough calls.
    NothingToCache,
    /// The deadline is too close for a canary and then a batch.
    NoTimeForCanary,
    /// The requests come with cache marks, which are never taken out.
    CallerMarks,
}

/// Two or three words, for a cell; the reasons say it in full.
impl fmt::Display for Barred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Awaited => f.write_str("answers awaited"),
            Self::TooLittleTime => f.write_str("too little time"),
            Self::NotBatchable { .. } => f.write_str("not batchable"),
            Self::NothingToCache => f.write_str("nothing to cache"),
            Self::NoTimeForCanary => f.write_str("too little time"),
            Self::CallerMarks => f.write_str("marks are kept"),
        }
    }
}

/// What is done with the rows of a prefix group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct GroupPlan {
    /// The group.
    pub id: u32,
    /// The cache mark that its rows are given.
    pub mark: Option<Ttl>,
    /// Its first row is sent ahead, so that the others find the cache warm.
    pub canary: bool,
}

/// The hit rate at which the cache stops paying.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sensitivity {
    /// The chosen route.
    pub route: Route,
    /// The same lane without cache.
    pub against: Route,
    /// The lifetime that is written.
    pub ttl: Ttl,
    /// The model whose rates these are: that of the largest cached preamble.
    pub model: String,
    /// Share of the calls that must find their preamble in the cache.
    pub threshold: HitRate,
}

/// One sentence.
impl fmt::Display for Sensitivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} stays cheaper than {} as long as more than {} of the calls find their preamble in \
             the cache ({} rates of {}).",
            self.route,
            self.against,
            self.threshold,
            self.ttl.as_str(),
            self.model
        )
    }
}

/// What the estimates rest on until something was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Assumptions {
    /// How tokens were derived from bytes; `uncalibrated` until counts are known.
    pub token_method: &'static str,
    /// How far the token counts may be off either way, as a share.
    pub token_spread: f64,
    /// Generated tokens as shares of `max_tokens`: low, expected, high.
    pub output_shares: [f64; 3],
    /// A batch's typical turnaround.
    #[serde(rename = "turnaround_us")]
    pub turnaround: Span,
    /// Calls that the sync lane makes in a minute.
    pub sync_calls_per_minute: u32,
    /// The day of the price book, `YYYY-MM-DD`.
    pub prices_as_of: String,
}
