//! What commands print that change nothing: prices and plans.

use crate::sandbox::{Sandbox, assert_said, requests, workspace};

#[test]
fn prices_of_a_model() {
    let sandbox = Sandbox::new();
    assert_said(
        "prices",
        &sandbox.offpeak("prices claude-haiku-5-5 --at 2026-11-22"),
    );
    assert_said(
        "prices_json",
        &sandbox.offpeak("prices claude-haiku-5-5 --at 2026-11-22 --json"),
    );
    assert_said(
        "prices_of_an_unknown_model",
        &sandbox.offpeak("prices claude-haiku-5.5"),
    );
    assert_eq!(sandbox.offpeak("prices").exit, Some(0));
}

#[test]
fn a_price_book_is_laid_over() {
    let sandbox = Sandbox::new();
    sandbox.write("book.toml", "as_of = \"2026-11-22\"\ndiscount = \"0.2\"\n");
    let said = sandbox.offpeak("prices claude-haiku-5-5 --at 2026-11-22 --price-book book.toml");
    assert!(said.stdout.contains(" 0.08 "), "{said}");
    sandbox.write("book.toml", "as_of = \"2026-11-22\"\ndicsount = \"0.2\"\n");
    let said = sandbox.offpeak("prices --price-book book.toml");
    assert_said("price_book_with_an_unknown_key", &said);
}

#[test]
fn the_plan_of_the_example() {
    let sandbox = Sandbox::new();
    let job = workspace().join("examples/speeches/job.toml");
    let said = sandbox.offpeak(&format!("plan {} --sim", job.display()));
    assert_said("plan_of_the_example", &said);
    assert!(
        !sandbox.path("data").exists(),
        "a plan leaves nothing behind"
    );
}

#[test]
fn the_plan_of_the_example_as_json() {
    let sandbox = Sandbox::new();
    let job = workspace().join("examples/speeches/job.toml");
    let said = sandbox.offpeak(&format!("plan {} --sim --json", job.display()));
    assert_said("plan_of_the_example_json", &said);
}

#[test]
fn a_job_whose_data_may_not_be_kept_has_no_batch() {
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", requests(3)).write(
        "job.toml",
        "input = \"rows.jsonl\"\n[limits]\nzero_data_retention = true\n",
    );
    let said = sandbox.offpeak("plan job.toml --sim --json");
    let answer: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(answer["plan"]["route"], "sync", "{said}");
    assert_eq!(
        answer["plan"]["costs"][3]["barred"]["kind"],
        "zero_data_retention"
    );
}

#[test]
fn a_plan_is_json_for_programs() {
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", requests(3));
    let said = sandbox.offpeak("plan rows.jsonl --sim --deadline 8h --json");
    let answer: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(answer["plan"]["route"], "batch");
    assert_eq!(answer["rows"], 3);
}
