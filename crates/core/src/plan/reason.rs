//! Why a route was chosen: each reason is a question, an answer and the fact behind it.
//!
//! Leaves out the facts and their wording (`because`), and layout (`offpeak-report`).

use std::fmt;

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

use super::because::Because;

/// A step of the decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Reason {
    /// What was asked.
    pub question: Question,
    /// The answer.
    pub answer: Answer,
    /// The fact behind the answer.
    pub because: Because,
}

/// The sentence of the fact; question and answer are shown apart.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.because.fmt(f)
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Reason", 4)?;
        out.serialize_field("question", &self.question)?;
        out.serialize_field("answer", &self.answer)?;
        out.serialize_field("because", &self.because)?;
        out.serialize_field("text", &self.to_string())?;
        out.end()
    }
}

/// The two questions that decide, and the one that follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// Decides the lane.
    NeededWithinSeconds,
    /// Decides the cache marks.
    PreambleStable,
    /// Whether all of it will be sent; asked where there is a budget.
    BudgetEnough,
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NeededWithinSeconds => "Is an answer needed within seconds?",
            Self::PreambleStable => {
                "Is the preamble (tools, system, document) the same across many calls?"
            }
            Self::BudgetEnough => "Is the budget enough?",
        })
    }
}

/// The answer to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Certainly.
    Yes,
    /// The estimate says so, its cautious end does not.
    Probably,
    /// The estimate says no, its other end does not.
    ProbablyNot,
    /// Certainly not.
    No,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Yes => "Yes",
            Self::Probably => "Probably",
            Self::ProbablyNot => "Probably not",
            Self::No => "No",
        })
    }
}
