//! Usage, messages and result lines, as documented and as older or newer services send them.

use offpeak_wire::error::ErrorKind;
use offpeak_wire::message::{MessageView, StopReason};
use offpeak_wire::result::{ResultLine, RowResult};
use offpeak_wire::usage::Usage;

const SUCCEEDED: &str = r#"{"custom_id":"a1","result":{"type":"succeeded","message":{"id":"msg_01X","type":"message","role":"assistant","model":"claude-haiku-5-5","content":[{"type":"text","text":"ok"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":9,"cache_creation_input_tokens":30,"cache_read_input_tokens":400,"cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20},"output_tokens":4,"service_tier":"batch","inference_geo":"global","server_tool_use":{"web_search_requests":2,"web_fetch_requests":1}}}}}"#;

fn usage(text: &str) -> Usage {
    Usage::parse(text.as_bytes()).expect("a readable usage")
}

#[test]
fn an_answered_row() {
    let line = ResultLine::parse(SUCCEEDED.as_bytes()).unwrap();
    assert_eq!(line.custom_id, "a1");
    let RowResult::Succeeded { message } = line.result else {
        panic!("{line:?}")
    };
    let message = MessageView::parse(message).unwrap();
    assert_eq!(
        (&*message.id, &*message.model),
        ("msg_01X", "claude-haiku-5-5")
    );
    assert_eq!(message.stop_reason, StopReason::EndTurn);
    assert_eq!(message.text(), "ok");
    assert_eq!(
        message.content(),
        Some(&br#"[{"type":"text","text":"ok"}]"#[..])
    );
    let usage = message.usage;
    assert_eq!((usage.write_5m, usage.write_1h), (10, 20));
    // `input_tokens` is only the uncached tail of the prompt.
    assert_eq!((usage.input_tokens, usage.prompt_tokens()), (9, 439));
    assert_eq!(usage.web_search_requests, 2);
    assert_eq!(usage.service_tier.as_deref(), Some("batch"));
    assert_eq!(
        (usage.inference_geo.as_deref(), usage.speed),
        (Some("global"), None)
    );
}

#[test]
fn a_row_error_is_nested_twice() {
    let text = r#"{"custom_id":"a2","result":{"type":"errored","error":{"type":"error","error":{"details":{"error_visibility":"user_facing"},"type":"invalid_request_error","message":"messages: Field required"},"request_id":null}}}"#;
    let line = ResultLine::parse(text.as_bytes()).unwrap();
    let RowResult::Errored { error, raw } = line.result else {
        panic!("{line:?}")
    };
    assert_eq!(error.kind, ErrorKind::InvalidRequest);
    assert_eq!(error.message, "messages: Field required");
    assert_eq!((error.request_id, error.error_code), (None, None));
    assert!(raw.starts_with(br#"{"type":"error","error":{"details""#) && raw.ends_with(b"null}"));

    let overloaded = text
        .replace("invalid_request_error", "overloaded_error")
        .replace("null", "\"workerreq_1\"");
    let line = ResultLine::parse(overloaded.as_bytes()).unwrap();
    let RowResult::Errored { error, .. } = line.result else {
        panic!("{line:?}")
    };
    assert_eq!(error.kind, ErrorKind::Overloaded);
    assert_eq!(error.request_id.as_deref(), Some("workerreq_1"));
}

#[test]
fn the_other_outcomes_and_unreadable_lines() {
    let outcome = |text: &'static str| ResultLine::parse(text.as_bytes()).map(|line| line.result);
    assert_eq!(
        outcome(r#"{"custom_id":"a","result":{"type":"canceled"}}"#),
        Ok(RowResult::Canceled)
    );
    assert_eq!(
        outcome(r#"{"result":{"type":"expired","new":[1]},"new":{},"custom_id":"a"}"#),
        Ok(RowResult::Expired)
    );
    assert_eq!(
        outcome(r#"{"custom_id":"a","result":{"type":"paused","until": 5}}"#),
        Ok(RowResult::Unknown {
            kind: "paused".into(),
            raw: br#"{"type":"paused","until": 5}"#
        })
    );
    for broken in [
        r#"{"custom_id":"a","result":{"type":"succeeded"}}"#,
        r#"{"custom_id":"a","result":{"type":"succeeded","message":null}}"#,
        r#"{"custom_id":"a","result":{"type":"errored"}}"#,
        r#"{"result":{"type":"expired"}}"#,
        r#"{"custom_id":"a"}"#,
        "",
    ] {
        assert!(outcome(broken).is_err(), "{broken}");
    }
    for cut in 0..SUCCEEDED.len() {
        assert!(ResultLine::parse(&SUCCEEDED.as_bytes()[..cut]).is_err());
    }
}

#[test]
fn the_id_is_found_without_reading_the_rest() {
    let id = |text: &'static [u8]| ResultLine::custom_id_of(text);
    assert_eq!(
        id(br#"{"custom_id":"a\u002d1","result":{"ty"#).as_deref(),
        Some("a-1")
    );
    assert_eq!(
        id(br#" { "result" : {"custom_id":"no","x":[{}]} , "custom_id" : "yes" }"#).as_deref(),
        Some("yes")
    );
    for none in [
        &b"{\"custom_id\":\"a"[..],
        b"{\"custom_id\":7}",
        b"{\"custom_id\":\"\xff\"}",
        b"{}",
        b"[",
        b"",
    ] {
        assert_eq!(id(none), None, "{none:?}");
    }
}

#[test]
fn a_refusal_is_an_answer() {
    let text = SUCCEEDED.replace("end_turn", "refusal");
    let line = ResultLine::parse(text.as_bytes()).unwrap();
    let RowResult::Succeeded { message } = line.result else {
        panic!("{line:?}")
    };
    assert_eq!(
        MessageView::parse(message).unwrap().stop_reason,
        StopReason::Refusal
    );
}

#[test]
fn usage_of_older_services() {
    let short = usage(r#"{"input_tokens":3,"output_tokens":0}"#);
    assert_eq!(
        (short.prompt_tokens(), short.cache_creation_input_tokens),
        (3, 0)
    );
    // Written tokens without a split are five-minute writes.
    for split in ["", r#","cache_creation":null"#, r#","cache_creation":{}"#] {
        let text = format!(
            r#"{{"input_tokens":3,"output_tokens":1,"cache_creation_input_tokens":7{split}}}"#
        );
        let usage = usage(&text);
        assert_eq!(
            (usage.write_5m, usage.write_1h, usage.prompt_tokens()),
            (7, 0, 10)
        );
    }
    let nulls = usage(
        r#"{"input_tokens":3,"output_tokens":1,"cache_creation_input_tokens":null,"cache_read_input_tokens":null,
            "server_tool_use":null,"service_tier":null,"inference_geo":null,"speed":null,
            "iterations":[{"type":"message"}],"output_tokens_details":{"thinking_tokens":1}}"#,
    );
    assert_eq!(
        nulls,
        Usage {
            input_tokens: 3,
            output_tokens: 1,
            ..Usage::default()
        }
    );
}

#[test]
fn writes_must_add_up() {
    let parse = |writes: &str| {
        Usage::parse(format!(r#"{{"input_tokens":1,"output_tokens":1,{writes}}}"#).as_bytes())
    };
    let split = |a: u64, b: u64| {
        format!(
            r#""cache_creation":{{"ephemeral_5m_input_tokens":{a},"ephemeral_1h_input_tokens":{b}}}"#
        )
    };
    let both = |total: u64, a, b| {
        parse(&format!(
            r#""cache_creation_input_tokens":{total},{}"#,
            split(a, b)
        ))
    };
    assert_eq!(
        both(7, 3, 4).map(|usage| (usage.write_5m, usage.write_1h)),
        Ok((3, 4))
    );
    assert!(
        both(8, 3, 4)
            .unwrap_err()
            .to_string()
            .contains("do not add up")
    );
    assert!(both(0, u64::MAX, 1).is_err());
    // A split without the sum is the sum.
    assert_eq!(
        parse(&split(3, 4)).map(|usage| usage.cache_creation_input_tokens),
        Ok(7)
    );
    for broken in [
        r#"{"output_tokens":1}"#,
        r#"{"input_tokens":1}"#,
        r#"{"input_tokens":null,"output_tokens":1}"#,
        r#"{"input_tokens":-1,"output_tokens":1}"#,
        r#"{"input_tokens":1.5,"output_tokens":1}"#,
        r#"{"input_tokens":1,"input_tokens":2,"output_tokens":1}"#,
    ] {
        assert!(Usage::parse(broken.as_bytes()).is_err(), "{broken}");
    }
}

#[test]
fn messages_with_odd_contents() {
    let message = |rest: &str| {
        format!(
            r#"{{"id":"m","model":"x","usage":{{"input_tokens":1,"output_tokens":1}},"future":{{}}{rest}}}"#
        )
    };
    let text_of = |rest: &str| MessageView::parse(message(rest).as_bytes()).unwrap().text();
    assert_eq!(
        text_of(
            r#","content":[{"type":"thinking","thinking":"hm"},{"text":"a\n","type":"text","citations":null},
               {"type":"tool_use","text":"no","input":{}},7,{"type":"text","text":null},{"type":"text","text":"é\u00e9"}]"#
        ),
        "a\néé"
    );
    assert_eq!(
        text_of(r#","content":[{"type":"text","text":"a\ud800b"}]"#)
            .replace('\u{fffd}', "?")
            .split('?')
            .next(),
        Some("a")
    );
    assert_eq!(text_of(r#","content":null"#), "");
    assert_eq!(text_of(""), "");

    let reason = |rest: &str| {
        MessageView::parse(message(rest).as_bytes())
            .unwrap()
            .stop_reason
    };
    assert_eq!(reason(""), StopReason::None);
    assert_eq!(reason(r#","stop_reason":null"#), StopReason::None);
    let unknown = reason(r#","stop_reason":"compaction""#);
    assert_eq!(unknown, StopReason::Unknown("compaction".into()));
    assert_eq!(
        reason(r#","stop_reason":"model_context_window_exceeded""#),
        StopReason::ContextWindow
    );
    assert!(MessageView::parse(br#"{"type":"error","error":{}}"#).is_err());
}
