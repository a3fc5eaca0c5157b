//! Where text goes: stdout is for data, stderr is for people. The only place that writes to either.
//!
//! Leaves out the progress of a run (`progress`), which redraws its line.

use std::io::{self, ErrorKind, IsTerminal, Write};

use serde::Serialize;

use crate::error::{Exit, ExpectedError};

/// Width of text that does not go to a terminal, in columns.
const PLAIN_WIDTH: usize = 100;
/// Wider text than this is hard to read.
const WIDTH_MAX: usize = 120;

/// Prints as the global options ask for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Printer {
    json: bool,
    quiet: bool,
}

impl Printer {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    /// Whether answers are to be JSON.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    pub(crate) fn is_quiet(self) -> bool {
        self.quiet
    }

    /// The answer of a command, on stdout: text of the width that it is given, or JSON.
    pub(crate) fn answer(
        self,
        text: impl FnOnce(usize) -> String,
        json: &impl Serialize,
    ) -> Result<(), ExpectedError> {
        if self.json {
            self.json(json)
        } else {
            to_stdout(&text(width(&io::stdout())))
        }
    }

    /// JSON on stdout.
    pub(crate) fn json(self, value: &impl Serialize) -> Result<(), ExpectedError> {
        let mut text = serde_json::to_string_pretty(value).expect("answers have only string keys");
        text.push('\n');
        to_stdout(&text)
    }

    /// Data on stdout that is what it is, with or without `--json`.
    pub(crate) fn data(self, text: &str) -> Result<(), ExpectedError> {
        to_stdout(text)
    }

    /// A line for people that they can do without.
    pub(crate) fn note(self, text: &str) {
        if !self.quiet {
            self.say(text);
        }
    }

    /// Longer text for people, of the width that it is given, that they can do without.
    pub(crate) fn screen(self, text: impl FnOnce(usize) -> String) {
        if !self.quiet {
            to_stderr(&text(width(&io::stderr())));
        }
    }

    /// A line for people that they must see.
    pub(crate) fn say(self, text: &str) {
        to_stderr(&format!("{text}\n"));
    }

    /// Text for people that they must see, without a line break at its end: a question.
    pub(crate) fn ask(self, screen: impl FnOnce(usize) -> String, question: &str) {
        to_stderr(&screen(width(&io::stderr())));
        to_stderr(question);
    }

    /// An error, on stderr; with `--json` on stdout as well.
    pub(crate) fn error(self, error: &ExpectedError) {
        to_stderr(&error.to_string());
        if self.json {
            // The reason has been told on stderr; a closed stdout changes nothing about it.
            drop(self.json(&error.to_json()));
        }
    }
}

fn to_stdout(text: &str) -> Result<(), ExpectedError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever read it has seen enough: `offpeak prices | head`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(ExpectedError::because(Exit::Interrupted, &error)
            .hint("stdout cannot be written to; run the same command again, elsewhere")),
        Ok(()) => Ok(()),
    }
}

/// There is nobody left to tell that stderr does not work.
fn to_stderr(text: &str) {
    let mut err = io::stderr().lock();
    drop(err.write_all(text.as_bytes()).and_then(|()| err.flush()));
}

fn width(stream: &(impl IsTerminal + std::os::fd::AsFd)) -> usize {
    if !stream.is_terminal() {
        return PLAIN_WIDTH;
    }
    match rustix::termios::tcgetwinsize(stream) {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col).min(WIDTH_MAX),
        _ => PLAIN_WIDTH,
    }
}
