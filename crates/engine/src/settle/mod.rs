//! Settling a shard: what the upstream answered, joined with the rows that asked. Every row ends,
//! priced, in an outcome segment; or it is left over for a later shard. Answers stay where they were
//! received, and the segment says where that is.
//!
//! Settling changes nothing but those two files, and writes the same bytes whenever it is done
//! again. Leaves out when to settle, what becomes of leftovers, and the ledger (the driver).

pub(crate) mod answer;
mod batch;
mod census;
mod error;
mod examples;
pub(crate) mod kept;
pub(crate) mod line;
mod lines;
mod observe;
pub(crate) mod priced;
mod results;
mod row;
mod rows;
pub(crate) mod segment;
mod sync;

use offpeak_core::job::shard::JobId;
use offpeak_core::price::Book;

use crate::spool::SpoolDir;

pub use batch::settle_batch;
pub use census::Census;
pub use error::SettleError;
pub use offpeak_core::job::event::{Leftovers, Settlement};
pub use results::{Results, read_results};
pub use sync::settle_sync;

/// What settling needs to know of the job.
#[derive(Debug, Clone, Copy)]
pub struct SettleContext<'a> {
    /// Where its rows are.
    pub spool: &'a SpoolDir,
    /// Its id, which every `custom_id` carries.
    pub job: &'a JobId,
    /// The prices.
    pub book: &'a Book,
    /// The models that its rows name by number.
    pub models: &'a [String],
    /// Its marked rows follow rows that were sent ahead of them.
    pub led: bool,
    /// The user gave the job up: nothing is tried again, so every row is final.
    pub canceled: bool,
}

/// More threads than this gain nothing: the disk gives no more.
const THREADS_MAX: usize = 4;

/// How many threads read results. Their number shows in nothing but the time.
fn threads() -> usize {
    std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(THREADS_MAX)
}

#[cfg(test)]
mod tests;
