//! The ways of the rows down their levels, kept on the disk until all rows were seen: only then is it
//! known which levels rows share.
//!
//! A file without a name, read twice and then gone. Leaves out what is made of it (`groups`).

use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use tempfile::SpooledTempFile;

use super::groups::RowSums;
use super::levels::Level;
use crate::spool::RowAt;

/// Bytes that are kept in memory before there is a file.
const IN_MEMORY: usize = 4 << 20;

const BUFFER: usize = 1 << 18;

/// Bytes of an entry before its levels.
const HEAD_LEN: usize = 43;

/// A row as far as its group is concerned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Way {
    pub(super) row: u64,
    /// Where it begins in the input, counted from 1.
    pub(super) line: u64,
    pub(super) at: RowAt,
    /// Picodollars, on the sync lane.
    pub(super) worst: u64,
    pub(super) request_len: u32,
    /// Of these, what no token comes from.
    pub(super) framing: u16,
    pub(super) max_tokens: u32,
    /// Of its levels, from the beginning of the prompt.
    pub(super) digests: Vec<u64>,
}

impl Way {
    pub(super) fn sums(&self) -> RowSums {
        let prompt = self.request_len.saturating_sub(self.framing.into());
        RowSums::of(prompt, self.max_tokens, self.worst)
    }
}

/// Writes them.
#[derive(Debug)]
pub(super) struct WaysWriter {
    out: BufWriter<SpooledTempFile>,
    entries: u64,
}

impl WaysWriter {
    /// Where there is room, or where the system keeps temporary files.
    pub(super) fn new(dir: Option<&Path>) -> Self {
        let file = match dir {
            Some(dir) => tempfile::spooled_tempfile_in(IN_MEMORY, dir),
            None => tempfile::spooled_tempfile(IN_MEMORY),
        };
        Self {
            out: BufWriter::with_capacity(BUFFER, file),
            entries: 0,
        }
    }

    /// Appends a row; its digests are those of `levels`.
    pub(super) fn push(&mut self, way: &Way, levels: &[Level]) -> io::Result<()> {
        let mut head = [0; HEAD_LEN];
        head[..8].copy_from_slice(&way.row.to_le_bytes());
        head[8..16].copy_from_slice(&way.at.0.to_le_bytes());
        head[16..24].copy_from_slice(&way.worst.to_le_bytes());
        head[24..28].copy_from_slice(&way.request_len.to_le_bytes());
        head[28..32].copy_from_slice(&way.max_tokens.to_le_bytes());
        head[32..34].copy_from_slice(&way.framing.to_le_bytes());
        head[35..].copy_from_slice(&way.line.to_le_bytes());
        head[34] = u8::try_from(levels.len()).expect("levels of a prompt are few");
        self.entries += 1;
        self.out.write_all(&head)?;
        for level in levels {
            self.out.write_all(&level.digest.to_le_bytes())?;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> io::Result<Ways> {
        let file = self
            .out
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        Ok(Ways {
            file,
            entries: self.entries,
        })
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Ways {
    file: SpooledTempFile,
    entries: u64,
}

impl Ways {
    /// Calls `each` with every row, in order.
    pub(super) fn for_each(
        &mut self,
        mut each: impl FnMut(&Way) -> io::Result<()>,
    ) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut input = BufReader::with_capacity(BUFFER, &mut self.file);
        let mut way = Way::default();
        for _ in 0..self.entries {
            read(&mut input, &mut way)?;
            each(&way)?;
        }
        Ok(())
    }
}

fn read(input: &mut impl Read, way: &mut Way) -> io::Result<()> {
    let mut head = [0; HEAD_LEN];
    input.read_exact(&mut head)?;
    let long =
        |at: usize| u64::from_le_bytes(*head[at..].first_chunk().expect("the head is longer"));
    let word =
        |at: usize| u32::from_le_bytes(*head[at..].first_chunk().expect("the head is longer"));
    way.row = long(0);
    way.at = RowAt(long(8));
    way.worst = long(16);
    way.request_len = word(24);
    way.max_tokens = word(28);
    way.line = long(35);
    way.framing = u16::from_le_bytes([head[32], head[33]]);
    way.digests.clear();
    for _ in 0..head[34] {
        let mut digest = [0; 8];
        input.read_exact(&mut digest)?;
        way.digests.push(u64::from_le_bytes(digest));
    }
    Ok(())
}
