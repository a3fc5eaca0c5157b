//! What makes a workload dearer than it needs to be and can be changed before anything is paid: found
//! in a sample of its rows.
//!
//! Owns the findings and how they are put into words; `find` finds them. A warning says what is there,
//! shows the bytes of two rows that differ, and what it costs. Leaves out which rows are sampled.

mod find;
#[cfg(test)]
mod laws;
mod looks;

use std::fmt;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::units::{Estimate, Tokens};

pub use find::{LintRates, SampleBlock, SampleRow, lint};
pub use looks::Looks;

/// A part of a prompt, in prompt order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Tool definitions.
    Tools,
    /// The system prompt.
    System,
    /// The messages.
    Messages,
}

impl Part {
    const fn words(self) -> &'static str {
        match self {
            Self::Tools => "the tools",
            Self::System => "the system prompt",
            Self::Messages => "the messages",
        }
    }
}

/// A place in the input, with what stands there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The line of the input where its row begins, from 1.
    pub line: u64,
    /// Bytes from the start of the block, as it is written in JSON.
    pub byte: u64,
    /// What stands around it.
    pub excerpt: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: …{}…", self.line, self.excerpt)
    }
}

/// Something worth changing.
#[derive(Debug, Clone, PartialEq)]
pub enum Warning {
    /// What stays the same from row to row stands behind something that changes, and so can't be cached.
    ChangingBeforeStable {
        /// The part where it changes.
        part: Part,
        /// What the changing text looks like.
        looks: Looks,
        /// The first difference of two rows.
        at: [Place; 2],
        /// Expected tokens behind it that are the same in all sampled rows.
        stable_tokens: u64,
        /// What reading them from the cache would save over all rows, in US dollars.
        saves: f64,
    },
    /// The same tools, in another order.
    ToolOrder {
        /// Two rows.
        lines: [u64; 2],
        /// Tools.
        tools: u64,
    },
    /// The same JSON, written otherwise.
    JsonWrittenOtherwise {
        /// The part.
        part: Part,
        /// The first difference of two rows.
        at: [Place; 2],
    },
    /// A cache mark of the caller's ends a beginning that no two rows share.
    MarkOnChanging {
        /// The part of the marked block.
        part: Part,
        /// Two rows with it.
        lines: [u64; 2],
        /// What its writes cost over all rows beyond plain input, in US dollars.
        costs: f64,
    },
    /// Prompts a little longer than where the model's dearer prices begin.
    JustOverStep {
        /// The model.
        model: String,
        /// Prompt tokens above which the dearer prices hold.
        step: u64,
        /// Sampled rows that are expected to be up to 15 % above it.
        rows: u64,
        /// Rows of the model that were sampled.
        sampled: u64,
        /// The line of one of them.
        line: u64,
    },
}

impl Warning {
    /// The name in JSON.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::ChangingBeforeStable { .. } => "changing_before_stable",
            Self::ToolOrder { .. } => "tool_order",
            Self::JsonWrittenOtherwise { .. } => "json_written_otherwise",
            Self::MarkOnChanging { .. } => "mark_on_changing",
            Self::JustOverStep { .. } => "just_over_step",
        }
    }

    /// What it costs if it stays, in US dollars; zero where that is not known.
    #[must_use]
    pub fn cost(&self) -> f64 {
        match self {
            Self::ChangingBeforeStable { saves, .. } => *saves,
            Self::MarkOnChanging { costs, .. } => *costs,
            _ => 0.0,
        }
    }

    /// The two places to compare, if there are any.
    #[must_use]
    pub fn places(&self) -> &[Place] {
        match self {
            Self::ChangingBeforeStable { at, .. } | Self::JsonWrittenOtherwise { at, .. } => at,
            _ => &[],
        }
    }
}

/// What it is and what to do; the places are shown apart.
impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChangingBeforeStable {
                part,
                looks,
                stable_tokens,
                saves,
                ..
            } => write!(
                f,
                "In {}, {looks} changes from row to row, and about {} tokens behind it that do not \
                 change can't be cached. Put what changes behind what stays: that would save about {}.",
                part.words(),
                Tokens::new(*stable_tokens),
                Estimate::point(*saves),
            ),
            Self::ToolOrder { lines, tools } => write!(
                f,
                "Lines {} and {} give the same {} tools in another order, so they share no cache entry. \
                 Sort the tools, by name for instance.",
                lines[0],
                lines[1],
                Tokens::new(*tools),
            ),
            Self::JsonWrittenOtherwise { part, .. } => write!(
                f,
                "In {}, two rows say the same in JSON but in other bytes (order of keys, spaces, \
                 escapes), so they share no cache entry. Write it once and use the same bytes.",
                part.words(),
            ),
            Self::MarkOnChanging { part, lines, costs } => write!(
                f,
                "The cache marks in {} (line {}, for instance) end beginnings that no two sampled rows \
                 share: they are written and never read, about {} for nothing. Take them out, or put \
                 them where prompts begin to differ.",
                part.words(),
                lines[0],
                Estimate::point(*costs),
            ),
            Self::JustOverStep {
                model,
                step,
                rows,
                sampled,
                line,
            } => write!(
                f,
                "{} of {} sampled prompts (line {line}, for instance) are probably just above {} tokens, \
                 from where on {model} takes its dearer price for all of them. Shorten them if you can.",
                Tokens::new(*rows),
                Tokens::new(*sampled),
                Tokens::new(*step),
            ),
        }
    }
}

impl Serialize for Warning {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_map(None)?;
        out.serialize_entry("kind", self.kind())?;
        out.serialize_entry("text", &self.to_string())?;
        out.serialize_entry("places", self.places())?;
        out.serialize_entry("cost_usd_estimate", &self.cost())?;
        out.end()
    }
}
