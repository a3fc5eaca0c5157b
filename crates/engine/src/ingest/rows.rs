//! What the workers hand to the writer: the rows of one piece, checked, their bytes still where they
//! were parsed.

use std::ops::Range;

use super::check::Facts;
use super::error::ProblemKind;
use super::reader::Piece;

/// The rows of one piece.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// The piece they come from.
    pub(super) piece: Piece,
    /// What was made while parsing: keys, rendered texts.
    pub(super) made: Vec<u8>,
    pub(super) rows: Vec<Row>,
}

/// One row of the input.
#[derive(Debug)]
pub(super) struct Row {
    /// Where it begins, counted from 1.
    pub(super) line: u64,
    /// Its key as a raw JSON scalar, within what was made; `None` when it has none.
    pub(super) key: Option<Range<usize>>,
    pub(super) content: Result<Content, ProblemKind>,
}

/// A row that can be sent.
#[derive(Debug)]
pub(super) struct Content {
    /// Of the key: equal keys have equal digests.
    pub(super) key_digest: u128,
    pub(super) bytes: Bytes,
    pub(super) request_len: u32,
    /// Of these, what no token comes from: see `RowMeta`.
    pub(super) framing: u16,
    /// The first 128 bits of the BLAKE3 of the request.
    pub(super) digest: [u8; 16],
    /// Picodollars, on the sync lane.
    pub(super) worst: u64,
    /// `None`: the facts are those of the job's frame.
    pub(super) facts: Option<Facts>,
}

/// Where the bytes of a request are.
#[derive(Debug, Clone)]
pub(super) enum Bytes {
    /// All of them, within the piece.
    Whole(Range<usize>),
    /// All of them, within what was made.
    Made(Range<usize>),
    /// What stands between head and tail of the job's frame, within what was made.
    Middle(Range<usize>),
}

impl Rows {
    pub(super) fn of(piece: Piece, mut made: Vec<u8>, mut rows: Vec<Row>) -> Self {
        made.clear();
        rows.clear();
        Self { piece, made, rows }
    }

    /// Keeps a key; returns where.
    pub(super) fn keep(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
        let start = self.made.len();
        write(&mut self.made);
        start..self.made.len()
    }
}

/// The 128-bit digest that duplicate keys are found by. Text and numbers are different keys.
pub(super) fn key_digest(kind: KeyKind, key: &[u8]) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[match kind {
        KeyKind::Text => b't',
        KeyKind::Number => b'n',
    }]);
    hasher.update(key);
    u128::from_le_bytes(super::check::first_16(&hasher.finalize()))
}

/// What kind of JSON scalar a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyKind {
    Text,
    Number,
}
