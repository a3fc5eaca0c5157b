//! What can go wrong with a job on our side, each with what to do about it. What the upstream
//! refuses is not here: that is a `Stop` of the machine.

use std::io;
use std::path::{Path, PathBuf};

use offpeak_core::plan::PlanError;
use offpeak_core::price::PriceError;
use offpeak_core::units::Usd;
use offpeak_store::StoreError;

use crate::ingest::IngestError;
use crate::journal::JournalError;
use crate::lock::LockError;
use crate::output::OutputError;
use crate::settle::SettleError;
use crate::spool::SpoolError;

/// An error of the engine. Whatever was paid for stays in the spool and the store.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The input.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// The plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A price.
    #[error(transparent)]
    Price(#[from] PriceError),
    /// The lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// A journal.
    #[error("{message}")]
    Journal {
        /// In words; several waiters share one failure.
        message: String,
        /// What to do.
        hint: &'static str,
    },
    /// A settlement.
    #[error(transparent)]
    Settle(#[from] SettleError),
    /// The output.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A file of ours.
    #[error("cannot {doing} `{}`: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A file of ours is not what was written.
    #[error("`{}` cannot be read: {detail}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// An unfinished run of this job has other requests.
    #[error(
        "job `{name}` has an unfinished run ({id}, {settled} of {rows} rows done) with other \
         requests than the input has now"
    )]
    InputChanged {
        /// The job's name.
        name: String,
        /// The unfinished run.
        id: String,
        /// Rows with an outcome.
        settled: u64,
        /// All its rows.
        rows: u64,
    },
    /// The rows' input cannot be bounded, and there is a budget.
    #[error(
        "{}, line {line}: the cost of this row has no upper bound ({why}), so neither a budget nor a soft line can be kept",
        path.display()
    )]
    Unbounded {
        /// The input.
        path: PathBuf,
        /// Its line.
        line: u64,
        /// What makes it so.
        why: String,
    },
    /// The budget is too small for a single row.
    #[error(
        "{}, line {line}: this row alone can cost {worst}, and the budget is {budget}",
        path.display()
    )]
    BudgetBelowRow {
        /// The input.
        path: PathBuf,
        /// The line of its dearest row.
        line: u64,
        /// The most that this row can cost on its lane.
        worst: Usd,
        /// The budget.
        budget: Usd,
    },
    /// The job was given up and is not ended yet.
    #[error("job `{name}` was cancelled, and that is not finished yet")]
    Canceled {
        /// The job's name.
        name: String,
    },
    /// There is nothing to give up.
    #[error("job {id} is not unfinished, so there is nothing to cancel")]
    NotUnfinished {
        /// The job.
        id: String,
    },
    /// Answers that were received are lost, and cannot be had from the upstream again now.
    #[error(
        "`{}` is lost or damaged, with the answers of {rows} rows, and cannot be downloaded again: {problem}",
        path.display()
    )]
    AnswersLost {
        /// The file they were in.
        path: PathBuf,
        /// Rows that had their outcome from it.
        rows: u64,
        /// Why they cannot be had again.
        problem: String,
    },
    /// Only what has come to its end can be purged.
    #[error("job `{name}`, run {run}, is not finished: its requests and answers are needed")]
    Unfinished {
        /// The job's name.
        name: String,
        /// Which run.
        run: u32,
    },
    /// The answers of a finished job were purged, and they are needed.
    #[error("the answers of job `{name}` were purged on {at}")]
    Purged {
        /// The job's name.
        name: String,
        /// When.
        at: String,
    },
    /// Rows are to be asked again of a job that has never finished.
    #[error("job `{name}` has no finished run, so there are no rows to ask again")]
    NothingToRetry {
        /// The job's name.
        name: String,
    },
    /// Rows are to be asked again of a run that is under way.
    #[error(
        "the newest run of job `{name}` (run {run}) is not finished, so nothing of it is asked again yet"
    )]
    RetryUnfinished {
        /// The job's name.
        name: String,
        /// Its newest run.
        run: u32,
        /// What that asks rows again with, if it is such a run itself.
        with: Option<u32>,
    },
    /// Rows are to be asked again of a run whose other answers are gone.
    #[error(
        "the answers of the newest run of job `{name}` were purged on {at}, and a retry takes them over"
    )]
    RetryPurged {
        /// The job's name.
        name: String,
        /// When.
        at: String,
    },
    /// Rows are to be asked again with more than their model answers with.
    #[error("`--retry-truncated {given}`: `{model}` answers with at most {max} tokens")]
    RetryAboveModel {
        /// The `max_tokens` that was given.
        given: u32,
        /// What the model can do.
        max: u64,
        /// The model.
        model: String,
    },
    /// Rows are to be asked again, and answers that would be taken over are lost.
    #[error("`{}` has answers that would be taken over, and cannot be read: {source}", path.display())]
    AnswersGone {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nothing may be kept upstream, and an unfinished run of the job has rows for batches.
    #[error(
        "job `{name}` has an unfinished run ({id}) whose rows go in batches, and the job asks for zero \
         data retention now"
    )]
    Retained {
        /// The job's name.
        name: String,
        /// The unfinished run.
        id: String,
    },
}

