//! Why a shard cannot be settled. Nothing is settled then: no segment appears.

use std::io;
use std::path::{Path, PathBuf};

use offpeak_core::price::PriceError;

use crate::journal::JournalError;
use crate::spool::SpoolError;

/// Why a shard cannot be settled.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// The file system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The spool cannot be read.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// An answer has no price, and an answer never counts as free.
    #[error("row {row} (key {key}), answered by `{model}`: {source}")]
    Unpriced {
        /// The row.
        row: u64,
        /// The user's key, as JSON.
        key: String,
        /// The model that the answer names.
        model: String,
        /// Why.
        source: Box<PriceError>,
    },
    /// A row of a synchronous shard has no final answer yet. A bug of the caller.
    #[error("row {row} has no final answer yet")]
    Unfinished {
        /// The row.
        row: u64,
    },
    /// The spool's files contradict each other. A bug, or damage.
    #[error("row {row}: {problem}")]
    Inconsistent {
        /// The row.
        row: u64,
        /// What does not fit.
        problem: &'static str,
    },
}

impl SettleError {
    pub(crate) fn io(path: &Path) -> impl Fn(io::Error) -> Self + Copy + '_ {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Io { .. } => "the answers are safe in the spool: free some space or repair what \
                                the message names, then run the job again"
                .to_owned(),
            Self::Unpriced { source, .. } => source.hint(),
            Self::Journal(error) => error.hint().to_owned(),
            Self::Spool(_) | Self::Unfinished { .. } | Self::Inconsistent { .. } => {
                "the spool is damaged or this is a bug: keep the job's directory and report it"
                    .to_owned()
            }
        }
    }
}
