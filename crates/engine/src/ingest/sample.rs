//! A few rows of the input, kept whole, for whoever looks at them before anything is paid.
//!
//! The rows with the least hashes of their numbers: the same input gives the same sample, from all over
//! it, in one pass and bounded memory. Leaves out what is looked for (`offpeak_core::plan::lint`).

use std::collections::BTreeMap;

/// Rows that are kept.
const ROWS: usize = 64;
/// Longer requests aren't kept.
const REQUEST_MAX: usize = 1 << 20;
/// Bytes of all that are kept.
const BYTES_MAX: usize = 16 << 20;

/// A row of the sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampledRow {
    /// The line of the input where it begins, from 1.
    pub line: u64,
    /// Its request, as it will be sent, unmarked by us.
    pub request: Vec<u8>,
}

/// The sample in the making, by hash and number.
#[derive(Debug, Default)]
pub(super) struct Sample {
    rows: BTreeMap<(u64, u64), SampledRow>,
    bytes: usize,
}

impl Sample {
    /// Keeps a row if it is its turn; `write` appends its request.
    pub(super) fn offer(
        &mut self,
        row: u64,
        line: u64,
        request_len: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let key = (hash(row), row);
        let full = self.rows.len() >= ROWS || self.bytes + request_len > BYTES_MAX;
        let worst = self.rows.last_key_value().map(|(worst, _)| *worst);
        if request_len > REQUEST_MAX || (full && worst.is_none_or(|worst| key > worst)) {
            return;
        }
        let mut request = Vec::with_capacity(request_len);
        write(&mut request);
        self.bytes += request.len();
        self.rows.insert(key, SampledRow { line, request });
        while self.rows.len() > ROWS || self.bytes > BYTES_MAX {
            let Some((_, last)) = self.rows.pop_last() else {
                return;
            };
            self.bytes -= last.request.len();
        }
    }

    /// The sample in input order.
    pub(super) fn finish(self) -> Vec<SampledRow> {
        let mut rows: Vec<SampledRow> = self.rows.into_values().collect();
        rows.sort_by_key(|row| row.line);
        rows
    }
}

/// SplitMix64's last step: neighbours get unrelated numbers.
pub(super) fn hash(row: u64) -> u64 {
    let mut x = row.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn it_is_bounded_repeatable_and_from_all_over(lens in prop::collection::vec(0usize..1_300_000, 0..60)) {
            let sample = || {
                let mut sample = Sample::default();
                for (row, len) in (0u64..).zip(&lens) {
                    sample.offer(row, row + 1, *len, |out| out.resize(*len, b'x'));
                    prop_assert!(sample.bytes <= BYTES_MAX && sample.rows.len() <= ROWS);
                }
                Ok(sample.finish())
            };
            let rows = sample()?;
            prop_assert_eq!(&rows, &sample()?);
            prop_assert!(rows.is_sorted_by_key(|row| row.line));
            let small = lens.iter().filter(|len| **len <= REQUEST_MAX).count();
            prop_assert!(rows.len() >= small.min(16));
        }
    }

    #[test]
    fn small_inputs_are_kept_whole_and_of_large_ones_a_spread() {
        let rows = |count: u64| {
            let mut sample = Sample::default();
            for row in 0..count {
                sample.offer(row, row, 1, |out| out.push(b'x'));
            }
            sample.finish()
        };
        assert_eq!(rows(10).len(), 10);
        let large = rows(100_000);
        assert_eq!(large.len(), ROWS);
        let late = large.iter().filter(|row| row.line > 50_000).count();
        assert!((16..48).contains(&late), "{late}");
    }
}
