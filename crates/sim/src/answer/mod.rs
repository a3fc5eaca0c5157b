//! Owns what an answered request looks like: its content blocks, why it stopped, and the Message
//! object, written straight into a buffer because batches hold many of them. What an answer
//! contains is decided in `compose`; how it is streamed, in `events`.

mod compose;
mod events;
mod limit;
pub(crate) mod rules;
mod schema;
mod signature;
mod thinking;
mod tools;
mod turn;

use std::borrow::Cow;
use std::io::Write;

use serde::{Deserialize, Serialize};

use crate::bill::{Lane, Tally};
use crate::book::Model;
use crate::text;

pub(crate) use compose::{Ask, Composed, compose};
pub(crate) use signature::is_ours;

/// Why an answer ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stop {
    EndTurn,
    MaxTokens,
    /// With the sequence that was met.
    Sequence(Box<str>),
    ToolUse,
    PauseTurn,
    Refusal,
    ContextWindow,
}

impl Stop {
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::EndTurn => "end_turn",
            Self::MaxTokens => "max_tokens",
            Self::Sequence(_) => "stop_sequence",
            Self::ToolUse => "tool_use",
            Self::PauseTurn => "pause_turn",
            Self::Refusal => "refusal",
            Self::ContextWindow => "model_context_window_exceeded",
        }
    }

    /// `"stop_reason":…,"stop_sequence":…,"stop_details":…`.
    fn write(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
        write!(out, r#""stop_reason":"{}","stop_sequence":"#, self.as_str())?;
        match self {
            Self::Sequence(text) => string(text, out),
            _ => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"stop_details\":");
        out.extend_from_slice(match self {
            Self::Refusal => br#"{"type":"refusal","category":"general_harms","explanation":null}"#,
            _ => b"null",
        });
        Ok(())
    }
}

/// A content block. Prose is a seed and a length, so that an ordinary answer stays a few numbers
/// until it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Block {
    /// A text block of about that many tokens of prose.
    Prose {
        seed: u64,
        tokens: u32,
    },
    /// A text block with this text.
    Text(Box<str>),
    Thinking(Box<Thought>),
    ToolUse(Box<ToolUse>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Thought {
    /// Of the signature, and of the text unless it is given.
    pub(crate) seed: u64,
    pub(crate) tokens: u32,
    pub(crate) text: Option<Box<str>>,
    /// `display`: whether the text is handed out.
    pub(crate) shown: bool,
}

impl Thought {
    /// What the client gets to see of it.
    fn visible(&self) -> Cow<'_, str> {
        match &self.text {
            _ if !self.shown => Cow::Borrowed(""),
            Some(text) => Cow::Borrowed(text),
            None => Cow::Owned(text::prose(self.seed, self.tokens)),
        }
    }

    fn signature(&self, visible: &str) -> String {
        signature::sign(self.seed, self.tokens, visible)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ToolUse {
    pub(crate) id: String,
    pub(crate) name: Box<str>,
    /// A JSON object; empty if the answer was cut short before the input was complete.
    pub(crate) input: Box<str>,
}

impl Block {
    /// The text of a text block.
    fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Prose { seed, tokens } => Some(Cow::Owned(text::prose(*seed, *tokens))),
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Thinking(_) | Self::ToolUse(_) => None,
        }
    }

    /// A text that cites nothing has no `citations`: one client refuses null there, so the API
    /// cannot send it.
    fn write(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
        match self {
            Self::Prose { seed, tokens } => {
                out.extend_from_slice(br#"{"type":"text","text":""#);
                text::write(*seed, *tokens, out);
                out.extend_from_slice(b"\"}");
            }
            Self::Text(text) => {
                out.extend_from_slice(br#"{"type":"text","text":"#);
                string(text, out);
                out.push(b'}');
            }
            Self::Thinking(thought) => {
                let visible = thought.visible();
                out.extend_from_slice(br#"{"type":"thinking","thinking":"#);
                string(&visible, out);
                let signature = thought.signature(&visible);
                write!(out, r#","signature":"{signature}"}}"#)?;
            }
            Self::ToolUse(call) => call.write(&call.input, out)?,
        }
        Ok(())
    }
}

impl ToolUse {
    /// The block with this input, which in a stream comes later.
    fn write(&self, input: &str, out: &mut Vec<u8>) -> std::io::Result<()> {
        write!(out, r#"{{"type":"tool_use","id":"{}","name":"#, self.id)?;
        string(&self.name, out);
        write!(out, r#","input":{input},"caller":{{"type":"direct"}}}}"#)
    }
}

/// What an answer says and how long it is: a function of the request and the seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) content: Box<[Block]>,
    pub(crate) stop: Stop,
    /// Output tokens, thinking included: what is billed.
    pub(crate) tokens: u32,
    /// Those of them that were thought.
    pub(crate) thinking: u32,
}

impl Plan {
    /// The answer of a pre-warm, and of a row that was not answered.
    pub(crate) fn empty() -> Self {
        Self {
            content: Box::default(),
            stop: Stop::MaxTokens,
            tokens: 0,
            thinking: 0,
        }
    }

    /// A refusal before anything was said is not billed (Anthropic docs, refusals). Assumed: its
    /// usage is nothing then.
    pub(crate) fn is_free(&self) -> bool {
        self.stop == Stop::Refusal && self.tokens == 0
    }
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    pub(crate) id: String,
    pub(crate) model: &'a Model,
    pub(crate) lane: Lane,
    pub(crate) plan: &'a Plan,
    pub(crate) tally: Tally,
}

impl Message<'_> {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        self.put(out).expect("writing to memory");
    }

    fn put(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
        self.head(out)?;
        for (index, block) in self.plan.content.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            block.write(out)?;
        }
        out.extend_from_slice(b"],");
        self.plan.stop.write(out)?;
        out.extend_from_slice(b",\"container\":null,\"usage\":");
        self.usage(self.tally.output, self.plan.thinking, out)?;
        out.push(b'}');
        Ok(())
    }

    /// Everything up to the content's opening bracket.
    fn head(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
        write!(
            out,
            r#"{{"id":"{}","type":"message","role":"assistant","model":"{}","content":["#,
            self.id, self.model.id
        )
    }

    /// The usage object, complete but for the output, which a stream only knows at its end.
    fn usage(&self, output: u32, thinking: u32, out: &mut Vec<u8>) -> std::io::Result<()> {
        let Tally {
            write_5m, write_1h, ..
        } = self.tally;
        out.push(b'{');
        self.counts(out)?;
        write!(
            out,
            r#","cache_creation":{{"ephemeral_5m_input_tokens":{write_5m},"ephemeral_1h_input_tokens":{write_1h}}},"output_tokens":{output},"output_tokens_details":{{"thinking_tokens":{thinking}}},"server_tool_use":null,"service_tier":"{}","inference_geo":"{}""#,
            match self.lane {
                Lane::Sync => "standard",
                Lane::Batch => "batch",
            },
            match (self.tally.us, self.model.us_geo) {
                (true, _) => "us",
                (false, true) => "global",
                (false, false) => "not_available",
            },
        )?;
        if self.tally.fast {
            out.extend_from_slice(br#","speed":"fast""#);
        }
        out.push(b'}');
        Ok(())
    }

    fn counts(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
        let Tally {
            input,
            write_5m,
            write_1h,
            read,
            ..
        } = self.tally;
        let written = u64::from(write_5m) + u64::from(write_1h);
        write!(
            out,
            r#""input_tokens":{input},"cache_creation_input_tokens":{written},"cache_read_input_tokens":{read}"#
        )
    }
}

/// A JSON string.
fn string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("writing to memory");
}
