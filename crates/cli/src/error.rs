//! How a command ends: the exit codes, which scripts may rely on, and errors that a user can cause
//! and mend, each with what to do about it.
//!
//! Bugs are not here: they panic, and `commands::main` turns a panic into [`Exit::Bug`].

use std::error::Error;
use std::fmt::{self, Write};

use offpeak_client::ClientError;
use offpeak_core::price::{BookError, PriceError};
use offpeak_engine::error::EngineError;
use offpeak_engine::output::OutputError;
use offpeak_store::StoreError;

/// The exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Every row succeeded, or the command did what it was asked.
    Success = 0,
    /// Finished; some rows failed and stand in the output with their reason.
    SomeFailed = 1,
    /// A wrong argument, setting or input; nothing was sent.
    Usage = 2,
    /// Stopped by the budget.
    Budget = 3,
    /// Stopped by the upstream: key, billing, spend limit.
    Upstream = 4,
    /// Interrupted; the same command goes on.
    Interrupted = 5,
    /// Every row succeeded, after the deadline.
    Late = 6,
    /// A bug, or a count that cannot be proved.
    Bug = 70,
}

impl Exit {
    /// The number that the shell sees.
    pub(crate) const fn code(self) -> u8 {
        self as u8
    }
}

/// The list of exit codes, below the help.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
   0  every row succeeded
   1  finished, some rows failed (the output has them with their reason)
   2  wrong argument, setting or input; nothing was sent
   3  stopped by the budget
   4  stopped by the upstream: key, billing, spend limit
   5  interrupted; the same command goes on from there
   6  every row succeeded, but after the deadline
  70  a bug, or a count that cannot be proved";

/// An error that a user can do something about.
#[derive(Debug)]
pub(crate) struct ExpectedError {
    exit: Exit,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
}

impl ExpectedError {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            causes: Vec::new(),
            hint: None,
        }
    }

    /// A wrong argument, setting or input.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// What to type or change.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// An error and the chain of its causes. A cause that the text before it quotes is left out.
    pub(crate) fn because(exit: Exit, error: &(dyn Error + 'static)) -> Self {
        let mut found = Self::new(exit, error.to_string());
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            let before = found.causes.last().unwrap_or(&found.message);
            if !before.contains(&text) {
                found.causes.push(text);
            }
            cause = error.source();
        }
        found
    }

    /// An error of the engine. Before a job is in the store nothing can have been sent; after that
    /// whatever was paid is kept, and the same command goes on.
    pub(crate) fn engine(error: &EngineError, job_exists: bool) -> Self {
        let exit = match error {
            EngineError::Output(OutputError::Count { .. }) => Exit::Bug,
            _ if job_exists => Exit::Interrupted,
            _ => Exit::Usage,
        };
        let mut found = Self::because(exit, error);
        if matches!(error, EngineError::Ingest(_)) {
            // Its texts say in plain words what the system said.
            found.causes.clear();
        }
        found.hint = Some(error.hint()).filter(|hint| !hint.is_empty());
        found
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// The same as one JSON object, for `--json`.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "error": {
            "exit_code": self.exit.code(),
            "message": self.message,
            "causes": self.causes,
            "hint": self.hint,
        }})
    }
}

impl fmt::Display for ExpectedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("error: ")?;
        f.write_str(&self.message)?;
        f.write_char('\n')?;
        for cause in &self.causes {
            writeln!(f, "  because: {cause}")?;
        }
        match &self.hint {
            Some(hint) => writeln!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl From<StoreError> for ExpectedError {
    fn from(error: StoreError) -> Self {
        Self::because(Exit::Usage, &error).hint(error.hint())
    }
}

impl From<BookError> for ExpectedError {
    fn from(error: BookError) -> Self {
        Self::because(Exit::Usage, &error).hint(error.hint())
    }
}

impl From<PriceError> for ExpectedError {
    fn from(error: PriceError) -> Self {
        Self::because(Exit::Usage, &error).hint(error.hint())
    }
}

impl From<ClientError> for ExpectedError {
    /// The texts of these errors say what to write instead, but for an option that is not offered.
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::PlainHttp { host } => Self::usage(format!(
                "plain `http://` to `{host}` would send the key in clear text"
            ))
            .hint("write `https://`; only this machine is reached without"),
            error => Self::because(Exit::Usage, &error),
        }
    }
}
