//! How every row of a finished run has ended, for a run that asks those again that were cut off at
//! `max_tokens`, with a larger one, and takes everything else over.
//!
//! What is known of a row is sorted by it, on the disk beyond a few megabytes. Leaves out where that is found
//! (`ends`), what becomes of a row by it (`ingest::again`), and whether there is such a run (`start::again`).

mod ends;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use offpeak_core::job::outcome::OutcomeClass;
use offpeak_core::job::shard::Shard;
use offpeak_core::units::Usd;

use super::earlier::{AnswerAt, EarlierRun};
use crate::error::EngineError;
use crate::sorted::{Iter, Sorted, Sorter};
use crate::spool::{RowAt, SpoolDir, SpoolReader};
use ends::{Ends, STEP_LEN, Step, StepEnd};

/// A finished run whose rows are asked again that were cut off.
#[derive(Debug)]
pub(crate) struct Again {
    /// That run, as the only one that answers are taken over from.
    pub(crate) runs: [EarlierRun; 1],
    /// The `max_tokens` that they are asked with.
    pub(crate) max_tokens: u32,
    /// Rows that are asked with it.
    pub(crate) rows: u64,
    /// The models that these name, by number.
    pub(crate) models: BTreeSet<u16>,
    pasts: Sorted<PAST_LEN>,
}

/// How a row ended, and what it was asked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Past {
    pub(crate) row: u64,
    /// Of the request that was made last.
    pub(crate) digest: [u8; 16],
    /// Its `max_tokens`.
    pub(crate) max_tokens: u32,
    pub(crate) end: End,
}

/// How a row ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With something that stays: an answer, or a failure that another try would not change.
    Settled {
        at: AnswerAt,
        class: OutcomeClass,
        cost: Usd,
    },
    /// With an answer that was cut off at a `max_tokens` which is smaller.
    CutOff,
    /// Without an answer.
    Unanswered,
}

const PAST_LEN: usize = 8 + 16 + 4 + 1 + 4 + 8 + 8 + 8;

const CUT_OFF: u8 = 254;
const UNANSWERED: u8 = 255;

impl Past {
    fn encode(&self) -> [u8; PAST_LEN] {
        let mut bytes = [0; PAST_LEN];
        bytes[..8].copy_from_slice(&self.row.to_be_bytes());
        bytes[8..24].copy_from_slice(&self.digest);
        bytes[24..28].copy_from_slice(&self.max_tokens.to_be_bytes());
        match self.end {
            End::CutOff => bytes[28] = CUT_OFF,
            End::Unanswered => bytes[28] = UNANSWERED,
            End::Settled { at, class, cost } => {
                // One answer costs far less than the millions of dollars that this holds.
                let cost = u64::try_from(cost.pico()).unwrap_or(u64::MAX);
                bytes[28] = class as u8;
                bytes[29..33].copy_from_slice(&at.segment.to_be_bytes());
                for (place, number) in [(33, at.offset), (41, at.row.0), (49, cost)] {
                    bytes[place..place + 8].copy_from_slice(&number.to_be_bytes());
                }
            }
        }
        bytes
    }

    fn decode(bytes: &[u8; PAST_LEN]) -> Self {
        let long = |at: usize| u64::from_be_bytes(*first(&bytes[at..]));
        let word = |at: usize| u32::from_be_bytes(*first(&bytes[at..]));
        Self {
            row: long(0),
            digest: *first(&bytes[8..]),
            max_tokens: word(24),
            end: match bytes[28] {
                CUT_OFF => End::CutOff,
                UNANSWERED => End::Unanswered,
                class => End::Settled {
                    at: AnswerAt {
                        holder: 0,
                        segment: word(29),
                        offset: long(33),
                        row: RowAt(long(41)),
                    },
                    class: OutcomeClass::ALL[usize::from(class)],
                    cost: Usd::from_pico(long(49).into()),
                },
            },
        }
    }
}

fn first<const N: usize>(bytes: &[u8]) -> &[u8; N] {
    bytes.first_chunk().expect("a record is longer")
}

impl Again {
    /// Reads how the rows of a finished run ended. Those that were cut off at less than `max_tokens` are to be
    /// asked again, and those without an answer that had been asked so by a run before, with `asked_with`.
    /// Blocking.
    ///
    /// # Errors
    /// If its files cannot be read, or answers in them are gone.
    pub(crate) fn of(
        (run, spool): (u32, SpoolDir),
        shards: &[Shard],
        max_tokens: u32,
        asked_with: Option<u32>,
        temporary: &Path,
    ) -> Result<Self, EngineError> {
        let run = EarlierRun::new(run, spool);
        let ends = Ends::read(&run, shards, temporary.to_owned())?;
        let mut again = Self {
            runs: [run],
            max_tokens,
            rows: 0,
            models: BTreeSet::new(),
            pasts: Sorted::InMemory(Vec::new()),
        };
        let pasts = Sorter::new(Some(temporary.to_owned()));
        again.pasts = again.join(ends, asked_with, pasts)?;
        Ok(again)
    }

