//! The downloaded results of a batch, read once: every answer priced and kept where it is, every other
//! line left for a closer look. Lines come in any order; a number per row puts them into ours.
//!
//! Leaves out what becomes of rows without an answer (`batch`).

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::slice::ChunksExact;

use offpeak_core::job::mark::ShardMark;
use offpeak_core::job::retry::{self, Finding, Judgement};
use offpeak_core::job::shard::Shard;
use offpeak_core::units::Timestamp;
use offpeak_wire::result::ResultLine;
use offpeak_wire::usual::UsualLine;

use super::answer::Answer;
use super::census::Census;
use super::priced::priced;
use super::row::{Part, Received, Travel, attempts_before};
use super::rows::{load_rows, position_of};
use super::segment::{KEPT_FRAME_LEN, row_of};
use super::{SettleContext, SettleError, lines};
use crate::spool::RowRef;

/// A line of a row that needs a closer look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    /// The position of its row.
    position: u32,
    /// Its place in the file.
    pub(super) offset: u64,
    pub(super) len: u32,
    /// Whether it is a result line at all.
    readable: bool,
}

/// What the downloaded lines of a shard say, by row. What is kept of a row is small and of a fixed
/// size.
#[derive(Debug)]
pub struct Results {
    pub(super) rows: Vec<RowRef>,
    census: Census,
    stretches: Vec<Stretch>,
    /// For each row, which of all kept answers is its own.
    of_row: Vec<u32>,
    /// By position, then in the order of the file.
    lines: Vec<Line>,
}

/// What a stretch of the file says.
#[derive(Debug, Default)]
struct Stretch {
    census: Census,
    /// Its answers: their records, sums and examples.
    part: Part,
    lines: Vec<Line>,
}

/// No answer is kept for the row.
const NONE: u32 = u32::MAX;

/// What there is for one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// Its answer, as a record of the outcome segment; counted already.
    Kept(&'a [u8]),
    /// All its lines, if any.
    Lines(&'a [Line]),
}

/// Reads the downloaded lines of a batch shard; those that are not of its rows are only counted.
/// `created_at` is when the batch was created: the prices of that moment hold.
///
/// # Errors
///
/// When a file cannot be read.
pub fn read_results(
    ctx: &SettleContext<'_>,
    shard: &Shard,
    created_at: Timestamp,
) -> Result<Results, SettleError> {
    let reader = Reader {
        ctx: *ctx,
        mark: ShardMark::new(ctx.job, shard.no),
        travel: Travel::of(shard),
        created_at,
        path: ctx.spool.results(shard.no),
    };
    let rows = load_rows(ctx.spool, shard)?;
    let stretches = reader.read(&rows, &BTreeSet::new())?;
    let (results, several) = Results::of(rows, stretches);
    if several.is_empty() {
        return Ok(results);
    }
    // Which of several lines counts is decided row by row. That a row has several is known only when
    // all lines were read, and their sums are in by then: so once more without those rows.
    let stretches = reader.read(&results.rows, &several)?;
    Ok(Results::of(results.rows, stretches).0)
}

/// What the lines are read with.
struct Reader<'a> {
    ctx: SettleContext<'a>,
    mark: ShardMark,
    travel: Travel,
    created_at: Timestamp,
    path: PathBuf,
}

