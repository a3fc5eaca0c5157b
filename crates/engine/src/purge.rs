//! The end of a job's requests and answers on this disk: what a finished job keeps for good is its row in
//! the store, the ledger, what its shards showed, and the manifest, none of which has a word of content.
//!
//! What is purged is noted before the first file goes, so that a purge which a crash interrupts is told
//! and finished by the next. Leaves out when to purge (the command line knows what was asked for).

use std::path::{Path, PathBuf};

use offpeak_core::job::outcome::Tally;
use offpeak_core::job::shard::ShardState;
use offpeak_core::price::Book;
use offpeak_core::units::Timestamp;
use offpeak_store::{JobRecord, JobState, Store};
use serde::{Deserialize, Serialize};

use crate::error::EngineError;
use crate::facts::JobFacts;
use crate::finish::replace;
use crate::lock::JobLock;
use crate::recover::standing;
use crate::spool::SpoolDir;
use crate::start::Job;

/// What stays: neither has a word of a request or an answer.
const KEPT: [&str; 2] = [NOTE, "manifest.json"];

const NOTE: &str = "purged.json";

/// What was removed, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    /// When, RFC 3339.
    pub at: String,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What calls of shards that were never settled had come to, by the journals that went; what those under
    /// way held is among the unknown.
    #[serde(default)]
    pub calls: Tally,
}

/// What there is to purge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Content {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// When the files of a job were purged, if they were.
///
/// # Errors
/// If the note of it cannot be read.
pub fn purged(spool: &SpoolDir) -> Result<Option<Purged>, EngineError> {
    let path = spool.root().join(NOTE);
    let bytes = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(EngineError::io("read", &path))?,
    };
    let note = serde_json::from_slice(&bytes);
    note.map(Some).map_err(|error| EngineError::Damaged {
        path,
        detail: error.to_string(),
    })
}

/// The requests and answers of a job that are on the disk.
///
/// # Errors
/// If the directory cannot be read.
pub fn content(spool: &SpoolDir) -> Result<Content, EngineError> {
    let mut content = Content::default();
    for entry in entries(spool.root())? {
        measure(&entry, &mut content)?;
    }
    Ok(content)
}

/// Removes the requests and answers of a job that has finished or was replaced by a later run.
///
/// # Errors
/// If the job can still be resumed, another process has it, or a file cannot be removed; then the same
/// call goes on.
pub fn purge(
    store: &Store,
    book: &Book,
    data_dir: &Path,
    record: &JobRecord,
    now: Timestamp,
) -> Result<Content, EngineError> {
    if record.state == JobState::Open {
        let (name, run) = (record.name.clone(), record.run);
        return Err(EngineError::Unfinished { name, run });
    }
    let _lock = JobLock::take(&data_dir.join("locks"), &record.name)?;
    let spool = SpoolDir::new(data_dir.join("jobs").join(record.id.as_str()));
    remove_content(&spool, || open_calls(store, book, record, &spool), now)
}

/// The same for a run of a job that is held and has come to its end: this one, or one before it.
///
/// # Errors
/// If a file cannot be removed.
pub fn purge_held(job: &Job, record: &JobRecord, now: Timestamp) -> Result<Content, EngineError> {
    assert_eq!(job.record.name, record.name, "the lock is that of its name");
    let (engine, spool) = (&job.engine, job.engine.spool(&record.id));
    let calls = || open_calls(&engine.store, &engine.book, record, &spool);
    remove_content(&spool, calls, now)
}

/// What the journals of shards that were not settled say: a job that was replaced has such.
fn open_calls(
    store: &Store,
    book: &Book,
    record: &JobRecord,
    spool: &SpoolDir,
) -> Result<Tally, EngineError> {
    let models = JobFacts::of(record)?.models;
    let mut calls = Tally::default();
    for shard in store.shards(&record.id)? {
        if shard.state == ShardState::Running {
            let (tally, held) = standing(spool, &shard, book, &models)?;
            calls.add(&tally);
            calls.unknown += held;
        }
    }
    Ok(calls)
}

