//! `offpeak verify`: proves a finished job again, from what was sent and received.

use std::fmt::Write as _;

use offpeak_engine::purge::Purged;
use offpeak_engine::verify::{Verdict, verify as prove};
use offpeak_store::{JobRecord, JobState};
use serde_json::json;

use crate::args::VerifyArgs;
use crate::commands::jobs::{job_named, spool_of};
use crate::error::{Exit, ExpectedError};
use crate::settings::Settings;

pub(crate) fn verify(args: &VerifyArgs, settings: &Settings) -> Result<Exit, ExpectedError> {
    let (store, record) = job_named(settings, args.sim, &args.job)?;
    if record.state != JobState::Finished {
        let name = &record.name;
        let message = format!("job `{name}` is not finished, so there is nothing to prove yet");
        return Err(ExpectedError::usage(message)
            .hint(format!("`offpeak status {name}` shows where it stands")));
    }
    let spool = spool_of(&record, settings, args.sim)?;
    let book = settings.book_for(args.sim)?;
    let verdict = prove(&store, &record, &spool, &book)
        .map_err(|error| ExpectedError::because(Exit::Bug, &error).hint(error.hint()))?;
    let doubts: Vec<_> = verdict
        .doubts
        .iter()
        .map(|doubt| json!({ "doubt": doubt.to_string(), "hint": doubt.hint() }))
        .collect();
    let answer = json!({
        "job": record.id,
        "name": record.name,
        "run": record.run,
        "proved": verdict.proved,
        "ok": doubts.is_empty(),
        "purged_at": verdict.purged.as_ref().map(|purged| &purged.at),
        "doubts": doubts,
    });
    settings
        .printer
        .answer(|_| text(&record, &verdict), &answer)?;
    Ok(if verdict.doubts.is_empty() {
        Exit::Success
    } else {
        Exit::Bug
    })
}

/// Of a job that was purged: what is still proved, and what no longer can be.
fn purged_text(verdict: &Verdict, purged: &Purged) -> String {
    let (lines, cost) = (verdict.proved.lines, verdict.proved.cost.to_decimal());
    let cost = format!("${cost}");
    format!(
        "Its requests and answers were purged on {}.\n\n\
         {lines:>12}  lines of the output are those that were written\n\
         {cost:>12}  is the sum of its shards, of the manifest and of the ledger\n",
        purged.at
    )
}

/// Said only of jobs that have such rows.
const REUSED: &str = "rows were not sent, and show the answer to the same request";

fn text(record: &JobRecord, verdict: &Verdict) -> String {
    let proved = &verdict.proved;
    let mut text = format!(
        "{} (job {}), run {}\n\n",
        record.name, record.id, record.run
    );
    if let Some(purged) = &verdict.purged {
        text.push_str(&purged_text(verdict, purged));
        text.push_str(if verdict.doubts.is_empty() {
            "\nThat is all that can be proved without them; it is proved.\n"
        } else {
            "\nNot proved:\n"
        });
        push_doubts(&mut text, verdict);
        return text;
    }
    for (number, what) in [
        (
            proved.requests,
            "requests are those that were read from the input",
        ),
        (proved.reused, REUSED),
        (
            proved.lines,
            "lines of the output were made again, and are the same",
        ),
        (
            proved.answers,
            "answers were priced again from the usage that they report",
        ),
    ] {
        if number > 0 || what != REUSED {
            let _ = writeln!(text, "{number:>12}  {what}");
        }
    }
    let cost = format!("${}", proved.cost.to_decimal());
    if verdict.doubts.is_empty() {
        let _ = writeln!(
            text,
            "{cost:>12}  is their sum, that of the manifest and that of the ledger\n\nEverything is proved."
        );
        return text;
    }
    let _ = writeln!(text, "{cost:>12}  is their sum\n\nNot proved:");
    push_doubts(&mut text, verdict);
    text
}

fn push_doubts(text: &mut String, verdict: &Verdict) {
    for doubt in &verdict.doubts {
        let _ = writeln!(text, "- {doubt}\n  hint: {}", doubt.hint());
    }
}
