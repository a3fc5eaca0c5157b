//! One exclusive lock per job name, so that overlapping runs cannot both submit.
//!
//! The operating system holds it: it is gone when its process is, however that ended. Leaves out
//! several machines on one data directory; they need a shared store.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A held lock; dropping it lets the next run in.
#[derive(Debug)]
pub struct JobLock {
    _file: File,
}

/// The lock cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another run has it.
    #[error("another run of this job holds `{}`: {holder}", path.display())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// Its pid and host.
        holder: String,
    },
    /// The file cannot be made or locked.
    #[error("cannot lock `{}`", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl JobLock {
    /// Takes the lock of `name` under `locks`, at once or not at all.
    ///
    /// # Errors
    /// If another process holds it, with its pid and host, or the file cannot be made.
    pub fn take(locks: &Path, name: &str) -> Result<Self, LockError> {
        let digest = blake3::hash(name.as_bytes()).to_hex();
        let path = locks.join(format!("{}.lock", &digest.as_str()[..16]));
        let io = |source| LockError::Io {
            path: path.clone(),
            source,
        };
        std::fs::create_dir_all(locks).map_err(io)?;
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let mut file = options.open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(io)?;
                return Err(LockError::Held {
                    path,
                    holder: holder.trim().to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        file.set_len(0).map_err(io)?;
        file.rewind().map_err(io)?;
        writeln!(file, "pid {} on {}", std::process::id(), host()).map_err(io)?;
        Ok(Self { _file: file })
    }
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::fs::read_to_string("/etc/hostname"));
    name.map_or_else(
        |_| "an unknown host".to_owned(),
        |name| name.trim().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_run_is_told_who_is_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = JobLock::take(dir.path(), "nightly").unwrap();
        let second = JobLock::take(dir.path(), "nightly").unwrap_err();
        let LockError::Held { holder, .. } = &second else {
            panic!("{second}")
        };
        assert!(
            holder.starts_with(&format!("pid {} on ", std::process::id())),
            "{holder}"
        );
        JobLock::take(dir.path(), "weekly").unwrap();
        drop(first);
        JobLock::take(dir.path(), "nightly").unwrap();
    }
}
