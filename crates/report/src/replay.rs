//! The tables of `offpeak replay`: what each policy paid beside the bound, and where the rest went.

use offpeak_core::units::Usd;

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
    format!("{}\n{first}\n{second}", paragraph(&intro, 0, width))
}
