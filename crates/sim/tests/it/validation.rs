//! What is refused, when, and in which words.

use offpeak_sim::{Config, Request, Tokenizer};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::harness::{BATCHES, Client, client, envelope, marked, params, row, rows, value};

#[track_caller]
fn refused((status, body): (u16, Value), wanted: u16, kind: &str, message: &str) {
    assert_eq!(
        (status, body["error"]["type"].as_str()),
        (wanted, Some(kind)),
        "{body}"
    );
    assert_eq!(body["type"], "error");
    assert_eq!(body["error"]["message"], message);
    assert!(
        body["request_id"]
            .as_str()
            .is_some_and(|id| id.starts_with("req_"))
    );
}

#[test]
fn keys_and_versions() {
    let mut client = client();
    let mut ask = |request: Request| {
        let reply = client.send(&request);
        (reply.status, value(reply))
    };
    let get = || Request::new("GET", BATCHES);
    let version = ("anthropic-version", "2023-06-01");
    let denied = "authentication_error";
    refused(
        ask(get().with(version.0, version.1)),
        401,
        denied,
        "API key is invalid.",
    );
    refused(ask(get().signed("")), 401, denied, "API key is invalid.");
    refused(
        ask(get().signed("").with("authorization", "Bearer ")),
        401,
        denied,
        "API key is invalid.",
    );
    let text = "anthropic-version: header is required";
    refused(
        ask(get().with("X-Api-Key", "k")),
        400,
        "invalid_request_error",
        text,
    );
    let bearer = get()
        .with("Authorization", "Bearer k")
        .with(version.0, version.1);
    assert_eq!(ask(bearer).0, 200);
    assert_eq!(
        ask(get().with("x-api-key", "k").with(version.0, "2026-10-21")).0,
        200
    );
    refused(
        ask(Request::new("GET", "/v1/nothing").signed("k")),
        404,
        "not_found_error",
        "Not found",
    );
}

#[test]
fn bodies_above_the_limit_meet_the_proxy() {
    let mut client = client();
    let request = Request::new("POST", "/v1/messages")
        .signed("k")
        .body(vec![b' '; 32_000_001]);
    let reply = client.send(&request);
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (413, Some("text/html"))
    );
}

