//! The table of `offpeak jobs`.

use offpeak_core::job::shard::JobId;
use offpeak_core::units::{Timestamp, Usd};

use crate::figures::{count, decimals, dollars, minute, percent};
use crate::layout::{Align, paragraph, table};

/// One job of the list.
#[derive(Debug, Clone)]
pub struct JobLine {
    /// The job.
    pub id: JobId,
    /// Its name.
    pub name: String,
    /// Where it stands, in a word or two: `running`, `finished`, `stopped: budget`.
    pub state: String,
    /// Rows of its input.
    pub rows: u64,
    /// Rows with an outcome.
    pub done: u64,
    /// What was billed so far.
    pub cost: Usd,
    /// When it was started.
    pub created: Timestamp,
}

/// The jobs, in the order given, at most `width` columns wide.
#[must_use]
pub fn jobs_text(jobs: &[JobLine], width: usize) -> String {
    if jobs.is_empty() {
        return paragraph(
            "There are no jobs yet. `offpeak run INPUT` starts one.",
            0,
            width,
        );
    }
    let columns = [
        ("Job", Align::Left),
        ("Name", Align::Left),
        ("State", Align::Left),
        ("Rows", Align::Right),
        ("Done", Align::Right),
        ("Billed", Align::Right),
        ("Started (UTC)", Align::Left),
    ];
    let digits = decimals(jobs.iter().map(|job| job.cost).max().unwrap_or_default());
    let rows = jobs.iter().map(|job| {
        vec![
            job.id.to_string(),
            job.name.clone(),
            job.state.clone(),
            count(job.rows),
            percent(job.done, job.rows),
            dollars(job.cost, digits),
            minute(job.created),
        ]
    });
    table(&columns, rows.collect(), width)
}
