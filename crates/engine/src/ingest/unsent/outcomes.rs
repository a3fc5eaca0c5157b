//! The outcomes of rows that are not sent, written with the rows: whose answer each shows. Answers of an
//! earlier run are copied with them.
//!
//! Leaves out which rows these are (`unsent`).

use std::io::{self, BufWriter, Write};

use super::super::error::IngestError;
use super::super::sink::write_error;
use crate::reuse::{AnswerAt, EarlierRun, Taken, Taker};
use crate::settle::kept::{Kept, KeptIn};
use crate::settle::line::{Reused, WrittenLine, write_line};
use crate::settle::segment::{
    Origin, SegmentWriter, Shared, frame_earlier, frame_earlier_line, frame_shared,
};
use crate::spool::{RowAt, SpoolDir, SpoolReader, create_file};

/// The segments of rows that are not sent, begun with their first rows.
pub(super) struct Outcomes<'a> {
    dir: &'a SpoolDir,
    shared: Option<SegmentWriter>,
    earlier: Option<(SegmentWriter, BufWriter<std::fs::File>)>,
    /// Bytes of the answers so far.
    answers: u64,
    written: u64,
    taker: Taker<'a>,
    /// The rows of this job, opened for the first that failed before.
    rows: Option<SpoolReader>,
    framed: Vec<u8>,
    message: Vec<u8>,
}

impl<'a> Outcomes<'a> {
    pub(super) fn new(dir: &'a SpoolDir, earlier: &'a [EarlierRun]) -> Self {
        Self {
            dir,
            shared: None,
            earlier: None,
            answers: 0,
            written: 0,
            taker: Taker::new(earlier),
            rows: None,
            framed: Vec::new(),
            message: Vec::new(),
        }
    }

    pub(super) fn shared(&mut self, row: u64, shared: Shared) -> Result<(), IngestError> {
        self.framed.clear();
        frame_shared(row, &shared, &mut self.framed);
        let mut append = || {
            let segment = match &mut self.shared {
                Some(segment) => segment,
                none => {
                    let path = self.dir.shared_outcomes();
                    none.insert(SegmentWriter::create(
                        &path,
                        KeptIn::Nowhere,
                        self.dir.disk(),
                    )?)
                }
            };
            self.written += self.framed.len() as u64;
            segment.append(&self.framed)
        };
        append().map_err(write_error(self.dir, None))
    }

    pub(super) fn earlier(
        &mut self,
        row: u64,
        at: RowAt,
        answer: AnswerAt,
    ) -> Result<(), IngestError> {
        let taken = self.taker.take(answer, &mut self.message);
        let taken = taken.map_err(|source| IngestError::Earlier {
            run: self.taker.run(answer),
            source: source.into(),
        })?;
        self.framed.clear();
        match taken {
            Taken::Answer(kept, origin) => {
                let kept = Kept {
                    at,
                    offset: self.answers,
                    ..kept
                };
                frame_earlier(row, &kept, &origin, &mut self.framed);
                self.message.push(b'\n');
            }
            Taken::Failed(line, origin) => {
                self.message.clear();
                self.failed((row, at), &line, &origin)
                    .map_err(write_error(self.dir, None))?;
            }
        }
        let mut append = || {
            let (segment, answers) = match &mut self.earlier {
                Some(open) => open,
                none => {
                    let path = self.dir.earlier_outcomes();
                    let segment = SegmentWriter::create(&path, KeptIn::Earlier, self.dir.disk())?;
                    let answers = create_file(&self.dir.earlier_answers())?;
                    none.insert((segment, BufWriter::with_capacity(1 << 18, answers)))
                }
            };
            self.answers += self.message.len() as u64;
            self.written += (self.framed.len() + self.message.len()) as u64;
            answers.write_all(&self.message)?;
            segment.append(&self.framed)
        };
        append().map_err(write_error(self.dir, None))
    }

    /// Frames what a row shows that failed in an earlier run as this line says.
    fn failed(&mut self, (row, at): (u64, RowAt), line: &[u8], origin: &Origin) -> io::Result<()> {
        let rows = match &mut self.rows {
            Some(rows) => rows,
            none => none.insert(SpoolReader::open(self.dir)?),
        };
        let spooled = rows.read(at)?;
        let written = WrittenLine::read(line).ok_or(io::ErrorKind::InvalidData)?;
        let (run, of) = (origin.run, origin.row);
        let line = written.again(spooled.key, Reused::Run { run, row: of });
        frame_earlier_line(row, at, origin, &mut self.framed, |out| {
            write_line(&line, out);
        });
        Ok(())
    }

    /// Makes everything durable; returns the bytes.
    pub(super) fn finish(self) -> Result<u64, IngestError> {
        let Self {
            dir,
            shared,
            earlier,
            written,
            ..
        } = self;
        let finish = || -> io::Result<()> {
            if let Some(segment) = shared {
                segment.finish()?;
            }
            if let Some((segment, answers)) = earlier {
                let answers = answers
                    .into_inner()
                    .map_err(io::IntoInnerError::into_error)?;
                dir.disk().content(&answers, &dir.earlier_answers())?;
                let path = dir.earlier_answers();
                dir.disk().name_of(&path)?;
                segment.finish()?;
            }
            Ok(())
        };
        finish().map_err(write_error(dir, None))?;
        Ok(written)
    }
}
