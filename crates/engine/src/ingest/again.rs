//! What becomes of each row in a run that asks those again that were cut off: by how it ended in the run
//! before.
//!
//! The request is the row's own with other digits in `max_tokens`, and all that follows from a request is
//! found anew. Leaves out how rows ended (`reuse`).

use std::ops::Range;
use std::path::Path;

use offpeak_core::job::outcome::Outcomes;
use offpeak_core::units::Usd;
use offpeak_wire::request::RequestView;

use super::batch::row_problem;
use super::check::{Checker, Rules, first_16};
use super::error::{IngestError, ProblemKind, RowProblem};
use super::maker::leave_framing_out;
use super::render::Shape;
use super::rows::{Bytes, Content, Rows};
use super::sink::key_text;
use crate::reuse::{Again, AnswerAt, End, Past, Pasts};

/// Rows that are sent although a run has had them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AskedAgain {
    /// The `max_tokens` of those that are asked with more.
    pub max_tokens: u32,
    /// How many these are.
    pub rows: u64,
    /// Rows that were not answered, and are sent as they were.
    pub unanswered: u64,
    /// How the others ended, which are taken over.
    pub taken_over: Outcomes,
}

/// Goes through the rows together with how they ended.
#[derive(Debug)]
pub(super) struct Deciding<'a> {
    run: u32,
    pasts: Pasts<'a>,
    next: Option<Past>,
    pub(super) asked: AskedAgain,
    checker: Checker<'a>,
    /// A whole request.
    request: Vec<u8>,
}

/// Where a row stands.
#[derive(Debug, Clone)]
pub(super) struct At<'a> {
    pub(super) input: &'a Path,
    pub(super) row: u64,
    pub(super) line: u64,
    /// Within what was made.
    pub(super) key: Option<Range<usize>>,
}

impl<'a> Deciding<'a> {
    pub(super) fn of(again: &'a mut Again, rules: Rules<'a>) -> Result<Self, IngestError> {
        let run = again.runs[0].run();
        let asked = AskedAgain {
            max_tokens: again.max_tokens,
            ..AskedAgain::default()
        };
        let read = |source| IngestError::Earlier { run, source };
        let mut pasts = again.pasts().map_err(read)?;
        let next = pasts.next().transpose().map_err(read)?;
        Ok(Self {
            run,
            pasts,
            next,
            asked,
            checker: Checker::new(rules),
            request: Vec::new(),
        })
    }

    /// What is sent or spooled of the next row, and the answer that it takes over, with its cost.
    pub(super) fn content(
        &mut self,
        at: &At<'_>,
        content: Content,
        from: (&Rows, Option<&Shape>),
        made: &mut Vec<u8>,
    ) -> Result<(Content, Option<(AnswerAt, Usd)>), IngestError> {
        let Some(past) = self.past(at.row)? else {
            return Ok((content, None));
        };
        let max_tokens = content.facts.as_ref().map(|facts| facts.max_tokens);
        let max_tokens = max_tokens.or_else(|| from.1.map(|shape| shape.facts.max_tokens));
        let was_asked_so = content.digest == past.digest;
        // What it was asked with before, if a run has asked it with more.
        let before = if was_asked_so {
            None
        } else {
            let before = self.with(past.max_tokens, at, &content, from, made)?;
            if before.digest != past.digest {
                return Err(IngestError::OtherRows { run: self.run });
            }
            Some(before)
        };
        let larger = self.asked.max_tokens;
        match past.end {
            End::Settled { at, class, cost } => {
                self.asked.taken_over.count(class);
                Ok((before.unwrap_or(content), Some((at, cost))))
            }
            End::Unanswered if was_asked_so || max_tokens >= Some(larger) => {
                self.asked.unanswered += 1;
                Ok((content, None))
            }
            End::CutOff | End::Unanswered => {
                self.asked.rows += 1;
                self.with(larger, at, &content, from, made)
                    .map(|content| (content, None))
            }
        }
    }

    fn past(&mut self, row: u64) -> Result<Option<Past>, IngestError> {
        while self.next.is_some_and(|past| past.row < row) {
            let next = self.pasts.next().transpose();
            self.next = next.map_err(|source| {
                let run = self.run;
                IngestError::Earlier { run, source }
            })?;
        }
        Ok(self.next.filter(|past| past.row == row))
    }

    /// A row with another `max_tokens`. Its bytes are appended to what was made.
    fn with(
        &mut self,
        max_tokens: u32,
        at: &At<'_>,
        content: &Content,
        (rows, shape): (&Rows, Option<&Shape>),
        made: &mut Vec<u8>,
    ) -> Result<Content, IngestError> {
        self.request.clear();
        let (head, tail) = shape.map_or((&[][..], &[][..]), |shape| (&shape.head, &shape.tail));
        let in_blocks = match &content.bytes {
            Bytes::Whole(span) => {
                self.request
                    .extend_from_slice(&rows.piece.bytes[span.clone()]);
                false
            }
            Bytes::Made(span) => {
                self.request.extend_from_slice(&made[span.clone()]);
                false
            }
            Bytes::Middle(span) => {
                self.request.extend_from_slice(head);
                self.request.extend_from_slice(&made[span.clone()]);
                self.request.extend_from_slice(tail);
                content.facts.is_some()
            }
        };
        let asked = self.asked_with(max_tokens);
        let (request, mut facts) = asked.map_err(|problem| {
            let key = at.key.clone().map(|span| key_text(&made[span]));
            let file = at.input.to_owned();
            IngestError::Job(Box::new(RowProblem::new(file, at.line, key, problem)))
        })?;
        if in_blocks {
            leave_framing_out(&mut facts.path);
        }
        let start = made.len();
        made.extend_from_slice(&request);
        Ok(Content {
            key_digest: content.key_digest,
            bytes: Bytes::Made(start..made.len()),
            request_len: u32::try_from(request.len()).expect("a row that fits is below 4 GiB"),
            framing: content.framing,
            digest: first_16(&blake3::hash(&request)),
            worst: facts.worst,
            facts: Some(facts),
        })
    }

    /// The request with another `max_tokens`, checked.
    fn asked_with(
        &mut self,
        max_tokens: u32,
    ) -> Result<(Vec<u8>, super::check::Facts), ProblemKind> {
        let problem = |error| row_problem(&self.request, &error);
        let view = RequestView::parse(&self.request).map_err(problem)?;
        let request = view.with_max_tokens(max_tokens);
        let request = request.ok_or(ProblemKind::MaxTokensMissing)?;
        let view = RequestView::parse(&request).map_err(|error| row_problem(&request, &error))?;
        let facts = self.checker.check(&view)?;
        Ok((request, facts))
    }
}
