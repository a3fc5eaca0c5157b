//! What the gate is told of a call, and what it does.

use offpeak_wire::request::Ttl;
use serde::Serialize;

use crate::plan::PromptBlock;
use crate::units::{Span, Timestamp};

/// How long a call that somebody waits for may be held back.
pub const HELD: Span = Span::from_secs(2);

/// The part of a prompt that a block belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Tool definitions.
    Tools,
    /// The system prompt.
    System,
    /// A document or other material that several calls are about.
    Context,
    /// A message of a conversation that goes on.
    Turn,
    /// What only this call asks.
    Suffix,
}

impl Role {
    /// All, in the order in which they stand in a prompt.
    pub const ALL: [Self; 5] = [
        Self::Tools,
        Self::System,
        Self::Context,
        Self::Turn,
        Self::Suffix,
    ];

    /// The name in traces.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::System => "system",
            Self::Context => "context",
            Self::Turn => "turn",
            Self::Suffix => "suffix",
        }
    }
}

/// A block of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Identity of its content.
    pub id: u64,
    /// Its tokens.
    pub tokens: u32,
    /// The part it belongs to, if that is known.
    pub role: Option<Role>,
}

impl Block {
    /// The block as the planner takes it.
    #[must_use]
    pub fn prompt(&self) -> PromptBlock {
        PromptBlock {
            id: self.id,
            tokens: self.tokens,
        }
    }
}

/// A call of the gate's model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its number; no two have the same.
    pub number: usize,
    /// When it came.
    pub at: Timestamp,
    /// Its prompt.
    pub blocks: Vec<Block>,
    /// Somebody waits for the answer: it may be held back for a moment only, counted from when it came.
    pub awaited: bool,
}

/// Marked blocks by position, from the top.
pub type Marks = Vec<(usize, Ttl)>;

/// What the gate wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Send a call.
    Send {
        /// The call.
        call: usize,
        /// Its marks.
        marks: Marks,
    },
    /// Read a beginning of a call's prompt and ask for nothing; the answer's usage comes back as the
    /// ping's.
    Ping {
        /// The ping's number.
        ping: u64,
        /// The call.
        like: usize,
        /// How many of its blocks.
        blocks: usize,
        /// The marks.
        marks: Marks,
    },
    /// Wake the gate at that moment.
    Wake(Timestamp),
}
