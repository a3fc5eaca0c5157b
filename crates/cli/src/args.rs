//! What was typed: commands and options, each checked by itself.
//!
//! Leaves out everything that needs a second look at the world: files, the environment and how
//! options fit together with a job file (`settings`).

mod reconcile;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use offpeak_core::units::{Span, Timestamp, Usd};
use offpeak_replay::{PolicyName, Workload};
use offpeak_sim::ASSUMPTIONS;

use crate::error::EXIT_CODES;
pub(crate) use reconcile::ReconcileArgs;

/// Answers every Claude call at the lowest price its deadline allows
///
/// offpeak decides per job between synchronous calls and batches, with or without the prompt cache,
/// does the work, proves that every row was answered once and paid once, and shows the arithmetic.
#[derive(Debug, Parser)]
#[command(name = "offpeak", version, max_term_width = 100, after_long_help = EXIT_CODES)]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// Answer as JSON on stdout
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Where jobs are kept [env: OFFPEAK_DATA_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Prices to lay over the built-in ones [env: OFFPEAK_PRICE_BOOK]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) price_book: Option<PathBuf>,
    /// Say nothing but answers, questions and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Decide how a job would travel, explain it and estimate its cost; sends nothing
    Plan(PlanArgs),
    /// Run a job, or go on with it if it was interrupted
    #[command(after_long_help = EXIT_CODES)]
    Run(Box<RunArgs>),
    /// List the jobs
    Jobs(JobsArgs),
    /// Show where a job stands
    Status(StatusArgs),
    /// Give a job up: stop its batches, keep what they finished, end the other rows as canceled
    #[command(after_long_help = CANCEL_EXIT_CODES)]
    Cancel(CancelArgs),
    /// Prove a finished job again: every row, every line, every picodollar
    Verify(VerifyArgs),
    /// Compare what jobs were billed by our books with the usage and cost reports of the API
    #[command(after_long_help = reconcile::EXIT_CODES)]
    Reconcile(ReconcileArgs),
    /// Remove the requests and answers of finished jobs from this disk
    Purge(PurgeArgs),
    /// Serve the simulated API over HTTP
    #[command(after_help = assumptions())]
    Sim(Box<SimArgs>),
    /// Show the price book
    Prices(PricesArgs),
    /// Replay recorded traffic under several policies, beside the least that it could cost
    Replay(ReplayArgs),
    /// Check the set-up and say what to fix
    Doctor(DoctorArgs),
}

