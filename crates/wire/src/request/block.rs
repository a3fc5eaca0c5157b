//! The blocks of a prompt: what a request's cacheable sequence is made of.
//!
//! Leaves out how they are found in the bytes (`collect`).

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// One block of the prompt, as a span of the request bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The part of the prompt it belongs to.
    pub section: Section,
    /// Its bytes, relative to the request.
    pub span: Range<usize>,
    /// How it is written.
    pub shape: Shape,
    /// Its explicit cache mark.
    pub mark: Option<Ttl>,
    /// What it is.
    pub kind: BlockKind,
    /// Whether a mark may be added: false for thinking, empty text, deferred tools, objects
    /// without members, and blocks that have a `cache_control` member already, null included.
    pub markable: bool,
}

/// The parts of a prompt, in prompt order (Anthropic docs, prompt caching).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Section {
    /// An entry of `tools`.
    Tools,
    /// `system`, or a block of it.
    System,
    /// A block of a message's `content`.
    Message {
        /// The message's index in `messages`.
        index: usize,
        /// Who speaks.
        role: Role,
    },
}

/// Who speaks in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// `user`.
    User,
    /// `assistant`.
    Assistant,
    /// `system`, within the conversation.
    System,
    /// Missing or unknown.
    Other,
}

/// How a block is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// As an object.
    Object,
    /// `system` or a message's `content` given as a JSON string; the span covers its quotes.
    BareString,
}

/// What a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlockKind {
    /// An entry of `tools`.
    Tool,
    /// `text`, or a bare string.
    Text,
    /// `image`.
    Image,
    /// `document`.
    Document,
    /// `tool_use`.
    ToolUse,
    /// `tool_result`.
    ToolResult,
    /// `thinking` or `redacted_thinking`; never carries a mark.
    Thinking,
    /// Any other, e.g. `search_result` or a server tool's blocks.
    Other,
}

/// How long a cache entry lives at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Ttl {
    /// Five minutes, the default.
    #[serde(rename = "5m")]
    FiveMinutes,
    /// One hour.
    #[serde(rename = "1h")]
    OneHour,
}

impl Ttl {
    /// The lifetime in seconds.
    #[must_use]
    pub fn seconds(self) -> u64 {
        match self {
            Self::FiveMinutes => 300,
            Self::OneHour => 3600,
        }
    }

    /// The API's spelling: `5m` or `1h`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FiveMinutes => "5m",
            Self::OneHour => "1h",
        }
    }
}
