//! Our books held against the upstream's reports: for one job, or for a month.
//!
//! A job is looked at in the minutes or hours that it ran in, with everything else of the data directory
//! that ran then; its money in the whole days, since the cost report has no less. Leaves out what a
//! difference means (`offpeak_core::reconcile`) and how it is shown (`report`).

use std::collections::BTreeMap;
use std::sync::Arc;

use offpeak_core::reconcile::{
    Cell, Charge, Charged, Compared, Comparison, Counts, Finding, Money, Verdict, Window,
    compare_money, compare_tokens, least_worth,
};
use offpeak_core::units::Span;
use offpeak_store::JobRecord;
use offpeak_wire::report::BucketWidth;

use crate::blocking::blocking;
use crate::books::{Clocks, Reader};
use crate::error::EngineError;
use crate::reports::{ReportError, Reports};
use crate::start::Engine;

/// The reports are complete after about so long (Anthropic docs, usage and cost API).
pub const FRESH_AFTER: Span = Span::from_secs(300);

/// What the measured difference of two clocks may be off by, now and while the job ran.
const SLACK: Span = Span::from_secs(120);

/// Longer windows are asked for in hours instead of minutes: a page holds a day of minutes.
const MINUTES_UP_TO: Span = Span::from_secs(86_400);

const DAY: i64 = 86_400;

/// What is reconciled.
#[derive(Debug, Clone)]
pub enum Scope {
    /// The time that a job ran in.
    Job(Box<JobRecord>),
    /// Whole days.
    Days(Window),
}

/// What came of it.
#[derive(Debug)]
pub struct Reconciliation {
    /// What agrees and what does not.
    pub comparison: Comparison,
    /// The upstream's clock less ours.
    pub ahead: Span,
    /// Our jobs that have something there, newest first.
    pub jobs: Vec<JobRecord>,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// A report did not come.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// Our own side cannot be read.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Compares. The engine's client has an admin key; `api_keys` are the ids of those whose usage is
/// wanted, none for all.
///
/// # Errors
/// If a report does not come, or the store cannot be read.
pub async fn reconcile(
    engine: &Engine,
    scope: Scope,
    api_keys: Vec<String>,
) -> Result<Reconciliation, ReconcileError> {
    let narrowed = !api_keys.is_empty();
    let mut reports = Reports::open(engine.client.clone(), engine.clock, api_keys).await?;
    let clocks = Clocks {
        ahead: reports.ahead(),
        slack: SLACK,
    };
    let now = engine.now();
    let ours = engine.clone();
    let (window, width, days, read) = blocking(move || {
        let reader = Reader {
            store: &ours.store,
            book: &ours.book,
            clocks,
            now,
        };
        let (window, width) = match scope {
            Scope::Days(days) => (days, BucketWidth::Day),
            Scope::Job(record) => {
                let stretch = reader.stretch(&record)?;
                let width = if stretch.to - stretch.from <= MINUTES_UP_TO {
                    BucketWidth::Minute
                } else {
                    BucketWidth::Hour
                };
                (Window::around(stretch, width.seconds()), width)
            }
        };
        let days = window.widened_to(DAY);
        let read = reader.read(days, |id| ours.spool(id))?;
        Ok::<_, EngineError>((window, width, days, read))
    })
    .await?;
    let asked_at = reports.now();
    let book = Arc::clone(&engine.book);
    let usage = reports.usage(window, width, &book).await?;
    let worth = |cell: &Cell, counts: &Counts| {
        let worth = |at| least_worth(&book, at, cell, counts);
        worth(window.from).or_else(|_| worth(window.to)).ok()
    };
    let tokens = compare_tokens(&read.books, window, &usage, worth);
    let costs = if narrowed {
        None
    } else {
        Some(reports.costs(days, &book).await?)
    };
    let charged = costs.as_ref().map(|costs| {
        let mut sum: BTreeMap<Charge, Charged> = BTreeMap::new();
        for (charge, charged) in costs.values().flatten() {
            sum.entry(charge.clone()).or_default().add(*charged);
        }
        sum
    });
    let money = charged
        .as_ref()
        .map(|sum| compare_money(&read.books, days, sum));
    let mut days_off = Vec::new();
    for from in costs.iter().flat_map(|_| days.starts(DAY)) {
        let day = Window {
            from,
            to: from + Span::from_secs(DAY),
        };
        let nothing = BTreeMap::new();
        let charged = costs.as_ref().and_then(|costs| costs.get(&from));
        let mut lines = compare_money(&read.books, day, charged.unwrap_or(&nothing));
        lines.retain(|line| line.finding >= Finding::OtherTraffic);
        if !lines.is_empty() {
            days_off.push((from, lines));
        }
    }
    let last = read.books.last(days);
    let complete_from = last.map(|last| last - SLACK + FRESH_AFTER);
    // What was billed a moment ago must not hide what has been missing for long.
    let old = read.books.before(asked_at - FRESH_AFTER + SLACK);
    let short_of_old = findings(
        &compare_tokens(&old, window, &usage, worth),
        charged
            .as_ref()
            .map(|sum| compare_money(&old, days, sum))
            .as_deref(),
    )
    .any(|finding| finding == Finding::Short);
    let comparison = Comparison {
        verdict: Verdict::of(findings(&tokens, money.as_deref()), short_of_old),
        window,
        days,
        tokens,
        money,
        days_off,
        allowed: read.books.allowed(days),
        asked_at,
        complete_from,
        answers: read.answers,
        unread: read.unread,
    };
    Ok(Reconciliation {
        comparison,
        ahead: clocks.ahead,
        jobs: read.jobs,
    })
}

fn findings<'a>(
    tokens: &'a [Compared],
    money: Option<&'a [Money]>,
) -> impl Iterator<Item = Finding> + use<'a> {
    let money = money.unwrap_or_default().iter().map(|line| line.finding);
    tokens.iter().map(|line| line.finding).chain(money)
}
