//! Settling a shard of the batch lane from its downloaded result lines.
//!
//! The answers are taken as they come in the file (`results`). Here the rows are put into their
//! order, and what is no plain answer is looked at more closely.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

use offpeak_core::job::outcome::OutcomeClass;
use offpeak_core::job::retry::{self, Again, Finding, Judgement};
use offpeak_core::job::shard::{Collection, RowRange, Shard};
use offpeak_core::units::{Timestamp, Usd};
use offpeak_wire::error::ErrorBody;
use offpeak_wire::result::{ResultLine, RowResult};

use super::answer::Answer;
use super::kept::KeptIn;
use super::line::Reason;
use super::observe::observe;
use super::results::{Found, Line, Results};
use super::row::{Part, Received, Row, Travel, attempts_before};
use super::segment::SegmentWriter;
use super::{Leftovers, SettleContext, SettleError, Settlement};
use crate::spool::{RefsWriter, RowRef, SpoolDir, SpoolReader, leftovers_file};

/// Settles a batch shard by the lines that were downloaded: every row ends in the outcome segment of
/// the shard, or is left over.
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
    mut results: Results,
) -> Result<Settlement, SettleError> {
    let mut whole = results.take_sums();
    let rows = &results.rows;
    let mut desk = Desk::open(ctx, shard, collection.upstream.created_at)?;
    let segment_path = ctx.spool.outcomes(shard.no);
    let io = SettleError::io(&segment_path);
    let kept_in = KeptIn::Results(shard.no);
    let mut segment =
        SegmentWriter::create(&segment_path, kept_in, ctx.spool.disk()).map_err(io)?;
    for (reference, found) in rows.iter().zip(results.by_row()) {
        match found {
            Found::Kept(record) => segment.append(record).map_err(io)?,
            Found::Lines(lines) => {
                desk.settle(*reference, lines, &mut whole)?;
                segment.append(&whole.framed).map_err(io)?;
                whole.framed.clear();
            }
        }
    }
    segment.finish().map_err(io)?;
    whole.tally.attempts = rows.len() as u64;
    let leftovers = write_leftovers(ctx, shard, &whole)?;
    Ok(Settlement {
        examples: whole.examples.texts(rows, &mut desk.spool)?,
        tally: whole.tally,
        leftovers,
        stop: whole.stop,
        observed: observe(ctx, shard)?,
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

/// Where single rows are settled.
struct Desk<'a> {
    ctx: &'a SettleContext<'a>,
    travel: Travel,
    /// When the batch was created: the prices of that moment hold.
    created_at: Timestamp,
    spool: SpoolReader,
    results: File,
    path: PathBuf,
}

/// What the lines of a row say.
enum Says<'a> {
    Answer {
        answer: Answer<'a>,
        /// Where the message begins in the file.
        offset: u64,
        len: usize,
    },
    Error(ErrorBody),
    Expired,
    Canceled,
    Unreadable(String),
}

impl<'a> Desk<'a> {
    fn open(
        ctx: &'a SettleContext<'a>,
        shard: &Shard,
        created_at: Timestamp,
    ) -> Result<Self, SettleError> {
        let path = ctx.spool.results(shard.no);
        Ok(Self {
            ctx,
            travel: Travel::of(shard),
            created_at,
            spool: SpoolReader::open(ctx.spool)?,
            results: File::open(&path).map_err(SettleError::io(&path))?,
            path,
        })
    }

    fn settle(
        &mut self,
        reference: RowRef,
        lines: &[Line],
        part: &mut Part,
    ) -> Result<(), SettleError> {
        let mut bytes = Vec::new();
        let mut offset = 0;
        for (number, line) in (1..).zip(lines) {
            read_at(&mut self.results, *line, &mut bytes).map_err(SettleError::io(&self.path))?;
            offset = line.offset;
            // A row with one line, which is every row but for upstream faults, is read only once.
            if number == lines.len() || !matches!(read_line(&bytes, 0), Says::Unreadable(_)) {
                break;
            }
        }
        let spooled = self.spool.read(reference.at)?;
        let row = Row::new(self.ctx, reference, &spooled)?;
        conclude(
            self.ctx,
            self.travel,
            self.created_at,
            row,
            read_line(&bytes, offset),
            part,
        )
    }
}

fn conclude(
    ctx: &SettleContext<'_>,
    travel: Travel,
    created_at: Timestamp,
    row: Row<'_>,
    says: Says<'_>,
    part: &mut Part,
) -> Result<(), SettleError> {
    let finding = match &says {
        Says::Answer { answer, .. } => Finding::Message(answer.stop_reason.clone()),
        Says::Error(error) => Finding::Error(error.kind),
        Says::Expired => Finding::Expired,
        Says::Canceled => Finding::Canceled,
        Says::Unreadable(_) => Finding::Unreadable,
    };
    let judgement = retry::judge(&finding, row.reference.attempts);
    let class = match (judgement, ctx.canceled) {
        (Judgement::Final(class), _) => class,
        (judgement, true) => class_when_given_up(judgement),
        (Judgement::Again(again), false) => {
            part.left_over(next_try(row.reference, again));
            part.expired += u32::from(again == Again::Expired);
            return Ok(());
        }
        (Judgement::Stop(kind), false) => {
            part.left_over(row.reference);
            let message = match says {
                Says::Error(error) => error.message,
                _ => kind.to_string(),
            };
            part.stop.get_or_insert((kind, message));
            return Ok(());
        }
    };
    let attempts = attempts_before(&row.reference) + 1;
    match says {
        Says::Answer {
            answer,
            offset,
            len,
        } => {
            let priced = row.price(ctx, travel.lane, created_at, &answer)?;
            let received = Received {
                class,
                answer,
                attempts,
                offset,
                len: u32::try_from(len).expect("the API caps an answer far below 4 GiB"),
            };
            part.answered(travel, row.reference, &received, &priced);
        }
        Says::Error(error) => {
            part.failed(
                travel,
                row,
                attempts,
                class,
                Reason::of_error(&error),
                Usd::ZERO,
            );
        }
        Says::Expired => {
            let reason = Reason::of_class(class, "the batch expired before this row was run");
            part.failed(travel, row, attempts, class, reason, Usd::ZERO);
        }
        Says::Canceled => {
            let reason = Reason::of_class(class, "canceled before it was run");
            part.failed(travel, row, attempts, class, reason, Usd::ZERO);
        }
        Says::Unreadable(problem) => {
            let held = half(row.reference.worst);
            part.hold(held);
            part.unreadable(travel, row, attempts, held, &problem);
        }
    }
    Ok(())
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

fn read_at(results: &mut File, line: Line, bytes: &mut Vec<u8>) -> io::Result<()> {
    bytes.resize(line.len as usize, 0);
    results.seek(SeekFrom::Start(line.offset))?;
    results.read_exact(bytes)
}

/// Reads a line that begins at `offset` of the file.
fn read_line(line: &[u8], offset: u64) -> Says<'_> {
    let unreadable = |problem: &dyn std::fmt::Display| Says::Unreadable(problem.to_string());
    if line.is_empty() {
        return Says::Unreadable("its result line is missing".to_owned());
    }
    match ResultLine::parse(line).map(|line| line.result) {
        Err(problem) => unreadable(&problem),
        Ok(RowResult::Succeeded { message }) => match Answer::read(message) {
            Ok(answer) => Says::Answer {
                answer,
                // A part of a slice begins as far behind it as their addresses are apart.
                offset: offset + (message.as_ptr().addr() - line.as_ptr().addr()) as u64,
                len: message.len(),
            },
            Err(problem) => unreadable(&problem),
        },
        Ok(RowResult::Errored { error, .. }) => Says::Error(error),
        Ok(RowResult::Expired) => Says::Expired,
        Ok(RowResult::Canceled) => Says::Canceled,
        Ok(RowResult::Unknown { kind, .. }) => unreadable(&format_args!("unknown result `{kind}`")),
    }
}
