//! The tables of `offpeak replay`: what each policy paid beside the bound, and where the rest went.

use offpeak_core::units::{Span, Usd};

use crate::figures::{count, counted, decimals, dollars, share};
use crate::layout::{Align, paragraph, table};

/// One policy on a trace.
#[derive(Debug, Clone)]
pub struct ReplayLine {
    /// Its name.
    pub policy: String,
    /// What it paid.
    pub realised: Usd,
    /// That as a share of the naive cost.
    pub to_naive: f64,
    /// And as a multiple of the bound.
    pub to_bound: f64,
    /// Prompt tokens read from the cache.
    pub read: u64,
    /// Prompt tokens written to it.
    pub written: u64,
    /// Calls answered too late.
    pub late: u64,
    /// Calls and rows sent.
    pub sent: u64,
    /// Of those, the ones that were not taken.
    pub refused: u64,
    /// Calls given up because the budget was spent.
    pub declined: u64,
    /// From the beginning to the last answer.
    pub makespan: Span,
    /// What is left of the budget; negative if it was exceeded.
    pub budget_left: Option<Usd>,
    /// Amounts above the bound by cause, in the order of [`CAUSES`].
    pub causes: [Usd; 7],
}

/// Why more than the bound was paid.
pub const CAUSES: [&str; 7] = [
    "Hedged",
    "Route",
    "Pings",
    "Cold",
    "Unread",
    "Unmarked",
    "Unavoidable",
];

/// A trace and what policies came to on it.
#[derive(Debug, Clone)]
pub struct ReplayView {
    /// Calls.
    pub calls: u64,
    /// What they cost one by one and without cache.
    pub naive: Usd,
    /// What nobody can go below.
    pub bound: Usd,
    /// The most that each may spend.
    pub budget: Option<Usd>,
    /// When all answers could have been there at the soonest, where limits or an outage hold calls up.
    pub soonest: Option<Span>,
    /// The policies.
    pub lines: Vec<ReplayLine>,
}

/// The tables, at most `width` columns wide.
#[must_use]
pub fn replay_text(view: &ReplayView, width: usize) -> String {
    let digits = decimals(view.naive);
    let intro = format!(
        "{}. One by one and without cache they cost {}; no policy can pay less than {}.",
        counted(view.calls, "call"),
        dollars(view.naive, digits),
        dollars(view.bound, digits),
    );
    let intro = match view.budget {
        None => intro,
        Some(_) => {
            format!("{intro} What a policy paid is for the calls that its budget let it answer.")
        }
    };
    let paid = |line: &ReplayLine| {
        vec![
            line.policy.clone(),
            dollars(line.realised, digits),
            share(line.to_naive),
            format!("{:.4}", line.to_bound),
            count(line.read),
            count(line.written),
            count(line.late),
            count(line.sent),
        ]
    };
    let columns = [
        ("Policy", Align::Left),
        ("Paid", Align::Right),
        ("Of naive", Align::Right),
        ("Bound ×", Align::Right),
        ("Tokens read", Align::Right),
        ("Written", Align::Right),
        ("Late", Align::Right),
        ("Sent", Align::Right),
    ];
    let first = table(&columns, view.lines.iter().map(paid).collect(), width);
    let above = |line: &ReplayLine| {
        let causes = line.causes.iter().map(|&cause| match cause {
            Usd::ZERO => "–".to_owned(),
            cause => dollars(cause, digits),
        });
        std::iter::once(line.policy.clone()).chain(causes).collect()
    };
    let columns: Vec<(&str, Align)> = std::iter::once(("Above the bound", Align::Left))
        .chain(CAUSES.map(|cause| (cause, Align::Right)))
        .collect();
    let second = table(&columns, view.lines.iter().map(above).collect(), width);
    let mut out = format!("{}\n{first}", paragraph(&intro, 0, width));
    // What was not answered was not paid: above the bound there is nothing to explain.
    if view.budget.is_none() {
        out.push('\n');
        out.push_str(&second);
    }
    if let Some(soonest) = view.soonest {
        out.push('\n');
        out.push_str(&held_up(view, soonest, width));
    }
    if let Some(budget) = view.budget {
        out.push('\n');
        out.push_str(&spent(view, budget, digits, width));
    }
    out
}

/// What limits and an outage did.
fn held_up(view: &ReplayView, soonest: Span, width: usize) -> String {
    let row = |line: &ReplayLine| {
        vec![
            line.policy.clone(),
            count(line.refused),
            format!("{:.3}", line.sent as f64 / view.calls.max(1) as f64),
            line.makespan.to_string(),
            format!("{:.3}", line.makespan.as_secs_f64() / soonest.as_secs_f64()),
        ]
    };
    let columns = [
        ("Held up", Align::Left),
        ("Refused", Align::Right),
        ("Tries a call", Align::Right),
        ("Last answer", Align::Right),
        ("Soonest ×", Align::Right),
    ];
    table(&columns, view.lines.iter().map(row).collect(), width)
}

/// What became of the budget.
fn spent(view: &ReplayView, budget: Usd, digits: usize, width: usize) -> String {
    let row = |line: &ReplayLine| {
        let left = line.budget_left.unwrap_or_default();
        let over = if left < Usd::ZERO {
            dollars(Usd::ZERO - left, digits)
        } else {
            "–".to_owned()
        };
        vec![
            line.policy.clone(),
            count(view.calls - line.declined),
            count(line.declined),
            dollars(left.max(Usd::ZERO), digits),
            over,
        ]
    };
    let title = format!("Of {}", dollars(budget, digits));
    let columns = [
        (title.as_str(), Align::Left),
        ("Answered", Align::Right),
        ("Given up", Align::Right),
        ("Left over", Align::Right),
        ("Overshot", Align::Right),
    ];
    table(&columns, view.lines.iter().map(row).collect(), width)
}
