//! `offpeak cancel`: gives an unfinished job up and ends it, so that nothing of it is left upstream.
//!
//! Leaves out how (`offpeak-engine`), and the words of an ending (`verdict`).

use std::path::PathBuf;
use std::sync::Arc;

use offpeak_core::job::cancel::Cancel;
use offpeak_core::job::shard::JobId;
use offpeak_core::price::Book;
use offpeak_engine::cancel::open_to_cancel;
use offpeak_engine::error::EngineError;
use offpeak_engine::output::OutputError;
use offpeak_store::JobState;

use crate::args::CancelArgs;
use crate::commands::jobs::job_named;
use crate::commands::run::carry_out;
use crate::commands::runtime;
use crate::connect::Connection;
use crate::error::{Exit, ExpectedError};
use crate::printer::Printer;
use crate::settings::{Settings, UpstreamSettings};

pub(crate) fn cancel(args: CancelArgs, settings: &Settings) -> Result<Exit, ExpectedError> {
    let (_, record) = job_named(settings, false, &args.job)?;
    let name = &record.name;
    match record.state {
        JobState::Open => {}
        JobState::Finished => {
            let message = format!("job `{name}` is finished, so there is nothing to cancel");
            return Err(ExpectedError::usage(message)
                .hint(format!("`offpeak status {name}` shows what it came to")));
        }
        JobState::Abandoned => {
            let message = format!("job `{name}` was given up for a later run of the same name");
            return Err(ExpectedError::usage(message).hint("`offpeak jobs` lists the runs"));
        }
    }
    let upstream = UpstreamSettings::api(args.base_url, &settings.env)?;
    let how = if args.keep_upstream {
        Cancel::Unsent
    } else {
        Cancel::Everything
    };
    let (book, data_dir) = (settings.book()?, settings.data_dir(false)?);
    let runtime = runtime(false)?;
    let work = drive(
        upstream,
        (record.id, how, args.output),
        data_dir,
        book,
        settings.printer,
    );
    let result = runtime.block_on(Box::pin(work));
    runtime.shutdown_background();
    result
}

async fn drive(
    upstream: UpstreamSettings,
    (job, how, output): (JobId, Cancel, Option<PathBuf>),
    data_dir: PathBuf,
    book: Arc<Book>,
    printer: Printer,
) -> Result<Exit, ExpectedError> {
    let engine = Connection::open(upstream)?.engine(data_dir, book)?;
    let job = open_to_cancel(&engine, &job, how, output).await;
    let job = job.map_err(|error| {
        let said = ExpectedError::engine(&error, false);
        match error {
            EngineError::Output(OutputError::Exists { .. }) => {
                said.hint("name another output with `-o`")
            }
            _ => said,
        }
    })?;
    let name = job.record.name.clone();
    printer.note(&match how {
        Cancel::Everything => format!(
            "cancelling `{name}`: its batches are stopped, and what they have finished is fetched, as it \
             is billed"
        ),
        Cancel::Unsent => format!(
            "cancelling `{name}`: nothing more is sent, and its batches are waited for"
        ),
    });
    let ended = carry_out(job, engine.clock, None, printer).await?;
    // Rows without an answer are what was asked for.
    Ok(match ended {
        Exit::SomeFailed => Exit::Success,
        other => other,
    })
}
