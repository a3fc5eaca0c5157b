//! Where a finished run has what is known of its rows: the references of its shards, the outcomes and the
//! answers, sorted so that all of a row comes together.
//!
//! Leaves out what is made of it (`again`).

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use offpeak_core::job::outcome::OutcomeClass;
use offpeak_core::job::shard::Shard;
use offpeak_core::units::Usd;
use offpeak_wire::message::StopReason;

use super::super::earlier::EarlierRun;
use super::{damaged, first};
use crate::error::EngineError;
use crate::output::read_at;
use crate::settle::answer::Answer;
use crate::settle::kept::Kept;
use crate::settle::line::WrittenLine;
use crate::settle::segment::{EarlierLine, Outcome, SegmentReader, Shared};
use crate::sorted::{Sorted, Sorter};
use crate::spool::{RefsReader, RowAt, SpoolDir};

/// What is found of the rows, before it is put together: under a row first where it is, then how it ended,
/// then who shares that.
pub(super) struct Ends(Sorter<STEP_LEN>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Where the row is.
    At(RowAt),
    Ended {
        /// Segment and offset of its outcome.
        place: (u32, u64),
        /// Where the row is, if the outcome says so.
        at: Option<RowAt>,
        end: StepEnd,
    },
    /// Another row shows how it ended.
    Shares(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StepEnd {
    Answered {
        class: OutcomeClass,
        cost: Usd,
        /// At its `max_tokens`, whatever that was.
        cut_off: bool,
    },
    Failed,
    Unanswered,
}

/// The row, which step, and five numbers.
pub(super) const STEP_LEN: usize = 8 + 1 + 5 * 8;

impl Step {
    fn encode(self, row: u64) -> [u8; STEP_LEN] {
        let (step, numbers) = match self {
            Self::At(at) => (0, [at.0, 0, 0, 0, 0]),
            Self::Ended { place, at, end } => {
                let (kind, cost) = match end {
                    StepEnd::Unanswered => (0, 0),
                    StepEnd::Failed => (1, 0),
                    StepEnd::Answered {
                        class,
                        cost,
                        cut_off,
                    } => {
                        let kind = 2 + 2 * class as u64 + u64::from(cut_off);
                        (kind, u64::try_from(cost.pico()).unwrap_or(u64::MAX))
                    }
                };
                // No row is where this is: a segment ends long before.
                let at = at.map_or(u64::MAX, |at| at.0);
                (1, [place.0.into(), place.1, at, kind, cost])
            }
            Self::Shares(row) => (2, [row, 0, 0, 0, 0]),
        };
        let mut bytes = [0; STEP_LEN];
        bytes[..8].copy_from_slice(&row.to_be_bytes());
        bytes[8] = step;
        for (place, number) in bytes[9..].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8; STEP_LEN]) -> (u64, Self) {
        let long = |at: usize| u64::from_be_bytes(*first(&bytes[at..]));
        let numbers = [9, 17, 25, 33, 41].map(long);
        let step = match bytes[8] {
            0 => Self::At(RowAt(numbers[0])),
            1 => Self::Ended {
                place: (
                    u32::try_from(numbers[0]).expect("as it was written"),
                    numbers[1],
                ),
                at: (numbers[2] != u64::MAX).then_some(RowAt(numbers[2])),
                end: match numbers[3] {
                    0 => StepEnd::Unanswered,
                    1 => StepEnd::Failed,
                    kind => StepEnd::Answered {
                        class: *OutcomeClass::ALL
                            .iter()
                            .find(|class| **class as u64 == (kind - 2) / 2)
                            .expect("as it was written"),
                        cost: Usd::from_pico(numbers[4].into()),
                        cut_off: kind % 2 == 1,
                    },
                },
            },
            _ => Self::Shares(numbers[0]),
        };
        (long(0), step)
    }
}

impl Ends {
    /// Reads them; what is sorted goes to `temporary`.
    pub(super) fn read(
        run: &EarlierRun,
        shards: &[Shard],
        temporary: PathBuf,
    ) -> Result<Sorted<STEP_LEN>, EngineError> {
        let mut ends = Self(Sorter::new(Some(temporary)));
        let spool = run.spool();
        let sorting = |error| EngineError::io("sort the rows of", spool.root())(error);
        for shard in shards.iter().filter(|shard| !shard.no.is_of_leftovers()) {
            for reference in RefsReader::open(spool, shard.rows)? {
                let reference = reference?;
                ends.push(reference.row, Step::At(reference.at))
                    .map_err(sorting)?;
            }
        }
        let dir = spool.outcomes_dir();
        let segments = run.segments().map_err(EngineError::io("read", &dir))?;
        for number in segments {
            ends.segment(number, &run.segment(number), spool)?;
        }
        let shared = spool.shared_outcomes();
        if shared.is_file() {
            let io = |error| EngineError::io("read", &shared)(error);
            let mut segment = SegmentReader::open(&shared).map_err(io)?;
            while let Some(row) = segment.row() {
                if let Outcome::Shared(Shared { of, .. }) = segment.read().map_err(io)? {
                    ends.push(of, Step::Shares(row)).map_err(sorting)?;
                }
            }
        }
        ends.0.finish().map_err(sorting)
    }

    fn push(&mut self, row: u64, step: Step) -> io::Result<()> {
        self.0.push(step.encode(row))
    }

    fn segment(&mut self, number: u32, path: &Path, spool: &SpoolDir) -> Result<(), EngineError> {
        let io = |error| EngineError::io("read", path)(error);
        let mut segment = SegmentReader::open(path).map_err(io)?;
        let mut answers = segment.answers().path(spool).map(Answers::of);
        while let Some(row) = segment.row() {
            let place = (number, segment.at());
            let (at, end) = match segment.read().map_err(io)? {
                Outcome::Kept(kept) | Outcome::Earlier(kept, _) => {
                    let answers = answers
                        .as_mut()
                        .ok_or_else(|| damaged(path, "nobody knows where its answers are"))?;
                    (Some(kept.at), answers.end(&kept)?)
                }
                Outcome::Line(line) => {
                    let written = WrittenLine::read(&line)
                        .ok_or_else(|| damaged(path, "a line cannot be read"))?;
                    let end = match written.class() {
                        OutcomeClass::Errored => StepEnd::Failed,
                        _ => StepEnd::Unanswered,
                    };
                    (None, end)
                }
                Outcome::EarlierLine(EarlierLine { at, .. }) => (Some(at), StepEnd::Failed),
                Outcome::Shared(_) => {
                    return Err(damaged(path, "a row of a batch that was not sent"));
                }
            };
            let step = Step::Ended { place, at, end };
            self.push(row, step)
                .map_err(EngineError::io("sort the rows of", spool.root()))?;
        }
        Ok(())
    }
}

/// The file that the answers of a segment are in, opened for the first of them.
struct Answers {
    path: PathBuf,
    file: Option<(File, u64)>,
    message: Vec<u8>,
}

impl Answers {
    fn of(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            message: Vec::new(),
        }
    }

    /// How a row ended that has an answer. A context window that is full is no larger the next time: only
    /// what was cut off at `max_tokens` was cut off by the request.
    fn end(&mut self, kept: &Kept) -> Result<StepEnd, EngineError> {
        let path = self.path.clone();
        let lost = move |source: io::Error| EngineError::AnswersGone { path, source };
        let (file, len) = match &mut self.file {
            Some(open) => open,
            none => {
                let file = File::open(&self.path);
                let file = file.and_then(|file| {
                    let len = file.metadata()?.len();
                    Ok((file, len))
                });
                match file {
                    Ok(open) => none.insert(open),
                    Err(error) => return Err(lost(error)),
                }
            }
        };
        if kept.offset + u64::from(kept.len) > *len {
            return Err(lost(io::ErrorKind::UnexpectedEof.into()));
        }
        let mut cut_off = false;
        if kept.class == OutcomeClass::Truncated {
            read_at(file, kept, &mut self.message).map_err(lost.clone())?;
            let answer = Answer::read(&self.message).map_err(|error| {
                let error = io::Error::new(io::ErrorKind::InvalidData, error);
                lost(error)
            })?;
            cut_off = answer.stop_reason == StopReason::MaxTokens;
        }
        Ok(StepEnd::Answered {
            class: kept.class,
            cost: kept.cost,
            cut_off,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn end() -> impl Strategy<Value = StepEnd> {
        let class = prop::sample::select(OutcomeClass::ALL.to_vec());
        prop_oneof![
            Just(StepEnd::Failed),
            Just(StepEnd::Unanswered),
            (class, any::<u64>(), any::<bool>()).prop_map(|(class, cost, cut_off)| {
                StepEnd::Answered {
                    class,
                    cost: Usd::from_pico(cost.into()),
                    cut_off,
                }
            }),
        ]
    }

    fn step() -> impl Strategy<Value = Step> {
        let at = || (0..u64::MAX).prop_map(RowAt);
        prop_oneof![
            at().prop_map(Step::At),
            (any::<(u32, u64)>(), prop::option::of(at()), end())
                .prop_map(|(place, at, end)| Step::Ended { place, at, end }),
            any::<u64>().prop_map(Step::Shares),
        ]
    }

    proptest! {
        #[test]
        fn what_is_found_of_a_row_survives_and_comes_in_its_order(
            rows in prop::collection::vec((0u64..5, step()), 0..20),
        ) {
            let mut records: Vec<_> = rows.iter().map(|(row, step)| step.encode(*row)).collect();
            for ((row, step), record) in rows.iter().zip(&records) {
                prop_assert_eq!(Step::decode(record), (*row, *step));
            }
            records.sort_unstable();
            let order = |step| match step {
                Step::At(_) => 0,
                Step::Ended { .. } => 1,
                Step::Shares(_) => 2,
            };
            let found = records.iter().map(Step::decode);
            let found: Vec<_> = found.map(|(row, step)| (row, order(step))).collect();
            prop_assert!(found.is_sorted());
        }
    }
}
