//! The rows of a shard in memory: their references, in input order.
//!
//! Leaves out their requests, which stay in the spool.

use offpeak_core::job::shard::Shard;

use super::SettleError;
use crate::spool::{RefsReader, RowRef, SpoolDir};

/// The row references of a shard, by row.
pub(super) fn load_rows(spool: &SpoolDir, shard: &Shard) -> Result<Vec<RowRef>, SettleError> {
    let mut rows = RefsReader::open(spool, shard.rows)?.collect::<Result<Vec<_>, _>>()?;
    rows.sort_unstable_by_key(|row| row.row);
    Ok(rows)
}

/// The position of a row among the rows of a shard, which ascend.
pub(super) fn position_of(rows: &[RowRef], row: u64) -> Option<usize> {
    let first = rows.first()?.row;
    // Nearly every shard is an unbroken run of rows.
    let guess = usize::try_from(row.checked_sub(first)?).ok()?;
    match rows.get(guess) {
        Some(found) if found.row == row => Some(guess),
        _ => rows.binary_search_by_key(&row, |found| found.row).ok(),
    }
}
