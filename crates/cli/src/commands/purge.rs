//! `offpeak purge`: removes the requests and answers of jobs that have come to their end, at once or as
//! their `keep` says. Store, ledger and manifests stay.

use offpeak_core::units::{Span, Timestamp};
use offpeak_engine::error::EngineError;
use offpeak_engine::facts::JobFacts;
use offpeak_engine::lock::LockError;
use offpeak_engine::purge::{Content, content, purge as remove, purge_held};
use offpeak_engine::start::Job;
use offpeak_report::{PurgeLine, purge_text};
use offpeak_store::{JobRecord, JobState};
use serde_json::json;

use crate::args::PurgeArgs;
use crate::commands::jobs::{existing_store, job_named, spool_of};
use crate::confirm::agree;
use crate::error::{Exit, ExpectedError};
use crate::printer::Printer;
use crate::settings::{self, Settings};

/// A job whose files may go.
struct Due {
    record: JobRecord,
    content: Content,
}

pub(crate) fn purge(args: &PurgeArgs, settings: &Settings) -> Result<Exit, ExpectedError> {
    let now = settings::now(args.sim);
    let due = due(args, settings, now)?;
    let printer = settings.printer;
    let lines: Vec<_> = due.iter().map(line).collect();
    if !due.is_empty() && !args.yes {
        let question = "\nRemove these requests and answers for good? [y/N] ";
        if !agree(printer, |width| purge_text(&lines, width), question, HINT)? {
            printer.say("nothing was removed");
            return Ok(Exit::Usage);
        }
    }
    let (data_dir, book) = (settings.data_dir(args.sim)?, settings.book_for(args.sim)?);
    let store = existing_store(settings, args.sim)?;
    let (mut purged, mut bytes) = (Vec::new(), 0);
    for (job, store) in due.iter().zip(store.iter().cycle()) {
        let removed = remove(store, &book, &data_dir, &job.record, now)
            .map_err(|error| ExpectedError::engine(&error, false))?;
        bytes += removed.bytes;
        purged.push(json!({
            "job": job.record.id,
            "name": job.record.name,
            "run": job.record.run,
            "files": removed.files,
            "bytes": removed.bytes,
        }));
    }
    let answer = json!({ "purged": purged, "freed_bytes": bytes });
    printer.answer(|width| purge_text(&lines, width), &answer)?;
    Ok(Exit::Success)
}

const HINT: &str = "add `--yes` to remove them without a question";

fn line(due: &Due) -> PurgeLine {
    PurgeLine {
        id: due.record.id.clone(),
        name: due.record.name.clone(),
        run: due.record.run,
        ended: due.record.finished_at.unwrap_or(due.record.created_at),
        files: due.content.files,
        bytes: due.content.bytes,
    }
}

/// The jobs that are meant and have something to purge.
fn due(args: &PurgeArgs, settings: &Settings, now: Timestamp) -> Result<Vec<Due>, ExpectedError> {
    let records = match &args.job {
        Some(job) => {
            let (store, record) = job_named(settings, args.sim, job)?;
            let of_name = record.name == *job;
            let mut records = vec![record];
            if of_name {
                records = store.jobs()?;
                records.retain(|record| record.name == *job);
            }
            if let Some(open) = records.iter().find(|r| r.state == JobState::Open) {
                let (name, run) = (open.name.clone(), open.run);
                let error = EngineError::Unfinished { name, run };
                return Err(ExpectedError::engine(&error, false));
            }
            records
        }
        None => match existing_store(settings, args.sim)? {
            Some(store) => store.jobs()?,
            None => Vec::new(),
        },
    };
    let mut due = Vec::new();
    for record in records {
        let spool = spool_of(&record, settings, args.sim)?;
        let is_due = match (&args.job, args.older_than) {
            (_, Some(span)) => has_ended_before(&record, span, now),
            (Some(_), None) => true,
            (None, None) => JobFacts::of(&record)?
                .limits
                .kept_for
                .is_some_and(|span| has_ended_before(&record, span, now)),
        };
        if is_due {
            let content = content(&spool).map_err(|error| ExpectedError::engine(&error, false))?;
            if content.files > 0 {
                due.push(Due { record, content });
            }
        }
    }
    Ok(due)
}

fn has_ended_before(record: &JobRecord, span: Span, now: Timestamp) -> bool {
    record.state != JobState::Open && record.finished_at.is_some_and(|at| at + span <= now)
}

/// Purges what was kept for as long as its job asks, after a run of `job`, which is held. What cannot be
/// removed now, as that of a job that another process has, is removed after a later run.
pub(crate) fn purge_due(job: &Job, now: Timestamp, printer: Printer) -> Result<(), ExpectedError> {
    let (store, book, data_dir) = job.place();
    for record in store.jobs()? {
        let kept_for = JobFacts::of(&record)?.limits.kept_for;
        let this = record.id == job.record.id;
        // Of this one the store was read before its end.
        let ended = record.finished_at.or_else(|| this.then_some(now));
        let is_over = kept_for
            .zip(ended)
            .is_some_and(|(span, at)| at + span <= now);
        if !is_over || record.state == JobState::Open {
            continue;
        }
        let removed = if record.name == job.record.name {
            purge_held(job, &record, now)
        } else {
            remove(store, book, data_dir, &record, now)
        };
        let name = &record.name;
        match removed {
            Ok(Content { files: 0, .. }) | Err(EngineError::Lock(LockError::Held { .. })) => {}
            Ok(_) if this => {
                printer.note("purged: requests and answers of this run, as it asks");
            }
            Ok(_) => printer.note(&format!(
                "purged: requests and answers of `{name}`, run {}, as it asks",
                record.run
            )),
            Err(error) => printer.say(&format!("`{name}` cannot be purged: {error}")),
        }
    }
    Ok(())
}
