//! The decision: every variant priced, the cheapest of those that are allowed taken.
//!
//! Leaves out the formulas (`cost`), the times (`timing`), where marks go (`placement`) and the
//! reasons (`explain`).

use offpeak_wire::request::Ttl;
use thiserror::Error;

use crate::price::{Book, Lane, Model, PriceError};
use crate::units::{Estimate, Span, Timestamp, Usd};

use super::cost::Caching;
use super::evidence::prefix_tokens;
use super::group::{Group, Priced, spread};
use super::placement::{Forest, Placement, Reading};
use super::route::{Assumptions, Barred, GroupPlan, Plan};
use super::sensitivity::single;
use super::timing::{Patience, SYNC_CALLS_PER_MINUTE, TURNAROUND};
use super::variant::{Saving, Variant, VariantCost};
use super::warm::{Warming, in_time};
use super::workload::{Limits, Need, Sums, Workload};

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlanError {
    /// A workload without rows.
    #[error("there are no rows to plan for")]
    NoRows,
    /// A deadline that is not ahead.
    #[error("the deadline passed {ago} ago: no route can meet it")]
    DeadlinePassed {
        /// How long ago.
        ago: Span,
    },
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
            Self::DeadlinePassed { .. } => {
                "give the job more time, like `--deadline 8h`, or `--deadline none`".to_owned()
            }
            Self::Price(error) => error.hint(),
        }
    }
}

/// Decides the route of a workload at the prices of `now`.
///
/// # Errors
///
/// When there are no rows, the deadline has passed, or a model has no price on the sync lane at
/// `now`.
pub fn decide(workload: &Workload, book: &Book, now: Timestamp) -> Result<Plan, PlanError> {
    if workload.rows == 0 {
        return Err(PlanError::NoRows);
    }
    priced(workload, book, now)
}

/// The plan of a workload that may have no rows, because all were answered before: it costs nothing, and
/// its route means nothing.
///
/// # Errors
///
/// Those of [`decide`], but for [`PlanError::NoRows`].
pub fn of_nothing(workload: &Workload, book: &Book, now: Timestamp) -> Result<Plan, PlanError> {
    priced(workload, book, now)
}

fn priced(workload: &Workload, book: &Book, now: Timestamp) -> Result<Plan, PlanError> {
    if let Need::By { slack } = workload.need
        && slack <= Span::ZERO
    {
        return Err(PlanError::DeadlinePassed { ago: -slack });
    }
    let case = Case::new(workload, book, now)?;
    let chosen = case.choose(case.patience);
    let known = &workload.evidence;
    let heaviest = case.heaviest_model(book);
    Ok(Plan {
        route: chosen.variant.route,
        variant: chosen.variant,
        rows: workload.rows,
        models: workload.models.clone(),
        reasons: case.reasons(chosen),
        costs: case.costs(),
        break_evens: case.break_evens(),
        sensitivity: case.sensitivity(chosen),
        groups: case.group_plans(chosen),
        worst: case.worst(chosen),
        hedge_worst: case.sums.worst,
        assumptions: Assumptions {
            token_method: known.method(heaviest).to_string(),
            token_spread: known.token_spread(heaviest),
            output_shares: known.output_shares(heaviest),
            measured_answers: known.answers(heaviest),
            turnaround: TURNAROUND,
            in_time_5m: in_time_share(Ttl::FiveMinutes),
            in_time_1h: in_time_share(Ttl::OneHour),
            sync_calls_per_minute: SYNC_CALLS_PER_MINUTE,
            prices_as_of: book.as_of().to_owned(),
        },
    })
}

const LIFETIMES: [Ttl; 2] = [Ttl::FiveMinutes, Ttl::OneHour];

/// A variant with its marks and its cost.
pub(super) struct Way {
    pub(super) variant: Variant,
    pub(super) placement: Placement,
    pub(super) cost: Option<Estimate>,
    fit: Fit,
}

/// What became of the search for marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// The marks pay, or none are wanted.
    Pays,
    /// The marks shown would cost more than they save.
    Loses,
    /// The marks shown would pay if the cold batch were believed to read them.
    Unlearnt,
    /// No preamble can be marked.
    Nothing,
}

