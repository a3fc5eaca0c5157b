//! Laws and examples of the whole decision, over the embedded price book.

use offpeak_wire::request::Ttl;
use proptest::prelude::*;

use crate::price::Book;
use crate::units::{Span, Timestamp, Usd};

use super::*;

fn now() -> Timestamp {
    Timestamp::of_day("2026-11-22").unwrap()
}

fn plan(workload: &Workload) -> Plan {
    decide(workload, Book::embedded(), now()).unwrap()
}

fn hours(hours: i64) -> Need {
    Need::By {
        slack: Span::from_secs(3_600 * hours),
    }
}

/// `rows` calls with a preamble of `prefix_bytes`, 800 bytes of their own and 400 tokens to answer.
fn group(id: u32, model: &str, rows: u64, prefix_bytes: u64) -> GroupProfile {
    GroupProfile {
        id,
        parent: None,
        model: model.to_owned(),
        prefix_bytes,
        caller_marked: false,
        has_tools: false,
        sums: Sums {
            rows,
            request_bytes: rows * (prefix_bytes + 800),
            max_tokens: rows * 400,
            worst: Usd::from_pico(3_000_000_001).times(rows),
        },
    }
}

fn workload(groups: Vec<GroupProfile>, need: Need) -> Workload {
    let mut models: Vec<String> = groups.iter().map(|group| group.model.clone()).collect();
    models.sort();
    models.dedup();
    let rows = groups.iter().map(|group| group.sums.rows).sum();
    Workload {
        rows,
        ungrouped: Sums::default(),
        groups,
        need,
        models,
        limits: Limits::default(),
        evidence: Evidence::default(),
    }
}

const HAIKU: &str = "claude-haiku-5-5";

#[test]
fn a_long_shared_preamble_and_a_night_give_batch_and_cache_behind_a_canary() {
    let plan = plan(&workload(vec![group(7, HAIKU, 4_133, 15_586)], hours(8)));
    assert_eq!(plan.route, Route::BatchCache);
    assert_eq!(
        plan.groups,
        [GroupPlan {
            id: 7,
            mark: Some(Ttl::OneHour),
            canary: true
        }]
    );
    let answers: Vec<_> = plan.reasons.iter().map(|reason| reason.answer).collect();
    assert_eq!(answers, [Answer::No, Answer::Yes, Answer::Yes]);
    let Sensitivity::HitRate { threshold, .. } = &plan.sensitivity[0] else {
        panic!("{:?}", plan.sensitivity);
    };
    assert_eq!(threshold.to_string(), "52.6%");
}

#[test]
fn an_awaited_answer_goes_sync_and_reads_five_minute_entries() {
    let plan = plan(&workload(vec![group(0, HAIKU, 2, 15_586)], Need::Seconds));
    assert_eq!(plan.route, Route::SyncCache);
    assert_eq!(
        plan.groups,
        [GroupPlan {
            id: 0,
            mark: Some(Ttl::FiveMinutes),
            canary: false
        }]
    );
}

#[test]
fn two_calls_pay_a_five_minute_mark_but_not_an_hour() {
    for (rows, route) in [(2, Route::Batch), (3, Route::BatchCache)] {
        let plan = plan(&workload(
            vec![group(0, HAIKU, rows, 15_586)],
            Need::Whenever,
        ));
        assert_eq!(plan.route, route, "{rows} rows");
    }
    let alone = plan(&workload(vec![group(0, HAIKU, 1, 15_586)], Need::Seconds));
    assert_eq!(alone.route, Route::Sync);
}

#[test]
fn a_short_preamble_is_told_what_it_misses() {
    // 1,240 bytes are about 400 tokens (260 to 540); the model caches from 512 on.
    let plan = plan(&workload(vec![group(0, HAIKU, 500, 1_240)], Need::Whenever));
    assert_eq!(plan.route, Route::Batch);
    let reason = plan.reasons.last().unwrap();
    assert_eq!(reason.answer, Answer::ProbablyNot);
    let Because::TooShort { missing_tokens, .. } = &reason.because else {
        panic!("{reason}");
    };
    assert_eq!(*missing_tokens, 112);
}

#[test]
fn an_uncertain_length_is_cached_and_said_to_be_uncertain() {
    // 2,170 bytes are about 700 tokens (455 to 945).
    let plan = plan(&workload(vec![group(0, HAIKU, 500, 2_170)], Need::Whenever));
    assert_eq!(plan.route, Route::BatchCache);
    assert_eq!(plan.reasons[1].answer, Answer::Probably);
}

