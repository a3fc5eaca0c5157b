//! What goes wrong, and what it leaves behind.

use offpeak_sim::{
    Body, Config, Endpoint, EndpointFaults, Fate, Fault, Faults, Limits, Request, ResultFaults,
    RowFaults,
};
use serde_json::json;

use crate::harness::{BATCHES, Client, HOUR, SECOND, envelope, params, rows, value};

fn client(faults: Faults) -> Client {
    Client::new(Config {
        faults,
        ..Config::default()
    })
}

fn call() -> Request {
    Request::new("POST", "/v1/messages")
        .signed("key")
        .body(params("Hello.").to_string())
}

fn create() -> Request {
    Request::new("POST", BATCHES)
        .signed("key")
        .body(envelope(&rows(3)))
}

#[test]
fn statuses_and_their_bodies() {
    let faults = Faults::none()
        .at(Endpoint::Messages, 0, Fault::RateLimited)
        .at(Endpoint::Messages, 1, Fault::Overloaded)
        .at(Endpoint::Messages, 2, Fault::Internal)
        .at(Endpoint::Messages, 3, Fault::SpendCap);
    let mut client = client(faults);
    let wanted = [
        (429, "rate_limit_error", true),
        (529, "overloaded_error", false),
        (500, "api_error", false),
        (429, "rate_limit_error", false),
    ];
    for (status, kind, retry_after) in wanted {
        let reply = client.send(&call());
        assert_eq!((reply.status, reply.fate), (status, Fate::Answer));
        assert_eq!(reply.header("retry-after").is_some(), retry_after);
        let body = value(reply);
        assert_eq!(body["error"]["type"], kind);
        let code = &body["error"]["details"]["error_code"];
        assert_eq!(
            code == "enforced_spend_limit_reached",
            status == 429 && !retry_after
        );
    }
    assert_eq!(client.send(&call()).status, 200);
    assert_eq!(client.world.bill().calls(), 1, "failed calls are free");
}

#[test]
fn a_reset_before_the_accept_leaves_nothing_behind() {
    let mut client = client(Faults::none().at(Endpoint::Create, 0, Fault::ResetBeforeAccept));
    assert_eq!(client.send(&create()).fate, Fate::ResetBeforeAccept);
    assert_eq!(client.get(BATCHES).1["data"], json!([]));
    assert_eq!(client.world.bill().batches(), 0);
}

#[test]
fn a_reset_after_the_accept_leaves_a_batch_to_find() {
    let mut client = client(Faults::none().at(Endpoint::Create, 0, Fault::ResetAfterAccept));
    assert_eq!(client.send(&create()).fate, Fate::ResetAfterAccept);
    assert_eq!(client.get(BATCHES).1["data"].as_array().unwrap().len(), 1);
    // Sent again blindly, everything is paid twice, and the bill says so.
    client.create(&rows(3));
    client.wait(HOUR);
    client.world.advance(client.now);
    let bill = client.world.bill();
    assert_eq!((bill.rows(), bill.duplicates(), bill.batches()), (6, 3, 2));
    let (_, summary) = client.get("/_sim/bill");
    assert_eq!(summary["duplicates"], 3);
    let total = client.world.bill().total().to_string();
    assert_eq!(summary["total_picousd"], total);
}

#[test]
fn a_lost_answer_is_billed() {
    let mut client = client(Faults::none().at(Endpoint::Messages, 0, Fault::ResetAfterAccept));
    assert_eq!(client.send(&call()).fate, Fate::ResetAfterAccept);
    let answered = client.message(&params("Hello."));
    let lines: Vec<_> = client.world.bill().lines().collect();
    assert_eq!(
        lines.iter().map(|line| line.lost).collect::<Vec<_>>(),
        [true, false]
    );
    assert_eq!(lines[1].id, answered["id"].as_str().unwrap());
    assert!(lines[0].pico > 0 && lines[0].id != lines[1].id);
}

