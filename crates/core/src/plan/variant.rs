//! The ways a workload could be sent, one level finer than its route: which marks it carries and how
//! the cache is first filled; and what each of them costs.
//!
//! Leaves out how costs are found (`placement`) and which way is taken (`decide`).

use std::fmt;

use offpeak_wire::request::Ttl;
use serde::Serialize;

use crate::price::Lane;
use crate::units::Estimate;

use super::route::{Barred, Route};
use super::warm::Warming;

/// The lifetimes of the marks of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Marks {
    /// No mark of ours.
    #[serde(rename = "none")]
    None,
    /// Five minutes.
    #[serde(rename = "5m")]
    FiveMinutes,
    /// An hour.
    #[serde(rename = "1h")]
    OneHour,
    /// An hour for some preambles, five minutes for longer ones.
    #[serde(rename = "mixed")]
    Mixed,
}

impl Marks {
    /// Marks of one lifetime.
    #[must_use]
    pub const fn of(ttl: Ttl) -> Self {
        match ttl {
            Ttl::FiveMinutes => Self::FiveMinutes,
            Ttl::OneHour => Self::OneHour,
        }
    }

    /// Whether a mark may have this lifetime.
    #[must_use]
    pub const fn allow(self, ttl: Ttl) -> bool {
        match self {
            Self::None => false,
            Self::FiveMinutes => matches!(ttl, Ttl::FiveMinutes),
            Self::OneHour => matches!(ttl, Ttl::OneHour),
            Self::Mixed => true,
        }
    }
}

/// A route with its marks and the way the cache is first filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Variant {
    /// The route.
    pub route: Route,
    /// The lifetimes of its marks.
    pub marks: Marks,
    /// How its entries are first written.
    pub warming: Warming,
}

impl Variant {
    /// Those that are always compared, in table order.
    pub const ALL: [Self; 10] = [
        Self::plain(Lane::Sync),
        Self::marked(Lane::Sync, Marks::FiveMinutes, Warming::FirstCall),
        Self::marked(Lane::Sync, Marks::OneHour, Warming::FirstCall),
        Self::plain(Lane::Batch),
        Self::marked(Lane::Batch, Marks::FiveMinutes, Warming::Canary),
        Self::marked(Lane::Batch, Marks::FiveMinutes, Warming::PreWarm),
        Self::marked(Lane::Batch, Marks::FiveMinutes, Warming::Cold),
        Self::marked(Lane::Batch, Marks::OneHour, Warming::Canary),
        Self::marked(Lane::Batch, Marks::OneHour, Warming::PreWarm),
        Self::marked(Lane::Batch, Marks::OneHour, Warming::Cold),
    ];

    /// Those with both lifetimes, which are shown where they beat each single one.
    pub(super) const MIXED: [Self; 2] = [
        Self::marked(Lane::Batch, Marks::Mixed, Warming::Canary),
        Self::marked(Lane::Batch, Marks::Mixed, Warming::Cold),
    ];

    /// A lane without marks.
    #[must_use]
    pub const fn plain(lane: Lane) -> Self {
        Self {
            route: Route::of(lane, false),
            marks: Marks::None,
            warming: Warming::Unmarked,
        }
    }

    /// A lane with marks.
    #[must_use]
    pub const fn marked(lane: Lane, marks: Marks, warming: Warming) -> Self {
        Self {
            route: Route::of(lane, true),
            marks,
            warming,
        }
    }

    /// Its lane and marks, as tables name it: `sync`, `batch+1h`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match (self.route.lane(), self.marks) {
            (Lane::Sync, Marks::None) => "sync",
            (Lane::Sync, Marks::FiveMinutes) => "sync+5m",
            (Lane::Sync, Marks::OneHour) => "sync+1h",
            (Lane::Sync, Marks::Mixed) => "sync+mixed",
            (Lane::Batch, Marks::None) => "batch",
            (Lane::Batch, Marks::FiveMinutes) => "batch+5m",
            (Lane::Batch, Marks::OneHour) => "batch+1h",
            (Lane::Batch, Marks::Mixed) => "batch+mixed",
        }
    }
}

/// `batch+1h behind a canary`.
impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())?;
        match self.warming {
            Warming::Unmarked | Warming::FirstCall => Ok(()),
            Warming::Canary => f.write_str(" behind a canary"),
            Warming::PreWarm => f.write_str(" behind a pre-warm"),
            Warming::Cold => f.write_str(" with a cold start"),
        }
    }
}

/// The expected cost of a variant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VariantCost {
    /// The variant.
    #[serde(flatten)]
    pub variant: Variant,
    /// In US dollars; `None` if a model has no price on this lane.
    #[serde(rename = "cost_usd_estimate")]
    pub cost: Option<Estimate>,
    /// Against the same calls one by one without cache.
    pub saving_vs_naive: Option<Saving>,
    /// Against a batch without cache.
    pub saving_vs_plain_batch: Option<Saving>,
    /// Why it cannot be taken; its cost is what it would be if it could.
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
    pub(super) fn of(cost: Estimate, baseline: Estimate) -> Option<Self> {
        let usd = baseline.mid - cost.mid;
        (baseline.mid > 0.0).then(|| Self {
            usd,
            share: usd / baseline.mid,
        })
    }
}
