//! The endpoints around the Messages call: keys, models, limits, and the organisation's reports.

use offpeak_sim::{Config, Limits, OutputModel, Reply, Request};
use serde_json::{Value, json};

use crate::harness::{
    BATCHES, Client, DAY, HOUR, MINUTE, SECOND, client, marked, params, rows, value,
};

const ADMIN: &str = "sk-ant-admin01-x";
const USAGE: &str = "/v1/organizations/usage_report/messages";
const COST: &str = "/v1/organizations/cost_report";

fn ask(client: &mut Client, key: &str, method: &str, target: &str) -> Reply {
    client.send(&Request::new(method, target).signed(key))
}

fn report(client: &mut Client, target: &str) -> Value {
    let reply = ask(client, ADMIN, "GET", target);
    assert_eq!(reply.status, 200, "{target}");
    assert_eq!(reply.header("anthropic-workspace-id"), None);
    value(reply)
}

#[test]
fn keys_open_what_they_are_for() {
    let mut client = client();
    for (key, target, status, message) in [
        ("sk-ant-invalid-1", "/v1/models", 401, "invalid x-api-key"),
        (
            "sk-ant-denied-1",
            "/v1/models",
            403,
            "Your API key does not have permission to use the specified resource.",
        ),
        (
            "sk-ant-api03-1",
            COST,
            403,
            "Your API key does not have permission to use the specified resource.",
        ),
        (
            ADMIN,
            BATCHES,
            403,
            "Your API key does not have permission to use the specified resource.",
        ),
    ] {
        let reply = ask(&mut client, key, "GET", target);
        assert_eq!(reply.status, status, "{key} {target}");
        let body = value(reply);
        assert_eq!(body["error"]["message"], message);
        assert_eq!(body["type"], "error");
        assert!(body["request_id"].is_string());
    }
}

#[test]
fn wrong_methods_and_unknown_paths() {
    let mut client = client();
    for (method, target, status, allow) in [
        ("GET", "/v1/messages", 405, Some("POST")),
        ("PUT", BATCHES, 405, Some("GET, POST")),
        ("POST", "/v1/models", 405, Some("GET")),
        ("GET", "/v1/complete", 404, None),
        ("GET", "/v2/messages", 404, None),
        ("POST", "/", 404, None),
    ] {
        let reply = ask(&mut client, "key", method, target);
        assert_eq!(
            (reply.status, reply.header("allow")),
            (status, allow),
            "{method} {target}"
        );
        let kind = if status == 405 {
            "invalid_request_error"
        } else {
            "not_found_error"
        };
        assert_eq!(value(reply)["error"]["type"], kind);
    }
}

#[test]
fn models_are_listed_newest_first_and_paged() {
    let mut client = client();
    let (status, all) = client.get("/v1/models?limit=1000");
    assert_eq!(status, 200);
    let data = all["data"].as_array().unwrap();
    let created: Vec<&str> = data
        .iter()
        .map(|m| m["created_at"].as_str().unwrap())
        .collect();
    assert!(created.is_sorted_by(|a, b| a >= b), "{created:?}");
    assert_eq!(data[0]["id"], "claude-fable-5-2");
    assert_eq!(
        (&all["has_more"], &all["first_id"]),
        (&json!(false), &data[0]["id"])
    );
    assert!(
        data.iter().all(|model| model["id"] != "claude-2.1"),
        "retired"
    );

    let mut seen = Vec::new();
    let mut target = "/v1/models?limit=4".to_owned();
    loop {
        let (_, page) = client.get(&target);
        seen.extend(page["data"].as_array().unwrap().clone());
        if page["has_more"] == false {
            break;
        }
        target = format!(
            "/v1/models?limit=4&after_id={}",
            page["last_id"].as_str().unwrap()
        );
    }
    assert_eq!(&seen, data);

    let (status, model) = client.get("/v1/models/claude-haiku-4-5");
    assert_eq!(
        (status, &model["id"]),
        (200, &json!("claude-haiku-4-5-20251001"))
    );
    assert_eq!(model["display_name"], "Claude Haiku 4.5");
    assert_eq!(model["created_at"], "2025-10-01T00:00:00Z");
    assert_eq!(model["max_input_tokens"], 200_000);
    assert_eq!(
        model["capabilities"]["thinking"]["types"]["adaptive"]["supported"],
        false
    );
    assert_eq!(model["capabilities"]["batch"]["supported"], true);
    assert_eq!(client.get("/v1/models/claude-nobody").0, 404);
}

