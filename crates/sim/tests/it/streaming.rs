//! Streamed answers: the events, their order and pace, and how they break off.

use offpeak_sim::{Body, Config, Endpoint, Fault, Faults, Latency, Request, StreamFault};
use offpeak_wire::sse::{Decoder, Event};
use offpeak_wire::stream::Assembly;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::harness::{Client, params, value};

/// A sample of everything an answer can consist of.
fn requests() -> Vec<Value> {
    let with = |changes: Value| {
        let mut params = params("What is the weather in Paris?");
        for (key, value) in changes.as_object().unwrap() {
            params[key] = value.clone();
        }
        params
    };
    let tool = json!([{"name": "get_weather", "input_schema": {"type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city", "days"]}}]);
    let schema = json!({"type": "object", "properties": {"ok": {"type": "boolean"},
        "notes": {"type": "array", "items": {"type": "string"}}},
        "required": ["ok", "notes"], "additionalProperties": false});
    vec![
        with(json!({})),
        with(json!({"thinking": {"type": "adaptive"}})),
        with(json!({"model": "claude-opus-5"})),
        with(json!({"model": "claude-opus-5", "tools": tool})),
        with(json!({"tools": tool, "tool_choice": {"type": "any"}})),
        with(json!({"tools": tool, "tool_choice": {"type": "any"}, "max_tokens": 6})),
        with(json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}})),
        with(json!({"stop_sequences": [" the "]})),
        with(json!({"max_tokens": 5, "thinking": {"type": "adaptive"}})),
    ]
}

fn call(params: &Value) -> Request {
    Request::new("POST", "/v1/messages")
        .signed("key")
        .body(params.to_string())
}

fn streamed(mut params: Value) -> Request {
    params["stream"] = json!(true);
    call(&params)
}

fn decode(bytes: &[u8]) -> (Vec<Event>, bool) {
    let mut decoder = Decoder::default();
    let mut events = Vec::new();
    decoder.push(bytes, &mut events).unwrap();
    (events, decoder.is_between_events())
}

fn events(client: &mut Client, params: &Value) -> Vec<Value> {
    let reply = client.send(&streamed(params.clone()));
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.header("content-type"),
        Some("text/event-stream; charset=utf-8")
    );
    let (bytes, complete) = reply.body.collect();
    let (events, whole) = decode(&bytes);
    assert!(complete && whole);
    let read = |event: &Event| {
        let data: Value = serde_json::from_slice(&event.data).unwrap();
        assert_eq!(
            data["type"].as_str().unwrap().as_bytes(),
            event.name,
            "the name twice"
        );
        data
    };
    events.iter().map(read).collect()
}

/// What the official clients do with the events.
fn accumulate(events: &[Value]) -> Value {
    let mut message = Value::Null;
    let mut input = String::new();
    for event in events {
        let index = event["index"].as_u64().map(|i| usize::try_from(i).unwrap());
        match event["type"].as_str().unwrap() {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => {
                let content = message["content"].as_array_mut().unwrap();
                assert_eq!(index, Some(content.len()));
                content.push(event["content_block"].clone());
                input.clear();
            }
            "content_block_delta" => {
                let delta = &event["delta"];
                let block = &mut message["content"][index.unwrap()];
                let append = |block: &mut Value, key: &str| {
                    let text =
                        block[key].as_str().unwrap().to_owned() + delta[key].as_str().unwrap();
                    block[key] = json!(text);
                };
                match delta["type"].as_str().unwrap() {
                    "text_delta" => append(block, "text"),
                    "thinking_delta" => append(block, "thinking"),
                    "signature_delta" => append(block, "signature"),
                    "input_json_delta" => {
                        input += delta["partial_json"].as_str().unwrap();
                        if let Ok(value) = serde_json::from_str(&input) {
                            block["input"] = value;
                        }
                    }
                    other => panic!("{other}"),
                }
            }
            "message_delta" => {
                for (key, value) in event["delta"].as_object().unwrap() {
                    message[key] = value.clone();
                }
                for (key, value) in event["usage"].as_object().unwrap() {
                    message["usage"][key] = value.clone();
                }
            }
            "content_block_stop" | "message_stop" | "ping" => {}
            other => panic!("{other}"),
        }
    }
    message
}

#[test]
fn a_stream_adds_up_to_the_answer_without_one() {
    for params in requests() {
        let mut plain = Client::new(Config::default());
        let mut stream = Client::new(Config::default());
        let whole = plain.message(&params);
        let events = events(&mut stream, &params);
        assert_eq!(accumulate(&events), whole, "{params}");
        // Our own client does the same.
        let mut assembly = Assembly::default();
        for event in &events {
            assembly.push(event.to_string().as_bytes()).unwrap();
        }
        let sum: Value = serde_json::from_slice(&assembly.finish().unwrap()).unwrap();
        assert_eq!(sum, whole, "{params}");
        assert_eq!(plain.world.bill().total(), stream.world.bill().total());
    }
}

#[test]
fn the_order_of_the_events() {
    for params in requests() {
        let events = events(&mut Client::new(Config::default()), &params);
        let mut names: Vec<String> = Vec::new();
        for event in &events {
            let name = match event["type"].as_str().unwrap() {
                "content_block_delta" => event["delta"]["type"].as_str().unwrap(),
                other => other,
            };
            if names.last().is_none_or(|last| last != name) {
                names.push(name.to_owned());
            }
        }
        let text = names.join(" ");
        let block = "content_block_start (ping )?((thinking_delta )?signature_delta|text_delta|input_json_delta) content_block_stop ";
        let order = regex::Regex::new(&format!(
            "^message_start ({block})+message_delta message_stop$"
        ))
        .unwrap();
        assert!(order.is_match(&text), "{text}");
    }
}

