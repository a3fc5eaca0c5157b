//! The plan as data: the chosen route, what every route would cost, and the marks by group.
//!
//! Leaves out how it is found (`decide`) and how it looks (`offpeak-report`).

use std::cmp::Ordering;
use std::fmt;

use offpeak_wire::request::Ttl;
use serde::{Deserialize, Serialize};

use crate::price::Lane;
use crate::units::{Span, Usd};

use super::reason::Reason;
use super::sensitivity::{BreakEven, Sensitivity};
use super::variant::{Variant, VariantCost};

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
    /// The same with its marks and how the cache is first filled.
    pub variant: Variant,
    /// Rows of the workload.
    pub rows: u64,
    /// Their models.
    pub models: Vec<String>,
    /// Why this route, in the order of the two questions; never empty.
    pub reasons: Vec<Reason>,
    /// What each variant would cost: those of [`Variant::ALL`] in that order, then any others.
    pub costs: Vec<VariantCost>,
    /// When marks pay for the preamble that matters most, by lifetime; empty if no two calls share
    /// one.
    pub break_evens: Vec<BreakEven>,
    /// What would change the choice.
    #[serde(serialize_with = "super::sensitivity::with_text")]
    pub sensitivity: Vec<Sensitivity>,
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
    /// What a route costs at its best: of the chosen variant, else of the cheapest that can be
    /// taken, else of the cheapest.
    #[must_use]
    pub fn cost_of(&self, route: Route) -> &VariantCost {
        let of_route = self.costs.iter().filter(|way| way.variant.route == route);
        self.best(of_route)
            .expect("every route has a variant among those always compared")
    }

    /// The best variant for each lane and lifetime, in table order.
    #[must_use]
    pub fn by_label(&self) -> Vec<&VariantCost> {
        let mut labels: Vec<&'static str> = Vec::new();
        for label in self.costs.iter().map(|way| way.variant.label()) {
            if !labels.contains(&label) {
                labels.push(label);
            }
        }
        let best = |label| {
            let ways = self.costs.iter();
            self.best(ways.filter(|way| way.variant.label() == label))
        };
        labels.into_iter().filter_map(best).collect()
    }

    fn best<'a>(&self, ways: impl Iterator<Item = &'a VariantCost>) -> Option<&'a VariantCost> {
        let order = |way: &VariantCost| {
            let cost = way.cost.map_or(f64::INFINITY, |cost| cost.mid);
            (way.variant != self.variant, way.barred.is_some(), cost)
        };
        ways.min_by(|one, other| {
            let order = order(one).partial_cmp(&order(other));
            order.unwrap_or(Ordering::Equal)
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
    /// Nothing may be kept upstream, and the answers of a batch are.
    ZeroDataRetention,
    /// No preamble is long enough and shared by enough calls.
    NothingToCache,
    /// Its marks would cost more than they save.
    MarksLose,
    /// The deadline is too close for a canary and then a batch.
    NoTimeForCanary,
    /// A batch started cold is believed to read next to nothing, until its own usage says otherwise.
    ColdStart,
    /// What a synchronous call writes is not believed to be read by a batch.
    LanesApart,
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
            Self::ZeroDataRetention => f.write_str("data is kept"),
            Self::NothingToCache => f.write_str("nothing to cache"),
            Self::MarksLose => f.write_str("marks don't pay"),
            Self::NoTimeForCanary => f.write_str("too little time"),
            Self::ColdStart => f.write_str("reads nothing"),
            Self::LanesApart => f.write_str("lanes apart"),
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

/// What the estimates rest on until something was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Assumptions {
    /// How tokens were derived from bytes, of the model that most rows name: `uncalibrated` until
    /// something was counted or billed.
    pub token_method: String,
    /// How far the token counts may be off either way, as a share.
    pub token_spread: f64,
    /// Generated tokens as shares of `max_tokens`: low, expected, high.
    pub output_shares: [f64; 3],
    /// Answers that these shares were measured on; 0 if they are assumed.
    pub measured_answers: u64,
    /// A batch's typical turnaround.
    #[serde(rename = "turnaround_us")]
    pub turnaround: Span,
    /// The share of batches that start while an entry of five minutes lives that was written ahead of
    /// them.
    pub in_time_5m: f64,
    /// The same for an entry of an hour.
    pub in_time_1h: f64,
    /// Calls that the sync lane makes in a minute.
    pub sync_calls_per_minute: u32,
    /// The day of the price book, `YYYY-MM-DD`.
    pub prices_as_of: String,
}
