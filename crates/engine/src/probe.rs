//! The probe: some rows of a job that are sent before the others are planned. They are answered and paid
//! like all rows; what they cost and how long their answers are is evidence for the plan of the rest.
//!
//! A probing job has one shard in the store, and an index of the rows that are not in it. Once that
//! shard is settled, the rest is planned, cut and added to the job in one transaction: until then
//! nothing of it was sent, so a crash in between only means that it is planned again. Leaves out the
//! choice of rows (`sample`) and what follows from the evidence (`offpeak_core::plan`).

use std::collections::BTreeSet;

use offpeak_core::job::shard::{JobId, RowRange, Shard, ShardNo, ShardRole, ShardState};
use offpeak_core::plan::{self, Workload};
use offpeak_core::price::Lane;
use offpeak_core::units::{Span, Usd};
use serde::{Deserialize, Serialize};

use crate::blocking::blocking;
use crate::cut::{cut, on_lane};
use crate::error::EngineError;
use crate::facts::JobFacts;
use crate::history::recall;
use crate::ingest::GroupLevel;
use crate::marks::mark_facts;
use crate::planned::cut_plan;
use crate::sample::choose;
use crate::spool::{IndexReader, IndexWriter, RefsWriter, RowMarks, RowRef, SpoolDir};
use crate::start::{Job, splitmix};
use crate::transfer::measure_body;

/// The probe's number, above those of all shards that are cut from the rest.
const PROBE: ShardNo = ShardNo(1 << 30);

/// Takes so many rows out of a spool that was just filled and makes them the shard of the probe;
/// `None` if that would be all rows. The same rows of the same job are always taken.
///
/// # Errors
/// If the spool cannot be read or written.
pub(crate) fn cut_probe(
    spool: &SpoolDir,
    id: &JobId,
    lane: Lane,
    rows: u32,
) -> Result<Option<Shard>, EngineError> {
    let seed = id.as_str().bytes().fold(0u64, |seed, byte| {
        seed.wrapping_mul(31).wrapping_add(u64::from(byte))
    });
    let mut dice = splitmix(seed);
    let (of, mut chosen) = choose(spool, rows as usize, &mut *dice)?;
    if chosen.len() as u64 == of {
        return Ok(None);
    }
    chosen.sort_unstable_by_key(|entry| entry.row);
    let write = |error| EngineError::io("write", spool.root())(error);
    let mut refs = RefsWriter::create(spool, PROBE.0).map_err(write)?;
    for entry in &chosen {
        let row = RowRef {
            row: entry.row,
            at: entry.at,
            worst: entry.worst,
            attempts: 0,
            round: 0,
            request_len: entry.request_len,
            // Some rows of each group, at the same time: none could read what another writes.
            marks: RowMarks::NONE,
        };
        refs.push(&row).map_err(write)?;
    }
    let rows: RowRange = refs.finish().map_err(write)?;
    let taken: BTreeSet<u64> = chosen.iter().map(|entry| entry.row).collect();
    leave(spool, &taken)?;
    let worst: Usd = chosen
        .iter()
        .map(|entry| Usd::from_pico(entry.worst.into()))
        .sum();
    let mut shard = Shard {
        no: PROBE,
        lane,
        // Of a canary, the guard looks at every answer.
        role: ShardRole::Canary,
        rows,
        bytes: chosen
            .iter()
            .map(|entry| u64::from(entry.request_len))
            .sum(),
        worst: on_lane(lane, worst),
        reserved: Usd::ZERO,
        mark: None,
        unmarked: None,
        found: false,
        account: None,
        origin: None,
        after: None,
        state: ShardState::Planned,
    };
    if lane == Lane::Batch {
        shard.bytes = measure_body(spool, id.clone(), shard.clone())?.bytes;
    }
    Ok(Some(shard))
}

/// Writes the index anew without some rows. The file is replaced, so its reader keeps the old one.
fn leave(spool: &SpoolDir, taken: &BTreeSet<u64>) -> Result<(), EngineError> {
    let entries = IndexReader::open(spool)?;
    let write = |error| EngineError::io("write", spool.root())(error);
    let mut rest = IndexWriter::create(spool).map_err(write)?;
    for entry in entries {
        let entry = entry?;
        if !taken.contains(&entry.row) {
            rest.push(&entry).map_err(write)?;
        }
    }
    rest.finish().map_err(write)?;
    Ok(())
}

/// What the rest of a probed job is planned and cut with.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Rest {
    pub(crate) workload: Workload,
    /// Of its groups.
    pub(crate) levels: Vec<GroupLevel>,
}

impl Rest {
    /// Keeps it in the spool.
    pub(crate) fn keep(&self, spool: &SpoolDir) -> Result<(), EngineError> {
        let path = spool.workload();
        let bytes = serde_json::to_vec(self).expect("a workload has only string keys");
        let file = crate::spool::create_file(&path);
        file.and_then(|mut file| {
            std::io::Write::write_all(&mut file, &bytes)?;
            spool.disk().content(&file, &path)?;
            spool.disk().name_of(&path)
        })
        .map_err(EngineError::io("write", &path))
    }

    fn kept(spool: &SpoolDir) -> Result<Self, EngineError> {
        let path = spool.workload();
        let bytes = std::fs::read(&path).map_err(EngineError::io("read", &path))?;
        serde_json::from_slice(&bytes).map_err(|error| EngineError::Damaged {
            path,
            detail: error.to_string(),
        })
    }
}

impl Job {
    /// Whether only the probe of the job was planned so far.
    #[must_use]
    pub fn is_probing(&self) -> bool {
        self.facts.probing
    }

    /// Plans and cuts what the probe left, by what it showed; the job then runs on as any other.
    ///
    /// # Errors
    /// If a price is missing, or the disk or the store fails. The job stays as it was.
    pub async fn plan_the_rest(self) -> Result<Self, EngineError> {
        blocking(move || self.plan_the_rest_blocking()).await
    }

    fn plan_the_rest_blocking(mut self) -> Result<Self, EngineError> {
        let (engine, id) = (&self.engine, &self.record.id);
        let now = engine.now();
        let Rest {
            mut workload,
            levels,
        } = Rest::kept(&self.spool)?;
        workload.evidence = recall(&engine.store, &self.record.name, now)?;
        workload.limits.budget = self.settings.budget;
        workload.limits.zero_data_retention = self.settings.zero_data_retention;
        workload.need = match self.settings.deadline_at(self.record.created_at) {
            // A job that is late already is planned as one that is about to be.
            Some(deadline) => plan::Need::By {
                slack: (deadline - now).max(Span::from_secs(1)),
            },
            None => match self.settings.need {
                crate::spec::Need::Seconds => plan::Need::Seconds,
                _ => plan::Need::Whenever,
            },
        };
        let plan = plan::decide(&workload, &engine.book, now)?;
        let shards = cut(&self.spool, id, &cut_plan(&plan, &workload, &levels))
            .map_err(EngineError::io("write", self.spool.root()))?;
        let facts = JobFacts {
            probing: false,
            marks: mark_facts(&workload, &plan, &engine.book, now)?,
            ..self.facts.clone().planned(&plan)
        };
        let text = facts.text();
        engine
            .store
            .extend_job(id, &self.record.facts, &text, &shards)?;
        self.record.facts = text;
        self.facts = facts;
        Ok(self)
    }
}
