//! Where checked rows arrive, in input order: they are numbered and spooled, the levels they share are
//! looked for, and problems are gathered.
//!
//! Leaves out parsing and its threads. Duplicate keys (`duplicates`) and the group of each row
//! (`groups`) are known only at the end.

use std::io;
use std::path::{Path, PathBuf};

use offpeak_core::job::outcome::OutcomeClass;
use offpeak_core::units::Usd;
use offpeak_wire::splice::MarkPoint;

use super::again::{At, Deciding};
use super::error::{EXAMPLES_MAX, IngestError, ProblemKind, RowProblem};
use super::groups::{About, Candidates};
use super::keys::{Entry, Keys};
use super::levels::Level;
use super::render::Shape;
use super::rows::{Bytes, Content, Rows};
use super::sample::Sample;
use super::unsent::Requests;
use super::ways::{Way, WaysWriter};
use crate::reuse::AnswerAt;
use crate::settle::kept::KeptIn;
use crate::settle::line::{Line, Reason, write_line};
use crate::settle::segment::{SegmentWriter, frame_line};
use crate::spec::OnInvalid;
use crate::spool::{FrameId, RowAt, RowHead, RowMeta, SpoolDir, SpoolWriter};

/// Takes rows in their order.
pub(super) struct Sink<'a> {
    pub(super) input: &'a Path,
    pub(super) on_invalid: OnInvalid,
    shape: Option<&'a Shape>,
    /// Rows of the input so far, invalid ones included.
    pub(super) rows: u64,
    pub(super) models: Vec<String>,
    pub(super) candidates: Candidates,
    pub(super) ways: WaysWriter,
    pub(super) keys: Keys,
    pub(super) requests: Requests,
    pub(super) params: blake3::Hasher,
    pub(super) first_unbounded: Option<(u64, &'static str)>,
    pub(super) problems: Problems,
    pub(super) sample: Sample,
    pub(super) disk: Option<Disk>,
    /// Of a run that asks only some rows again.
    pub(super) deciding: Option<Deciding<'a>>,
    scratch: Vec<u8>,
    levels: Vec<Level>,
    points: Vec<MarkPoint>,
}

/// Rows that cannot be sent: the first ones, and how many.
#[derive(Debug, Default)]
pub(super) struct Problems {
    pub(super) examples: Vec<RowProblem>,
    pub(super) total: u64,
}

/// What is being written.
pub(super) struct Disk {
    pub(super) dir: SpoolDir,
    rows: SpoolWriter,
    invalid: Option<SegmentWriter>,
    invalid_bytes: u64,
    frame: Option<FrameId>,
    /// Bytes of the input, to foretell the bytes of the spool.
    input_len: u64,
    input_read: u64,
}

