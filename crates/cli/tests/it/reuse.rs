//! `--reuse` and `[reuse]`: what is offered, what is saved, and what the output says.

use std::fs;

use serde_json::Value;

use crate::sandbox::{Said, Sandbox, assert_said, request};

/// Rows that ask these questions.
fn asking(questions: &[usize]) -> String {
    let row = |(row, question): (usize, &usize)| {
        let text = format!("Say {question}.");
        let members = format!(
            "\"max_tokens\":2000,\"messages\":[{{\"role\":\"user\",\"content\":\"{text}\"}}]"
        );
        request(&format!("r{row}"), &members)
    };
    questions.iter().enumerate().map(row).collect()
}

fn sandbox(questions: &[usize]) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", asking(questions));
    sandbox
}

fn finished(sandbox: &Sandbox, arguments: &str) -> Said {
    let said = sandbox.offpeak(arguments);
    assert_eq!(said.exit, Some(0), "{said}");
    said
}

pub(crate) fn lines(sandbox: &Sandbox) -> Vec<Value> {
    let output = sandbox.read("rows.out.jsonl");
    let lines = output.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

const QUESTIONS: [usize; 10] = [1, 2, 1, 3, 1, 4, 2, 5, 6, 7];

#[test]
fn plan_offers_what_is_saved_and_says_what_is_done() {
    let sandbox = sandbox(&QUESTIONS);
    let reuse = |arguments: &str| {
        let said = finished(&sandbox, arguments);
        let text = said.stdout.split("Answers for more than one row:").nth(1);
        text.unwrap_or("").split("\n\n").next().unwrap().to_owned()
    };
    let offered = reuse("plan rows.jsonl --sim");
    let taken = reuse("plan rows.jsonl --sim --reuse identical");
    finished(&sandbox, "run rows.jsonl --sim --reuse identical --yes");
    let earlier = reuse("plan rows.jsonl --sim");
    let nothing = finished(&sandbox, "plan rows.jsonl --sim --reuse all").stdout;
    insta::assert_snapshot!(format!(
        "offered:{offered}\n\ntaken:{taken}\n\nafter a run:{earlier}\n\nnothing to send:\n{nothing}"
    ));
}

#[test]
fn identical_rows_are_sent_once_and_everything_is_proved() {
    let sandbox = sandbox(&QUESTIONS);
    assert_said(
        "reuse_run",
        &finished(&sandbox, "run rows.jsonl --sim --reuse identical --yes"),
    );
    let lines = lines(&sandbox);
    assert_eq!(lines[4]["key"], "r4");
    assert_eq!(lines[4]["text"], lines[0]["text"]);
    assert_eq!(
        lines[4]["reused"],
        serde_json::json!({"row": 0, "key": "r0"})
    );
    assert_said("reuse_verify", &finished(&sandbox, "verify rows --sim"));
    let status = finished(&sandbox, "status rows --sim --json");
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!((&status["rows"], &status["done"]), (&10.into(), &10.into()));
}

#[test]
fn a_changed_request_of_a_shared_row_is_found() {
    let sandbox = sandbox(&QUESTIONS);
    finished(&sandbox, "run rows.jsonl --sim --reuse identical --yes");
    let data = sandbox.path("data").join("sim").join("jobs");
    let job = fs::read_dir(data).unwrap().next().unwrap().unwrap().path();
    let rows = job.join("rows").join("00000.seg");
    let mut bytes = fs::read(&rows).unwrap();
    let question = b"Say 2.";
    // The second of the two that ask it, which was not sent.
    let at = bytes
        .windows(question.len())
        .rposition(|text| text == question);
    bytes[at.unwrap() + 4] = b'3';
    fs::write(&rows, bytes).unwrap();
    let said = sandbox.offpeak("verify rows --sim");
    assert_eq!(said.exit, Some(70), "{said}");
    assert!(
        said.stdout.contains("row 6: the answer that it shows"),
        "{said}"
    );
}

#[test]
fn a_job_file_says_it_and_an_option_overrules_it() {
    let sandbox = sandbox(&QUESTIONS);
    let job = "input = \"rows.jsonl\"\n[reuse]\nidentical = true\nearlier_runs = true\n";
    sandbox.write("rows.toml", job);
    let run = |arguments: &str| {
        let said = finished(&sandbox, &format!("run rows.toml --sim --json {arguments}"));
        let manifest: Value = serde_json::from_str(&said.stdout).unwrap();
        assert_eq!(manifest["cost_picousd"], manifest["upstream_bill_picousd"]);
        let reused = &manifest["reused"];
        let rows = |kind: &str| reused[kind]["rows"].as_u64().unwrap_or(0);
        (rows("identical"), rows("earlier_runs"))
    };
    assert_eq!(run(""), (3, 0));
    // One more question in the night, asked twice; the simulated run before it is forgotten by then.
    let mut questions = QUESTIONS.to_vec();
    questions.extend([8, 8]);
    sandbox.write("rows.jsonl", asking(&questions));
    assert_eq!(run(""), (1, 10));
    let from = lines(&sandbox);
    assert_eq!(from[3]["reused"], serde_json::json!({"run": 1, "row": 3}));
    finished(&sandbox, "verify rows --sim");
    // Everything is there already.
    assert_said(
        "reuse_nothing_to_send",
        &finished(&sandbox, "run rows.toml --sim --yes"),
    );
    assert_eq!(run("--reuse none"), (0, 0));
}
