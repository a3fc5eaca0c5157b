//! Jobs: made whole with their first shards, found by name, closed once.

use offpeak_core::job::shard::{JobId, Shard};
use offpeak_core::units::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::open::Store;
use crate::shard::put_shard;

/// A job as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRecord {
    /// Its id.
    pub id: JobId,
    /// Its name.
    pub name: String,
    /// Which run of that name, from 1.
    pub run: u32,
    /// Where it stands.
    pub state: JobState,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its output was in place.
    pub finished_at: Option<Timestamp>,
    /// Digest of the bytes that the job was made from, hex.
    pub source_digest: String,
    /// Digest of the rendered params, hex.
    pub params_digest: String,
    /// What the engine needs to resume, JSON.
    pub facts: String,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobState {
    /// Not finished: it runs, or can be resumed.
    Open,
    /// Its output was written.
    Finished,
    /// The user started afresh.
    Abandoned,
}

impl JobState {
    /// The name in the store and on the screen.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Finished => "finished",
            Self::Abandoned => "abandoned",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Open, Self::Finished, Self::Abandoned]
            .into_iter()
            .find(|s| s.as_str() == text)
    }
}

const COLUMNS: &str =
    "id, name, run, state, created_at, finished_at, source_digest, params_digest, facts";

impl Store {
    /// Makes a job together with its shards, and gives up the one it replaces, in one transaction.
    ///
    /// # Errors
    /// If the store fails or a job of this id or run exists.
    pub fn create_job(
        &self,
        job: &JobRecord,
        shards: &[Shard],
        replaces: Option<&JobId>,
    ) -> Result<(), StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        transaction.execute(
            &format!("INSERT INTO job ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"),
            params![
                job.id.as_str(),
                job.name,
                job.run,
                job.state.as_str(),
                job.created_at.as_micros(),
                job.finished_at.map(Timestamp::as_micros),
                job.source_digest,
                job.params_digest,
                job.facts,
            ],
        )?;
        for shard in shards {
            put_shard(&transaction, &job.id, None, shard)?;
        }
        if let Some(old) = replaces {
            close(&transaction, old, JobState::Abandoned, job.created_at)?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Adds shards to an open job, with what is known of it from now on, in one transaction.
    /// `before` are the facts that the caller saw.
    ///
    /// # Errors
    /// If the store fails, a shard exists already, or the job is not open with those facts; then
    /// nothing is written.
    pub fn extend_job(
        &self,
        id: &JobId,
        before: &str,
        facts: &str,
        shards: &[Shard],
    ) -> Result<(), StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        let changed = transaction.execute(
            "UPDATE job SET facts = ? WHERE id = ? AND state = 'open' AND facts = ?",
            params![facts, id.as_str(), before],
        )?;
        if changed != 1 {
            return Err(StoreError::Damaged {
                what: "job",
                detail: format!("{id} is not open as it was read"),
            });
        }
        for shard in shards {
            put_shard(&transaction, id, None, shard)?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Puts other facts of a job in the place of those that were read.
    ///
    /// # Errors
    /// If the store fails, or the facts are others by now; then nothing is written.
    pub fn update_facts(&self, id: &JobId, before: &str, facts: &str) -> Result<(), StoreError> {
        let connection = self.connection();
        let changed = connection.execute(
            "UPDATE job SET facts = ? WHERE id = ? AND facts = ?",
            params![facts, id.as_str(), before],
        )?;
        if changed == 1 {
            return Ok(());
        }
        Err(StoreError::Damaged {
            what: "job",
            detail: format!("{id} is not as it was read"),
        })
    }

    /// The newest run of a name.
    ///
    /// # Errors
    /// If the store fails.
    pub fn latest_run(&self, name: &str) -> Result<Option<JobRecord>, StoreError> {
        self.one_job("WHERE name = ? ORDER BY run DESC LIMIT 1", name)
    }

    /// How many runs of a name had these requests.
    ///
    /// # Errors
    /// If the store fails.
    pub fn runs_of(&self, name: &str, params_digest: &str) -> Result<u32, StoreError> {
        let connection = self.connection();
        let query = "SELECT count(*) FROM job WHERE name = ? AND params_digest = ?";
        let count = connection.query_row(query, [name, params_digest], |row| row.get(0))?;
        Ok(count)
    }

    /// The job of an id.
    ///
    /// # Errors
    /// If the store fails.
    pub fn job(&self, id: &JobId) -> Result<Option<JobRecord>, StoreError> {
        self.one_job("WHERE id = ?", id.as_str())
    }

    /// All jobs, newest first.
    ///
    /// # Errors
    /// If the store fails.
    pub fn jobs(&self) -> Result<Vec<JobRecord>, StoreError> {
        let connection = self.connection();
        let query = format!("SELECT {COLUMNS} FROM job ORDER BY created_at DESC, run DESC");
        let mut statement = connection.prepare(&query)?;
        let rows = statement.query_map([], |row| Ok(read_job(row)))?;
        rows.map(|row| row?).collect()
    }

    /// Whether the store has never had a job: its directory is new.
    ///
    /// # Errors
    /// If the store fails.
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        let connection = self.connection();
        let any = connection
            .query_row("SELECT 1 FROM job LIMIT 1", [], |_| Ok(()))
            .optional()?;
        Ok(any.is_none())
    }

    /// Closes an open job.
    ///
    /// # Errors
    /// If the store fails or the job is not open.
    pub fn close_job(&self, id: &JobId, to: JobState, at: Timestamp) -> Result<(), StoreError> {
        close(&self.connection(), id, to, at)
    }

    fn one_job(&self, clause: &str, key: &str) -> Result<Option<JobRecord>, StoreError> {
        let connection = self.connection();
        let query = format!("SELECT {COLUMNS} FROM job {clause}");
        connection
            .query_row(&query, [key], |row| Ok(read_job(row)))
            .optional()?
            .transpose()
    }
}

fn close(
    connection: &Connection,
    id: &JobId,
    to: JobState,
    at: Timestamp,
) -> Result<(), StoreError> {
    let changed = connection.execute(
        "UPDATE job SET state = ?, finished_at = ? WHERE id = ? AND state = 'open'",
        params![to.as_str(), at.as_micros(), id.as_str()],
    )?;
    if changed == 1 {
        return Ok(());
    }
    Err(StoreError::Damaged {
        what: "job",
        detail: format!("{id} is not open"),
    })
}

fn read_job(row: &Row<'_>) -> Result<JobRecord, StoreError> {
    let damaged = |detail: String| StoreError::Damaged {
        what: "job",
        detail,
    };
    let id: String = row.get(0)?;
    let state: String = row.get(3)?;
    Ok(JobRecord {
        id: JobId::parse(&id).ok_or_else(|| damaged(format!("id `{id}`")))?,
        name: row.get(1)?,
        run: row.get(2)?,
        state: JobState::parse(&state).ok_or_else(|| damaged(format!("state `{state}`")))?,
        created_at: Timestamp::from_micros(row.get(4)?),
        finished_at: row.get::<_, Option<i64>>(5)?.map(Timestamp::from_micros),
        source_digest: row.get(6)?,
        params_digest: row.get(7)?,
        facts: row.get(8)?,
    })
}
