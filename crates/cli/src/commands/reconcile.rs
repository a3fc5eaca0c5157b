//! `offpeak reconcile`: what jobs were billed by our books, beside the usage and cost reports of the
//! API.

use std::sync::Arc;

use offpeak_client::clock::{Clock, entropy};
use offpeak_client::{Auth, Client, Options};
use offpeak_core::reconcile::{Charge, Class, Compared, Money, Verdict, Window};
use offpeak_engine::disk::Disk;
use offpeak_engine::reconcile::{ReconcileError, Reconciliation, Scope, reconcile as compare};
use offpeak_engine::start::Engine;
use offpeak_report::{ReconcileView, reconcile_text};
use serde_json::{Value, json};

use crate::args::ReconcileArgs;
use crate::commands::jobs::{existing_store, job_named};
use crate::commands::runtime;
use crate::env::{self, Env};
use crate::error::{Exit, ExpectedError};
use crate::settings::{self, Settings};

pub(crate) fn reconcile(args: ReconcileArgs, settings: &Settings) -> Result<Exit, ExpectedError> {
    if args.sim {
        return Err(no_upstream_is_left());
    }
    args.api_key_ids
        .iter()
        .try_for_each(|id| check_key_id(id))?;
    let (store, scope, what) = match (&args.job, args.month) {
        (Some(job), _) => {
            let (store, record) = job_named(settings, false, job)?;
            let what = format!("{} (job {}), run {}", record.name, record.id, record.run);
            (store, Scope::Job(Box::new(record)), what)
        }
        (None, Some(month)) => {
            let (from, to) = month.edges();
            if from > settings::now(false) {
                return Err(ExpectedError::usage(format!("{month} has not begun yet"))
                    .hint("name a month that has: `--month YYYY-MM`"));
            }
            let store = existing_store(settings, false)?.ok_or_else(|| {
                ExpectedError::usage("there are no jobs in the data directory")
                    .hint("name the directory that they are in with `--data-dir DIR`")
            })?;
            (store, Scope::Days(Window { from, to }), month.to_string())
        }
        (None, None) => unreachable!("one of them must be given"),
    };
    let options = Options::default();
    let base_url = settings::base_url(args.base_url, &settings.env)?;
    let engine = Engine {
        store: Arc::new(store),
        client: Client::https(base_url, admin_key(&settings.env)?, options)?,
        admin: None,
        clock: Clock::system(),
        book: settings.book()?,
        data_dir: settings.data_dir(false)?,
        seed: entropy(),
        disk: Disk::default(),
    };
    let runtime = runtime(false)?;
    let found = runtime.block_on(compare(&engine, scope, args.api_key_ids));
    runtime.shutdown_background();
    let found = found.map_err(|error| match error {
        ReconcileError::Report(error) => {
            ExpectedError::because(Exit::Upstream, &error).hint(error.hint())
        }
        ReconcileError::Engine(error) => {
            ExpectedError::because(Exit::Usage, &error).hint(error.hint())
        }
    })?;
    let exit = match found.comparison.verdict {
        Verdict::Defect => Exit::Bug,
        Verdict::Agrees | Verdict::Explained | Verdict::OtherTraffic | Verdict::NotYet => {
            Exit::Success
        }
    };
    let answer = json(&what, &found);
    let view = view(what, found);
    settings
        .printer
        .answer(|width| reconcile_text(&view, width), &answer)?;
    Ok(exit)
}

/// What is wrong with an id is not quoted: it may be a key.
fn check_key_id(id: &str) -> Result<(), ExpectedError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !id.is_empty() && !id.starts_with("sk-") && id.bytes().all(fits) {
        return Ok(());
    }
    Err(
        ExpectedError::usage("what `--api-key-id` was given is not the id of a key").hint(
            "it looks like `apikey_01Rj2N8S…`, and the Claude Console shows it beside the key's name; the \
             key itself is not asked for",
        ),
    )
}

fn no_upstream_is_left() -> ExpectedError {
    ExpectedError::usage(
        "the upstream of a simulated job is gone when its run ends, and its reports with it",
    )
    .hint(format!(
        "serve one that stays with `offpeak sim --state FILE`, run the job against it with \
         `--base-url URL`, and reconcile with `--base-url URL` and {}=sk-ant-admin-simulated; \
         `offpeak verify JOB --sim` proves a simulated job without its upstream",
        env::ADMIN_KEY
    ))
}

fn admin_key(env: &Env) -> Result<Auth, ExpectedError> {
    match &env.admin_key {
        Some(key) => Ok(Auth::ApiKey(key.clone())),
        None => Err(ExpectedError::usage("there is no admin key").hint(format!(
            "export {}=sk-ant-admin…: the reports take no other; an organisation's administrator makes \
             one in the Claude Console, individual accounts have none",
            env::ADMIN_KEY
        ))),
    }
}

fn view(what: String, found: Reconciliation) -> ReconcileView {
    ReconcileView {
        what,
        jobs: u64::try_from(found.jobs.len()).unwrap_or(u64::MAX),
        comparison: found.comparison,
    }
}

fn json(what: &str, found: &Reconciliation) -> Value {
    let compared = &found.comparison;
    let span =
        |window: Window| json!({ "from": window.from.to_string(), "to": window.to.to_string() });
    let jobs = found
        .jobs
        .iter()
        .map(|job| json!({ "job": job.id, "name": job.name, "run": job.run }));
    let days_off = compared.days_off.iter().map(|(day, lines)| {
        json!({ "day": day.day(), "money": Vec::from_iter(lines.iter().map(money)) })
    });
    json!({
        "what": what,
        "verdict": compared.verdict,
        "ok": compared.verdict != Verdict::Defect,
        "asked_at": compared.asked_at.to_string(),
        "complete_from": compared.complete_from.map(|at| at.to_string()),
        "clock_ahead_seconds": found.ahead.as_secs_f64(),
        "window": span(compared.window),
        "days": span(compared.days),
        "jobs": Vec::from_iter(jobs),
        "answers": compared.answers,
        "tokens": Vec::from_iter(compared.tokens.iter().map(tokens)),
        "money": compared.money.as_ref().map(|lines| Vec::from_iter(lines.iter().map(money))),
        "days_off": Vec::from_iter(days_off),
        "may_have_been_billed_picousd": compared.allowed,
        "unread": compared.unread,
    })
}

fn tokens(line: &Compared) -> Value {
    let classes = Class::ALL.into_iter().map(|class| {
        let name = json!(class).as_str().unwrap_or_default().to_owned();
        let figures = json!({
            "ours": line.ours.get(class),
            "at_the_edge": line.perhaps.get(class),
            "upstream": line.upstream.get(class),
            // A number that may be negative, and is far from what JSON readers can't hold.
            "residual": i64::try_from(line.residual(class)).unwrap_or(i64::MAX),
        });
        (name, figures)
    });
    json!({
        "model": line.cell.model,
        "service_tier": line.cell.tier,
        "classes": Value::Object(classes.collect()),
        "finding": line.finding,
    })
}

fn money(line: &Money) -> Value {
    let (model, tier, fee) = match &line.charge {
        Charge::Tokens(cell) => (Some(&cell.model), Some(&cell.tier), None),
        Charge::Fee(name) => (None, None, Some(name)),
    };
    json!({
        "model": model,
        "service_tier": tier,
        "fee": fee,
        "ours_picousd": line.ours,
        "at_the_edge_picousd": line.perhaps,
        "upstream_picousd": line.upstream.amount,
        "rounding_picousd": line.upstream.rounding,
        "residual_picousd": line.residual(),
        "finding": line.finding,
    })
}
