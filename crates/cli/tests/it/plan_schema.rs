//! `docs/plan.md` against the answers of `offpeak plan --json`: every field that is documented is
//! there, and every field that is there is documented.

use std::collections::BTreeSet;

use offpeak_core::plan::fields::{FieldCosts, FieldsEffect, Reach, Shares};
use offpeak_core::plan::lint::{Looks, Part, Place, Warning};
use offpeak_core::plan::{
    Answer, Because, Evidence, GroupProfile, HitRate, Limits, Need, Plan, Question, Reason, Sums,
    Workload, decide,
};
use offpeak_core::price::Book;
use offpeak_core::units::{Span, Timestamp, Usd};
use serde_json::{Value, json};

use crate::sandbox::{Sandbox, requests};

const HAIKU: &str = "claude-haiku-5-5";

/// A model that cannot be batched, beside those of the book.
const HOUSE: &str = "
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

fn group(model: &str, rows: u64, prefix_bytes: u64) -> GroupProfile {
    GroupProfile {
        id: u32::try_from(rows).unwrap(),
        parent: None,
        model: model.to_owned(),
        prefix_bytes,
        caller_marked: false,
        has_tools: false,
        sums: Sums {
            rows,
            request_bytes: rows * (prefix_bytes + 400),
            max_tokens: rows * 200,
            worst: Usd::from_pico(1_000_000_000).times(rows),
        },
    }
}

fn plan(groups: Vec<GroupProfile>, need: Need, limits: Limits) -> Plan {
    let book = Book::embedded().overlaid(Book::parse(HOUSE, "house.toml").unwrap());
    let mut models: Vec<String> = groups.iter().map(|group| group.model.clone()).collect();
    models.dedup();
    let workload = Workload {
        rows: groups.iter().map(|group| group.sums.rows).sum(),
        ungrouped: Sums::default(),
        groups,
        need,
        models,
        limits,
        evidence: Evidence::default(),
    };
    decide(
        &workload,
        &book.unwrap(),
        Timestamp::of_day("2026-11-22").unwrap(),
    )
    .unwrap()
}

/// Plans that have between them every kind of fact.
fn plans() -> Vec<Plan> {
    let within = |secs| Need::By {
        slack: Span::from_secs(secs),
    };
    let free = Limits::default();
    let limited = Limits {
        budget: "5".parse().ok(),
        zero_data_retention: true,
    };
    let marked = GroupProfile {
        caller_marked: true,
        ..group(HAIKU, 100, 20_000)
    };
    let two = vec![group(HAIKU, 40, 60_000), group("claude-opus-5", 9, 60_000)];
    vec![
        plan(vec![group(HAIKU, 10, 20_000)], within(28_800), limited),
        plan(vec![group(HAIKU, 9, 20_000)], within(28_800), free),
        plan(vec![group(HAIKU, 9, 20_000)], Need::Seconds, free),
        plan(vec![group(HAIKU, 1, 20_000)], Need::Whenever, free),
        plan(vec![group(HAIKU, 2, 20_000)], Need::Whenever, free),
        plan(vec![group(HAIKU, 500, 1_400)], Need::Whenever, free),
        plan(vec![group(HAIKU, 500, 60)], Need::Whenever, free),
        plan(vec![group(HAIKU, 120_000, 200)], within(7_200), free),
        plan(vec![group("house-model", 9, 20_000)], Need::Whenever, free),
        plan(two, within(5_400), free),
        plan(vec![marked], within(28_800), free),
    ]
}

/// Facts that no plan has before usage was measured.
fn learnt() -> Value {
    json!(Reason {
        question: Question::PreambleStable,
        answer: Answer::Yes,
        because: Because::LearntHits {
            hit_rate: 0.9,
            threshold: HitRate {
                part: 10,
                whole: 19
            },
        },
    })
}

/// A warning of every kind.
fn warnings() -> Vec<Warning> {
    let place = || Place {
        line: 1,
        byte: 2,
        excerpt: "…".to_owned(),
    };
    let (model, at) = (HAIKU.to_owned(), [place(), place()]);
    vec![
        Warning::ChangingBeforeStable {
            part: Part::System,
            looks: Looks::Time,
            at: at.clone(),
            stable_tokens: 1,
            saves: 1.0,
        },
        Warning::ToolOrder {
            lines: [1, 2],
            tools: 2,
        },
        Warning::JsonWrittenOtherwise {
            part: Part::Tools,
            at,
        },
        Warning::MarkOnChanging {
            part: Part::Messages,
            lines: [1, 2],
            costs: 1.0,
        },
        Warning::JustOverStep {
            model,
            step: 1,
            rows: 1,
            sampled: 1,
            line: 1,
        },
    ]
}

/// What is said of fields when both orders were planned.
fn fields() -> FieldsEffect {
    FieldsEffect {
        ordered: true,
        shares: Shares::default(),
        reach: Reach {
            tokens: 1,
            minimum: 2,
            model: HAIKU.to_owned(),
        },
        costs: Some(FieldCosts {
            given: 1.0,
            ordered: 0.5,
        }),
    }
}

/// The paths of all values, list places left out; kinds of facts with their name.
fn paths(value: &Value, at: &str, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let at = if at.is_empty() {
                    name.clone()
                } else {
                    format!("{at}.{name}")
                };
                if let ("kind", Value::String(kind)) = (name.as_str(), value) {
                    out.insert(format!("{at} = {kind}"));
                }
                paths(value, &at, out);
            }
        }
        Value::Array(items) => {
            for item in items {
                paths(item, &format!("{at}[]"), out);
            }
        }
        _ => {
            out.insert(at.to_owned());
        }
    }
}

/// The first column of every table of the page that holds code.
fn documented(page: &str) -> BTreeSet<String> {
    let cell = |line: &str| {
        let cell = line.strip_prefix("| `")?.split_once('`')?.0;
        Some(cell.to_owned())
    };
    page.lines().filter_map(cell).collect()
}

#[test]
fn the_page_and_the_answers_have_the_same_fields() {
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", requests(3) + "{\"custom_id\":\"x\"}\n");
    let said = sandbox.offpeak("plan rows.jsonl --sim --on-invalid skip --budget 5 --json");
    let answer: Value = serde_json::from_str(&said.stdout).unwrap();
    let mut found = BTreeSet::new();
    paths(&answer, "", &mut found);
    for plan in plans() {
        paths(&json!(plan), "plan", &mut found);
    }
    paths(&learnt(), "plan.reasons[]", &mut found);
    paths(&json!(warnings()), "warnings", &mut found);
    paths(&json!(fields()), "fields", &mut found);
    let page = include_str!("../../../../docs/plan.md");
    let documented = documented(page);
    let missing: Vec<_> = found.difference(&documented).collect();
    let wrong: Vec<_> = documented.difference(&found).collect();
    assert!(
        missing.is_empty() && wrong.is_empty(),
        "not documented: {missing:#?}\ndocumented and not there: {wrong:#?}"
    );
}
