//! The text of `offpeak status`: where a job's rows are, and its money.

use offpeak_core::job::outcome::Tally;
use offpeak_core::job::shard::JobId;
use offpeak_core::job::unmark::{Unmarked, UnmarkedSum};
use offpeak_core::plan::Route;
use offpeak_core::units::{Span, Usd};

use crate::figures::{count, counted, decimals, dollars, percent};
use crate::layout::{Align, paragraph, table};

/// A job, seen from outside.
#[derive(Debug, Clone)]
pub struct StatusView {
    /// Its name.
    pub name: String,
    /// The job.
    pub job: JobId,
    /// Where it stands, in a word or two.
    pub state: String,
    /// The planned route.
    pub route: Route,
    /// Groups of calls with the same preamble, those that are marked, those that send a call ahead.
    pub groups: [u64; 3],
    /// What was planned with cache marks and goes without them.
    pub unmarked: Vec<UnmarkedSum>,
    /// Rows of the input.
    pub rows: u64,
    /// Those with an outcome.
    pub done: u64,
    /// Its shards by state, in the order of a shard's life.
    pub shards: Vec<ShardCount>,
    /// What the settled rows came to.
    pub tally: Tally,
    /// Most that the rows under way can cost.
    pub held: Usd,
    /// Billed for batches that answer no row.
    pub waste: Usd,
    /// When its requests and answers were purged, RFC 3339, if they were.
    pub purged_at: Option<String>,
    /// The most that the job may spend.
    pub budget: Option<Usd>,
    /// What it should cost.
    pub soft_budget: Option<Usd>,
    /// It waits for room in the upstream's queue.
    pub waits: Option<Waits>,
    /// Since its creation.
    pub elapsed: Span,
    /// Time left until the deadline, negative once it has passed; `None` without one.
    pub slack: Option<Span>,
}

/// A job that waits for room in the upstream's queue.
#[derive(Debug, Clone, Copy)]
pub struct Waits {
    /// Rows of the batch that it wants to send.
    pub rows: u64,
    /// Jobs of this data directory that go first.
    pub ahead: u64,
}

/// The shards of one role in one state.
#[derive(Debug, Clone)]
pub struct ShardCount {
    /// `canary`, `bulk` or `leftovers`.
    pub role: &'static str,
    /// The state's tag, as the store keeps it.
    pub state: String,
    /// How many shards.
    pub shards: u64,
    /// Their rows.
    pub rows: u64,
}

/// The status at most `width` columns wide.
#[must_use]
pub fn status_text(view: &StatusView, width: usize) -> String {
    let done = view.done;
    let mut out = paragraph(
        &format!(
            "{} (job {}): {}; {} of {} rows done ({}), planned as {}.{}",
            view.name,
            view.job,
            view.state,
            count(done),
            count(view.rows),
            percent(done, view.rows),
            view.route,
            groups(view)
        ),
        0,
        width,
    );
    if !view.shards.is_empty() {
        out.push('\n');
        out.push_str(&shards_table(view, width));
    }
    if let Some(Waits { rows, ahead }) = view.waits {
        let first = match ahead {
            0 => "no job of this data directory goes first".to_owned(),
            1 => "1 job goes first".to_owned(),
            more => format!("{} jobs go first", count(more)),
        };
        let text = format!(
            "A batch of {} waits for room in the API's queue; {first}.",
            counted(rows, "row")
        );
        out.push_str(&paragraph(&text, 0, width));
    }
    for line in cache_so_far(view) {
        out.push_str(&paragraph(&line, 0, width));
    }
    out.push('\n');
    out.push_str(&money_table(view, width));
    out.push('\n');
    if let Some(at) = &view.purged_at {
        let text = format!("Its requests and answers were purged on {at}.");
        out.push_str(&paragraph(&text, 0, width));
    }
    out.push_str(&paragraph(&time(view), 0, width));
    out
}

/// What the cache is to do.
fn groups(view: &StatusView) -> String {
    let [all, marked, canaries] = view.groups;
    if marked == 0 && canaries == 0 {
        return String::new();
    }
    let mut text = match (marked, all) {
        (1, 1) => " Its shared preamble is marked for the cache".to_owned(),
        _ => format!(
            " Of {}, {} are marked for the cache",
            counted(all, "preamble"),
            count(marked)
        ),
    };
    if canaries > 0 {
        let verb = if canaries == 1 { "goes" } else { "go" };
        text.push_str(&format!(
            "; {} {verb} ahead as canary",
            counted(canaries, "call")
        ));
    }
    text.push('.');
    text
}

