//! Settling a shard of the batch lane from its downloaded result lines.
//!
//! Rows are settled in chunks by a few threads; their parts are put together in the order of the
//! rows, so that the number of threads shows in nothing but the time.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use offpeak_core::job::outcome::OutcomeClass;
use offpeak_core::job::retry::{self, Again, Finding, Judgement};
use offpeak_core::job::shard::{Collection, RowRange, Shard};
use offpeak_core::price::Lane;
use offpeak_core::units::{Timestamp, Usd};
use offpeak_wire::error::ErrorBody;
use offpeak_wire::result::{ResultLine, RowResult};

use super::answer::Answer;
use super::index::{ResultIndex, Span, load_rows};
use super::line::Reason;
use super::row::{Part, Row, Travel};
use super::segment::SegmentWriter;
use super::{Leftovers, SettleContext, SettleError, Settlement, threads};
use crate::spool::{RefsWriter, RowRef, SpoolDir, SpoolReader, leftovers_file};

/// A chunk ends after so many rows …
const CHUNK_ROWS: usize = 512;

/// … or when its result lines have so many bytes.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Settles a batch shard: every row gets its line in the outcome segment of the shard, or is left
/// over.
///
/// A row is billed exactly if it was answered, a refusal included; by the prices of the moment that
/// the batch was created (Anthropic docs, batch processing). A row whose line is missing or cannot
/// be read is final, and half of its worst case is held as unknown. If a row has several lines, the
/// first that can be read counts. When the job was given up, what would be tried again ends as
/// expired, exhausted, errored or canceled.
///
/// # Errors
///
/// When a file cannot be read or written, or an answer has no price.
pub fn settle_batch(
    ctx: &SettleContext<'_>,
    shard: &Shard,
    collection: &Collection,
) -> Result<Settlement, SettleError> {
    let path = ctx.spool.results(shard.no);
    let rows = load_rows(ctx.spool, shard)?;
    let index = ResultIndex::build(&path, ctx.job, shard.no, &rows)?;
    let work = Work {
        ctx: *ctx,
        travel: Travel {
            lane: Lane::Batch,
            marked: shard.mark.is_some(),
        },
        created_at: collection.upstream.created_at,
        results: &path,
        chunks: chunks(rows.len(), |position| index.bytes_of(position)),
        rows: &rows,
        index: &index,
    };
    let segment_path = ctx.spool.outcomes(shard.no);
    let mut segment =
        SegmentWriter::create(&segment_path).map_err(SettleError::io(&segment_path))?;
    let mut whole = Part::default();
    work.run(|part| {
        segment
            .append(&part.framed)
            .map_err(SettleError::io(&segment_path))?;
        whole.append(part);
        Ok(())
    })?;
    segment.finish().map_err(SettleError::io(&segment_path))?;
    whole.tally.attempts = rows.len() as u64;
    let leftovers = write_leftovers(ctx, shard, &whole)?;
    Ok(Settlement {
        tally: whole.tally,
        leftovers,
        stop: whole.stop,
        examples: whole.examples.into_texts(),
    })
}

fn write_leftovers(
    ctx: &SettleContext<'_>,
    shard: &Shard,
    whole: &Part,
) -> Result<Option<Leftovers>, SettleError> {
    if whole.leftovers.is_empty() {
        return Ok(None);
    }
    let file = leftovers_file(shard.no);
    let rows = write_refs(ctx.spool, file, &whole.leftovers)
        .map_err(SettleError::io(&ctx.spool.refs(file)))?;
    Ok(Some(Leftovers {
        rows,
        bytes: whole
            .leftovers
            .iter()
            .map(|row| u64::from(row.request_len))
            .sum(),
        worst: whole
            .leftovers
            .iter()
            .map(|row| Usd::from_pico(row.worst.into()))
            .sum(),
        expired: whole.expired,
        round_max: whole
            .leftovers
            .iter()
            .map(|row| row.round)
            .max()
            .unwrap_or(0),
    }))
}

fn write_refs(spool: &SpoolDir, file: u32, rows: &[RowRef]) -> io::Result<RowRange> {
    let mut refs = RefsWriter::create(spool, file)?;
    for row in rows {
        refs.push(row)?;
    }
    refs.finish()
}

