//! A job under way.

use offpeak_core::job::outcome::{OutcomeClass, Outcomes, Tally};
use offpeak_core::job::unmark::{Unmarked, UnmarkedSum};
use offpeak_core::plan::{HitRate, Route};
use offpeak_core::units::{Span, Usd};
use offpeak_report::{ShardCount, StatusView, Waits, status_text};

use crate::{at_both_widths, job, usd};

#[test]
fn a_job_under_way() {
    let mut outcomes = Outcomes::default();
    for _ in 0..1_200 {
        outcomes.count(OutcomeClass::Succeeded);
    }
    let shard = |role, state: &str, shards, rows| ShardCount {
        role,
        state: state.to_owned(),
        shards,
        rows,
    };
    let view = StatusView {
        name: "speeches".to_owned(),
        job: job(),
        state: "running".to_owned(),
        route: Route::BatchCache,
        groups: [3, 2, 2],
        unmarked: vec![UnmarkedSum {
            why: Unmarked::NoHits {
                hits: 12,
                misses: 1_187,
                needed: HitRate {
                    part: 10,
                    whole: 19,
                },
            },
            shards: 1,
            rows: 933,
        }],
        rows: 4_133,
        done: 1_200,
        shards: vec![
            shard("canary", "settled", 1, 1),
            shard("bulk", "planned", 1, 933),
            shard("bulk", "unknown", 1, 1_000),
            shard("bulk", "in_progress", 1, 1_000),
            shard("bulk", "settled", 2, 1_199),
            shard("leftovers", "planned", 1, 7),
        ],
        tally: Tally {
            outcomes,
            cost: usd("0.1234567"),
            unknown: usd("0.002"),
            unknown_calls: 1,
            cache_hits: 12,
            cache_misses: 1_188,
            ..Tally::default()
        },
        held: usd("3.7"),
        waste: Usd::ZERO,
        purged_at: None,
        budget: Some(usd("5")),
        soft_budget: Some(usd("2.5")),
        waits: Some(Waits {
            rows: 933,
            ahead: 1,
        }),
        elapsed: Span::from_secs(4_000),
        slack: Some(Span::from_secs(24_800)),
    };
    insta::assert_snapshot!(at_both_widths(|width| status_text(&view, width)));
}