/// Whether marks are read, and what goes without them because they are not.
fn cache_so_far(view: &StatusView) -> Vec<String> {
    let mut lines = Vec::new();
    let (hits, misses) = (view.tally.cache_hits, view.tally.cache_misses);
    if hits + misses > 0 {
        lines.push(format!(
            "Cache so far: of {} that met it, {} read ({}), {} wrote.",
            counted(hits + misses, "answer"),
            count(hits),
            percent(hits, hits + misses),
            count(misses)
        ));
    }
    for sum in &view.unmarked {
        let what = format!(
            "{} ({})",
            counted(sum.shards, "shard"),
            counted(sum.rows, "row")
        );
        lines.push(match sum.why {
            Unmarked::NoHits {
                hits,
                misses,
                needed,
            } => format!(
                "No longer marked: {what}. Of the {} before, {} read their preamble, and marks \
                 pay from {needed} on.",
                counted(hits + misses, "marked row"),
                count(hits)
            ),
            Unmarked::LateCanary => {
                format!("Not marked: {what}. The canary took half of the time that there is.")
            }
            Unmarked::FailedCanary => {
                format!("Not marked: {what}. The canary got no answer.")
            }
        });
    }
    lines
}

fn shards_table(view: &StatusView, width: usize) -> String {
    let columns = [
        ("Shards", Align::Left),
        ("State", Align::Left),
        ("Number", Align::Right),
        ("Rows", Align::Right),
        ("", Align::Left),
    ];
    let rows = view.shards.iter().map(|line| {
        let name = line.state.replace('_', " ");
        vec![
            line.role.to_owned(),
            name,
            count(line.shards),
            count(line.rows),
            meaning(&line.state).to_owned(),
        ]
    });
    table(&columns, rows.collect(), width)
}

fn meaning(tag: &str) -> &'static str {
    match tag {
        "planned" => "not sent yet",
        "submitting" => "being sent",
        "unknown" => "sent, never confirmed; being looked for upstream",
        "in_progress" => "batch at work upstream",
        "canceling" => "batch being cancelled; what it finished is kept",
        "ended" => "batch done; results not fetched yet",
        "collected" => "results fetched; being counted",
        "given_up" => "sent, never confirmed; its rows go one by one for the deadline",
        "running" => "calls being made one by one",
        "settled" => "every row has its outcome or a later shard",
        _ => "",
    }
}

fn money_table(view: &StatusView, width: usize) -> String {
    let columns = [
        ("Money", Align::Left),
        ("US dollars", Align::Right),
        ("", Align::Left),
    ];
    let spent = view.tally.cost;
    let largest = [
        spent,
        view.held,
        view.waste,
        view.tally.unknown,
        view.budget.unwrap_or_default(),
        view.soft_budget.unwrap_or_default(),
    ];
    let digits = decimals(largest.into_iter().max().unwrap_or_default());
    let line = |name: &str, amount: Usd, note: &str| {
        vec![name.to_owned(), dollars(amount, digits), note.to_owned()]
    };
    let mut rows = vec![
        line("billed", spent, "by the answers' own usage"),
        line("held", view.held, "most that the rows under way can cost"),
    ];
    if view.tally.unknown > Usd::ZERO {
        rows.push(line(
            "unknown",
            view.tally.unknown,
            "at most, for calls whose answers were lost",
        ));
    }
    if view.waste > Usd::ZERO {
        let note = "billed for batches that answer no row";
        rows.push(line("waste", view.waste, note));
    }
    if let Some(budget) = view.budget {
        let left = budget - spent - view.held - view.tally.unknown - view.waste;
        rows.push(line("left", left, &format!("of the budget of {budget}")));
    }
    if let Some(soft) = view.soft_budget {
        let left = soft - spent - view.waste;
        rows.push(line(
            "to go",
            left,
            &format!("until the soft line of {soft}"),
        ));
    }
    table(&columns, rows, width)
}

fn time(view: &StatusView) -> String {
    match view.slack {
        None => format!("Started {} ago; there is no deadline.", view.elapsed),
        Some(slack) if slack < Span::ZERO => {
            format!(
                "Started {} ago; the deadline passed {} ago.",
                view.elapsed, -slack
            )
        }
        Some(slack) => format!("Started {} ago; the deadline is in {slack}.", view.elapsed),
    }
}
