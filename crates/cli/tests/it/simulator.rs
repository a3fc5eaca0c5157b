//! `offpeak sim` as a process: what it is started with, how it ends, and what it keeps.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command};

use serde_json::{Value, json};

use crate::over_http::{Server, ask};
use crate::sandbox::{Sandbox, assert_said, requests};

pub(crate) fn post(url: &str, path: &str, body: &str) -> Value {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: sim\r\nx-api-key: key\r\nanthropic-version: 2023-06-01\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap()
}

fn envelope(rows: &str) -> String {
    let rows: Vec<&str> = rows.lines().collect();
    format!(r#"{{"requests":[{}]}}"#, rows.join(","))
}

/// Asks a server to end, and waits until it has.
fn end(mut child: Child, signal: &str) -> Option<i32> {
    let kill = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    child.wait().unwrap().code()
}

fn start(sandbox: &Sandbox, options: &str) -> (Child, String) {
    let mut child = sandbox
        .command(&format!("sim --listen 127.0.0.1:0 {options}"))
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    // Whoever writes to a closed pipe ends; the server goes on writing at its end.
    std::thread::spawn(move || drop(stderr.read_to_string(&mut String::new())));
    let url = line.trim_end().strip_prefix("export ANTHROPIC_BASE_URL=");
    (child, url.unwrap().to_owned())
}

#[test]
fn the_environment_of_a_client() {
    let sandbox = Sandbox::new();
    let said = sandbox.offpeak("sim --print-env --listen 127.0.0.1:4711");
    assert_eq!(
        said.stdout,
        "export ANTHROPIC_BASE_URL=http://127.0.0.1:4711\nexport ANTHROPIC_API_KEY=sk-ant-simulated\n"
    );
    let said = sandbox.offpeak("sim --print-env --listen 127.0.0.1:0");
    assert_eq!(said.exit, Some(2), "{said}");
}

#[test]
fn what_cannot_be_simulated_is_said() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "faults.toml",
        "[[rule]]\nstatus = 529\nendpiont = \"create\"\n",
    );
    sandbox.write("state", "something else");
    for (name, options) in [
        ("sim_wrong_rule", "--faults faults.toml"),
        ("sim_no_such_rules", "--faults nothing.toml"),
        ("sim_wrong_assumption", "--assume worker=3"),
        ("sim_wrong_state", "--state state"),
    ] {
        let said = sandbox.offpeak(&format!("sim --listen 127.0.0.1:0 {options}"));
        assert_eq!(said.exit, Some(2), "{said}");
        assert_said(name, &said);
    }
}

#[test]
fn a_world_survives_the_end_of_its_process() {
    let sandbox = Sandbox::new();
    let options = "--clock virtual --state world.state";
    let (child, url) = start(&sandbox, options);
    let batch = post(&url, "/v1/messages/batches", &envelope(&requests(3)));
    let moved = post(&url, "/_sim/clock", r#"{"advance_s":3600}"#);
    let bill = ask(&url, "/_sim/bill");
    assert_eq!(bill["rows"], 3);
    assert_eq!(end(child, "-TERM"), Some(0));

    let (child, url) = start(&sandbox, options);
    assert_eq!(ask(&url, "/_sim/bill"), bill);
    assert_eq!(ask(&url, "/_sim/clock")["now"], moved["now"]);
    let requests = ask(&url, "/_sim/requests");
    assert_eq!(requests["requests"][0]["rows"], 3);
    assert!(batch["id"].as_str().is_some());
    assert_eq!(end(child, "-INT"), Some(0));
    let said = sandbox.offpeak("sim --listen 127.0.0.1:0 --seed 5 --state world.state");
    assert_eq!(said.exit, Some(2));
    assert!(said.stderr.contains("start with that seed"), "{said}");
}

#[test]
fn rules_tiers_and_assumptions_hold() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "faults.toml",
        "[[rule]]\nendpoint = \"create\"\nnth = 1\nstatus = 529\n",
    );
    let options = "--clock virtual --faults faults.toml --tier start --assume live-counts=yes \
                   --assume profile=stuck";
    let (_server, url) = Server::simulator(&sandbox, options);
    let rows = envelope(&requests(2));
    let refused = post(&url, "/v1/messages/batches", &rows);
    assert_eq!(refused["error"]["type"], "overloaded_error");
    let batch = post(&url, "/v1/messages/batches", &rows);
    assert_eq!(batch["request_counts"]["processing"], 2);
    post(&url, "/_sim/clock", r#"{"advance_s":79200}"#);
    assert_eq!(ask(&url, "/_sim/state")["batches"]["in_progress"], 1);
    assert_eq!(
        ask(&url, "/_sim/faults")["rules"][0]["rule"],
        json!({ "endpoint": "create", "nth": 1, "status": 529 })
    );
}
