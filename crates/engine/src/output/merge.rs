//! The merge of outcome segments by row. A segment is opened when its first row is due and closed
//! after its last, so that as many are open as overlap, not as many as there are.
//!
//! Rows leave in batches with the keys that their lines need. Leaves out the lines (`compose`).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use offpeak_core::units::Usd;

use super::OutputError;
use super::leaders::Leaders;
use crate::reuse::Reused;
use crate::settle::kept::{Kept, KeptIn};
use crate::settle::line::{self, WrittenLine, write_line};
use crate::settle::segment::{EarlierLine, Outcome, SegmentReader, Shared};
use crate::spool::{RowAt, SpoolDir, SpoolError, SpoolReader};

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
    /// What those came to that were not sent.
    pub(super) reused: Reused,
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
        /// Whose answer it is.
        whose: Whose,
    },
}

/// Whose answer a row has.
#[derive(Debug, Clone, Copy)]
pub(super) enum Whose {
    Own,
    /// That of a row of this job, whose key has so many bytes and follows the row's own.
    Row {
        row: u64,
        key_len: usize,
    },
    /// That of a row of an earlier run.
    Run {
        run: u32,
        row: u64,
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
    /// What rows share that were not sent, opened for the first of them.
    leaders: Option<(Leaders, SpoolReader)>,
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
            leaders: None,
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
        let Segment { path, reader } = &mut self.segments[index];
        let mut reader = match reader.take() {
            Some(reader) => reader,
            None => SegmentReader::open(path).map_err(reading(path))?,
        };
        let path = path.clone();
        while reader.row() == Some(self.wanted) && self.wanted < self.rows && !batch.is_full() {
            let due = match reader.read().map_err(reading(&path))? {
                Outcome::Line(line) => Due::Line(line),
                Outcome::Kept(kept) => {
                    let key_len = self.key(kept.at, &path, &mut batch.keys)?;
                    Due::Answer {
                        kept,
                        kept_in: reader.answers(),
                        key_len,
                        whose: Whose::Own,
                    }
                }
                Outcome::Shared(shared) => self.shared(&shared, &path, batch)?,
                Outcome::EarlierLine(EarlierLine { line, .. }) => {
                    let written = WrittenLine::read(&line)
                        .ok_or_else(|| damaged(&path, "a line taken over cannot be read"))?;
                    batch.reused.earlier.add(Usd::ZERO);
                    batch.reused.outcomes.count(written.class());
                    Due::Line(line)
                }
                Outcome::Earlier(kept, origin) => {
                    batch.reused.earlier.add(kept.cost);
                    batch.reused.outcomes.count(kept.class);
                    let key_len = self.key(kept.at, &path, &mut batch.keys)?;
                    Due::Answer {
                        kept: unpaid(kept),
                        kept_in: reader.answers(),
                        key_len,
                        whose: Whose::Run {
                            run: origin.run,
                            row: origin.row,
                        },
                    }
                }
            };
            batch.bytes += match &due {
                Due::Line(line) => line.len(),
                Due::Answer { kept, .. } => 2 * kept.len as usize,
            };
            batch.rows.push(due);
            self.wanted += 1;
        }
        let next = reader.row();
        self.segments[index].reader = Some(reader);
        Ok(next)
    }

    /// Appends the key of the row that is due; returns its length.
    fn key(&mut self, at: RowAt, path: &Path, out: &mut Vec<u8>) -> Result<usize, Trouble> {
        let keys = match &mut self.keys {
            Some(keys) => keys,
            none => none.insert(SpoolReader::open(&self.spool).map_err(Trouble::Spool)?),
        };
        append_key(keys, (self.wanted, at), path, out)
    }

    /// What a row shows that shares the answer of another.
    fn shared(&mut self, shared: &Shared, path: &Path, batch: &mut Batch) -> Result<Due, Trouble> {
        let start = batch.keys.len();
        let key_len = self.key(shared.at, path, &mut batch.keys)?;
        let (leaders, keys) = match &mut self.leaders {
            Some(leaders) => leaders,
            none => {
                let keys = SpoolReader::open(&self.spool).map_err(Trouble::Spool)?;
                none.insert((Leaders::find(&self.spool)?, keys))
            }
        };
        let of_len = append_key(keys, (shared.of, shared.of_at), path, &mut batch.keys)?;
        match leaders.outcome(shared.of, path)? {
            (Outcome::Kept(kept), kept_in) => {
                batch.reused.identical.add(kept.cost);
                batch.reused.outcomes.count(kept.class);
                Ok(Due::Answer {
                    kept: unpaid(kept),
                    kept_in,
                    key_len,
                    whose: Whose::Row {
                        row: shared.of,
                        key_len: of_len,
                    },
                })
            }
            (Outcome::Line(written), _) => {
                let written = WrittenLine::read(&written)
                    .ok_or_else(|| damaged(path, "a shared line cannot be read"))?;
                let (key, of_key) = batch.keys[start..].split_at(key_len);
                let reused = line::Reused::Row {
                    row: shared.of,
                    key: of_key,
                };
                let mut again = Vec::new();
                write_line(&written.again(key, reused), &mut again);
                batch.keys.truncate(start);
                batch.reused.identical.add(Usd::ZERO);
                batch.reused.outcomes.count(written.class());
                Ok(Due::Line(again))
            }
            (Outcome::Shared(_) | Outcome::Earlier(..) | Outcome::EarlierLine(_), _) => {
                Err(damaged(path, "a row shares what was not sent"))
            }
        }
    }
}

/// An answer as a row shows it that was not sent.
fn unpaid(kept: Kept) -> Kept {
    Kept {
        cost: Usd::ZERO,
        attempts: 0,
        ..kept
    }
}

fn append_key(
    rows: &mut SpoolReader,
    (number, at): (u64, RowAt),
    path: &Path,
    out: &mut Vec<u8>,
) -> Result<usize, Trouble> {
    let row = rows.read(at).map_err(Trouble::Spool)?;
    if row.meta.row != number {
        return Err(damaged(path, "an answer leads to another row"));
    }
    out.extend_from_slice(row.key);
    Ok(row.key.len())
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
