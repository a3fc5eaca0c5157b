//! Group commit for the journals: whoever has a record waits here until it is on the disk, and all
//! that wait at the same time share one flush.
//!
//! Leaves out what is recorded when (`sync_call`).

use std::collections::BTreeMap;

use offpeak_core::job::shard::ShardNo;
use tokio::sync::{mpsc, oneshot};

use crate::blocking::blocking;
use crate::error::EngineError;
use crate::journal::{Journal, JournalError, Record};
use crate::spool::SpoolDir;

/// Records that are written in one go at the most.
const GROUP_MAX: usize = 1_024;

#[derive(Debug)]
struct Entry {
    shard: ShardNo,
    record: Record,
    done: oneshot::Sender<Result<(), EngineError>>,
}

/// A handle to the task that writes the journals; it ends when the last handle is gone.
#[derive(Debug, Clone)]
pub(crate) struct JournalWriter {
    entries: mpsc::Sender<Entry>,
}

impl JournalWriter {
    /// Starts the task.
    pub(crate) fn start(spool: SpoolDir) -> Self {
        let (entries, mut waiting) = mpsc::channel(GROUP_MAX);
        tokio::spawn(async move {
            let mut journals = BTreeMap::new();
            let mut group = Vec::new();
            while waiting.recv_many(&mut group, GROUP_MAX).await > 0 {
                let spool = spool.clone();
                let (kept, answers) = blocking(move || write_group(&spool, journals, group)).await;
                journals = kept;
                for (done, result) in answers {
                    // Nobody waits any more if the run was dropped; the record is there all the same.
                    let _dropped = done.send(result);
                }
                group = Vec::new();
            }
        });
        Self { entries }
    }

    /// Returns when the record is on the disk.
    pub(crate) async fn append(&self, shard: ShardNo, record: Record) -> Result<(), EngineError> {
        let (done, durable) = oneshot::channel();
        let entry = Entry {
            shard,
            record,
            done,
        };
        self.entries
            .send(entry)
            .await
            .expect("the writer lives as long as its handles");
        durable.await.expect("the writer answers every entry")
    }
}

type Journals = BTreeMap<ShardNo, Journal>;
type Answers = Vec<(
    oneshot::Sender<Result<(), EngineError>>,
    Result<(), EngineError>,
)>;

fn write_group(spool: &SpoolDir, mut journals: Journals, group: Vec<Entry>) -> (Journals, Answers) {
    let mut by_shard: BTreeMap<ShardNo, (Vec<Record>, Vec<_>)> = BTreeMap::new();
    for Entry {
        shard,
        record,
        done,
    } in group
    {
        let (records, waiting) = by_shard.entry(shard).or_default();
        records.push(record);
        waiting.push(done);
    }
    let mut answers = Vec::new();
    for (shard, (records, waiting)) in by_shard {
        let written = write_one(spool, &mut journals, shard, &records);
        for done in waiting {
            let result = match &written {
                Ok(()) => Ok(()),
                Err(error) => Err(EngineError::journal(error)),
            };
            answers.push((done, result));
        }
    }
    (journals, answers)
}

fn write_one(
    spool: &SpoolDir,
    journals: &mut Journals,
    shard: ShardNo,
    records: &[Record],
) -> Result<(), JournalError> {
    let journal = match journals.entry(shard) {
        std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
        std::collections::btree_map::Entry::Vacant(closed) => {
            closed.insert(Journal::open(spool, shard)?)
        }
    };
    let path = spool.journal(shard);
    journal
        .append(records)
        .map_err(|source| JournalError::Io { path, source })
}
