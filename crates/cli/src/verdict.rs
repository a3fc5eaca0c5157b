//! What a run came to, in words and as an exit code: finished with a manifest, or stopped.
//!
//! Leaves out the tables (`offpeak-report`) and the counting (`offpeak-engine`).

use offpeak_core::job::Stop;
use offpeak_core::job::deletion::Deletions;
use offpeak_core::job::outcome::{OutcomeClass, Outcomes, Tally};
use offpeak_core::job::shard::JobId;
use offpeak_core::plan::Route;
use offpeak_core::units::{Span, Timestamp, Usd};
use offpeak_engine::facts::JobFacts;
use offpeak_engine::finish::Manifest;
use offpeak_engine::run::Upstream;
use offpeak_engine::spec::Need;
use offpeak_report::{ReusedRows, Summary};
use offpeak_wire::error::ErrorKind;

use crate::env;
use crate::error::{Exit, ExpectedError};

/// The exit code of a finished job.
pub(crate) fn exit(manifest: &Manifest) -> Exit {
    if !manifest.all_succeeded() {
        Exit::SomeFailed
    } else if manifest.after_deadline {
        Exit::Late
    } else {
        Exit::Success
    }
}

/// Whether the upstream's own bill says what the ledger says, up to calls whose answers were lost.
pub(crate) fn is_explained(manifest: &Manifest) -> bool {
    manifest.upstream_bill_picousd.is_none_or(|bill| {
        let residual = bill - manifest.cost_picousd - manifest.waste_picousd;
        residual >= Usd::ZERO && residual <= manifest.unknown_picousd
    })
}

/// A manifest as the table that people read.
pub(crate) fn summary(manifest: &Manifest, need: Need) -> Summary {
    let at = |text: &str| text.parse::<Timestamp>().unwrap_or(Timestamp::EPOCH);
    let duration = at(&manifest.finished_at) - at(&manifest.created_at);
    let spare = match need {
        Need::Within(span) => Some(span - duration),
        Need::Seconds | Need::Whenever => None,
    };
    Summary {
        name: manifest.name.clone(),
        job: job_id(&manifest.job),
        route: route(&manifest.route),
        rows: manifest.rows_in,
        tally: Tally {
            outcomes: outcomes(|class| manifest.count(class)),
            leftovers: 0,
            attempts: manifest.attempts,
            cost: manifest.cost_picousd,
            unknown: manifest.unknown_picousd,
            unknown_calls: manifest.unknown_calls,
            naive: manifest.naive_picousd,
            plain_batch: manifest.plain_batch_picousd,
            input_tokens: manifest.input_tokens,
            cache_read_tokens: manifest.cache_read_tokens,
            cache_write_tokens: manifest.cache_write_tokens,
            output_tokens: manifest.output_tokens,
            ..Tally::default()
        },
        reused: ReusedRows {
            identical: manifest.reused.identical.rows,
            earlier_runs: manifest.reused.earlier_runs.rows,
            saved: manifest.reused.saved(),
        },
        asked_again: manifest
            .asked_again
            .map(|again| (again.rows, again.max_tokens)),
        duration,
        spare,
        stopped: None,
        waste: (manifest.wasted.len() as u64, manifest.waste_picousd),
        upstream_bill: manifest.upstream_bill_picousd,
        examples: Vec::new(),
        output: Some(manifest.output.display().to_string()),
    }
}

/// Counts per class.
pub(crate) fn outcomes(of: impl Fn(OutcomeClass) -> u64) -> Outcomes {
    let counts = serde_json::json!(OutcomeClass::ALL.map(of));
    serde_json::from_value(counts).expect("outcomes are a list of counts in the order of `ALL`")
}

/// A route by the name that it is kept under.
pub(crate) fn route(name: &str) -> Route {
    let route = Route::ALL.into_iter().find(|route| route.as_str() == name);
    route.expect("routes are kept under their names")
}

fn job_id(text: &str) -> JobId {
    JobId::parse(text).expect("a manifest has the id of its job")
}

/// Why a run stopped, and what to do about it.
#[derive(Debug)]
pub(crate) struct Stopped {
    pub(crate) exit: Exit,
    /// A word for programs.
    pub(crate) reason: &'static str,
    /// For people; fits after "stopped after 5m: ".
    pub(crate) why: String,
    pub(crate) hint: String,
    /// Answers that alarmed.
    pub(crate) examples: Vec<String>,
}