/// What a job is: shared by `plan` and `run`.
#[derive(Debug, Args)]
pub(crate) struct JobArgs {
    /// A JSONL file of the API's batch shape, or a job file that ends in .toml
    #[arg(value_name = "INPUT|JOB.toml")]
    pub(crate) target: PathBuf,
    /// Somebody waits for each answer, so nothing may travel in a batch
    #[arg(long, value_name = "HOW SOON", conflicts_with = "deadline")]
    pub(crate) needs: Option<Needs>,
    /// When the answers are needed, counted from the job's start: 8h, 90m, 2d, none
    #[arg(long, value_name = "TIME")]
    pub(crate) deadline: Option<Deadline>,
    /// The most that the job may cost, in US dollars
    #[arg(long, value_name = "USD", value_parser = budget)]
    pub(crate) budget: Option<Usd>,
    /// What the job should cost: nothing more begins that would be expected to go beyond it
    #[arg(long, value_name = "USD", value_parser = budget)]
    pub(crate) soft_budget: Option<Usd>,
    /// The job's name [default: as in the job file, or the file's name]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// What to do with rows that cannot be sent [default: stop]
    #[arg(long, value_name = "WHAT")]
    pub(crate) on_invalid: Option<OnInvalid>,
    /// Put the fields of each row, where the template has {{ row }}, in the order in which rows begin
    /// alike, so that more can be cached; it can change answers
    #[arg(long, value_name = "WHAT")]
    pub(crate) reorder: Option<Reorder>,
    /// Which answers serve more than one row [default: as in the job file, or none]
    #[arg(long, value_name = "WHICH")]
    pub(crate) reuse: Option<Reuse>,
    /// Where token counts come from [default: estimate]
    #[arg(long, value_name = "HOW")]
    pub(crate) count: Option<Count>,
    /// Use the built-in simulator on virtual time: no key, no network, no waiting, no cost
    #[arg(long, help_heading = "Simulator")]
    pub(crate) sim: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) job: JobArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) job: JobArgs,
    /// Send so many rows first, and plan the others by what those cost
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) probe: Option<u32>,
    /// Of jobs that wait for room in the API's queue of batches the highest goes first, then the
    /// earliest deadline [default: as in the job file, or 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) priority: Option<i16>,
    /// Where the answers go [default: as in the job file, or <INPUT>.out.jsonl beside the input]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Replace the output if it exists
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Send without asking
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// A beta feature for every request (anthropic-beta); may be repeated
    #[arg(long = "beta", value_name = "NAME")]
    pub(crate) betas: Vec<String>,
    /// Where the API is [env: ANTHROPIC_BASE_URL] [default: https://api.anthropic.com]
    #[arg(long, value_name = "URL")]
    pub(crate) base_url: Option<String>,
    /// Start anew, whatever earlier runs of this name did
    #[arg(long, help_heading = "Earlier runs", conflicts_with = "resume_old")]
    pub(crate) fresh: bool,
    /// Go on with the unfinished run although the input has changed since
    #[arg(long, help_heading = "Earlier runs")]
    pub(crate) resume_old: bool,
    /// Ask rows of the newest run again that were cut off at `max_tokens`, with this one; what it has of
    /// the others is kept
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..),
        help_heading = "Earlier runs",
        conflicts_with = "fresh"
    )]
    pub(crate) retry_truncated: Option<u32>,
    /// Send the rest although the first answers were of no use
    #[arg(long, help_heading = "Earlier runs")]
    pub(crate) past_guard: bool,
    /// Send rows that expired in batches one by one, at the full price
    #[arg(long, help_heading = "Earlier runs")]
    pub(crate) expired_to_sync: bool,
    /// Seed of the simulated upstream
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        requires = "sim",
        help_heading = "Simulator"
    )]
    pub(crate) sim_seed: u64,
    /// A bad day upstream: lost connections, overload, rows that fail
    #[arg(long, requires = "sim", help_heading = "Simulator")]
    pub(crate) sim_faults: bool,
}

#[derive(Debug, Args)]
pub(crate) struct JobsArgs {
    /// The simulated jobs instead
    #[arg(long)]
    pub(crate) sim: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The job's name or id
    pub(crate) job: String,
    /// Look among the simulated jobs
    #[arg(long)]
    pub(crate) sim: bool,
}

/// The exit codes of `cancel`, below its help.
const CANCEL_EXIT_CODES: &str = "\
Exit codes:
   0  the job is ended: its output has every row, and no batch known to be its own is at work
      upstream
   2  wrong argument or setting, or there is nothing to cancel
   4  the API refused
   5  interrupted; the same command goes on";

