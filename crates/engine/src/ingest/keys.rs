//! Finding duplicate keys among any number of rows in flat memory: 128-bit digests of the keys are
//! sorted in runs, runs beyond the first go to a file without a name, and all are merged at the end.
//!
//! Leaves out what is done about duplicates (`sink`). Two different keys with one digest would need
//! some 2⁶⁴ rows.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

/// Rows of one run.
const RUN_MAX: usize = 1 << 17;

/// Bytes of an entry on disk.
const ENTRY_LEN: usize = 32;

/// Entries read at once from each run.
const MERGE_READ: usize = 1024;

/// A row as far as its key is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) digest: u128,
    pub(super) row: u64,
    pub(super) line: u64,
}

impl Entry {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut bytes = [0; ENTRY_LEN];
        bytes[..16].copy_from_slice(&self.digest.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.row.to_le_bytes());
        bytes[24..].copy_from_slice(&self.line.to_le_bytes());
        out.write_all(&bytes)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let long = |at: usize| {
            bytes
                .get(at..)?
                .first_chunk()
                .copied()
                .map(u64::from_le_bytes)
        };
        Some(Self {
            digest: bytes.first_chunk().copied().map(u128::from_le_bytes)?,
            row: long(16)?,
            line: long(24)?,
        })
    }
}

/// Gathers the keys of a job.
#[derive(Debug)]
pub(super) struct Keys {
    run: Vec<Entry>,
    run_max: usize,
    /// Where runs go; `None` for the system's place for temporary files.
    dir: Option<PathBuf>,
    spilled: Option<Spilled>,
}

#[derive(Debug)]
struct Spilled {
    file: BufWriter<File>,
    /// Entries of each run.
    runs: Vec<u64>,
}

impl Keys {
    pub(super) fn new(dir: Option<PathBuf>) -> Self {
        Self {
            run: Vec::new(),
            run_max: RUN_MAX,
            dir,
            spilled: None,
        }
    }

    pub(super) fn push(&mut self, entry: Entry) -> io::Result<()> {
        if self.run.len() == self.run_max {
            self.spill()?;
        }
        self.run.push(entry);
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        self.run.sort_unstable();
        let spilled = match &mut self.spilled {
            Some(spilled) => spilled,
            none => {
                let file = match &self.dir {
                    Some(dir) => tempfile::tempfile_in(dir)?,
                    None => tempfile::tempfile()?,
                };
                none.insert(Spilled {
                    file: BufWriter::with_capacity(1 << 18, file),
                    runs: vec![],
                })
            }
        };
        for entry in &self.run {
            entry.write(&mut spilled.file)?;
        }
        spilled.runs.push(self.run.len() as u64);
        self.run.clear();
        Ok(())
    }

    /// Calls `duplicate` with every row whose key an earlier row has, and with the line of the
    /// first such row.
    pub(super) fn finish(mut self, mut duplicate: impl FnMut(&Entry, u64)) -> io::Result<()> {
        let mut first: Option<Entry> = None;
        let mut see = |entry: Entry| match first {
            Some(first) if first.digest == entry.digest => duplicate(&entry, first.line),
            _ => first = Some(entry),
        };
        if self.spilled.is_none() {
            self.run.sort_unstable();
            self.run.drain(..).for_each(see);
            return Ok(());
        }
        self.spill()?;
        let Some(spilled) = self.spilled.take() else {
            return Ok(());
        };
        let mut file = spilled
            .file
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        let mut start = 0;
        let mut runs: Vec<_> = spilled
            .runs
            .iter()
            .map(|entries| {
                let run = Run {
                    next: start,
                    left: *entries,
                    buffer: Vec::new(),
                    at: 0,
                };
                start += entries * ENTRY_LEN as u64;
                run
            })
            .collect();
        let mut heap = BinaryHeap::with_capacity(runs.len());
        for (index, run) in runs.iter_mut().enumerate() {
            heap.extend(run.pop(&mut file)?.map(|entry| Reverse((entry, index))));
        }
        while let Some(Reverse((entry, index))) = heap.pop() {
            see(entry);
            heap.extend(
                runs[index]
                    .pop(&mut file)?
                    .map(|entry| Reverse((entry, index))),
            );
        }
        Ok(())
    }
}

/// A run that is being merged.
struct Run {
    /// Offset of what is not in the buffer yet.
    next: u64,
    /// Entries not in the buffer yet.
    left: u64,
    buffer: Vec<u8>,
    at: usize,
}

impl Run {
    fn pop(&mut self, file: &mut File) -> io::Result<Option<Entry>> {
        if self.at == self.buffer.len() {
            let entries = self.left.min(MERGE_READ as u64);
            if entries == 0 {
                return Ok(None);
            }
            self.left -= entries;
            self.at = 0;
            self.buffer.resize(
                usize::try_from(entries).unwrap_or(MERGE_READ) * ENTRY_LEN,
                0,
            );
            file.seek(SeekFrom::Start(self.next))?;
            file.read_exact(&mut self.buffer)?;
            self.next += self.buffer.len() as u64;
        }
        let entry = Entry::read(&self.buffer[self.at..]);
        self.at += ENTRY_LEN;
        Ok(entry)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn runs_on_disk_find_what_a_map_finds(
            digests in prop::collection::vec(0u128..40, 0..120), run_max in 1usize..40,
        ) {
            let mut keys = Keys { run_max, ..Keys::new(None) };
            let mut map = HashMap::new();
            let mut expected = Vec::new();
            for (row, digest) in (0u64..).zip(digests) {
                let line = row * 2 + 1;
                let entry = Entry { digest, row, line };
                keys.push(entry).unwrap();
                match map.get(&digest) {
                    Some(first) => expected.push((entry, *first)),
                    None => {
                        map.insert(digest, line);
                    }
                }
            }
            let mut found = Vec::new();
            keys.finish(|entry, first| found.push((*entry, first))).unwrap();
            found.sort_unstable_by_key(|(entry, _)| entry.row);
            prop_assert_eq!(found, expected);
        }
    }
}
