//! The index: one entry of fixed size per valid row, in input order. It has what cutting a job into
//! shards needs, so that the rows themselves need not be read for it.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::PathBuf;

use super::SpoolError;
use super::layout::{SpoolDir, create_file};
use super::row::RowAt;

/// Bytes of an entry on disk.
const ENTRY_LEN: usize = 32;

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
}

impl IndexEntry {
    fn encode(&self) -> [u8; ENTRY_LEN] {
        let mut bytes = [0; ENTRY_LEN];
        bytes[..8].copy_from_slice(&self.row.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.at.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.worst.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.group.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.request_len.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; ENTRY_LEN]) -> Self {
        let long =
            |at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().expect("an entry is longer"));
        let word =
            |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().expect("an entry is longer"));
        Self {
            row: long(0),
            at: RowAt(long(8)),
            worst: long(16),
            group: word(24),
            request_len: word(28),
        }
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
        let disk = self.dir.disk();
        disk.content(&file, &self.dir.index())?;
        disk.names(self.dir.root())?;
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
        self.next += 1;
        Some(Ok(IndexEntry::decode(&bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn entries_survive(numbers in any::<(u64, u64, u64, u32, u32)>()) {
            let (row, at, worst, group, request_len) = numbers;
            let entry = IndexEntry { row, at: RowAt(at), worst, group, request_len };
            prop_assert_eq!(IndexEntry::decode(&entry.encode()), entry);
        }
    }
}
