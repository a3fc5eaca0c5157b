//! Retention: what `purge` and `keep` remove from the disk, and what stays and can be proved without it.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::sandbox::{Sandbox, assert_said, requests};

/// The files below the jobs of the simulator.
fn files(sandbox: &Sandbox) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![sandbox.path("data/sim/jobs")]);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found
}

/// Whether any of them has a word of the requests.
fn has_content(sandbox: &Sandbox) -> bool {
    let said = |bytes: Vec<u8>| bytes.windows(4).any(|window| window == b"Say ");
    files(sandbox)
        .iter()
        .any(|path| said(fs::read(path).unwrap()))
}

fn finished() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", requests(40));
    let said = sandbox.offpeak("run rows.jsonl --sim");
    assert_eq!(said.exit, Some(0), "{said}");
    assert!(has_content(&sandbox));
    sandbox
}

#[test]
fn a_purged_job_has_no_word_of_content_and_its_sums_are_proved() {
    let sandbox = finished();
    let asked = sandbox.offpeak("purge rows --sim");
    assert_eq!(asked.exit, Some(2), "{asked}");
    assert!(asked.stderr.contains("add `--yes`") && has_content(&sandbox));
    let purged = sandbox.offpeak("purge rows --sim --yes --json");
    let answer: Value = serde_json::from_str(&purged.stdout).unwrap();
    assert!(answer["freed_bytes"].as_u64().unwrap() > 1_000, "{purged}");
    assert_eq!(answer["purged"][0]["name"], "rows");
    assert!(!has_content(&sandbox));
    let names = files(&sandbox)
        .into_iter()
        .map(|path| path.file_name().unwrap().to_owned());
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, ["manifest.json", "purged.json"]);

    assert_said("verify_purged", &sandbox.offpeak("verify rows --sim"));
    let status = sandbox.offpeak("status rows --sim --json");
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(
        (&status["done"], &status["state"]),
        (&40.into(), &"finished".into())
    );
    assert!(status["purged_at"].is_string());
    assert_said("purge_nothing", &sandbox.offpeak("purge rows --sim --yes"));
    // What was learnt of it goes into the next plan.
    let plan = sandbox.offpeak("plan rows.jsonl --sim --json");
    let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
    assert_eq!(plan["plan"]["assumptions"]["measured_answers"], 40);

    fs::write(sandbox.path("rows.out.jsonl"), "changed\n").unwrap();
    let changed = sandbox.offpeak("verify rows --sim");
    assert_eq!(changed.exit, Some(70), "{changed}");
    assert!(
        changed
            .stdout
            .contains("it was changed after it was written"),
        "{changed}"
    );
}

#[test]
fn what_goes_is_said_with_its_size() {
    let sandbox = finished();
    let said = sandbox.offpeak("purge rows --sim --yes");
    let freed = "bytes of requests and answers of 1 run.";
    assert!(said.stdout.contains(freed), "{said}");
    // It ended after the moment that the simulator's commands take for now.
    let none = sandbox.offpeak("purge --older-than 30d --sim --yes --json");
    let answer: Value = serde_json::from_str(&none.stdout).unwrap();
    assert_eq!((none.exit, &answer["freed_bytes"]), (Some(0), &0.into()));
}

#[test]
fn a_job_that_keeps_nothing_is_purged_at_its_end() {
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", requests(4)).write(
        "job.toml",
        "input = \"rows.jsonl\"\n[limits]\nkeep = \"none\"\n",
    );
    let said = sandbox.offpeak("run job.toml --sim");
    assert_eq!(said.exit, Some(0), "{said}");
    assert!(
        said.stderr
            .contains("purged: requests and answers of this run"),
        "{said}"
    );
    assert_eq!(sandbox.read("rows.out.jsonl").lines().count(), 4);
    assert!(!has_content(&sandbox));
    let said = sandbox.offpeak("verify job --sim");
    assert_eq!(said.exit, Some(0), "{said}");
}

#[test]
fn an_unfinished_job_is_not_purged() {
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", requests(12));
    let said = sandbox.offpeak("run rows.jsonl --sim --budget 0.001");
    assert_eq!(said.exit, Some(3), "{said}");
    let said = sandbox.offpeak("purge rows --sim --yes");
    assert_eq!(said.exit, Some(2), "{said}");
    assert_said("purge_unfinished", &said);
    assert!(has_content(&sandbox));
}

#[test]
fn a_purged_job_whose_output_is_gone_says_what_to_do() {
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", requests(4));
    let (_server, url) = crate::over_http::Server::simulator(&sandbox, "--speed 1000");
    let run = |options: &str| {
        let arguments = format!("run rows.jsonl --needs seconds --yes {options}");
        let mut command = crate::over_http::to(&url, &sandbox, &arguments);
        sandbox.said(&command.output().unwrap())
    };
    assert_eq!(run("-q").exit, Some(0));
    let bill = crate::over_http::ask(&url, "/_sim/bill");
    assert_eq!(sandbox.offpeak("purge --yes").exit, Some(0));
    assert_eq!(sandbox.offpeak("purge rows --yes").exit, Some(0));
    assert_eq!(run("-q").exit, Some(0), "its output is there");
    fs::remove_file(sandbox.path("rows.out.jsonl")).unwrap();
    let said = run("");
    assert_eq!(said.exit, Some(2), "{said}");
    assert!(
        said.stderr.contains("were purged on") && said.stderr.contains("--fresh"),
        "{said}"
    );
    assert_eq!(crate::over_http::ask(&url, "/_sim/bill"), bill);
}

#[test]
fn earlier_runs_of_the_job_are_cleared_away_when_their_time_has_come() {
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", requests(4)).write(
        "job.toml",
        "input = \"rows.jsonl\"\n[latency]\nneeds = \"seconds\"\n[limits]\nkeep = \"30d\"\n",
    );
    let (_server, url) = crate::over_http::Server::simulator(&sandbox, "--speed 1000");
    let run = |options: &str| {
        let arguments = format!("run job.toml --yes {options}");
        let mut command = crate::over_http::to(&url, &sandbox, &arguments);
        sandbox.said(&command.output().unwrap())
    };
    assert_eq!(run("-q").exit, Some(0));
    // It ended long ago.
    let store = rusqlite::Connection::open(sandbox.path("data/jobs.db")).unwrap();
    store.execute("UPDATE job SET finished_at = 0", []).unwrap();
    drop(store);
    let said = run("--fresh --overwrite");
    assert_eq!(said.exit, Some(0), "{said}");
    let purged = "purged: requests and answers of `job`, run 1, as it asks";
    assert!(said.stderr.contains(purged), "{said}");
}

#[test]
fn a_simulation_that_was_interrupted_and_replaced_is_still_listed() {
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", requests(12));
    let said = sandbox.offpeak("run rows.jsonl --sim --needs seconds --budget 0.003");
    assert_eq!(said.exit, Some(3), "{said}");
    let said = sandbox.offpeak("run rows.jsonl --sim --needs seconds");
    assert_eq!(said.exit, Some(0), "{said}");
    let said = sandbox.offpeak("jobs --sim --json");
    assert_eq!(said.exit, Some(0), "{said}");
    let jobs: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 2);
}