#[test]
fn the_envelope_is_refused_at_once() {
    let mut client = client();
    let ok = params("x");
    let dup = envelope(&[row("a", &ok), row("b", &ok), row("a", &ok)]);
    let cases = [
        (
            dup,
            "requests: custom_id's must be unique within a batch. Duplicate custom_id found: a",
        ),
        (
            envelope(&[json!({ "params": ok })]),
            "requests.0.custom_id: Field required",
        ),
        (
            envelope(&[row("ok", &ok), row(&"x".repeat(65), &ok)]),
            "requests.1.custom_id: String should have at most 64 characters",
        ),
        (
            envelope(&[row("a b", &ok)]),
            "requests.0.custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'",
        ),
        (
            envelope(&[]),
            "requests: List should have at least 1 item after validation, not 0",
        ),
        (
            envelope(&[json!({ "custom_id": "a" })]),
            "requests.0.params: Field required",
        ),
        (
            envelope(&[row("a", &json!(7))]),
            "requests.0.params: Input should be a valid dictionary",
        ),
        (
            envelope(&[json!({ "custom_id": "a", "params": ok, "x": 1 })]),
            "requests.0.x: Extra inputs are not permitted",
        ),
        ("{}".to_owned(), "requests: Field required"),
        (
            r#"{"requests":[],"x":1}"#.to_owned(),
            "x: Extra inputs are not permitted",
        ),
    ];
    for (body, message) in cases {
        refused(
            client.post(BATCHES, body),
            400,
            "invalid_request_error",
            message,
        );
    }
    let (status, body) = client.post(BATCHES, r#"{"requests":[}"#);
    let message = body["error"]["message"].as_str().unwrap();
    assert_eq!(status, 400);
    assert!(
        message.starts_with("The request body is not valid JSON: "),
        "{message}"
    );
    assert_eq!(client.world.bill().batches(), 0);
}

/// Mistakes in params, with the words for them: a 400 synchronously, an errored row in a batch.
fn mistakes() -> Vec<(Value, &'static str, String)> {
    let with = |changes: Value| {
        let mut params = params("x");
        for (key, value) in changes.as_object().unwrap() {
            params[key] = value.clone();
        }
        params
    };
    let without = |key: &str| {
        let mut params = params("x");
        params.as_object_mut().unwrap().remove(key);
        params
    };
    let invalid = "invalid_request_error";
    let text =
        |text: &str, mark: Value| json!({"type": "text", "text": text, "cache_control": mark});
    let five = json!({"type": "ephemeral"});
    let hour = json!({"type": "ephemeral", "ttl": "1h"});
    let say = |content: Value| with(json!({"messages": [{"role": "user", "content": content}]}));
    vec![
        (without("model"), invalid, "model: Field required".into()),
        (without("messages"), invalid, "messages: Field required".into()),
        (without("max_tokens"), invalid, "max_tokens: Field required".into()),
        (with(json!({"max_tokens": 1.5})), invalid, "max_tokens: Input should be a valid integer".into()),
        (with(json!({"model": "claude-nope"})), "not_found_error", "model: claude-nope".into()),
        (with(json!({"model": "claude-2.1"})), "not_found_error", "model: claude-2.1".into()),
        (
            with(json!({"model": "claude-haiku-4-5", "max_tokens": 9_999_999})),
            invalid,
            "max_tokens: 9999999 > 64000, which is the maximum allowed number of output tokens for \
             claude-haiku-4-5-20251001".into(),
        ),
        (with(json!({"wisdom": 1})), invalid, "wisdom: Extra inputs are not permitted".into()),
        (with(json!({"messages": []})), invalid, "messages: at least one message is required".into()),
        (
            say(json!([{"type": "text", "text": ""}])),
            invalid,
            "messages: text content blocks must be non-empty".into(),
        ),
        (
            say(json!((0..5).map(|i| text(&format!("{i}"), five.clone())).collect::<Vec<_>>())),
            invalid,
            "A maximum of 4 blocks with cache_control may be provided. Found 5.".into(),
        ),
        (
            say(json!([text("a", five), text("b", hour)])),
            invalid,
            "messages.0.content.1.cache_control.ttl: a ttl='1h' cache_control block must not come \
             after a ttl='5m' cache_control block.".into(),
        ),
        (
            with(json!({"messages": [
                {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})),
            invalid,
            "This model does not support assistant message prefill. The conversation must end with \
             a user message.".into(),
        ),
        (
            with(json!({"model": "claude-sonnet-5", "thinking": {"type": "enabled", "budget_tokens": 2048}})),
            invalid,
            "\"thinking.type.enabled\" is not supported for this model. Use \"thinking.type.adaptive\" \
             and \"output_config.effort\" to control thinking behavior.".into(),
        ),
        (
            with(json!({"model": "claude-haiku-4-5", "thinking": {"type": "adaptive"}})),
            invalid,
            "adaptive thinking is not supported on this model".into(),
        ),
        (
            with(json!({"model": "claude-opus-5-5", "tool_choice": {"type": "any"}})),
            invalid,
            "tool_choice: type \"tool\" and \"any\" are not supported for this model.".into(),
        ),
    ]
}

#[test]
fn params_are_refused_synchronously_with_a_status() {
    let mut client = client();
    for (params, kind, message) in mistakes() {
        let status = if kind == "not_found_error" { 404 } else { 400 };
        refused(
            client.post("/v1/messages", params.to_string()),
            status,
            kind,
            &message,
        );
    }
    assert!(client.world.bill().is_empty());
}

#[test]
fn params_of_a_batch_become_errored_rows() {
    let mut mistakes = mistakes();
    let with = |key: &str, value: Value| {
        let mut params = params("x");
        params[key] = value;
        params
    };
    let invalid = "invalid_request_error";
    let unsupported = |what: &str| format!("{what} is not supported in the Message Batches API");
    mistakes.extend([
        (
            with("stream", json!(true)),
            invalid,
            unsupported("\"stream=True\""),
        ),
        (
            with("speed", json!("fast")),
            invalid,
            unsupported("\"speed\""),
        ),
        (
            with("fallbacks", json!([])),
            invalid,
            unsupported("\"fallbacks\""),
        ),
        (
            with("max_tokens", json!(0)),
            invalid,
            "max_tokens: must be greater than or equal to 1".into(),
        ),
    ]);
    let mut client = client();
    let mut input = rows(1);
    input.extend(
        mistakes
            .iter()
            .enumerate()
            .map(|(i, (params, ..))| row(&format!("bad-{i}"), params)),
    );
    let results = client.run(&input);
    assert_eq!(results.len(), input.len());
    for (i, (_, kind, message)) in mistakes.iter().enumerate() {
        let id = format!("bad-{i}");
        let line = results
            .iter()
            .find(|line| line["custom_id"] == id.as_str())
            .unwrap();
        assert_eq!(line["result"]["type"], "errored");
        let error = &line["result"]["error"];
        assert_eq!(
            (&error["type"], &error["request_id"]),
            (&json!("error"), &Value::Null)
        );
        assert_eq!(error["error"]["type"], *kind);
        assert_eq!(error["error"]["message"], message.as_str());
    }
    assert_eq!(client.world.bill().rows(), 1, "only the good row is billed");
}

#[test]
fn the_new_version_has_no_sampling_parameters() {
    let mut client = client();
    let mut params = params("x");
    params["temperature"] = json!(1);
    assert_eq!(client.post("/v1/messages", params.to_string()).0, 200);
    let request = Request::new("POST", "/v1/messages")
        .with("x-api-key", "key")
        .with("anthropic-version", "2026-10-21")
        .body(params.to_string());
    let reply = client.send(&request);
    let message = "temperature: Extra inputs are not permitted";
    refused(
        (reply.status, value(reply)),
        400,
        "invalid_request_error",
        message,
    );
}

#[test]
fn long_outputs_need_their_beta() {
    let mut client = client();
    let mut long = params("x");
    long["max_tokens"] = json!(200_000);
    assert_eq!(
        client.run(&[row("a", &long)])[0]["result"]["type"],
        "errored"
    );
    let request = Request::new("POST", BATCHES)
        .signed("key")
        .with("anthropic-beta", "output-300k-2026-03-24")
        .body(envelope(&[row("b", &long)]));
    let id = value(client.send(&request))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    client.wait(crate::harness::HOUR);
    assert_eq!(client.results(&id)[0]["result"]["type"], "succeeded");
}

#[test]
fn every_kind_of_block_is_taken() {
    let user = json!([
        {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}, "citations": null},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}, "title": "t",
            "citations": {"enabled": true}},
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "x"}]}},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "x"}]},
        {"type": "container_upload", "file_id": "file_1"},
    ]);
    let assistant = json!([
        {"type": "redacted_thinking", "data": "x"},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
        {"type": "text", "text": "x", "citations": []},
        {"type": "tool_use", "id": "toolu_1", "name": "t", "input": {}, "caller": {"type": "direct"}},
    ]);
    let results = json!([
        {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": false, "content": [{"type": "text", "text": "x"}]},
        {"type": "text", "text": "x"},
    ]);
    let mut body = params("x");
    body["messages"] = json!([
        {"role": "user", "content": user},
        {"role": "assistant", "content": assistant},
        {"role": "user", "content": results},
    ]);
    body["service_tier"] = json!("auto");
    body["container"] = json!({"id": "container_1", "skills": []});
    body["context_management"] = json!({"edits": [{"type": "clear_tool_uses_20250919"}]});
    body["metadata"] = json!({"user_id": null});
    body["temperature"] = json!(0.5);
    body["system"] = json!([{"type": "text", "text": "x"}]);
    client().message(&body);
}

