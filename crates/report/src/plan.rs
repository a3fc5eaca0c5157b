//! The text of `offpeak plan`: the questions with their answers, the ways to send the calls with
//! their costs, what would change the choice, and what the figures rest on.

use offpeak_core::plan::fields::FieldsEffect;
use offpeak_core::plan::lint::Warning;
use offpeak_core::plan::{
    BreakEven, Marks, Plan, Question, ReuseEffect, Saving, VariantCost, Warming, ceiling,
};
use offpeak_core::price::Lane;

use crate::figures::{count, counted, estimate, estimate_decimals, share};
use crate::layout::{Align, listed, paragraph, table};
use crate::lint::warnings_text;

/// What the plan itself does not know.
#[derive(Debug, Clone, Default)]
pub struct PlanContext {
    /// The job's name, or the input's.
    pub name: String,
    /// Rows that cannot be sent.
    pub invalid: u64,
    /// What is worth changing in the rows.
    pub warnings: Vec<Warning>,
    /// What the order of the rows' fields comes to, where the template writes all of them.
    pub fields: Option<FieldsEffect>,
    /// Batches are deleted upstream once their answers are here.
    pub delete_upstream: bool,
    /// What it comes to that answers serve more than one row.
    pub reuse: ReuseEffect,
}

/// The plan at most `width` columns wide.
#[must_use]
pub fn plan_text(plan: &Plan, context: &PlanContext, width: usize) -> String {
    let mut out = heading(plan, context, width);
    let answered = context.reuse.sentences();
    if plan.rows == 0 {
        out.push_str("\nNothing has to be sent:\n");
        for sentence in answered {
            out.push_str(&listed("- ", &sentence, 0, width));
        }
        return out;
    }
    out.push('\n');
    let questions = [
        Question::NeededWithinSeconds,
        Question::PreambleStable,
        Question::BudgetEnough,
    ];
    for (no, question) in questions.into_iter().enumerate() {
        out.push_str(&question_text(plan, no + 1, question, width));
    }
    out.push('\n');
    out.push_str(&listed("=> ", &choice(plan), 0, width));
    out.push('\n');
    out.push_str(&ways(plan, width));
    out.push('\n');
    out.push_str(&paragraph(&legend(plan), 0, width));
    if let Some(text) = break_evens(plan) {
        out.push_str(&paragraph(&text, 0, width));
    }
    if !plan.sensitivity.is_empty() {
        out.push_str("\nWhat would change this:\n");
    }
    for line in &plan.sensitivity {
        out.push_str(&listed("- ", &line.to_string(), 0, width));
    }
    if let Some(effect) = context.fields.as_ref().filter(|effect| effect.matters()) {
        out.push_str("\nThe order of fields:\n");
        out.push_str(&listed("- ", &effect.to_string(), 0, width));
    }
    if !answered.is_empty() {
        out.push_str("\nAnswers for more than one row:\n");
    }
    for sentence in answered {
        out.push_str(&listed("- ", &sentence, 0, width));
    }
    out.push_str(&warnings_text(&context.warnings, width));
    out.push_str("\nWhat it rests on:\n");
    for line in [worst(plan), assumptions(plan)] {
        out.push_str(&listed("- ", &line, 0, width));
    }
    if context.delete_upstream && plan.route.lane() == Lane::Batch {
        let line = "Each batch is deleted upstream once its answers are stored here and complete; a \
                    disk that is lost after that cannot fetch them again.";
        out.push_str(&listed("- ", line, 0, width));
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
    let kept = match plan.variant.marks {
        Marks::None => None,
        Marks::FiveMinutes => Some("kept 5 minutes"),
        Marks::OneHour => Some("kept 1 hour"),
        Marks::Mixed => Some("kept 1 hour or 5 minutes"),
    };
    // Callers' own marks say themselves how long they live.
    let kept = kept.filter(|_| plan.groups.iter().any(|group| group.mark.is_some()));
    let written = match plan.variant.warming {
        Warming::Unmarked => None,
        warming => Some(format!("cache written by {}", article(warming))),
    };
    let how: Vec<String> = written.into_iter().chain(kept.map(str::to_owned)).collect();
    let mut text = plan.route.to_string();
    if !how.is_empty() {
        text.push_str(&format!(" ({})", how.join(", ")));
    }
    if let Some(cost) = chosen.cost {
        text.push_str(&format!(", about {cost}"));
    }
    let less = |saving: Option<Saving>, than: &str| {
        let saving = saving.filter(|saving| saving.share >= 0.000_5)?;
        Some(format!("{} less than {than}", share(saving.share)))
    };
    let savings = [
        less(chosen.saving_vs_naive, "sync without cache"),
        less(chosen.saving_vs_plain_batch, "a batch without cache")
            .filter(|_| plan.route.is_cached()),
    ];
    let savings: Vec<String> = savings.into_iter().flatten().collect();
    if !savings.is_empty() {
        text.push_str(&format!(": {}", savings.join(", ")));
    }
    text.push('.');
    text
}

fn ways(plan: &Plan, width: usize) -> String {
    let columns = [
        ("Way", Align::Left),
        ("Expected", Align::Right),
        ("Low", Align::Right),
        ("High", Align::Right),
        ("vs sync", Align::Right),
        ("vs batch", Align::Right),
        ("Written by", Align::Left),
        ("", Align::Left),
    ];
    let shown = plan.by_label();
    let smallest = shown.iter().filter_map(|way| Some(way.cost?.low));
    let decimals = estimate_decimals(smallest.fold(f64::INFINITY, f64::min));
    let rows = shown
        .into_iter()
        .map(|way| way_row(plan, way, decimals))
        .collect();
    table(&columns, rows, width)
}

fn way_row(plan: &Plan, way: &VariantCost, decimals: usize) -> Vec<String> {
    let dash = || "–".to_owned();
    let change = |saving: Option<Saving>| {
        saving.map_or_else(dash, |saving| match share(-saving.share) {
            dearer if saving.share <= -0.000_5 => format!("+{dearer}"),
            same_or_less => same_or_less,
        })
    };
    let note = match &way.barred {
        _ if way.variant == plan.variant => "chosen".to_owned(),
        Some(barred) => format!("no: {barred}"),
        None => String::new(),
    };
    let [mid, low, high] = way.cost.map_or_else(
        || [dash(), dash(), dash()],
        |cost| [cost.mid, cost.low, cost.high].map(|usd| estimate(usd, decimals)),
    );
    // A way is not compared with itself.
    let against = |lane: Lane, saving| match (way.variant.marks, way.variant.route.lane()) {
        (Marks::None, own) if own == lane => dash(),
        _ => change(saving),
    };
    vec![
        way.variant.label().to_owned(),
        mid,
        low,
        high,
        against(Lane::Sync, way.saving_vs_naive),
        against(Lane::Batch, way.saving_vs_plain_batch),
        written_by(way.variant.warming).to_owned(),
        note,
    ]
}

fn article(warming: Warming) -> &'static str {
    match warming {
        Warming::Unmarked => "nothing",
        Warming::FirstCall => "the first call",
        Warming::Canary => "a canary",
        Warming::PreWarm => "a pre-warm",
        Warming::Cold => "any call",
    }
}

