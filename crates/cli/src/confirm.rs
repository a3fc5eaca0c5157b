//! The question before money is spent. It is asked only where somebody can answer; a script says
//! `--yes`.

use std::io::{self, BufRead, IsTerminal};

use crate::error::ExpectedError;
use crate::printer::Printer;

/// Shows `screen` and asks whether to send. `Ok(false)` is a no.
pub(crate) fn confirm(
    printer: Printer,
    screen: impl FnOnce(usize) -> String,
) -> Result<bool, ExpectedError> {
    if !is_somebody_there() {
        return Err(
            ExpectedError::usage("nobody is there to say yes to the cost")
                .hint("look at it with `offpeak plan`, then add `--yes`"),
        );
    }
    ask(printer, screen, "\nSend it? [y/N] ")
}

/// Shows `screen` and asks something else than about money; `hint` says what to do where nobody can
/// answer.
pub(crate) fn agree(
    printer: Printer,
    screen: impl FnOnce(usize) -> String,
    question: &str,
    hint: &str,
) -> Result<bool, ExpectedError> {
    if !is_somebody_there() {
        return Err(ExpectedError::usage("nobody is there to say yes").hint(hint));
    }
    ask(printer, screen, question)
}

fn is_somebody_there() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

fn ask(
    printer: Printer,
    screen: impl FnOnce(usize) -> String,
    question: &str,
) -> Result<bool, ExpectedError> {
    printer.ask(screen, question);
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| ExpectedError::usage(format!("the answer cannot be read: {error}")))?;
    Ok(is_yes(&answer))
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        assert!(is_yes("y\n") && is_yes("Yes\n"));
        for no in ["", "\n", "n\n", "yeah but\n", "j\n"] {
            assert!(!is_yes(no), "{no:?}");
        }
    }
}
