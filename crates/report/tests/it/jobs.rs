//! The list of jobs.

use offpeak_core::job::shard::JobId;
use offpeak_report::{JobLine, jobs_text};

use crate::{at_both_widths, job, usd};

#[test]
fn some_jobs_and_none() {
    let speeches = JobLine {
        id: job(),
        name: "speeches".to_owned(),
        state: "running".to_owned(),
        rows: 4_133,
        done: 1_200,
        cost: usd("0.1234567"),
        created: "2026-11-22T08:30:12Z".parse().unwrap(),
    };
    let tickets = JobLine {
        id: JobId::parse("aaaaaaaaaa").unwrap(),
        name: "support-tickets-2026-q3".to_owned(),
        state: "stopped: budget".to_owned(),
        rows: 1_250_000,
        done: 1_249_999,
        cost: usd("812.5"),
        created: "2026-11-20T23:59:59Z".parse().unwrap(),
    };
    insta::assert_snapshot!(at_both_widths(|width| jobs_text(
        &[speeches.clone(), tickets.clone()],
        width
    )));
    insta::assert_snapshot!(jobs_text(&[], 80), @"There are no jobs yet. `offpeak run INPUT` starts one.");
}