#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// The job's name or id
    pub(crate) job: String,
    /// Let batches that are upstream run to their end; only what was not sent is given up
    #[arg(long)]
    pub(crate) keep_upstream: bool,
    /// Where the answers go [default: as the job was run]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Where the API is [env: ANTHROPIC_BASE_URL] [default: https://api.anthropic.com]
    #[arg(long, value_name = "URL")]
    pub(crate) base_url: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The job's name or id
    pub(crate) job: String,
    /// Look among the simulated jobs
    #[arg(long)]
    pub(crate) sim: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PurgeArgs {
    /// The job's name, for all its runs, or the id of one run [default: every job whose `keep` says so]
    pub(crate) job: Option<String>,
    /// Only what ended so long ago: 30d, 12h
    #[arg(long, value_name = "TIME")]
    pub(crate) older_than: Option<Span>,
    /// Remove without asking
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Look among the simulated jobs
    #[arg(long)]
    pub(crate) sim: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SimArgs {
    /// Where to listen; port 0 takes any that is free
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4010")]
    pub(crate) listen: SocketAddr,
    /// Seed of answers and schedules
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// What goes wrong: a file of rules, or `rough` for a bad day of lost connections, overload and
    /// rows that fail, which is also meant without a value
    #[arg(long, value_name = "FILE|rough", num_args = 0..=1, default_missing_value = "rough")]
    pub(crate) faults: Option<FaultPlan>,
    /// What is answered: a file of rules, for requests whose last user message fits one
    #[arg(long, value_name = "FILE")]
    pub(crate) answers: Option<PathBuf>,
    /// Print the variables that a client needs for that address, and end
    #[arg(long)]
    pub(crate) print_env: bool,
    /// Keep everything in this file: read at the start if it exists, written every few seconds when
    /// something has changed, and at the end
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    /// What time does: `real` flows, `virtual` stands still until `POST /_sim/clock` moves it
    #[arg(
        long,
        value_name = "KIND",
        default_value = "real",
        help_heading = "Clock"
    )]
    pub(crate) clock: ClockKind,
    /// How many simulated seconds pass in a second, 1 to 100000
    #[arg(long, value_name = "X", default_value_t = 1, help_heading = "Clock", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) speed: u32,
    /// The tier whose rate limits hold
    #[arg(
        long,
        value_name = "TIER",
        default_value = "none",
        help_heading = "Limits"
    )]
    pub(crate) tier: Tier,
    /// What may be spent in a calendar month, in whole US dollars; then every call is a 429 without
    /// `retry-after` [default: the tier's]
    #[arg(long, value_name = "USD", help_heading = "Limits")]
    pub(crate) spend_cap: Option<u32>,
    /// Assume something otherwise, as listed below; may be repeated
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Assumptions")]
    pub(crate) assume: Vec<String>,
}

/// What goes wrong upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FaultPlan {
    Rough,
    File(PathBuf),
}

impl FromStr for FaultPlan {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "rough" => Self::Rough,
            file => Self::File(file.into()),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClockKind {
    Real,
    Virtual,
}

/// Where token counts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Count {
    /// From the bytes, and from what earlier runs were billed; nothing is sent
    Estimate,
    /// 128 rows are sent to the API's free token counter
    Sample,
    /// All rows are, up to 20,000
    Exact,
}

/// A usage tier of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tier {
    None,
    Start,
    Build,
    Scale,
}

/// The assumptions of the simulator, below its help.
fn assumptions() -> String {
    let list = ASSUMPTIONS.iter().map(|assumption| {
        let (key, values) = (assumption.key, assumption.values);
        format!("  {key:<18} {values}\n{:21}{}\n", "", assumption.meaning)
    });
    format!(
        "KEY and VALUE, the default first:\n{}",
        list.collect::<String>()
    )
}

#[derive(Debug, Args)]
pub(crate) struct PricesArgs {
    /// A model, one of its aliases, or a family (opus, sonnet, haiku) [default: all]
    #[arg(value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// The prices of that day, or moment (RFC 3339) [default: now]
    #[arg(long, value_name = "DATE")]
    pub(crate) at: Option<Moment>,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The trace: a JSONL file with a call per line
    #[arg(value_name = "TRACE", required_unless_present = "generate")]
    pub(crate) trace: Option<PathBuf>,
    /// Write the trace of a benchmark workload to stdout instead: W1 to W12, W5b
    #[arg(long, value_name = "WORKLOAD", conflicts_with_all = ["trace", "policies", "model", "profile", "order", "workers", "domains", "min_cacheable", "tier", "outage", "budget"])]
    pub(crate) generate: Option<Workload>,
    /// The policies, separated by commas: sync, last-block-5m, last-block-1h, second-5m, batch, batch+1h,
    /// auto [default: all]
    #[arg(long = "policy", value_name = "POLICY", value_delimiter = ',')]
    pub(crate) policies: Vec<PolicyName>,
    /// Replay all calls as if they had gone to this model
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// How fast batches get done
    #[arg(long, value_enum, default_value_t = BatchProfile::Fast)]
    pub(crate) profile: BatchProfile,
    /// Which batch comes next with `--profile linear`
    #[arg(long, value_enum, default_value_t = BatchOrder::InOrder)]
    pub(crate) order: BatchOrder,
    /// Rows of a batch that run at the same time
    #[arg(long, value_name = "C", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) workers: u32,
    /// Caches that calls are spread over by chance
    #[arg(long, value_name = "D", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) domains: u32,
    /// Seed of batch schedules, or of the workload
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// The shortest prefix that is cached, instead of each model's own
    #[arg(long, value_name = "TOKENS")]
    pub(crate) min_cacheable: Option<u64>,
    /// The rate limits of a tier; with none, nothing is refused
    #[arg(long, value_enum, value_name = "TIER", default_value_t = Tier::None)]
    pub(crate) tier: Tier,
    /// A time in which the upstream takes no call, counted from the trace's beginning: 60s..180s
    #[arg(long, value_name = "FROM..TO")]
    pub(crate) outage: Option<OutageSpan>,
    /// The most that each policy may spend, in US dollars
    #[arg(long, value_name = "USD", value_parser = budget)]
    pub(crate) budget: Option<Usd>,
}

