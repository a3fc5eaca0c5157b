//! Streams that are put together, and those that cannot be.

use offpeak_wire::error::ErrorKind;
use offpeak_wire::stream::{Assembly, StreamError, asked};
use proptest::prelude::*;
use serde_json::{Value, json};

fn assembled(events: &[Value]) -> Result<Value, StreamError> {
    let mut assembly = Assembly::default();
    for event in events {
        assembly.push(event.to_string().as_bytes())?;
    }
    let whole = assembly.finish()?;
    Ok(serde_json::from_slice(&whole).expect("what was put together is JSON"))
}

fn started() -> Value {
    json!({"type": "message_start", "message": {"id": "msg_1", "model": "m", "content": [],
        "stop_reason": null, "usage": {"input_tokens": 7, "output_tokens": 1, "new": {"a": 1}}}})
}

fn begun(index: usize, block: &Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn piece(index: usize, delta: &Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn ended() -> [Value; 2] {
    [
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "new": []},
            "usage": {"output_tokens": 9}}),
        json!({"type": "message_stop"}),
    ]
}

#[test]
fn every_kind_of_block_is_put_together() {
    let mut events = vec![
        started(),
        json!({"type": "ping"}),
        begun(
            0,
            &json!({"type": "thinking", "thinking": "", "signature": ""}),
        ),
        piece(0, &json!({"type": "thinking_delta", "thinking": "h"})),
        piece(0, &json!({"type": "thinking_delta", "thinking": "m\n"})),
        piece(0, &json!({"type": "signature_delta", "signature": "EqQ="})),
        json!({"type": "content_block_stop", "index": 0}),
        begun(1, &json!({"type": "text", "text": "", "citations": null})),
        piece(1, &json!({"type": "text_delta", "text": "\"a\" "})),
        piece(1, &json!({"type": "citations_delta", "citation": {"n": 1}})),
        piece(1, &json!({"type": "citations_delta", "citation": {"n": 2}})),
        piece(1, &json!({"type": "a later version's", "text": "no"})),
        begun(
            2,
            &json!({"type": "tool_use", "id": "t", "name": "f", "input": {}}),
        ),
        piece(2, &json!({"type": "input_json_delta", "partial_json": ""})),
        piece(
            2,
            &json!({"type": "input_json_delta", "partial_json": "{\"x\": [1,"}),
        ),
        piece(
            2,
            &json!({"type": "input_json_delta", "partial_json": " 2]}"}),
        ),
        begun(
            3,
            &json!({"type": "tool_use", "id": "u", "name": "f", "input": {}}),
        ),
        piece(
            3,
            &json!({"type": "input_json_delta", "partial_json": "{\"x\": [1,"}),
        ),
        json!({"type": "a later version's"}),
    ];
    events.extend(ended());
    assert_eq!(
        assembled(&events).unwrap(),
        json!({
            "id": "msg_1", "model": "m", "stop_reason": "end_turn", "new": [],
            "usage": {"input_tokens": 7, "output_tokens": 9, "new": {"a": 1}},
            "content": [
                {"type": "thinking", "thinking": "hm\n", "signature": "EqQ="},
                {"type": "text", "text": "\"a\" ", "citations": [{"n": 1}, {"n": 2}]},
                {"type": "tool_use", "id": "t", "name": "f", "input": {"x": [1, 2]}},
                {"type": "tool_use", "id": "u", "name": "f", "input": {}},
            ],
        })
    );
}

#[test]
fn usage_is_cumulative_and_the_last_word_holds() {
    let [end, stop] = ended();
    let mut later = end.clone();
    later["usage"] = json!({"output_tokens": 12, "cache_read_input_tokens": 5});
    let message = assembled(&[started(), end, later, stop]).unwrap();
    let usage = json!({"input_tokens": 7, "output_tokens": 12, "new": {"a": 1}, "cache_read_input_tokens": 5});
    assert_eq!(message["usage"], usage);
}

#[test]
fn a_stream_that_breaks_off_gives_no_message() {
    let [end, stop] = ended();
    assert_eq!(assembled(&[]), Err(StreamError::Incomplete));
    assert_eq!(
        assembled(std::slice::from_ref(&stop)),
        Err(StreamError::Incomplete)
    );
    // Not even one whose text is all there.
    assert_eq!(
        assembled(&[started(), end.clone()]),
        Err(StreamError::Incomplete)
    );
    let error =
        json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let Err(StreamError::Failed(body)) = assembled(&[started(), error]) else {
        panic!("an error event ends it");
    };
    assert_eq!(
        (body.kind, &*body.message),
        (ErrorKind::Overloaded, "Overloaded")
    );
    for broken in [
        vec![end, stop],
        vec![
            started(),
            piece(0, &json!({"type": "text_delta", "text": "x"})),
        ],
        vec![json!({"type": "message_start"})],
        vec![json!([])],
        vec![started(), json!({"type": "message_delta", "delta": {}})],
    ] {
        let told = assembled(&broken);
        assert!(matches!(told, Err(StreamError::Unreadable(_))), "{told:?}");
    }
}

#[test]
fn a_request_asks_for_a_stream_once() {
    for (plain, streamed) in [
        ("{}", "{\"stream\":true}"),
        (" { \"a\": [1] }", " {\"stream\":true, \"a\": [1] }"),
        (
            "{\"stream\":null,\"a\":{\"stream\":1}}",
            "{\"stream\":true,\"a\":{\"stream\":1}}",
        ),
    ] {
        assert_eq!(
            String::from_utf8(asked(plain.as_bytes()).unwrap()).unwrap(),
            streamed
        );
    }
    assert!(asked(b"[]").is_err());
}

proptest! {
    #[test]
    fn a_text_in_any_pieces_is_that_text(pieces in prop::collection::vec(any::<String>(), 0..8)) {
        let mut events = vec![started(), begun(0, &json!({"type": "text", "text": ""}))];
        let deltas = pieces.iter().map(|text| piece(0, &json!({"type": "text_delta", "text": text})));
        events.extend(deltas);
        events.extend(ended());
        let message = assembled(&events).unwrap();
        prop_assert_eq!(message["content"][0]["text"].as_str(), Some(&*pieces.concat()));
    }
}

#[test]
fn a_counter_that_is_null_at_the_end_stays_what_it_was() {
    let mut events = vec![started()];
    events.push(
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"},
        "usage": {"input_tokens": null, "cache_read_input_tokens": null, "output_tokens": 9}}),
    );
    events.push(json!({"type": "message_stop"}));
    let usage = &assembled(&events).unwrap()["usage"];
    assert_eq!(
        *usage,
        json!({"input_tokens": 7, "output_tokens": 9, "new": {"a": 1}})
    );
}
