//! Settling a shard of the sync lane from its journal.
//!
//! Two passes: the first finds the record that is final for each row, and counts; the second reads
//! those records in the order of the rows. Memory holds a few numbers a row and one answer.

use offpeak_core::job::outcome::OutcomeClass;
use offpeak_core::job::retry::{self, ATTEMPTS_MAX, Finding, Judgement};
use offpeak_core::job::shard::Shard;
use offpeak_core::units::Usd;
use offpeak_wire::error::{Billing, ErrorBody, ErrorKind};
use offpeak_wire::message::MessageView;

use super::answer::Answer;
use super::kept::KeptIn;
use super::line::Reason;
use super::observe::observe;
use super::row::{Part, Received, Row, Travel, attempts_before};
use super::rows::{load_rows, position_of};
use super::segment::SegmentWriter;
use super::{SettleContext, SettleError, Settlement};
use crate::journal::{self, BODY_AT, Record, RecordReader};
use crate::spool::{RowRef, SpoolReader};

/// Records are handed to the segment when so many bytes of them wait.
const FLUSH_BYTES: usize = 1024 * 1024;

/// Settles a sync shard: every row ends in the outcome segment of the shard.
///
/// Final is a row's last readable answer; without one, its last error or lost answer. That the row is not
/// to be sent again was decided by whoever stopped sending it, so a row whose last record is neither is
/// unfinished, and one whose last answer was lost is unless it had all its tries. Answers are priced at the moment they were sent. Tries of which nobody knows
/// whether they were billed are held as unknown: lost answers, errors after which the upstream may
/// have done the work, and answers that cannot be read.
///
/// # Errors
///
/// When a file cannot be read or written, an answer has no price, or a row is unfinished although
/// the job was not given up.
pub fn settle_sync(ctx: &SettleContext<'_>, shard: &Shard) -> Result<Settlement, SettleError> {
    let journal_path = ctx.spool.journal(shard.no);
    let rows = load_rows(ctx.spool, shard)?;
    let states = read_states(&journal_path, &rows)?;
    let segment_path = ctx.spool.outcomes(shard.no);
    let io = SettleError::io(&segment_path);
    // A shard of which nothing was sent has no journal.
    let kept_in = if states.iter().any(|state| state.last.is_some()) {
        KeptIn::Journal(shard.no)
    } else {
        KeptIn::Nowhere
    };
    let mut segment =
        SegmentWriter::create(&segment_path, kept_in, ctx.spool.disk()).map_err(io)?;
    let mut spool = SpoolReader::open(ctx.spool)?;
    let mut records = None;
    let travel = Travel::of(shard);
    let mut part = Part::default();
    for (reference, state) in rows.iter().zip(&states) {
        let spooled = spool.read(reference.at)?;
        let row = Row::new(ctx, *reference, &spooled)?;
        let record = match state.last {
            Some(last) => {
                let records = match &mut records {
                    Some(records) => records,
                    none => none.insert(RecordReader::open(&journal_path)?),
                };
                Some((last, records.read(last.offset)?))
            }
            None => None,
        };
        conclude(ctx, travel, row, state, record, &mut part)?;
        if part.framed.len() >= FLUSH_BYTES {
            segment.append(&part.framed).map_err(io)?;
            part.framed.clear();
        }
    }
    segment.append(&part.framed).map_err(io)?;
    segment.finish().map_err(io)?;
    Ok(Settlement {
        examples: part.examples.texts(&rows, &mut spool)?,
        tally: part.tally,
        leftovers: None,
        stop: None,
        observed: observe(ctx, shard)?,
    })
}

/// What the journal says of a row.
#[derive(Debug, Clone, Copy, Default)]
struct RowState {
    /// Its final record, if it has one.
    last: Option<Last>,
    /// Tries that reached the upstream.
    tries: u32,
    /// Most that the try under way can cost, while its outcome is open.
    open: Option<Usd>,
    /// Most that tries of unknown outcome can have cost.
    unknown: Usd,
    unknown_calls: u32,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    offset: u64,
    kind: LastKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastKind {
    Message,
    /// Answered with 200, but not readable; with the most it can have cost.
    Unreadable(Usd),
    Error,
    /// It was sent, and what came of it nobody knows.
    Lost,
}

impl RowState {
    fn note(&mut self, offset: u64, record: &Record) {
        match record {
            Record::Sent { held, .. } => {
                self.forget_failure();
                self.open = Some(*held);
            }
            Record::NotSent { .. } => {
                self.forget_failure();
                self.open = None;
            }
            Record::Unknown { held, .. } => {
                self.tries += 1;
                self.forget_failure();
                self.open = None;
                self.hold(*held);
            }
            Record::Lost { held, .. } => {
                self.tries += 1;
                self.open = None;
                self.hold(*held);
                self.is_last(offset, LastKind::Lost);
            }
            Record::Answered { status, body, .. } => {
                self.tries += 1;
                let held = self.open.take().unwrap_or(Usd::ZERO);
                self.note_answer(offset, *status, body, held);
            }
        }
    }

    fn note_answer(&mut self, offset: u64, status: u16, body: &[u8], held: Usd) {
        let kind = if status != 200 {
            if ErrorKind::from_response(status, body).billing() == Billing::Possible {
                self.hold(held);
            }
            LastKind::Error
        } else if MessageView::parse(body).is_ok() {
            LastKind::Message
        } else {
            self.hold(held);
            LastKind::Unreadable(held)
        };
        self.is_last(offset, kind);
    }

