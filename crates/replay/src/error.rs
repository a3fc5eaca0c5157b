//! What can be wrong with a trace: the line, the field, and what to do about it.

use std::fmt;

use offpeak_core::units::Usd;
use thiserror::Error;

/// Why a trace is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceError {
    /// Name of the file, as it was given.
    pub file: String,
    /// Line, from 1; 0 when it is about the whole file.
    pub line: usize,
    /// The field, like `blocks[2]`; empty when it is about the whole line.
    pub field: String,
    /// What is wrong.
    pub kind: TraceErrorKind,
}

/// What is wrong with a line of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TraceErrorKind {
    /// No line at all.
    #[error("there are no calls in it")]
    Empty,
    /// Not JSON.
    #[error("not a JSON object: {0}")]
    NotJson(String),
    /// A field that must be there.
    #[error("missing")]
    Missing,
    /// A field that is not known.
    #[error("not a field of a trace")]
    UnknownField {
        /// The nearest one that is.
        suggestion: Option<&'static str>,
    },
    /// A value of the wrong kind.
    #[error("must be {expected}")]
    Wrong {
        /// What it must be.
        expected: &'static str,
    },
    /// A model without a price.
    #[error("{0}")]
    Model(String),
    /// A moment before the trace begins.
    #[error("{0} is before the trace begins at 0")]
    NegativeTime(i64),
    /// A call that stands behind a later one.
    #[error("{at} comes after a call at {before}")]
    Backwards {
        /// Its time.
        at: i64,
        /// That of the call before.
        before: i64,
    },
    /// A deadline that has passed when the call arrives.
    #[error("{deadline} is not after the call's arrival at {at}")]
    LateAtOnce {
        /// The deadline.
        deadline: i64,
        /// The arrival.
        at: i64,
    },
    /// A block whose size is not the one it had before.
    #[error("block `{id}` has {tokens} tokens, but had {before} at line {line}")]
    Resized {
        /// The block.
        id: String,
        /// Its tokens here.
        tokens: u32,
        /// Its tokens before.
        before: u32,
        /// Where it was first seen.
        line: usize,
    },
    /// An answer within seconds and a deadline.
    #[error("an interactive call is answered at once and takes no deadline")]
    Contradiction,
    /// A longer answer than was allowed.
    #[error("the answer has {out} tokens, more than `max_tokens`, {max_tokens}")]
    TooLong {
        /// Tokens of the answer.
        out: u32,
        /// The most that was allowed.
        max_tokens: u32,
    },
    /// A budget that does not pay for this call alone.
    #[error("the call can cost up to ${}, more than the budget, ${}", worst.to_decimal(), budget.to_decimal())]
    BudgetBelowCall {
        /// The most that it can cost, sent by itself and its prompt written to the cache for an hour.
        worst: Usd,
        /// The budget.
        budget: Usd,
    },
}

impl TraceError {
    /// What to change.
    #[must_use]
    pub fn hint(&self) -> String {
        match &self.kind {
            TraceErrorKind::Empty => {
                "write one JSON object per line, or make a trace with `offpeak replay --generate W4`"
                    .to_owned()
            }
            TraceErrorKind::NotJson(_) => {
                "write one call per line, as a JSON object and without line breaks in it".to_owned()
            }
            TraceErrorKind::Missing => format!(
                "add it; a line looks like {}",
                r#"{"t_ms":0,"model":"claude-sonnet-4-6","blocks":[["a",4500,"system"],["q1",300]],"out":200,"max_tokens":1000,"class":"interactive"}"#
            ),
            TraceErrorKind::UnknownField {
                suggestion: Some(known),
            } => format!("did you mean `{known}`?"),
            TraceErrorKind::UnknownField { suggestion: None } => {
                "take it out; the fields are t_ms, model, blocks, out, max_tokens, class, deadline_ms \
                 and job"
                    .to_owned()
            }
            TraceErrorKind::Wrong { expected } => format!("write {expected}"),
            TraceErrorKind::Model(_) => {
                "name a model of `offpeak prices`, or replay all calls as another with `--model`"
                    .to_owned()
            }
            TraceErrorKind::NegativeTime(_) => {
                "count milliseconds from the first call on".to_owned()
            }
            TraceErrorKind::Backwards { .. } => "sort the lines by `t_ms`".to_owned(),
            TraceErrorKind::LateAtOnce { .. } => {
                "`deadline_ms` counts from the trace's beginning, as `t_ms` does".to_owned()
            }
            TraceErrorKind::Resized { .. } => {
                "a block's id stands for its content: give changed content another id".to_owned()
            }
            TraceErrorKind::Contradiction => {
                "write `\"class\":\"deferrable\"`, or take out `deadline_ms`".to_owned()
            }
            TraceErrorKind::TooLong { .. } => {
                "raise `max_tokens`, or lower `out`: nothing longer was generated".to_owned()
            }
            TraceErrorKind::BudgetBelowCall { worst, .. } => format!(
                "give at least `--budget {}`, or lower `max_tokens`",
                worst.to_decimal()
            ),
        }
    }
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.field.is_empty() {
            write!(f, ": `{}`", self.field)?;
        }
        write!(f, ": {}", self.kind)
    }
}

impl std::error::Error for TraceError {}
