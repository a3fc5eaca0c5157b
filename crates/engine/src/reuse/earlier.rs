//! The finished runs of a job that are still in the data directory, and the answers that they have.
//!
//! Only answers that succeeded are offered: what was cut off or refused then is asked again. A run that took
//! answers over itself has copies of them, so they are found as long as one run is kept that had use for
//! them. Leaves out which row takes which answer (`ingest::unsent`), and a run of which all is taken over but
//! what was cut off (`again`).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use offpeak_core::job::shard::ShardNo;
use offpeak_core::units::Usd;
use offpeak_store::{JobRecord, JobState, Store};

use crate::error::EngineError;
use crate::facts::JobFacts;
use crate::output::read_at;
use crate::purge::purged;
use crate::settle::answer::Shown;
use crate::settle::kept::Kept;
use crate::settle::segment::{EarlierLine, Origin, Outcome, SegmentReader};
use crate::spool::{RowAt, SpoolDir, SpoolError, SpoolReader};

/// Files of earlier runs that are open at a time.
const OPEN_MAX: usize = 32;

/// A finished run whose answers can be taken over.
#[derive(Debug, Clone)]
pub struct EarlierRun {
    run: u32,
    spool: SpoolDir,
}

/// Finds the finished runs of a name whose requests had these beta features and whose files are there,
/// the newest first. `jobs` is where the jobs' files are.
///
/// # Errors
/// If the store cannot be read.
pub fn earlier_runs(
    store: &Store,
    jobs: &Path,
    name: &str,
    betas: &[String],
) -> Result<Vec<EarlierRun>, EngineError> {
    let mut runs = Vec::new();
    let is_finished =
        |record: &JobRecord| record.name == name && record.state == JobState::Finished;
    for record in store.jobs()?.into_iter().filter(is_finished) {
        let spool = SpoolDir::new(jobs.join(record.id.as_str()));
        // What was purged, even if that was interrupted, has no answers any more.
        let there = spool.outcomes_dir().is_dir() && spool.frames().is_file();
        let kept = there && purged(&spool)?.is_none();
        if kept && is_same(&JobFacts::of(&record)?.betas, betas) {
            let run = record.run;
            runs.push(EarlierRun { run, spool });
        }
    }
    runs.sort_unstable_by_key(|run| std::cmp::Reverse(run.run));
    Ok(runs)
}

/// Whether two requests with the same bytes are the same, whatever the order of the names.
pub(crate) fn is_same(one: &[String], other: &[String]) -> bool {
    let sorted = |betas: &[String]| {
        let mut betas = betas.to_vec();
        betas.sort_unstable();
        betas
    };
    sorted(one) == sorted(other)
}

/// Where an answer of an earlier run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AnswerAt {
    /// The run that has it, as an index.
    pub(crate) holder: u32,
    /// The outcome segment: its shard, or [`COPIES`].
    pub(crate) segment: u32,
    /// Where its record begins.
    pub(crate) offset: u64,
    /// Where the row is in that run's spool.
    pub(crate) row: RowAt,
}

/// The segment of the answers that a run took over itself; no shard has this number.
const COPIES: u32 = u32::MAX;

/// An answer that can be taken over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offered {
    /// Of the request.
    pub(crate) digest: [u8; 16],
    /// The run and the row that were answered and paid.
    pub(crate) run: u32,
    pub(crate) row: u64,
    /// What it cost then.
    pub(crate) cost: Usd,
    pub(crate) at: AnswerAt,
}

/// What there is to take over of a row: an answer, whose bytes are elsewhere, or the line that it failed
/// with.
#[derive(Debug)]
pub(crate) enum Taken {
    Answer(Kept, Origin),
    Failed(Vec<u8>, Origin),
}

impl EarlierRun {
    /// The run of a name whose files are there.
    pub(super) fn new(run: u32, spool: SpoolDir) -> Self {
        Self { run, spool }
    }

    pub(super) fn spool(&self) -> &SpoolDir {
        &self.spool
    }

    /// Which run of the name it is.
    pub(crate) fn run(&self) -> u32 {
        self.run
    }

    pub(super) fn segment(&self, number: u32) -> PathBuf {
        match number {
            COPIES => self.spool.earlier_outcomes(),
            shard => self.spool.outcomes(ShardNo(shard)),
        }
    }