/// A workload with everything that the decision needs.
pub(super) struct Case<'a> {
    pub(super) rows: u64,
    pub(super) models: &'a [String],
    pub(super) patience: Patience,
    pub(super) limits: Limits,
    pub(super) sums: Sums,
    pub(super) groups: Vec<Group<'a>>,
    pub(super) forest: Forest,
    pub(super) caller_marks: bool,
    /// The rows of no group, and their prices under each model of the workload.
    ungrouped: (Sums, Vec<Priced>),
    not_batchable: Option<&'a Model>,
    ways: Vec<Way>,
}

impl<'a> Case<'a> {
    pub(super) fn new(
        workload: &'a Workload,
        book: &'a Book,
        now: Timestamp,
    ) -> Result<Self, PriceError> {
        let evidence = &workload.evidence;
        let models: Vec<&Model> = workload
            .models
            .iter()
            .map(|id| book.model(id))
            .collect::<Result<_, _>>()?;
        let mut groups = Vec::with_capacity(workload.groups.len());
        for profile in &workload.groups {
            let model = book.model(&profile.model)?;
            let (sums, bytes, tools) = (&profile.sums, profile.prefix_bytes, profile.has_tools);
            let priced = Priced::new(model, evidence, sums, bytes, tools, now)?;
            let tokens = prefix_tokens(evidence, model, bytes, tools);
            groups.push(Group {
                profile,
                model,
                priced,
                tokens,
                hits: LIFETIMES.map(|ttl| evidence.hit_rate(&model.id, ttl, sums.rows)),
                hits_behind_canary: LIFETIMES
                    .map(|ttl| evidence.hit_rate_behind_canary(&model.id, ttl, sums.rows)),
            });
        }
        let ungrouped = models
            .iter()
            .filter(|_| workload.ungrouped.rows > 0)
            .map(|model| Priced::new(model, evidence, &workload.ungrouped, 0, false, now))
            .collect::<Result<_, _>>()?;
        let used = models
            .into_iter()
            .chain(groups.iter().map(|group| group.model));
        let mut case = Self {
            rows: workload.rows,
            models: &workload.models,
            patience: Patience::of(workload.need, workload.rows),
            limits: workload.limits,
            sums: workload.sums(),
            not_batchable: used.into_iter().find(|model| !model.batch),
            caller_marks: groups.iter().any(|group| group.profile.caller_marked),
            forest: Forest::of(&groups),
            groups,
            ungrouped: (workload.ungrouped, ungrouped),
            ways: Vec::new(),
        };
        case.price();
        Ok(case)
    }

    /// The id of the model that most rows of groups name, whose assumptions are shown.
    fn heaviest_model<'b>(&'b self, book: &'b Book) -> &'b str {
        let of_groups = self
            .groups
            .iter()
            .max_by_key(|group| group.profile.sums.rows);
        let first = self.models.first().and_then(|id| book.model(id).ok());
        of_groups
            .map(|group| group.model)
            .or(first)
            .map_or("", |model| model.id.as_str())
    }

    /// Finds the marks of every variant, and prices it.
    pub(super) fn price(&mut self) {
        let mut ways: Vec<Way> = Vec::with_capacity(Variant::ALL.len());
        for variant in Variant::ALL {
            let way = self.way(variant, &ways);
            ways.push(way);
        }
        for variant in Variant::MIXED {
            let rivals = || {
                ways.iter().filter(|other| {
                    other.variant.route == variant.route && other.variant.warming == variant.warming
                })
            };
            // Where one of the lifetimes never pays, both of them are not the better for it.
            if rivals().any(|other| other.fit != Fit::Pays) {
                continue;
            }
            let way = self.way(variant, &ways);
            let beats = rivals().all(|other| {
                matches!((way.cost, other.cost), (Some(mixed), Some(other)) if mixed.mid < other.mid)
            });
            if way.placement.is_mixed() && beats {
                ways.push(way);
            }
        }
        self.ways = ways;
    }

    fn way(&self, variant: Variant, before: &[Way]) -> Way {
        let (placement, fit) = self.placement(variant, before);
        let cost = self.cost(variant, &placement);
        Way {
            variant,
            placement,
            cost,
            fit,
        }
    }

