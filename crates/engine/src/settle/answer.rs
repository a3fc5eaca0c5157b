//! An answer, read for settling: what decides and what is priced, and where the parts are that its
//! line shows. Those stay the upstream's own bytes, text included: a JSON string is shown as it came.
//!
//! Leaves out prices, and the file that the message is in (`kept`).

use std::borrow::Cow;
use std::ops::Range;

use offpeak_wire::DecodeError;
use offpeak_wire::message::{MessageView, StopReason};
use offpeak_wire::usage::Usage;
use offpeak_wire::usual::{UsualLine, UsualMessage};
use serde::Deserialize;
use serde_json::value::RawValue;

/// A readable answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer<'a> {
    /// The model that answered.
    pub(crate) model: Cow<'a, str>,
    pub(crate) stop_reason: StopReason,
    pub(crate) usage: Usage,
    pub(crate) places: Places,
}

/// Where in a message the parts are that its line shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Places {
    Known {
        /// The `usage` object.
        usage: Place,
        /// The JSON string of the only text block; `None` without one.
        text: Option<Place>,
    },
    /// The message is of an unusual shape and must be read again.
    Unknown,
}

/// Some bytes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) start: u32,
    /// Never 0.
    pub(crate) len: u32,
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

/// A text, as one JSON string or as plain text.
#[derive(Debug, Clone)]
pub(crate) enum Text<'a> {
    /// With its quotes.
    Escaped(&'a [u8]),
    Plain(String),
}

impl<'a> Answer<'a> {
    /// Reads a message object.
    ///
    /// # Errors
    ///
    /// Those of [`MessageView::parse`].
    pub(crate) fn read(message: &'a [u8]) -> Result<Self, DecodeError> {
        if let Some(usual) = UsualMessage::parse(message) {
            return Ok(Self::usual(usual, 0));
        }
        let view = MessageView::parse(message)?;
        Ok(Self {
            model: view.model,
            stop_reason: view.stop_reason,
            usage: view.usage,
            places: Places::Unknown,
        })
    }

    /// The answer in a result line of the usual shape.
    pub(crate) fn of_line(line: UsualLine<'a>) -> Self {
        Self::usual(line.message, line.place.start)
    }

    /// `start` is where the message begins in what its places are counted in.
    fn usual(message: UsualMessage<'a>, start: usize) -> Self {
        let place = |range| Place::of(range, start);
        Self {
            model: Cow::Borrowed(message.model),
            stop_reason: message.stop_reason,
            usage: message.usage,
            places: Places::Known {
                usage: place(message.usage_place),
                text: message.text_place.map(place),
            },
        }
    }
}

impl Place {
    fn of(range: Range<usize>, start: usize) -> Self {
        let short = |len| u32::try_from(len).expect("the API caps an answer far below 4 GiB");
        Self {
            start: short(range.start - start),
            len: short(range.len()),
        }
    }

    /// Its bytes, if they begin and end as they must.
    fn bytes(self, message: &[u8], [first, last]: [u8; 2]) -> Option<&[u8]> {
        let bytes = message
            .get(self.start as usize..)?
            .get(..self.len as usize)?;
        let fits = bytes.len() > 1 && bytes.first() == Some(&first) && bytes.last() == Some(&last);
        fits.then_some(bytes)
    }
}

impl<'a> Shown<'a> {
    /// What is shown of a message; `None` if it is not the message that the places were found in.
    pub(crate) fn of(message: &'a [u8], places: Places) -> Option<Self> {
        let Places::Known { usage, text } = places else {
            return Self::read_again(message);
        };
        Some(Self {
            text: Text::Escaped(match text {
                Some(text) => text.bytes(message, *b"\"\"")?,
                None => b"\"\"",
            }),
            message,
            usage: usage.bytes(message, *b"{}")?,
        })
    }

    fn read_again(message: &'a [u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct UsageOnly<'a> {
            #[serde(borrow)]
            usage: &'a RawValue,
        }
        let text = MessageView::parse(message).ok()?.text();
        let found: UsageOnly<'a> = serde_json::from_slice(message).ok()?;
        Some(Self {
            text: Text::Plain(text),
            message,
            usage: found.usage.get().as_bytes(),
        })
    }
}

impl Text<'_> {
    /// Appends it as one JSON string.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Escaped(string) => out.extend_from_slice(string),
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
            let shown = Shown::of(raw.as_bytes(), answer.places).unwrap();
            shown.text.write(&mut text);
            prop_assert_eq!(serde_json::from_slice::<String>(&text).unwrap(), view.text());
            prop_assert_eq!(serde_json::from_slice::<Value>(shown.usage).unwrap(), usage);
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
