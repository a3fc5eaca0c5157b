//! What settled shards showed: token counts, lengths of answers, hits. Written in the transaction that
//! settles the shard, so that each shard says what it has to say once.
//!
//! Sums only: no request, no answer and no key is in here. Leaves out what follows from them
//! (`offpeak_core::plan::evidence`).

use offpeak_core::job::shard::{JobId, ShardNo};
use offpeak_core::plan::evidence::Observed;
use offpeak_core::units::Timestamp;
use rusqlite::{Connection, params};

use crate::error::StoreError;
use crate::open::Store;

/// An observation, with where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// The name of its job.
    pub job_name: String,
    /// When its shard was settled.
    pub at: Timestamp,
    /// What it showed.
    pub observed: Observed,
}

impl Store {
    /// The observations of all jobs since a moment, oldest first.
    ///
    /// # Errors
    /// If the store fails or an observation does not decode.
    pub fn observations(&self, since: Timestamp) -> Result<Vec<Observation>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT name, at, body FROM observation JOIN job ON job.id = observation.job
             WHERE at >= ? ORDER BY at, observation.job, shard, model",
        )?;
        let rows = statement.query_map([since.as_micros()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?))
        })?;
        rows.map(|row| {
            let (job_name, at, body) = row?;
            let observed = serde_json::from_str(&body).map_err(|e| StoreError::Damaged {
                what: "observation",
                detail: e.to_string(),
            })?;
            Ok(Observation {
                job_name,
                at: Timestamp::from_micros(at),
                observed,
            })
        })
        .collect()
    }
}

/// Writes an observation. A second one of the same shard and model is a fault, and fails the step.
pub(crate) fn observe(
    connection: &Connection,
    job: &JobId,
    at: Timestamp,
    shard: ShardNo,
    observed: &Observed,
) -> Result<(), StoreError> {
    let body = serde_json::to_string(observed).expect("an observation has only string keys");
    connection
        .prepare_cached(
            "INSERT INTO observation (job, shard, model, at, body) VALUES (?, ?, ?, ?, ?)",
        )?
        .execute(params![
            job.as_str(),
            shard.0,
            observed.model,
            at.as_micros(),
            body,
        ])?;
    Ok(())
}