fn written_by(warming: Warming) -> &'static str {
    match warming {
        Warming::Unmarked => "–",
        Warming::FirstCall => "first call",
        Warming::Canary => "canary",
        Warming::PreWarm => "pre-warm",
        Warming::Cold => "any call",
    }
}

/// The words of the table, for those who see it for the first time.
fn legend(plan: &Plan) -> String {
    let mixed = plan
        .costs
        .iter()
        .any(|way| way.variant.marks == Marks::Mixed);
    let mixed = if mixed {
        " mixed: 1h for what more calls share, 5m for the rest."
    } else {
        ""
    };
    format!(
        "sync: answered at once. batch: answered within hours, at half the list price. 5m, 1h: the \
         cache keeps the preamble that long after each use, and it is read at a fraction of its \
         price.{mixed}"
    )
}

/// When marks pay, whatever is chosen.
fn break_evens(plan: &Plan) -> Option<String> {
    let model = &plan.break_evens.first()?.model;
    let one = |even: &BreakEven| {
        let (ttl, hits) = (even.ttl.as_str(), even.hit_rate);
        match even.calls {
            Some(calls) => format!("{ttl} from {calls} calls or {hits} hits on"),
            None => format!("{ttl} never"),
        }
    };
    let all: Vec<String> = plan.break_evens.iter().map(one).collect();
    Some(format!(
        "Marks pay at the rates of {model}: {}.",
        all.join(", ")
    ))
}

fn worst(plan: &Plan) -> String {
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
    text
}

fn assumptions(plan: &Plan) -> String {
    let rests = &plan.assumptions;
    let [low, mid, high] = rests
        .output_shares
        .map(|part| format!("{:.0}%", part * 100.0));
    let spread = format!("±{:.0}%", rests.token_spread * 100.0);
    let tokens = match rests.token_method.as_str() {
        "uncalibrated" if rests.measured_answers == 0 => {
            format!("Estimated, as nothing was counted yet: tokens from bytes ({spread})")
        }
        "uncalibrated" => format!("Estimated: tokens from bytes ({spread})"),
        method => format!("Estimated: tokens from bytes, {method} ({spread})"),
    };
    let measured = match rests.measured_answers {
        0 => String::new(),
        answers => format!(", measured in {}", counted(answers, "earlier answer")),
    };
    format!(
        "{tokens}, answers of {mid} of \
         `max_tokens` ({low} to {high}{measured}), {} synchronous calls a minute, batches that \
         take {} ({:.0}% of them start while a 5m entry of a canary lives, {:.0}% while one of 1h \
         does). Prices of {}.",
        count(u64::from(rests.sync_calls_per_minute)),
        rests.turnaround,
        rests.in_time_5m * 100.0,
        rests.in_time_1h * 100.0,
        rests.prices_as_of
    )
}
