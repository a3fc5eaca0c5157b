//! The table that ends a run: every row accounted for, and the money beside what it would have
//! been.

use offpeak_core::job::outcome::{OutcomeClass, Tally};
use offpeak_core::job::shard::JobId;
use offpeak_core::plan::Route;
use offpeak_core::units::{Span, Usd};

use crate::figures::{count, counted, decimals, dollars, percent, share};
use crate::layout::{Align, listed, paragraph, table};

/// A run that has ended, finished or not.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The job's name.
    pub name: String,
    /// The job.
    pub job: JobId,
    /// The planned route.
    pub route: Route,
    /// Rows of the input, invalid ones included.
    pub rows: u64,
    /// What they came to.
    pub tally: Tally,
    /// Those that were not sent because there was an answer already, and what it would have cost about to
    /// send them.
    pub reused: ReusedRows,
    /// Those that were asked again because they had been cut off, and with which `max_tokens`.
    pub asked_again: Option<(u64, u32)>,
    /// From the job's creation to its end.
    pub duration: Span,
    /// Time left at the end, negative if the deadline was missed; `None` without a deadline.
    pub spare: Option<Span>,
    /// Why it stopped early, if it did.
    pub stopped: Option<String>,
    /// Batches that were paid for and answer no row, and their cost, on top of the tally's.
    pub waste: (u64, Usd),
    /// With the simulator: what the upstream says it billed.
    pub upstream_bill: Option<Usd>,
    /// Some failures, in words.
    pub examples: Vec<String>,
    /// The answers' file.
    pub output: Option<String>,
}

/// Rows that were not sent because there was an answer already.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReusedRows {
    /// Those that share the answer of an identical row.
    pub identical: u64,
    /// Those that an earlier run has answered.
    pub earlier_runs: u64,
    /// What their answers cost where they were paid.
    pub saved: Usd,
}

/// The summary at most `width` columns wide.
#[must_use]
pub fn summary_text(summary: &Summary, width: usize) -> String {
    let mut out = heading(summary, width);
    out.push('\n');
    out.push_str(&rows_table(summary, width));
    for example in &summary.examples {
        out.push_str(&listed("e.g. ", example, 2, width));
    }
    out.push('\n');
    out.push_str(&cost_table(&summary.tally, width));
    out.push('\n');
    if let Some(billed) = summary.upstream_bill {
        out.push_str(&check_table(summary, billed, width));
        out.push('\n');
    }
    for (label, text) in facts(summary) {
        out.push_str(&listed(
            &format!("{:<8}", format!("{label}:")),
            &text,
            0,
            width,
        ));
    }
    out
}

fn heading(summary: &Summary, width: usize) -> String {
    let Summary {
        name,
        job,
        route,
        duration,
        ..
    } = summary;
    let text = match &summary.stopped {
        None if summary.rows > 0 && summary.rows == summary.reused.earlier_runs => {
            format!("{name} (job {job}) finished after {duration}; nothing had to be sent.")
        }
        None => format!("{name} (job {job}) finished after {duration}, planned as {route}."),
        Some(why) => format!("{name} (job {job}) stopped after {duration}: {why}"),
    };
    paragraph(&text, 0, width)
}

fn rows_table(summary: &Summary, width: usize) -> String {
    let columns = [
        ("Rows", Align::Left),
        ("Number", Align::Right),
        ("Share", Align::Right),
        ("", Align::Left),
    ];
    let line = |name: &str, rows: u64, meaning: &str| {
        let part = percent(rows, summary.rows);
        vec![name.to_owned(), count(rows), part, meaning.to_owned()]
    };
    let outcomes = &summary.tally.outcomes;
    let mut rows = vec![line("in the input", summary.rows, "")];
    for (class, number) in outcomes.iter() {
        rows.push(line(
            &class.as_str().replace('_', " "),
            number,
            meaning(class),
        ));
    }
    if outcomes.of(OutcomeClass::Succeeded) == 0 {
        rows.insert(1, line("succeeded", 0, ""));
    }
    let open = summary.rows.saturating_sub(outcomes.total());
    if open > 0 {
        rows.push(line(
            "open",
            open,
            "no outcome yet; the same command goes on with them",
        ));
    }
    table(&columns, rows, width)
}

fn meaning(class: OutcomeClass) -> &'static str {
    match class {
        OutcomeClass::Succeeded => "answered",
        OutcomeClass::Truncated => "answer cut off at `max_tokens`",
        OutcomeClass::Refused => "the model declined to answer",
        OutcomeClass::Paused => "the model paused for the caller to go on",
        OutcomeClass::Errored => "rejected; another try would not help",
        OutcomeClass::Exhausted => "failed every try",
        OutcomeClass::Expired => "not processed within a batch's 24 hours; not billed",
        OutcomeClass::Canceled => "cancelled before it was processed; not billed",
        OutcomeClass::Invalid => "not a valid request; never sent",
        OutcomeClass::ResultUnreadable => "billed, but the answer cannot be read",
    }
}

