//! The benchmark of the replay harness: every workload at five price rows and twenty seeds, under
//! offpeak's own decision and the reference policies. Writes the tables of `docs/economics.md` and the
//! picture beside it.
//!
//! `cargo run --release -p offpeak-replay --example econ` (`--quick`: one price row, two seeds, nothing
//! is written). Leaves out the prose of the page, which is between its tables.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal"
)]

mod cases;
mod picture;
mod tables;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--quick"] => true,
        _ => {
            eprintln!("usage: econ [--quick]");
            return ExitCode::from(64);
        }
    };
    let results = cases::run(quick);
    let sections = tables::all(&results);
    if quick {
        for (_, text) in sections {
            println!("{text}\n");
        }
        return ExitCode::SUCCESS;
    }
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let page = docs.join("economics.md");
    let written = std::fs::read_to_string(&page).map(|prose| tables::filled_in(&prose, &sections));
    let written = written.and_then(|text| std::fs::write(&page, text));
    let written =
        written.and_then(|()| std::fs::write(docs.join("economics.svg"), picture::of(&results)));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", page.display());
            ExitCode::FAILURE
        }
    }
}
