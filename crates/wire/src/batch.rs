//! Message batches: the envelope of a create call, and the objects that describe a batch.
//!
//! Leaves out result lines (`result`) and what a row's `params` hold (`request`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::DecodeError;
use crate::limits::CUSTOM_ID_MAX;

/// What precedes the first row of a create body.
pub const ENVELOPE_HEAD: &[u8] = b"{\"requests\":[";
/// What follows the last row of a create body.
pub const ENVELOPE_TAIL: &[u8] = b"]}";
/// What stands between two rows.
pub const ROW_SEPARATOR: &[u8] = b",";
/// What follows a row's `params`.
pub const ROW_TAIL: &[u8] = b"}";

/// Appends what precedes a row's `params`: `{"custom_id":"…","params":`.
pub fn row_head(custom_id: &CustomId, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"custom_id\":\"");
    // The permitted characters need no escaping.
    out.extend_from_slice(custom_id.as_str().as_bytes());
    out.extend_from_slice(b"\",\"params\":");
}

fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// A row's id within its batch: 1 to 64 of `[a-zA-Z0-9_-]` (Anthropic docs, batch processing).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CustomId(String);

/// A string that cannot be a `custom_id`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CustomIdError {
    /// Nothing at all.
    #[error("a custom_id must not be empty")]
    Empty,
    /// Longer than the API takes.
    #[error("a custom_id has at most {CUSTOM_ID_MAX} characters, not {0}")]
    TooLong(usize),
    /// A character outside `[a-zA-Z0-9_-]`.
    #[error("a custom_id holds only letters, digits, `_` and `-`, not {0:?}")]
    BadCharacter(char),
}

