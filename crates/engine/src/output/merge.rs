//! The merge of outcome segments by row. A segment is opened when its first row is due and closed
//! after its last, so that as many are open as overlap, not as many as there are.
//!
//! Leaves out where the lines go (`output`).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::OutputError;
use crate::settle::segment::SegmentReader;

/// What stops a merge.
#[derive(Debug)]
pub(super) enum MergeError {
    /// A segment could not be read.
    Read { path: PathBuf, source: io::Error },
    /// A line could not be written.
    Write(io::Error),
    /// The rows are not 0, 1, 2, …
    Count { wanted: u64, found: Option<u64> },
}

impl MergeError {
    /// The error for the user; `written` bytes of `output` had found a place.
    pub(super) fn for_user(self, output: &Path, rows: u64, written: u64) -> OutputError {
        match self {
            Self::Read { path, source } => OutputError::Io { path, source },
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

/// All segments of a job, ordered by the row that each would give next.
#[derive(Debug)]
pub(super) struct Merge {
    next: BinaryHeap<Reverse<(u64, usize)>>,
    segments: Vec<Segment>,
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    reader: Option<SegmentReader>,
}

impl Merge {
    /// Looks at the first row of every segment in a directory.
    pub(super) fn open(dir: &Path) -> Result<Self, MergeError> {
        let reading = |path: &Path, source| MergeError::Read {
            path: path.to_owned(),
            source,
        };
        let mut merge = Self {
            next: BinaryHeap::new(),
            segments: Vec::new(),
        };
        for entry in fs::read_dir(dir).map_err(|source| reading(dir, source))? {
            let path = entry.map_err(|source| reading(dir, source))?.path();
            if path.extension().is_none_or(|extension| extension != "seg") {
                continue;
            }
            let first = SegmentReader::first_row(&path).map_err(|source| reading(&path, source))?;
            if let Some(row) = first {
                merge.next.push(Reverse((row, merge.segments.len())));
                merge.segments.push(Segment { path, reader: None });
            }
        }
        Ok(merge)
    }

    /// Writes the lines of rows 0 to `rows - 1`, and fails at the first that is missing, comes
    /// twice or is one too many.
    pub(super) fn run(mut self, rows: u64, out: &mut impl Write) -> Result<(), MergeError> {
        let mut line = Vec::new();
        let mut wanted = 0;
        while let Some(Reverse((row, index))) = self.next.pop() {
            if row != wanted || row >= rows {
                return Err(MergeError::Count {
                    wanted,
                    found: Some(row),
                });
            }
            let segment = &mut self.segments[index];
            // Stays with the segment for as long as it has the next row.
            let next = segment.copy_run(&mut wanted, rows, &mut line, out)?;
            match next {
                Some(row) => self.next.push(Reverse((row, index))),
                None => segment.reader = None,
            }
        }
        if wanted == rows {
            Ok(())
        } else {
            Err(MergeError::Count {
                wanted,
                found: None,
            })
        }
    }
}

impl Segment {
    /// Copies lines while their rows follow on each other; returns the first that does not.
    fn copy_run(
        &mut self,
        wanted: &mut u64,
        rows: u64,
        line: &mut Vec<u8>,
        out: &mut impl Write,
    ) -> Result<Option<u64>, MergeError> {
        let reading = |source| MergeError::Read {
            path: self.path.clone(),
            source,
        };
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => SegmentReader::open(&self.path).map_err(reading)?,
        };
        while reader.row() == Some(*wanted) && *wanted < rows {
            reader.read_line(line).map_err(reading)?;
            out.write_all(line).map_err(MergeError::Write)?;
            *wanted += 1;
        }
        let next = reader.row();
        self.reader = Some(reader);
        Ok(next)
    }
}