/// Cuts rows into chunks of at most [`CHUNK_ROWS`] and about [`CHUNK_BYTES`].
pub(super) fn chunks(rows: usize, bytes_of: impl Fn(usize) -> usize) -> Vec<Range<usize>> {
    let mut chunks = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for position in 0..rows {
        bytes += bytes_of(position);
        if bytes >= CHUNK_BYTES || position + 1 - start == CHUNK_ROWS || position + 1 == rows {
            chunks.push(start..position + 1);
            (start, bytes) = (position + 1, 0);
        }
    }
    chunks
}

/// Everything that the threads share, none of which changes.
struct Work<'a> {
    ctx: SettleContext<'a>,
    travel: Travel,
    created_at: Timestamp,
    results: &'a Path,
    chunks: Vec<Range<usize>>,
    rows: &'a [RowRef],
    index: &'a ResultIndex,
}

impl Work<'_> {
    /// Settles all chunks and hands over their parts in order. Thread k of n takes chunks k, k + n,
    /// k + 2n, …; whoever is ahead waits.
    fn run(
        &self,
        mut take: impl FnMut(Part) -> Result<(), SettleError>,
    ) -> Result<(), SettleError> {
        let threads = threads().min(self.chunks.len()).max(1);
        thread::scope(|scope| {
            let parts: Vec<Receiver<_>> = (0..threads)
                .map(|first| {
                    let (sender, receiver) = mpsc::sync_channel(2);
                    scope.spawn(move || self.settle_every(first, threads, &sender));
                    receiver
                })
                .collect();
            for chunk in 0..self.chunks.len() {
                let part = parts[chunk % threads].recv();
                take(part.expect("a thread sends a part or an error for each of its chunks")?)?;
            }
            Ok(())
        })
    }

    fn settle_every(
        &self,
        first: usize,
        step: usize,
        parts: &SyncSender<Result<Part, SettleError>>,
    ) {
        let mut desk = match Desk::open(self) {
            Ok(desk) => desk,
            // Nobody listens any more only if another thread failed first.
            Err(error) => return drop(parts.send(Err(error))),
        };
        for chunk in self.chunks.iter().skip(first).step_by(step) {
            let part = desk.settle(chunk.clone());
            let failed = part.is_err();
            if parts.send(part).is_err() || failed {
                return;
            }
        }
    }
}

/// What one thread has to itself.
struct Desk<'a> {
    work: &'a Work<'a>,
    spool: SpoolReader,
    results: File,
    line: Vec<u8>,
}

/// What the lines of a row say.
enum Found<'a> {
    Answer(Answer<'a>),
    Error(ErrorBody),
    Expired,
    Canceled,
    Unreadable(String),
}

impl<'a> Desk<'a> {
    fn open(work: &'a Work<'a>) -> Result<Self, SettleError> {
        let results = File::open(work.results).map_err(SettleError::io(work.results))?;
        Ok(Self {
            work,
            spool: SpoolReader::open(work.ctx.spool)?,
            results,
            line: Vec::new(),
        })
    }

    fn settle(&mut self, chunk: Range<usize>) -> Result<Part, SettleError> {
        let mut part = Part::default();
        for position in chunk {
            self.settle_row(position, &mut part)?;
        }
        Ok(part)
    }

    fn settle_row(&mut self, position: usize, part: &mut Part) -> Result<(), SettleError> {
        let Self {
            work,
            spool,
            results,
            line,
        } = self;
        let reference = work.rows[position];
        let spooled = spool.read(reference.at)?;
        let row = Row::new(&work.ctx, reference, &spooled)?;
        line.clear();
        let mut spans = work.index.of(position).peekable();
        while let Some(span) = spans.next() {
            read_span(results, span, line).map_err(SettleError::io(work.results))?;
            // A row with one line, which is every row but for upstream faults, is read only once.
            if spans.peek().is_none() || !matches!(find(line), Found::Unreadable(_)) {
                break;
            }
        }
        work.conclude(row, find(line), part)
    }
}