/// From one moment to a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutageSpan {
    pub(crate) from: Span,
    pub(crate) to: Span,
}

impl FromStr for OutageSpan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || format!("`{text}` is not a time; write it like `60s..3m`");
        let (from, to) = text.split_once("..").ok_or_else(wanted)?;
        let moment = |text: &str| match text {
            "0" => Ok(Span::ZERO),
            text => text.parse::<Span>().map_err(|_| wanted()),
        };
        let (from, to) = (moment(from)?, moment(to)?);
        if to <= from {
            return Err(format!("`{text}` ends before it begins"));
        }
        Ok(Self { from, to })
    }
}

/// How fast batches get done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BatchProfile {
    /// Within 25 minutes
    Fast,
    /// Rows end after twenty minutes on average
    Normal,
    /// Four rows in five within an hour, one in twenty never
    SlowTail,
    /// Nothing for 23 hours
    Stuck,
    /// Never
    Dead,
    /// A row every eight seconds, one batch after the other; 50 synchronous calls a minute
    Linear,
}

/// Which batch comes next, where they are served one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BatchOrder {
    /// The one that has waited longest
    InOrder,
    /// Any
    Shuffled,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Where the API is [env: ANTHROPIC_BASE_URL] [default: https://api.anthropic.com]
    #[arg(long, value_name = "URL")]
    pub(crate) base_url: Option<String>,
}

/// How soon answers are needed, if not by a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Needs {
    /// Each within seconds
    Seconds,
}

/// What becomes of rows that cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnInvalid {
    /// Report them and send nothing
    Stop,
    /// Send the others; these appear in the output as invalid
    Skip,
}

/// What is put in another order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Reorder {
    /// The fields of each row; rows keep their places
    Fields,
}

/// Which answers serve more than one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Reuse {
    /// Of rows with the same request one is sent, and the others share its answer
    Identical,
    /// What a finished run of this job has answered is taken over
    EarlierRuns,
    /// Both
    All,
    /// Every row is sent
    None,
}

/// `8h`, or `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deadline {
    None,
    Within(Span),
}

impl FromStr for Deadline {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::None);
        }
        match text.parse::<Span>() {
            Ok(span) if span > Span::ZERO => Ok(Self::Within(span)),
            Ok(_) => Err("it must be longer than nothing; write `none` for no deadline".to_owned()),
            Err(error) => Err(format!("{error}, or `none`")),
        }
    }
}

fn budget(text: &str) -> Result<Usd, String> {
    match text.parse::<Usd>() {
        Ok(amount) if amount > Usd::ZERO => Ok(amount),
        Ok(_) => Err("it must be more than nothing; leave it out for no limit".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// A day or a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment(pub(crate) Timestamp);

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let moment = Timestamp::of_day(text).or_else(|_| text.parse::<Timestamp>());
        moment.map(Self).map_err(|_| {
            format!(
                "`{text}` is not a day or moment; write it like `2026-10-07` or `2026-10-07T12:00:00Z`"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_deadline_is_a_time_or_none() {
        assert_eq!("none".parse(), Ok(Deadline::None));
        assert_eq!("90m".parse(), Ok(Deadline::Within(Span::from_secs(5400))));
        for wrong in ["", "0s", "8", "soon", "-1h"] {
            assert!(wrong.parse::<Deadline>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_moment_is_a_day_or_a_time() {
        let midnight = "2026-10-07".parse::<Moment>();
        assert_eq!(midnight, "2026-10-07T00:00:00Z".parse());
        assert!("7.10.2026".parse::<Moment>().is_err());
    }
}