impl Disk {
    pub(super) fn create(
        dir: &SpoolDir,
        shape: Option<&Shape>,
        input_len: u64,
    ) -> Result<Self, IngestError> {
        let make = || -> io::Result<_> {
            dir.create()?;
            // Of an earlier attempt that did not come to its end.
            for path in [
                dir.invalid_outcomes(),
                dir.shared_outcomes(),
                dir.earlier_outcomes(),
            ] {
                match std::fs::remove_file(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            SpoolWriter::create(dir)
        };
        let mut rows = make().map_err(write_error(dir, Some(input_len)))?;
        let frame = shape.and_then(|shape| rows.define_frame(&shape.head, &shape.tail));
        Ok(Self {
            dir: dir.clone(),
            rows,
            invalid: None,
            invalid_bytes: 0,
            frame,
            input_len,
            input_read: 0,
        })
    }

    /// The error for a disk that did not take something.
    pub(super) fn failed(&self) -> impl FnOnce(io::Error) -> IngestError + use<> {
        let (written, read, all) = (
            u128::from(self.rows.written()),
            u128::from(self.input_read),
            self.input_len,
        );
        let ratio = (written * u128::from(all)).checked_div(read);
        let needed = ratio
            .and_then(|needed| u64::try_from(needed).ok())
            .unwrap_or(all);
        write_error(&self.dir, Some(needed.max(self.rows.written())))
    }

    fn put(
        &mut self,
        row: RowHead<'_>,
        kin: u64,
        content: &Content,
        from: &Rows,
        shape: Option<&Shape>,
        scratch: &mut Vec<u8>,
    ) -> io::Result<RowAt> {
        match (&content.bytes, self.frame, shape) {
            (Bytes::Middle(span), Some(frame), _) => {
                self.rows
                    .append_framed(row, frame, &from.made[span.clone()])
            }
            (Bytes::Middle(span), None, shape) => {
                scratch.clear();
                scratch.extend_from_slice(shape.map_or(&[], |shape| &shape.head));
                scratch.extend_from_slice(&from.made[span.clone()]);
                scratch.extend_from_slice(shape.map_or(&[], |shape| &shape.tail));
                self.rows.append(row, kin, scratch)
            }
            (Bytes::Whole(span), ..) => self.rows.append(row, kin, &from.piece.bytes[span.clone()]),
            (Bytes::Made(span), ..) => self.rows.append(row, kin, &from.made[span.clone()]),
        }
    }

    fn put_invalid(&mut self, framed: &[u8]) -> io::Result<()> {
        let segment = match &mut self.invalid {
            Some(segment) => segment,
            none => none.insert(SegmentWriter::create(
                &self.dir.invalid_outcomes(),
                KeptIn::Nowhere,
                self.dir.disk(),
            )?),
        };
        self.invalid_bytes += framed.len() as u64;
        segment.append(framed)
    }

    /// Makes everything durable but the index, which comes after it; returns the bytes on disk.
    pub(super) fn finish(self) -> Result<u64, IngestError> {
        let failed = self.failed();
        let finish = || -> io::Result<u64> {
            let rows = self.rows.finish()?;
            if let Some(invalid) = self.invalid {
                invalid.finish()?;
            }
            Ok(rows + self.invalid_bytes)
        };
        finish().map_err(failed)
    }
}

pub(super) fn write_error(
    dir: &SpoolDir,
    needed: Option<u64>,
) -> impl FnOnce(io::Error) -> IngestError + use<> {
    let dir = dir.root().to_owned();
    move |source| {
        // How much room is needed only matters when there is too little.
        let full = matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        );
        IngestError::Write {
            dir,
            needed: needed.filter(|_| full),
            source,
        }
    }
}

impl<'a> Sink<'a> {
    pub(super) fn new(
        input: &'a Path,
        on_invalid: OnInvalid,
        shape: Option<&'a Shape>,
        disk: Option<Disk>,
        deciding: Option<Deciding<'a>>,
    ) -> Self {
        let runs: Option<PathBuf> = disk.as_ref().map(|disk| disk.dir.root().to_owned());
        Self {
            input,
            on_invalid,
            shape,
            rows: 0,
            models: Vec::new(),
            candidates: Candidates::default(),
            ways: WaysWriter::new(runs.as_deref()),
            keys: Keys::new(runs.clone()),
            requests: Requests::new(runs),
            params: blake3::Hasher::new(),
            first_unbounded: None,
            problems: Problems::default(),
            sample: Sample::default(),
            disk,
            deciding,
            scratch: Vec::new(),
            levels: Vec::new(),
            points: Vec::new(),
        }
    }

    /// Takes the rows of the next piece.
    pub(super) fn take(&mut self, rows: &mut Rows) -> Result<(), IngestError> {
        if let Some(disk) = &mut self.disk {
            disk.input_read = rows.piece.read;
        }
        let mut taken = std::mem::take(&mut rows.rows);
        for row in taken.drain(..) {
            let number = self.rows;
            self.rows += 1;
            match row.content {
                Ok(content) => {
                    self.params.update(&content.digest);
                    let at = At {
                        input: self.input,
                        row: number,
                        line: row.line,
                        key: row.key,
                    };
                    let (content, answer) = self.decide(&at, content, rows)?;
                    self.valid(&at, &content, answer, rows)?;
                }
                Err(problem) => {
                    let key = row.key.map(|span| &rows.made[span]);
                    self.invalid(number, row.line, key, problem)?;
                }
            }
        }
        rows.rows = taken;
        Ok(())
    }

    /// What is made of a row, and the answer that it takes over, with its cost.
    fn decide(
        &mut self,
        at: &At<'_>,
        content: Content,
        rows: &mut Rows,
    ) -> Result<(Content, Option<(AnswerAt, Usd)>), IngestError> {
        let Some(deciding) = &mut self.deciding else {
            return Ok((content, None));
        };
        let mut made = std::mem::take(&mut rows.made);
        let decided = deciding.content(at, content, (rows, self.shape), &mut made);
        rows.made = made;
        decided
    }

