//! `offpeak verify`: what proves a job, and what is said when something was changed behind its back.

use std::fs;
use std::path::{Path, PathBuf};

use crate::sandbox::{Sandbox, assert_said, requests};

fn finished() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", requests(40));
    let said = sandbox.offpeak("run rows.jsonl --sim --yes");
    assert_eq!(said.exit, Some(0), "{said}");
    let said = sandbox.offpeak("verify rows --sim");
    assert_eq!(said.exit, Some(0), "{said}");
    sandbox
}

/// The first file below the data directory whose path ends like this.
fn file(sandbox: &Sandbox, end: &str) -> PathBuf {
    let mut open = vec![sandbox.path("data")];
    loop {
        let dir = open.pop().expect("the job has such a file");
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.ends_with(end) {
                return path;
            }
        }
    }
}

fn change(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn a_job_is_proved_again() {
    let sandbox = finished();
    assert_said("verify", &sandbox.offpeak("verify rows --sim"));
    assert_said("verify_json", &sandbox.offpeak("verify rows --sim --json"));
}

#[test]
fn a_changed_output_is_told_from_a_damaged_job() {
    let sandbox = finished();
    change(&sandbox.path("rows.out.jsonl"), "succeeded", "suceeeded");
    let said = sandbox.offpeak("verify rows --sim");
    assert_eq!(said.exit, Some(70), "{said}");
    assert_said("verify_output_changed", &said);
    fs::remove_file(sandbox.path("rows.out.jsonl")).unwrap();
    let said = sandbox.offpeak("verify rows --sim");
    assert_eq!(said.exit, Some(70), "{said}");
}

#[test]
fn a_changed_answer_is_found_by_its_price_and_by_the_output() {
    let sandbox = finished();
    let results = file(&sandbox, "results/00000.jsonl");
    let text = fs::read_to_string(&results).unwrap();
    let at = text.find("\"output_tokens\":").unwrap() + "\"output_tokens\":".len();
    let digit = if &text[at..=at] == "9" { "8" } else { "9" };
    let mut text = text;
    text.replace_range(at..=at, digit);
    fs::write(&results, text).unwrap();
    let said = sandbox.offpeak("verify rows --sim");
    assert_eq!(said.exit, Some(70), "{said}");
    assert!(said.stdout.contains("its answer costs $"), "{said}");
    assert!(said.stdout.contains("other bytes come out"), "{said}");
}

#[test]
fn lost_answers_are_named() {
    let sandbox = finished();
    fs::remove_file(file(&sandbox, "results/00000.jsonl")).unwrap();
    let said = sandbox.offpeak("verify rows --sim");
    assert_eq!(said.exit, Some(70), "{said}");
    assert!(
        said.stdout.contains("results/00000.jsonl: No such file"),
        "{said}"
    );
}

#[test]
fn only_a_finished_job_can_be_proved() {
    let sandbox = Sandbox::new();
    let said = sandbox.offpeak("verify rows --sim");
    assert_eq!(said.exit, Some(2), "{said}");
    assert_said("verify_no_job", &said);
}
