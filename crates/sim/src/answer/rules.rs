//! Owns canned answers: rules that say, for requests whose last user message has a certain text,
//! what the answer is. Reading them from TOML text is `file`'s, reading a file the caller's.

mod file;

use std::fmt;

use offpeak_wire::error::ErrorKind;
use regex::Regex;

use super::Stop;
use crate::book::Model;
use crate::config::Latency;
use crate::http::Problem;

pub use file::AnswerRulesError;

/// Canned answers, in order: the first rule that fits a request decides.
///
/// ```
/// let rules = offpeak_sim::AnswerRules::parse(r#"
///     [[rule]]
///     matches = "(?i)weather in (Paris|Rome)"
///     tool = { name = "get_weather", input = { city = "Paris" } }
///
///     [[rule]]
///     contains = "degrees"
///     text = "It is warm."
/// "#).unwrap();
/// assert_eq!(rules.len(), 2);
/// ```
#[derive(Clone, Debug, Default)]
pub struct AnswerRules {
    rules: Vec<Rule>,
}

impl AnswerRules {
    /// Reads rules from TOML: an array of tables `rule` with these keys, all optional.
    ///
    /// * `contains` (a substring) and `matches` (a regular expression) look at the text of the
    ///   last user message, results of tools included; `model` is an id or an alias. All that are
    ///   given must fit; none fits every request.
    /// * One of `text`, `json` (any value, said as text), `tool` (`name` and `input`) and `error`
    ///   (`type`, `message`, and `status` if it is not the type's own). Without one, the answer is
    ///   the usual one.
    /// * `thinking` (the text; `""` for none), `stop_reason`, `stop_sequence`, `output_tokens`,
    ///   `first_token_ms`, `tokens_per_second`.
    ///
    /// # Errors
    ///
    /// For what is no TOML, and for keys and values that mean nothing, with their line.
    pub fn parse(text: &str) -> Result<Self, AnswerRulesError> {
        file::parse(text)
    }

    /// The number of rules.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rule for a request with this text to this model.
    pub(super) fn find(&self, text: &str, model: &Model) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.fits(text, model))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Rule {
    contains: Option<String>,
    matches: Option<Regex>,
    model: Option<String>,
    pub(super) says: Says,
    pub(super) stop: Option<Stop>,
    pub(super) thinking: Option<String>,
    pub(super) output_tokens: Option<u32>,
    first_token_ms: Option<u32>,
    tokens_per_second: Option<u32>,
}

/// What a rule answers.
#[derive(Clone, Debug)]
pub(super) enum Says {
    /// What would have been answered without it.
    Nothing,
    Text(Box<str>),
    Tool {
        name: Box<str>,
        /// A JSON object.
        input: Box<str>,
    },
    Error(Failure),
}

#[derive(Clone, Debug)]
pub(super) struct Failure {
    kind: ErrorKind,
    message: String,
    status: Option<u16>,
}

impl Failure {
    pub(super) fn problem(&self) -> Problem {
        let mut problem = Problem::new(self.kind, self.message.clone());
        problem.status = self.status;
        problem
    }
}

impl Rule {
    fn fits(&self, text: &str, model: &Model) -> bool {
        self.model
            .as_deref()
            .is_none_or(|name| model.is_named(name))
            && self
                .contains
                .as_deref()
                .is_none_or(|part| text.contains(part))
            && self
                .matches
                .as_ref()
                .is_none_or(|regex| regex.is_match(text))
    }

    pub(super) fn pace(&self, usual: Latency) -> Latency {
        Latency {
            first_byte_ms: self.first_token_ms.unwrap_or(usual.first_byte_ms),
            tokens_per_second: self.tokens_per_second.unwrap_or(usual.tokens_per_second),
            ..usual
        }
    }
}

impl fmt::Display for AnswerRulesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}
