//! Every setting resolved: arguments over the job file over defaults, with the environment where an
//! option names it. Commands see nothing of what was typed.
//!
//! Leaves out the rows: a job that is well described may still have bad input.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use offpeak_client::clock::Clock;
use offpeak_client::{Auth, BaseUrl};
use offpeak_core::job::machine::OnUnknown;
use offpeak_core::price::Book;
use offpeak_core::units::Timestamp;
use offpeak_engine::count::Counting;
use offpeak_engine::spec::{FieldsIn, InputShape, JobSpec, Need, OnInvalid, Reuse, Source};
use offpeak_engine::start::Choice;

use crate::args::{self, Deadline, GlobalArgs, JobArgs, RunArgs};
use crate::env::{self, Env};
use crate::error::ExpectedError;
use crate::jobfile::{self, JobFile};
use crate::printer::Printer;
use crate::simulated;

/// Longest name of a job, in bytes.
const NAME_MAX: usize = 200;

/// What every command needs.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) env: Env,
    pub(crate) printer: Printer,
    data_dir: Option<PathBuf>,
    price_book: Option<PathBuf>,
}

impl Settings {
    pub(crate) fn resolve(global: GlobalArgs, env: Env) -> Self {
        let GlobalArgs {
            json,
            data_dir,
            price_book,
            quiet,
        } = global;
        Self {
            printer: Printer::new(json, quiet),
            data_dir: data_dir.or_else(|| env.data_dir.clone()),
            price_book: price_book.or_else(|| env.price_book.clone()),
            env,
        }
    }

    /// Where jobs are kept; simulated ones apart from those that were paid for.
    pub(crate) fn data_dir(&self, sim: bool) -> Result<PathBuf, ExpectedError> {
        let default = || {
            let dirs = directories::ProjectDirs::from("", "", "offpeak");
            dirs.map(|dirs| dirs.data_dir().to_owned())
        };
        let dir = self.data_dir.clone().or_else(default).ok_or_else(|| {
            ExpectedError::usage("there is no home directory to keep jobs in").hint(format!(
                "name one with `--data-dir DIR` or {}",
                env::DATA_DIR
            ))
        })?;
        Ok(if sim { dir.join("sim") } else { dir })
    }

    /// The prices: the built-in ones, with the user's laid over them.
    pub(crate) fn book(&self) -> Result<Arc<Book>, ExpectedError> {
        let Some(path) = &self.price_book else {
            return Ok(Arc::new(Book::embedded().clone()));
        };
        let text = std::fs::read_to_string(path).map_err(|error| {
            ExpectedError::usage(format!("{}: {error}", path.display()))
                .hint("check the name; a price book is a TOML file")
        })?;
        let over = Book::parse(&text, &path.display().to_string())?;
        Ok(Arc::new(Book::embedded().overlaid(over)?))
    }

    /// The prices of a job. The simulator bills by the built-in book, so a simulated job is planned
    /// and accounted by it too.
    pub(crate) fn book_for(&self, sim: bool) -> Result<Arc<Book>, ExpectedError> {
        if sim && let Some(path) = &self.price_book {
            self.printer.note(&format!(
                "the simulator bills at the built-in prices; `{}` is not used",
                path.display()
            ));
            return Ok(Arc::new(Book::embedded().clone()));
        }
        self.book()
    }
}

/// The time now: the simulator's, or the machine's.
pub(crate) fn now(sim: bool) -> Timestamp {
    if sim {
        simulated::start()
    } else {
        Timestamp::from_micros(Clock::system().now())
    }
}

/// A run, resolved.
#[derive(Debug)]
pub(crate) struct RunSettings {
    pub(crate) spec: JobSpec,
    pub(crate) choice: Choice,
    pub(crate) upstream: UpstreamSettings,
    /// Rows that are sent before the others are planned, if any.
    pub(crate) probe: Option<u32>,
    /// Rows that are counted first, if any.
    pub(crate) counting: Option<Counting>,
    /// Send without asking.
    pub(crate) yes: bool,
}

/// Where the calls go.
#[derive(Debug)]
pub(crate) enum UpstreamSettings {
    Api {
        base_url: BaseUrl,
        auth: Auth,
        /// The admin key, if there is one: it may ask for the limit of the queue.
        admin: Option<Auth>,
    },
    Simulated {
        seed: u64,
        faults: bool,
    },
}

impl UpstreamSettings {
    /// Where a plan has its rows counted: it has no options of its own for that.
    pub(crate) fn of_plan(sim: bool, env: &Env) -> Result<Self, ExpectedError> {
        if sim {
            return Ok(Self::Simulated {
                seed: 0,
                faults: false,
            });
        }
        Self::api(None, env)
    }

