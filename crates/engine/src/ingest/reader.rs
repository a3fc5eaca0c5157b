//! The input in pieces of whole rows: JSONL is cut at line ends, CSV at record ends.
//!
//! Owns the digest of the input, the tolerance for a byte order mark, and the cap on one row. Leaves
//! out what a row is (`batch`, `table`).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use offpeak_wire::limits::MAX_BATCH_BYTES;

use super::csv_ends::RecordEnds;
use super::error::IngestError;

/// What rows end with.
#[derive(Debug)]
pub(super) enum Ends {
    Lines,
    Records(RecordEnds),
}

/// Whole rows, and where they are in the input.
#[derive(Debug, Default)]
pub(super) struct Piece {
    /// Line number of the first byte, counted from 1.
    pub(super) first_line: u64,
    /// Bytes of the input read until here.
    pub(super) read: u64,
    pub(super) bytes: Vec<u8>,
    /// Something other than whole rows.
    pub(super) broken: Option<Broken>,
}

/// What cannot be cut into rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// One row, longer than the API takes; its bytes are not kept.
    TooLong { bytes: u64 },
    /// A quoted CSV field that is still open at the end, or for longer than a row may be.
    OpenQuote,
}

/// Reads pieces.
#[derive(Debug)]
pub(super) struct Pieces<R> {
    input: R,
    ends: Ends,
    piece_len: usize,
    row_max: usize,
    hasher: blake3::Hasher,
    read: u64,
    line: u64,
    /// Bytes read that belong to the next piece, and how many of them were looked through for ends
    /// already.
    carry: Vec<u8>,
    looked: usize,
    first: bool,
    at_end: bool,
}

impl Pieces<File> {
    /// Opens the input; says how long it is, too.
    pub(super) fn open(
        path: &Path,
        ends: Ends,
        piece_len: usize,
    ) -> Result<(Self, u64), IngestError> {
        let failed = |source| IngestError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        let row_max = usize::try_from(MAX_BATCH_BYTES).unwrap_or(usize::MAX);
        Ok((Self::new(file, ends, piece_len, row_max), metadata.len()))
    }
}

impl<R: Read> Pieces<R> {
    pub(super) fn new(input: R, ends: Ends, piece_len: usize, row_max: usize) -> Self {
        Self {
            input,
            ends,
            piece_len: piece_len.max(4),
            row_max,
            hasher: blake3::Hasher::new(),
            read: 0,
            line: 1,
            carry: Vec::new(),
            looked: 0,
            first: true,
            at_end: false,
        }
    }

    /// Digest and length of the whole input, once it was read.
    pub(super) fn finish(self) -> ([u8; 32], u64) {
        (*self.hasher.finalize().as_bytes(), self.read)
    }

    /// The next piece, in the given buffer; `None` at the end.
    pub(super) fn next(&mut self, mut bytes: Vec<u8>) -> io::Result<Option<Piece>> {
        bytes.clear();
        bytes.shrink_to(4 * self.piece_len);
        bytes.extend_from_slice(&self.carry);
        self.carry.clear();
        self.carry.shrink_to(4 * self.piece_len);
        let mut wanted = self.piece_len;
        let end = loop {
            self.fill(&mut bytes, wanted)?;
            if std::mem::take(&mut self.first) && bytes.starts_with(b"\xEF\xBB\xBF") {
                bytes.drain(..3);
            }
            let end = self.last_end(&bytes);
            if end.is_some() || self.at_end {
                break end;
            }
            if bytes.len() > self.row_max {
                return self.too_long(bytes).map(Some);
            }
            wanted = bytes
                .len()
                .saturating_mul(2)
                .clamp(self.piece_len, self.row_max.max(self.piece_len) + 1);
        };
        if let Some(end) = end {
            self.carry.extend_from_slice(&bytes[end..]);
            bytes.truncate(end);
        }
        self.looked = self.carry.len();
        if bytes.is_empty() {
            return Ok(None);
        }
        let open_quote = end.is_none() && self.in_quotes();
        let broken = open_quote.then_some(Broken::OpenQuote);
        let first_line = self.line;
        self.count_lines(&bytes);
        Ok(Some(Piece {
            first_line,
            read: self.read,
            bytes,
            broken,
        }))
    }

    /// Reads until the buffer has `wanted` bytes or the input ends.
    fn fill(&mut self, bytes: &mut Vec<u8>, wanted: usize) -> io::Result<()> {
        let before = bytes.len();
        let missing = wanted.saturating_sub(before);
        if missing == 0 || self.at_end {
            return Ok(());
        }
        bytes.reserve_exact(missing);
        let read = self
            .input
            .by_ref()
            .take(missing as u64)
            .read_to_end(bytes)?;
        self.hasher.update(&bytes[before..]);
        self.read += read as u64;
        self.at_end = read < missing;
        Ok(())
    }

    /// Where the last row ends that ends in bytes not looked through yet.
    fn last_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let from = std::mem::replace(&mut self.looked, bytes.len());
        let unseen = &bytes[from..];
        let end = match &mut self.ends {
            Ends::Lines => memchr::memrchr(b'\n', unseen).map(|at| at + 1),
            Ends::Records(ends) => ends.last(unseen),
        };
        end.map(|at| from + at)
    }

    fn in_quotes(&self) -> bool {
        matches!(&self.ends, Ends::Records(ends) if ends.in_quotes())
    }

    fn count_lines(&mut self, bytes: &[u8]) {
        self.line += memchr::memchr_iter(b'\n', bytes).count() as u64;
    }

    /// Passes over the rest of a row that is too long. When it is a CSV field that is still open,
    /// its quote was most likely never meant to open one, and nothing after it can be trusted.
    fn too_long(&mut self, mut bytes: Vec<u8>) -> io::Result<Piece> {
        let first_line = self.line;
        let open_quote = self.in_quotes();
        let mut len = bytes.len() as u64;
        self.count_lines(&bytes);
        while !self.at_end {
            bytes.clear();
            self.fill(&mut bytes, self.piece_len)?;
            let end = match &mut self.ends {
                Ends::Records(_) if open_quote => None,
                Ends::Records(ends) => ends.first(&bytes),
                Ends::Lines => memchr::memchr(b'\n', &bytes).map(|at| at + 1),
            };
            let passed = end.unwrap_or(bytes.len());
            len += passed as u64;
            self.count_lines(&bytes[..passed]);
            if end.is_some() {
                self.carry.extend_from_slice(&bytes[passed..]);
                break;
            }
        }
        self.looked = 0;
        bytes.clear();
        let broken = if open_quote {
            Broken::OpenQuote
        } else {
            Broken::TooLong { bytes: len }
        };
        Ok(Piece {
            first_line,
            read: self.read,
            bytes,
            broken: Some(broken),
        })
    }
}
