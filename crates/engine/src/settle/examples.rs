//! A few failures of a settlement, each for another reason, to show what went wrong.
//!
//! Leaves out what a failure is (`row`).

use super::SettleError;
use super::rows::position_of;
use crate::spool::{RowRef, SpoolReader};

/// Examples of failures that a settlement shows.
const EXAMPLES_MAX: usize = 3;

/// Characters of a key or a reason within an example.
const EXAMPLE_CHARS: usize = 120;

/// The first rows that failed for reasons of their own: row and reason, by row. In which order they
/// are added does not matter.
#[derive(Debug, Default)]
pub(super) struct Examples(Vec<(u64, String)>);

impl Examples {
    pub(super) fn add(&mut self, row: u64, reason: &str) {
        match self.0.iter_mut().find(|(_, known)| known == reason) {
            Some((first, _)) => *first = row.min(*first),
            None => self.0.push((row, reason.to_owned())),
        }
        self.0.sort_unstable_by_key(|(row, _)| *row);
        self.0.truncate(EXAMPLES_MAX);
    }

    pub(super) fn extend(&mut self, others: &Self) {
        for (row, reason) in &others.0 {
            self.add(*row, reason);
        }
    }

    /// The examples in words; the keys are read from the spool.
    pub(super) fn texts(
        &self,
        rows: &[RowRef],
        spool: &mut SpoolReader,
    ) -> Result<Vec<String>, SettleError> {
        let text = |(row, reason): &(u64, String)| {
            let position = position_of(rows, *row).expect("only rows of the shard are added");
            let spooled = spool.read(rows[position].at)?;
            let key = key_text(spooled.key);
            Ok(format!("row {row} (key {key}): {}", short(reason)))
        };
        self.0.iter().map(text).collect()
    }
}

/// A raw key for people.
pub(super) fn key_text(key: &[u8]) -> String {
    short(&String::from_utf8_lossy(key)).to_owned()
}

fn short(text: &str) -> &str {
    text.char_indices()
        .nth(EXAMPLE_CHARS)
        .map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_of_each_reason_are_kept_in_any_order(
            reasons in prop::collection::vec("[a-e]", 0..12), shuffled in any::<u64>(),
        ) {
            let mut expected: Vec<(u64, String)> = Vec::new();
            for (row, reason) in (0..).zip(&reasons) {
                if expected.len() < EXAMPLES_MAX && expected.iter().all(|(_, known)| known != reason) {
                    expected.push((row, reason.clone()));
                }
            }
            let mut rows: Vec<_> = (0..).zip(&reasons).collect();
            rows.sort_by_key(|(row, _)| blake3::hash(format!("{shuffled}{row}").as_bytes()).to_hex());
            let mut halves = [Examples::default(), Examples::default()];
            for (row, reason) in rows {
                halves[usize::try_from(row % 2).unwrap()].add(row, reason);
            }
            let [mut all, others] = halves;
            all.extend(&others);
            prop_assert_eq!(all.0, expected);
        }
    }
}
