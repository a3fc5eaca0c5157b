//! Batches that carry the mark of a job and answer none of its rows: found once, counted once.

use offpeak_core::job::event::OurBatch;
use offpeak_core::job::shard::JobId;
use offpeak_core::units::Usd;
use rusqlite::{Connection, params};

use crate::error::StoreError;
use crate::open::Store;

/// A batch that was paid for and answers no row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WastedBatch {
    /// Its id.
    pub batch: String,
    /// Rows in it.
    pub rows: u64,
    /// What its answers cost.
    pub cost: Usd,
}

impl Store {
    /// The batches of a job that answer none of its rows, in order of their ids.
    ///
    /// # Errors
    /// If the store fails or an entry does not decode.
    pub fn waste(&self, job: &JobId) -> Result<Vec<WastedBatch>, StoreError> {
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached("SELECT batch, rows, pico FROM waste WHERE job = ? ORDER BY batch")?;
        let rows = statement.query_map([job.as_str()], |row| {
            Ok((row.get(0)?, row.get::<_, u32>(1)?, row.get::<_, String>(2)?))
        })?;
        rows.map(|row| {
            let (batch, rows, pico): (String, u32, String) = row?;
            let rows = u64::from(rows);
            let pico = pico.parse().map_err(|_| StoreError::Damaged {
                what: "wasted batch",
                detail: pico.clone(),
            })?;
            let cost = Usd::from_pico(pico);
            Ok(WastedBatch { batch, rows, cost })
        })
        .collect()
    }
}

/// Remembers a batch. A second time is a bug of the caller, and is refused by the table.
pub(crate) fn put_waste(
    connection: &Connection,
    job: &JobId,
    batch: &OurBatch,
    cost: Usd,
) -> Result<(), StoreError> {
    connection
        .prepare_cached("INSERT INTO waste (batch, job, rows, pico) VALUES (?, ?, ?, ?)")?
        .execute(params![
            batch.batch.as_str(),
            job.as_str(),
            u32::try_from(batch.rows).unwrap_or(u32::MAX),
            cost.pico().to_string(),
        ])?;
    Ok(())
}

/// Whether it is known that the batch answers no row.
pub(crate) fn is_waste(connection: &Connection, batch: &str) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM waste WHERE batch = ?")?;
    Ok(statement.exists([batch])?)
}
