//! The parts of an answer that a line shows, in the upstream's own bytes: the message, its usage,
//! and the text of its text blocks, still escaped as it came. Escaped strings are put together by
//! putting their insides together, so no text is unescaped and escaped again.
//!
//! Leaves out what an answer means (`wire::message`).

use std::borrow::Cow;

use offpeak_wire::message::MessageView;
use serde::Deserialize;
use serde_json::value::RawValue;

/// An answer, in the upstream's bytes.
#[derive(Debug, Clone)]
pub(crate) struct Answer<'a> {
    /// The text of its text blocks.
    pub(crate) text: Text<'a>,
    /// The message object.
    pub(crate) message: &'a [u8],
    /// Its `usage` object.
    pub(crate) usage: &'a [u8],
}

/// A text, as one JSON string that is not yet put together, or as plain text.
#[derive(Debug, Clone)]
pub(crate) enum Text<'a> {
    /// JSON strings with their quotes.
    Escaped(Vec<&'a str>),
    Plain(String),
}

#[derive(Deserialize)]
struct Shown<'a> {
    #[serde(borrow)]
    content: Vec<Block<'a>>,
    #[serde(borrow)]
    usage: &'a RawValue,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct UsageOnly<'a> {
    #[serde(borrow)]
    usage: &'a RawValue,
}

impl<'a> Answer<'a> {
    pub(crate) fn of(message: &MessageView<'a>) -> Self {
        if let Ok(shown) = serde_json::from_slice::<Shown<'a>>(message.raw)
            && let Some(strings) = shown.content.iter().filter_map(Block::text).collect()
        {
            let usage = shown.usage.get().as_bytes();
            return Self { text: Text::Escaped(strings), message: message.raw, usage };
        }
        // Content of an unfamiliar shape: slower, but nothing else is known to be wrong with it.
        let found: UsageOnly<'a> = serde_json::from_slice(message.raw)
            .expect("a message view exists only for an object with a usage");
        let usage = found.usage.get().as_bytes();
        Self { text: Text::Plain(message.text()), message: message.raw, usage }
    }
}

impl<'a> Block<'a> {
    /// The JSON string of a text block; `None` inside if it is no string.
    fn text(&self) -> Option<Option<&'a str>> {
        let text = self.text.filter(|_| self.kind == "text")?.get();
        Some((text.len() >= 2 && text.starts_with('"')).then_some(text))
    }
}

impl Text<'_> {
    /// Appends it as one JSON string.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Escaped(strings) => {
                out.push(b'"');
                for string in strings {
                    out.extend_from_slice(&string.as_bytes()[1..string.len() - 1]);
                }
                out.push(b'"');
            }
            Self::Plain(text) => {
                serde_json::to_writer(out, text).expect("a Vec takes every write");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn block() -> impl Strategy<Value = Value> {
        prop_oneof![
            3 => ".{0,20}".prop_map(|text| json!({"type": "text", "text": text})),
            1 => ".{0,5}".prop_map(|text| json!({"type": "thinking", "text": text})),
            1 => Just(json!({"type": "tool_use", "input": {"usage": [1]}})),
            1 => Just(json!({"type": "text", "text": null})),
            1 => Just(json!({"type": "text", "text": 7})),
            1 => Just(json!("no block")),
        ]
    }

    proptest! {
        #[test]
        fn the_text_is_that_of_the_message_view(
            content in prop_oneof![
                4 => prop::collection::vec(block(), 0..6).prop_map(Value::from),
                1 => Just(Value::Null),
            ],
            ascii: bool,
        ) {
            let usage = json!({"input_tokens": 1, "output_tokens": 2});
            let message = json!({"id": "m", "model": "m", "content": content, "usage": usage});
            let mut raw = message.to_string();
            if ascii {
                raw = raw.chars().map(escaped).collect();
            }
            let view = MessageView::parse(raw.as_bytes()).unwrap();
            let answer = Answer::of(&view);
            let mut text = Vec::new();
            answer.text.write(&mut text);
            prop_assert_eq!(serde_json::from_slice::<String>(&text).unwrap(), view.text());
            prop_assert_eq!(serde_json::from_slice::<Value>(answer.usage).unwrap(), usage);
        }
    }

    fn escaped(c: char) -> String {
        if c.is_ascii() {
            return c.to_string();
        }
        c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
    }
}
