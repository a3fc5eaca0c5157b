//! What survives a crash: one row per job and per shard, and the ledger. SQLite, in one file.
//!
//! Owns the schema, its migrations, and compare-and-set on the state of a shard. Leaves out policy
//! (the machine in `offpeak-core`) and requests (the spool in `offpeak-engine`): nothing here is
//! proportional to the number of rows of a job.

mod error;
mod job;
mod line;
mod observation;
mod open;
mod shard;
mod waste;

pub use error::StoreError;
pub use job::{JobRecord, JobState};
pub use observation::Observation;
pub use open::Store;
pub use shard::LedgerSums;
pub use waste::WastedBatch;
