//! `[limits] delete_upstream`: what is said before and after, and what the upstream has in the end.

use serde_json::Value;

use crate::over_http::{Server, ask, to};
use crate::sandbox::{Said, Sandbox, assert_said, requests};
use crate::simulator::post;

const JOB: &str = "input = \"rows.jsonl\"\n[limits]\ndelete_upstream = true\n";

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox
        .write("rows.jsonl", requests(4))
        .write("job.toml", JOB);
    sandbox
}

fn run(sandbox: &Sandbox, url: &str, options: &str) -> Said {
    let mut command = to(url, sandbox, &format!("run job.toml --yes {options}"));
    sandbox.said(&command.output().unwrap())
}

fn upstream(url: &str) -> usize {
    let page = ask(url, "/v1/messages/batches");
    page["data"].as_array().unwrap().len()
}

#[test]
fn it_is_said_before_and_after() {
    let sandbox = sandbox();
    let plan = sandbox.offpeak("plan job.toml --sim");
    assert!(
        plan.stdout.contains("Each batch is deleted upstream"),
        "{plan}"
    );
    let plan = sandbox.offpeak("plan rows.jsonl --sim");
    assert!(!plan.stdout.contains("deleted upstream"), "{plan}");
    assert_said("delete_upstream", &sandbox.offpeak("run job.toml --sim"));
    let said = sandbox.offpeak("status job --sim --json");
    let status: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(status["upstream_copies"]["deleted"], 1, "{said}");
    assert_eq!(status["upstream_copies"]["there"], 0, "{said}");
}

#[test]
fn what_fails_is_told_and_done_by_the_same_command() {
    let sandbox = sandbox();
    sandbox.write(
        "faults.toml",
        "[[rule]]\nendpoint = \"delete\"\nstatus = 403\n",
    );
    let (_server, url) = Server::simulator(&sandbox, "--speed 1000 --faults faults.toml");
    let first = run(&sandbox, &url, "-q");
    assert_eq!(first.exit, Some(0), "every row is answered: {first}");
    assert!(
        first.stderr.starts_with("not deleted upstream: 1 batch (")
            && first.stderr.contains("the same command tries again"),
        "{first}"
    );
    assert_eq!(upstream(&url), 1);
    post(&url, "/_sim/faults", r#"{"rule":[]}"#);
    let bill = ask(&url, "/_sim/bill");
    let second = run(&sandbox, &url, "--json -q");
    let answer: Value = serde_json::from_str(&second.stdout).unwrap();
    assert_eq!(answer["upstream_copies"]["deleted"], 1, "{second}");
    assert_eq!(answer["rows_out"], 4);
    assert_eq!((second.exit, second.stderr.as_str()), (Some(0), ""));
    assert_eq!(upstream(&url), 0);
    assert_eq!(ask(&url, "/_sim/bill"), bill);
}
