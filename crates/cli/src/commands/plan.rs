//! `offpeak plan`: decides and explains; reads the input, writes and sends nothing.

use offpeak_core::plan::Evidence;
use offpeak_engine::history::recall;
use offpeak_engine::start::plan_only;
use offpeak_report::{PlanContext, plan_text};
use serde_json::json;

use super::jobs::existing_store;
use crate::args::PlanArgs;
use crate::error::{Exit, ExpectedError};
use crate::progress::Display;
use crate::settings::{self, Settings};

pub(crate) fn plan(args: &PlanArgs, settings: &Settings) -> Result<Exit, ExpectedError> {
    let (sim, printer) = (args.job.sim, settings.printer);
    let spec = settings::job_spec(&args.job)?;
    let book = settings.book_for(sim)?;
    let display = Display::new(printer, 0);
    let now = settings::now(sim);
    let evidence = match existing_store(settings, sim)? {
        Some(store) => recall(&store, &spec.name, now)?,
        None => Evidence::default(),
    };
    let planned = plan_only(&spec, &book, evidence, now, &display.report());
    display.clear();
    let (ingested, plan) = planned.map_err(|error| ExpectedError::engine(&error, false))?;
    let context = PlanContext {
        name: spec.name,
        invalid: ingested.invalid,
    };
    let invalid: Vec<String> = ingested
        .invalid_examples
        .iter()
        .map(ToString::to_string)
        .collect();
    for problem in &invalid {
        printer.note(&format!("not sent: {problem}"));
    }
    let answer = json!({
        "name": context.name,
        "rows": ingested.rows,
        "invalid": ingested.invalid,
        "invalid_examples": invalid,
        "input_bytes": ingested.input_bytes,
        "disk_bytes": ingested.disk_bytes,
        "budget_picousd": spec.budget,
        "plan": plan,
    });
    printer.answer(|width| plan_text(&plan, &context, width), &answer)?;
    Ok(Exit::Success)
}