impl Stopped {
    pub(crate) fn new(stop: &Stop, simulated: bool) -> Self {
        let (exit, reason) = match stop {
            Stop::Budget { .. } => (Exit::Budget, "budget"),
            Stop::SoftBudget { .. } => (Exit::Budget, "soft_budget"),
            Stop::Upstream { .. } => (Exit::Upstream, "upstream"),
            Stop::OtherAccount { .. } => (Exit::Upstream, "other_account"),
            Stop::SentOtherRows { .. } => (Exit::Upstream, "sent_other_rows"),
            Stop::NeverFits { .. } => (Exit::Upstream, "never_fits"),
            Stop::Unanswered { .. } => (Exit::Upstream, "unanswered"),
            Stop::Guard { .. } => (Exit::Interrupted, "guard"),
            Stop::Expired { .. } => (Exit::Interrupted, "expired"),
            Stop::Interrupted => (Exit::Interrupted, "interrupted"),
        };
        let examples = match stop {
            Stop::Guard { examples, .. } => examples.clone(),
            _ => Vec::new(),
        };
        let hint = match stop {
            Stop::Budget { .. } if simulated => {
                "raise the budget with `--budget USD`; a simulated run starts afresh: its upstream \
                 ended with it"
                    .to_owned()
            }
            Stop::SoftBudget { .. } if simulated => {
                "raise the line with `--soft-budget USD`; a simulated run starts afresh: its upstream \
                 ended with it"
                    .to_owned()
            }
            Stop::Interrupted if simulated => {
                "a simulated run starts afresh: its upstream ended with it".to_owned()
            }
            _ => hint(stop),
        };
        Self {
            exit,
            reason,
            why: why(stop),
            hint,
            examples,
        }
    }

    pub(crate) fn error(&self) -> ExpectedError {
        ExpectedError::new(self.exit, format!("stopped: {}", self.why)).hint(&self.hint)
    }
}

fn why(stop: &Stop) -> String {
    match stop {
        Stop::Budget { needed, left } => {
            format!("the next calls may cost {needed}, and {left} of the budget is left")
        }
        Stop::SoftBudget { line, spent } => format!(
            "{spent} was spent, and what comes next may well go beyond the soft line of {line}"
        ),
        Stop::Upstream { kind, message } => {
            format!("the API refuses ({}): {message}", kind.as_str())
        }
        Stop::OtherAccount {
            batches,
            theirs,
            ours,
        } => {
            let plural = if *batches == 1 { "batch" } else { "batches" };
            format!(
                "{batches} {plural} of this job may be in another account ({theirs}), and the key in use is \
                 of {ours}, which cannot see them"
            )
        }
        Stop::SentOtherRows { batch } => format!(
            "batch {batch} was made by this job when it sent other rows: `[reuse]` was set otherwise, or \
             answers of earlier runs were there that are gone"
        ),
        Stop::NeverFits { rows, limit } => format!(
            "a batch of {rows} rows can never be made: the queue of this account takes {limit} rows"
        ),
        Stop::Unanswered { calls } => format!(
            "{calls} calls were sent and none was answered; each may have been billed, and the most that it \
             can have cost is held as unknown"
        ),
        Stop::Guard { bad, of, .. } => {
            format!("{bad} of the first {of} answers are of no use, so the rest was not sent")
        }
        Stop::Expired { rows } => {
            format!("{rows} rows expired in two batches, and no deadline says what they are worth")
        }
        Stop::Interrupted => "interrupted".to_owned(),
    }
}

fn hint(stop: &Stop) -> String {
    const GOES_ON: &str = "the same command goes on from here";
    match stop {
        Stop::Budget { .. } => {
            format!("raise the budget with `--budget USD`; {GOES_ON}, and nothing is paid twice")
        }
        Stop::SoftBudget { .. } => {
            format!("raise the line with `--soft-budget USD`; {GOES_ON}, and nothing is paid twice")
        }
        Stop::Upstream { kind, .. } => format!("{}; then {GOES_ON}", remedy(*kind)),
        Stop::OtherAccount { .. } => format!(
            "give the key of that account in {}; or start anew in this one with `run --fresh`, which pays the \
             rows of those batches again",
            env::API_KEY
        ),
        Stop::SentOtherRows { .. } => "what was paid is found with `[reuse]` as it was then and a new \
             `--data-dir DIR`, or with the data directory of then put back; `--fresh` pays for it again"
            .to_owned(),
        Stop::NeverFits { rows, .. } => format!(
            "have the workspace's limit of enqueued batch requests raised to {rows} or more; then {GOES_ON}"
        ),
        Stop::Unanswered { .. } => format!(
            "see whether a proxy on the way ends calls before they are answered; then {GOES_ON}"
        ),
        Stop::Guard { .. } => "correct the prompt or `max_tokens` and start again with `--fresh`, \
                               or send the rest as it is with `--past-guard`"
            .to_owned(),
        Stop::Expired { .. } => "send them one by one at the full price with `--expired-to-sync`, \
                                 or say when they are needed, like `--deadline 8h`"
            .to_owned(),
        Stop::Interrupted => GOES_ON.to_owned(),
    }
}