#[test]
fn between_one_batch_and_two_the_cheaper_of_cold_batch_and_warm_sync_wins() {
    let between = Need::By {
        slack: Span::from_secs(5_400),
    };
    let long = plan(&workload(vec![group(0, HAIKU, 100, 200_000)], between));
    assert_eq!(long.route, Route::SyncCache);
    assert!(
        long.reasons
            .iter()
            .any(|r| matches!(r.because, Because::SyncCacheCheaper { .. }))
    );
    let short = plan(&workload(vec![group(0, HAIKU, 100, 2_500)], between));
    assert_eq!(short.route, Route::Batch);
    assert_eq!(
        short.groups,
        [GroupPlan {
            id: 0,
            mark: None,
            canary: false
        }]
    );
    assert_eq!(
        short.cost_of(Route::BatchCache).barred,
        Some(Barred::NoTimeForCanary)
    );
}

#[test]
fn callers_keep_their_marks_and_get_a_canary() {
    let mut marked = group(0, HAIKU, 100, 20_000);
    marked.caller_marked = true;
    let plan_it = |need| plan(&workload(vec![marked.clone()], need));
    let night = plan_it(hours(8));
    assert_eq!(night.route, Route::BatchCache);
    assert_eq!(
        night.groups,
        [GroupPlan {
            id: 0,
            mark: None,
            canary: true
        }]
    );
    assert_eq!(
        night.cost_of(Route::Batch).barred,
        Some(Barred::CallerMarks)
    );
    // Cold, every row of the batch would write what a synchronous call reads.
    let between = plan_it(Need::By {
        slack: Span::from_secs(5_400),
    });
    assert_eq!(between.route, Route::SyncCache);
}

#[test]
fn a_model_without_batches_goes_sync_and_says_so() {
    let over = "
        as_of = \"2026-11-22\"
        [[model]]
        id = \"house-model\"
        family = \"house\"
        status = \"active\"
        min_cacheable_tokens = 1024
        batch = false
        us_geo = false
        hidden_tool_tokens = 0
        as_of = \"2026-11-22\"
        source = [\"https://example.com\"]
        [[model.price]]
        input = \"3\"
        write_5m = \"3.75\"
        write_1h = \"6\"
        read = \"0.30\"
        output = \"15\"
    ";
    let book = Book::embedded()
        .overlaid(Book::parse(over, "house.toml").unwrap())
        .unwrap();
    let workload = workload(vec![group(0, "house-model", 10, 20_000)], Need::Whenever);
    let plan = decide(&workload, &book, now()).unwrap();
    assert_eq!(plan.route, Route::SyncCache);
    assert!(
        plan.reasons[1]
            .to_string()
            .contains("`house-model` cannot be batched")
    );
    assert_eq!(plan.cost_of(Route::Batch).cost, None);
    assert_eq!(plan.worst, plan.hedge_worst);
}

#[test]
fn what_has_no_price_or_no_rows_has_no_plan() {
    let unknown = workload(vec![group(0, "claude-haiku-9", 1, 0)], Need::Whenever);
    assert!(matches!(
        decide(&unknown, Book::embedded(), now()),
        Err(PlanError::Price(_))
    ));
    let empty = workload(Vec::new(), Need::Whenever);
    assert_eq!(
        decide(&empty, Book::embedded(), now()),
        Err(PlanError::NoRows)
    );
    let late = workload(
        vec![group(0, HAIKU, 1, 0)],
        Need::By {
            slack: Span::from_secs(-60),
        },
    );
    let ago = Span::from_secs(60);
    assert_eq!(
        decide(&late, Book::embedded(), now()),
        Err(PlanError::DeadlinePassed { ago })
    );
}

#[test]
fn json_labels_money_and_estimates() {
    let plan = plan(&workload(vec![group(0, HAIKU, 100, 15_586)], hours(8)));
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["route"], "batch+cache");
    assert_eq!(json["hedge_worst_picousd"], "300000000100");
    assert_eq!(json["worst_picousd"], "150000000050");
    assert_eq!(json["costs"][7]["marks"], "1h");
    assert_eq!(json["costs"][7]["warming"], "canary");
    assert!(json["costs"][7]["cost_usd_estimate"]["mid"].is_f64());
    assert_eq!(json["groups"][0]["mark"], "1h");
    assert_eq!(json["reasons"][0]["because"]["kind"], "time_for_batch");
    assert_eq!(
        json["reasons"][0]["because"]["slack_us"],
        28_800_000_000_i64
    );
}

fn any_need() -> impl Strategy<Value = Need> {
    prop_oneof![
        Just(Need::Seconds),
        Just(Need::Whenever),
        (1i64..20_000).prop_map(|secs| Need::By {
            slack: Span::from_secs(secs)
        }),
    ]
}

