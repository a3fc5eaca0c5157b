//! `offpeak run`: opens a job, asks before money is spent, runs it, and says what it came to.
//!
//! Leaves out the words of an ending (`verdict`) and everything that decides or sends
//! (`offpeak-engine`).

use std::path::PathBuf;
use std::sync::Arc;

use offpeak_client::clock::Clock;
use offpeak_core::job::deletion::Deletions;
use offpeak_core::job::outcome::{OutcomeClass, Tally};
use offpeak_core::job::shard::JobId;
use offpeak_core::plan::{Plan, ceiling};
use offpeak_core::price::{Book, Lane};
use offpeak_core::units::{Estimate, Span, Timestamp, Usd};
use offpeak_engine::deletion::delete_upstream;
use offpeak_engine::error::EngineError;
use offpeak_engine::finish::{Manifest, finish};
use offpeak_engine::mend::mend;
use offpeak_engine::output::write_output;
use offpeak_engine::purge::purged;
use offpeak_engine::reuse::effect as effect_of_reuse;
use offpeak_engine::run::{RunEnd, run as run_job};
use offpeak_engine::spec::{JobSpec, Need};
use offpeak_engine::start::{Engine, FreshJob, Job, Opened, open};
use offpeak_report::{PlanContext, plan_text, summary_text};
use offpeak_store::JobState;
use serde::Serialize;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::args::RunArgs;
use crate::commands::plan::{note_counts, note_soft_line};
use crate::commands::purge::purge_due;
use crate::commands::runtime;
use crate::confirm::confirm;
use crate::connect::Connection;
use crate::error::{Exit, ExpectedError};
use crate::printer::Printer;
use crate::progress::Display;
use crate::settings::{RunSettings, Settings};
use crate::simulated::Simulation;
use crate::verdict::{self, Stopped};

pub(crate) fn run(args: RunArgs, settings: &Settings) -> Result<Exit, ExpectedError> {
    let run = RunSettings::resolve(args, &settings.env)?;
    let sim = run.is_simulated();
    let book = settings.book_for(sim)?;
    let data_dir = settings.data_dir(sim)?;
    let runtime = runtime(sim)?;
    let result = runtime.block_on(Box::pin(drive(run, data_dir, book, settings.printer)));
    // Dropping it would wait for file work of a run that was interrupted; what is half done there
    // is what a crash leaves, and the next run knows how to take it.
    runtime.shutdown_background();
    result
}

async fn drive(
    run: RunSettings,
    data_dir: PathBuf,
    book: Arc<Book>,
    printer: Printer,
) -> Result<Exit, ExpectedError> {
    let RunSettings {
        spec,
        choice,
        upstream,
        probe,
        counting,
        yes,
    } = run;
    let connection = Connection::open(upstream)?;
    let engine = connection.engine(data_dir, book)?;
    let simulation = connection.simulation;
    if simulation.is_some() {
        note_interrupted_simulation(&engine, &spec, printer)?;
    }
    let display = Display::new(printer, 0);
    let opened = open(&engine, &spec, choice, display.report()).await;
    display.clear();
    let job = match opened.map_err(|error| ExpectedError::engine(&error, false))? {
        Opened::Finished(manifest, job) => {
            let why = match choice.retry_truncated {
                Some(max_tokens) => format!(
                    "no row of it was cut off at a `max_tokens` below {max_tokens}, so nothing was sent"
                ),
                None => "nothing was sent (`--fresh` runs it again)".to_owned(),
            };
            printer.note(&format!(
                "`{}` finished on {}; {why}",
                manifest.name, manifest.finished_at
            ));
            return finished_before(&engine, &spec, &manifest, &job, printer).await;
        }
        Opened::Unfinished(job) => {
            let (name, created) = (&job.record.name, job.record.created_at);
            printer.note(&format!(
                "going on with `{name}`, which was started on {created}"
            ));
            if let Need::Within(span) = job.settings.need {
                let late = Timestamp::from_micros(engine.clock.now()) - (created + span);
                if late > Span::ZERO {
                    printer.note(&format!(
                        "its deadline passed {late} ago; `--deadline` with a longer time, counted \
                         from its start, lets what is left wait for a batch"
                    ));
                }
            }
            *job
        }
        Opened::Fresh(mut fresh) => {
            if let Some(how) = counting {
                let counts = fresh.count(how, &display.report()).await;
                display.clear();
                let counts = counts.map_err(|error| ExpectedError::engine(&error, false))?;
                note_counts(&counts, printer);
            }
            if let Some(rows) = probe {
                fresh.probe(rows);
            }
            match begin(*fresh, &spec, yes, printer).await? {
                Some(job) => job,
                None => return Ok(Exit::Usage),
            }
        }
    };
    if simulation.is_some() {
        forget_earlier_simulations(&engine, &job)?;
    }
    carry_out(job, engine.clock, simulation.as_ref(), printer).await
}

