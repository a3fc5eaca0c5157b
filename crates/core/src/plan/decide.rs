//! The decision tree over a workload.
//!
//! Leaves out the formulas (`cost`), the times (`timing`), whether a mark pays (`group`) and the
//! reasons (`explain`).

use offpeak_wire::request::Ttl;
use thiserror::Error;

use crate::price::{Book, Lane, Model, PriceError};
use crate::units::{Estimate, Timestamp, Usd};

use super::cost::{Caching, hit_threshold};
use super::group::{Group, OUTPUT_SHARES, Priced, prefix_tokens, ttl_of};
use super::route::{Assumptions, Barred, GroupPlan, Plan, Route, RouteCost, Saving, Sensitivity};
use super::timing::{Patience, SYNC_CALLS_PER_MINUTE, TURNAROUND};
use super::tokens::SPREAD;
use super::workload::{Sums, Workload};

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlanError {
    /// A workload without rows.
    #[error("there are no rows to plan for")]
    NoRows,
    /// A model without a price at that time.
    #[error("{0}")]
    Price(#[from] PriceError),
}

impl PlanError {
    /// What to type or change next.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::NoRows => "check the input: every row was empty or invalid".to_owned(),
            Self::Price(error) => error.hint(),
        }
    }
}

/// Decides the route of a workload at the prices of `now`.
///
/// # Errors
///
/// When there are no rows, or a model has no price on the sync lane at `now`.
pub fn decide(workload: &Workload, book: &Book, now: Timestamp) -> Result<Plan, PlanError> {
    if workload.rows == 0 {
        return Err(PlanError::NoRows);
    }
    let case = Case::new(workload, book, now)?;
    let route = case.route();
    let sums = workload.sums();
    Ok(Plan {
        route,
        rows: workload.rows,
        models: workload.models.clone(),
        reasons: case.reasons(route),
        costs: case.route_costs(),
        sensitivity: case.sensitivity(route),
        groups: case
            .groups
            .iter()
            .map(|group| case.group_plan(group, route))
            .collect(),
        worst: match route.lane() {
            Lane::Sync => sums.worst,
            Lane::Batch => case.worst_in_batch(&workload.ungrouped),
        },
        hedge_worst: sums.worst,
        assumptions: Assumptions {
            token_method: "uncalibrated",
            token_spread: SPREAD,
            output_shares: OUTPUT_SHARES,
            turnaround: TURNAROUND,
            sync_calls_per_minute: SYNC_CALLS_PER_MINUTE,
            prices_as_of: book.as_of().to_owned(),
        },
    })
}

/// A workload with everything that the decision needs.
pub(super) struct Case<'a> {
    pub(super) patience: Patience,
    pub(super) groups: Vec<Group<'a>>,
    /// The rows of no group, under each model of the workload.
    ungrouped: Vec<Priced>,
    not_batchable: Option<&'a Model>,
    pub(super) caller_marks: bool,
}

impl<'a> Case<'a> {
    fn new(workload: &'a Workload, book: &'a Book, now: Timestamp) -> Result<Self, PriceError> {
        let models: Vec<&Model> = workload
            .models
            .iter()
            .map(|id| book.model(id))
            .collect::<Result<_, _>>()?;
        let mut groups = Vec::with_capacity(workload.groups.len());
        for profile in &workload.groups {
            let model = book.model(&profile.model)?;
            let (sums, bytes, tools) = (&profile.sums, profile.prefix_bytes, profile.has_tools);
            let priced = Priced::new(model, sums, bytes, tools, now)?;
            let tokens = prefix_tokens(model, bytes, tools);
            groups.push(Group {
                profile,
                model,
                priced,
                tokens,
            });
        }
        let ungrouped = models
            .iter()
            .filter(|_| workload.ungrouped.rows > 0)
            .map(|model| Priced::new(model, &workload.ungrouped, 0, false, now))
            .collect::<Result<_, _>>()?;
        let used = models
            .into_iter()
            .chain(groups.iter().map(|group| group.model));
        Ok(Self {
            patience: Patience::of(workload.need, workload.rows),
            not_batchable: used.into_iter().find(|model| !model.batch),
            caller_marks: groups.iter().any(|group| group.profile.caller_marked),
            groups,
            ungrouped,
        })
    }

    /// The tree of the two questions.
    fn route(&self) -> Route {
        if self.batch_barred().is_some() {
            return Route::of(Lane::Sync, self.cacheable(Lane::Sync));
        }
        let cached = self.caller_marks || self.patience.allows_canary();
        let batch = Route::of(Lane::Batch, cached && self.cacheable(Lane::Batch));
        // Without a canary a batch reads nothing, and the sync lane may be the cheaper one.
        let cold = self.cacheable(Lane::Sync) && !self.patience.allows_canary();
        if cold && self.expected(Route::SyncCache) < self.expected(batch) {
            Route::SyncCache
        } else {
            batch
        }
    }

