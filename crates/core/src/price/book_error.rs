//! Why a price book was refused: where, what, and what to write instead.

use std::fmt;

use thiserror::Error;

use crate::units::DecimalError;

/// A price book that cannot be used. Displays as one line: place, key, problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookError {
    /// The file, or whatever else the text came from.
    pub origin: String,
    /// The line, counted from one, when the problem has one.
    pub line: Option<usize>,
    /// The key the problem is about, with its path.
    pub key: String,
    /// What is wrong.
    pub kind: Box<BookErrorKind>,
}

/// What is wrong with a price book.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BookErrorKind {
    /// Not TOML.
    #[error("not valid TOML: {message}")]
    Syntax { message: String },
    /// A key the format does not have.
    #[error("unknown key{}", did_you_mean(suggestion.as_deref()))]
    UnknownKey {
        suggestion: Option<String>,
        known: String,
    },
    /// A key the format needs.
    #[error("missing")]
    Missing,
    /// A value of another type.
    #[error("must be {wanted}, not {found}")]
    WrongType {
        wanted: &'static str,
        found: &'static str,
    },
    /// Not a decimal number, or one with too many decimals.
    #[error(transparent)]
    Decimal(#[from] DecimalError),
    /// A number outside its range.
    #[error("must be {wanted}")]
    OutOfRange { wanted: &'static str },
    /// Not a day.
    #[error("`{text}` is not a day; write it like `2026-10-07`")]
    NotADay { text: String },
    /// A word outside its list.
    #[error("unknown value `{found}`; it must be one of {known}")]
    UnknownValue { found: String, known: &'static str },
    /// A price that ends before it starts.
    #[error("`from` {from} is not before `until` {until}")]
    EmptyValidity { from: String, until: String },
    /// Two prices of one model hold at once.
    #[error("two prices of `{model}` hold {when}")]
    Overlap { model: String, when: String },
    /// Two models share an id or alias.
    #[error("`{name}` names both `{first}` and `{second}`")]
    DuplicateName {
        name: String,
        first: String,
        second: String,
    },
    /// A key that makes no sense with the others.
    #[error("{problem}")]
    Contradiction { problem: &'static str },
    /// A multiplied rate that is not a whole number of picodollars per token.
    #[error(
        "the `{class}` rate of `{model}` is not a whole number of picodollars per token {when}"
    )]
    NotWhole {
        model: String,
        class: &'static str,
        when: &'static str,
    },
}

impl BookError {
    /// An error about a key of a whole file, without a line.
    pub(super) fn of_file(origin: &str, key: &str, kind: BookErrorKind) -> Self {
        Self {
            origin: origin.to_owned(),
            line: None,
            key: key.to_owned(),
            kind: Box::new(kind),
        }
    }

    /// What to write instead.
    pub fn hint(&self) -> String {
        match &*self.kind {
            BookErrorKind::Syntax { .. } => "correct the TOML at that place".to_owned(),
            BookErrorKind::UnknownKey {
                suggestion: Some(key),
                ..
            } => {
                format!("rename it to `{key}`, or remove it")
            }
            BookErrorKind::UnknownKey { known, .. } => {
                format!("remove it; the keys here are {known}")
            }
            BookErrorKind::Missing => format!("add `{} = …`", last_part(&self.key)),
            BookErrorKind::WrongType { wanted, .. } => {
                format!("write `{}` as {wanted}", last_part(&self.key))
            }
            BookErrorKind::Decimal(DecimalError::TooManyDecimals { allowed, .. }) => format!(
                "at most {allowed} decimals can be kept exactly; give the price per million tokens"
            ),
            BookErrorKind::Decimal(_) => {
                "write a plain decimal in quotes, such as \"0.125\"".to_owned()
            }
            BookErrorKind::OutOfRange { wanted } => format!("give {wanted}"),
            BookErrorKind::NotADay { .. } => "write the day as \"YYYY-MM-DD\"".to_owned(),
            BookErrorKind::UnknownValue { known, .. } => format!("write one of {known}"),
            BookErrorKind::EmptyValidity { .. } => {
                "`until` is the first day the price no longer holds; write a later one".to_owned()
            }
            BookErrorKind::Overlap { .. } => {
                "end the earlier price with `until` = the `from` of the later one".to_owned()
            }
            BookErrorKind::DuplicateName { .. } => {
                "use the id the price book already has, or take the name out of one of the two"
                    .to_owned()
            }
            BookErrorKind::Contradiction { .. } => "remove one of the two keys".to_owned(),
            BookErrorKind::NotWhole { .. } => {
                "round the price or the discount so that it has fewer decimals; amounts are kept \
                 exactly"
                    .to_owned()
            }
        }
    }
}

impl fmt::Display for BookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.origin)?;
        if let Some(line) = self.line {
            write!(f, " line {line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": `{}`", self.key)?;
        }
        write!(f, ": {}", self.kind)
    }
}

impl std::error::Error for BookError {}

fn last_part(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |key| format!("; did you mean `{key}`?"))
}
