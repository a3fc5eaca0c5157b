//! Why an input cannot be taken: what is wrong, where, and what to type.
//!
//! Leaves out how it is found (`check`, `batch`, `table`, `keys`) and how it is printed.

use std::fmt;
use std::io;
use std::path::PathBuf;

use offpeak_core::price::PriceError;

use super::hint::{hint, job_hint};

/// Problems that are named; the others are only counted.
pub(super) const EXAMPLES_MAX: usize = 20;

/// An input that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The input cannot be read.
    #[error("{}: {}", path.display(), reading(source))]
    Read {
        /// The input.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The requests cannot be kept.
    #[error("{}: {}", dir.display(), writing(source, *needed))]
    Write {
        /// The job's directory.
        dir: PathBuf,
        /// Bytes that the whole job will take there, as far as can be told.
        needed: Option<u64>,
        /// Why.
        source: io::Error,
    },
    /// The answers of an earlier run cannot be taken over.
    #[error("the answers of run {run} cannot be taken over: {source}")]
    Earlier {
        /// The run.
        run: u32,
        /// Why.
        source: io::Error,
    },
    /// The rows of a run are asked again, and the input has others.
    #[error(
        "the requests are no longer those of the newest run (run {run}): the input, the prompt or the beta \
         features have changed since"
    )]
    OtherRows {
        /// The run.
        run: u32,
    },
    /// There is not a single row.
    #[error("{}: no rows", path.display())]
    Empty {
        /// The input.
        path: PathBuf,
    },
    /// The job's own settings, or the header of its table, make no valid request whatever the rows
    /// are.
    #[error("{0}")]
    Job(Box<RowProblem>),
    /// Rows that cannot be sent.
    #[error("{}", listed(problems, *total))]
    Rows {
        /// The first of them, in the order of their lines.
        problems: Vec<RowProblem>,
        /// All of them.
        total: u64,
        /// Rows of the input, these included.
        rows: u64,
    },
}

impl IngestError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Read { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => "check the name; a path in a job file is relative to \
                     that file, one on the command line to where you are"
                    .to_owned(),
                io::ErrorKind::PermissionDenied => {
                    "make it readable for you (chmod u+r), or name another file".to_owned()
                }
                io::ErrorKind::IsADirectory => {
                    "name one file; several can be put together first: cat DIR/*.jsonl > all.jsonl"
                        .to_owned()
                }
                _ => "check the disk or the network share it is on, and start again".to_owned(),
            },
            Self::Write { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "free some space there, or name a directory on another disk with --data-dir DIR"
                        .to_owned()
                }
                _ => "make it writable for you, or name another directory with --data-dir DIR"
                    .to_owned(),
            },
            Self::Earlier { .. } => "put the file back from a backup, or leave earlier runs alone \
                 with `--reuse none`: then their rows are paid for again"
                .to_owned(),
            Self::OtherRows { .. } => {
                "`--retry-truncated` asks rows of that run again: put back what has changed, or \
                 run the job as it is now without it, with a larger `max_tokens`"
                    .to_owned()
            }
            Self::Empty { .. } => {
                "each row is one line: {\"custom_id\": \"a1\", \"params\": {…}}, \
                 or a record of a table below its header"
                    .to_owned()
            }
            Self::Job(problem) => problem.hint.clone(),
            Self::Rows {
                problems,
                total,
                rows,
            } => {
                let mut hint = problems
                    .first()
                    .map(|problem| problem.hint.clone())
                    .unwrap_or_default();
                if total < rows {
                    hint.push_str("; or send the valid rows only, with --on-invalid skip");
                }
                hint
            }
        }
    }
}

fn reading(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "it may not be read".to_owned(),
        io::ErrorKind::IsADirectory => "it is a directory, not a file".to_owned(),
        _ => error.to_string(),
    }
}

fn writing(error: &io::Error, needed: Option<u64>) -> String {
    let what = match error.kind() {
        io::ErrorKind::StorageFull => "no space left on the disk".to_owned(),
        io::ErrorKind::QuotaExceeded => "your disk quota is used up".to_owned(),
        io::ErrorKind::PermissionDenied => "it may not be written to".to_owned(),
        _ => error.to_string(),
    };
    match needed {
        Some(bytes) => format!(
            "{what}; the requests of this job take about {}",
            size(bytes)
        ),
        None => what,
    }
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    const MB: u64 = 1_000_000;
    match bytes {
        0..MB => "1 MB".to_owned(),
        MB..10_000_000_000 => format!("{} MB", bytes.div_ceil(MB)),
        _ => format!("{} GB", bytes.div_ceil(1000 * MB)),
    }
}

fn listed(problems: &[RowProblem], total: u64) -> String {
    if let ([problem], 1) = (problems, total) {
        return problem.to_string();
    }
    let mut text = format!("{total} rows cannot be sent:");
    for problem in problems {
        text.push_str(&format!("\n{problem}"));
    }
    let more = total.saturating_sub(problems.len() as u64);
    if more > 0 {
        text.push_str(&format!("\n… and {more} more"));
    }
    text
}

/// A row that cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowProblem {
    /// The file it is in.
    pub file: PathBuf,
    /// The line where the row begins, counted from 1; 0 when the problem has no line.
    pub line: u64,
    /// The row's key, if it could be read.
    pub key: Option<String>,
    /// What is wrong.
    pub problem: ProblemKind,
    /// What to type or change.
    pub hint: String,
}

