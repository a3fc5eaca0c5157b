//! One answer of the Messages API, seen through its bytes.
//!
//! Owns identity, stop reason, usage and the answer's text. Leaves out the structure of content
//! blocks other than text, which stay bytes.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::DecodeError;
use crate::decode::Text;
use crate::usage::{Usage, UsageWire};

const WHAT: &str = "message";

/// A message object: what is needed to settle and to print it, next to its exact bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageView<'a> {
    /// `msg_…`.
    pub id: Cow<'a, str>,
    /// The model that answered; may be the dated id behind a requested alias.
    pub model: Cow<'a, str>,
    /// Why generation ended.
    pub stop_reason: StopReason,
    /// What is billed.
    pub usage: Usage,
    /// The bytes the view was read from.
    pub raw: &'a [u8],
    content: Option<&'a [u8]>,
}

/// Why generation ended (Anthropic docs, handling stop reasons).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// `end_turn`: the answer is complete.
    EndTurn,
    /// `max_tokens`: cut off at the request's limit.
    MaxTokens,
    /// `stop_sequence`: a requested stop string appeared.
    StopSequence,
    /// `tool_use`: a tool is to be called.
    ToolUse,
    /// `pause_turn`: a server-tool loop paused.
    PauseTurn,
    /// `refusal`: declined; still an answer, not an error.
    Refusal,
    /// `model_context_window_exceeded`: cut off at the model's window.
    ContextWindow,
    /// A reason this version does not know.
    Unknown(String),
    /// Absent or null.
    None,
}

impl StopReason {
    /// The reason by its API name.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        match name {
            "end_turn" => Self::EndTurn,
            "max_tokens" => Self::MaxTokens,
            "stop_sequence" => Self::StopSequence,
            "tool_use" => Self::ToolUse,
            "pause_turn" => Self::PauseTurn,
            "refusal" => Self::Refusal,
            "model_context_window_exceeded" => Self::ContextWindow,
            other => Self::Unknown(other.to_owned()),
        }
    }

    /// The API name; empty for [`StopReason::None`].
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::EndTurn => "end_turn",
            Self::MaxTokens => "max_tokens",
            Self::StopSequence => "stop_sequence",
            Self::ToolUse => "tool_use",
            Self::PauseTurn => "pause_turn",
            Self::Refusal => "refusal",
            Self::ContextWindow => "model_context_window_exceeded",
            Self::Unknown(name) => name,
            Self::None => "",
        }
    }
}

#[derive(Deserialize)]
struct MessageWire<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    model: Cow<'a, str>,
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    usage: UsageWire,
}

impl<'a> MessageView<'a> {
    /// Reads a message object in one pass; its content is kept as bytes.
    ///
    /// # Errors
    ///
    /// When the bytes are not a message object with `id`, `model` and a readable `usage`.
    pub fn parse(raw: &'a [u8]) -> Result<Self, DecodeError> {
        let wire: MessageWire<'a> =
            serde_json::from_slice(raw).map_err(|error| DecodeError::new(WHAT, error))?;
        Ok(Self {
            id: wire.id,
            model: wire.model,
            stop_reason: wire
                .stop_reason
                .map_or(StopReason::None, |reason| StopReason::from_name(&reason.0)),
            usage: wire.usage.checked()?,
            raw,
            content: wire.content.map(|content| content.get().as_bytes()),
        })
    }

    /// The bytes of the `content` array; `None` when it is absent or null.
    #[must_use]
    pub fn content(&self) -> Option<&'a [u8]> {
        self.content
    }

    /// The text blocks' text, unescaped and concatenated. Other blocks are passed over; an unpaired
    /// surrogate becomes U+FFFD.
    #[must_use]
    pub fn text(&self) -> String {
        let blocks: Vec<&RawValue> = self
            .content
            .and_then(|content| serde_json::from_slice(content).ok())
            .unwrap_or_default();
        blocks
            .into_iter()
            .filter_map(|block| serde_json::from_str::<TextBlock<'_>>(block.get()).ok())
            .filter(|block| block.kind == "text")
            .filter_map(|block| block.text)
            .map(|text| text.0)
            .collect()
    }
}

#[derive(Deserialize)]
struct TextBlock<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    text: Option<LossyText<'a>>,
}

/// A JSON string whose unpaired surrogates are replaced instead of refused: showing an answer
/// must not fail on what the model wrote.
struct LossyText<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for LossyText<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = LossyText<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
                Ok(LossyText(String::from_utf8_lossy(bytes)))
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                let text = String::from_utf8_lossy(bytes).into_owned();
                Ok(LossyText(Cow::Owned(text)))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}
