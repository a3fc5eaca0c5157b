//! Owns a download of results: lines in a shuffled order, written one by one from a few numbers
//! per row, so that no download is ever held as a whole.

use std::sync::Arc;

use offpeak_wire::error::ErrorKind;

use crate::answer::Message;
use crate::bill::Lane;
use crate::book::Book;
use crate::config::Config;
use crate::dice::{self, Purpose};
use crate::fault::{Faults, LineFault};
use crate::http::Problem;
use crate::rule::{CutAt, Effects};

use super::row::{Outcome, Rows};
use super::usize_of;

/// The download broke off in the middle of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection broke in the middle of a line")]
pub struct Cut;

/// The result lines of an ended batch, still to be written.
#[derive(Debug)]
pub struct Lines {
    rows: Arc<Rows>,
    order: Vec<u32>,
    next: usize,
    cut: Option<CutAt>,
    /// Bytes written so far.
    written: usize,
    broken: bool,
    faults: Box<Faults>,
}

impl Lines {
    pub(super) fn new(rows: Arc<Rows>, config: &Config, nth: u64, effects: &Effects) -> Self {
        let batch = u64::from(rows.batch);
        let count = u32::try_from(rows.list.len()).expect("at most 100,000 rows");
        // The same order in every download of one batch, unless a rule says otherwise.
        let other = if effects.reordered { nth + 1 } else { 0 };
        let roll = dice::roll(rows.seed, Purpose::ResultOrder, batch, other);
        let order = dice::shuffled(count, roll);
        let line = |line| CutAt::Line(usize::try_from(line).expect("a row's number"));
        let cut = match effects.cut {
            Some(CutAt::Anywhere) => {
                let roll = dice::roll(config.faults.seed, Purpose::FaultDetail, batch, !nth);
                let last = u64::from(count.saturating_sub(1));
                Some(line(dice::between(roll, 0, last)))
            }
            Some(cut) => Some(cut),
            None => config
                .faults
                .truncation(batch, nth, u64::from(count))
                .map(line),
        };
        Self {
            rows,
            order,
            next: 0,
            cut,
            written: 0,
            broken: false,
            faults: Box::new(config.faults.clone()),
        }
    }

    /// Appends the next line with its line break; `None` after the last.
    ///
    /// # Errors
    ///
    /// When the download breaks off here; half a line was appended.
    pub fn write_next(&mut self, out: &mut Vec<u8>) -> Option<Result<(), Cut>> {
        let index = *self.order.get(self.next).filter(|_| !self.broken)?;
        let start = out.len();
        self.line(index, out);
        out.push(b'\n');
        let length = out.len() - start;
        if self.cut == Some(CutAt::Line(self.next)) {
            out.truncate(start + length / 2);
            self.broken = true;
            return Some(Err(Cut));
        }
        self.next += 1;
        match self.faults.of_line(
            u64::from(self.rows.batch),
            u64::from(index),
            self.rows.custom_id(index),
        ) {
            Some(LineFault::Twice) => out.extend_from_within(start..),
            Some(LineFault::Malformed) => {
                out.truncate(start + length / 2);
                out.push(b'\n');
            }
            Some(LineFault::Missing) => out.truncate(start),
            None => {}
        }
        if let Some(CutAt::Byte(most)) = self.cut
            && self.written + out.len() - start > most
        {
            out.truncate(start + most - self.written);
            self.broken = true;
            return Some(Err(Cut));
        }
        self.written += out.len() - start;
        Some(Ok(()))
    }

    fn line(&self, index: u32, out: &mut Vec<u8>) {
        let row = &self.rows.list[usize_of(index)];
        out.extend_from_slice(b"{\"custom_id\":\"");
        out.extend_from_slice(self.rows.custom_id(index).as_bytes());
        out.extend_from_slice(b"\",\"result\":{\"type\":\"");
        match row.outcome {
            Outcome::Succeeded => {
                out.extend_from_slice(b"succeeded\",\"message\":");
                let message = Message {
                    id: self.rows.message_id(index),
                    model: Book::embedded().model(row.model),
                    lane: Lane::Batch,
                    plan: &row.plan,
                    tally: row.tally(),
                };
                message.write(out);
            }
            Outcome::Invalid => self.refused(index, out),
            Outcome::ApiError => {
                self.ran(
                    index,
                    &Problem::new(ErrorKind::Api, "Internal server error"),
                    out,
                );
            }
            Outcome::Overloaded => {
                self.ran(
                    index,
                    &Problem::new(ErrorKind::Overloaded, "Overloaded"),
                    out,
                );
            }
            Outcome::Canceled => out.extend_from_slice(b"canceled\""),
            // A row of an ended batch is never pending.
            Outcome::Expired | Outcome::Pending => out.extend_from_slice(b"expired\""),
        }
        out.extend_from_slice(b"}}");
    }

    /// A row that was refused for its params, or that a rule has fail.
    fn refused(&self, index: u32, out: &mut Vec<u8>) {
        let problem = &self.rows.problems[&index];
        if problem.kind.is_retryable() {
            self.ran(index, problem, out);
        } else {
            error(problem, None, out);
        }
    }

    /// A row that failed while it ran has the id of the worker's request.
    fn ran(&self, index: u32, problem: &Problem, out: &mut Vec<u8>) {
        let roll = |seed| {
            let batch = u64::from(self.rows.batch);
            dice::roll(seed, Purpose::RowRequestId, batch, u64::from(index))
        };
        let id = dice::id("workerreq_01", roll(self.rows.seed), roll(!self.rows.seed));
        error(problem, Some(&id), out);
    }
}

fn error(problem: &Problem, id: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"errored\",\"error\":");
    problem.write(id, out);
}
