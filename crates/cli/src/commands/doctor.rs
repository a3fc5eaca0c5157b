//! `offpeak doctor`: checks the set-up, part by part, and says what to fix. The API is asked only if
//! there is a key, by a call that costs nothing.

use std::fs::OpenOptions;
use std::path::Path;
use std::time::Duration;

use offpeak_client::{Answer, Auth, Call, Client, Options, SecretString};
use offpeak_core::price::Book;
use offpeak_core::units::{Span, Timestamp};
use offpeak_store::Store;
use offpeak_wire::error::ErrorBody;
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::json;

use crate::args::DoctorArgs;
use crate::commands::{make_private, runtime, store_file};
use crate::env;
use crate::error::{Exit, ExpectedError};
use crate::settings::{self, Settings};

/// Less free space than this is worth a warning, in bytes: a day of the largest batches.
const SPACE_MIN: u64 = 2_000_000_000;
/// Prices change several times a year.
const BOOK_MAX_AGE: Span = Span::from_secs(90 * 86_400);
/// No price book is so old; a clock that says so is wrong.
const CLOCK_MAX_AHEAD: Span = Span::from_secs(5 * 365 * 86_400);
/// Two clocks that differ by more than this are not both right.
const SKEW_MAX: Span = Span::from_secs(60);
/// How long to wait for the API.
const PATIENCE: Duration = Duration::from_secs(15);
/// Most bytes of an answer that are read.
const ANSWER_MAX: usize = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Ok,
    Warn,
    Fail,
}

/// One part of the set-up.
#[derive(Debug, Serialize)]
struct Check {
    part: &'static str,
    health: Health,
    found: String,
    fix: Option<String>,
}

impl Check {
    fn new(part: &'static str, health: Health, found: impl Into<String>) -> Self {
        Self {
            part,
            health,
            found: found.into(),
            fix: None,
        }
    }

    fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

pub(crate) fn doctor(args: DoctorArgs, settings: &Settings) -> Result<Exit, ExpectedError> {
    let now = settings::now(false);
    let mut checks = vec![data_dir(settings)];
    checks.extend(store(settings));
    checks.extend([clock(now), prices(settings, now), key(settings)]);
    checks.extend(api(args, settings, now)?);
    let sick = checks.iter().any(|check| check.health == Health::Fail);
    let answer = json!({ "ok": !sick, "checks": checks });
    settings
        .printer
        .answer(|_| checks.iter().map(text).collect(), &answer)?;
    Ok(if sick { Exit::Usage } else { Exit::Success })
}

fn text(check: &Check) -> String {
    let health = match check.health {
        Health::Ok => "ok",
        Health::Warn => "warn",
        Health::Fail => "FAIL",
    };
    let mut text = format!("{health:<5} {:<15} {}\n", check.part, check.found);
    if let Some(fix) = &check.fix {
        text.push_str(&format!("{:21} hint: {fix}\n", ""));
    }
    text
}

fn data_dir(settings: &Settings) -> Check {
    const PART: &str = "data directory";
    let fail = |error: &ExpectedError| {
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        Check::new(PART, Health::Fail, line.trim_start_matches("error: ")).fix(format!(
            "name another with `--data-dir DIR` or {}",
            env::DATA_DIR
        ))
    };
    let dir = match settings.data_dir(false) {
        Ok(dir) => dir,
        Err(error) => return fail(&error),
    };
    if let Err(error) = make_private(&dir).and_then(|()| try_writing(&dir)) {
        return fail(&error);
    }
    let Ok(space) = rustix::fs::statvfs(&dir) else {
        let found = format!(
            "{} can be written; its free space is unknown",
            dir.display()
        );
        return Check::new(PART, Health::Warn, found);
    };
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let found = format!(
        "{} can be written, {} GB free",
        dir.display(),
        free / 1_000_000_000
    );
    if free < SPACE_MIN {
        let fix = "free some space: a job keeps its requests and answers there";
        return Check::new(PART, Health::Warn, found).fix(fix);
    }
    Check::new(PART, Health::Ok, found)
}

/// Every page of the store, if there is one.
fn store(settings: &Settings) -> Option<Check> {
    const PART: &str = "job store";
    let dir = settings.data_dir(false).ok()?;
    let file = store_file(&dir);
    if !file.exists() {
        return None;
    }
    let checked = Store::open(&file).and_then(|store| {
        store.check()?;
        Ok(store.jobs()?.len())
    });
    Some(match checked {
        Ok(jobs) => Check::new(PART, Health::Ok, format!("is whole, {jobs} runs of jobs")),
        Err(error) if error.is_damage() => Check::new(PART, Health::Fail, error.to_string()).fix(format!(
            "put {} back from a backup. Without one: move {} away as it is (its `jobs` have every request and \
             answer received so far) and give the same command again. It looks upstream for the batches that \
             carry the job's mark, for 29 days, and pays only for rows that are in none; calls made one by \
             one are paid again, and so is what was deleted upstream. The ledger is lost with the store",
            file.display(),
            dir.display(),
        )),
        Err(error) => Check::new(PART, Health::Fail, error.to_string()).fix(error.hint()),
    })
}

fn try_writing(dir: &Path) -> Result<(), ExpectedError> {
    let path = dir.join(format!(".doctor-{}", std::process::id()));
    let written = OpenOptions::new().write(true).create_new(true).open(&path);
    let removed = written.and_then(|_| std::fs::remove_file(&path));
    removed.map_err(|error| {
        ExpectedError::usage(format!("{} cannot be written: {error}", dir.display()))
    })
}

/// The built-in prices are from a day that has passed.
fn clock(now: Timestamp) -> Check {
    let built = day(Book::embedded().as_of());
    if now < built || now - built > CLOCK_MAX_AHEAD {
        return Check::new(
            "clock",
            Health::Fail,
            format!("says {now}, which cannot be"),
        )
        .fix("set the system's clock: prices and deadlines depend on it");
    }
    Check::new("clock", Health::Ok, format!("says {now}"))
}

fn prices(settings: &Settings, now: Timestamp) -> Check {
    const PART: &str = "price book";
    let book = match settings.book() {
        Ok(book) => book,
        Err(error) => {
            let text = error.to_string();
            let text = text
                .lines()
                .next()
                .unwrap_or_default()
                .trim_start_matches("error: ");
            return Check::new(PART, Health::Fail, text).fix(format!(
                "correct it, or leave `--price-book` and {} out",
                env::PRICE_BOOK
            ));
        }
    };
    let found = format!("of {}, {} models", book.as_of(), book.models().count());
    if now - day(book.as_of()) > BOOK_MAX_AGE {
        let fix = "update offpeak, or lay current prices over it with `--price-book FILE`";
        return Check::new(PART, Health::Warn, found).fix(fix);
    }
    Check::new(PART, Health::Ok, found)
}

fn day(text: &str) -> Timestamp {
    Timestamp::of_day(text).expect("a book that was read has a day")
}

/// The shape of the key, never the key.
fn key(settings: &Settings) -> Check {
    const PART: &str = "API key";
    let Some(key) = &settings.env.api_key else {
        return Check::new(PART, Health::Warn, format!("{} is not set", env::API_KEY)).fix(
            format!("export {}=sk-ant-…; `--sim` needs none", env::API_KEY),
        );
    };
    match shape(key) {
        Shape::Usual => Check::new(PART, Health::Ok, format!("{} is set", env::API_KEY)),
        Shape::Unusual => Check::new(
            PART,
            Health::Warn,
            "does not begin with `sk-ant-`, as keys of the API do",
        )
        .fix("fine for a gateway that gives out keys of its own; else copy it again"),
        Shape::Wrong(why) => Check::new(PART, Health::Fail, why)
            .fix("copy it again from the Claude Console, as one line"),
    }
}

enum Shape {
    Usual,
    Unusual,
    Wrong(String),
}

fn shape(key: &SecretString) -> Shape {
    // A client is not made with a key that cannot travel; what it says never quotes the key.
    let base = offpeak_client::BaseUrl::anthropic();
    match Client::https(base, Auth::ApiKey(key.clone()), Options::default()) {
        Err(error) => Shape::Wrong(error.to_string()),
        Ok(_) if key.expose_secret().starts_with("sk-ant-") => Shape::Usual,
        Ok(_) => Shape::Unusual,
    }
}

/// One listing of batches: it is free, and says whether address, key and clock are right.
fn api(args: DoctorArgs, settings: &Settings, now: Timestamp) -> Result<Vec<Check>, ExpectedError> {
    const PART: &str = "API";
    let Some(key) = settings.env.api_key.clone() else {
        return Ok(Vec::new());
    };
    let client = settings::base_url(args.base_url, &settings.env).and_then(|base| {
        let options = Options {
            connect_timeout: PATIENCE,
            head_timeout: PATIENCE,
            ..Options::default()
        };
        Ok(Client::https(base, Auth::ApiKey(key), options)?)
    });
    let client = match client {
        Ok(client) => client,
        Err(error) => {
            let text = error.to_string();
            let text = text
                .lines()
                .next()
                .unwrap_or_default()
                .trim_start_matches("error: ");
            return Ok(vec![Check::new(PART, Health::Fail, text)]);
        }
    };
    let runtime = runtime(false)?;
    let checks = runtime.block_on(async {
        match client.send(Call::get("/v1/messages/batches?limit=1")).await {
            Ok(answer) => judged(answer, now).await,
            Err(error) => {
                let chain = ExpectedError::because(Exit::Upstream, &error).to_string();
                let found = chain
                    .trim_start_matches("error: ")
                    .trim_end()
                    .replace('\n', ";");
                let fix = format!("check the network, and {} if it is set", env::BASE_URL);
                vec![Check::new(PART, Health::Fail, format!("cannot be reached: {found}")).fix(fix)]
            }
        }
    });
    runtime.shutdown_background();
    Ok(checks)
}

async fn judged(answer: Answer, now: Timestamp) -> Vec<Check> {
    const PART: &str = "API";
    let mut checks = Vec::new();
    if let Some(server) = answer.server_date_micros().map(Timestamp::from_micros) {
        let (ahead, behind) = (now - server, server - now);
        if ahead.max(behind) > SKEW_MAX {
            let found = if ahead > behind {
                format!("is {ahead} ahead of the API's")
            } else {
                format!("is {behind} behind the API's")
            };
            checks.push(
                Check::new("clock", Health::Warn, found)
                    .fix("set the system's clock: prices and deadlines depend on it"),
            );
        }
    }
    let status = answer.status;
    let body = answer.body.collect(ANSWER_MAX).await.unwrap_or_default();
    checks.push(match status {
        200 => Check::new(PART, Health::Ok, "answers, and takes the key"),
        429 | 529 => Check::new(
            PART,
            Health::Warn,
            "answers, but is busy or over its rate limit",
        ),
        _ => {
            let message = ErrorBody::parse(status, &body).message;
            Check::new(
                PART,
                Health::Fail,
                format!("answers with {status}: {message}"),
            )
            .fix(format!("check {} and {}", env::API_KEY, env::BASE_URL))
        }
    });
    checks
}