/// Shows a new job's plan and makes the job, unless the user does not want it.
async fn begin(
    fresh: FreshJob,
    spec: &JobSpec,
    yes: bool,
    printer: Printer,
) -> Result<Option<Job>, ExpectedError> {
    let invalid = fresh.ingested.invalid;
    for problem in &fresh.ingested.invalid_examples {
        printer.note(&format!("not sent: {problem}"));
    }
    note_soft_line(&fresh.plan, spec.soft_budget, printer);
    let reuse = effect_of_reuse(&fresh.ingested, &fresh.plan);
    if yes {
        for warning in &fresh.warnings {
            printer.note(&format!("before you pay: {warning}"));
        }
        if let Some(effect) = fresh.fields() {
            printer.note(&effect.to_string());
        }
        for sentence in reuse.sentences() {
            printer.note(&sentence);
        }
        if fresh.plan.rows > 0 {
            printer.note(&in_a_line(&fresh.plan, spec));
        }
    } else {
        let context = PlanContext {
            name: spec.name.clone(),
            invalid,
            warnings: fresh.warnings.clone(),
            fields: fresh.fields(),
            delete_upstream: spec.delete_upstream,
            reuse,
        };
        let screen = |width| plan_text(&fresh.plan, &context, width);
        match confirm(printer, screen) {
            Ok(true) => {}
            refused => {
                fresh
                    .discard()
                    .map_err(|error| ExpectedError::engine(&error, false))?;
                refused?;
                printer.say("nothing was sent");
                return Ok(None);
            }
        }
    }
    let job = fresh.commit().await;
    job.map(Some)
        .map_err(|error| ExpectedError::engine(&error, false))
}

fn in_a_line(plan: &Plan, spec: &JobSpec) -> String {
    let worst = ceiling(plan.worst.max(plan.hedge_worst));
    let most = spec.budget.map_or(worst, |budget| budget.min(worst));
    let about = plan.cost_of(plan.route).cost;
    let about = about.map_or_else(String::new, |cost| format!(", about {cost}"));
    let deleted = if spec.delete_upstream && plan.route.lane() == Lane::Batch {
        "; batches are deleted upstream once their answers are here"
    } else {
        ""
    };
    format!("plan: {}{about}, at most {most}{deleted}", plan.route)
}

/// Runs a job to its end, or to where it has to stop: also because the user interrupts it, twice to stop
/// at once.
pub(crate) async fn carry_out(
    job: Job,
    clock: Clock,
    simulation: Option<&Simulation>,
    printer: Printer,
) -> Result<Exit, ExpectedError> {
    let interrupt = CancellationToken::new();
    tokio::select! {
        biased;
        ended = work_off(job, clock, simulation, &interrupt, printer) => ended,
        () = interrupted_twice(&interrupt, printer) => {
            Err(ExpectedError::new(Exit::Interrupted, "stopped at once, calls were under way")
                .hint("the same command goes on from here"))
        }
    }
}