    /// Why no batch can be used, if so.
    pub(super) fn batch_barred(&self) -> Option<Barred> {
        match (self.patience, self.not_batchable) {
            (Patience::None, _) => Some(Barred::Awaited),
            (patience, _) if !patience.allows_batch() => Some(Barred::TooLittleTime),
            (_, Some(model)) => Some(Barred::NotBatchable {
                model: model.id.clone(),
            }),
            _ => None,
        }
    }

    /// Whether the requests would carry marks on this lane.
    pub(super) fn cacheable(&self, lane: Lane) -> bool {
        self.caller_marks || self.groups.iter().any(|group| group.pays(ttl_of(lane)))
    }

    fn barred(&self, route: Route) -> Option<Barred> {
        if route.lane() == Lane::Batch
            && let Some(barred) = self.batch_barred()
        {
            return Some(barred);
        }
        match route {
            Route::Sync | Route::Batch => self.caller_marks.then_some(Barred::CallerMarks),
            Route::SyncCache | Route::BatchCache if !self.cacheable(route.lane()) => {
                Some(Barred::NothingToCache)
            }
            Route::BatchCache if !self.caller_marks && !self.patience.allows_canary() => {
                Some(Barred::NoTimeForCanary)
            }
            Route::SyncCache | Route::BatchCache => None,
        }
    }

    pub(super) fn cost(&self, route: Route) -> Option<Estimate> {
        let lane = route.lane();
        // A route that only lacks the time is shown as if there were enough of it.
        let warm =
            lane == Lane::Sync || self.patience.allows_canary() || self.barred(route).is_some();
        let grouped = self.groups.iter().map(|group| {
            let caching = if route.is_cached() {
                group.caching(lane, warm)
            } else {
                [Caching::None; 3]
            };
            group.priced.cost(lane, caching)
        });
        let grouped: Estimate = grouped.sum::<Option<_>>()?;
        Some(grouped + self.ungrouped_cost(lane)?)
    }

    /// Which of several models these rows name is not known: the mean, and the extremes.
    fn ungrouped_cost(&self, lane: Lane) -> Option<Estimate> {
        let costs = self
            .ungrouped
            .iter()
            .map(|priced| priced.cost(lane, [Caching::None; 3]));
        let costs: Vec<Estimate> = costs.collect::<Option<_>>()?;
        let (Some(low), Some(high)) = (
            costs.iter().map(|cost| cost.low).reduce(f64::min),
            costs.iter().map(|cost| cost.high).reduce(f64::max),
        ) else {
            return Some(Estimate::default());
        };
        let mid = costs.iter().map(|cost| cost.mid).sum::<f64>() / costs.len() as f64;
        Some(Estimate { low, mid, high })
    }

    fn worst_in_batch(&self, ungrouped: &Sums) -> Usd {
        let grouped = |group: &Group<'_>| group.priced.worst_in_batch(group.profile.sums.worst);
        let others = self
            .ungrouped
            .iter()
            .map(|priced| priced.worst_in_batch(ungrouped.worst));
        self.groups.iter().map(grouped).sum::<Usd>() + others.max().unwrap_or_default()
    }

    fn expected(&self, route: Route) -> f64 {
        self.cost(route).map_or(f64::INFINITY, |cost| cost.mid)
    }

    fn route_costs(&self) -> [RouteCost; 4] {
        let naive = self.cost(Route::Sync);
        let plain_batch = self.cost(Route::Batch);
        Route::ALL.map(|route| {
            let cost = self.cost(route);
            let against = |baseline: Option<Estimate>| Saving::of(cost?, baseline?);
            RouteCost {
                route,
                cost,
                saving_vs_naive: against(naive),
                saving_vs_plain_batch: against(plain_batch),
                barred: self.barred(route),
            }
        })
    }

    fn group_plan(&self, group: &Group<'_>, route: Route) -> GroupPlan {
        let on_batch = route.lane() == Lane::Batch;
        let canary = on_batch && self.patience.allows_canary() && group.wants_canary();
        let ttl = ttl_of(route.lane());
        let marked = group.pays(ttl) && (canary || !on_batch);
        GroupPlan {
            id: group.profile.id,
            mark: marked.then_some(ttl),
            canary,
        }
    }

    pub(super) fn is_cached(&self, group: &Group<'_>, route: Route) -> bool {
        let plan = self.group_plan(group, route);
        plan.mark.is_some() || plan.canary || group.profile.caller_marked
    }

    fn sensitivity(&self, route: Route) -> Option<Sensitivity> {
        let cached = self
            .groups
            .iter()
            .filter(|group| self.is_cached(group, route));
        let largest = cached.max_by_key(|group| group.weight())?;
        let ttl = if largest.profile.caller_marked {
            Ttl::FiveMinutes
        } else {
            ttl_of(route.lane())
        };
        let rates = largest.priced.rates(route.lane())?;
        Some(Sensitivity {
            route,
            against: Route::of(route.lane(), false),
            ttl,
            model: largest.model.id.clone(),
            threshold: hit_threshold(rates, ttl),
        })
    }
}