impl Work<'_> {
    fn conclude(&self, row: Row<'_>, found: Found<'_>, part: &mut Part) -> Result<(), SettleError> {
        let finding = match &found {
            Found::Answer(answer) => Finding::Message(answer.stop_reason.clone()),
            Found::Error(error) => Finding::Error(error.kind),
            Found::Expired => Finding::Expired,
            Found::Canceled => Finding::Canceled,
            Found::Unreadable(_) => Finding::Unreadable,
        };
        let judgement = retry::judge(&finding, row.reference.attempts);
        let class = match (judgement, self.ctx.canceled) {
            (Judgement::Final(class), _) => class,
            (judgement, true) => class_when_given_up(judgement),
            (Judgement::Again(again), false) => {
                part.left_over(next_try(row.reference, again));
                part.expired += u32::from(again == Again::Expired);
                return Ok(());
            }
            (Judgement::Stop(kind), false) => {
                part.left_over(row.reference);
                let message = match found {
                    Found::Error(error) => error.message,
                    _ => kind.to_string(),
                };
                part.stop.get_or_insert((kind, message));
                return Ok(());
            }
        };
        let attempts = row.attempts_before() + 1;
        match found {
            Found::Answer(answer) => {
                let answer = (class, answer);
                part.answered(
                    &self.ctx,
                    self.travel,
                    row,
                    self.created_at,
                    attempts,
                    answer,
                )?;
            }
            Found::Error(error) => {
                part.failed(self.travel, row, attempts, class, Reason::of_error(&error));
            }
            Found::Expired => {
                let reason = Reason::of_class(class, "the batch expired before this row was run");
                part.failed(self.travel, row, attempts, class, reason);
            }
            Found::Canceled => {
                let reason = Reason::of_class(class, "canceled before it was run");
                part.failed(self.travel, row, attempts, class, reason);
            }
            Found::Unreadable(problem) => {
                let held = half(row.reference.worst);
                part.hold(held);
                part.unreadable(self.travel, row, attempts, held, &problem);
            }
        }
        Ok(())
    }
}

/// The reference of a row that is tried again, with this try counted.
fn next_try(row: RowRef, again: Again) -> RowRef {
    match again {
        Again::Failed => RowRef {
            attempts: row.attempts.saturating_add(1),
            ..row
        },
        Again::Expired => RowRef {
            round: row.round.saturating_add(1),
            ..row
        },
        Again::Canceled => row,
    }
}

/// What a row is when the job was given up before it could be tried again.
fn class_when_given_up(judgement: Judgement) -> OutcomeClass {
    match judgement {
        Judgement::Final(class) => class,
        Judgement::Again(Again::Failed) => OutcomeClass::Exhausted,
        Judgement::Again(Again::Expired) => OutcomeClass::Expired,
        Judgement::Again(Again::Canceled) => OutcomeClass::Canceled,
        Judgement::Stop(_) => OutcomeClass::Errored,
    }
}

/// Half of a worst case on the sync lane, rounded up: the worst case on the batch lane.
fn half(worst: u64) -> Usd {
    Usd::from_pico(worst.div_ceil(2).into())
}

fn read_span(results: &mut File, span: Span, line: &mut Vec<u8>) -> io::Result<()> {
    line.resize(span.len as usize, 0);
    results.seek(SeekFrom::Start(span.offset))?;
    results.read_exact(line)
}

fn find(line: &[u8]) -> Found<'_> {
    let unreadable = |problem: &dyn std::fmt::Display| Found::Unreadable(problem.to_string());
    if line.is_empty() {
        return Found::Unreadable("its result line is missing".to_owned());
    }
    match ResultLine::parse(line).map(|line| line.result) {
        Err(problem) => unreadable(&problem),
        Ok(RowResult::Succeeded { message }) => match Answer::read(message) {
            Ok(answer) => Found::Answer(answer),
            Err(problem) => unreadable(&problem),
        },
        Ok(RowResult::Errored { error, .. }) => Found::Error(error),
        Ok(RowResult::Expired) => Found::Expired,
        Ok(RowResult::Canceled) => Found::Canceled,
        Ok(RowResult::Unknown { kind, .. }) => unreadable(&format_args!("unknown result `{kind}`")),
    }
}
