//! Row references: what a shard is made of. A shard is a range of one file of them.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use offpeak_core::job::shard::{RowRange, ShardNo};

use super::SpoolError;
use super::layout::{SpoolDir, create_file};
use super::marks::RowMarks;
use super::row::RowAt;

/// The prefix group of rows that have none.
pub const NO_GROUP: u32 = u32::MAX;

/// Bytes of a reference on disk.
const REF_LEN: usize = 32 + RowMarks::LEN;

/// Bytes a writer gathers; there is one writer per kind of shard.
const WRITE_BUFFER: usize = 64 << 10;

/// The file for the rows that a shard leaves over: its own number, in the upper half of the
/// numbers, so that settling a shard again writes the same file.
#[must_use]
pub fn leftovers_file(shard: ShardNo) -> u32 {
    shard.0 | 1 << 31
}

/// One row of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowRef {
    /// Its number.
    pub row: u64,
    /// Where its bytes are.
    pub at: RowAt,
    /// Most it can cost on the sync lane, with an hour's cache write, in picodollars: an upper bound
    /// for both lanes (on the batch lane, half of it).
    pub worst: u64,
    /// Attempts used up.
    pub attempts: u16,
    /// Rounds in which it was left over.
    pub round: u16,
    /// Bytes of its request, unmarked.
    pub request_len: u32,
    /// Its cache marks, while it is in a shard that has some.
    pub marks: RowMarks,
}

impl RowRef {
    fn encode(&self) -> [u8; REF_LEN] {
        let mut bytes = [0; REF_LEN];
        bytes[..8].copy_from_slice(&self.row.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.at.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.worst.to_le_bytes());
        bytes[24..26].copy_from_slice(&self.attempts.to_le_bytes());
        bytes[26..28].copy_from_slice(&self.round.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.request_len.to_le_bytes());
        bytes[32..].copy_from_slice(&self.marks.to_bytes());
        bytes
    }

    fn decode(bytes: &[u8; REF_LEN]) -> Self {
        let long = |at: usize| {
            u64::from_le_bytes(*bytes[at..].first_chunk().expect("a reference is longer"))
        };
        let word = |at: usize| {
            u32::from_le_bytes(*bytes[at..].first_chunk().expect("a reference is longer"))
        };
        let short = |at: usize| {
            u16::from_le_bytes(*bytes[at..].first_chunk().expect("a reference is longer"))
        };
        Self {
            row: long(0),
            at: RowAt(long(8)),
            worst: long(16),
            attempts: short(24),
            round: short(26),
            request_len: word(28),
            marks: RowMarks::from_bytes(bytes[32..].first_chunk().expect("a reference is longer")),
        }
    }
}

/// Writes one file of references.
#[derive(Debug)]
pub struct RefsWriter {
    out: BufWriter<File>,
    dir: SpoolDir,
    file: u32,
    len: u32,
}

impl RefsWriter {
    /// Begins a file of references, replacing what is there.
    ///
    /// # Errors
    ///
    /// When the file system refuses.
    pub fn create(dir: &SpoolDir, file: u32) -> io::Result<Self> {
        let out = BufWriter::with_capacity(WRITE_BUFFER, create_file(&dir.refs(file))?);
        Ok(Self {
            out,
            dir: dir.clone(),
            file,
            len: 0,
        })
    }

    /// Appends a reference.
    ///
    /// # Errors
    ///
    /// When the disk does not take it, or the file has 2³² references.
    pub fn push(&mut self, row: &RowRef) -> io::Result<()> {
        let more = self.len.checked_add(1);
        self.len = more.ok_or_else(|| io::Error::other("too many rows for one kind of shard"))?;
        self.out.write_all(&row.encode())
    }

    /// Number of the file.
    #[must_use]
    pub fn file(&self) -> u32 {
        self.file
    }

    /// References so far.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether there are none so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes the file durable; returns the range of all its references.
    ///
    /// # Errors
    ///
    /// When the disk does not take it.
    pub fn finish(self) -> io::Result<RowRange> {
        let file = self
            .out
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        let (disk, path) = (self.dir.disk(), self.dir.refs(self.file));
        disk.content(&file, &path)?;
        disk.name_of(&path)?;
        Ok(RowRange {
            file: self.file,
            from: 0,
            to: self.len,
        })
    }
}

/// Reads a range of references, in order.
#[derive(Debug)]
pub struct RefsReader {
    input: BufReader<File>,
    path: PathBuf,
    next: u32,
    to: u32,
}

impl RefsReader {
    /// Opens the rows of a shard.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or is shorter than the range.
    pub fn open(dir: &SpoolDir, rows: RowRange) -> Result<Self, SpoolError> {
        let path = dir.refs(rows.file);
        let mut file = File::open(&path).map_err(SpoolError::io(&path))?;
        let len = file.metadata().map_err(SpoolError::io(&path))?.len();
        if u64::from(rows.to) * REF_LEN as u64 > len {
            return Err(SpoolError::damaged(
                &path,
                len,
                "it ends before the rows of the shard",
            ));
        }
        let from = SeekFrom::Start(u64::from(rows.from) * REF_LEN as u64);
        file.seek(from).map_err(SpoolError::io(&path))?;
        let input = BufReader::with_capacity(WRITE_BUFFER, file);
        Ok(Self {
            input,
            path,
            next: rows.from,
            to: rows.to,
        })
    }
}

impl Iterator for RefsReader {
    type Item = Result<RowRef, SpoolError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.to {
            return None;
        }
        self.next += 1;
        let mut bytes = [0; REF_LEN];
        Some(match self.input.read_exact(&mut bytes) {
            Ok(()) => Ok(RowRef::decode(&bytes)),
            Err(source) => {
                self.next = self.to;
                Err(SpoolError::Io {
                    path: self.path.clone(),
                    source,
                })
            }
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.to - self.next) as usize;
        (left, Some(left))
    }
}

#[cfg(test)]
mod tests {
    use super::super::marks::tests::marks;
    use super::*;
    use proptest::prelude::*;

    fn refs() -> impl Strategy<Value = RowRef> {
        (any::<(u64, u64, u64, u16, u16, u32)>(), marks()).prop_map(
            |((row, at, worst, attempts, round, request_len), marks)| RowRef {
                row,
                at: RowAt(at),
                worst,
                attempts,
                round,
                request_len,
                marks,
            },
        )
    }

    proptest! {
        #[test]
        fn any_range_reads_back(rows in prop::collection::vec(refs(), 0..50), a in 0u32..50, b in 0u32..50) {
            let temp = tempfile::tempdir().unwrap();
            let dir = SpoolDir::new(temp.path());
            dir.create().unwrap();
            let mut writer = RefsWriter::create(&dir, 7).unwrap();
            for row in &rows {
                writer.push(row).unwrap();
            }
            let all = writer.finish().unwrap();
            prop_assert_eq!(all.len() as usize, rows.len());
            let (from, to) = (a.min(b).min(all.to), a.max(b).min(all.to));
            let read: Result<Vec<_>, _> =
                RefsReader::open(&dir, RowRange { file: 7, from, to }).unwrap().collect();
            prop_assert_eq!(read.unwrap(), &rows[from as usize..to as usize]);
            let beyond = RowRange { to: all.to + 1, ..all };
            prop_assert!(RefsReader::open(&dir, beyond).is_err());
        }
    }
}