    fn valid(
        &mut self,
        at: &At<'_>,
        content: &Content,
        answer: Option<(AnswerAt, Usd)>,
        from: &Rows,
    ) -> Result<(), IngestError> {
        let (row, line) = (at.row, at.line);
        let key = at.key.clone().map_or(&b"null"[..], |span| &from.made[span]);
        let facts = content
            .facts
            .as_ref()
            .or_else(|| self.shape.map(|shape| &shape.facts));
        let facts = facts.expect("a row has facts of its own or those of the job's frame");
        let model = self.models.iter().position(|model| **model == *facts.model);
        let model = model.unwrap_or_else(|| {
            self.models.push(facts.model.to_string());
            self.models.len() - 1
        });
        let model = u16::try_from(model).expect("a price book has few models");
        self.levels.clone_from(&facts.path.levels);
        let end = match (&content.facts, &content.bytes) {
            (None, Bytes::Middle(span)) => self.shape.and_then(|shape| shape.end(span.len())),
            _ => facts.path.end,
        };
        self.levels
            .extend(end.map(|end| end.level(&content.digest)));
        let about = About {
            model,
            has_tools: facts.has_tools,
            caller_marked: facts.caller_marked,
        };
        self.candidates.note(&self.levels, about);
        if let (None, Some(why)) = (self.first_unbounded, facts.unbounded) {
            self.first_unbounded = Some((line, why));
        }
        let entry = Entry {
            digest: content.key_digest,
            row,
            line,
        };
        let (shape, len) = (self.shape, content.request_len as usize);
        self.sample
            .offer(row, line, len, |out| match &content.bytes {
                Bytes::Whole(span) => out.extend_from_slice(&from.piece.bytes[span.clone()]),
                Bytes::Made(span) => out.extend_from_slice(&from.made[span.clone()]),
                Bytes::Middle(span) => {
                    out.extend_from_slice(shape.map_or(&[], |shape| &shape.head));
                    out.extend_from_slice(&from.made[span.clone()]);
                    out.extend_from_slice(shape.map_or(&[], |shape| &shape.tail));
                }
            });
        let runs = self.disk.as_ref().map(|disk| disk.dir.clone());
        self.keys
            .push(entry)
            .map_err(|source| run_error(runs.as_ref(), source))?;
        let mut spooled = RowAt::default();
        if let Some(disk) = &mut self.disk {
            let meta = RowMeta {
                row,
                line,
                model,
                max_tokens: facts.max_tokens,
                request_len: content.request_len,
                framing: content.framing,
                digest: content.digest,
                bounded: facts.unbounded.is_none(),
                has_tools: facts.has_tools,
                geo_pinned: facts.geo_pinned,
            };
            self.points.clear();
            self.points
                .extend(self.levels.iter().filter_map(|level| level.point));
            let preamble = self.levels.iter().rev().find(|level| level.preamble);
            let kin = preamble.map_or(0, |level| level.digest);
            let head = RowHead {
                meta: &meta,
                key,
                points: &self.points,
            };
            spooled = disk
                .put(head, kin, content, from, self.shape, &mut self.scratch)
                .map_err(|error| disk.failed()(error))?;
        }
        let pushed = match answer {
            Some(answer) => self
                .requests
                .push_taken(row, spooled, content.worst, answer),
            None => self
                .requests
                .push(&content.digest, row, spooled, content.worst),
        };
        pushed.map_err(|source| run_error(runs.as_ref(), source))?;
        let way = Way {
            row,
            line,
            at: spooled,
            worst: content.worst,
            request_len: content.request_len,
            framing: content.framing,
            max_tokens: facts.max_tokens,
            digests: Vec::new(),
        };
        self.ways
            .push(&way, &self.levels)
            .map_err(|source| run_error(runs.as_ref(), source))
    }

    fn invalid(
        &mut self,
        row: u64,
        line: u64,
        key: Option<&[u8]>,
        problem: ProblemKind,
    ) -> Result<(), IngestError> {
        let problem = RowProblem::new(self.input.to_owned(), line, key.map(key_text), problem);
        self.problems.total += 1;
        match self.on_invalid {
            // Nothing will be sent, so nothing more needs to be written.
            OnInvalid::Stop => self.disk = None,
            OnInvalid::Skip => {
                if let Some(disk) = &mut self.disk {
                    self.scratch.clear();
                    frame_invalid(row, key.unwrap_or(b"null"), &problem, &mut self.scratch);
                    disk.put_invalid(&self.scratch)
                        .map_err(|error| disk.failed()(error))?;
                }
            }
        }
        if self.problems.examples.len() < EXAMPLES_MAX {
            self.problems.examples.push(problem);
        }
        Ok(())
    }
}

/// The error for sorting keys, which needs room where the job is or, without a job, where the system
/// keeps temporary files.
pub(super) fn run_error(dir: Option<&SpoolDir>, source: io::Error) -> IngestError {
    match dir {
        Some(dir) => write_error(dir, None)(source),
        None => IngestError::Write {
            dir: std::env::temp_dir(),
            needed: None,
            source,
        },
    }
}

/// A raw JSON scalar for people.
pub(super) fn key_text(raw: &[u8]) -> String {
    serde_json::from_slice(raw).unwrap_or_else(|_| String::from_utf8_lossy(raw).into_owned())
}

/// Appends the outcome of a row that was never sent.
pub(super) fn frame_invalid(row: u64, key: &[u8], problem: &RowProblem, out: &mut Vec<u8>) {
    let message = problem.to_string();
    let error = Reason {
        kind: "invalid_row",
        message: &message,
        request_id: None,
    };
    let line = Line {
        key,
        class: OutcomeClass::Invalid,
        answer: None,
        cost: Some(Usd::ZERO),
        route: None,
        attempts: 0,
        error: Some(error),
        reused: None,
    };
    frame_line(row, out, |out| write_line(&line, out));
}