fn any_group() -> impl Strategy<Value = GroupProfile> {
    let model = prop_oneof![
        Just(HAIKU),
        Just("claude-opus-5"),
        Just("claude-opus-4-6"),
        Just("claude-sonnet-5-5"),
    ];
    (
        any::<u32>(),
        model,
        1u64..3_000,
        0u64..400_000,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(id, model, rows, prefix_bytes, caller_marked, has_tools)| GroupProfile {
                caller_marked,
                has_tools,
                ..group(id, model, rows, prefix_bytes)
            },
        )
}

fn any_workload() -> impl Strategy<Value = Workload> {
    (
        prop::collection::vec(any_group(), 1..5),
        0u64..100,
        any_need(),
    )
        .prop_map(|(groups, loose, need)| {
            let mut workload = workload(groups, need);
            workload.ungrouped = group(0, HAIKU, loose, 0).sums;
            workload.rows += loose;
            workload
        })
}

fn no_more(cost: f64, than: f64) -> bool {
    cost <= than * (1.0 + 1e-12)
}

proptest! {
    #[test]
    fn the_chosen_route_is_allowed_and_none_that_is_allowed_is_cheaper(workload in any_workload()) {
        let plan = plan(&workload);
        let chosen = plan.cost_of(plan.route);
        prop_assert_eq!(&chosen.barred, &None);
        let cost = chosen.cost.unwrap();
        for other in plan.costs.iter().filter(|route| route.barred.is_none()) {
            prop_assert!(
                no_more(cost.mid, other.cost.unwrap().mid),
                "{} at {} beaten by {:?}", plan.route, cost, other
            );
        }
    }

    #[test]
    fn without_marks_a_batch_costs_exactly_half(workload in any_workload()) {
        let plan = plan(&workload);
        let sync = plan.cost_of(Route::Sync).cost.unwrap();
        prop_assert_eq!(plan.cost_of(Route::Batch).cost.unwrap(), sync.scale(0.5));
        let half = plan.hedge_worst.pico() / 2;
        prop_assert_eq!(plan.hedge_worst, workload.sums().worst);
        if plan.route.lane() == crate::price::Lane::Batch {
            let rounding = plan.worst.pico() - half;
            prop_assert!((0..=5).contains(&rounding), "{} {}", plan.worst, plan.hedge_worst);
        }
    }

    #[test]
    fn with_the_same_marks_a_batch_costs_exactly_half(
        calls in 1u64..100_000, prefix in 0u64..1_000_000, writes in 0u64..100_000,
    ) {
        let model = Book::embedded().model("claude-opus-5-5").unwrap();
        let rates = |lane| model.rates(now(), crate::price::Mode::plain(lane)).unwrap();
        let load = Load { calls, prefix: prefix as f64, suffix: 700.0, output: 300.0 };
        let caching = Caching::Marked { ttl: Ttl::OneHour, writes };
        let sync = route_cost(&load, &rates(crate::price::Lane::Sync), caching).total();
        let batch = route_cost(&load, &rates(crate::price::Lane::Batch), caching).total();
        prop_assert_eq!(batch, sync / 2.0);
    }

    #[test]
    fn estimates_are_ordered_and_marks_are_on_one_lane(workload in any_workload()) {
        let plan = plan(&workload);
        for route in &plan.costs {
            let cost = route.cost.unwrap();
            prop_assert!(cost.low <= cost.mid && cost.mid <= cost.high, "{:?}", route);
        }
        for (group, profile) in plan.groups.iter().zip(&workload.groups) {
            prop_assert!(!(profile.caller_marked && group.mark.is_some()));
            match plan.route {
                Route::BatchCache => prop_assert!(group.mark != Some(Ttl::FiveMinutes)),
                _ => prop_assert!(group.mark != Some(Ttl::OneHour) && !group.canary),
            }
        }
    }

    #[test]
    fn more_rows_never_raise_the_cost_of_a_row(
        rows in 1u64..5_000, more in 1u64..5_000, prefix in 0u64..200_000,
    ) {
        let per_row = |rows: u64| {
            let plan = plan(&workload(vec![group(0, HAIKU, rows, prefix)], Need::Whenever));
            plan.cost_of(Route::BatchCache).cost.unwrap().mid / rows as f64
        };
        prop_assert!(no_more(per_row(rows + more), per_row(rows)));
    }

    #[test]
    fn more_time_never_costs_more(workload in any_workload(), sooner in 1i64..20_000, more in 1i64..20_000) {
        let cost = |need| {
            let plan = plan(&Workload { need, ..workload.clone() });
            plan.cost_of(plan.route).cost.unwrap().mid
        };
        let by = |secs| cost(Need::By { slack: Span::from_secs(secs) });
        prop_assert!(no_more(by(sooner), cost(Need::Seconds)));
        prop_assert!(no_more(by(sooner + more), by(sooner)));
        prop_assert!(no_more(cost(Need::Whenever), by(sooner + more)));
    }
}
