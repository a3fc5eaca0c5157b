//! The merge of outcome segments by row. A segment is opened when its first row is due and closed
//! after its last, so that as many are open as overlap, not as many as there are.
//!
//! Rows leave in batches with the keys that their lines need. Leaves out the lines (`compose`).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::OutputError;
use crate::settle::kept::{Kept, KeptIn};
use crate::settle::segment::{Outcome, SegmentReader};
use crate::spool::{SpoolDir, SpoolError, SpoolReader};

/// A batch ends after so many rows …
const BATCH_ROWS: usize = if cfg!(test) { 7 } else { 512 };

/// … or when about so many bytes of output come of it.
const BATCH_BYTES: usize = 512 * 1024;

/// What stops an output.
#[derive(Debug)]
pub(super) enum Trouble {
    /// A file of outcomes or answers could not be read.
    Read { path: PathBuf, source: io::Error },
    /// A row could not be read.
    Spool(SpoolError),
    /// A line could not be written.
    Write(io::Error),
    /// The rows are not 0, 1, 2, …
    Count { wanted: u64, found: Option<u64> },
}

impl Trouble {
    /// The error for the user; `written` bytes of `output` had found a place.
    pub(super) fn for_user(self, output: &Path, rows: u64, written: u64) -> OutputError {
        match self {
            Self::Read { path, source } => OutputError::Io { path, source },
            Self::Spool(error) => OutputError::Spool(error),
            Self::Write(source) => {
                let path = output.to_owned();
                match source.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                        OutputError::DiskFull { path, written }
                    }
                    io::ErrorKind::AlreadyExists => OutputError::Exists { path },
                    _ => OutputError::Io { path, source },
                }
            }
            Self::Count { wanted, found } => OutputError::Count {
                wanted,
                found,
                rows,
            },
        }
    }
}

/// Rows that follow on each other.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) rows: Vec<Due>,
    /// The keys of those with an answer, one behind the other.
    pub(super) keys: Vec<u8>,
    /// About how many bytes of output it makes.
    bytes: usize,
}

/// One row, whose line is due.
#[derive(Debug)]
pub(super) enum Due {
    /// The finished line.
    Line(Vec<u8>),
    /// The answer to make it of.
    Answer {
        kept: Kept,
        /// The file that the answer is in.
        kept_in: KeptIn,
        /// Bytes of the user's key.
        key_len: usize,
    },
}

impl Batch {
    fn is_full(&self) -> bool {
        self.rows.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }
}

/// All segments of a job, ordered by the row that each would give next.
#[derive(Debug)]
pub(super) struct Merge {
    spool: SpoolDir,
    /// The rows, opened for the first key that is needed.
    keys: Option<SpoolReader>,
    next: BinaryHeap<Reverse<(u64, usize)>>,
    segments: Vec<Segment>,
    rows: u64,
    wanted: u64,
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    reader: Option<SegmentReader>,
}

impl Merge {
    /// Looks at the first row of every segment of a job of so many rows.
    pub(super) fn open(spool: &SpoolDir, rows: u64) -> Result<Self, Trouble> {
        let mut merge = Self {
            spool: spool.clone(),
            keys: None,
            next: BinaryHeap::new(),
            segments: Vec::new(),
            rows,
            wanted: 0,
        };
        let dir = spool.outcomes_dir();
        for entry in fs::read_dir(&dir).map_err(reading(&dir))? {
            let path = entry.map_err(reading(&dir))?.path();
            if path.extension().is_none_or(|extension| extension != "seg") {
                continue;
            }
            let first = SegmentReader::first_row(&path).map_err(reading(&path))?;
            if let Some(row) = first {
                merge.next.push(Reverse((row, merge.segments.len())));
                merge.segments.push(Segment { path, reader: None });
            }
        }
        Ok(merge)
    }

    /// Rows of the job.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// The next rows from 0 on; none after the last one of the job. Fails at the first that is
    /// missing, comes twice or is one too many.
    pub(super) fn batch(&mut self) -> Result<Option<Batch>, Trouble> {
        let mut batch = Batch::default();
        while !batch.is_full() {
            let Some(Reverse((row, index))) = self.next.pop() else {
                break;
            };
            self.expect(Some(row))?;
            // Stays with the segment for as long as it has the next row.
            match self.take_run(index, &mut batch)? {
                Some(row) => self.next.push(Reverse((row, index))),
                None => self.segments[index].reader = None,
            }
        }
        if batch.rows.is_empty() {
            self.expect(None)?;
            return Ok(None);
        }
        Ok(Some(batch))
    }

    /// Checks the row that comes next, or that none does.
    fn expect(&self, found: Option<u64>) -> Result<(), Trouble> {
        let due = Some(self.wanted).filter(|row| *row < self.rows);
        if found == due {
            return Ok(());
        }
        Err(Trouble::Count {
            wanted: self.wanted,
            found,
        })
    }

    /// Takes rows while they follow on each other; returns the first that does not.
    fn take_run(&mut self, index: usize, batch: &mut Batch) -> Result<Option<u64>, Trouble> {
        let segment = &mut self.segments[index];
        let path = &segment.path;
        let reader = match &mut segment.reader {
            Some(reader) => reader,
            none => none.insert(SegmentReader::open(path).map_err(reading(path))?),
        };
        while reader.row() == Some(self.wanted) && self.wanted < self.rows && !batch.is_full() {
            let due = match reader.read().map_err(reading(path))? {
                Outcome::Line(line) => {
                    batch.bytes += line.len();
                    Due::Line(line)
                }
                Outcome::Kept(kept) => {
                    batch.bytes += 2 * kept.len as usize;
                    let keys = match &mut self.keys {
                        Some(keys) => keys,
                        none => {
                            none.insert(SpoolReader::open(&self.spool).map_err(Trouble::Spool)?)
                        }
                    };
                    let row = keys.read(kept.at).map_err(Trouble::Spool)?;
                    if row.meta.row != self.wanted {
                        let problem = "an answer leads to another row";
                        return Err(damaged(path, problem));
                    }
                    batch.keys.extend_from_slice(row.key);
                    Due::Answer {
                        kept,
                        kept_in: reader.answers(),
                        key_len: row.key.len(),
                    }
                }
            };
            batch.rows.push(due);
            self.wanted += 1;
        }
        Ok(reader.row())
    }
}

/// The error for a file that could not be read.
pub(super) fn reading(path: &Path) -> impl FnOnce(io::Error) -> Trouble + '_ {
    |source| Trouble::Read {
        path: path.to_owned(),
        source,
    }
}

/// The error for a file that is not what was written.
pub(super) fn damaged(path: &Path, problem: &str) -> Trouble {
    reading(path)(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("damaged: {problem}"),
    ))
}
