//! Where in the downloaded results the line of each row is, and whether the lines are complete.
//! Lines come in any order; an index of twelve bytes a row puts them into ours.
//!
//! Leaves out what the lines say.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::thread;

use offpeak_core::job::mark::Mark;
use offpeak_core::job::shard::{JobId, Shard, ShardNo};
use offpeak_wire::result::ResultLine;

use super::{SettleContext, SettleError, threads};
use crate::spool::{RefsReader, RowRef, SpoolDir};

/// Read buffer, in bytes.
const READ_BUFFER: usize = 1024 * 1024;

/// A shorter stretch of a file, in bytes, is not worth a thread.
const STRETCH_MIN: u64 = if cfg!(test) { 100 } else { 4 * 1024 * 1024 };

/// What the downloaded lines of a batch are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    /// Lines, blank ones not counted.
    pub lines: u64,
    /// Rows of the shard without a line that can be read.
    pub missing: u64,
    /// Lines that cannot be read.
    pub malformed: u64,
    /// Lines of a row that had one already.
    pub duplicate: u64,
    /// Lines that do not carry the mark of this shard's rows.
    pub foreign: u64,
}

impl Census {
    /// Whether the lines are those of another batch altogether.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.foreign > 0 && self.foreign + self.malformed == self.lines
    }

    /// Whether every row has exactly one readable line and nothing else came.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        (self.missing, self.malformed, self.duplicate, self.foreign) == (0, 0, 0, 0)
    }
}

/// Counts the downloaded lines of a shard: all there, all readable, all ours?
///
/// # Errors
///
/// When a file cannot be read.
pub fn census(ctx: &SettleContext<'_>, shard: &Shard) -> Result<Census, SettleError> {
    let rows = load_rows(ctx.spool, shard)?;
    let parts = scan(&ctx.spool.results(shard.no), |_, line| {
        match whose(line, ctx.job, shard.no, &rows) {
            Whose::Foreign => Whose::Foreign,
            _ if ResultLine::parse(line).is_err() => Whose::Unreadable,
            readable => readable,
        }
    })?;
    let mut census = Census::default();
    let mut seen = vec![false; rows.len()];
    for verdict in parts.into_iter().flatten() {
        census.lines += 1;
        match verdict {
            Whose::Foreign => census.foreign += 1,
            Whose::Unreadable => census.malformed += 1,
            Whose::Row(position) if seen[position] => census.duplicate += 1,
            Whose::Row(position) => seen[position] = true,
        }
    }
    census.missing = seen.iter().filter(|seen| !**seen).count() as u64;
    Ok(census)
}

/// The row references of a shard, by row.
pub(super) fn load_rows(spool: &SpoolDir, shard: &Shard) -> Result<Vec<RowRef>, SettleError> {
    let mut rows = RefsReader::open(spool, shard.rows)?.collect::<Result<Vec<_>, _>>()?;
    rows.sort_unstable_by_key(|row| row.row);
    Ok(rows)
}

/// The position of a row among the rows of a shard, which ascend.
pub(super) fn position_of(rows: &[RowRef], row: u64) -> Option<usize> {
    let first = rows.first()?.row;
    // Nearly every shard is an unbroken run of rows.
    let guess = usize::try_from(row.checked_sub(first)?).ok()?;
    match rows.get(guess) {
        Some(found) if found.row == row => Some(guess),
        _ => rows.binary_search_by_key(&row, |found| found.row).ok(),
    }
}

/// A line's place in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) offset: u64,
    /// Bytes; 0 for no line.
    pub(super) len: u32,
}

/// The lines of each row, in the order of the file.
#[derive(Debug)]
pub(super) struct ResultIndex {
    first: Vec<Span>,
    /// Further lines of the same row: rare, so apart.
    more: BTreeMap<usize, Vec<Span>>,
}

impl ResultIndex {
    /// Finds the lines of these rows; lines that are not theirs are passed over.
    pub(super) fn build(
        path: &Path,
        job: &JobId,
        shard: ShardNo,
        rows: &[RowRef],
    ) -> Result<Self, SettleError> {
        let parts = scan(path, |offset, line| match whose(line, job, shard, rows) {
            Whose::Row(position) => u32::try_from(line.len())
                .ok()
                .map(|len| (position, Span { offset, len })),
            Whose::Foreign | Whose::Unreadable => None,
        })?;
        let mut first = vec![Span { offset: 0, len: 0 }; rows.len()];
        let mut more: BTreeMap<usize, Vec<Span>> = BTreeMap::new();
        for (position, span) in parts.into_iter().flatten().flatten() {
            match first[position].len {
                0 => first[position] = span,
                _ => more.entry(position).or_default().push(span),
            }
        }
        Ok(Self { first, more })
    }

    /// The lines of the row at a position.
    pub(super) fn of(&self, position: usize) -> impl Iterator<Item = Span> {
        let first = Some(self.first[position]).filter(|span| span.len > 0);
        let more = self.more.get(&position).map_or(&[][..], Vec::as_slice);
        first.into_iter().chain(more.iter().copied())
    }

    /// Bytes of the first line of the row at a position.
    pub(super) fn bytes_of(&self, position: usize) -> usize {
        self.first[position].len as usize
    }
}

/// Whose line it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// Of the row at this position.
    Row(usize),
    Foreign,
    Unreadable,
}

fn whose(line: &[u8], job: &JobId, shard: ShardNo, rows: &[RowRef]) -> Whose {
    let Some(custom_id) = ResultLine::custom_id_of(line) else {
        return Whose::Unreadable;
    };
    Mark::parse(&custom_id)
        .filter(|mark| mark.job == *job && mark.shard == shard)
        .and_then(|mark| position_of(rows, mark.row))
        .map_or(Whose::Foreign, Whose::Row)
}

/// What `each` makes of every line that is not blank, in the order of the file; it gets a line
/// without its line break, and the line's offset. A few threads have a stretch of the file each.
fn scan<T: Send>(
    path: &Path,
    each: impl Fn(u64, &[u8]) -> T + Sync,
) -> Result<Vec<Vec<T>>, SettleError> {
    let len = std::fs::metadata(path)
        .map_err(SettleError::io(path))?
        .len();
    let stretch = len.div_ceil(threads() as u64).max(STRETCH_MIN);
    let starts: Vec<u64> = (0..len.div_ceil(stretch)).map(|n| n * stretch).collect();
    let each = &each;
    thread::scope(|scope| {
        let parts: Vec<_> = starts
            .into_iter()
            .map(|start| scope.spawn(move || scan_stretch(path, start..start + stretch, each)))
            .collect();
        let joined = parts
            .into_iter()
            .map(|part| part.join().expect("scanning does not panic"));
        joined
            .map(|part| part.map_err(SettleError::io(path)))
            .collect()
    })
}

/// The lines that begin within a stretch.
fn scan_stretch<T>(
    path: &Path,
    stretch: Range<u64>,
    each: impl Fn(u64, &[u8]) -> T,
) -> io::Result<Vec<T>> {
    let mut input = BufReader::with_capacity(READ_BUFFER, File::open(path)?);
    let mut line = Vec::new();
    let mut offset = stretch.start;
    if offset > 0 {
        // A line begins after a line break; the one before the stretch may be that.
        input.seek(SeekFrom::Start(offset - 1))?;
        offset = offset - 1 + input.skip_until(b'\n')? as u64;
    }
    let mut found = Vec::new();
    while offset < stretch.end {
        line.clear();
        let read = input.read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        let content = line.trim_ascii_end();
        if !content.is_empty() {
            found.push(each(offset, content));
        }
        offset += read as u64;
    }
    Ok(found)
}