    /// The segments that may have answers.
    pub(super) fn segments(&self) -> io::Result<Vec<u32>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(self.spool.outcomes_dir())? {
            let path = entry?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let shard = stem.and_then(|stem| stem.parse().ok());
            let number =
                shard.or_else(|| (path == self.spool.earlier_outcomes()).then_some(COPIES));
            if path.extension().is_some_and(|extension| extension == "seg") {
                numbers.extend(number);
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Calls `each` with every answer of the run, which is the one of index `holder`.
    pub(crate) fn for_each_answer(
        &self,
        holder: u32,
        mut each: impl FnMut(&Offered) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut rows = SpoolReader::open(&self.spool)?;
        for number in self.segments()? {
            let path = self.segment(number);
            let mut segment = SegmentReader::open(&path).map_err(at(&path))?;
            let Some(answers) = segment.answers().path(&self.spool) else {
                continue;
            };
            // Answers that are gone cannot be taken; their rows are asked again.
            let Ok(len) = fs::metadata(&answers).map(|meta| meta.len()) else {
                continue;
            };
            while let Some(row) = segment.row() {
                let offset = segment.at();
                let outcome = segment.read().map_err(at(&path))?;
                let Some((kept, origin)) = self.answer(row, &outcome) else {
                    continue;
                };
                if !kept.class.is_success() || kept.offset + u64::from(kept.len) > len {
                    continue;
                }
                each(&Offered {
                    digest: rows.meta(kept.at)?.digest,
                    run: origin.run,
                    row: origin.row,
                    cost: kept.cost,
                    at: AnswerAt {
                        holder,
                        segment: number,
                        offset,
                        row: kept.at,
                    },
                })?;
            }
        }
        Ok(())
    }

    /// The answer of an outcome, if there is one.
    fn answer(&self, row: u64, outcome: &Outcome) -> Option<(Kept, Origin)> {
        match outcome {
            Outcome::Kept(kept) => {
                let (run, at) = (self.run, kept.at);
                Some((*kept, Origin { run, row, at }))
            }
            Outcome::Earlier(kept, origin) => Some((*kept, *origin)),
            Outcome::Line(_) | Outcome::Shared(_) | Outcome::EarlierLine(_) => None,
        }
    }
}

/// Reads answers of earlier runs here and there.
#[derive(Debug)]
pub(crate) struct Taker<'a> {
    runs: &'a [EarlierRun],
    /// With the file of its answers, if it has some.
    open: BTreeMap<(u32, u32), (SegmentReader, Option<File>)>,
}

impl<'a> Taker<'a> {
    pub(crate) fn new(runs: &'a [EarlierRun]) -> Self {
        Self {
            runs,
            open: BTreeMap::new(),
        }
    }

    /// The run that has an answer.
    pub(crate) fn run(&self, at: AnswerAt) -> u32 {
        self.runs[at.holder as usize].run
    }

    /// Reads an answer: what is known of it, and into `message` its bytes; or the line of a row without one.
    pub(crate) fn take(
        &mut self,
        at: AnswerAt,
        message: &mut Vec<u8>,
    ) -> Result<Taken, SpoolError> {
        let run = &self.runs[at.holder as usize];
        let path = run.segment(at.segment);
        let io = |source| SpoolError::Io {
            path: path.clone(),
            source,
        };
        let key = (at.holder, at.segment);
        if !self.open.contains_key(&key) {
            if self.open.len() == OPEN_MAX {
                self.open.clear();
            }
            let segment = SegmentReader::glance(&path).map_err(io)?;
            let answers = segment.answers().path(&run.spool);
            let open = |path: PathBuf| {
                let file = File::open(&path);
                file.map_err(|source| SpoolError::Io { path, source })
            };
            let answers = answers.map(open).transpose()?;
            self.open.insert(key, (segment, answers));
        }
        let (segment, file) = self.open.get_mut(&key).expect("it was just opened");
        let damaged = |what| SpoolError::Damaged {
            path: path.clone(),
            offset: at.offset,
            what,
        };
        segment.go_to(at.offset).map_err(io)?;
        let row = segment.row();
        let row = row.ok_or_else(|| damaged("an outcome is not where it was"))?;
        let outcome = match segment.read().map_err(io)? {
            Outcome::Line(line) => {
                let (run, at) = (run.run, at.row);
                return Ok(Taken::Failed(line, Origin { run, row, at }));
            }
            Outcome::EarlierLine(EarlierLine { line, origin, .. }) => {
                return Ok(Taken::Failed(line, origin));
            }
            outcome => outcome,
        };
        let answer = run.answer(row, &outcome).zip(file.as_ref());
        let ((kept, origin), file) =
            answer.ok_or_else(|| damaged("an outcome is not where it was"))?;
        read_at(file, &kept, message).map_err(io)?;
        if Shown::of(message, kept.places).is_none() {
            return Err(damaged("an answer is not where it was received"));
        }
        Ok(Taken::Answer(kept, origin))
    }
}

/// The error for a file that could not be read, with its name.
fn at(path: &Path) -> impl Fn(io::Error) -> io::Error + '_ {
    |source| io::Error::new(source.kind(), format!("{}: {source}", path.display()))
}
