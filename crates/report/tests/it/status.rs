//! A job under way.

use offpeak_core::job::outcome::{OutcomeClass, Outcomes, Tally};
use offpeak_core::plan::Route;
use offpeak_core::units::Span;
use offpeak_report::{ShardCount, StatusView, status_text};

use crate::{at_both_widths, job, usd};

#[test]
fn a_job_under_way() {
    let mut outcomes = Outcomes::default();
    for _ in 0..1_200 {
        outcomes.count(OutcomeClass::Succeeded);
    }
    let shard = |state: &str, shards, rows| ShardCount {
        state: state.to_owned(),
        shards,
        rows,
    };
    let view = StatusView {
        name: "speeches".to_owned(),
        job: job(),
        state: "running".to_owned(),
        route: Route::BatchCache,
        rows: 4_133,
        shards: vec![
            shard("planned", 1, 933),
            shard("unknown", 1, 1_000),
            shard("in_progress", 1, 1_000),
            shard("settled", 2, 1_200),
        ],
        tally: Tally {
            outcomes,
            cost: usd("0.1234567"),
            unknown: usd("0.002"),
            unknown_calls: 1,
            ..Tally::default()
        },
        held: usd("3.7"),
        budget: Some(usd("5")),
        elapsed: Span::from_secs(4_000),
        slack: Some(Span::from_secs(24_800)),
    };
    insta::assert_snapshot!(at_both_widths(|width| status_text(&view, width)));
}
