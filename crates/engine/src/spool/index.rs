//! The index: one entry of fixed size per valid row, in input order. It has what cutting a job into
//! shards needs, so that the rows themselves need not be read for it.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::PathBuf;

use offpeak_wire::request::{Shape, Ttl};
use offpeak_wire::splice::MarkPoint;

use super::SpoolError;
use super::layout::{SpoolDir, create_file, sync_dir};
use super::row::{RowAt, RowMeta};

/// Bytes of an entry on disk.
const ENTRY_LEN: usize = 36;

const BUFFER: usize = 256 << 10;

/// What is known of a row without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// Its number.
    pub row: u64,
    /// Where its bytes are.
    pub at: RowAt,
    /// Most it can cost on the sync lane, with an hour's cache write, in picodollars.
    pub worst: u64,
    /// Its prefix group; [`super::NO_GROUP`] for none.
    pub group: u32,
    /// Bytes of its request, unmarked.
    pub request_len: u32,
    /// What kind of block its cache mark would go to, if it can carry one.
    pub mark: MarkShape,
}

/// What kind of block a row's cache mark would go to, which decides how many bytes it adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkShape {
    /// The row carries no mark of ours.
    None,
    /// An object, which gets one more member.
    Object,
    /// A string, which becomes a list of one block.
    BareString,
}

impl MarkShape {
    /// Bytes that a mark adds.
    #[must_use]
    pub fn added_len(self, mark: Option<Ttl>) -> usize {
        let point = |shape| MarkPoint {
            start: 0,
            end: 2,
            shape,
        };
        match (self, mark) {
            (Self::None, _) | (_, None) => 0,
            (Self::Object, Some(ttl)) => point(Shape::Object).added_len(ttl),
            (Self::BareString, Some(ttl)) => point(Shape::BareString).added_len(ttl),
        }
    }
}

impl IndexEntry {
    /// The entry of a row that was spooled.
    #[must_use]
    pub fn of(meta: &RowMeta, at: RowAt, worst: u64) -> Self {
        Self {
            row: meta.row,
            at,
            worst,
            group: meta.group,
            request_len: meta.request_len,
            mark: match meta.mark.map(|mark| mark.shape) {
                None => MarkShape::None,
                Some(Shape::Object) => MarkShape::Object,
                Some(Shape::BareString) => MarkShape::BareString,
            },
        }
    }

    fn encode(&self) -> [u8; ENTRY_LEN] {
        let mut bytes = [0; ENTRY_LEN];
        bytes[..8].copy_from_slice(&self.row.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.at.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.worst.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.group.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.request_len.to_le_bytes());
        bytes[32] = match self.mark {
            MarkShape::None => 0,
            MarkShape::Object => 1,
            MarkShape::BareString => 2,
        };
        bytes
    }

    fn decode(bytes: &[u8; ENTRY_LEN]) -> Option<Self> {
        let long = |at: usize| bytes[at..].first_chunk().copied().map(u64::from_le_bytes);
        let word = |at: usize| bytes[at..].first_chunk().copied().map(u32::from_le_bytes);
        Some(Self {
            row: long(0)?,
            at: RowAt(long(8)?),
            worst: long(16)?,
            group: word(24)?,
            request_len: word(28)?,
            mark: match bytes[32] {
                0 => MarkShape::None,
                1 => MarkShape::Object,
                2 => MarkShape::BareString,
                _ => return None,
            },
        })
    }
}

/// Writes the index.
#[derive(Debug)]
pub struct IndexWriter {
    out: BufWriter<File>,
    dir: SpoolDir,
    entries: u64,
}

impl IndexWriter {
    /// Begins the index, replacing what is there.
    ///
    /// # Errors
    ///
    /// When the file system refuses.
    pub fn create(dir: &SpoolDir) -> io::Result<Self> {
        let file = create_file(&dir.index())?;
        Ok(Self {
            out: BufWriter::with_capacity(BUFFER, file),
            dir: dir.clone(),
            entries: 0,
        })
    }

    /// Appends the entry of the next row.
    ///
    /// # Errors
    ///
    /// When the disk does not take it.
    pub fn push(&mut self, entry: &IndexEntry) -> io::Result<()> {
        self.entries += 1;
        self.out.write_all(&entry.encode())
    }

    /// Makes the index durable; returns its bytes.
    ///
    /// # Errors
    ///
    /// When the disk does not take it.
    pub fn finish(self) -> io::Result<u64> {
        let file = self
            .out
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        sync_dir(self.dir.root())?;
        Ok(self.entries * ENTRY_LEN as u64)
    }
}

/// Reads the index, in order.
#[derive(Debug)]
pub struct IndexReader {
    input: BufReader<File>,
    path: PathBuf,
    entries: u64,
    next: u64,
}

impl IndexReader {
    /// Opens the index of a job whose ingest was finished.
    ///
    /// # Errors
    ///
    /// When it cannot be read or has no whole number of entries.
    pub fn open(dir: &SpoolDir) -> Result<Self, SpoolError> {
        let path = dir.index();
        let file = File::open(&path).map_err(SpoolError::io(&path))?;
        let len = file.metadata().map_err(SpoolError::io(&path))?.len();
        if !len.is_multiple_of(ENTRY_LEN as u64) {
            return Err(SpoolError::damaged(&path, len, "it ends within an entry"));
        }
        let input = BufReader::with_capacity(BUFFER, file);
        Ok(Self {
            input,
            path,
            entries: len / ENTRY_LEN as u64,
            next: 0,
        })
    }

    /// Number of valid rows.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries
    }
}

impl Iterator for IndexReader {
    type Item = Result<IndexEntry, SpoolError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.entries {
            return None;
        }
        let mut bytes = [0; ENTRY_LEN];
        if let Err(source) = self.input.read_exact(&mut bytes) {
            self.next = self.entries;
            return Some(Err(SpoolError::Io {
                path: self.path.clone(),
                source,
            }));
        }
        let offset = self.next * ENTRY_LEN as u64;
        self.next += 1;
        let entry = IndexEntry::decode(&bytes);
        Some(entry.ok_or_else(|| SpoolError::damaged(&self.path, offset, "no such kind of mark")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn entries_survive(numbers in any::<(u64, u64, u64, u32, u32)>(), mark in 0u8..3) {
            let mark = [MarkShape::None, MarkShape::Object, MarkShape::BareString][usize::from(mark)];
            let (row, at, worst, group, request_len) = numbers;
            let entry = IndexEntry { row, at: RowAt(at), worst, group, request_len, mark };
            prop_assert_eq!(IndexEntry::decode(&entry.encode()), Some(entry));
        }
    }
}
