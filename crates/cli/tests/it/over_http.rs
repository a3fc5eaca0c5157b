//! The binary against a server: the simulator served by another process, and upstreams that refuse
//! or say nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Command};

use serde_json::Value;

use crate::sandbox::{Sandbox, assert_said, requests};

/// The key of tests: each key has a workspace of its own.
const KEY: &str = "sk-ant-test";

/// A process that does not outlive its test.
pub(crate) struct Server(pub(crate) Child);

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Server {
    /// `offpeak sim` on a free port, and its address.
    pub(crate) fn simulator(sandbox: &Sandbox, options: &str) -> (Self, String) {
        let mut child = sandbox
            .command(&format!("sim --listen 127.0.0.1:0 {options}"))
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let line = stderr.lines().next().unwrap().unwrap();
        let url = line
            .strip_prefix("export ANTHROPIC_BASE_URL=")
            .unwrap()
            .to_owned();
        (Self(child), url)
    }
}

pub(crate) fn to(url: &str, sandbox: &Sandbox, arguments: &str) -> Command {
    let mut command = sandbox.command(arguments);
    command
        .env("ANTHROPIC_API_KEY", KEY)
        .env("ANTHROPIC_BASE_URL", url);
    command
}

#[test]
fn a_paid_job_is_asked_for_run_once_and_never_paid_again() {
    let sandbox = Sandbox::new();
    let (_server, url) = Server::simulator(&sandbox, "--speed 1000");
    sandbox.write("rows.jsonl", requests(4));
    let run = |options: &str| {
        let mut command = to(
            &url,
            &sandbox,
            &format!("run rows.jsonl --needs seconds {options}"),
        );
        sandbox.said(&command.output().unwrap())
    };
    assert_said("http_nobody_to_ask", &run(""));
    let first = run("--yes --json -q");
    assert_eq!(first.exit, Some(0), "{first}");
    let manifest: Value = serde_json::from_str(&first.stdout).unwrap();
    assert_eq!(
        manifest.get("upstream_bill_picousd"),
        None,
        "nobody asked the API for a bill"
    );
    assert_eq!(
        run("--json -q").stdout,
        first.stdout,
        "the same manifest, and nothing sent"
    );
    let bill = ask(&url, "/_sim/bill");
    assert_eq!(
        (&bill["calls"], &bill["total_picousd"]),
        (&4.into(), &manifest["cost_picousd"])
    );
    // The answers are kept: an output that was lost comes back without a call.
    let output = sandbox.read("rows.out.jsonl");
    std::fs::remove_file(sandbox.path("rows.out.jsonl")).unwrap();
    assert_eq!(run("-q").exit, Some(0));
    assert_eq!(sandbox.read("rows.out.jsonl"), output);
    assert_eq!(ask(&url, "/_sim/bill"), bill);
    // A simulation must not take the place of answers that were paid for.
    assert_eq!(sandbox.offpeak("run rows.jsonl --sim").exit, Some(2));
}

#[test]
fn a_refused_key_is_4() {
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", requests(2));
    let url = answering(
        401,
        r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#,
    );
    let run = to(&url, &sandbox, "run rows.jsonl --yes --needs seconds")
        .output()
        .unwrap();
    let said = sandbox.said(&run);
    assert_eq!(said.exit, Some(4), "{said}");
    assert!(said.stderr.contains("authentication_error"), "{said}");
    let doctor = to(&url, &sandbox, "doctor --json").output().unwrap();
    let doctor: Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let checks = doctor["checks"].as_array().unwrap();
    let api = checks.iter().find(|check| check["part"] == "API").unwrap();
    assert_eq!(
        (&api["health"], doctor["ok"].as_bool()),
        (&"fail".into(), Some(false))
    );
}

#[test]
fn doctor_without_a_key_asks_nobody() {
    let sandbox = Sandbox::new();
    let said = sandbox.offpeak("doctor --json --base-url http://127.0.0.1:1");
    let answer: Value = serde_json::from_str(&said.stdout).unwrap();
    let parts: Vec<_> = answer["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|check| check["part"].as_str())
        .collect();
    assert_eq!(
        parts,
        [
            Some("data directory"),
            Some("clock"),
            Some("price book"),
            Some("API key")
        ]
    );
}

#[test]
fn an_interrupt_stops_in_order_and_a_second_one_at_once() {
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", requests(2));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut run = Server(to(&url, &sandbox, "run rows.jsonl --yes").spawn().unwrap());
    // The run is under way once its first call arrives, which is never answered.
    let (mut call, _) = listener.accept().unwrap();
    assert!(call.read(&mut [0; 16]).unwrap() > 0);
    let mut told = BufReader::new(run.0.stderr.take().unwrap());
    interrupt(&run.0);
    until(&mut told, "ctrl-c again stops at once");
    interrupt(&run.0);
    assert_eq!(run.0.wait().unwrap().code(), Some(5));
}

pub(crate) fn interrupt(child: &Child) {
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
}

fn until(told: &mut BufReader<ChildStderr>, words: &str) {
    let mut line = String::new();
    while !line.contains(words) {
        line.clear();
        assert!(
            told.read_line(&mut line).unwrap() > 0,
            "it never said `{words}`"
        );
    }
}

/// An upstream that gives every call the same answer; it ends with the test process.
pub(crate) fn answering(status: u16, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            drop(stream.read(&mut [0; 65536]));
            let head = format!(
                "HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {}",
                body.len()
            );
            drop(write!(stream, "{head}\r\n\r\n{body}"));
        }
    });
    url
}

pub(crate) fn ask(url: &str, path: &str) -> Value {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: sim\r\nx-api-key: {KEY}\r\nanthropic-version: 2023-06-01\r\n\
         connection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap()
}
