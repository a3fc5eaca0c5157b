//! An answer, read for settling: what decides and what is priced, and the parts that a line shows in
//! the upstream's own bytes. The text of its text blocks stays escaped as it came: strings are put
//! together by putting their insides together.
//!
//! [`MessageView`] says what an answer is; here is only a shorter way to the same for the usual
//! shape, since every result goes through it. Leaves out prices and lines.

use std::borrow::Cow;

use offpeak_wire::DecodeError;
use offpeak_wire::message::{MessageView, StopReason};
use offpeak_wire::usage::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A readable answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer<'a> {
    /// The model that answered.
    pub(crate) model: Cow<'a, str>,
    pub(crate) stop_reason: StopReason,
    pub(crate) usage: Usage,
    pub(crate) shown: Shown<'a>,
}

/// The parts of an answer that its line shows.
#[derive(Debug, Clone)]
pub(crate) struct Shown<'a> {
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
struct Usual<'a> {
    #[serde(borrow, rename = "id")]
    _id: Cow<'a, str>,
    #[serde(borrow)]
    model: Cow<'a, str>,
    stop_reason: Option<Cow<'a, str>>,
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
    /// Reads a message object.
    ///
    /// # Errors
    ///
    /// Those of [`MessageView::parse`].
    pub(crate) fn read(message: &'a [u8]) -> Result<Self, DecodeError> {
        match Self::usual(message) {
            Some(answer) => Ok(answer),
            None => Self::any(message),
        }
    }

    fn usual(message: &'a [u8]) -> Option<Self> {
        let usual: Usual<'a> = serde_json::from_slice(message).ok()?;
        let strings = usual
            .content
            .iter()
            .filter_map(Block::text)
            .collect::<Option<_>>()?;
        let usage = usual.usage.get().as_bytes();
        let stop_reason = usual.stop_reason.as_deref();
        Some(Self {
            model: usual.model,
            stop_reason: stop_reason.map_or(StopReason::None, StopReason::from_name),
            usage: Usage::parse(usage).ok()?,
            shown: Shown {
                text: Text::Escaped(strings),
                message,
                usage,
            },
        })
    }

    fn any(message: &'a [u8]) -> Result<Self, DecodeError> {
        let view = MessageView::parse(message)?;
        let found: UsageOnly<'a> = serde_json::from_slice(message)
            .expect("a message view exists only for an object with a usage");
        let shown = Shown {
            text: Text::Plain(view.text()),
            message,
            usage: found.usage.get().as_bytes(),
        };
        Ok(Self {
            model: view.model,
            stop_reason: view.stop_reason,
            usage: view.usage,
            shown,
        })
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
        fn an_answer_says_what_the_message_view_says(
            content in prop_oneof![
                4 => prop::collection::vec(block(), 0..6).prop_map(Value::from),
                1 => Just(Value::Null),
            ],
            stop_reason in prop::sample::select(vec![json!("end_turn"), json!("new"), json!(null)]),
            without in prop::option::weighted(0.3, prop::sample::select(vec![
                "id", "model", "stop_reason", "content", "usage",
            ])),
            created in 0u64..2,
            ascii: bool,
        ) {
            let usage = json!({
                "input_tokens": 1,
                "output_tokens": 2,
                "cache_creation_input_tokens": created,
                "cache_creation": {"ephemeral_1h_input_tokens": 1},
            });
            let mut message = json!({
                "id": "m", "model": "m", "stop_reason": stop_reason, "content": content, "usage": usage,
            });
            if let Some(without) = without {
                message.as_object_mut().unwrap().remove(without);
            }
            let mut raw = message.to_string();
            if ascii {
                raw = raw.chars().map(escaped).collect();
            }
            let (view, answer) = match (MessageView::parse(raw.as_bytes()), Answer::read(raw.as_bytes())) {
                (Ok(view), Ok(answer)) => (view, answer),
                (view, answer) => {
                    prop_assert_eq!(view.err(), answer.err());
                    return Ok(());
                }
            };
            let mut text = Vec::new();
            answer.shown.text.write(&mut text);
            prop_assert_eq!(serde_json::from_slice::<String>(&text).unwrap(), view.text());
            prop_assert_eq!(serde_json::from_slice::<Value>(answer.shown.usage).unwrap(), usage);
            prop_assert_eq!(answer.model, view.model);
            prop_assert_eq!(answer.stop_reason, view.stop_reason);
            prop_assert_eq!(answer.usage, view.usage);
        }
    }

    fn escaped(c: char) -> String {
        if c.is_ascii() {
            return c.to_string();
        }
        c.encode_utf16(&mut [0; 2])
            .iter()
            .map(|unit| format!("\\u{unit:04x}"))
            .collect()
    }
}
