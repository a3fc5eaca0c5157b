//! The integration tests of the command line, and of the workspace as a whole, in one binary.
#![expect(
    clippy::unwrap_used,
    reason = "a test may fail by panicking, and so may what it calls"
)]

mod bad_input;
mod cancel;
mod damage;
mod endings;
mod help;
mod jobs;
mod kill;
mod over_http;
mod plan_schema;
mod purge;
mod reconcile;
mod reorder;
mod replay;
mod retry;
mod reuse;
mod sandbox;
mod secrets;
mod simulator;
mod tables;
mod tidy;
mod upstream_copies;
mod verify;
