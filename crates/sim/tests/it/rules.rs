//! Fault rules: what each effect does, and to whom.

use offpeak_sim::{Config, Fate, Faults, Request};
use serde_json::json;

use crate::harness::{BATCHES, Client, HOUR, SECOND, START, envelope, params, rows, value};

fn client(rules: &str) -> Client {
    Client::new(Config {
        faults: Faults::parse(rules).unwrap(),
        ..Config::default()
    })
}

fn call() -> Request {
    Request::new("POST", "/v1/messages")
        .signed("sk-ant-api03-abcd")
        .body(params("Hello.").to_string())
}

fn statuses(client: &mut Client, n: usize) -> Vec<u16> {
    (0..n).map(|_| client.send(&call()).status).collect()
}

#[test]
fn every_status_of_the_api_with_its_type_and_headers() {
    for (status, kind) in [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (409, "conflict_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ] {
        let mut client = client(&format!(
            "[[rule]]\nstatus = {status}\nfirst = 1\nretry_after = 3\nshould_retry = false"
        ));
        let reply = client.send(&call());
        assert_eq!(reply.status, status);
        assert_eq!(reply.header("retry-after"), Some("3"));
        assert_eq!(reply.header("x-should-retry"), Some("false"));
        assert_eq!(value(reply)["error"]["type"], kind);
        assert_eq!(client.send(&call()).status, 200);
        assert_eq!(client.world.bill().calls(), 1, "refusals are free");
    }
    let mut plain = client("[[rule]]\nstatus = 429\nretry_after = false");
    assert_eq!(plain.send(&call()).header("retry-after"), None);
    let mut seeded = client("[[rule]]\nstatus = 429");
    assert!(seeded.send(&call()).header("retry-after").is_some());
    let mut proxy = client("[[rule]]\nstatus = 413");
    assert_eq!(
        proxy.send(&call()).header("content-type"),
        Some("text/html")
    );
}

#[test]
fn occasions() {
    for (occasion, wanted) in [
        ("nth = 2", [200, 500, 200, 200]),
        ("every = 2", [200, 500, 200, 500]),
        ("first = 3", [500, 500, 500, 200]),
        ("p = 1", [500, 500, 500, 500]),
        ("p = 0", [200, 200, 200, 200]),
    ] {
        let mut client = client(&format!("[[rule]]\nstatus = 500\n{occasion}"));
        assert_eq!(statuses(&mut client, 4), wanted, "{occasion}");
    }
}

#[test]
fn aims() {
    let mut by_key = client("[[rule]]\nstatus = 500\nkey = 'abcd'");
    assert_eq!(statuses(&mut by_key, 1), [500]);
    assert_eq!(by_key.send(&call().with("x", "y")).status, 500);
    assert_eq!(
        by_key.post("/v1/messages", params("Hi.").to_string()).0,
        200
    );

    let mut by_model = client("[[rule]]\nstatus = 500\nmodel = 'claude-haiku-5-5'");
    assert_eq!(statuses(&mut by_model, 1), [200]);
    let mut haiku = params("Hi.");
    haiku["model"] = json!("claude-haiku-5-5");
    assert_eq!(by_model.post("/v1/messages", haiku.to_string()).0, 500);

    let mut both = client("[[rule]]\neffect = 'slow'\nms = 1\n[[rule]]\nstatus = 500\nmodel = 'x'");
    assert_eq!(both.post("/v1/messages", "no JSON").0, 400);
    let (_, plan) = both.get("/_sim/faults");
    assert_eq!(plan["rules"][0]["seen"], 1, "looked at once");
    assert_eq!(plan["rules"][1]["seen"], 0);

    let mut by_endpoint = client("[[rule]]\nstatus = 500\nendpoint = 'list'");
    assert_eq!(statuses(&mut by_endpoint, 1), [200]);
    assert_eq!(by_endpoint.get(BATCHES).0, 500);

    let mut in_time = client("[[rule]]\nstatus = 500\nafter = 10\nuntil = '2026-11-22T10:00:20Z'");
    assert_eq!(in_time.now, START);
    assert_eq!(statuses(&mut in_time, 1), [200]);
    in_time.wait(10 * SECOND);
    assert_eq!(statuses(&mut in_time, 1), [500]);
    in_time.wait(10 * SECOND);
    assert_eq!(statuses(&mut in_time, 1), [200]);
}

#[test]
fn connections_break_as_told() {
    let mut client = client(
        "[[rule]]\neffect = 'reset_before_accept'\nnth = 1\n\
         [[rule]]\neffect = 'reset_after_accept'\nendpoint = 'create'\n",
    );
    let create = Request::new("POST", BATCHES)
        .signed("key")
        .body(envelope(&rows(2)));
    assert_eq!(client.send(&create).fate, Fate::ResetBeforeAccept);
    assert_eq!(client.world.bill().batches(), 0);
    assert_eq!(client.send(&create).fate, Fate::ResetAfterAccept);
    assert_eq!(client.world.bill().batches(), 1);
}

#[test]
fn answers_are_late_and_odd() {
    let mut odd = client(
        "[[rule]]\neffect = 'slow'\nms = 5000\n[[rule]]\neffect = 'clock_skew'\nseconds = -60\n\
         [[rule]]\neffect = 'content_type'\nvalue = 'text/plain'\n",
    );
    let reply = odd.send(&call());
    assert!(reply.at - odd.now > 5 * SECOND);
    assert_eq!(reply.header("date"), Some("Sun, 22 Nov 2026 09:59:00 GMT"));
    assert_eq!(reply.header("content-type"), Some("text/plain"));
    assert_eq!(reply.status, 200);
    let (_, log) = odd.get("/_sim/requests");
    assert_eq!(
        log["requests"][0]["fault"],
        "slow, clock_skew, content_type"
    );

    let mut hidden = client("[[rule]]\neffect = 'hidden'\nseconds = 5\nnth = 1");
    let id = hidden.create(&rows(1));
    assert_eq!(hidden.get(&format!("{BATCHES}/{id}")).0, 404);
    hidden.wait(5 * SECOND);
    assert_eq!(hidden.get(&format!("{BATCHES}/{id}")).0, 200);
}

#[test]
fn rows_fail_by_their_names() {
    let mut client = client(
        "[[rule]]\neffect = 'row_errored'\ncustom_id = 'row-6'\nstatus = 402\n\
         [[rule]]\neffect = 'row_errored'\ncustom_id = 'row-1*'\nstatus = 529\n\
         [[rule]]\neffect = 'row_expired'\nevery = 4\n",
    );
    let lines = client.run(&rows(20));
    let of = |id: &str| lines.iter().find(|line| line["custom_id"] == id).unwrap();
    for id in ["row-1", "row-10", "row-19"] {
        assert_eq!(
            of(id)["result"]["error"]["error"]["type"],
            "overloaded_error"
        );
    }
    assert_eq!(
        of("row-6")["result"]["error"]["error"]["type"],
        "billing_error"
    );
    assert_eq!(of("row-3")["result"]["type"], "expired");
    assert_eq!(of("row-2")["result"]["type"], "succeeded");
    let (_, bill) = client.get("/_sim/bill");
    assert_eq!(
        bill["row_classes"]["errored"],
        json!({ "rows": 12, "picousd": "0" })
    );
    assert_eq!(bill["row_classes"]["expired"]["rows"], 2);
    assert_eq!(bill["row_classes"]["succeeded"]["rows"], 6);
}

#[test]
fn downloads_go_wrong_as_told() {
    let download = |client: &mut Client, id: &str| {
        let target = format!("{BATCHES}/{id}/results");
        let reply = client.send(&Request::new("GET", &target).signed("key"));
        let (bytes, complete) = reply.body.collect();
        (String::from_utf8(bytes).unwrap(), complete)
    };
    let run = |rules: &str| {
        let mut client = client(rules);
        let id = client.create(&rows(9));
        client.wait(HOUR);
        let first = download(&mut client, &id);
        let second = download(&mut client, &id);
        (first, second)
    };
    let ((whole, _), _) = run("");
    let ((cut, complete), (again, _)) = run("[[rule]]\neffect = 'truncated'\nbyte = 100\nnth = 1");
    assert_eq!((cut.as_str(), complete), (&whole[..100], false));
    assert_eq!(again, whole);
    let ((cut, complete), _) = run("[[rule]]\neffect = 'truncated'\nline = 3");
    assert_eq!((cut.matches('\n').count(), complete), (2, false));
    let ((gap, complete), _) = run("[[rule]]\neffect = 'missing_line'\ncustom_id = 'row-4'");
    assert_eq!((gap.matches('\n').count(), complete), (8, true));
    assert!(!gap.contains("row-4"));
    let ((twice, _), _) = run("[[rule]]\neffect = 'duplicate_line'\ncustom_id = 'row-4'");
    assert_eq!(twice.matches("row-4\"").count(), 2);
    let ((bad, _), _) = run("[[rule]]\neffect = 'malformed_line'\ncustom_id = 'row-4'");
    let unreadable = |line: &&str| serde_json::from_str::<serde_json::Value>(line).is_err();
    assert_eq!(bad.lines().filter(unreadable).count(), 1);
    let ((first, _), (second, _)) = run("[[rule]]\neffect = 'reordered_lines'");
    assert_ne!(first, second);
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&first), sorted(&whole));
}