    /// The marks of a variant. Where none pay, those that would if the cache were always read: a
    /// route is shown with what is wrong with it.
    fn placement(&self, variant: Variant, before: &[Way]) -> (Placement, Fit) {
        let place = |variant| self.forest.place(&self.groups, reading(variant));
        let found = |wanted: Variant| before.iter().find(|way| way.variant == wanted);
        let placement = match variant.warming {
            Warming::Unmarked => return (place(variant), Fit::Pays),
            // The same marks, written another way.
            Warming::PreWarm => {
                let canary = Variant {
                    warming: Warming::Canary,
                    ..variant
                };
                found(canary).map_or_else(
                    || place(variant),
                    |canary| match canary.fit {
                        Fit::Pays => canary.placement.clone(),
                        _ => self.forest.unmarked(),
                    },
                )
            }
            _ => place(variant),
        };
        if !placement.is_empty() {
            return (placement, Fit::Pays);
        }
        let ideal = Variant::ALL[1];
        let ideal = found(ideal).map_or_else(|| place(ideal), |way| way.placement.clone());
        let shown = match single(variant.marks) {
            Some(ttl) => self.forest.with_lifetime(&ideal, ttl),
            None => ideal,
        };
        let fit = match variant.warming {
            _ if shown.is_empty() => Fit::Nothing,
            // Callers' marks go along, ours do not.
            _ if self.caller_marks => return (placement, Fit::Nothing),
            Warming::Cold => Fit::Unlearnt,
            _ => Fit::Loses,
        };
        (shown, fit)
    }

    /// The cheapest of the ways that are allowed; the simpler of two that cost the same.
    pub(super) fn choose(&self, patience: Patience) -> &Way {
        let allowed = self
            .ways
            .iter()
            .filter(|way| self.barred(way, patience).is_none());
        let mid = |way: &Way| way.cost.map_or(f64::INFINITY, |cost| cost.mid);
        allowed
            .min_by(|one, other| mid(one).total_cmp(&mid(other)))
            .expect("calls can always be made one by one")
    }

    /// Why no batch can be used, if so.
    pub(super) fn batch_barred(&self, patience: Patience) -> Option<Barred> {
        match (patience, self.not_batchable) {
            (Patience::None, _) => Some(Barred::Awaited),
            _ if self.limits.zero_data_retention => Some(Barred::ZeroDataRetention),
            (patience, _) if !patience.allows_batch() => Some(Barred::TooLittleTime),
            (_, Some(model)) => Some(Barred::NotBatchable {
                model: model.id.clone(),
            }),
            _ => None,
        }
    }

    fn barred(&self, way: &Way, patience: Patience) -> Option<Barred> {
        if way.variant.route.lane() == Lane::Batch
            && let Some(barred) = self.batch_barred(patience)
        {
            return Some(barred);
        }
        match (way.variant.warming, way.fit) {
            (Warming::Unmarked, _) => self.caller_marks.then_some(Barred::CallerMarks),
            (_, Fit::Nothing) if !self.caller_marks => Some(Barred::NothingToCache),
            (_, Fit::Loses) => Some(Barred::MarksLose),
            (Warming::PreWarm, _) => Some(Barred::LanesApart),
            (Warming::Canary, _) if !patience.allows_canary() => Some(Barred::NoTimeForCanary),
            (_, Fit::Unlearnt) => Some(Barred::ColdStart),
            _ => None,
        }
    }

    /// Whether marks would pay in a batch, had it the time for a canary.
    pub(super) fn canary_would_pay(&self) -> bool {
        let canaries = |way: &&Way| way.variant.warming == Warming::Canary;
        self.ways
            .iter()
            .filter(canaries)
            .any(|way| way.fit == Fit::Pays || self.caller_marks)
    }

    fn cost(&self, variant: Variant, placement: &Placement) -> Option<Estimate> {
        let reading = reading(variant);
        let lane = reading.lane;
        let prompts = [0, 1, 2].map(|k| self.forest.prompts(&self.groups, placement, reading, k));
        let mut sum = self.ungrouped_cost(lane)?;
        for (place, group) in self.groups.iter().enumerate() {
            sum = sum
                + if group.profile.caller_marked {
                    let caching = match variant.warming {
                        Warming::Unmarked => [Caching::None; 3],
                        Warming::FirstCall | Warming::Canary => group.caller_caching(true),
                        Warming::PreWarm | Warming::Cold => group.caller_caching(false),
                    };
                    group.priced.cost(lane, caching)?
                } else {
                    let prompts = prompts.each_ref().map(|costs| costs[place]);
                    spread(prompts, group.answers(lane)?)
                };
        }
        Some(sum)
    }

