//! What can go wrong with the store, said so that its owner can act.

use std::path::{Path, PathBuf};

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened or created.
    #[error("cannot open the job store `{}`", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The file was written by a newer offpeak.
    #[error("the job store `{}` has schema {found}, this program knows {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Reading or writing failed.
    #[error("the job store failed")]
    Sqlite(#[from] rusqlite::Error),
    /// Pages of the file are not what was written.
    #[error("the job store `{}` is damaged: {detail}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, in SQLite's words.
        detail: String,
    },
    /// A row does not decode: the file was damaged or edited.
    #[error("the job store has a {what} that cannot be read: {detail}")]
    Damaged {
        /// What kind of row.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// A shard was not in the state that the writer had seen: somebody else moved it.
    #[error("shard {shard} of job {job} is {found}, not {expected}: another process moved it")]
    Moved {
        /// The job.
        job: String,
        /// The shard.
        shard: u32,
        /// The state that the writer saw.
        expected: String,
        /// The state that it has.
        found: String,
    },
}

const CORRUPT: &str =
    "run `offpeak doctor`: it says what is lost and how to go on without paying again";

fn is_corrupt(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(
        error.sqlite_error_code(),
        Some(DatabaseCorrupt | NotADatabase)
    )
}

impl StoreError {
    /// Why a file cannot be opened.
    pub(crate) fn opening(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        if is_corrupt(&source) {
            let detail = source.to_string();
            return Self::Corrupt { path, detail };
        }
        Self::Open { path, source }
    }

    /// Whether the file itself is damaged.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Corrupt { .. } | Self::Damaged { .. } => true,
            Self::Sqlite(source) => is_corrupt(source),
            Self::Open { .. } | Self::Newer { .. } | Self::Moved { .. } => false,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Open { source, .. }
                if source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) =>
            {
                "make space on the disk of the data directory, or name another with `--data-dir DIR`"
            }
            Self::Open { .. } => {
                "check that the directory exists and is yours, or name another with `--data-dir DIR`"
            }
            Self::Newer { .. } => {
                "use the newer offpeak, or another directory with `--data-dir DIR`"
            }
            Self::Corrupt { .. } => CORRUPT,
            Self::Sqlite(source) if is_corrupt(source) => CORRUPT,
            Self::Sqlite(_) => {
                "check the free space of the data directory, then run the same command again: \
                 nothing that was paid is lost"
            }
            Self::Damaged { .. } => {
                "restore the data directory from a backup; the spool beside the store still has \
                 every request and result"
            }
            Self::Moved { .. } => {
                "make sure that only one machine uses this data directory, then run again"
            }
        }
    }
}