async fn work_off(
    mut job: Job,
    clock: Clock,
    simulation: Option<&Simulation>,
    interrupt: &CancellationToken,
    printer: Printer,
) -> Result<Exit, ExpectedError> {
    let display = Display::new(printer, job.facts.rows);
    let mistake = |error| ExpectedError::engine(&error, true);
    let mut ended = run_job(&job, interrupt.clone(), display.report()).await;
    if job.is_probing() && matches!(ended, Ok(RunEnd::Done(_))) {
        job = job.plan_the_rest().await.map_err(mistake)?;
        display.clear();
        let about = job.facts.planned_usd_estimate;
        let about = Estimate {
            low: about,
            mid: about,
            high: about,
        };
        printer.note(&format!(
            "the probe is answered; plan of the whole: {}, about {about}",
            job.facts.variant
        ));
        ended = run_job(&job, interrupt.clone(), display.report()).await;
    }
    display.clear();
    let bill = simulation.map(Simulation::bill);
    match ended.map_err(mistake)? {
        RunEnd::Done(_) => {
            let manifest = finish(&job, bill).await.map_err(mistake)?;
            let deletions = delete_batches(&job, interrupt, printer).await?;
            purge_due(&job, Timestamp::from_micros(clock.now()), printer)?;
            show(&manifest, job.settings.need, deletions.as_ref(), printer)
        }
        RunEnd::Stopped {
            stop,
            tally,
            upstream,
        } => {
            let stopped = Stopped::new(&stop, simulation.is_some());
            let wasted = job.place().0.waste(&job.record.id)?;
            let waste = (
                wasted.len() as u64,
                wasted.iter().map(|batch| batch.cost).sum(),
            );
            let now = Timestamp::from_micros(clock.now());
            let summary = verdict::stopped_summary(&stopped, &job, tally.clone(), waste, now);
            printer.screen(|width| format!("\n{}", summary_text(&summary, width)));
            if printer.is_json() {
                printer.json(&stopped_json(&stopped, &job, &tally, waste.1))?;
            }
            if upstream.batches > 0 && simulation.is_none() {
                printer.say(&verdict::left_upstream(&upstream));
            }
            printer.screen(|_| "\n".to_owned());
            printer.say(stopped.error().to_string().trim_end());
            Ok(stopped.exit)
        }
    }
}

/// What a program is shown of a finished job.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    manifest: &'a Manifest,
    /// What became of the upstream's copies, if they were to be deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_copies: Option<serde_json::Value>,
}

/// The manifest: a table for people, JSON for programs, an exit code for scripts.
fn show(
    manifest: &Manifest,
    need: Need,
    deletions: Option<&Deletions>,
    printer: Printer,
) -> Result<Exit, ExpectedError> {
    let summary = verdict::summary(manifest, need);
    printer.screen(|width| format!("\n{}", summary_text(&summary, width)));
    if printer.is_json() {
        let upstream_copies = deletions.map(verdict::deletions_json);
        printer.json(&Shown {
            manifest,
            upstream_copies,
        })?;
    }
    if let Some(deletions) = deletions {
        if let Some(done) = verdict::deleted(deletions) {
            printer.note(&format!("\n{done}"));
        }
        for problem in verdict::not_deleted(deletions) {
            printer.say(&problem);
        }
    }
    let exit = verdict::exit(manifest);
    if exit == Exit::SomeFailed {
        printer.note(
            "\nhint: `status` and `error` of each line of the output say what became of its row",
        );
    }
    if manifest.count(OutcomeClass::Truncated) > 0 {
        printer.note(
            "hint: `--retry-truncated N` asks rows that were cut off again, with N for `max_tokens`, and pays \
             for nothing else again",
        );
    }
    if verdict::is_explained(manifest) {
        Ok(exit)
    } else {
        Err(
            ExpectedError::new(Exit::Bug, "the bill differs from the simulator's own")
                .hint("this is a bug in offpeak: please report it with the input and the options"),
        )
    }
}