#[test]
fn a_streamed_tool_call() {
    let mut params = params("What is the weather?");
    params["model"] = json!("claude-opus-5");
    params["thinking"] = json!({"type": "adaptive", "display": "summarized"});
    params["tools"] = json!([{"name": "get_weather", "input_schema": {"type": "object",
        "properties": {"city": {"const": "Paris"}}, "required": ["city"]}}]);
    let reply = Client::new(Config::default()).send(&streamed(params));
    let (bytes, _) = reply.body.collect();
    let text = String::from_utf8(bytes).unwrap();
    insta::with_settings!({filters => vec![
        (r#""signature":"[A-Za-z0-9+/]{200,}""#, r#""signature":"[signature]""#),
    ]}, {
        insta::assert_snapshot!(text);
    });
}

#[test]
fn events_come_at_the_pace_of_their_tokens() {
    let latency = Latency {
        first_byte_ms: 400,
        tokens_per_second: 50,
        overhead_ms: 0,
    };
    let mut client = Client::new(Config {
        latency,
        ..Config::default()
    });
    let reply = client.send(&streamed(params("Hello there.")));
    let first = reply.at - client.now;
    assert!((300_000..=500_000).contains(&first), "{first}");
    let Body::Events(mut events) = reply.body else {
        panic!("{:?}", reply.body);
    };
    let (mut waited, mut pieces, mut tokens) = (0, Vec::new(), 0);
    while let Some(wait) = events.wait() {
        waited += wait;
        let (piece, _) = decode(events.next_piece().unwrap());
        let piece: Value = serde_json::from_slice(&piece[0].data).unwrap();
        if piece["type"] == "message_delta" {
            tokens = piece["usage"]["output_tokens"].as_u64().unwrap();
        }
        pieces.push((waited, piece["type"].as_str().unwrap().to_owned()));
    }
    assert!(pieces[..3].iter().all(|(at, _)| *at == 0), "{pieces:?}");
    assert_eq!(waited, tokens * 1_000_000 / 50);
    assert!(
        pieces
            .windows(2)
            .all(|pair| pair[1].0 - pair[0].0 < 500_000),
        "steadily"
    );
}

#[test]
fn a_stream_goes_wrong_after_its_200() {
    let plan = |fault| Faults::none().at(Endpoint::Messages, 0, Fault::Stream(fault));
    let play = |fault| {
        let mut client = Client::new(Config {
            faults: plan(fault),
            ..Config::default()
        });
        let reply = client.send(&streamed(params("Hello.")));
        assert_eq!(reply.status, 200);
        let (bytes, complete) = reply.body.collect();
        let lost: Vec<bool> = client.world.bill().lines().map(|line| line.lost).collect();
        assert_eq!(lost, [true], "billed, though nobody was told the usage");
        let (events, whole) = decode(&bytes);
        (events, whole, complete)
    };
    let (events, whole, complete) = play(StreamFault::ErrorEvent { after_percent: 50 });
    assert!(whole && complete);
    let last = events.last().unwrap();
    assert_eq!(last.name, b"error");
    let data: Value = serde_json::from_slice(&last.data).unwrap();
    assert_eq!(
        data,
        json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
    );
    let (events, whole, complete) = play(StreamFault::Truncated { after_percent: 50 });
    assert!(!whole && !complete && events.len() > 3);
    let (events, whole, complete) = play(StreamFault::Stalled { after_percent: 0 });
    assert!(whole && !complete && events.is_empty());
    let (events, _, complete) = play(StreamFault::Stalled { after_percent: 100 });
    assert!(!complete && events.last().unwrap().name == b"message_stop");

    let mut client = Client::new(Config {
        faults: plan(StreamFault::Truncated { after_percent: 50 }),
        ..Config::default()
    });
    assert_eq!(
        client.send(&call(&params("Hello."))).status,
        200,
        "only streams break"
    );
    assert!(client.world.bill().lines().all(|line| !line.lost));
}

#[test]
fn an_error_before_the_200_is_no_stream() {
    let mut client = Client::new(Config::default());
    let mut wrong = params("x");
    wrong["max_tokens"] = json!(0);
    let reply = client.send(&streamed(wrong));
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (400, Some("application/json"))
    );
    assert_eq!(
        value(reply)["error"]["message"],
        "stream: not supported with max_tokens: 0"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_text_survives_the_stream(text in "\\PC{1,200}", max_tokens in 1u32..80, sequence in "[a-z ]{2,3}") {
        prop_assume!(!sequence.trim().is_empty());
        let config = || Config {
            answers: offpeak_sim::Answers { mode: offpeak_sim::AnswerMode::Echo, ..Default::default() },
            ..Config::default()
        };
        let mut params = params(&text);
        params["max_tokens"] = json!(max_tokens);
        params["stop_sequences"] = json!([sequence]);
        let whole = Client::new(config()).message(&params);
        let sum = accumulate(&events(&mut Client::new(config()), &params));
        prop_assert_eq!(&sum, &whole);
        let said = whole["content"][0]["text"].as_str().unwrap_or("");
        prop_assert!(text.starts_with(said));
        prop_assert!(!said.contains(&sequence));
        prop_assert!(whole["usage"]["output_tokens"].as_u64().unwrap() <= u64::from(max_tokens));
    }
}