#[test]
fn more_than_a_hundred_batches_page_both_ways() {
    let mut client = client();
    let mut ids = Vec::new();
    for _ in 0..130 {
        client.wait(SECOND);
        ids.insert(0, client.create(&rows(1)));
    }
    let ids_of = |page: &Value| -> Vec<String> {
        let data = page["data"].as_array().unwrap().iter();
        data.map(|batch| batch["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let (_, bare) = client.get(BATCHES);
    assert_eq!(
        (ids_of(&bare).as_slice(), &bare["has_more"]),
        (&ids[..20], &json!(true))
    );

    let mut forth = Vec::new();
    let mut target = format!("{BATCHES}?limit=50");
    loop {
        let (_, page) = client.get(&target);
        forth.extend(ids_of(&page));
        if page["has_more"] == false {
            break;
        }
        target = format!(
            "{BATCHES}?limit=50&after_id={}",
            page["last_id"].as_str().unwrap()
        );
    }
    assert_eq!(forth, ids);

    // Back from the oldest: each page is the one just before, in the same order.
    let mut back = vec![ids[129].clone()];
    loop {
        let (_, page) = client.get(&format!("{BATCHES}?limit=50&before_id={}", back[0]));
        let found = ids_of(&page);
        assert_eq!(page["first_id"], found[0].as_str());
        back.splice(0..0, found);
        if page["has_more"] == false {
            break;
        }
    }
    assert_eq!(back, ids);
    let (_, empty) = client.get(&format!("{BATCHES}?before_id={}", ids[0]));
    assert_eq!(
        empty,
        json!({ "data": [], "has_more": false, "first_id": null, "last_id": null })
    );
}

#[test]
fn the_usage_report_adds_up_to_the_bill() {
    let config = Config {
        output: OutputModel::Fixed(10),
        ..Config::default()
    };
    let mut client = Client::new(config);
    client.message(&marked(2_000, "1h", "one two three"));
    client.wait(2 * HOUR);
    client.run(&rows(4));
    client.wait(HOUR);
    let all = report(
        &mut client,
        &format!("{USAGE}?starting_at=2026-11-22T00:00:00Z"),
    );
    assert_eq!(all["has_more"], false);
    assert_eq!(all["data"].as_array().unwrap().len(), 1);
    let day = &all["data"][0];
    assert_eq!(day["starting_at"], "2026-11-22T00:00:00Z");
    assert_eq!(day["ending_at"], "2026-11-23T00:00:00Z");
    let result = &day["results"][0];
    assert_eq!(result["output_tokens"], 50);
    assert_eq!(result["cache_creation"]["ephemeral_1h_input_tokens"], 2_000);
    for null in [
        "model",
        "service_tier",
        "workspace_id",
        "api_key_id",
        "account_id",
    ] {
        assert_eq!(result[null], Value::Null, "not grouped by {null}");
    }

    let hours = report(
        &mut client,
        &format!(
            "{USAGE}?starting_at=2026-11-22T10%3A15%3A00Z&bucket_width=1h&group_by[]=service_tier&group_by%5B%5D=model"
        ),
    );
    let tiers: Vec<Vec<&str>> = hours["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hour| {
            hour["results"]
                .as_array()
                .unwrap()
                .iter()
                .map(|r| r["service_tier"].as_str().unwrap())
                .collect()
        })
        .collect();
    assert_eq!(
        tiers,
        [vec!["standard"], vec![], vec!["batch"], vec![]],
        "snapped, and empty ones too"
    );
    assert_eq!(hours["data"][2]["results"][0]["model"], "claude-sonnet-4-6");

    let filtered = report(
        &mut client,
        &format!("{USAGE}?starting_at=2026-11-22T00:00:00Z&service_tiers[]=batch"),
    );
    assert_eq!(filtered["data"][0]["results"][0]["output_tokens"], 40);
    let none = report(
        &mut client,
        &format!("{USAGE}?starting_at=2026-11-22T00:00:00Z&models[]=claude-opus-5"),
    );
    assert_eq!(none["data"][0]["results"], json!([]));
}

#[test]
fn reports_are_paged() {
    let mut client = client();
    client.message(&params("Hello."));
    client.wait(10 * DAY);
    client.message(&params("Hello again."));
    let base = format!("{USAGE}?starting_at=2026-11-20T00:00:00Z");
    let mut target = base.clone();
    let mut data = Vec::new();
    loop {
        let page = report(&mut client, &target);
        data.extend(page["data"].as_array().unwrap().clone());
        assert_eq!(page["has_more"] == false, page["next_page"] == Value::Null);
        let Some(next) = page["next_page"].as_str() else {
            break;
        };
        target = format!("{base}&page={next}");
    }
    assert_eq!(data.len(), 13);
    let used: Vec<bool> = data.iter().map(|day| day["results"] != json!([])).collect();
    assert_eq!(used.iter().filter(|used| **used).count(), 2);
    assert!(used[2] && used[12]);

    for (query, message) in [
        ("", "starting_at: Field required"),
        (
            "?starting_at=today",
            "starting_at: Input should be a valid datetime",
        ),
        (
            "?starting_at=2026-11-20T00:00:00Z&limit=32",
            "limit: Input should be less than or equal to 31",
        ),
        (
            "?starting_at=2026-11-20T00:00:00Z&bucket_width=1w",
            "bucket_width: Input should be '1m', '1h' or '1d'",
        ),
        (
            "?starting_at=2026-11-20T00:00:00Z&page=x",
            "page: Invalid page token",
        ),
    ] {
        let reply = ask(&mut client, ADMIN, "GET", &format!("{USAGE}{query}"));
        assert_eq!(reply.status, 400);
        assert_eq!(value(reply)["error"]["message"], message);
    }
}

#[test]
fn the_cost_report_is_the_bill_in_cents() {
    let mut client = client();
    client.message(&marked(2_000, "5m", "one two three"));
    client.run(&rows(7));
    let since = "starting_at=2026-11-22T00:00:00Z";
    let amounts = |report: &Value| -> Vec<String> {
        let results = report["data"][0]["results"].as_array().unwrap().iter();
        results
            .map(|result| result["amount"].as_str().unwrap().to_owned())
            .collect()
    };
    // Picodollars of a decimal number of cents.
    let pico = |amount: &String| {
        let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
        format!("{whole}{fraction:0<10}").parse::<i128>().unwrap()
    };
    let all = report(&mut client, &format!("{COST}?{since}"));
    assert_eq!(all["data"][0]["results"][0]["currency"], "USD");
    assert_eq!(all["data"][0]["results"][0]["token_type"], Value::Null);
    let total = client.world.bill().total();
    assert_eq!(amounts(&all).iter().map(pico).collect::<Vec<_>>(), [total]);
    let described = report(
        &mut client,
        &format!("{COST}?{since}&group_by[]=description&group_by[]=workspace_id"),
    );
    assert_eq!(amounts(&described).iter().map(pico).sum::<i128>(), total);
    let results = described["data"][0]["results"].as_array().unwrap();
    let write = results
        .iter()
        .find(|r| r["token_type"] == "cache_creation.ephemeral_5m_input_tokens")
        .unwrap();
    assert_eq!(write["amount"], "0.75", "2,000 tokens at $3.75 per million");
    assert_eq!(
        (&write["service_tier"], &write["cost_type"]),
        (&json!("standard"), &json!("tokens"))
    );
    assert!(
        write["workspace_id"]
            .as_str()
            .unwrap()
            .starts_with("wrkspc_")
    );
    assert!(results.iter().any(|r| r["service_tier"] == "batch"));
}

#[test]
fn the_limits_of_the_tier_are_told() {
    let mut client = Client::new(Config {
        limits: Limits::start(),
        ..Config::default()
    });
    let all = report(&mut client, "/v1/organizations/rate_limits");
    let groups = all["data"].as_array().unwrap();
    let opus = groups.iter().find(|group| {
        group["models"]
            .as_array()
            .is_some_and(|models| models.contains(&json!("claude-opus-4-8")))
    });
    let opus = opus.unwrap();
    assert_eq!(
        opus["models"].as_array().unwrap().len(),
        4,
        "4.8 to 4.5 share one"
    );
    assert_eq!(
        opus["limits"][1],
        json!({ "type": "input_tokens_per_minute", "value": 2_000_000 })
    );
    let batch = report(
        &mut client,
        "/v1/organizations/rate_limits?group_type=batch",
    );
    assert_eq!(
        batch["data"][0]["limits"][1],
        json!({ "type": "enqueued_batch_requests", "value": 200_000 })
    );
    let fable = report(
        &mut client,
        "/v1/organizations/rate_limits?model=claude-fable-5",
    );
    assert_eq!(fable["data"][0]["limits"][1]["value"], 500_000);
    let unknown = ask(
        &mut client,
        ADMIN,
        "GET",
        "/v1/organizations/rate_limits?model=x",
    );
    assert_eq!(unknown.status, 404);
    assert_eq!(
        report(&mut client, "/v1/organizations/workspaces/w/rate_limits")["data"],
        json!([])
    );
}

#[test]
fn classes_of_models_have_limits_of_their_own_that_workspaces_share() {
    let mut client = Client::new(Config {
        limits: Limits {
            messages: 1,
            ..Limits::start()
        },
        ..Config::default()
    });
    let mut call = |key: &str, model: &str| {
        let mut body = params("Hello.");
        body["model"] = json!(model);
        let request = Request::new("POST", "/v1/messages").signed(key);
        client.send(&request.body(body.to_string()))
    };
    assert_eq!(call("a", "claude-sonnet-4-6").status, 200);
    let reply = call("b", "claude-sonnet-4-5");
    assert_eq!(
        (reply.status, reply.header("retry-after")),
        (429, Some("60")),
        "the same class"
    );
    let remaining = reply.header("anthropic-ratelimit-requests-remaining");
    assert_eq!(remaining, Some("0"));
    assert_eq!(
        reply.header("anthropic-ratelimit-tokens-limit"),
        Some("2400000")
    );
    assert_eq!(call("a", "claude-sonnet-5").status, 200);
    assert_eq!(call("a", "claude-haiku-5-5").status, 200);
}

#[test]
fn a_spend_cap_lasts_until_the_month_ends() {
    let mut client = Client::new(Config {
        limits: Limits {
            spend_cap_usd: Some(0),
            ..Limits::default()
        },
        ..Config::default()
    });
    let call = || {
        Request::new("POST", "/v1/messages")
            .signed("key")
            .body(params("Hello.").to_string())
    };
    let reply = client.send(&call());
    assert_eq!((reply.status, reply.header("retry-after")), (429, None));
    assert_eq!(
        value(reply)["error"]["details"]["error_code"],
        "enforced_spend_limit_reached"
    );

    let mut client = Client::new(Config {
        limits: Limits {
            spend_cap_usd: Some(1),
            ..Limits::default()
        },
        output: OutputModel::Fixed(70_000),
        ..Config::default()
    });
    let mut large = params("Hello.");
    large["max_tokens"] = json!(70_000);
    let count = json!({ "model": large["model"], "messages": large["messages"] });
    client.message(&large);
    assert_eq!(client.post("/v1/messages", large.to_string()).0, 429);
    assert_eq!(
        client.post(BATCHES, crate::harness::envelope(&rows(1))).0,
        429
    );
    assert_eq!(
        client
            .post("/v1/messages/count_tokens", count.to_string())
            .0,
        200
    );
    client.wait(8 * DAY + 14 * HOUR - MINUTE);
    assert_eq!(client.post("/v1/messages", large.to_string()).0, 429);
    client.wait(MINUTE);
    assert_eq!(
        client.post("/v1/messages", large.to_string()).0,
        200,
        "December"
    );
}

#[test]
fn what_arrived_is_remembered_without_secrets() {
    let mut client = client();
    client.create(&rows(3));
    let key = "sk-ant-api03-verysecret-wxyz";
    let body = params("A secret.").to_string();
    let request = Request::new("POST", "/v1/messages")
        .signed(key)
        .body(body.clone());
    client.send(&request);
    client.get("/v1/nothing");
    let (status, page) = client.get("/_sim/requests");
    assert_eq!(status, 200);
    assert_eq!(
        page["requests"].as_array().unwrap().len(),
        3,
        "control calls are not counted"
    );
    assert_eq!(
        page["requests"][1],
        json!({
            "number": 2,
            "at": "2026-11-22T10:00:00.000000Z",
            "method": "POST",
            "path": "/v1/messages",
            "endpoint": "messages",
            "key": "wxyz",
            "status": 200,
            "body_bytes": body.len(),
            "rows": null,
            "model": "claude-sonnet-4-6",
            "fault": null,
        })
    );
    assert_eq!(
        (&page["requests"][0]["rows"], &page["requests"][2]["status"]),
        (&json!(3), &json!(404))
    );
    assert!(!page.to_string().contains("secret"));
    let (_, rest) = client.get("/_sim/requests?after=1&limit=1");
    assert_eq!(
        (&rest["requests"][0]["number"], &rest["has_more"]),
        (&json!(2), &json!(true))
    );
}

#[test]
fn the_bill_and_the_state_in_full() {
    let mut client = client();
    client.message(&params("Hello."));
    client.run(&rows(2));
    let (_, bill) = client.get("/_sim/bill");
    let total = client.world.bill().total().to_string();
    assert_eq!(bill["total_picousd"], total);
    assert_eq!(bill["models"]["claude-sonnet-4-6"]["picousd"], total);
    assert_eq!(bill["lanes"]["batch"]["rows"], 2);
    assert_eq!(
        (&bill["lost_calls"], &bill["calls"]),
        (&json!(0), &json!(1))
    );
    client.create(&rows(5));
    let (_, state) = client.get("/_sim/state");
    assert_eq!(
        state["batches"],
        json!({ "in_progress": 1, "canceling": 0, "ended": 1 })
    );
    assert_eq!(
        (&state["queued_rows"], &state["seed"]),
        (&json!(5), &json!(0))
    );
    assert_eq!(
        client.post("/_sim/clock", r#"{"advance_s":1}"#).0,
        409,
        "the test's own clock"
    );
    assert_eq!(client.get("/_sim/nothing").0, 404);
    assert_eq!(client.get("/_sim/reset").0, 405);
    client.post("/_sim/reset", "");
    let (_, state) = client.get("/_sim/state");
    assert_eq!(state["batches"]["ended"], 0);
    assert_eq!(client.get("/_sim/bill").1["total_picousd"], "0");
}
