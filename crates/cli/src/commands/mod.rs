//! The commands, and how one is chosen, run and ended. Each has a file of its own.

mod cancel;
mod doctor;
mod jobs;
mod plan;
mod prices;
mod purge;
mod reconcile;
mod replay;
mod run;
mod sim;
mod status;
mod verify;

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use offpeak_engine::disk::Disk;
use offpeak_store::Store;
use tokio::runtime::{Builder, Runtime};

use crate::args::{Arguments, Command};
use crate::env::Env;
use crate::error::{Exit, ExpectedError};
use crate::printer::Printer;
use crate::settings::Settings;

/// Runs the command that was typed, and says how it ended.
pub(crate) fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help goes to stdout and is no error. A terminal that is gone cannot be told.
            drop(error.print());
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Success
            };
            return ExitCode::from(exit.code());
        }
    };
    let Arguments { global, command } = arguments;
    let printer = Printer::new(global.json, global.quiet);
    report_panics(printer);
    let work = AssertUnwindSafe(|| {
        let settings = Settings::resolve(global, Env::read()?);
        dispatch(command, &settings)
    });
    let exit = match std::panic::catch_unwind(work) {
        Ok(Ok(exit)) => exit,
        Ok(Err(error)) => {
            printer.error(&error);
            error.exit()
        }
        Err(_) => Exit::Bug,
    };
    ExitCode::from(exit.code())
}

fn dispatch(command: Command, settings: &Settings) -> Result<Exit, ExpectedError> {
    match command {
        Command::Plan(args) => plan::plan(&args, settings),
        Command::Run(args) => run::run(*args, settings),
        Command::Jobs(args) => jobs::jobs(&args, settings),
        Command::Status(args) => status::status(&args, settings),
        Command::Cancel(args) => cancel::cancel(args, settings),
        Command::Verify(args) => verify::verify(&args, settings),
        Command::Reconcile(args) => reconcile::reconcile(args, settings),
        Command::Purge(args) => purge::purge(&args, settings),
        Command::Sim(args) => sim::sim(&args, settings),
        Command::Prices(args) => prices::prices(&args, settings),
        Command::Replay(args) => replay::replay(&args, settings),
        Command::Doctor(args) => doctor::doctor(args, settings),
    }
}

/// A panic is a bug, whoever caused it; users are told what to do with it.
fn report_panics(printer: Printer) {
    std::panic::set_hook(Box::new(move |panic| {
        printer.say(&format!(
            "error: this is a bug in offpeak: {panic}\n\nhint: what was paid for is kept; run the \
             same command again, and please report the text above"
        ));
    }));
}

/// Virtual time needs a single thread, on which file work is done in place. Real time has threads
/// for it, few enough that they do not multiply what each of them holds in memory.
fn runtime(paused: bool) -> Result<Runtime, ExpectedError> {
    let runtime = if paused {
        Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
    } else {
        let mut builder = Builder::new_multi_thread();
        builder
            .worker_threads(1)
            .max_blocking_threads(2)
            .enable_all()
            .build()
    };
    runtime.map_err(|error| {
        ExpectedError::because(Exit::Usage, &error).hint("the system is out of files or threads")
    })
}

/// The file of the job store.
fn store_file(data_dir: &Path) -> PathBuf {
    data_dir.join("jobs.db")
}

/// Opens the store, in a directory that only its owner can read: requests may be confidential.
pub(crate) fn open_store(data_dir: &Path) -> Result<Store, ExpectedError> {
    make_private(data_dir)?;
    Ok(Store::open(&store_file(data_dir))?)
}

fn make_private(dir: &Path) -> Result<(), ExpectedError> {
    Disk::default().make_dir(dir, true).map_err(|error| {
        ExpectedError::usage(format!("{}: cannot be made: {error}", dir.display()))
            .hint("name another data directory with `--data-dir DIR`")
    })
}
