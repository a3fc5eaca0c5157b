//! Some rows of a job that stand for all: each row as probable as any other, spread over groups and sizes.
//!
//! Leaves out what is done with them (`count`, `probe`).

use crate::spool::{IndexEntry, IndexReader, SpoolDir, SpoolError};

/// Rows that a sample is chosen from, evenly by group and size, for each row of it.
const CANDIDATES: usize = 16;

/// The number of rows, and so many of them (or all, if there are no more), in the order of the
/// spool.
///
/// # Errors
///
/// When the index cannot be read.
pub(crate) fn choose(
    spool: &SpoolDir,
    wanted: usize,
    dice: &mut dyn FnMut() -> f64,
) -> Result<(u64, Vec<IndexEntry>), SpoolError> {
    let index = IndexReader::open(spool)?;
    let of = index.entries();
    let mut rows = if of <= wanted as u64 {
        index.collect::<Result<Vec<_>, _>>()?
    } else {
        spread(
            reservoir(index, wanted.saturating_mul(CANDIDATES), dice)?,
            wanted,
            dice,
        )
    };
    rows.sort_unstable_by_key(|entry| entry.at);
    Ok((of, rows))
}

/// So many entries of all, each as probable as any other (Vitter's algorithm R, 1985).
fn reservoir(
    index: IndexReader,
    size: usize,
    dice: &mut dyn FnMut() -> f64,
) -> Result<Vec<IndexEntry>, SpoolError> {
    let mut kept = Vec::new();
    for (number, entry) in index.enumerate() {
        let entry = entry?;
        if kept.len() < size {
            kept.push(entry);
            continue;
        }
        let place = below(number + 1, dice);
        if place < size {
            kept[place] = entry;
        }
    }
    Ok(kept)
}

/// So many of the candidates, evenly by group and size from a random start.
fn spread(
    mut candidates: Vec<IndexEntry>,
    wanted: usize,
    dice: &mut dyn FnMut() -> f64,
) -> Vec<IndexEntry> {
    candidates.sort_unstable_by_key(|entry| (entry.group, entry.request_len, entry.row));
    let all = candidates.len();
    let start = below(all, dice);
    let place = |k: usize| (start + k * all / wanted) % all;
    (0..wanted.min(all)).map(|k| candidates[place(k)]).collect()
}

fn below(limit: usize, dice: &mut dyn FnMut() -> f64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a number of rows fits a double"
    )]
    let place = (dice() * limit as f64) as usize;
    place.min(limit.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::spool::{IndexWriter, RowAt};

    fn entry(row: u64, group: u32) -> IndexEntry {
        IndexEntry {
            row,
            at: RowAt(row * 100),
            worst: 1,
            group,
            request_len: 50,
        }
    }

    proptest! {
        #[test]
        fn a_sample_has_each_row_once_and_every_large_group(
            rows in 1u64..3_000, wanted in 1usize..200, groups in 1u32..8, seed in any::<u64>(),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let spool = SpoolDir::new(dir.path().join("job"));
            spool.create().unwrap();
            let mut index = IndexWriter::create(&spool).unwrap();
            for row in 0..rows {
                index.push(&entry(row, u32::try_from(row).unwrap() % groups)).unwrap();
            }
            index.finish().unwrap();
            let mut state = seed;
            let mut dice = move || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 33) as f64 / (1u64 << 31) as f64
            };
            let (of, chosen) = choose(&spool, wanted, &mut dice).unwrap();
            prop_assert_eq!(of, rows);
            prop_assert_eq!(chosen.len() as u64, rows.min(wanted as u64));
            prop_assert!(chosen.windows(2).all(|pair| pair[0].row < pair[1].row));
            // Even by group: a group has its share, give or take what the candidates vary.
            if wanted >= 100 && rows > 1_000 {
                for group in 0..groups {
                    prop_assert!(chosen.iter().any(|entry| entry.group == group));
                }
            }
        }
    }
}