fn stopped_json(stopped: &Stopped, job: &Job, tally: &Tally, waste: Usd) -> serde_json::Value {
    json!({
        "job": job.record.id,
        "name": job.record.name,
        "stopped": {
            "exit_code": stopped.exit.code(),
            "reason": stopped.reason,
            "message": stopped.why,
            "hint": stopped.hint,
            "examples": stopped.examples,
        },
        "rows": job.facts.rows,
        "done": job.facts.done(tally.outcomes.total()),
        "cost_picousd": tally.cost,
        "cost_usd": tally.cost.to_decimal(),
        "unknown_picousd": tally.unknown,
        "waste_picousd": waste,
    })
}

/// A job that has finished is paid for; nothing is sent again. Only its output is put back if it is
/// not there any more.
async fn finished_before(
    engine: &Engine,
    spec: &JobSpec,
    manifest: &Manifest,
    job: &Job,
    printer: Printer,
) -> Result<Exit, ExpectedError> {
    let id = JobId::parse(&manifest.job);
    if let Some(id) = id.filter(|_| !spec.output.exists()) {
        let note = purged(&engine.spool(&id));
        if let Some(note) = note.map_err(|error| ExpectedError::engine(&error, true))? {
            let (name, at) = (manifest.name.clone(), note.at);
            return Err(ExpectedError::engine(
                &EngineError::Purged { name, at },
                false,
            ));
        }
        let mended = mend(job).await;
        if mended.map_err(|error| ExpectedError::engine(&error, true))? > 0 {
            printer.note("answers that were lost on this disk were downloaded again, for free");
        }
        let written = write_output(&engine.spool(&id), manifest.rows_in, &spec.output, false);
        written.map_err(|error| ExpectedError::engine(&error.into(), true))?;
        printer.note(&format!(
            "its output was written again: {}",
            spec.output.display()
        ));
    }
    let deletions = delete_batches(job, &CancellationToken::new(), printer).await?;
    purge_due(job, Timestamp::from_micros(engine.clock.now()), printer)?;
    show(manifest, spec.need, deletions.as_ref(), printer)
}

/// Deletes what is still upstream of a finished job, if the job asks for it.
async fn delete_batches(
    job: &Job,
    interrupt: &CancellationToken,
    printer: Printer,
) -> Result<Option<Deletions>, ExpectedError> {
    let display = Display::new(printer, job.facts.rows);
    let deletions = delete_upstream(job, interrupt.clone(), display.report()).await;
    display.clear();
    deletions.map_err(|error| ExpectedError::engine(&error, true))
}

/// Comes back when the user has interrupted twice: once to stop in order, once to stop at once.
async fn interrupted_twice(interrupt: &CancellationToken, printer: Printer) {
    // One listener for both: a second interrupt that follows at once is not missed.
    let Ok(mut interrupts) = signal(SignalKind::interrupt()) else {
        // Without a handler the system's own ends the process, which is as safe as a crash.
        return std::future::pending().await;
    };
    interrupts.recv().await;
    interrupt.cancel();
    printer.say(
        "stopping: calls under way are awaited, what is upstream stays as it is; the same command goes \
         on from here (ctrl-c again stops at once)",
    );
    interrupts.recv().await;
}

fn note_interrupted_simulation(
    engine: &Engine,
    spec: &JobSpec,
    printer: Printer,
) -> Result<(), ExpectedError> {
    let latest = engine.store.latest_run(&spec.name)?;
    if latest.is_some_and(|record| record.state == JobState::Open) {
        printer.note(
            "the last simulated run of this job was interrupted, and its upstream ended with it: \
             this one starts afresh",
        );
    }
    Ok(())
}

/// Removes the requests and answers of earlier simulated runs: nothing goes on from them. The job's
/// lock is held, so none of them is running.
fn forget_earlier_simulations(engine: &Engine, job: &Job) -> Result<(), ExpectedError> {
    for record in engine.store.jobs()? {
        if record.name == job.record.name && record.id != job.record.id {
            // What cannot be removed costs space, and nothing else.
            drop(std::fs::remove_dir_all(engine.spool(&record.id).root()));
        }
    }
    Ok(())
}
