//! The table of `offpeak purge`.

use offpeak_core::job::shard::JobId;
use offpeak_core::units::Timestamp;

use crate::figures::{count, counted, minute};
use crate::layout::{Align, paragraph, table};

/// One job whose requests and answers go.
#[derive(Debug, Clone)]
pub struct PurgeLine {
    /// The job.
    pub id: JobId,
    /// Its name.
    pub name: String,
    /// Which run of that name.
    pub run: u32,
    /// When it came to its end.
    pub ended: Timestamp,
    /// Files that go.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What goes and what that frees, at most `width` columns wide.
#[must_use]
pub fn purge_text(lines: &[PurgeLine], width: usize) -> String {
    if lines.is_empty() {
        let nothing = "There is nothing to purge. `offpeak purge JOB` removes the requests and answers \
                       of a finished job, `--older-than 30d` those of all that ended so long ago.";
        return paragraph(nothing, 0, width);
    }
    let columns = [
        ("Job", Align::Left),
        ("Name", Align::Left),
        ("Run", Align::Right),
        ("Ended (UTC)", Align::Left),
        ("Files", Align::Right),
        ("Bytes", Align::Right),
    ];
    let rows = lines.iter().map(|line| {
        vec![
            line.id.to_string(),
            line.name.clone(),
            line.run.to_string(),
            minute(line.ended),
            count(line.files),
            count(line.bytes),
        ]
    });
    let mut out = table(&columns, rows.collect(), width);
    let bytes = lines.iter().map(|line| line.bytes).sum();
    let all = u64::try_from(lines.len()).unwrap_or(u64::MAX);
    let sum = format!(
        "{} bytes of requests and answers of {}. The store, the ledger and the manifests stay, and so do \
         the outputs.",
        count(bytes),
        counted(all, "run")
    );
    out.push('\n');
    out.push_str(&paragraph(&sum, 0, width));
    out
}