#[test]
fn what_the_new_version_took_away() {
    let mut client = client();
    let document =
        json!({"type": "document", "source": {"type": "url", "url": "https://example.com"}});
    let mut from_assistant = params("x");
    from_assistant["messages"] = json!([
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": [document]},
        {"role": "user", "content": "x"},
    ]);
    let citation = json!({"type": "char_location", "cited_text": "x", "document_index": 0,
        "document_title": null, "start_char_index": 0, "end_char_index": 1});
    let mut cited = params("x");
    cited["messages"][0]["content"] =
        json!([{"type": "text", "text": "x", "citations": [citation]}]);
    for (body, start) in [
        (
            from_assistant,
            "messages.1.content.0: Input tag 'document' found using 'type'",
        ),
        (
            cited,
            "messages.0.content.0.text.citations: Extra inputs are not permitted",
        ),
    ] {
        client.message(&body);
        let request = Request::new("POST", "/v1/messages")
            .with("x-api-key", "key")
            .with("anthropic-version", "2026-10-21")
            .body(body.to_string());
        let reply = client.send(&request);
        assert_eq!(reply.status, 400);
        let answer = value(reply);
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.starts_with(start), "{message}");
    }
}

#[test]
fn unknown_betas_are_refused_everywhere() {
    let mut client = client();
    let message = "Unexpected value(s) `nonsense-2026-01-01`, `more` for the `anthropic-beta` header. \
        Please consult our documentation at docs.claude.com or try again without the header.";
    let body = params("x").to_string();
    for (target, body) in [
        ("/v1/messages?beta=true", body.clone()),
        ("/v1/messages/count_tokens", body),
        (BATCHES, envelope(&rows(1))),
    ] {
        let request = Request::new("POST", target)
            .signed("key")
            .with(
                "anthropic-beta",
                "files-api-2025-04-14, nonsense-2026-01-01",
            )
            .with("Anthropic-Beta", "more")
            .body(body);
        let reply = client.send(&request);
        refused(
            (reply.status, value(reply)),
            400,
            "invalid_request_error",
            message,
        );
    }
}

