//! Finding duplicate keys among any number of rows in flat memory, by 128-bit digests of the keys.
//!
//! Leaves out what is done about duplicates (`duplicates`). Two different keys with one digest would need
//! some 2⁶⁴ rows.

use std::io;
use std::path::PathBuf;

use crate::sorted::Sorter;

/// Bytes of an entry that is sorted.
const ENTRY_LEN: usize = 32;

/// A row as far as its key is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) digest: u128,
    pub(super) row: u64,
    pub(super) line: u64,
}

impl Entry {
    fn encode(self) -> [u8; ENTRY_LEN] {
        let mut bytes = [0; ENTRY_LEN];
        bytes[..16].copy_from_slice(&self.digest.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.row.to_be_bytes());
        bytes[24..].copy_from_slice(&self.line.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8; ENTRY_LEN]) -> Self {
        let (halves, _) = bytes.as_chunks::<16>();
        let (words, _) = bytes.as_chunks::<8>();
        Self {
            digest: u128::from_be_bytes(halves[0]),
            row: u64::from_be_bytes(words[2]),
            line: u64::from_be_bytes(words[3]),
        }
    }
}

/// Gathers the keys of a job.
#[derive(Debug)]
pub(super) struct Keys(Sorter<ENTRY_LEN>);

impl Keys {
    /// Runs go to `dir`; `None` for the system's place for temporary files.
    pub(super) fn new(dir: Option<PathBuf>) -> Self {
        Self(Sorter::new(dir))
    }

    pub(super) fn push(&mut self, entry: Entry) -> io::Result<()> {
        self.0.push(entry.encode())
    }

    /// Calls `duplicate` with every row whose key an earlier row has, and with the line of the
    /// first such row.
    pub(super) fn finish(self, mut duplicate: impl FnMut(&Entry, u64)) -> io::Result<()> {
        let mut first: Option<Entry> = None;
        for entry in self.0.finish()?.iter()? {
            let entry = Entry::decode(&entry?);
            match first {
                Some(first) if first.digest == entry.digest => duplicate(&entry, first.line),
                _ => first = Some(entry),
            }
        }
        Ok(())
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
            let mut keys = Keys(Sorter::in_runs_of(run_max, None));
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