#[test]
fn rows_fail_at_their_rates_and_for_free() {
    let rows_faults = RowFaults {
        api_error: 0.1,
        overloaded: 0.1,
        expired: 0.1,
    };
    let mut client = client(Faults {
        rows: rows_faults,
        ..Faults::none()
    });
    let lines = client.run(&rows(600));
    let count = |kind: &str| {
        let kinds = lines.iter().map(|line| {
            let result = &line["result"];
            result["error"]["error"]["type"]
                .as_str()
                .or_else(|| result["type"].as_str())
        });
        kinds.filter(|found| *found == Some(kind)).count()
    };
    for kind in ["api_error", "overloaded_error", "expired"] {
        assert!((35..85).contains(&count(kind)), "{kind}: {}", count(kind));
    }
    assert_eq!(client.world.bill().rows(), count("succeeded") as u64);
    let failed = lines
        .iter()
        .find(|line| line["result"]["type"] == "errored")
        .unwrap();
    let request_id = failed["result"]["error"]["request_id"].as_str().unwrap();
    assert!(request_id.starts_with("workerreq_"));
}

#[test]
fn downloads_break_repeat_and_garble() {
    let results = ResultFaults {
        truncated: 1.0,
        ..ResultFaults::default()
    };
    let mut broken = client(Faults {
        results,
        ..Faults::none()
    });
    let id = broken.create(&rows(50));
    broken.wait(HOUR);
    let results_of = |client: &mut Client, id: &str| {
        let target = format!("{BATCHES}/{id}/results");
        client
            .send(&Request::new("GET", &target).signed("key"))
            .body
            .collect()
    };
    let (first, complete) = results_of(&mut broken, &id);
    assert!(!complete && !first.ends_with(b"\n"));
    let (second, _) = results_of(&mut broken, &id);
    assert_ne!(first.len(), second.len(), "every download breaks elsewhere");
    let shared = first.len().min(second.len());
    assert_eq!(first[..shared], second[..shared], "in the same order");

    let results = ResultFaults {
        duplicate_line: 0.2,
        malformed_line: 0.2,
        ..ResultFaults::default()
    };
    let mut odd = client(Faults {
        results,
        ..Faults::none()
    });
    let id = odd.create(&rows(100));
    odd.wait(HOUR);
    let (bytes, complete) = results_of(&mut odd, &id);
    let text = String::from_utf8(bytes).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let bad = lines
        .iter()
        .filter(|l| serde_json::from_str::<serde_json::Value>(l).is_err())
        .count();
    assert!(
        complete && bad > 5 && lines.len() > 105,
        "{bad} of {}",
        lines.len()
    );
    assert_eq!(
        odd.world.bill().duplicates(),
        0,
        "a line twice is not a row twice"
    );
}

#[test]
fn a_new_batch_may_hide_for_a_moment() {
    let mut client = client(Faults {
        hidden_at_first: 1.0,
        ..Faults::none()
    });
    let id = client.create(&rows(1));
    let target = format!("{BATCHES}/{id}");
    assert_eq!(client.get(&target).0, 404);
    assert_eq!(client.get(BATCHES).1["data"], json!([]));
    client.wait(10 * SECOND);
    assert_eq!(client.get(&target).0, 200);
}

#[test]
fn a_rough_day_touches_every_endpoint() {
    let rough = Faults::rough(5);
    assert_eq!(rough.results.malformed_line, 0.0);
    for endpoint in Endpoint::ALL {
        assert_ne!(
            rough.endpoints[endpoint as usize],
            EndpointFaults::default()
        );
    }
    let mut client = client(rough);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let reply = client.send(&call());
        seen.insert((reply.status, reply.fate as u8));
        assert!(matches!(reply.body, Body::Full(_)));
    }
    assert_eq!(seen.len(), 6, "{seen:?}");
}

#[test]
fn enforced_limits_answer_429() {
    let limits = Limits {
        messages: 2,
        queued_rows: 5,
        ..Limits::start()
    };
    let mut client = Client::new(Config {
        limits,
        ..Config::default()
    });
    assert_eq!(
        [client.send(&call()).status, client.send(&call()).status],
        [200, 200]
    );
    let reply = client.send(&call());
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (429, Some("30"))
    );
    client.wait(30 * SECOND);
    assert_eq!(client.send(&call()).status, 200);

    assert_eq!(client.send(&create()).status, 200);
    assert_eq!(
        client.send(&create()).status,
        429,
        "six rows are more than the queue holds"
    );
    client.wait(HOUR);
    assert_eq!(client.send(&create()).status, 200);
}
