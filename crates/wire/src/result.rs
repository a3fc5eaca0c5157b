//! One line of a batch's results.
//!
//! Owns the split into outcomes. Leaves out what a message holds (`message`) and joining lines
//! with rows: they come in any order.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::DecodeError;
use crate::error::ErrorBody;
use crate::json::Scanner;

const WHAT: &str = "result line";

/// A result line: the row's id and what became of the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultLine<'a> {
    /// The id the row was submitted with.
    pub custom_id: Cow<'a, str>,
    /// Its outcome.
    pub result: RowResult<'a>,
}

/// What became of a row. Only `Succeeded` is billed (Anthropic docs, batch processing).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowResult<'a> {
    /// An answer, which may be a refusal or cut off.
    Succeeded {
        /// The message object's bytes.
        message: &'a [u8],
    },
    /// A failure of this row alone.
    Errored {
        /// The failure, read from `result.error.error`.
        error: ErrorBody,
        /// The bytes of `result.error`.
        raw: &'a [u8],
    },
    /// Canceled before it ran.
    Canceled,
    /// Not run within 24 hours.
    Expired,
    /// An outcome this version does not know.
    Unknown {
        /// Its `type`.
        kind: String,
        /// The bytes of `result`.
        raw: &'a [u8],
    },
}

#[derive(Deserialize)]
struct LineWire<'a> {
    #[serde(borrow)]
    custom_id: Cow<'a, str>,
    #[serde(borrow)]
    result: ResultWire<'a>,
}

/// A plain struct on purpose: an enum tagged by `type` cannot hold raw JSON.
#[derive(Deserialize)]
struct ResultWire<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct RawLine<'a> {
    #[serde(borrow)]
    result: &'a RawValue,
}

impl<'a> ResultLine<'a> {
    /// Reads one line; the message of an answered row is kept as bytes.
    ///
    /// # Errors
    ///
    /// When the line is not a result line, or lacks the message or error its type promises.
    pub fn parse(line: &'a [u8]) -> Result<Self, DecodeError> {
        let wire: LineWire<'a> =
            serde_json::from_slice(line).map_err(|error| DecodeError::new(WHAT, error))?;
        let ResultWire {
            kind,
            message,
            error,
        } = wire.result;
        let result = match (&*kind, message, error) {
            ("succeeded", Some(message), _) => RowResult::Succeeded {
                message: message.get().as_bytes(),
            },
            ("errored", _, Some(error)) => RowResult::Errored {
                error: ErrorBody::parse_statusless(error.get().as_bytes()),
                raw: error.get().as_bytes(),
            },
            ("canceled", ..) => RowResult::Canceled,
            ("expired", ..) => RowResult::Expired,
            ("succeeded", None, _) => {
                return Err(DecodeError::new(WHAT, "succeeded without a message"));
            }
            ("errored", _, None) => return Err(DecodeError::new(WHAT, "errored without an error")),
            (unknown, ..) => RowResult::Unknown {
                kind: unknown.to_owned(),
                raw: raw_result(line)?,
            },
        };
        Ok(Self {
            custom_id: wire.custom_id,
            result,
        })
    }

    /// The row's id, read without looking at the rest of the line. `None` when the members before
    /// it cannot be read.
    #[must_use]
    pub fn custom_id_of(line: &'a [u8]) -> Option<Cow<'a, str>> {
        Scanner::unchecked(line).first_string(b"custom_id")
    }
}

/// The unknown outcome is rare, so its bytes are looked for only then.
fn raw_result(line: &[u8]) -> Result<&[u8], DecodeError> {
    serde_json::from_slice::<RawLine<'_>>(line)
        .map(|line| line.result.get().as_bytes())
        .map_err(|error| DecodeError::new(WHAT, error))
}