fn remedy(kind: ErrorKind) -> String {
    match kind {
        ErrorKind::Authentication => {
            format!("check {} (`offpeak doctor` tries it)", env::API_KEY)
        }
        ErrorKind::Permission => {
            "use a key whose workspace may use this model and its features".to_owned()
        }
        ErrorKind::Billing => "add credit in the Claude Console".to_owned(),
        ErrorKind::SpendLimit => {
            "raise the spend limit in the Claude Console, or wait for the next month".to_owned()
        }
        ErrorKind::OwnSpendLimit => {
            "raise the limit that you set for the organisation or the workspace in the \
             Claude Console"
                .to_owned()
        }
        ErrorKind::NotFound => "check the model and the base URL".to_owned(),
        ErrorKind::InvalidRequest | ErrorKind::RequestTooLarge => {
            "correct what the message names".to_owned()
        }
        ErrorKind::RateLimit
        | ErrorKind::Conflict
        | ErrorKind::Timeout
        | ErrorKind::Api
        | ErrorKind::Overloaded
        | ErrorKind::Unknown => "wait a while".to_owned(),
    }
}

/// What goes on without us, and will be billed.
pub(crate) fn left_upstream(left: &Upstream) -> String {
    let Upstream {
        batches,
        rows,
        worst,
    } = left;
    let plural = if *batches == 1 {
        "batch goes"
    } else {
        "batches go"
    };
    format!(
        "{batches} {plural} on upstream with {rows} rows and will be billed, {worst} at the most; \
         the same command fetches the answers, for 29 days"
    )
}

/// What was deleted upstream, if anything was.
pub(crate) fn deleted(deletions: &Deletions) -> Option<String> {
    let deleted = deletions.deleted;
    (deleted > 0).then(|| format!("deleted upstream: {}", batches(deleted)))
}

/// What was to be deleted upstream and is not, each with what to do about it.
pub(crate) fn not_deleted(deletions: &Deletions) -> Vec<String> {
    let mut lines = Vec::new();
    let (owed, missing, unproved) = (deletions.owed(), deletions.missing, deletions.unproved);
    if owed > 0 {
        let why = deletions.trouble.as_ref();
        let why = why.map_or_else(String::new, |why| format!(" ({why})"));
        lines.push(format!(
            "not deleted upstream: {}{why}; the same command tries again, and sends no row",
            batches(owed)
        ));
    }
    if unproved > 0 {
        lines.push(format!(
            "left upstream: {}, as some results could not be read; it is kept there until 29 days \
             after it was made, and can be deleted in the Claude Console",
            batches(unproved)
        ));
    }
    if missing > 0 {
        lines.push(format!(
            "not found upstream when they were to be deleted: {}; they were deleted before, or \
             another workspace's key made them; with that key the same command deletes them",
            batches(missing)
        ));
    }
    lines
}

/// The same as JSON.
pub(crate) fn deletions_json(deletions: &Deletions) -> serde_json::Value {
    serde_json::json!({
        "deleted": deletions.deleted,
        "not_found": deletions.missing,
        "there": deletions.there,
        "unreadable": deletions.unproved,
        "problem": deletions.trouble,
    })
}

fn batches(count: u64) -> String {
    let plural = if count == 1 { "batch" } else { "batches" };
    format!("{count} {plural}")
}

/// The summary of a run that stopped.
pub(crate) fn stopped_summary(
    stopped: &Stopped,
    job: &offpeak_engine::start::Job,
    tally: Tally,
    waste: (u64, Usd),
    now: Timestamp,
) -> Summary {
    let duration: Span = now - job.record.created_at;
    let spare = match job.settings.need {
        Need::Within(span) => Some(span - duration),
        Need::Seconds | Need::Whenever => None,
    };
    Summary {
        name: job.record.name.clone(),
        job: job.record.id.clone(),
        route: route(&job.facts.route),
        rows: job.facts.rows,
        tally: with_unsent(tally, &job.facts),
        reused: ReusedRows {
            identical: job.facts.shared,
            earlier_runs: job.facts.taken_over,
            // What the answers cost is added up when the output is written.
            saved: Usd::ZERO,
        },
        asked_again: job
            .facts
            .retry_truncated
            .map(|max_tokens| (job.facts.asked_again, max_tokens)),
        duration,
        spare,
        stopped: Some(stopped.why.clone()),
        waste,
        // The bill has calls in it whose shard is not settled.
        upstream_bill: None,
        examples: stopped.examples.clone(),
        output: None,
    }
}

/// The machine counts what it sent; invalid rows and those that an earlier run has answered have their
/// outcome from the start.
fn with_unsent(mut tally: Tally, facts: &JobFacts) -> Tally {
    let settled = tally.outcomes;
    let taken_over = |class| match &facts.taken_over_as {
        Some(outcomes) => outcomes.of(class),
        None if class == OutcomeClass::Succeeded => facts.taken_over,
        None => 0,
    };
    tally.outcomes = outcomes(|class| match class {
        OutcomeClass::Invalid => settled.of(class) + facts.invalid,
        class => settled.of(class) + taken_over(class),
    });
    tally
}
