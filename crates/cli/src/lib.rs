//! The command line of offpeak: arguments, settings, printing, exit codes.
//!
//! Leaves out everything that decides, sends or counts; the crates below it do that. It is a library
//! only so that the binary is a line.

mod args;
mod commands;
mod confirm;
mod connect;
mod env;
mod error;
mod jobfile;
mod printer;
mod progress;
mod settings;
mod simulated;
mod verdict;

use std::process::ExitCode;

/// Runs the command that was typed, and says how it ended.
#[must_use]
pub fn main() -> ExitCode {
    commands::main()
}