fn cost_table(tally: &Tally, width: usize) -> String {
    if [tally.naive, tally.plain_batch, tally.cost]
        .iter()
        .all(|amount| *amount == Usd::ZERO)
    {
        return paragraph("Nothing was billed.", 0, width);
    }
    let columns = [
        ("Cost of the same answers", Align::Left),
        ("US dollars", Align::Right),
        ("This run saves", Align::Right),
        ("Share", Align::Right),
    ];
    let cost = tally.cost;
    let digits = decimals(tally.naive.max(tally.plain_batch).max(cost));
    let line = |name: &str, baseline: Usd| {
        let saved = baseline - cost;
        let part = saved
            .ratio_to(baseline)
            .map_or_else(|| "–".to_owned(), share);
        vec![
            name.to_owned(),
            dollars(baseline, digits),
            dollars(saved, digits),
            part,
        ]
    };
    let rows = vec![
        line("sent one by one, without cache", tally.naive),
        line("in a batch, without cache", tally.plain_batch),
        vec![
            "this run".to_owned(),
            dollars(cost, digits),
            String::new(),
            String::new(),
        ],
    ];
    table(&columns, rows, width)
}

fn check_table(summary: &Summary, billed: Usd, width: usize) -> String {
    let (tally, waste) = (&summary.tally, summary.waste.1);
    let columns = [
        ("Check against the simulator", Align::Left),
        ("US dollars", Align::Right),
        ("", Align::Left),
    ];
    let residual = billed - tally.cost - waste;
    let verdict = if residual == Usd::ZERO {
        "equal to the last digit".to_owned()
    } else if residual > Usd::ZERO && residual <= tally.unknown {
        "explained by the calls whose answers were lost".to_owned()
    } else {
        format!(
            "NOT EXPLAINED ({} exactly); this is a bug, please report it",
            residual.to_decimal()
        )
    };
    let line = |name: &str, amount: Usd, note: &str| {
        vec![name.to_owned(), dollars(amount, 6), note.to_owned()]
    };
    let mut rows = vec![
        line("the simulator's own bill", billed, ""),
        line("this run", tally.cost, ""),
        line("difference", residual, &verdict),
    ];
    if waste > Usd::ZERO {
        rows.insert(2, line("batches that answer no row", waste, ""));
    }
    if tally.unknown > Usd::ZERO {
        rows.push(line("held for lost answers", tally.unknown, "at most"));
    }
    table(&columns, rows, width)
}

fn facts(summary: &Summary) -> Vec<(&'static str, String)> {
    let tally = &summary.tally;
    let mut facts = Vec::new();
    let prompt = tally.input_tokens + tally.cache_read_tokens + tally.cache_write_tokens;
    if prompt > 0 {
        let text = format!(
            "{} of the {} prompt tokens were read from the cache, {} written to it.",
            percent(tally.cache_read_tokens, prompt),
            count(prompt),
            count(tally.cache_write_tokens)
        );
        facts.push(("Cache", text));
    }
    let ReusedRows {
        identical,
        earlier_runs,
        saved,
    } = summary.reused;
    let unsent = tally.outcomes.of(OutcomeClass::Invalid) + identical + earlier_runs;
    let sent = summary.rows.saturating_sub(unsent);
    facts.push((
        "Tries",
        format!("{} for {}.", count(tally.attempts), counted(sent, "row")),
    ));
    let mut reused = Vec::new();
    if identical > 0 {
        let verb = if identical == 1 { "shares" } else { "share" };
        let rows = counted(identical, "row");
        reused.push(format!("{rows} {verb} the answer of an identical one"));
    }
    if earlier_runs > 0 {
        let rows = counted(earlier_runs, "row");
        let verb = if earlier_runs == 1 { "was" } else { "were" };
        // Of such a run, how a row ended need not have been an answer.
        let settled = match summary.asked_again {
            Some(_) => "settled",
            None => "answered",
        };
        reused.push(format!("{rows} {verb} {settled} by earlier runs"));
    }
    if !reused.is_empty() {
        let saved = match saved {
            Usd::ZERO => String::new(),
            saved => format!(": that saved {}", dollars(saved, decimals(saved))),
        };
        facts.push(("Reused", format!("{}{saved}.", reused.join(", "))));
    }
    if let Some((rows, max_tokens)) = summary.asked_again {
        let (verb, rows) = (if rows == 1 { "was" } else { "were" }, counted(rows, "row"));
        let with = count(max_tokens.into());
        let text =
            format!("{rows} that had been cut off {verb} asked again with `max_tokens` {with}.");
        facts.push(("Again", text));
    }
    let time = match summary.spare {
        None => format!("{}; there was no deadline.", summary.duration),
        Some(spare) if spare < Span::ZERO => {
            format!(
                "{}; the deadline was missed by {}.",
                summary.duration, -spare
            )
        }
        Some(spare) => format!("{}; {spare} before the deadline.", summary.duration),
    };
    facts.push(("Time", time));
    if tally.unknown_calls > 0 {
        let text = format!(
            "The answers of {} never came. They may have been billed: up to {} more than shown.",
            counted(tally.unknown_calls, "call"),
            tally.unknown
        );
        facts.push(("Lost", text));
    }
    let (batches, waste) = summary.waste;
    if batches > 0 {
        let text = format!(
            "{} {}: {waste} on top. The manifest says which.",
            count(batches),
            if batches == 1 {
                "batch of this job was paid for and answers no row"
            } else {
                "batches of this job were paid for and answer no row"
            }
        );
        facts.push(("Waste", text));
    }
    if let Some(output) = &summary.output {
        facts.push(("Output", output.clone()));
    }
    facts
}