    /// All rows of the run with a request, in order.
    pub(crate) fn pasts(&mut self) -> io::Result<Pasts<'_>> {
        self.pasts.iter().map(Pasts)
    }

    /// Puts together what is known of each row, and of those that share its answer.
    fn join(
        &mut self,
        mut ends: Sorted<STEP_LEN>,
        asked_with: Option<u32>,
        mut pasts: Sorter<PAST_LEN>,
    ) -> Result<Sorted<PAST_LEN>, EngineError> {
        let spool = self.runs[0].spool().clone();
        let io = |error| EngineError::io("sort the rows of", spool.root())(error);
        let mut rows = SpoolReader::open(&spool)?;
        let mut now = (u64::MAX, RowAt::default());
        // The row that others share the answer of comes right before them.
        let mut leader: Option<(Past, u16)> = None;
        for record in ends.iter().map_err(io)? {
            let (of, step) = Step::decode(&record.map_err(io)?);
            let past = match step {
                Step::At(at) => {
                    now = (of, at);
                    continue;
                }
                Step::Ended { place, at, end } => {
                    let lost = || damaged(spool.root(), "a row is not where it was");
                    let at = at
                        .or_else(|| (now.0 == of).then_some(now.1))
                        .ok_or_else(lost)?;
                    let meta = rows.meta(at)?;
                    if meta.row != of {
                        return Err(lost());
                    }
                    let (segment, offset) = place;
                    let settled = |class, cost| End::Settled {
                        at: AnswerAt {
                            holder: 0,
                            segment,
                            offset,
                            row: at,
                        },
                        class,
                        cost,
                    };
                    let end = match end {
                        StepEnd::Answered { cut_off: true, .. }
                            if meta.max_tokens < self.max_tokens =>
                        {
                            End::CutOff
                        }
                        StepEnd::Answered { class, cost, .. } => settled(class, cost),
                        StepEnd::Failed => settled(OutcomeClass::Errored, Usd::ZERO),
                        StepEnd::Unanswered => End::Unanswered,
                    };
                    let past = Past {
                        row: of,
                        digest: meta.digest,
                        max_tokens: meta.max_tokens,
                        end,
                    };
                    leader = Some((past, meta.model));
                    past
                }
                Step::Shares(row) => match leader {
                    Some((past, _)) if past.row == of => Past { row, ..past },
                    _ => {
                        let what = "a row shares the answer of one that has no outcome";
                        return Err(damaged(spool.root(), what));
                    }
                },
            };
            let asked_so = Some(past.max_tokens) == asked_with;
            if past.end == End::CutOff || (past.end == End::Unanswered && asked_so) {
                self.rows += 1;
                self.models.extend(leader.map(|(_, model)| model));
            }
            pasts.push(past.encode()).map_err(io)?;
        }
        pasts.finish().map_err(io)
    }
}

fn damaged(path: &Path, what: &str) -> EngineError {
    EngineError::Damaged {
        path: path.to_owned(),
        detail: what.to_owned(),
    }
}

/// The rows of a run, in order.
#[derive(Debug)]
pub(crate) struct Pasts<'a>(Iter<'a, PAST_LEN>);

impl Iterator for Pasts<'_> {
    type Item = io::Result<Past>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.0.next()?.map(|bytes| Past::decode(&bytes)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn end() -> impl Strategy<Value = End> {
        let class = prop::sample::select(OutcomeClass::ALL.to_vec());
        let place = any::<(u32, u64, u64, u64)>();
        prop_oneof![
            Just(End::CutOff),
            Just(End::Unanswered),
            (class, place).prop_map(|(class, (segment, offset, row, cost))| End::Settled {
                at: AnswerAt {
                    holder: 0,
                    segment,
                    offset,
                    row: RowAt(row),
                },
                class,
                cost: Usd::from_pico(cost.into()),
            }),
        ]
    }

    proptest! {
        #[test]
        fn how_a_row_ended_survives(
            (row, digest, max_tokens) in any::<(u64, [u8; 16], u32)>(), end in end(),
        ) {
            let past = Past { row, digest, max_tokens, end };
            prop_assert_eq!(Past::decode(&past.encode()), past);
        }
    }
}
