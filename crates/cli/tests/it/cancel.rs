//! `offpeak cancel`, and what a job says that is in another account or was given up.

use serde_json::Value;

use crate::over_http::{Server, ask, interrupt, to};
use crate::sandbox::{Sandbox, assert_said, requests};
use crate::simulator::post;

/// A job that was interrupted when its batch was upstream, where nothing happens before somebody moves the
/// clock.
fn interrupted(sandbox: &Sandbox) -> (Server, String) {
    let (server, url) = Server::simulator(sandbox, "--clock virtual");
    sandbox.write("rows.jsonl", requests(30));
    let mut run = Server(
        to(&url, sandbox, "run rows.jsonl --yes --past-guard")
            .spawn()
            .unwrap(),
    );
    while !was_called(&url, "create") {
        assert!(run.0.try_wait().unwrap().is_none(), "it goes on");
    }
    interrupt(&run.0);
    assert_eq!(run.0.wait().unwrap().code(), Some(5));
    (server, url)
}

fn was_called(url: &str, endpoint: &str) -> bool {
    let log = ask(url, "/_sim/requests");
    log.to_string().contains(&format!("\"{endpoint}\""))
}

#[test]
fn a_job_is_canceled_and_its_rows_end() {
    let sandbox = Sandbox::new();
    let (_server, url) = interrupted(&sandbox);
    let said = |arguments: &str| {
        let output = to(&url, &sandbox, arguments).output().unwrap();
        sandbox.said(&output)
    };
    let mut other = to(&url, &sandbox, "run rows.jsonl --yes");
    other.env("ANTHROPIC_API_KEY", "sk-ant-of-another-workspace");
    let other = sandbox.said(&other.output().unwrap());
    assert_eq!(other.exit, Some(4));
    for words in [
        "1 batch of this job may be in another account (workspace wrkspc_",
        "give the key of that account in ANTHROPIC_API_KEY",
    ] {
        assert!(other.stderr.contains(words), "{other}");
    }
    let cancel = to(&url, &sandbox, "cancel rows").spawn().unwrap();
    while !was_called(&url, "cancel") {}
    post(&url, "/_sim/clock", r#"{"advance_s":3600}"#);
    let canceled = sandbox.said(&cancel.wait_with_output().unwrap());
    assert_eq!(canceled.exit, Some(0), "{canceled}");
    for words in [
        "its batches are stopped, and what they have finished is fetched",
        "canceled          30  100.0%  cancelled before it was processed; not billed",
        "Nothing was billed.",
    ] {
        assert!(canceled.stderr.contains(words), "{canceled}");
    }
    let output = sandbox.read("rows.out.jsonl");
    for (row, line) in output.lines().enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["key"], format!("r{}", row + 1));
        assert_eq!(line["status"], "canceled");
    }
    assert_eq!(output.lines().count(), 30);
    assert_said("cancel_again", &said("cancel rows"));
    let jobs: Value = serde_json::from_str(&said("jobs --json").stdout).unwrap();
    assert_eq!(jobs["jobs"][0]["state"], "cancelled");
    let again = said("run rows.jsonl --yes");
    assert_eq!(again.exit, Some(1), "{again}");
    assert!(again.stderr.contains("nothing was sent"), "{again}");
    assert_eq!(said("verify rows").exit, Some(0));
}