impl CustomId {
    /// Checks and takes an id.
    ///
    /// # Errors
    ///
    /// When it is empty, too long, or holds another character.
    pub fn new(id: &str) -> Result<Self, CustomIdError> {
        if id.is_empty() {
            return Err(CustomIdError::Empty);
        }
        let bad = |c: &char| u8::try_from(*c).map_or(true, |byte| !is_id_byte(byte));
        if let Some(bad) = id.chars().find(bad) {
            return Err(CustomIdError::BadCharacter(bad));
        }
        if id.len() > CUSTOM_ID_MAX {
            return Err(CustomIdError::TooLong(id.len()));
        }
        Ok(Self(id.to_owned()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A batch's id, `msgbatch_…`: one or more of `[A-Za-z0-9_-]`, hence safe in a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BatchId(String);

/// A string that cannot be a batch id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a batch id")]
pub struct BatchIdError(String);

impl BatchId {
    /// Checks and takes an id.
    ///
    /// # Errors
    ///
    /// When it is empty or holds another character.
    pub fn new(id: &str) -> Result<Self, BatchIdError> {
        if id.is_empty() || !id.bytes().all(is_id_byte) {
            return Err(BatchIdError(id.to_owned()));
        }
        Ok(Self(id.to_owned()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! id_conversions {
    ($id:ident, $error:ident) => {
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $id {
            type Err = $error;

            fn from_str(id: &str) -> Result<Self, Self::Err> {
                Self::new(id)
            }
        }

        impl TryFrom<String> for $id {
            type Error = $error;

            fn try_from(id: String) -> Result<Self, Self::Error> {
                Self::new(&id)
            }
        }

        impl From<$id> for String {
            fn from(id: $id) -> Self {
                id.0
            }
        }
    };
}

id_conversions!(CustomId, CustomIdError);
id_conversions!(BatchId, BatchIdError);

/// A batch's state; there is no `canceled`, `expired` or `failed` (Anthropic docs, batches).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchStatus {
    /// Rows are waiting or running.
    InProgress,
    /// A cancel was asked for; rows in flight may still finish.
    Canceling,
    /// Every row has its result, whatever it is.
    Ended,
    /// A state this version does not know.
    Unknown(String),
}

impl BatchStatus {
    /// The API name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::InProgress => "in_progress",
            Self::Canceling => "canceling",
            Self::Ended => "ended",
            Self::Unknown(name) => name,
        }
    }
}

impl From<String> for BatchStatus {
    fn from(name: String) -> Self {
        match name.as_str() {
            "in_progress" => Self::InProgress,
            "canceling" => Self::Canceling,
            "ended" => Self::Ended,
            _ => Self::Unknown(name),
        }
    }
}

/// Rows of a batch by state. While a batch runs, documentation and observation disagree about
/// them (everything in `processing`, or live): depend on neither.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestCounts {
    /// Rows without a result yet.
    pub processing: u64,
    /// Rows answered.
    pub succeeded: u64,
    /// Rows that failed; free.
    pub errored: u64,
    /// Rows canceled before they ran; free.
    pub canceled: u64,
    /// Rows not run within 24 hours; free.
    pub expired: u64,
}

impl RequestCounts {
    /// All rows of the batch. Saturates, which no real batch reaches.
    #[must_use]
    pub fn total(&self) -> u64 {
        [self.succeeded, self.errored, self.canceled, self.expired]
            .into_iter()
            .fold(self.processing, u64::saturating_add)
    }
}

/// A batch as the API describes it. Times are RFC 3339 text, as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchObject {
    /// `msgbatch_…`.
    pub id: BatchId,
    /// Where it stands.
    pub status: BatchStatus,
    /// Its rows by state.
    pub counts: RequestCounts,
    /// Creation; the 29 days of retention count from here.
    pub created_at: String,
    /// 24 hours after creation.
    pub expires_at: String,
    /// Set once ended.
    pub ended_at: Option<String>,
    /// Set once a cancel was asked for.
    pub cancel_initiated_at: Option<String>,
    /// Set once the results are gone.
    pub archived_at: Option<String>,
    /// Absolute; set once ended.
    pub results_url: Option<String>,
}

/// One page of the list of batches, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchPage {
    /// The batches of this page.
    pub data: Vec<BatchObject>,
    /// Whether more follow in the requested direction.
    pub has_more: bool,
    /// `None` on an empty page.
    pub first_id: Option<BatchId>,
    /// `None` on an empty page.
    pub last_id: Option<BatchId>,
}

#[derive(Deserialize)]
struct BatchWire {
    id: BatchId,
    processing_status: String,
    request_counts: CountsWire,
    created_at: String,
    expires_at: String,
    ended_at: Option<String>,
    cancel_initiated_at: Option<String>,
    archived_at: Option<String>,
    results_url: Option<String>,
}

#[derive(Deserialize)]
struct CountsWire {
    processing: Option<u64>,
    succeeded: Option<u64>,
    errored: Option<u64>,
    canceled: Option<u64>,
    expired: Option<u64>,
}

#[derive(Deserialize)]
struct PageWire {
    data: Vec<BatchWire>,
    has_more: Option<bool>,
    first_id: Option<BatchId>,
    last_id: Option<BatchId>,
}

impl From<BatchWire> for BatchObject {
    fn from(wire: BatchWire) -> Self {
        let counts = wire.request_counts;
        Self {
            id: wire.id,
            status: wire.processing_status.into(),
            counts: RequestCounts {
                processing: counts.processing.unwrap_or(0),
                succeeded: counts.succeeded.unwrap_or(0),
                errored: counts.errored.unwrap_or(0),
                canceled: counts.canceled.unwrap_or(0),
                expired: counts.expired.unwrap_or(0),
            },
            created_at: wire.created_at,
            expires_at: wire.expires_at,
            ended_at: wire.ended_at,
            cancel_initiated_at: wire.cancel_initiated_at,
            archived_at: wire.archived_at,
            results_url: wire.results_url,
        }
    }
}

impl BatchObject {
    /// Reads a batch object; unknown members are passed over.
    ///
    /// # Errors
    ///
    /// When id, status, counts or the two fixed times are missing or of another type.
    pub fn parse(raw: &[u8]) -> Result<Self, DecodeError> {
        serde_json::from_slice::<BatchWire>(raw)
            .map(Self::from)
            .map_err(|error| DecodeError::new("batch object", error))
    }
}

impl BatchPage {
    /// Reads a page of the list of batches.
    ///
    /// # Errors
    ///
    /// When `data` is missing or one of its batches is unreadable.
    pub fn parse(raw: &[u8]) -> Result<Self, DecodeError> {
        let wire: PageWire = serde_json::from_slice(raw)
            .map_err(|error| DecodeError::new("list of batches", error))?;
        Ok(Self {
            data: wire.data.into_iter().map(BatchObject::from).collect(),
            has_more: wire.has_more.unwrap_or(false),
            first_id: wire.first_id,
            last_id: wire.last_id,
        })
    }
}