fn remove_content(
    spool: &SpoolDir,
    calls: impl FnOnce() -> Result<Tally, EngineError>,
    now: Timestamp,
) -> Result<Content, EngineError> {
    let found = content(spool)?;
    // What an interrupted purge had removed before is in its note.
    let before = purged(spool)?;
    if found.files == 0 {
        return Ok(found);
    }
    let note = match before {
        Some(note) => note,
        None => Purged {
            at: now.to_string(),
            files: found.files,
            bytes: found.bytes,
            calls: calls()?,
        },
    };
    let note = serde_json::to_vec(&note).expect("a note has only string keys");
    replace(spool.disk(), &spool.root().join(NOTE), &note)?;
    for entry in entries(spool.root())? {
        let removed = if entry.is_dir() {
            std::fs::remove_dir_all(&entry)
        } else {
            std::fs::remove_file(&entry)
        };
        removed.map_err(EngineError::io("remove", &entry))?;
    }
    let names = spool.disk().names(spool.root());
    names.map_err(EngineError::io("write", spool.root()))?;
    Ok(found)
}

/// Everything in the directory of a job but what stays; nothing if there is no directory.
fn entries(root: &Path) -> Result<Vec<PathBuf>, EngineError> {
    let list = match std::fs::read_dir(root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        list => list.map_err(EngineError::io("read", root))?,
    };
    let mut found = Vec::new();
    for entry in list {
        let entry = entry.map_err(EngineError::io("read", root))?;
        if !KEPT.iter().any(|kept| entry.file_name() == *kept) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn measure(path: &Path, content: &mut Content) -> Result<(), EngineError> {
    let meta = path
        .symlink_metadata()
        .map_err(EngineError::io("read", path))?;
    if !meta.is_dir() {
        content.files += 1;
        content.bytes += meta.len();
        return Ok(());
    }
    for entry in std::fs::read_dir(path).map_err(EngineError::io("read", path))? {
        measure(
            &entry.map_err(EngineError::io("read", path))?.path(),
            content,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "as the one in use")]
    fn none() -> Result<Tally, EngineError> {
        Ok(Tally::default())
    }

    fn job() -> (tempfile::TempDir, SpoolDir) {
        let temp = tempfile::tempdir().unwrap();
        let spool = SpoolDir::new(temp.path().join("job"));
        spool.create().unwrap();
        for file in ["rows/00000.seg", "frames.bin", "manifest.json"] {
            std::fs::write(spool.root().join(file), "12345").unwrap();
        }
        (temp, spool)
    }

    #[test]
    fn what_has_content_goes_and_the_manifest_stays() {
        let (_temp, spool) = job();
        let removed = remove_content(&spool, none, Timestamp::from_micros(0)).unwrap();
        assert_eq!((removed.files, removed.bytes), (2, 10));
        let mut left: Vec<_> = std::fs::read_dir(spool.root())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["manifest.json", NOTE]);
        assert_eq!(content(&spool).unwrap(), Content::default());
    }

    #[test]
    fn a_purge_that_was_interrupted_is_told_and_finished() {
        let (_temp, spool) = job();
        let note = Purged {
            at: Timestamp::from_micros(0).to_string(),
            files: 2,
            bytes: 10,
            calls: Tally::default(),
        };
        let bytes = serde_json::to_vec(&note).unwrap();
        replace(spool.disk(), &spool.root().join(NOTE), &bytes).unwrap();
        std::fs::remove_file(spool.root().join("frames.bin")).unwrap();
        assert_eq!(purged(&spool).unwrap(), Some(note.clone()));
        let later = Timestamp::from_micros(9_000_000);
        assert_eq!(remove_content(&spool, none, later).unwrap().files, 1);
        assert_eq!(purged(&spool).unwrap(), Some(note));
        assert_eq!(remove_content(&spool, none, later).unwrap().files, 0);
    }
}
