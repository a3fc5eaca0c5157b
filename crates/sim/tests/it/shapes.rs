//! What answers look like: members, headers, paging; and that wire reads them.

use offpeak_sim::{Config, OutputModel, Request, World};
use offpeak_wire::batch::{BatchObject, BatchPage, BatchStatus};
use offpeak_wire::message::{MessageView, StopReason};
use offpeak_wire::result::{ResultLine, RowResult};
use serde_json::json;

use crate::harness::{BATCHES, Client, HOUR, MINUTE, START, envelope, params, row, rows, value};

#[test]
fn a_message() {
    let mut client = Client::new(Config::default());
    let request = Request::new("POST", "/v1/messages?beta=true").signed("key");
    let reply = client.send(&request.body(params("Hello there.").to_string()));
    assert_eq!(reply.status, 200);
    assert!(reply.at >= client.now + 600_000, "an answer takes its time");
    let (bytes, _) = reply.body.collect();
    let message = MessageView::parse(&bytes).unwrap();
    assert!(message.id.starts_with("msg_01"));
    assert_eq!(message.model, "claude-sonnet-4-6");
    assert_eq!(message.stop_reason, StopReason::EndTurn);
    assert_eq!(message.usage.input_tokens, 3);
    assert!((60..=220).contains(&message.usage.output_tokens));
    assert_eq!(message.usage.service_tier.as_deref(), Some("standard"));
    assert_eq!(message.usage.inference_geo.as_deref(), Some("global"));
    assert!(message.text().split(' ').count() > 30, "{}", message.text());
}

#[test]
fn an_alias_answers_under_its_dated_name() {
    let mut client = Client::new(Config::default());
    let mut params = params("x");
    params["model"] = json!("claude-haiku-4-5");
    assert_eq!(
        client.message(&params)["model"],
        "claude-haiku-4-5-20251001"
    );
}

#[test]
fn max_tokens_cuts_an_answer_short() {
    let config = Config {
        output: OutputModel::Fixed(200),
        ..Config::default()
    };
    let mut client = Client::new(config);
    let mut params = params("x");
    params["max_tokens"] = json!(7);
    let answer = client.message(&params);
    assert_eq!(answer["stop_reason"], "max_tokens");
    assert_eq!(answer["usage"]["output_tokens"], 7);
    params["max_tokens"] = json!(0);
    let answer = client.message(&params);
    assert_eq!(answer["content"], json!([]));
    assert_eq!(answer["stop_reason"], "max_tokens");
    assert_eq!(answer["usage"]["output_tokens"], 0);
}

#[test]
fn tokens_are_counted_for_free() {
    let mut client = Client::new(Config::default());
    let mut body = params("Hello there.");
    body.as_object_mut().unwrap().remove("max_tokens");
    let (status, answer) = client.post("/v1/messages/count_tokens", body.to_string());
    assert_eq!((status, answer), (200, json!({ "input_tokens": 3 })));
    assert!(client.world.bill().is_empty());
}

#[test]
fn headers_of_every_answer() {
    let mut client = Client::new(Config::default());
    let reply = client.send(&Request::new("GET", BATCHES).signed("key"));
    let header = |name| reply.header(name).unwrap_or_else(|| panic!("no {name}"));
    assert!(header("request-id").starts_with("req_01"));
    assert_eq!(header("anthropic-organization-id").len(), 36);
    assert!(header("anthropic-workspace-id").starts_with("wrkspc_"));
    assert_eq!(header("date"), "Sun, 22 Nov 2026 10:00:00 GMT");
    assert_eq!(header("anthropic-ratelimit-requests-limit"), "4000");
    assert_eq!(header("anthropic-ratelimit-requests-remaining"), "3999");
    assert!(header("anthropic-ratelimit-requests-reset").ends_with('Z'));
    assert_eq!(reply.header("anthropic-ratelimit-input-tokens-limit"), None);

    let request = Request::new("POST", "/v1/messages").signed("key");
    let reply = client.send(&request.body(params("x").to_string()));
    for pool in ["requests", "input-tokens", "output-tokens"] {
        for part in ["limit", "remaining", "reset"] {
            let name = format!("anthropic-ratelimit-{pool}-{part}");
            assert!(reply.header(&name).is_some(), "{name}");
        }
    }
}

#[test]
fn a_batch_object_before_and_after_its_end() {
    let mut client = Client::new(Config::default());
    let create = Request::new("POST", BATCHES)
        .signed("key")
        .with("Host", "sim.test:8080");
    let reply = client.send(&create.body(envelope(&rows(3))));
    assert_eq!(reply.status, 200);
    let (bytes, _) = reply.body.collect();
    let batch = BatchObject::parse(&bytes).unwrap();
    assert_eq!(batch.status, BatchStatus::InProgress);
    assert_eq!((batch.counts.processing, batch.counts.total()), (3, 3));
    assert_eq!(batch.created_at, "2026-11-22T10:00:00.000000Z");
    assert_eq!(batch.expires_at, "2026-11-23T10:00:00.000000Z");
    assert_eq!((batch.results_url, batch.ended_at), (None, None));

    let retrieve = Request::new("GET", &format!("{BATCHES}/{}", batch.id)).signed("key");
    let retrieve = retrieve.with("Host", "sim.test:8080");
    let running = client.send(&retrieve);
    assert_eq!(running.header("retry-after"), Some("10"));
    client.wait(HOUR);
    let ended = client.send(&retrieve);
    assert_eq!(ended.header("retry-after"), None);
    let (bytes, _) = ended.body.collect();
    let ended = BatchObject::parse(&bytes).unwrap();
    assert_eq!(ended.status, BatchStatus::Ended);
    assert_eq!((ended.counts.succeeded, ended.counts.processing), (3, 0));
    assert!(ended.ended_at.is_some());
    let url = format!("http://sim.test:8080{BATCHES}/{}/results", batch.id);
    assert_eq!(ended.results_url, Some(url));
}