impl Reader<'_> {
    /// Keeps the answers of all rows but some.
    fn read(&self, rows: &[RowRef], apart: &BTreeSet<u32>) -> Result<Vec<Stretch>, SettleError> {
        lines::fold(&self.path, Stretch::default, |stretch, offset, line| {
            stretch.census.lines += 1;
            let usual = UsualLine::parse(line);
            let row = |custom_id: &str| self.mark.row(custom_id);
            let row = match &usual {
                Some(usual) => Some(row(usual.custom_id)),
                None => ResultLine::custom_id_of(line).map(|custom_id| row(&custom_id)),
            };
            let Some((row, len)) = row.zip(u32::try_from(line.len()).ok()) else {
                stretch.census.malformed += 1;
                return;
            };
            let Some(position) = row.and_then(|row| position_of(rows, row)) else {
                stretch.census.foreign += 1;
                return;
            };
            let readable = usual.is_some() || ResultLine::parse(line).is_ok();
            stretch.census.malformed += u64::from(!readable);
            let short = u32::try_from(position).expect("a shard has at most as many rows");
            let kept = usual
                .filter(|_| !apart.contains(&short))
                .is_some_and(|usual| self.keep(rows[position], offset, usual, &mut stretch.part));
            if !kept {
                stretch.lines.push(Line {
                    position: short,
                    offset,
                    len,
                    readable,
                });
            }
        })
    }

    /// Takes an answer as it is, if nothing stands against it.
    fn keep(&self, reference: RowRef, offset: u64, line: UsualLine<'_>, part: &mut Part) -> bool {
        let (start, len) = (line.place.start as u64, line.place.len());
        let answer = Answer::of_line(line);
        let finding = Finding::Message(answer.stop_reason.clone());
        let Judgement::Final(class) = retry::judge(&finding, reference.attempts) else {
            return false;
        };
        // The row itself is not looked at, so its model is known only if the job has no other.
        let of_request = match self.ctx.models {
            [only] => only,
            _ => &*answer.model,
        };
        let models = [&*answer.model, of_request];
        let (lane, at) = (self.travel.lane, self.created_at);
        let Ok(priced) = priced(self.ctx.book, lane, at, models, &answer.usage) else {
            return false;
        };
        let received = Received {
            class,
            answer,
            attempts: attempts_before(&reference) + 1,
            offset: offset + start,
            len: u32::try_from(len).expect("a part of a line that is not longer"),
        };
        part.answered(self.travel, reference, &received, &priced);
        true
    }
}

impl Results {
    /// Puts the lines in the order of the rows. Also tells the rows that have more than the answer
    /// that is kept.
    fn of(rows: Vec<RowRef>, mut stretches: Vec<Stretch>) -> (Self, BTreeSet<u32>) {
        let mut several = BTreeSet::new();
        let mut of_row = vec![NONE; rows.len()];
        let mut census = Census::default();
        let mut lines = Vec::new();
        for stretch in &mut stretches {
            census.lines += stretch.census.lines;
            census.foreign += stretch.census.foreign;
            census.malformed += stretch.census.malformed;
            lines.append(&mut stretch.lines);
        }
        let records = stretches.iter().flat_map(Stretch::records);
        for (number, record) in (0..).zip(records) {
            let position = position_of(&rows, row_of(record)).expect("it was found by that row");
            if of_row[position] != NONE {
                several.extend(u32::try_from(position));
            }
            of_row[position] = number;
        }
        lines.sort_by_key(|line| line.position);
        let mut answered: Vec<bool> = of_row.iter().map(|number| *number != NONE).collect();
        for line in &lines {
            let position = line.position as usize;
            if of_row[position] != NONE {
                several.insert(line.position);
            }
            answered[position] |= line.readable;
        }
        let with_a_line = answered.iter().filter(|answered| **answered).count() as u64;
        census.missing = rows.len() as u64 - with_a_line;
        census.duplicate = census.lines - census.foreign - census.malformed - with_a_line;
        let results = Self {
            rows,
            census,
            stretches,
            of_row,
            lines,
        };
        (results, several)
    }

    /// What the lines are: all there, all readable, all ours?
    #[must_use]
    pub fn census(&self) -> Census {
        self.census
    }

    /// What there is for each row, in the order of the rows.
    pub(super) fn by_row(&self) -> impl Iterator<Item = Found<'_>> {
        let mut rest = &self.lines[..];
        (0..)
            .zip(&self.of_row)
            .map(move |(position, number)| match *number {
                NONE => {
                    let own = rest.partition_point(|line| line.position <= position);
                    let (own, later) = rest.split_at(own);
                    rest = later;
                    Found::Lines(own)
                }
                number => Found::Kept(self.record(number as usize)),
            })
    }

    fn record(&self, mut number: usize) -> &[u8] {
        for stretch in &self.stretches {
            let mut records = stretch.records();
            let len = records.len();
            match records.nth(number) {
                Some(record) => return record,
                None => number -= len,
            }
        }
        unreachable!("a number was given to every record")
    }

    /// The sums and examples of all kept answers.
    pub(super) fn take_sums(&mut self) -> Part {
        let mut whole = Part::default();
        for stretch in &mut self.stretches {
            whole.tally.add(&std::mem::take(&mut stretch.part.tally));
            whole
                .examples
                .extend(&std::mem::take(&mut stretch.part.examples));
        }
        whole
    }
}

impl Stretch {
    fn records(&self) -> ChunksExact<'_, u8> {
        self.part.framed.chunks_exact(KEPT_FRAME_LEN)
    }
}
