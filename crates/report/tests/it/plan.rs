//! The plan screen: each decision that a newcomer should be able to follow.

use offpeak_core::plan::lint::{Looks, Part, Place, Warning};
use offpeak_core::plan::{Evidence, GroupProfile, Limits, Need, Plan, Sums, Workload, decide};
use offpeak_core::price::{Book, Ceiling, Lane};
use offpeak_core::units::{Span, Timestamp};
use offpeak_report::{PlanContext, plan_text};
use offpeak_wire::request::Ttl;

use crate::{at_both_widths, usd};

fn now() -> Timestamp {
    Timestamp::of_day("2026-11-22").unwrap()
}

fn group(id: u32, model: &str, rows: u64, prefix_bytes: u64) -> GroupProfile {
    let ceiling = Ceiling {
        input_bytes: prefix_bytes + 1_050,
        max_tokens: 400,
        marked: Some(Ttl::OneHour),
        has_tools: false,
        global_pinned: false,
        fast: false,
    };
    let worst = Book::embedded()
        .worst_case(now(), Lane::Sync, model, &ceiling)
        .unwrap();
    GroupProfile {
        id,
        parent: None,
        model: model.to_owned(),
        prefix_bytes,
        caller_marked: false,
        has_tools: false,
        sums: Sums {
            rows,
            request_bytes: rows * ceiling.input_bytes,
            max_tokens: rows * ceiling.max_tokens,
            worst: worst.times(rows),
        },
    }
}

fn plan(groups: Vec<GroupProfile>, need: Need) -> Plan {
    limited(groups, need, Limits::default())
}

fn limited(groups: Vec<GroupProfile>, need: Need, limits: Limits) -> Plan {
    let mut models: Vec<String> = groups.iter().map(|group| group.model.clone()).collect();
    models.dedup();
    let rows = groups.iter().map(|group| group.sums.rows).sum();
    let workload = Workload {
        rows,
        ungrouped: Sums::default(),
        groups,
        need,
        models,
        limits,
        evidence: Evidence::default(),
    };
    decide(&workload, Book::embedded(), now()).unwrap()
}

fn within(secs: i64) -> Need {
    Need::By {
        slack: Span::from_secs(secs),
    }
}

fn text(plan: &Plan, context: &PlanContext) -> String {
    at_both_widths(|width| plan_text(plan, context, width))
}

fn named(name: &str) -> PlanContext {
    PlanContext {
        name: name.to_owned(),
        ..PlanContext::default()
    }
}

#[test]
fn a_night_and_a_long_preamble() {
    let budget = Limits {
        budget: Some(usd("5")),
        ..Limits::default()
    };
    let plan = limited(
        vec![group(0, "claude-haiku-5-5", 4_133, 15_586)],
        within(28_800),
        budget,
    );
    let context = PlanContext {
        invalid: 2,
        delete_upstream: true,
        ..named("speeches")
    };
    insta::assert_snapshot!(text(&plan, &context));
}

#[test]
fn awaited_answers() {
    let plan = plan(
        vec![group(0, "claude-sonnet-5-5", 40, 9_000)],
        Need::Seconds,
    );
    insta::assert_snapshot!(text(&plan, &named("chat")));
}

#[test]
fn a_preamble_that_is_too_short() {
    let plan = plan(
        vec![group(0, "claude-opus-4-6", 900, 6_000)],
        Need::Whenever,
    );
    insta::assert_snapshot!(text(&plan, &named("tickets")));
}

#[test]
fn time_for_one_batch_but_not_for_two() {
    let groups = vec![
        group(0, "claude-opus-5", 300, 60_000),
        group(1, "claude-haiku-5-5", 200, 3_000),
        group(2, "claude-haiku-5-5", 2, 900),
    ];
    insta::assert_snapshot!(text(&plan(groups, within(5_400)), &named("mixed")));
}

#[test]
fn too_many_rows_for_the_time() {
    let plan = plan(
        vec![group(0, "claude-haiku-5-5", 120_000, 200)],
        within(7_200),
    );
    insta::assert_snapshot!(text(&plan, &named("archive")));
}

#[test]
fn nothing_may_be_kept_upstream() {
    let retention = Limits {
        budget: Some(usd("0.2")),
        zero_data_retention: true,
    };
    let groups = vec![group(0, "claude-haiku-5-5", 4_133, 15_586)];
    insta::assert_snapshot!(text(
        &limited(groups, Need::Whenever, retention),
        &named("patients")
    ));
}

#[test]
fn documents_under_common_instructions() {
    let instructions = group(0, "claude-sonnet-5-5", 40, 8_000);
    let document = |id, rows| GroupProfile {
        parent: Some(0),
        ..group(id, "claude-sonnet-5-5", rows, 60_000)
    };
    let groups = vec![
        instructions,
        document(1, 12),
        document(2, 9),
        document(3, 2),
    ];
    insta::assert_snapshot!(text(&plan(groups, within(86_400)), &named("contracts")));
}

#[test]
fn warnings_before_anything_is_paid() {
    let place = |line, excerpt: &str| Place {
        line,
        byte: 21,
        excerpt: excerpt.to_owned(),
    };
    let changing = Warning::ChangingBeforeStable {
        part: Part::System,
        looks: Looks::Time,
        at: [
            place(4, "\"It is 2026-11-26T08:03Z. Answer"),
            place(11, "\"It is 2026-11-26T08:10Z. Answer"),
        ],
        stable_tokens: 2_388,
        saves: 0.4478,
    };
    let written = Warning::JsonWrittenOtherwise {
        part: Part::Tools,
        at: [
            place(2, "{\"name\":\"find\",\"inpu"),
            place(9, "{\"input_schema\":{},\"n"),
        ],
    };
    let context = PlanContext {
        warnings: vec![
            changing,
            Warning::MarkOnChanging {
                part: Part::Messages,
                lines: [4, 11],
                costs: 0.1225,
            },
            Warning::ToolOrder {
                lines: [4, 17],
                tools: 12,
            },
            written,
            Warning::JustOverStep {
                model: "claude-haiku-5-5".to_owned(),
                step: 100_000,
                rows: 7,
                sampled: 64,
                line: 31,
            },
        ],
        ..named("tickets")
    };
    let plan = plan(
        vec![group(0, "claude-haiku-5-5", 200, 9_000)],
        Need::Whenever,
    );
    insta::assert_snapshot!(text(&plan, &context));
}