    /// Which of several models these rows name is not known: the mean, and the extremes.
    fn ungrouped_cost(&self, lane: Lane) -> Option<Estimate> {
        let (_, priced) = &self.ungrouped;
        let costs = priced
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

    fn worst(&self, chosen: &Way) -> Usd {
        if chosen.variant.route.lane() == Lane::Sync {
            return self.sums.worst;
        }
        let grouped = |group: &Group<'_>| group.priced.worst_in_batch(group.profile.sums.worst);
        let (sums, priced) = &self.ungrouped;
        let others = priced
            .iter()
            .map(|priced| priced.worst_in_batch(sums.worst));
        self.groups.iter().map(grouped).sum::<Usd>() + others.max().unwrap_or_default()
    }

    fn costs(&self) -> Vec<VariantCost> {
        let of = |lane| {
            let plain = Variant::plain(lane);
            let way = self.ways.iter().find(|way| way.variant == plain)?;
            way.cost
        };
        let (naive, plain_batch) = (of(Lane::Sync), of(Lane::Batch));
        let cost = |way: &Way| {
            let against = |baseline: Option<Estimate>| Saving::of(way.cost?, baseline?);
            VariantCost {
                variant: way.variant,
                cost: way.cost,
                saving_vs_naive: against(naive),
                saving_vs_plain_batch: against(plain_batch),
                barred: self.barred(way, self.patience),
            }
        };
        self.ways.iter().map(cost).collect()
    }

    /// What a variant would cost, if it has a price.
    pub(super) fn expected(&self, variant: Variant) -> Option<f64> {
        let way = self.ways.iter().find(|way| way.variant == variant)?;
        way.cost.map(|cost| cost.mid)
    }

    fn group_plans(&self, chosen: &Way) -> Vec<GroupPlan> {
        let ahead = chosen.variant.warming == Warming::Canary;
        let plan = |(place, group): (usize, &Group<'_>)| {
            let theirs = group.profile.caller_marked
                && group.is_long_enough()
                && group.profile.sums.rows >= 2;
            GroupPlan {
                id: group.profile.id,
                mark: chosen.placement.marks[place],
                canary: ahead && (chosen.placement.leads[place] || theirs),
            }
        };
        self.groups.iter().enumerate().map(plan).collect()
    }

    /// Whether the calls of a group read a cache: by our marks or the caller's.
    pub(super) fn is_cached(&self, way: &Way, place: usize) -> bool {
        way.placement.marks[place].is_some() || self.groups[place].profile.caller_marked
    }

    /// Of the groups that fulfil a condition, the one whose preamble is the most tokens in all.
    pub(super) fn heaviest(&self, fulfils: impl Fn(usize) -> bool) -> Option<usize> {
        let places = (0..self.groups.len()).filter(|&place| fulfils(place));
        places.max_by_key(|&place| {
            let group = &self.groups[place];
            u128::from(group.tokens.mid) * u128::from(self.calls(place))
        })
    }

    /// Calls that share the preamble of a group.
    pub(super) fn calls(&self, place: usize) -> u64 {
        let own = self.groups[place].profile.sums.rows;
        self.forest.users(place).max(own)
    }
}

fn in_time_share(ttl: Ttl) -> f64 {
    f64::from(in_time(Lane::Batch, ttl, TURNAROUND)) / 1e6
}

fn reading(variant: Variant) -> Reading {
    Reading {
        lane: variant.route.lane(),
        marks: variant.marks,
        warming: variant.warming,
        turnaround: TURNAROUND,
    }
}

#[cfg(test)]
impl Case<'_> {
    /// The same case after so many rows of cold batches that hit, or missed.
    pub(super) fn learnt(&mut self, hits: u64, misses: u64) {
        for group in &mut self.groups {
            group.hits = group.hits.map(|belief| belief.after(hits, misses));
        }
        self.price();
    }
}