    fn is_last(&mut self, offset: u64, kind: LastKind) {
        let has_message = self.last.is_some_and(|last| last.kind == LastKind::Message);
        if kind == LastKind::Message || !has_message {
            self.last = Some(Last { offset, kind });
        }
    }

    /// Another try means that a failure was not final.
    fn forget_failure(&mut self) {
        let failed = |last: Last| matches!(last.kind, LastKind::Error | LastKind::Lost);
        if self.last.is_some_and(failed) {
            self.last = None;
        }
    }

    fn hold(&mut self, held: Usd) {
        self.unknown += held;
        self.unknown_calls += 1;
    }
}

fn read_states(journal: &std::path::Path, rows: &[RowRef]) -> Result<Vec<RowState>, SettleError> {
    let mut states = vec![RowState::default(); rows.len()];
    let mut stranger = None;
    journal::replay_at(journal, |offset, record| {
        match position_of(rows, record.row()) {
            Some(position) => states[position].note(offset, &record),
            None => stranger = Some(record.row()),
        }
    })?;
    match stranger {
        Some(row) => {
            let problem = "it is in the journal of a shard that it does not belong to";
            Err(SettleError::Inconsistent { row, problem })
        }
        None => Ok(states),
    }
}

fn conclude(
    ctx: &SettleContext<'_>,
    travel: Travel,
    row: Row<'_>,
    state: &RowState,
    record: Option<(Last, Record)>,
    part: &mut Part,
) -> Result<(), SettleError> {
    let attempts = attempts_before(&row.reference) + state.tries;
    part.tally.attempts += u64::from(state.tries);
    part.tally.unknown += state.unknown;
    part.tally.unknown_calls += u64::from(state.unknown_calls);
    match record.map(|(last, record)| (last.kind, last.offset, record)) {
        Some((LastKind::Message, offset, Record::Answered { at, body, .. })) => {
            let answer = Answer::read(&body).map_err(|_| changed(row))?;
            let finding = Finding::Message(answer.stop_reason.clone());
            let Judgement::Final(class) = retry::judge(&finding, 0) else {
                return Err(changed(row));
            };
            let priced = row.price(ctx, travel.lane, at, &answer)?;
            let received = Received {
                class,
                answer,
                attempts,
                offset: offset + BODY_AT,
                len: u32::try_from(body.len()).expect("a record has fewer bytes"),
            };
            part.answered(travel, row.reference, &received, &priced);
            Ok(())
        }
        Some((LastKind::Unreadable(held), _, Record::Answered { body, .. })) => {
            let problem = MessageView::parse(&body)
                .err()
                .map(|problem| problem.to_string());
            let problem = problem.ok_or_else(|| changed(row))?;
            part.unreadable(travel, row, attempts, held, &problem);
            Ok(())
        }
        Some((LastKind::Error, _, Record::Answered { status, body, .. })) => {
            let error = ErrorBody::parse(status, &body);
            match final_class(error.kind) {
                Some(class) => {
                    // A job that was given up stopped sending before the row had its last try.
                    let class = if ctx.canceled && class == OutcomeClass::Exhausted {
                        OutcomeClass::Canceled
                    } else {
                        class
                    };
                    let reason = Reason::of_error(&error);
                    part.failed(travel, row, attempts, class, reason, state.unknown);
                    Ok(())
                }
                None => unanswered(ctx, travel, row, attempts, state, part),
            }
        }
        Some((LastKind::Lost, ..)) if !ctx.canceled && has_had_its_tries(row, state) => {
            let class = OutcomeClass::Exhausted;
            let reason = Reason::of_class(class, "its answers were lost on the way");
            part.failed(travel, row, attempts, class, reason, state.unknown);
            Ok(())
        }
        _ => unanswered(ctx, travel, row, attempts, state, part),
    }
}

fn has_had_its_tries(row: Row<'_>, state: &RowState) -> bool {
    u32::from(row.reference.attempts) + state.tries >= u32::from(ATTEMPTS_MAX)
}

/// What an error is once the row is not sent again; `None` when it stops the account, which ends
/// no row.
fn final_class(kind: ErrorKind) -> Option<OutcomeClass> {
    match retry::judge(&Finding::Error(kind), ATTEMPTS_MAX) {
        Judgement::Final(class) => Some(class),
        Judgement::Again(_) | Judgement::Stop(_) => None,
    }
}

fn unanswered(
    ctx: &SettleContext<'_>,
    travel: Travel,
    row: Row<'_>,
    attempts: u32,
    state: &RowState,
    part: &mut Part,
) -> Result<(), SettleError> {
    if !ctx.canceled {
        return Err(SettleError::Unfinished {
            row: row.reference.row,
        });
    }
    let class = OutcomeClass::Canceled;
    let reason = Reason::of_class(class, "canceled before it was answered");
    part.failed(travel, row, attempts, class, reason, state.unknown);
    Ok(())
}

fn changed(row: Row<'_>) -> SettleError {
    let problem = "its journal changed while it was read";
    SettleError::Inconsistent {
        row: row.reference.row,
        problem,
    }
}
