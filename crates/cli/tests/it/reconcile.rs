//! `offpeak reconcile` against the simulator served by another process: books and reports, and the
//! ways to be refused.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::over_http::{Server, answering, ask, to};
use crate::sandbox::{Said, Sandbox, assert_said, requests};

const ADMIN: &str = "sk-ant-admin01-zebra";

fn reconcile(url: &str, sandbox: &Sandbox, arguments: &str, key: &str) -> Said {
    let mut command = to(url, sandbox, &format!("reconcile {arguments}"));
    let said = command.env("ANTHROPIC_ADMIN_KEY", key).output().unwrap();
    let said = sandbox.said(&said);
    assert!(
        !said.stdout.contains("zebra") && !said.stderr.contains("zebra"),
        "{said}"
    );
    said
}

fn run(url: &str, sandbox: &Sandbox, arguments: &str) -> Value {
    let run = to(url, sandbox, &format!("run {arguments} --yes --json -q"))
        .output()
        .unwrap();
    let said = sandbox.said(&run);
    assert_eq!(said.exit, Some(0), "{said}");
    serde_json::from_str(&said.stdout).unwrap()
}

/// Integers in decimal strings.
fn pico(value: &Value) -> i128 {
    value.as_str().unwrap().parse().unwrap()
}

fn sum(found: &Value, member: &str) -> i128 {
    let lines = found["money"].as_array().unwrap().iter();
    lines.map(|line| pico(&line[member])).sum()
}

fn every_residual(found: &Value) -> Vec<i64> {
    let lines = found["tokens"].as_array().unwrap().iter();
    let classes = lines.flat_map(|line| line["classes"].as_object().unwrap().values());
    classes
        .map(|class| class["residual"].as_i64().unwrap())
        .collect()
}

/// Whether any file below says the word.
fn says(dir: &Path, word: &str) -> bool {
    fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return says(&path, word);
        }
        let bytes = fs::read(&path).unwrap();
        bytes
            .windows(word.len())
            .any(|window| window == word.as_bytes())
    })
}

#[test]
fn books_and_reports_of_both_lanes_agree_to_the_picodollar() {
    let sandbox = Sandbox::new();
    let (_server, url) = Server::simulator(&sandbox, "--speed 600");
    sandbox.write("bulk.jsonl", requests(12));
    sandbox.write("quick.jsonl", requests(5));
    let bulk = run(&url, &sandbox, "bulk.jsonl");
    assert_eq!(bulk["route"], "batch");
    let quick = run(&url, &sandbox, "quick.jsonl --needs seconds");
    let bill = pico(&ask(&url, "/_sim/bill")["total_picousd"]);
    assert_eq!(
        bill,
        pico(&bulk["cost_picousd"]) + pico(&quick["cost_picousd"])
    );

    let said = reconcile(&url, &sandbox, "bulk --json", ADMIN);
    assert_eq!(said.exit, Some(0), "{said}");
    let found: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(found["verdict"], "agrees", "{said}");
    assert!(every_residual(&found).iter().all(|residual| *residual == 0));
    assert_eq!(
        (
            sum(&found, "residual_picousd"),
            sum(&found, "upstream_picousd")
        ),
        (0, bill)
    );
    assert_eq!(sum(&found, "ours_picousd"), bill);
    let tiers: Vec<_> = found["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| &line["service_tier"])
        .collect();
    assert_eq!(tiers, ["standard", "batch"]);
    assert_eq!(found["answers"], 17);

    let month = &found["asked_at"].as_str().unwrap()[..7];
    let said = reconcile(&url, &sandbox, &format!("--month {month}"), ADMIN);
    assert_eq!(said.exit, Some(0), "{said}");
    let ends = [
        "Books and reports agree.\n",
        "The differences are explained.\n",
    ];
    // The simulated time may have passed the end of a month.
    assert!(ends.iter().any(|end| said.stdout.ends_with(end)), "{said}");
    // Calls of a key that nobody has are none.
    let said = reconcile(
        &url,
        &sandbox,
        "bulk --api-key-id apikey_none --json",
        ADMIN,
    );
    let found: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(found["money"], Value::Null);
    assert!(
        found["verdict"] == "not_yet" || found["verdict"] == "defect",
        "{said}"
    );

    assert!(
        !says(&sandbox.path(""), "zebra"),
        "the key is nowhere on the disk"
    );
}

#[test]
fn lost_answers_explain_what_the_upstream_has_more() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "faults.toml",
        "[[rule]]\nendpoint = \"messages\"\nfirst = 2\neffect = \"reset_after_accept\"\n",
    );
    let (_server, url) = Server::simulator(&sandbox, "--speed 600 --faults faults.toml");
    sandbox.write("rows.jsonl", requests(6));
    let manifest = run(&url, &sandbox, "rows.jsonl --needs seconds");
    assert_eq!(manifest["unknown_calls"], 2);
    let said = reconcile(&url, &sandbox, "rows --json", ADMIN);
    assert_eq!(said.exit, Some(0), "{said}");
    let found: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(found["verdict"], "explained", "{said}");
    let bill = pico(&ask(&url, "/_sim/bill")["total_picousd"]);
    let lost = bill - pico(&manifest["cost_picousd"]);
    let unknown = pico(&manifest["unknown_picousd"]);
    assert!(0 < lost && lost <= unknown, "{lost} {unknown}");
    assert_eq!(sum(&found, "residual_picousd"), lost);
    assert_eq!(
        pico(&found["may_have_been_billed_picousd"]["unknown"]),
        unknown
    );
}

#[test]
fn whoever_may_not_see_the_reports_is_told_why() {
    let sandbox = Sandbox::new();
    let (_server, url) = Server::simulator(&sandbox, "--clock virtual");
    sandbox.write("rows.jsonl", requests(1));
    run(&url, &sandbox, "rows.jsonl --needs seconds");
    for (name, key, exit) in [
        ("reconcile_not_an_admin_key", "sk-ant-api03-zebra", 4),
        ("reconcile_wrong_key", "sk-ant-invalid-zebra", 4),
        (
            "reconcile_key_that_cannot_travel",
            "sk-ant-admin01-\nzebra",
            2,
        ),
    ] {
        let said = reconcile(&url, &sandbox, "rows", key);
        assert_eq!(said.exit, Some(exit), "{said}");
        assert_said(name, &said);
    }
    let strange = answering(200, "{}");
    let said = reconcile(&strange, &sandbox, "rows", ADMIN);
    assert_eq!(said.exit, Some(4), "{said}");
    assert_said("reconcile_no_report", &said);
    for (name, arguments) in [
        ("reconcile_without_a_key", "reconcile rows"),
        ("reconcile_simulated", "reconcile rows --sim"),
        ("reconcile_nothing", "reconcile"),
        ("reconcile_both", "reconcile rows --month 2026-11"),
        ("reconcile_no_month", "reconcile --month 2026-13"),
        ("reconcile_later_month", "reconcile --month 9000-01"),
        (
            "reconcile_key_for_id",
            "reconcile rows --api-key-id sk-ant-zebra",
        ),
    ] {
        let said = sandbox.offpeak(arguments);
        assert_eq!(said.exit, Some(2), "{said}");
        assert!(!said.stderr.contains("zebra"), "{said}");
        assert_said(name, &said);
    }
}
