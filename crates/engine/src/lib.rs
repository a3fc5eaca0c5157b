//! The driver of a bulk job: event, step, commit, act.
//!
//! The writes of a step are durable before any of its acts begins: it is the only order in which a
//! crash cannot spend money twice. Owns reading input, the spool, the way upstream and back, recovery
//! and output. Leaves out every decision: those are in `offpeak-core`.

mod act;
mod answers;
mod behind;
mod blocking;
pub mod books;
pub mod cancel;
pub mod count;
pub mod cut;
pub mod deletion;
pub mod disk;
pub mod error;
pub mod facts;
pub mod fields;
pub mod finish;
pub mod history;
mod identity;
pub mod ingest;
pub mod journal;
mod journal_writer;
pub mod lint;
pub mod lock;
mod marks;
pub mod mend;
pub mod output;
pub mod planned;
pub mod probe;
pub mod progress;
pub mod purge;
pub mod reconcile;
pub mod recover;
pub mod reports;
pub mod reuse;
pub mod run;
mod sample;
pub mod settle;
mod sorted;
pub mod spec;
pub mod spool;
pub mod start;
mod sync_call;
mod transfer;
mod upstream;
pub mod verify;
mod weigh;
