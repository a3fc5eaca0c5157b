//! What the journals of running sync shards say after a crash: which rows have their answer, what
//! they cost, and which calls nobody knows the outcome of.
//!
//! A call that was sent and has no record of its end is declared unknown here, durably, before the
//! row is sent again. Leaves out the batch lane: its whole memory is the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread;

use offpeak_core::job::event::RowAnswer;
use offpeak_core::job::outcome::{OutcomeClass, Tally};
use offpeak_core::job::retry::{Blame, Finding, Judgement, concerns_the_lane, judge};
use offpeak_core::job::shard::{Shard, ShardNo, ShardState};
use offpeak_core::price::Book;
use offpeak_core::units::Usd;

use offpeak_wire::error::{Billing, ErrorKind};

use crate::error::EngineError;
use crate::journal::{Journal, JournalError, Record, replay};
use crate::spool::{RefsReader, RowRef, SpoolDir, SpoolReader};
use crate::sync_call::read_answer;

/// What is known of the rows of a running shard.
#[derive(Debug, Default, Clone)]
pub(crate) struct Recovered {
    pub(crate) tally: Tally,
    /// Rows that need no further call.
    pub(crate) done: BTreeSet<u64>,
    /// Attempts used by the others.
    pub(crate) attempts: BTreeMap<u64, u16>,
    /// Failures of which it is not clear whether they are the row's own, of rows that may have been billed.
    blame: BTreeMap<u64, Blame>,
    /// Rows that had all their tries, unless they are sent again: the lane may have seen it otherwise.
    exhausted: BTreeSet<u64>,
}

impl Recovered {
    /// Failures of a row of which it is not clear whose they are.
    pub(crate) fn blame(&self, row: u64) -> Blame {
        self.blame.get(&row).copied().unwrap_or_default()
    }
}