impl RowProblem {
    pub(super) fn new(file: PathBuf, line: u64, key: Option<String>, problem: ProblemKind) -> Self {
        let hint = if line == 0 {
            job_hint(&problem)
        } else {
            hint(&problem)
        };
        Self {
            file,
            line,
            key,
            problem,
            hint,
        }
    }
}

impl fmt::Display for RowProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ", line {}", self.line)?;
        }
        if let Some(key) = &self.key {
            write!(f, ", key {key:?}")?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// The kinds of things that are wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProblemKind {
    /// Not JSON.
    #[error("malformed JSON at column {column}: {what}")]
    Json {
        /// In characters, counted from 1.
        column: usize,
        /// What was expected, or is wrong.
        what: &'static str,
        /// What the row looks like instead.
        looks_like: LooksLike,
    },
    /// Bytes that are not UTF-8.
    #[error("not UTF-8 at column {column}")]
    NotUtf8 {
        /// In characters, counted from 1.
        column: usize,
    },
    /// A key twice in one JSON object.
    #[error("`{name}` occurs twice in one object, at column {column}")]
    DuplicateMember {
        /// The key.
        name: String,
        /// In characters, counted from 1.
        column: usize,
    },
    /// Nested too deeply.
    #[error("JSON nested deeper than {max} levels")]
    TooDeep {
        /// The deepest nesting that is taken.
        max: usize,
    },
    /// A value of another type than needed.
    #[error("{member} must be {wanted}")]
    WrongType {
        /// Which value.
        member: String,
        /// The type it must have.
        wanted: &'static str,
    },
    /// A member of a row besides `custom_id` and `params`.
    #[error("unknown member `{0}` beside `custom_id` and `params`")]
    UnknownMember(String),
    /// A member that must be there is not.
    #[error("`{0}` is missing")]
    MissingMember(&'static str),
    /// A row of a table without its key.
    #[error("the key column `{column}` is {}", if *empty { "empty" } else { "missing" })]
    MissingKey {
        /// The name of the column.
        column: String,
        /// The columns there are.
        columns: Vec<String>,
        /// It is there, but empty.
        empty: bool,
    },
    /// A key that another row has.
    #[error("line {first} has the same key")]
    DuplicateKey {
        /// The line of the first row with it.
        first: u64,
    },
    /// A model that cannot be used.
    #[error("{0}")]
    Model(PriceError),
    /// No `max_tokens`.
    #[error("`max_tokens` is missing")]
    MaxTokensMissing,
    /// `max_tokens` of 0.
    #[error(
        "`max_tokens` is 0: the API needs at least 1, and warming a cache with 0 does not work in a batch"
    )]
    MaxTokensZero,
    /// A `max_tokens` that is no positive integer.
    #[error("`max_tokens` must be a positive integer")]
    MaxTokensNotAnInteger,
    /// More output than the model has.
    #[error("`max_tokens` is {given}, and `{model}` answers with at most {max} tokens")]
    MaxTokensAbove {
        /// What the row asks for.
        given: u64,
        /// What the model can do.
        max: u64,
        /// The model.
        model: String,
    },
    /// A request for a stream.
    #[error("`stream` is true, but {}", if *batch { "batches do not stream" } else { "the answers of a job are not streamed" })]
    Streams {
        /// The row may travel in a batch.
        batch: bool,
    },
    /// A member that the batch API refuses.
    #[error("`{0}` is not possible in a batch")]
    NotInBatch(&'static str),
    /// More bytes than the API takes.
    #[error("the row is {} long, the API takes at most {}", size(*bytes), size(*max))]
    TooLong {
        /// Its bytes, or as many as were read.
        bytes: u64,
        /// What the lane takes.
        max: u64,
    },
    /// A variable of the template that the row does not have.
    #[error("the template uses `{name}`, which the row does not have (template line {line})")]
    MissingVariable {
        /// The variable.
        name: String,
        /// Line of the template's file.
        line: usize,
        /// The columns there are.
        columns: Vec<String>,
    },
    /// A template that does not compile, or fails on a row.
    #[error("the template fails at line {line}: {what}")]
    Template {
        /// Line of the template's file.
        line: usize,
        /// Why.
        what: String,
    },
    /// The order of fields is asked for, and the template does not write them.
    #[error(
        "the fields are to be ordered, and the template (line {line}) has no `{{{{ row }}}}` that writes them"
    )]
    NoRow {
        /// Line of the template's file.
        line: usize,
    },
    /// The order of fields is asked for, and a column takes the name that writes them.
    #[error(
        "the fields are to be ordered, and a column called `row` takes the place of `{{{{ row }}}}`"
    )]
    RowHidden,
    /// A message without text.
    #[error("the template renders to nothing, and the API refuses an empty message")]
    EmptyMessage,
    /// A CSV record with more or fewer fields than the header.
    #[error("the record has {fields} {}, the header has {header}", if *fields == 1 { "field" } else { "fields" })]
    Ragged {
        /// Fields of the record.
        fields: usize,
        /// Fields of the header.
        header: usize,
    },
    /// A CSV field that does not end.
    #[error("the quote opened here is never closed")]
    OpenQuote,
    /// Two CSV columns of one name.
    #[error("the header names the column `{0}` twice")]
    DuplicateColumn(String),
}

/// What a line that is not a row looks like; newcomers' inputs often have one of these forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LooksLike {
    /// Nothing in particular.
    Nothing,
    /// The file is one JSON array.
    Array,
    /// An object that goes on in the next line.
    Indented,
    /// No JSON at all.
    Table,
    /// Text in single quotes, as Python prints it.
    Python,
}
