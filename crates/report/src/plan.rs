//! The text of `offpeak plan`: the two questions with their answers, the four routes with their
//! costs, what could go wrong, and what the figures rest on.

use offpeak_core::plan::{Plan, Question, Route, RouteCost, Saving};
use offpeak_core::units::Usd;

use crate::figures::{count, counted, estimate, estimate_decimals, share};
use crate::layout::{Align, listed, paragraph, table};

/// What the plan itself does not know.
#[derive(Debug, Clone, Default)]
pub struct PlanContext {
    /// The job's name, or the input's.
    pub name: String,
    /// Rows that cannot be sent.
    pub invalid: u64,
    /// The most that the job may spend.
    pub budget: Option<Usd>,
}

/// The plan at most `width` columns wide.
#[must_use]
pub fn plan_text(plan: &Plan, context: &PlanContext, width: usize) -> String {
    let mut out = heading(plan, context, width);
    out.push('\n');
    for (no, question) in [Question::NeededWithinSeconds, Question::PreambleStable]
        .into_iter()
        .enumerate()
    {
        out.push_str(&question_text(plan, no + 1, question, width));
    }
    out.push('\n');
    out.push_str(&listed("=> ", &choice(plan), 0, width));
    out.push('\n');
    out.push_str(&routes(plan, width));
    out.push('\n');
    out.push_str(&paragraph(
        "sync: answered at once. batch: answered within hours, at half the list price. cache: the \
         shared preamble is read at a fraction of its price.",
        0,
        width,
    ));
    out.push('\n');
    if let Some(sensitivity) = &plan.sensitivity {
        out.push_str(&listed("- ", &sensitivity.to_string(), 0, width));
    }
    for line in [worst(plan, context), assumptions(plan)] {
        out.push_str(&listed("- ", &line, 0, width));
    }
    out
}

fn heading(plan: &Plan, context: &PlanContext, width: usize) -> String {
    let models = match plan.models.as_slice() {
        [one] => one.clone(),
        [one, two] => format!("{one} and {two}"),
        many => format!("{} models", many.len()),
    };
    let mut text = format!(
        "Plan for {}: {} to {models}",
        context.name,
        counted(plan.rows, "call")
    );
    if context.invalid > 0 {
        let rows = counted(context.invalid, "row");
        text.push_str(&format!("; {rows} of the input cannot be sent"));
    }
    listed("", &text, 0, width)
}

fn question_text(plan: &Plan, no: usize, question: Question, width: usize) -> String {
    let mut reasons = plan
        .reasons
        .iter()
        .filter(|reason| reason.question == question)
        .peekable();
    let Some(first) = reasons.peek() else {
        return String::new();
    };
    let mut out = listed(
        &format!("{no}. "),
        &format!("{question} {}.", first.answer),
        0,
        width,
    );
    for reason in reasons {
        out.push_str(&paragraph(&reason.to_string(), 3, width));
    }
    out
}

fn choice(plan: &Plan) -> String {
    let chosen = plan.cost_of(plan.route);
    let mut text = format!("{}", plan.route);
    if let Some(cost) = chosen.cost {
        text.push_str(&format!(", about {cost}"));
    }
    if let Some(saving) = chosen
        .saving_vs_naive
        .filter(|saving| saving.share >= 0.000_5)
    {
        let than = Route::Sync;
        text.push_str(&format!(
            ": {} less than {than} without cache",
            share(saving.share)
        ));
    }
    text.push('.');
    text
}

fn routes(plan: &Plan, width: usize) -> String {
    let columns = [
        ("Route", Align::Left),
        ("Expected", Align::Right),
        ("Low", Align::Right),
        ("High", Align::Right),
        ("vs sync", Align::Right),
        ("vs batch", Align::Right),
        ("", Align::Left),
    ];
    let smallest = plan.costs.iter().filter_map(|route| Some(route.cost?.low));
    let decimals = estimate_decimals(smallest.fold(f64::INFINITY, f64::min));
    let rows = plan
        .costs
        .iter()
        .map(|cost| route_row(plan, cost, decimals))
        .collect();
    table(&columns, rows, width)
}

fn route_row(plan: &Plan, cost: &RouteCost, decimals: usize) -> Vec<String> {
    let dash = || "–".to_owned();
    let change = |saving: Option<Saving>| {
        saving.map_or_else(dash, |saving| match share(-saving.share) {
            dearer if saving.share <= -0.000_5 => format!("+{dearer}"),
            same_or_less => same_or_less,
        })
    };
    let note = match &cost.barred {
        _ if cost.route == plan.route => "chosen".to_owned(),
        Some(barred) => format!("no: {barred}"),
        None => String::new(),
    };
    let [mid, low, high] = cost.cost.map_or_else(
        || [dash(), dash(), dash()],
        |cost| [cost.mid, cost.low, cost.high].map(|usd| estimate(usd, decimals)),
    );
    // A route is not compared with itself.
    let vs_sync = if cost.route == Route::Sync {
        dash()
    } else {
        change(cost.saving_vs_naive)
    };
    let vs_batch = if cost.route == Route::Batch {
        dash()
    } else {
        change(cost.saving_vs_plain_batch)
    };
    vec![
        cost.route.to_string(),
        mid,
        low,
        high,
        vs_sync,
        vs_batch,
        note,
    ]
}

fn worst(plan: &Plan, context: &PlanContext) -> String {
    let mut text = format!(
        "At most {}, should every prompt and answer be as long as it can be",
        ceiling(plan.worst)
    );
    if plan.hedge_worst > plan.worst {
        text.push_str(&format!(
            "; {} if no batch answers in time and all calls are made one by one",
            ceiling(plan.hedge_worst)
        ));
    }
    text.push('.');
    if let Some(budget) = context.budget {
        text.push_str(&if budget >= plan.hedge_worst {
            format!(" The budget of {budget} covers that.")
        } else {
            format!(
                " The budget of {budget} is less: what a call can cost is set aside before it is \
                 sent, and the job stops rather than spend more."
            )
        });
    }
    text
}

/// A ceiling in cents, rounded up: less would not be a ceiling.
fn ceiling(amount: Usd) -> String {
    const CENT: i128 = 10_000_000_000;
    let cents = (amount.pico() + CENT - 1).div_euclid(CENT);
    Usd::from_pico(cents * CENT).to_string()
}

fn assumptions(plan: &Plan) -> String {
    let rests = &plan.assumptions;
    let [low, mid, high] = rests
        .output_shares
        .map(|part| format!("{:.0}%", part * 100.0));
    format!(
        "Estimated, as nothing was counted yet: tokens from bytes (±{:.0}%), answers of {mid} of \
         `max_tokens` ({low} to {high}), {} synchronous calls a minute, batches that \
         take {}. Prices of {}.",
        rests.token_spread * 100.0,
        count(u64::from(rests.sync_calls_per_minute)),
        rests.turnaround,
        rests.prices_as_of
    )
}
