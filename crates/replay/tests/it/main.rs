//! The integration tests of replays, in one binary: workloads against their optima worked out by hand,
//! and the laws that every replay keeps.
#![expect(
    clippy::unwrap_used,
    reason = "a test may fail by panicking, and so may what it calls"
)]

mod laws;
mod optima;
mod played;
mod pressure;
mod talk;
