//! The engine against the simulated upstream, over in-process connections and virtual time: the real
//! driver, the real store and spool, faults and crashes from a seed.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test that cannot go on says so by panicking"
)]

mod account;
mod cancel;
mod damage;
mod deletion;
#[path = "../dice/mod.rs"]
mod dice;
#[path = "../directory/mod.rs"]
mod directory;
mod evidence;
mod forest;
mod lab;
mod promises;
mod queue;
mod reconcile;
mod retry;
mod reuse;
mod scenarios;
mod traps;
mod waste;
