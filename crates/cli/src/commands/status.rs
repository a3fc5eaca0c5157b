//! `offpeak status`: where a job's rows are, and its money.

use offpeak_core::job::deletion::Deletions;
use offpeak_core::job::queue::{Phase, Waiter};
use offpeak_core::job::shard::{JobId, Shard, ShardRole};
use offpeak_core::job::unmark::UnmarkedSum;
use offpeak_core::units::Timestamp;
use offpeak_report::{ShardCount, StatusView, Waits, status_text};
use offpeak_store::{JobRecord, Store};
use serde_json::json;

use crate::args::StatusArgs;
use crate::commands::jobs::{Standing, job_named, state};
use crate::error::{Exit, ExpectedError};
use crate::settings::{self, Settings};
use crate::verdict;

/// The states of a shard, in the order of its life.
const LIFE: [&str; 10] = [
    "planned",
    "submitting",
    "unknown",
    "in_progress",
    "canceling",
    "ended",
    "collected",
    "given_up",
    "running",
    "settled",
];

pub(crate) fn status(args: &StatusArgs, settings: &Settings) -> Result<Exit, ExpectedError> {
    let (store, record) = job_named(settings, args.sim, &args.job)?;
    let standing = Standing::of(&store, &record, settings, args.sim)?;
    let limits = standing.facts.limits;
    let deadline = limits.deadline_at(record.created_at);
    let now = settings::now(args.sim).max(record.finished_at.unwrap_or(Timestamp::EPOCH));
    let copies = Deletions::of(&standing.shards, settings::now(args.sim));
    let view = view(&store, &record, &standing, now)?;
    let shards: Vec<_> = view
        .shards
        .iter()
        .map(|count| json!({ "role": count.role, "state": count.state, "shards": count.shards, "rows": count.rows }))
        .collect();
    let answer = json!({
        "job": record.id,
        "name": record.name,
        "run": record.run,
        "state": view.state,
        "route": standing.facts.route,
        "variant": standing.facts.variant,
        "groups": standing.facts.groups,
        "reasons": standing.facts.reasons,
        "rows": view.rows,
        "done": view.done,
        "shards": shards,
        "unmarked": view.unmarked,
        "cache_hits": view.tally.cache_hits,
        "cache_misses": view.tally.cache_misses,
        "cost_picousd": view.tally.cost,
        "cost_usd": view.tally.cost.to_decimal(),
        "held_picousd": view.held,
        "budget_picousd": limits.budget,
        "soft_budget_picousd": limits.soft_budget,
        "deadline": deadline.map(|at| at.to_string()),
        "unknown_picousd": view.tally.unknown,
        "waste_picousd": view.waste,
        "waits_for_room": view.waits.map(|waits| json!({ "rows": waits.rows, "jobs_ahead": waits.ahead })),
        "created_at": record.created_at.to_string(),
        "finished_at": record.finished_at.map(|at| at.to_string()),
        "input": standing.facts.input,
        "output": standing.facts.output,
        "purged_at": view.purged_at,
        "upstream_copies": verdict::deletions_json(&copies),
    });
    settings
        .printer
        .answer(|width| status_text(&view, width), &answer)?;
    Ok(Exit::Success)
}

fn view(
    store: &Store,
    record: &JobRecord,
    standing: &Standing,
    now: Timestamp,
) -> Result<StatusView, ExpectedError> {
    let ledger = store.ledger(&record.id)?;
    Ok(StatusView {
        waits: waits(&store.in_line(now)?, &record.id),
        name: record.name.clone(),
        job: record.id.clone(),
        state: state(record, &standing.facts).to_owned(),
        route: verdict::route(&standing.facts.route),
        groups: {
            let groups = &standing.facts.groups;
            [groups.groups, groups.marked, groups.canaries]
        },
        unmarked: UnmarkedSum::of(&standing.shards),
        rows: standing.facts.rows,
        done: standing.done(),
        shards: counts(&standing.shards),
        tally: standing.tally.clone(),
        held: ledger.held + standing.held,
        waste: standing.waste,
        purged_at: standing.purged.as_ref().map(|purged| purged.at.clone()),
        budget: standing.facts.limits.budget,
        soft_budget: standing.facts.limits.soft_budget,
        elapsed: now - record.created_at,
        slack: (standing.facts.limits)
            .deadline_at(record.created_at)
            .map(|deadline| deadline - now),
    })
}

/// Whether the job waits for room in the upstream's queue, if it said so shortly before.
fn waits(in_line: &[Waiter], job: &JobId) -> Option<Waits> {
    let waiting = |waiter: &&Waiter| waiter.phase == Phase::Waiting;
    let own = in_line
        .iter()
        .filter(waiting)
        .find(|w| w.turn.job == *job)?;
    let ahead = in_line.iter().filter(|other| other.turn < own.turn);
    Some(Waits {
        rows: own.rows,
        ahead: ahead.map(|_| 1).sum(),
    })
}

fn counts(shards: &[Shard]) -> Vec<ShardCount> {
    let count = |role: &'static str, state: &str| {
        let of_state = shards
            .iter()
            .filter(|shard| name_of(shard.role) == role && shard.state.tag() == state);
        ShardCount {
            role,
            state: state.to_owned(),
            shards: of_state.clone().map(|_| 1).sum(),
            rows: of_state.map(|shard| u64::from(shard.rows.len())).sum(),
        }
    };
    let by_state = |role| LIFE.into_iter().map(move |state| count(role, state));
    let all = ["canary", "bulk", "leftovers"]
        .into_iter()
        .flat_map(by_state);
    all.filter(|count| count.shards > 0).collect()
}

fn name_of(role: ShardRole) -> &'static str {
    match role {
        ShardRole::Canary => "canary",
        ShardRole::Bulk => "bulk",
        ShardRole::Leftovers { .. } => "leftovers",
    }
}