    pub(crate) fn api(url: Option<String>, env: &Env) -> Result<Self, ExpectedError> {
        let base_url = base_url(url, env)?;
        // Nobody who sets up a gateway for the calls means it to have the key of the whole organisation.
        let direct = base_url.is_public_api() || base_url.is_loopback();
        let admin = env.admin_key.clone().filter(|_| direct);
        Ok(Self::Api {
            base_url,
            auth: auth(env)?,
            admin: admin.map(Auth::ApiKey),
        })
    }
}

/// The rows that are counted, if any.
pub(crate) fn counting(count: Option<args::Count>) -> Option<Counting> {
    match count? {
        args::Count::Estimate => None,
        args::Count::Sample => Some(Counting::Sample),
        args::Count::Exact => Some(Counting::Exact),
    }
}

impl RunSettings {
    pub(crate) fn resolve(args: RunArgs, env: &Env) -> Result<Self, ExpectedError> {
        let sim = args.job.sim;
        let mut spec = job_spec(&args.job)?;
        if let Some(output) = args.output {
            spec.output = output;
        }
        if let Some(priority) = args.priority {
            spec.priority = i64::from(priority);
        }
        for beta in args.betas {
            if !spec.betas.contains(&beta) {
                spec.betas.push(beta);
            }
        }
        // What a simulation wrote, another may replace.
        spec.overwrite = args.overwrite || (sim && simulated::wrote(&spec.output));
        let choice = Choice {
            // The simulated upstream forgets everything when its process ends.
            fresh: args.fresh || sim,
            resume_old: args.resume_old,
            past_guard: args.past_guard,
            expired_to_sync: args.expired_to_sync,
            retry_truncated: args.retry_truncated,
        };
        let upstream = if sim {
            UpstreamSettings::Simulated {
                seed: args.sim_seed,
                faults: args.sim_faults,
            }
        } else {
            UpstreamSettings::api(args.base_url, env)?
        };
        Ok(Self {
            spec,
            choice,
            upstream,
            probe: args.probe,
            counting: counting(args.job.count),
            yes: args.yes || sim,
        })
    }

    pub(crate) fn is_simulated(&self) -> bool {
        matches!(self.upstream, UpstreamSettings::Simulated { .. })
    }
}

/// The API's address: the option, the environment, or the public one.
pub(crate) fn base_url(option: Option<String>, env: &Env) -> Result<BaseUrl, ExpectedError> {
    let (text, from) = match (option, &env.base_url) {
        (Some(text), _) => (text, "--base-url"),
        (None, Some(text)) => (text.clone(), env::BASE_URL),
        (None, None) => return Ok(BaseUrl::anthropic()),
    };
    BaseUrl::parse(&text)
        .map_err(|error| ExpectedError::from(error).hint(format!("the URL comes from {from}")))
}

fn auth(env: &Env) -> Result<Auth, ExpectedError> {
    match &env.api_key {
        Some(key) => Ok(Auth::ApiKey(key.clone())),
        None => Err(ExpectedError::usage("there is no API key").hint(format!(
            "export {}=sk-ant-…, or add `--sim` to try the job without key and cost",
            env::API_KEY
        ))),
    }
}

/// The job that `target` and the options describe.
pub(crate) fn job_spec(args: &JobArgs) -> Result<JobSpec, ExpectedError> {
    let target = &args.target;
    let extension = target
        .extension()
        .and_then(OsStr::to_str)
        .unwrap_or_default();
    let file = match extension.to_ascii_lowercase().as_str() {
        "toml" => jobfile::read(target)?,
        "csv" | "tsv" | "parquet" | "xlsx" => return Err(needs_job_file(target)),
        _ => bare(target),
    };
    let need = match (args.needs, args.deadline) {
        (Some(args::Needs::Seconds), _) => Some(Need::Seconds),
        (None, Some(Deadline::None)) => Some(Need::Whenever),
        (None, Some(Deadline::Within(span))) => Some(Need::Within(span)),
        (None, None) => file.need,
    };
    let on_invalid = match args.on_invalid {
        Some(args::OnInvalid::Stop) => Some(OnInvalid::Stop),
        Some(args::OnInvalid::Skip) => Some(OnInvalid::Skip),
        None => file.on_invalid,
    };
    let reuse = match args.reuse {
        Some(args::Reuse::Identical) => reusing(true, false),
        Some(args::Reuse::EarlierRuns) => reusing(false, true),
        Some(args::Reuse::All) => reusing(true, true),
        Some(args::Reuse::None) => reusing(false, false),
        None => file.reuse,
    };
    let mut source = file.source;
    if let Some(args::Reorder::Fields) = args.reorder {
        reorder_fields(&mut source)?;
    }
    let output = file.output.unwrap_or_else(|| output_beside(&source.input));
    let budget = args.budget.or(file.budget);
    let soft_budget = args.soft_budget.or(file.soft_budget);
    if let (Some(budget), Some(line)) = (budget, soft_budget)
        && line > budget
    {
        return Err(ExpectedError::usage(format!(
            "the soft line of {line} is above the budget of {budget}, so it would never be reached"
        ))
        .hint(
            "give a `--soft-budget` (`limits.soft_budget_usd`) below the budget: what the job should cost, \
             where the budget is the most that it may",
        ));
    }
    Ok(JobSpec {
        name: name(args.name.clone().or(file.name), target)?,
        source,
        need: need.unwrap_or(Need::Whenever),
        budget,
        soft_budget,
        zero_data_retention: file.zero_data_retention,
        delete_upstream: file.delete_upstream,
        priority: i64::from(file.priority),
        kept_for: file.kept_for,
        betas: file.betas,
        output,
        overwrite: false,
        on_invalid: on_invalid.unwrap_or(OnInvalid::Stop),
        on_unknown: file.on_unknown,
        reuse,
    })
}

