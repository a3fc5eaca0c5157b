//! Simulated runs from input to output: the summary, the manifest, and what stays for later.

use serde_json::Value;

use crate::sandbox::{Sandbox, assert_said, message, request, requests};

const JOB: &str = "name = \"topics\"\ninput = \"rows.csv\"\nkey = \"id\"\noutput = \"out/answers.jsonl\"\n\
                   model = \"claude-haiku-4-5\"\nmax_tokens = 300\nsystem = { file = \"prompt.md\" }\n\
                   user = \"About {{ topic }}.\"\n[params]\ntemperature = 0.5\n[latency]\ndeadline = \"8h\"\n\
                   [limits]\nbudget_usd = \"1.00\"\n";

/// A job with a table, a template and a system prompt that is worth caching.
fn table() -> Sandbox {
    let sandbox = Sandbox::new();
    let rows: String = (1..=40)
        .map(|row| format!("k{row},subject {row}\n"))
        .collect();
    sandbox
        .write("job.toml", JOB)
        .write("prompt.md", "Answer briefly and to the point. ".repeat(800))
        .write("rows.csv", format!("id,topic\n{rows}"));
    sandbox
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_job_is_run_and_run_again() {
    let sandbox = table();
    assert_said("run", &sandbox.offpeak("run job.toml --sim"));
    let (output, manifest) = (
        sandbox.read("out/answers.jsonl"),
        sandbox.read("out/answers.jsonl.manifest.json"),
    );
    // The same command works twice in a row, and the same seed gives the same answers.
    let again = sandbox.offpeak("run job.toml --sim --json -q");
    assert_said("run_json", &again);
    assert_eq!(
        sandbox.read("out/answers.jsonl.manifest.json"),
        again.stdout
    );
    let answers = |text: &str| -> Vec<Value> {
        lines(text)
            .iter()
            .map(|line| line["text"].clone())
            .collect()
    };
    assert_eq!(
        answers(&sandbox.read("out/answers.jsonl")),
        answers(&output)
    );
    let keys: Vec<Value> = lines(&output)
        .iter()
        .map(|line| line["key"].clone())
        .collect();
    assert_eq!(
        keys,
        (1..=40)
            .map(|row| Value::from(format!("k{row}")))
            .collect::<Vec<_>>()
    );
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["cost_picousd"], manifest["upstream_bill_picousd"]);
    // An output that somebody changed is not a simulation's any more.
    sandbox.write("out/answers.jsonl", "mine now\n");
    assert_eq!(sandbox.offpeak("run job.toml --sim").exit, Some(2));
}

#[test]
fn jobs_are_listed_and_looked_at() {
    let sandbox = table();
    assert_said("jobs_none", &sandbox.offpeak("jobs"));
    assert!(
        !sandbox.path("data").exists(),
        "looking leaves nothing behind"
    );
    sandbox.offpeak("run job.toml --sim");
    assert_said("status", &sandbox.offpeak("status topics --sim"));
    let listed = sandbox.offpeak("jobs --sim --json");
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    let job = &listed["jobs"][0];
    assert_eq!(
        (&job["name"], &job["done"], &job["state"]),
        (&"topics".into(), &40.into(), &"finished".into())
    );
    let by_id = sandbox.offpeak(&format!("status {} --sim", job["job"].as_str().unwrap()));
    assert_eq!(by_id.exit, Some(0));
    assert_said(
        "status_of_a_misspelt_job",
        &sandbox.offpeak("status topcis --sim"),
    );
    // Simulated jobs are not among the paid ones.
    assert_eq!(sandbox.offpeak("status topics").exit, Some(2));
}

#[test]
fn keys_of_any_form_come_back() {
    let sandbox = Sandbox::new();
    let keys = [
        "x".repeat(65),
        "a b/c".to_owned(),
        "é".to_owned(),
        "\\\"".to_owned(),
    ];
    let rows: String = keys
        .iter()
        .enumerate()
        .map(|(n, key)| request(key, &format!("\"max_tokens\":300,{}", message(n))))
        .collect();
    sandbox.write("rows.jsonl", rows);
    let said = sandbox.offpeak("run rows.jsonl --sim");
    assert_eq!(said.exit, Some(0), "{said}");
    let found: Vec<Value> = lines(&sandbox.read("rows.out.jsonl"))
        .iter()
        .map(|line| line["key"].clone())
        .collect();
    assert_eq!(found, [keys[0].as_str(), "a b/c", "é", "\""]);
}

#[test]
fn answers_within_seconds_travel_one_by_one() {
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", requests(5));
    let said = sandbox.offpeak("run rows.jsonl --sim --needs seconds --json -q -o now.jsonl");
    let manifest: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((said.exit, &manifest["route"]), (Some(0), &"sync".into()));
    assert_eq!(lines(&sandbox.read("now.jsonl")).len(), 5);
}

#[test]
fn a_bad_day_upstream_changes_nothing_but_the_bill() {
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", requests(60));
    for seed in 0..4 {
        for lane in ["--deadline none", "--needs seconds"] {
            let said = sandbox.offpeak(&format!(
                "run rows.jsonl --sim --sim-faults --sim-seed {seed} {lane} --expired-to-sync --json -q"
            ));
            assert_eq!(said.exit, Some(0), "seed {seed} {lane}: {said}");
            let manifest: Value = serde_json::from_str(&said.stdout).unwrap();
            assert_eq!(manifest["outcomes"]["succeeded"], 60, "seed {seed} {lane}");
        }
    }
}
