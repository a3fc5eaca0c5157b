//! The exit codes, each reached by a run that ends so.

use serde_json::Value;

use crate::sandbox::{Sandbox, assert_said, message, request, requests};

fn cut_short(rows: usize) -> String {
    (0..rows)
        .map(|row| {
            request(
                &format!("r{row}"),
                &format!("\"max_tokens\":2,{}", message(row)),
            )
        })
        .collect()
}

#[test]
fn some_rows_failed_is_1() {
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", requests(3) + &cut_short(1));
    let said = sandbox.offpeak("run rows.jsonl --sim");
    assert_eq!(said.exit, Some(1));
    assert_said("end_some_failed", &said);
}

#[test]
fn invalid_rows_can_be_left_out() {
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", requests(3) + &request("bad", &message(9)));
    let said = sandbox.offpeak("run rows.jsonl --sim --on-invalid skip");
    assert_eq!(said.exit, Some(1));
    assert_said("end_invalid_rows_skipped", &said);
    let output = sandbox.read("rows.out.jsonl");
    assert_eq!(output.lines().count(), 4);
    let last: Value = serde_json::from_str(output.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["key"], &last["status"]),
        (&"bad".into(), &"invalid".into())
    );
}

#[test]
fn the_budget_is_3() {
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", requests(12));
    let said = sandbox.offpeak("run rows.jsonl --sim --budget 0.001");
    assert_eq!(said.exit, Some(3));
    assert_said("end_budget", &said);
    let said = sandbox.offpeak("run rows.jsonl --sim --budget 0.001 --json -q");
    let answer: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(answer["stopped"]["reason"], "budget");
    let cost: f64 = answer["cost_usd"].as_str().unwrap().parse().unwrap();
    assert!(cost > 0.0 && cost <= 0.001, "{answer}");
    let limits = sandbox.offpeak("status rows --sim --json");
    let status: Value = serde_json::from_str(&limits.stdout).unwrap();
    assert_eq!(
        (&status["state"], &status["budget_picousd"]),
        (&"unfinished".into(), &"1000000000".into())
    );
}

#[test]
fn the_soft_line_is_3_too() {
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", requests(12));
    let said = sandbox.offpeak("run rows.jsonl --sim --soft-budget 0.0005");
    assert_eq!(said.exit, Some(3));
    assert_said("end_soft_budget", &said);
    let said = sandbox.offpeak("run rows.jsonl --sim --budget 1 --soft-budget 2");
    assert_eq!(said.exit, Some(2));
    assert_said("error_soft_line_above_budget", &said);
}

#[test]
fn useless_answers_stop_the_bulk_with_5() {
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", cut_short(200));
    let said = sandbox.offpeak("run rows.jsonl --sim --needs seconds");
    assert_eq!(said.exit, Some(5));
    assert!(said.stderr.contains("--past-guard"), "{said}");
    let said = sandbox.offpeak("run rows.jsonl --sim --needs seconds --past-guard");
    assert_eq!(said.exit, Some(1), "{said}");
}

#[test]
fn a_missed_deadline_is_6() {
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", requests(3));
    let said = sandbox.offpeak("run rows.jsonl --sim --deadline 1s");
    assert_eq!(said.exit, Some(6), "{said}");
    assert!(said.stderr.contains("the deadline was missed by"), "{said}");
}
