//! `offpeak plan`: decides and explains. It reads the input and sends nothing, unless rows are to be
//! counted; then they are put on the disk for as long as that takes.

use std::path::PathBuf;
use std::sync::Arc;

use offpeak_core::plan::{Evidence, Plan};
use offpeak_core::price::Book;
use offpeak_core::units::Usd;
use offpeak_engine::count::{Counting, Counts, plan_counted};
use offpeak_engine::fields::{compare, effect};
use offpeak_engine::history::recall;
use offpeak_engine::planned::{Planned, plan_only};
use offpeak_engine::reuse::{earlier_runs, effect as effect_of_reuse};
use offpeak_engine::spec::JobSpec;
use offpeak_report::{PlanContext, plan_text};
use serde_json::json;

use super::jobs::existing_store;
use super::runtime;
use crate::args::PlanArgs;
use crate::connect::Connection;
use crate::error::{Exit, ExpectedError};
use crate::printer::Printer;
use crate::progress::Display;
use crate::settings::{self, Settings, UpstreamSettings};

pub(crate) fn plan(args: &PlanArgs, settings: &Settings) -> Result<Exit, ExpectedError> {
    let (sim, printer) = (args.job.sim, settings.printer);
    let spec = settings::job_spec(&args.job)?;
    let book = settings.book_for(sim)?;
    let (planned, fields, counts) = match settings::counting(args.job.count) {
        None => {
            let now = settings::now(sim);
            let (evidence, earlier) = match existing_store(settings, sim)? {
                Some(store) => {
                    let jobs = settings.data_dir(sim)?.join("jobs");
                    let earlier = earlier_runs(&store, &jobs, &spec.name, &spec.betas)
                        .map_err(|error| ExpectedError::engine(&error, false))?;
                    (recall(&store, &spec.name, now)?, earlier)
                }
                None => (Evidence::default(), Vec::new()),
            };
            let display = Display::new(printer, 0);
            let report = display.report();
            let planned = plan_only(&spec, &book, &earlier, evidence.clone(), now, &report);
            let planned = planned.and_then(|planned| {
                let fields = compare(&spec, &planned, &book, &earlier, &evidence, now, &report)?;
                Ok((planned, fields))
            });
            display.clear();
            let (planned, fields) =
                planned.map_err(|error| ExpectedError::engine(&error, false))?;
            (planned, fields, None)
        }
        Some(how) => {
            let upstream = UpstreamSettings::of_plan(sim, &settings.env)?;
            let data_dir = settings.data_dir(sim)?;
            let counted = counted(upstream, data_dir, Arc::clone(&book), &spec, how, printer);
            let (planned, counts) = runtime(sim)?.block_on(Box::pin(counted))?;
            note_counts(&counts, printer);
            // Only one order was counted, so the two are not compared.
            let fields = effect(&planned.ingested, &Evidence::default(), &book);
            (planned, fields, Some(counts))
        }
    };
    let Planned {
        ingested,
        plan,
        warnings,
    } = planned;
    let context = PlanContext {
        name: spec.name,
        invalid: ingested.invalid,
        warnings,
        fields,
        delete_upstream: spec.delete_upstream,
        reuse: effect_of_reuse(&ingested, &plan),
    };
    let invalid: Vec<String> = ingested
        .invalid_examples
        .iter()
        .map(ToString::to_string)
        .collect();
    for problem in &invalid {
        printer.note(&format!("not sent: {problem}"));
    }
    note_soft_line(&plan, spec.soft_budget, printer);
    let answer = json!({
        "name": context.name,
        "rows": ingested.rows,
        "invalid": ingested.invalid,
        "invalid_examples": invalid,
        "input_bytes": ingested.input_bytes,
        "disk_bytes": ingested.disk_bytes,
        "budget_picousd": spec.budget,
        "soft_budget_picousd": spec.soft_budget,
        "counted_rows": counts.as_ref().map_or(0, |counts| counts.counted),
        "count_problem": counts.and_then(|counts| counts.problem).map(|why| why.to_string()),
        "plan": plan,
        "warnings": context.warnings,
        "fields": context.fields,
        "delete_upstream": spec.delete_upstream,
        "reuse": context.reuse,
    });
    printer.answer(|width| plan_text(&plan, &context, width), &answer)?;
    Ok(Exit::Success)
}

async fn counted(
    upstream: UpstreamSettings,
    data_dir: PathBuf,
    book: Arc<Book>,
    spec: &JobSpec,
    how: Counting,
    printer: Printer,
) -> Result<(Planned, Counts), ExpectedError> {
    let engine = Connection::open(upstream)?.engine(data_dir, book)?;
    let display = Display::new(printer, 0);
    let planned = plan_counted(&engine, spec, how, &display.report()).await;
    display.clear();
    planned.map_err(|error| ExpectedError::engine(&error, false))
}

/// Says so if the job is expected to stop at its soft line.
pub(crate) fn note_soft_line(plan: &Plan, line: Option<Usd>, printer: Printer) {
    let expected = plan.cost_of(plan.route).cost;
    if let (Some(line), Some(expected)) = (line, expected)
        && expected.mid > line.approx()
    {
        printer.note(&format!(
            "about {expected} is expected, above the soft line of {line}: the job will stop on the way"
        ));
    }
}

/// Says how many rows were counted, and why not more. A count that fails stops nothing.
pub(crate) fn note_counts(counts: &Counts, printer: Printer) {
    let Counts {
        counted,
        asked,
        of,
        problem,
        ..
    } = counts;
    printer.note(&match (counted == asked, asked == of) {
        (true, true) => format!("the tokens of all {of} rows were counted, for free"),
        (true, false) => format!("the tokens of {counted} of {of} rows were counted, for free"),
        (false, _) => format!("of {asked} rows to be counted, {counted} were"),
    });
    if let Some(problem) = problem {
        printer.note(&format!("{problem}; {}", problem.hint()));
    }
}
