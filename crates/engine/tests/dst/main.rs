//! The campaign: the real driver and machine, store and files, against the simulated upstream in virtual
//! time. A seed draws the jobs, the upstream's faults, the crashes and the clock; an auditor that knows
//! nothing of the engine compares what came out with the upstream's own bill. Every seed runs twice.
//!
//! `just dst 10000` runs more seeds; the tests run a bounded number. With `OFFPEAK_DST_SHOW=1` each seed
//! tells what it drew and which rows of batches were billed, and when.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking, and so may what it calls"
)]
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a campaign is told how long it is by the environment, and tells what it came to"
)]

mod audit;
mod campaign;
mod case;
mod course;
#[path = "../dice/mod.rs"]
mod dice;
#[path = "../directory/mod.rs"]
mod directory;
mod disk;
mod life;
mod mutants;
mod power;
mod power_cuts;