fn reusing(identical: bool, earlier_runs: bool) -> Reuse {
    Reuse {
        identical,
        earlier_runs,
    }
}

fn reorder_fields(source: &mut Source) -> Result<(), ExpectedError> {
    match &mut source.shape {
        InputShape::Table { template, .. } => {
            template.fields = FieldsIn::SharedOrder;
            Ok(())
        }
        InputShape::Batch => Err(ExpectedError::usage(format!(
            "{}: its rows are whole requests, which are sent byte for byte, so they have no fields to \
             reorder",
            source.input.display()
        ))
        .hint(
            "leave `--reorder` out; the rows of a table can be reordered, with a JOB.toml whose `user` \
             has {{ row }}",
        )),
    }
}

/// A file of requests, without a job file.
fn bare(input: &Path) -> JobFile {
    JobFile {
        name: None,
        source: Source {
            input: input.to_owned(),
            shape: InputShape::Batch,
            files: Vec::new(),
        },
        output: None,
        betas: Vec::new(),
        need: None,
        budget: None,
        soft_budget: None,
        zero_data_retention: false,
        on_unknown: OnUnknown::Wait,
        delete_upstream: false,
        priority: 0,
        kept_for: None,
        on_invalid: None,
        reuse: Reuse::default(),
    }
}

fn needs_job_file(target: &Path) -> ExpectedError {
    ExpectedError::usage(format!("{}: a table needs a job file", target.display())).hint(
        "write a JOB.toml with `input`, `key`, `model`, `max_tokens` and `user`, and run that; \
         examples/speeches/job.toml is one",
    )
}

fn name(stated: Option<String>, target: &Path) -> Result<String, ExpectedError> {
    let name = stated.unwrap_or_else(|| {
        target
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    });
    if name.is_empty() || name.len() > NAME_MAX || name.chars().any(char::is_control) {
        return Err(
            ExpectedError::usage(format!("{name:?} cannot be the name of a job")).hint(format!(
                "give it one of 1 to {NAME_MAX} characters with `--name`"
            )),
        );
    }
    Ok(name)
}

/// `rows.jsonl` becomes `rows.out.jsonl`.
fn output_beside(input: &Path) -> PathBuf {
    let mut name = input.file_stem().unwrap_or_default().to_owned();
    name.push(".out.jsonl");
    input.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use offpeak_client::SecretString;

    use super::*;

    #[test]
    fn the_output_lies_beside_the_input() {
        for (input, output) in [
            ("rows.jsonl", "rows.out.jsonl"),
            ("a/b.c.jsonl", "a/b.c.out.jsonl"),
            ("/tmp/rows", "/tmp/rows.out.jsonl"),
        ] {
            assert_eq!(output_beside(Path::new(input)), Path::new(output));
        }
    }

    #[test]
    fn a_name_is_the_stated_one_or_the_files() {
        assert_eq!(name(None, Path::new("x/nightly.toml")).unwrap(), "nightly");
        assert_eq!(
            name(Some("n".to_owned()), Path::new("x.toml")).unwrap(),
            "n"
        );
        for wrong in [String::new(), "a\nb".to_owned(), "x".repeat(NAME_MAX + 1)] {
            assert!(name(Some(wrong), Path::new("x")).is_err());
        }
    }

    #[test]
    fn the_key_of_an_organisation_goes_to_no_gateway() {
        let env = Env {
            api_key: Some(SecretString::from("sk-ant-api03-x")),
            admin_key: Some(SecretString::from("sk-ant-admin01-x")),
            base_url: None,
            data_dir: None,
            price_book: None,
        };
        for (url, goes) in [
            (None, true),
            (Some("https://api.anthropic.com"), true),
            (Some("http://127.0.0.1:4010"), true),
            (Some("https://gateway.example.com"), false),
            (Some("https://api.anthropic.com.example.com"), false),
        ] {
            let upstream = UpstreamSettings::api(url.map(str::to_owned), &env).unwrap();
            let UpstreamSettings::Api { admin, .. } = upstream else {
                panic!("it is not simulated");
            };
            assert_eq!(admin.is_some(), goes, "{url:?}");
        }
    }
}
