//! Laws of the short way to an answer: it says nothing, or what the long way says.

use offpeak_wire::message::MessageView;
use offpeak_wire::result::{ResultLine, RowResult};
use offpeak_wire::usage::Usage;
use offpeak_wire::usual::{UsualLine, UsualMessage};
use proptest::prelude::*;

/// JSON values in the place of which another is expected.
fn odd() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "null",
        "7",
        "-1",
        "1.0",
        "1e2",
        "\"\"",
        "\"a\\u0062\"",
        "[]",
        "{}",
        "[null]",
        "\"\\ud800\"",
        "",
        "18446744073709551616",
    ])
    .prop_map(str::to_owned)
}

/// Mostly the value that belongs there.
fn or_odd(usual: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    prop_oneof![12 => usual, 1 => odd()]
}

/// An object of some of these members, in any order; now and then one comes twice.
fn object(members: Vec<(&'static str, BoxedStrategy<String>)>) -> impl Strategy<Value = String> {
    let members: Vec<_> = members
        .into_iter()
        .map(|(name, value)| {
            let times = prop_oneof![1 => Just(0usize), 25 => Just(1), 1 => Just(2)];
            (value, times)
                .prop_map(move |(value, times)| vec![format!("\"{name}\":{value}"); times])
        })
        .collect();
    members
        .prop_map(|members| members.concat())
        .prop_shuffle()
        .prop_map(|members| format!("{{{}}}", members.join(", ")))
}

fn fixed(json: &'static str) -> BoxedStrategy<String> {
    or_odd(Just(json.to_owned())).boxed()
}

fn number() -> BoxedStrategy<String> {
    or_odd((0u64..3).prop_map(|number| number.to_string())).boxed()
}

fn usage() -> impl Strategy<Value = String> {
    let writes = object(vec![
        ("ephemeral_5m_input_tokens", number()),
        ("ephemeral_1h_input_tokens", number()),
    ]);
    object(vec![
        ("input_tokens", number()),
        ("output_tokens", number()),
        ("cache_creation_input_tokens", number()),
        ("cache_read_input_tokens", number()),
        ("cache_creation", or_odd(writes).boxed()),
        ("server_tool_use", fixed("{\"web_search_requests\":2}")),
        ("service_tier", fixed("\"batch\"")),
        ("inference_geo", fixed("\"us\"")),
        ("speed", fixed("null")),
    ])
}

fn content() -> impl Strategy<Value = String> {
    let text = "[a-zé\"\\\\\n]{0,6}";
    let text = text.prop_map(|text| serde_json::to_string(&text).expect("text is always JSON"));
    let kind = prop::sample::select(vec!["\"text\"", "\"thinking\""]).prop_map(str::to_owned);
    let block = object(vec![
        ("type", or_odd(kind).boxed()),
        ("text", or_odd(text).boxed()),
    ]);
    prop::collection::vec(or_odd(block), 0..3).prop_map(|blocks| format!("[{}]", blocks.join(",")))
}

fn message() -> impl Strategy<Value = String> {
    object(vec![
        ("id", fixed("\"msg_1\"")),
        ("model", fixed("\"m\"")),
        ("stop_reason", fixed("\"end_turn\"")),
        ("content", or_odd(content()).boxed()),
        ("usage", or_odd(usage()).boxed()),
    ])
}

fn line() -> impl Strategy<Value = String> {
    let kind = prop::sample::select(vec!["\"succeeded\"", "\"expired\""]);
    let result = object(vec![
        ("type", or_odd(kind.prop_map(str::to_owned)).boxed()),
        ("message", or_odd(message()).boxed()),
    ]);
    object(vec![
        ("custom_id", fixed("\"a-1\"")),
        ("result", or_odd(result).boxed()),
    ])
}

fn check(line: &str) -> Result<(), TestCaseError> {
    let Some(usual) = UsualLine::parse(line.as_bytes()) else {
        return Ok(());
    };
    let full = ResultLine::parse(line.as_bytes()).expect("a usual line is a line");
    prop_assert_eq!(usual.custom_id, full.custom_id);
    let message = &line.as_bytes()[usual.place];
    prop_assert_eq!(full.result, RowResult::Succeeded { message });
    let view = MessageView::parse(message).expect("a usual message is a message");
    let UsualMessage {
        model,
        stop_reason,
        usage,
        usage_place,
        text_place,
    } = usual.message;
    prop_assert_eq!(
        (model, &stop_reason, &usage),
        (&*view.model, &view.stop_reason, &view.usage)
    );
    let usage_object = &line.as_bytes()[usage_place];
    prop_assert_eq!(Usage::parse(usage_object).ok(), Some(usage));
    let text =
        text_place.map(|place| serde_json::from_str::<String>(&line[place]).expect("a string"));
    prop_assert_eq!(text.unwrap_or_default(), view.text());
    prop_assert!(UsualMessage::parse(message).is_some());
    Ok(())
}

proptest! {
    #[test]
    fn the_short_way_says_what_the_long_way_says(line in line()) {
        check(&line)?;
    }

    #[test]
    fn a_line_with_a_wrong_byte_says_nothing_else(
        line in line(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut bytes = line.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        match String::from_utf8(bytes) {
            Ok(line) => check(&line)?,
            Err(error) => prop_assert_eq!(UsualLine::parse(error.as_bytes()), None),
        }
    }
}

#[test]
fn what_the_api_sends_is_usual() {
    let line = r#"{"custom_id":"a","result":{"type":"succeeded","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"thinking","thinking":"…","signature":"x"},{"type":"text","text":"a \"b\"","citations":null}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":10,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"output_tokens":5,"server_tool_use":null,"service_tier":"batch","inference_geo":"global"}}}}"#;
    let usual = UsualLine::parse(line.as_bytes()).unwrap();
    assert_eq!(&line[usual.message.text_place.unwrap()], r#""a \"b\"""#);
    assert_eq!(usual.message.usage.output_tokens, 5);
}