impl EngineError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Ingest(error) => error.hint(),
            Self::Plan(error) => error.hint(),
            Self::Price(error) => error.hint(),
            Self::Lock(LockError::Held { .. }) => {
                "wait until it ends, or stop it; it can be resumed with the same command".to_owned()
            }
            Self::Lock(LockError::Io { .. }) => {
                "check the permissions of the data directory, or name another with `--data-dir DIR`"
                    .to_owned()
            }
            Self::Store(error) => error.hint().to_owned(),
            Self::Spool(error) => error.hint(),
            Self::Journal { hint, .. } => (*hint).to_owned(),
            Self::Settle(error) => error.hint(),
            Self::Output(error) => error.hint().to_owned(),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "free some space, or name another data directory with `--data-dir DIR`; then run \
                 the same command again: nothing that was paid is lost"
                    .to_owned()
            }
            Self::Io { .. } => "repair what the message names and run the same command again".to_owned(),
            Self::Damaged { .. } => {
                "restore the file from a backup, or start the job again with `--fresh`".to_owned()
            }
            Self::InputChanged { .. } => {
                "finish the old run with `--resume-old`, or give it up and start with the new input \
                 with `--fresh`"
                    .to_owned()
            }
            Self::BudgetBelowRow { worst, .. } => format!(
                "raise `limits.budget_usd` or `--budget` to {worst} at the least, or lower \
                 `max_tokens`: what a row can cost is set aside before it is sent"
            ),
            Self::Canceled { name } => {
                format!("end it with `offpeak cancel {name}`, or start anew with `--fresh`")
            }
            Self::NotUnfinished { .. } => "`offpeak jobs` says where each job stands".to_owned(),
            Self::AnswersLost { .. } => {
                "put the file back from a backup; or run the same command again if the upstream could not be \
                 reached: it keeps results for 29 days after a batch was made. `--fresh` pays for all rows again"
                    .to_owned()
            }
            Self::Unfinished { .. } => {
                "finish it first with the command that started it; an earlier run is purged by its id, \
                 which `offpeak jobs` shows"
                    .to_owned()
            }
            Self::Purged { .. } => {
                "put the output back from a backup, or pay for the answers again with `--fresh`"
                    .to_owned()
            }
            Self::NothingToRetry { .. } => {
                "run the job first, without `--retry-truncated`".to_owned()
            }
            Self::RetryUnfinished { with: None, .. } => {
                "run the job to its end first, without `--retry-truncated`".to_owned()
            }
            Self::RetryUnfinished { with: Some(with), .. } => format!(
                "finish that first, with `--retry-truncated {with}` or without it: either goes on with it"
            ),
            Self::RetryPurged { .. } => {
                "raise `max_tokens` in the requests and pay for all of them with `--fresh`, or send a file \
                 of the rows that were cut off as a job of its own"
                    .to_owned()
            }
            Self::RetryAboveModel { max, .. } => {
                format!("type `--retry-truncated {max}` or less")
            }
            Self::AnswersGone { .. } => {
                "put the file back from a backup; or run the job without `--retry-truncated` and with an \
                 output that does not exist, which downloads lost answers again while the upstream has them"
                    .to_owned()
            }
            Self::Retained { .. } => {
                "start again with `--fresh`, which makes the calls one by one, or leave \
                 `limits.zero_data_retention` out"
                    .to_owned()
            }
            Self::Unbounded { .. } => "leave the budget and the soft line out, or take such rows out".to_owned(),
        }
    }

    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            doing,
            path,
            source,
        }
    }

    pub(crate) fn journal(error: &JournalError) -> Self {
        Self::Journal {
            message: error.to_string(),
            hint: error.hint(),
        }
    }
}
