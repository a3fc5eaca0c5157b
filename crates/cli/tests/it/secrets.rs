//! Keys stand nowhere: neither in what a run prints, in words or as JSON, nor in anything that it leaves on
//! the disk, whether it went well, met faults, was refused or was killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::kill::{Call, Point, Proxy};
use crate::over_http::{Server, answering};
use crate::sandbox::{Sandbox, requests};

const KEY: &str = "sk-ant-api03-recognisable-0123456789";
const ADMIN_KEY: &str = "sk-ant-admin01-recognisable-0123456789";

/// Each kind of trouble once or twice.
const FAULTS: &str = "
[[rule]]
endpoint = 'messages'
first = 2
status = 500
[[rule]]
endpoint = 'messages'
nth = 5
effect = 'reset_after_accept'
[[rule]]
endpoint = 'create'
nth = 1
effect = 'reset_after_accept'
[[rule]]
endpoint = 'results'
nth = 1
effect = 'truncated'
[[rule]]
endpoint = 'delete'
status = 403
";

/// Runs a command that has both keys in its environment, and looks through what it says.
fn said(sandbox: &Sandbox, url: &str, arguments: &str) -> Output {
    let mut command = sandbox.command(arguments);
    command
        .env("ANTHROPIC_API_KEY", KEY)
        .env("ANTHROPIC_ADMIN_KEY", ADMIN_KEY)
        .env("ANTHROPIC_BASE_URL", url)
        .env("RUST_BACKTRACE", "1");
    let output = command.output().unwrap();
    for text in [&output.stdout, &output.stderr] {
        assert!(!has_key(text), "`{arguments}` prints a key");
    }
    output
}

fn has_key(bytes: &[u8]) -> bool {
    // What all keys of the test have in common, so that a part of one is found too.
    let secret = b"recognisable";
    bytes.windows(secret.len()).any(|window| window == secret)
}

fn files_with_key(root: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![root.to_owned()]);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if has_key(&fs::read(&path).unwrap()) {
                found.push(path);
            }
        }
    }
    found
}

fn nothing_is_left(sandbox: &Sandbox) {
    let root = sandbox.path("");
    assert_eq!(files_with_key(&root), Vec::<PathBuf>::new());
    // The search finds what is there.
    sandbox.write("data/trace.log", format!("x-api-key: {KEY}\n"));
    assert_eq!(files_with_key(&root), [sandbox.path("data/trace.log")]);
    fs::remove_file(sandbox.path("data/trace.log")).unwrap();
}

#[test]
fn no_key_is_left_by_jobs_that_meet_faults() {
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", requests(40)).write(
        "job.toml",
        "input = \"rows.jsonl\"\noutput = \"job.jsonl\"\n[limits]\ndelete_upstream = true\n",
    );
    sandbox.write("faults.toml", FAULTS);
    let (_server, url) = Server::simulator(&sandbox, "--speed 3000 --faults faults.toml");
    let run = said(
        &sandbox,
        &url,
        "run rows.jsonl --yes --needs seconds --past-guard",
    );
    assert!(matches!(run.status.code(), Some(0 | 1)), "{run:?}");
    let run = said(&sandbox, &url, "run job.toml --yes --json --past-guard");
    assert!(matches!(run.status.code(), Some(0 | 1)), "{run:?}");
    for command in [
        "jobs",
        "status job",
        "verify job",
        "doctor",
        "plan job.toml --count sample",
    ] {
        said(&sandbox, &url, command);
        said(&sandbox, &url, &format!("{command} --json"));
    }
    nothing_is_left(&sandbox);
}

#[test]
fn no_key_is_left_by_a_run_that_is_killed() {
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", requests(40));
    let (_server, upstream) = Server::simulator(&sandbox, "--speed 600");
    for (call, point) in [
        (Call::Create, Point::HalfSent),
        (Call::Results, Point::HalfAnswered),
    ] {
        let (url, reached) = Proxy::start(&upstream, (call, 0, point));
        let mut run = sandbox
            .command("run rows.jsonl --yes --json")
            .env("ANTHROPIC_API_KEY", KEY)
            .env("ANTHROPIC_ADMIN_KEY", ADMIN_KEY)
            .env("ANTHROPIC_BASE_URL", &url)
            .spawn()
            .unwrap();
        reached.recv().unwrap();
        run.kill().unwrap();
        let output = run.wait_with_output().unwrap();
        assert!(
            !has_key(&output.stdout) && !has_key(&output.stderr),
            "{call:?}"
        );
        nothing_is_left(&sandbox);
    }
}

#[test]
fn no_key_is_in_an_error() {
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", requests(2));
    let refusing = answering(
        401,
        r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#,
    );
    let broken = answering(200, "not JSON");
    let run = "run rows.jsonl --yes --needs seconds";
    let plan = "plan rows.jsonl --count sample";
    for (url, commands) in [
        (&*refusing, &[run, plan, "doctor"][..]),
        (&broken, &["doctor"]),
        ("http://127.0.0.1:1", &["doctor"]),
        ("ftp://host", &[run, plan, "doctor"]),
        ("http://example.com", &[run, plan, "doctor"]),
    ] {
        for command in commands {
            said(&sandbox, url, command);
            said(&sandbox, url, &format!("{command} --json"));
        }
    }
    // A key that cannot travel in a header is refused without being quoted.
    for wrong in ["sk-ant-recognisable\nx: 1", "sk-ant-recognisable-é"] {
        for command in [
            "doctor",
            "doctor --json",
            "run rows.jsonl --yes",
            "run rows.jsonl --yes --json",
        ] {
            let output = sandbox
                .command(command)
                .env("ANTHROPIC_API_KEY", wrong)
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(2), "{command}");
            assert!(
                !has_key(&output.stdout) && !has_key(&output.stderr),
                "{command}"
            );
        }
    }
    nothing_is_left(&sandbox);
}