#[test]
fn result_lines_come_shuffled_and_every_row_once() {
    let mut client = Client::new(Config::default());
    let mut rows = rows(40);
    rows.push(row(
        "bad",
        &json!({ "model": "claude-sonnet-4-6", "max_tokens": 5 }),
    ));
    let id = client.create(&rows);
    client.wait(HOUR);
    let target = format!("{BATCHES}/{id}/results");
    let reply = client.send(&Request::new("GET", &target).signed("key"));
    let (bytes, _) = reply.body.collect();
    let mut ids = Vec::new();
    for line in bytes.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
        let line = ResultLine::parse(line).unwrap();
        match line.result {
            RowResult::Succeeded { message } => {
                let message = MessageView::parse(message).unwrap();
                assert_eq!(message.usage.service_tier.as_deref(), Some("batch"));
            }
            RowResult::Errored { error, .. } => {
                assert_eq!(line.custom_id, "bad");
                assert_eq!(error.message, "messages: Field required");
                assert_eq!(error.request_id, None);
            }
            other => panic!("{other:?}"),
        }
        ids.push(line.custom_id.into_owned());
    }
    let input: Vec<String> = rows
        .iter()
        .map(|row| row["custom_id"].as_str().unwrap().to_owned())
        .collect();
    assert_ne!(ids, input);
    ids.sort();
    let mut sorted = input;
    sorted.sort();
    assert_eq!(ids, sorted);
}

#[test]
fn pages_go_both_ways_and_only_see_their_own_workspace() {
    let mut client = Client::new(Config::default());
    let mut ids: Vec<String> = (0..5)
        .map(|_| client.wait(MINUTE).create(&rows(1)))
        .collect();
    ids.reverse(); // newest first
    let page = |client: &mut Client, query: &str| {
        let (status, body) = client.get(&format!("{BATCHES}?{query}"));
        assert_eq!(status, 200, "{body}");
        let page = BatchPage::parse(body.to_string().as_bytes()).unwrap();
        let found: Vec<String> = page.data.iter().map(|b| b.id.to_string()).collect();
        assert_eq!(
            page.first_id.map(|id| id.to_string()).as_ref(),
            found.first()
        );
        assert_eq!(page.last_id.map(|id| id.to_string()).as_ref(), found.last());
        (found, page.has_more)
    };
    assert_eq!(page(&mut client, ""), (ids.clone(), false));
    assert_eq!(page(&mut client, "limit=2"), (ids[..2].to_vec(), true));
    let after = format!("limit=2&after_id={}", ids[1]);
    assert_eq!(page(&mut client, &after), (ids[2..4].to_vec(), true));
    let after = format!("limit=2&after_id={}", ids[3]);
    assert_eq!(page(&mut client, &after), (ids[4..].to_vec(), false));
    let before = format!("limit=2&before_id={}", ids[3]);
    assert_eq!(page(&mut client, &before), (ids[1..3].to_vec(), true));
    let before = format!("before_id={}", ids[0]);
    assert_eq!(page(&mut client, &before), (Vec::new(), false));

    let other = client.send(&Request::new("GET", BATCHES).signed("another key"));
    assert_eq!(value(other)["data"], json!([]));
    let target = format!("{BATCHES}/{}", ids[0]);
    assert_eq!(
        client
            .send(&Request::new("GET", &target).signed("another key"))
            .status,
        404
    );
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let play = |seed| {
        let faults = offpeak_sim::Faults::rough(seed);
        let config = Config {
            seed,
            faults,
            ..Config::default()
        };
        let mut world = World::new(config);
        let mut out = Vec::new();
        let mut now = START;
        let create = Request::new("POST", BATCHES)
            .signed("key")
            .body(envelope(&rows(30)));
        let list = Request::new("GET", BATCHES).signed("key");
        let call = Request::new("POST", "/v1/messages").signed("key");
        let call = call.body(params("Hello.").to_string());
        for _ in 0..12 {
            for request in [&create, &list, &call] {
                let reply = world.handle(now, request);
                out.extend(
                    format!(
                        "{} {} {:?} {:?}",
                        reply.status, reply.at, reply.fate, reply.headers
                    )
                    .bytes(),
                );
                out.extend(reply.body.collect().0);
            }
            now += 7 * MINUTE;
        }
        let body = value(world.handle(now, &list));
        for batch in body["data"].as_array().into_iter().flatten() {
            let target = format!("{BATCHES}/{}/results", batch["id"].as_str().unwrap());
            let reply = world.handle(now, &Request::new("GET", &target).signed("key"));
            out.extend(reply.body.collect().0);
        }
        out.extend(world.bill().total().to_string().bytes());
        out
    };
    assert!(play(1) == play(1));
    assert!(play(1) != play(2));
}
