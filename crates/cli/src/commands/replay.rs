//! `offpeak replay`: a trace under several policies, or the trace of a benchmark workload. Sends
//! nothing; prices are the built-in ones, of the day that they were read.

use std::path::Path;

use offpeak_replay::{Options, PolicyName, Pressure, Score, Trace, replay as play};
use offpeak_report::{ReplayLine, ReplayView, replay_text};
use offpeak_sim::{Line, Outage, Profile};
use serde_json::json;

use crate::args::{BatchOrder, BatchProfile, OutageSpan, ReplayArgs, Tier};
use crate::commands::sim::limits;
use crate::error::{Exit, ExpectedError};
use crate::settings::{self, Settings};

pub(crate) fn replay(args: &ReplayArgs, settings: &Settings) -> Result<Exit, ExpectedError> {
    if let Some(workload) = args.generate {
        let trace = workload.generate(args.seed);
        settings.printer.data(&trace.to_jsonl())?;
        return Ok(Exit::Success);
    }
    let Some(path) = &args.trace else {
        return Err(ExpectedError::usage("there is no trace to replay")
            .hint("name a file, or make one with `offpeak replay --generate W4 > w4.jsonl`"));
    };
    let book = settings.book_for(true)?;
    let quiet = Options::quiet(&book);
    let options = Options {
        seed: args.seed,
        profile: profile(args.profile),
        line: line(args),
        sync_per_minute: if args.profile == BatchProfile::Linear {
            50
        } else {
            quiet.sync_per_minute
        },
        workers: args.workers,
        domains: args.domains,
        min_cacheable: args.min_cacheable,
        prices_at: settings::now(true),
        pressure: Pressure {
            limits: (args.tier != Tier::None).then(|| limits(args.tier)),
            outage: args.outage.map(|OutageSpan { from, to }| Outage {
                from: from.as_micros(),
                to: to.as_micros(),
            }),
            budget: args.budget,
        },
    };
    if let Some(model) = &args.model {
        book.model(model)?.step_above(options.prices_at)?;
    }
    let file = path.display().to_string();
    let as_model = args.model.as_deref();
    let trace = Trace::parse(&read(path)?, &file, &book, options.prices_at, as_model)
        .map_err(|error| ExpectedError::usage(error.to_string()).hint(error.hint()))?;
    if let Some(budget) = args.budget {
        trace
            .check_budget(budget, &file, &book, options.prices_at)
            .map_err(|error| ExpectedError::usage(error.to_string()).hint(error.hint()))?;
    }
    let policies = if args.policies.is_empty() {
        PolicyName::ALL.to_vec()
    } else {
        args.policies.clone()
    };
    let scores = play(&trace, &policies, &book, &options);
    // A policy that is refused is a bug, and told as one.
    let scores = scores.unwrap_or_else(|error| unreachable!("{error}"));
    let view = view(&trace, &scores, &options.pressure);
    let answer = json!({
        "trace": file,
        "calls": trace.calls.len(),
        "seed": args.seed,
        "prices_at": options.prices_at.to_string(),
        "policies": scores,
    });
    settings
        .printer
        .answer(|width| replay_text(&view, width), &answer)?;
    Ok(Exit::Success)
}

fn read(path: &Path) -> Result<String, ExpectedError> {
    std::fs::read_to_string(path).map_err(|error| {
        ExpectedError::usage(format!("{}: {error}", path.display())).hint(
            "check the name; a trace is a text file with one JSON object per line, as \
             `offpeak replay --generate W4` writes it",
        )
    })
}

fn line(args: &ReplayArgs) -> Option<Line> {
    (args.profile == BatchProfile::Linear).then_some(Line {
        row: 8_000_000,
        shuffled: args.order == BatchOrder::Shuffled,
    })
}

fn profile(profile: BatchProfile) -> Profile {
    match profile {
        BatchProfile::Fast => Profile::Fast,
        BatchProfile::Normal => Profile::Normal,
        BatchProfile::SlowTail => Profile::SlowTail,
        BatchProfile::Stuck => Profile::Stuck,
        BatchProfile::Dead | BatchProfile::Linear => Profile::Dead,
    }
}

fn view(trace: &Trace, scores: &[Score], pressure: &Pressure) -> ReplayView {
    let line = |score: &Score| ReplayLine {
        policy: score.policy.to_string(),
        realised: score.realised,
        to_naive: score.realised_to_naive,
        to_bound: score.realised_to_bound,
        read: score.cache_read_tokens,
        written: score.cache_write_tokens,
        late: score.deadline_misses,
        sent: score.attempts,
        refused: score.refused,
        declined: score.declined,
        makespan: score.makespan,
        budget_left: score.budget_left,
        causes: [
            score.regret.hedged,
            score.regret.route,
            score.regret.pings,
            score.regret.cold_writes,
            score.regret.unread_writes,
            score.regret.missing_marks,
            score.regret.unavoidable,
        ],
    };
    ReplayView {
        calls: u64::try_from(trace.calls.len()).unwrap_or(u64::MAX),
        naive: scores.first().map(|score| score.naive).unwrap_or_default(),
        bound: scores.first().map(|score| score.bound).unwrap_or_default(),
        budget: pressure.budget,
        soonest: (pressure.limits.is_some() || pressure.outage.is_some())
            .then(|| scores.first().map(|score| score.makespan_bound))
            .flatten(),
        lines: scores.iter().map(line).collect(),
    }
}
