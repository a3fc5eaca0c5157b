//! Why the spool cannot be read.

use std::io;
use std::path::{Path, PathBuf};

/// A file of the spool that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The file system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The bytes are not what was written.
    #[error("{} is damaged at byte {offset}: {what}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
}

impl SpoolError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn damaged(path: &Path, offset: u64, what: &'static str) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            offset,
            what,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "the job's files are gone; start it again with `--fresh`".to_owned()
            }
            Self::Io { path, .. } => {
                format!("check the disk and the permissions of {}", path.display())
            }
            Self::Damaged { .. } => {
                "the disk lost or changed bytes; keep the file, and run `offpeak verify` on the job"
                    .to_owned()
            }
        }
    }
}

impl From<SpoolError> for io::Error {
    fn from(error: SpoolError) -> Self {
        match error {
            SpoolError::Io { ref source, .. } => Self::new(source.kind(), error.to_string()),
            SpoolError::Damaged { .. } => Self::new(io::ErrorKind::InvalidData, error.to_string()),
        }
    }
}
