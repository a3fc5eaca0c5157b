//! What people read, as snapshots at 80 and 100 columns.
#![expect(
    clippy::unwrap_used,
    reason = "a test may fail by panicking, and so may what it calls"
)]

mod jobs;
mod plan;
mod prices;
mod reconcile;
mod replay;
mod status;
mod summary;

use offpeak_core::job::shard::JobId;
use offpeak_core::units::Usd;

fn job() -> JobId {
    JobId::parse("k3x7q2mzab").unwrap()
}

fn usd(text: &str) -> Usd {
    text.parse().unwrap()
}

/// Both widths of one text, checked for overlong lines and trailing spaces.
fn at_both_widths(text: impl Fn(usize) -> String) -> String {
    let mut out = String::new();
    for width in [80, 100] {
        let text = text(width);
        for line in text.lines() {
            assert!(line.chars().count() <= width, "wider than {width}: {line}");
            assert_eq!(line, line.trim_end(), "trailing space");
        }
        assert!(text.ends_with('\n') && !text.ends_with("\n\n"));
        out.push_str(&format!("{}\n{text}", "·".repeat(width)));
    }
    out
}