/// Reads the journals of running shards, at the same time, and then closes what was left open in each.
pub(crate) fn recover(
    spool: &SpoolDir,
    running: &[&Shard],
    book: &Book,
    models: &[String],
) -> Result<BTreeMap<ShardNo, Arc<Recovered>>, EngineError> {
    let read = thread::scope(|scope| {
        let readers = running.iter().map(|shard| {
            assert_eq!(
                shard.state,
                ShardState::Running,
                "only a running shard has an open journal"
            );
            scope.spawn(|| Read::of(spool, shard, book, models))
        });
        let readers: Vec<_> = readers.collect();
        let read = readers.into_iter().map(|reader| match reader.join() {
            Ok(read) => read,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        read.collect::<Result<Vec<_>, _>>()
    })?;
    let closed = running.iter().zip(read).map(|(shard, read)| {
        let found = read.close(spool, shard.no)?;
        Ok((shard.no, Arc::new(found)))
    });
    closed.collect()
}

/// What a running sync shard has come to so far, and what its calls in flight hold. Only reads, so
/// it may be asked while another process runs the job.
///
/// # Errors
/// If a file cannot be read or an answer has no price.
pub fn standing(
    spool: &SpoolDir,
    shard: &Shard,
    book: &Book,
    models: &[String],
) -> Result<(Tally, Usd), EngineError> {
    let Read { found, open, .. } = Read::of(spool, shard, book, models)?;
    Ok((found.tally, open.into_values().sum()))
}

/// What a journal says.
struct Read {
    /// What is known of the rows.
    found: Recovered,
    /// What each call without an end holds.
    open: BTreeMap<u64, Usd>,
    /// Where its last whole record ends.
    end: u64,
}

impl Read {
    fn of(
        spool: &SpoolDir,
        shard: &Shard,
        book: &Book,
        models: &[String],
    ) -> Result<Self, EngineError> {
        let references = references(spool, shard)?;
        let mut rows = SpoolReader::open(spool)?;
        let mut found = Recovered::default();
        let mut open: BTreeMap<u64, Usd> = BTreeMap::new();
        let mut failed: Option<EngineError> = None;
        let replayed = replay(spool, shard.no, |record| {
            if failed.is_none() {
                let taken = found.take(record, &references, &mut rows, &mut open, book, models);
                failed = taken.err();
            }
        });
        let end = replayed.map_err(|e| EngineError::journal(&e))?;
        found.end();
        match failed {
            Some(error) => Err(error),
            None => Ok(Self { found, open, end }),
        }
    }

    /// Declares unknown, durably, what has no end. A torn record is cut off before that.
    fn close(self, spool: &SpoolDir, no: ShardNo) -> Result<Recovered, EngineError> {
        let Self {
            mut found,
            open,
            end,
        } = self;
        let journal = Journal::go_on(spool, no, end);
        let mut journal = journal.map_err(|e| EngineError::journal(&e))?;
        let lost: Vec<Record> = open
            .iter()
            .map(|(row, held)| Record::Unknown {
                row: *row,
                held: *held,
            })
            .collect();
        journal.append(&lost).map_err(|source| {
            let path = spool.journal(no);
            EngineError::journal(&JournalError::Io { path, source })
        })?;
        for held in open.values() {
            found.hold_unknown(*held);
        }
        Ok(found)
    }
}

fn references(spool: &SpoolDir, shard: &Shard) -> Result<BTreeMap<u64, RowRef>, EngineError> {
    let mut references = BTreeMap::new();
    for reference in RefsReader::open(spool, shard.rows)? {
        let reference = reference?;
        references.insert(reference.row, reference);
    }
    Ok(references)
}

impl Recovered {
    fn take(
        &mut self,
        record: Record,
        references: &BTreeMap<u64, RowRef>,
        rows: &mut SpoolReader,
        open: &mut BTreeMap<u64, Usd>,
        book: &Book,
        models: &[String],
    ) -> Result<(), EngineError> {
        match record {
            Record::Sent { row, held, .. } => {
                self.exhausted.remove(&row);
                open.insert(row, held);
            }
            Record::NotSent { row } => {
                open.remove(&row);
            }
            Record::Unknown { row, held } => {
                open.remove(&row);
                self.hold_unknown(held);
            }
            Record::Lost { row, held } => {
                open.remove(&row);
                self.hold_unknown(held);
                if let Some(reference) = references.get(&row) {
                    self.not_answered(row, reference.attempts, ErrorKind::Unknown);
                }
            }
            Record::Answered {
                row,
                at,
                status,
                body,
            } => {
                let held = open.remove(&row).unwrap_or(Usd::ZERO);
                let Some(reference) = references.get(&row) else {
                    return Ok(());
                };
                let model = match models {
                    [only] => only,
                    _ => {
                        let model = usize::from(rows.read(reference.at)?.meta.model);
                        models.get(model).map_or("", String::as_str)
                    }
                };
                let answer = read_answer(book, model, at, status, &body, None)?;
                self.answered(row, reference.attempts, held, &answer);
            }
        }
        Ok(())
    }

    fn answered(&mut self, row: u64, used_before: u16, held: Usd, answer: &RowAnswer) {
        let used = self.attempts.get(&row).copied().unwrap_or(used_before);
        let finding = match answer {
            RowAnswer::Message { stop, sums } => {
                self.tally.add(sums);
                Finding::Message(stop.clone())
            }
            RowAnswer::Unreadable => {
                self.hold_unknown(held);
                Finding::Unreadable
            }
            RowAnswer::Error { kind, .. } if kind.billing() == Billing::Possible => {
                self.hold_unknown(held);
                self.not_answered(row, used_before, *kind);
                return;
            }
            // What concerned the lane then says nothing about the row now.
            RowAnswer::Error { kind, .. } if concerns_the_lane(*kind) => return,
            RowAnswer::Error { kind, .. } => Finding::Error(*kind),
            RowAnswer::Lost { .. } => return,
        };
        self.judged(row, &finding, used);
    }

    /// A call that may have been billed was not answered, and the lane has judged as is judged here.
    fn not_answered(&mut self, row: u64, used_before: u16, kind: ErrorKind) {
        let passed = self.tally.outcomes.answered();
        if !self.blame.entry(row).or_default().unanswered(passed) {
            return;
        }
        let used = self.attempts.get(&row).copied().unwrap_or(used_before);
        self.judged(row, &Finding::Error(kind), used);
    }

    /// All records were read.
    fn end(&mut self) {
        for row in std::mem::take(&mut self.exhausted) {
            self.is_done(row, OutcomeClass::Exhausted);
        }
    }

    fn is_done(&mut self, row: u64, class: OutcomeClass) {
        if self.done.insert(row) {
            self.tally.outcomes.count(class);
            self.tally.attempts += 1;
        }
    }

    fn judged(&mut self, row: u64, finding: &Finding, used: u16) {
        match judge(finding, used) {
            Judgement::Final(OutcomeClass::Exhausted) => {
                self.exhausted.insert(row);
            }
            Judgement::Final(class) => self.is_done(row, class),
            Judgement::Again(_) => {
                self.attempts.insert(row, used + 1);
            }
            // The account was at fault.
            Judgement::Stop(_) => {}
        }
    }

    fn hold_unknown(&mut self, held: Usd) {
        self.tally.unknown += held;
        self.tally.unknown_calls += 1;
    }
}
