//! Reading a job's rows and planning them: from sums over the input to the way it is cut.
//!
//! Leaves out the decision (`offpeak_core::plan`), and making a job of it (`start`).

use std::collections::BTreeMap;

use offpeak_core::job::unmark::MarkFacts;
use offpeak_core::plan::lint::Warning;
use offpeak_core::plan::{self, GroupProfile, Plan, Route, Sums, Workload};
use offpeak_core::price::{Book, Lane};
use offpeak_core::units::Timestamp;
use offpeak_wire::limits::{MAX_BATCH_BYTES, MAX_ROWS_PER_BATCH};

use crate::cut::{CutPlan, GroupCut, GroupMark, on_lane};
use crate::error::EngineError;
use crate::ingest::{Before, Group, GroupLevel, Ingested, RowSums, ingest_after};
use crate::lint::warnings;
use crate::marks::mark_facts;
use crate::progress::{Progress, Report};
use crate::reuse::EarlierRun;
use crate::spec::{JobSpec, Need};
use crate::spool::SpoolDir;

/// Reads and plans a job without writing anything.
///
/// # Errors
/// If the input is bad or a price is missing.
pub fn plan_only(
    spec: &JobSpec,
    book: &Book,
    earlier: &[EarlierRun],
    evidence: plan::Evidence,
    now: Timestamp,
    report: &Report,
) -> Result<Planned, EngineError> {
    let ingested = read(spec, book, now, Before::Runs(earlier), None, report)?;
    let (plan, _) = decide(spec, &ingested, evidence, book, now)?;
    Ok(Planned {
        warnings: warnings(&ingested, &plan, book, now),
        ingested,
        plan,
    })
}

/// A job that was only read and planned.
#[derive(Debug)]
pub struct Planned {
    /// What was read.
    pub ingested: Ingested,
    /// What was decided.
    pub plan: Plan,
    /// What is worth changing in the rows, dearest first.
    pub warnings: Vec<Warning>,
}

pub(crate) fn read(
    spec: &JobSpec,
    book: &Book,
    now: Timestamp,
    before: Before<'_>,
    spool: Option<&SpoolDir>,
    report: &Report,
) -> Result<Ingested, EngineError> {
    let of = std::fs::metadata(&spec.source.input)
        .ok()
        .map(|meta| meta.len());
    let tell = |bytes| report(Progress::Reading { bytes, of });
    Ok(ingest_after(spec, book, now, before, spool, &tell)?)
}

/// The plan, unless the budget could not even pay for the dearest row.
pub(crate) fn decide(
    spec: &JobSpec,
    ingested: &Ingested,
    evidence: plan::Evidence,
    book: &Book,
    now: Timestamp,
) -> Result<(Plan, MarkFacts), EngineError> {
    let workload = workload(spec, ingested, evidence);
    let plan = if workload.rows == 0 && ingested.taken_over() > 0 {
        plan::of_nothing(&workload, book, now)?
    } else {
        plan::decide(&workload, book, now)?
    };
    let marks = mark_facts(&workload, &plan, book, now).map_err(plan::PlanError::from)?;
    if let (Some(budget), Some((line, worst))) = (spec.budget, ingested.dearest) {
        let worst = on_lane(plan.route.lane(), worst);
        if budget < worst {
            return Err(EngineError::BudgetBelowRow {
                path: spec.source.input.clone(),
                line,
                worst,
                budget,
            });
        }
    }
    Ok((plan, marks))
}