#[test]
fn a_conversation_held_by_the_server_is_refused_with_its_code() {
    let mut body = params("x");
    body["thread"] = json!({"type": "create"});
    let (status, answer) = client().post("/v1/messages", body.to_string());
    let code = &answer["error"]["details"]["error_code"];
    assert_eq!((status, code), (400, &json!("thread_unsupported_request")));
}

#[test]
fn structured_outputs_do_not_cite() {
    let mut body = params("x");
    body["output_config"] = json!({"format": {"type": "json_schema", "schema":
        {"type": "object", "properties": {}, "additionalProperties": false}}});
    body["messages"][0]["content"] = json!([{"type": "document", "citations": {"enabled": true},
        "source": {"type": "text", "media_type": "text/plain", "data": "x"}}]);
    let message = "output_config.format: not supported together with citations";
    refused(
        client().post("/v1/messages", body.to_string()),
        400,
        "invalid_request_error",
        message,
    );
}

fn content() -> impl Strategy<Value = Value> {
    prop_oneof![
        "\\PC{1,60}".prop_map(Value::from),
        prop::collection::vec(
            prop_oneof![
                "\\PC{1,60}".prop_map(|text| json!({"type": "text", "text": text})),
                "[A-Za-z0-9]{0,200}".prop_map(|data| json!({"type": "image", "source":
                    {"type": "base64", "media_type": "image/png", "data": data}})),
                "\\PC{0,40}".prop_map(|text| json!({"type": "search_result", "source": "s",
                    "title": "t", "content": [{"type": "text", "text": text}]})),
            ],
            1..4,
        )
        .prop_map(Value::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What a client relies on when it reserves money: bytes bound tokens, whatever the model.
    #[test]
    fn prompt_tokens_never_exceed_bytes(
        content in content(),
        system in "\\PC{0,40}",
        tool in prop::option::of("[a-z]{1,9}"),
        newer: bool,
    ) {
        let mut body = params("x");
        body["model"] = json!(if newer { "claude-opus-4-8" } else { "claude-opus-4-6" });
        body["system"] = json!(system);
        body["messages"] = json!([{"role": "user", "content": content}]);
        let hidden = if tool.is_some() { if newer { 410 } else { 589 } } else { 0 };
        if let Some(name) = tool {
            body["tools"] = json!([{"name": name, "input_schema": {"type": "object"}}]);
        }
        let bytes = body.to_string();
        let answer = Client::new(Config::default()).message(&body);
        let (input, ..) = crate::harness::usage(&answer);
        prop_assert!(input <= bytes.len() as u64 + hidden, "{input} tokens of {bytes}");
    }
}

#[test]
fn a_marked_prompt_has_the_same_tokens_and_answer_as_a_plain_one() {
    let mut client = client();
    let with_mark = marked(2_000, "1h", "What now?");
    let mut plain = with_mark.clone();
    plain["system"] = json!(crate::harness::words(2_000));
    let (a, b) = (client.message(&with_mark), client.message(&plain));
    assert_eq!(a["content"], b["content"]);
    assert_eq!(crate::harness::usage(&b).0, 2_003);
    assert_eq!(Tokenizer::Older.count(b"What now?"), 3);
}
