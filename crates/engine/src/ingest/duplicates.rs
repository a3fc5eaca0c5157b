//! What is done about duplicate keys: the first row with a key stays, later ones are invalid.
//!
//! They are known only when all rows were read, so the files are put right afterwards; that costs a
//! second pass over the index, and only when there are any.

use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use super::csv_ends::RecordEnds;
use super::error::{EXAMPLES_MAX, IngestError, ProblemKind, RowProblem};
use super::keys::{Entry, Keys};
use super::parser::Parser;
use super::reader::Piece;
use super::rows::Rows;
use super::sink::{frame_invalid, key_text, write_error};
use crate::settle::kept::KeptIn;
use crate::settle::segment::{Outcome, SegmentReader, SegmentWriter, frame_line};
use crate::spool::{IndexReader, IndexWriter, SpoolDir, SpoolReader};

/// Duplicates that are skipped one by one. More of them mean that the column is no key at all.
const SKIPPED_MAX: usize = 200_000;

/// A record whose key is looked up again is not read further than this.
const GLANCE_MAX: usize = 1 << 20;

/// The rows whose key an earlier row has.
#[derive(Debug, Default)]
pub(super) struct Duplicates {
    pub(super) total: u64,
    /// The first ones by line: line, and the line of the first row with the key.
    pub(super) examples: Vec<(u64, u64)>,
    /// All of them by row, with the line of the first; cut off at [`SKIPPED_MAX`].
    pub(super) skipped: Vec<(Entry, u64)>,
}

impl Duplicates {
    pub(super) fn find(keys: Keys, keep: bool) -> io::Result<Self> {
        let mut found = Self::default();
        let mut examples = BinaryHeap::new();
        keys.finish(|entry, first| {
            found.total += 1;
            examples.push((entry.line, first));
            if examples.len() > EXAMPLES_MAX {
                examples.pop();
            }
            if keep && found.skipped.len() < SKIPPED_MAX {
                found.skipped.push((*entry, first));
            }
        })?;
        found.examples = examples.into_sorted_vec();
        found.skipped.sort_unstable_by_key(|(entry, _)| entry.row);
        Ok(found)
    }

    /// Whether all of them are at hand.
    pub(super) fn can_be_skipped(&self) -> bool {
        self.skipped.len() as u64 == self.total
    }

    /// The examples as problems. Their keys are read from the input again, as far as it can be.
    pub(super) fn problems(&self, input: &Path, parser: &mut Parser<'_>) -> Vec<RowProblem> {
        let mut keys = KeysAgain::open(input, parser).ok();
        let problem = |(line, first): &(u64, u64)| {
            let key = keys.as_mut().and_then(|keys| keys.at(*line).ok().flatten());
            let problem = ProblemKind::DuplicateKey { first: *first };
            RowProblem::new(input.to_owned(), *line, key, problem)
        };
        self.examples.iter().map(problem).collect()
    }

    /// Takes the rows out of the index and puts them among the invalid outcomes; returns the bytes
    /// by which the files grew.
    pub(super) fn move_to_invalid(&self, dir: &SpoolDir, input: &Path) -> Result<u64, IngestError> {
        self.rewrite(dir, input).map_err(write_error(dir, None))
    }

    fn rewrite(&self, dir: &SpoolDir, input: &Path) -> io::Result<u64> {
        let mut rows = SpoolReader::open(dir)?;
        let entries = IndexReader::open(dir)?;
        let mut index = IndexWriter::create(dir)?;
        let path = dir.invalid_outcomes();
        let mut earlier = if path.exists() {
            Some(SegmentReader::open(&path)?)
        } else {
            None
        };
        let mut invalid = SegmentWriter::create(&path, KeptIn::Nowhere, dir.disk())?;
        let mut grown = 0;
        let mut framed = Vec::new();
        let mut skipped = self.skipped.iter().peekable();
        for entry in entries {
            let entry = entry?;
            let Some((_, first)) = skipped.next_if(|(skipped, _)| skipped.row == entry.row) else {
                index.push(&entry)?;
                continue;
            };
            if let Some(earlier) = &mut earlier {
                copy_before(earlier, entry.row, &mut invalid)?;
            }
            let row = rows.read(entry.at)?;
            let problem = ProblemKind::DuplicateKey { first: *first };
            let key = Some(key_text(row.key));
            let problem = RowProblem::new(input.to_owned(), row.meta.line, key, problem);
            framed.clear();
            frame_invalid(entry.row, row.key, &problem, &mut framed);
            grown += framed.len() as u64;
            invalid.append(&framed)?;
        }
        if let Some(earlier) = &mut earlier {
            copy_before(earlier, u64::MAX, &mut invalid)?;
        }
        index.finish()?;
        invalid.finish()?;
        Ok(grown)
    }
}

/// Copies the outcomes of rows before `row`.
fn copy_before(from: &mut SegmentReader, row: u64, to: &mut SegmentWriter) -> io::Result<()> {
    let mut framed = Vec::new();
    while let Some(next) = from.row().filter(|next| *next < row) {
        let Outcome::Line(line) = from.read()? else {
            return Err(io::Error::other("an invalid row has an answer"));
        };
        framed.clear();
        frame_line(next, &mut framed, |out| out.extend_from_slice(&line));
        to.append(&framed)?;
    }
    Ok(())
}

/// Reads keys from the input again, at ascending lines.
struct KeysAgain<'a, 'p> {
    input: BufReader<File>,
    parser: &'a mut Parser<'p>,
    /// The line that comes next.
    line: u64,
}

impl<'a, 'p> KeysAgain<'a, 'p> {
    fn open(path: &Path, parser: &'a mut Parser<'p>) -> io::Result<Self> {
        // What is no regular file, such as a pipe, gives its bytes only once.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::ErrorKind::NotSeekable.into());
        }
        Ok(Self {
            input: BufReader::new(File::open(path)?),
            parser,
            line: 1,
        })
    }

    fn at(&mut self, line: u64) -> io::Result<Option<String>> {
        while self.line < line {
            if self.input.skip_until(b'\n')? == 0 {
                return Ok(None);
            }
            self.line += 1;
        }
        let mut bytes = Vec::new();
        let mut ends = self.parser.is_csv().then(RecordEnds::default);
        loop {
            let start = bytes.len();
            let read = self.input.read_until(b'\n', &mut bytes)?;
            self.line += 1;
            let whole = ends
                .as_mut()
                .is_none_or(|ends| ends.last(&bytes[start..]).is_some());
            if whole || read == 0 || bytes.len() > GLANCE_MAX {
                break;
            }
        }
        if bytes.starts_with(b"\xEF\xBB\xBF") {
            bytes.drain(..3);
        }
        let piece = Piece {
            first_line: line,
            bytes,
            ..Piece::default()
        };
        let rows = self.parser.parse(Rows::of(piece, Vec::new(), Vec::new()));
        let key = rows.rows.first().and_then(|row| row.key.clone());
        Ok(key.map(|span| key_text(&rows.made[span])))
    }
}
