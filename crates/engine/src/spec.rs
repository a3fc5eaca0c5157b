//! A job as it is run: every setting resolved, every file that shapes it read.
//!
//! Leaves out where the settings come from (the job file and the arguments are the command line's
//! business) and everything that follows from the rows.

use std::path::PathBuf;

use offpeak_core::job::machine::OnUnknown;
use offpeak_core::units::{Span, Usd};
use serde::{Deserialize, Serialize};

/// A job, resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct JobSpec {
    /// Its name; part of its identity.
    pub name: String,
    /// Where the rows come from.
    pub source: Source,
    /// When the answers are needed.
    pub need: Need,
    /// The most it may cost; `None` without a limit.
    pub budget: Option<Usd>,
    /// What it is not expected to cross: an estimate says whether more may begin; `None` without such a line.
    pub soft_budget: Option<Usd>,
    /// Nothing may be kept upstream once it was answered, so nothing may travel in a batch.
    pub zero_data_retention: bool,
    /// Each batch is deleted upstream once its answers are here, whole and durable.
    pub delete_upstream: bool,
    /// Of jobs that wait for room in the upstream's queue the one with the highest goes first; 0 is usual.
    pub priority: i64,
    /// How long requests and answers stay on this disk once the job has finished; `None` until
    /// somebody purges them.
    pub kept_for: Option<Span>,
    /// `anthropic-beta` names sent with every request.
    pub betas: Vec<String>,
    /// Where the output goes.
    pub output: PathBuf,
    /// Whether an existing output may be replaced.
    pub overwrite: bool,
    /// What becomes of rows that cannot be sent.
    pub on_invalid: OnInvalid,
    /// What becomes, at the last safe moment, of a batch that may exist.
    pub on_unknown: OnUnknown,
    /// Which answers serve more than one row.
    pub reuse: Reuse,
}

/// Which answers serve more than one row; by default none, as identical rows may be there on purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reuse {
    /// Of rows with identical requests the first is sent, and the others share its answer.
    pub identical: bool,
    /// What a finished run of the same name has answered is not asked again.
    pub earlier_runs: bool,
}

/// When the answers are needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// Somebody waits for each answer: nothing may travel in a batch.
    Seconds,
    /// So long after the job's creation.
    Within(Span),
    /// There is no deadline.
    #[default]
    Whenever,
}

/// What becomes of rows that cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnInvalid {
    /// They are reported and nothing is sent.
    Stop,
    /// They appear in the output as `invalid` and the others are sent.
    Skip,
}

/// Where the rows come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The input file.
    pub input: PathBuf,
    /// What its rows look like.
    pub shape: InputShape,
    /// Further files that belong to the job's identity (the job file, a system prompt), with their
    /// bytes.
    pub files: Vec<(PathBuf, Vec<u8>)>,
}

/// What the rows of the input look like.
#[derive(Debug, Clone, PartialEq)]
pub enum InputShape {
    /// JSONL of `{"custom_id": …, "params": {…}}`, the API's own batch shape, sent as it is.
    Batch,
    /// Rows of columns that a template turns into requests.
    Table {
        /// How the columns are written.
        format: TableFormat,
        /// How a row becomes a request.
        template: Template,
    },
}

/// How the columns of a table are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFormat {
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values with a header.
    Csv,
}

/// The order of a row's fields where all are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FieldsIn {
    /// That of the columns.
    #[default]
    GivenOrder,
    /// For each row the one in which it shares most with others; the message is cut into blocks where
    /// that ends. It can change answers.
    SharedOrder,
}

/// How a row of a table becomes a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// The column whose value names the row in the output.
    pub key: String,
    /// Model id or alias.
    pub model: String,
    /// Most tokens that an answer may have.
    pub max_tokens: u32,
    /// The system prompt, the same for all rows.
    pub system: Option<String>,
    /// The user message, as a minijinja template.
    pub user: String,
    /// File and line (counted from 1) where the template begins, for messages.
    pub user_origin: (PathBuf, usize),
    /// The order in which `{{ row }}` writes the columns of a row.
    pub fields: FieldsIn,
    /// Further top-level members of the request, e.g. `temperature`, in their order.
    pub params: Vec<(String, serde_json::Value)>,
}