/// The sums that the planner decides on.
pub(crate) fn workload(spec: &JobSpec, ingested: &Ingested, evidence: plan::Evidence) -> Workload {
    let model = |number: u16| {
        ingested
            .models
            .get(usize::from(number))
            .cloned()
            .unwrap_or_default()
    };
    let group = |group: &Group| GroupProfile {
        id: group.id,
        parent: group.parent,
        model: model(group.model),
        prefix_bytes: group.prefix_bytes,
        caller_marked: group.caller_marked,
        has_tools: group.has_tools,
        sums: sums(&group.sums),
    };
    Workload {
        rows: ingested.to_send(),
        ungrouped: sums(&ingested.ungrouped),
        groups: ingested.groups.iter().map(group).collect(),
        need: match spec.need {
            Need::Seconds => plan::Need::Seconds,
            Need::Within(slack) => plan::Need::By { slack },
            Need::Whenever => plan::Need::Whenever,
        },
        models: ingested.models.clone(),
        evidence,
        limits: plan::Limits {
            budget: spec.budget,
            zero_data_retention: spec.zero_data_retention,
        },
    }
}

fn sums(sums: &RowSums) -> Sums {
    let RowSums {
        rows,
        request_bytes,
        max_tokens,
        worst,
    } = *sums;
    Sums {
        rows,
        request_bytes,
        max_tokens,
        worst,
    }
}

/// The levels that the groups of a job end with, by the number of the group.
pub(crate) fn group_levels(ingested: &Ingested) -> Vec<GroupLevel> {
    ingested.groups.iter().map(|group| group.level).collect()
}

/// What a plan means for the cut. `levels` are those of the workload's groups.
pub(crate) fn cut_plan(plan: &Plan, workload: &Workload, levels: &[GroupLevel]) -> CutPlan {
    let lane = match plan.route {
        Route::Sync | Route::SyncCache => Lane::Sync,
        Route::Batch | Route::BatchCache => Lane::Batch,
    };
    CutPlan {
        lane,
        groups: group_cuts(plan, workload, levels),
        rows_max: rows_max(lane, workload.rows),
        bytes_max: MAX_BATCH_BYTES,
        worst_max: None,
    }
}

/// Most rows of a shard. Of a batch nothing is known until it ends: a tenth of the job shows what the
/// others would cost money for, and is given up alone when time runs out (ten shards wait nearly as
/// long as any number would).
fn rows_max(lane: Lane, rows: u64) -> u32 {
    const SHARDS: u64 = 10;
    const ROWS_MIN: u64 = 500;
    let most = u64::try_from(MAX_ROWS_PER_BATCH).expect("a small constant");
    let rows_max = match lane {
        Lane::Sync => most,
        Lane::Batch => rows.div_ceil(SHARDS).clamp(ROWS_MIN, most),
    };
    u32::try_from(rows_max).expect("at most those of a batch")
}

/// The marks of the rows of each group: its own and those of the groups that it stands on.
fn group_cuts(plan: &Plan, workload: &Workload, levels: &[GroupLevel]) -> BTreeMap<u32, GroupCut> {
    let mut cuts: BTreeMap<u32, GroupCut> = BTreeMap::new();
    let groups = workload.groups.iter().zip(&plan.groups).zip(levels);
    for ((profile, planned), level) in groups {
        let above = profile.parent.and_then(|parent| cuts.get(&parent));
        let mut cut = above.cloned().unwrap_or_default();
        if let Some(ttl) = planned.mark {
            cut.marks.push(GroupMark {
                group: planned.id,
                level: *level,
                ttl,
            });
        }
        cuts.insert(planned.id, cut);
    }
    // Who goes ahead of a group that sends no row itself: the first below it that does.
    let mut ahead: BTreeMap<u32, u32> = BTreeMap::new();
    let parents: BTreeMap<u32, Option<u32>> = workload
        .groups
        .iter()
        .map(|profile| (profile.id, profile.parent))
        .collect();
    for leader in plan.groups.iter().filter(|group| group.canary) {
        let mut at = Some(leader.id);
        while let Some(group) = at {
            ahead.entry(group).or_insert(leader.id);
            at = parents.get(&group).copied().flatten();
        }
    }
    for cut in cuts.values_mut() {
        let last = cut.marks.last();
        cut.behind = last.and_then(|last| ahead.get(&last.group).copied());
    }
    cuts
}
