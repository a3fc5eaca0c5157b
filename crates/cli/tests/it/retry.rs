//! `--retry-truncated`: what it asks again, what it costs, and what it refuses.

use serde_json::Value;

use crate::kill::{Call, Point, Proxy};
use crate::over_http::{Server, ask, to};
use crate::reuse::lines;
use crate::sandbox::{Said, Sandbox, assert_said, message, request};

/// Rows of which every third is cut off.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let row = |row: usize| {
        let max_tokens = if row.is_multiple_of(3) { 4 } else { 2000 };
        let members = format!("\"max_tokens\":{max_tokens},{}", message(row));
        request(&format!("r{row}"), &members)
    };
    sandbox.write("rows.jsonl", (1..=10).map(row).collect::<String>());
    sandbox
}

fn ended(sandbox: &Sandbox, arguments: &str, exit: i32) -> Said {
    let said = sandbox.offpeak(arguments);
    assert_eq!(said.exit, Some(exit), "{said}");
    said
}

fn pico(value: &Value) -> i128 {
    value.as_str().unwrap().parse().unwrap()
}

#[test]
fn rows_that_were_cut_off_are_asked_again_and_nothing_else_is_paid() {
    let sandbox = sandbox();
    ended(&sandbox, "run rows.jsonl --sim", 1);
    let before = lines(&sandbox);
    assert_said(
        "retry_run",
        &ended(&sandbox, "run rows.jsonl --sim --retry-truncated 4096", 0),
    );
    let after = lines(&sandbox);
    let mut cost = 0;
    for (row, (line, was)) in after.iter().zip(&before).enumerate() {
        assert_eq!(line["key"], format!("r{}", row + 1));
        assert_eq!(line["status"], "succeeded");
        if was["status"] == "truncated" {
            assert_eq!(line.get("reused"), None);
            cost += pico(&line["cost_picousd"]);
        } else {
            assert_eq!(line["message"], was["message"]);
            assert_eq!(line["reused"], serde_json::json!({"run": 1, "row": row}));
        }
    }
    assert_said("retry_verify", &ended(&sandbox, "verify rows --sim", 0));
    // Nothing is left to ask: the manifest of that run is what there is to say.
    let again = "run rows.jsonl --sim --retry-truncated 5000";
    let said = ended(&sandbox, &format!("{again} --json"), 0);
    let manifest: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(
        (&manifest["run"], &manifest["rows_out"]),
        (&2.into(), &10.into())
    );
    assert_eq!(
        manifest["asked_again"],
        serde_json::json!({"rows": 3, "max_tokens": 4096})
    );
    assert_eq!(manifest["reused"]["earlier_runs"]["rows"], 7);
    assert_eq!(pico(&manifest["cost_picousd"]), cost);
    assert_eq!(manifest["upstream_bill_picousd"], manifest["cost_picousd"]);
    assert_said("retry_nothing_to_ask", &ended(&sandbox, again, 0));
}

#[test]
fn what_cannot_be_asked_again_is_said_with_what_to_type() {
    let sandbox = sandbox();
    let retry = "run rows.jsonl --sim --retry-truncated";
    assert_said(
        "retry_of_no_run",
        &ended(&sandbox, &format!("{retry} 4096"), 2),
    );
    ended(&sandbox, "run rows.jsonl --sim", 1);
    assert_said(
        "retry_above_the_model",
        &ended(&sandbox, &format!("{retry} 999999"), 2),
    );
    ended(&sandbox, &format!("{retry} 0"), 2);
    ended(&sandbox, &format!("{retry} 4096 --fresh"), 2);
    let rows = sandbox.read("rows.jsonl");
    sandbox.write("rows.jsonl", rows.replace("Say 2.", "Say two."));
    assert_said(
        "retry_of_other_rows",
        &ended(&sandbox, &format!("{retry} 4096"), 2),
    );
    sandbox.write("rows.jsonl", rows);
    ended(&sandbox, "purge rows --sim --yes", 0);
    let said = ended(&sandbox, &format!("{retry} 4096"), 2);
    assert!(said.stderr.contains("were purged on"), "{said}");
}

#[test]
fn a_retry_that_is_killed_goes_on_with_either_command() {
    for (options, moment) in [
        (
            "--retry-truncated 4096",
            (Call::Create, 0, Point::Unanswered),
        ),
        ("", (Call::Results, 0, Point::HalfAnswered)),
    ] {
        let sandbox = sandbox();
        let (_server, upstream) = Server::simulator(&sandbox, "--speed 600");
        let run = |url: &str, options: &str| {
            let command = format!("run rows.jsonl --yes --json -q --overwrite {options}");
            to(url, &sandbox, &command)
        };
        let first = run(&upstream, "").output().unwrap();
        let first: Value = serde_json::from_slice(&first.stdout).unwrap();
        assert_eq!(first["outcomes"]["truncated"], 3);
        let (url, reached) = Proxy::start(&upstream, moment);
        let mut killed = run(&url, "--retry-truncated 4096").spawn().unwrap();
        reached.recv().unwrap();
        killed.kill().unwrap();
        killed.wait().unwrap();
        // Until it ends, another one cannot begin.
        let other = sandbox.said(&run(&upstream, "--retry-truncated 5000").output().unwrap());
        assert_eq!(other.exit, Some(2), "{other}");
        let last = sandbox.said(&run(&upstream, options).output().unwrap());
        assert_eq!(last.exit, Some(0), "{last}");
        let last: Value = serde_json::from_str(&last.stdout).unwrap();
        assert_eq!(last["asked_again"]["rows"], 3);
        assert_eq!(lines(&sandbox).len(), 10);
        let bill = ask(&upstream, "/_sim/bill");
        let paid = pico(&first["cost_picousd"]) + pico(&last["cost_picousd"]);
        assert_eq!(
            (pico(&bill["total_picousd"]), &bill["duplicates"]),
            (paid, &0.into())
        );
        assert_eq!(sandbox.offpeak("verify rows").exit, Some(0));
    }
}