#[test]
fn rules_are_put_in_at_run_time_and_counted() {
    let mut client = client("[[rule]]\nstatus = 529\nevery = 2");
    assert_eq!(statuses(&mut client, 4), [200, 529, 200, 529]);
    let (_, plan) = client.get("/_sim/faults");
    assert_eq!(
        plan["rules"],
        json!([{ "rule": { "status": 529, "every": 2 }, "seen": 4, "applied": 2 }])
    );
    let put = |client: &mut Client, body: &str| client.post("/_sim/faults", body);
    let (status, _) = put(
        &mut client,
        r#"{"add":true,"rule":[{"status":500,"endpoint":"models"}]}"#,
    );
    assert_eq!(status, 200);
    assert_eq!(client.get("/v1/models").0, 500);
    assert_eq!(statuses(&mut client, 2)[0], 529, "the first rule counts on");
    let (_, plan) = put(&mut client, r#"{"rule":[]}"#);
    assert_eq!(plan["rules"], json!([]));
    assert_eq!(statuses(&mut client, 4), [200; 4]);
    let (status, error) = put(&mut client, r#"{"rule":[{"statsu":500}]}"#);
    assert_eq!(status, 400);
    assert_eq!(error["error"], "a rule needs an `effect`, or a `status`");
    assert_eq!(client.post("/_sim/reset", "").0, 200);
    assert_eq!(statuses(&mut client, 2), [200, 529], "as at the start");
}
