//! The jobs of a data directory that want room in the upstream's queue, so that each knows who goes first.
//! An entry holds for as long as its job says it again: processes die.

use offpeak_core::job::queue::{Phase, Turn, WAITS_FOR, Waiter};
use offpeak_core::job::shard::JobId;
use offpeak_core::units::Timestamp;
use rusqlite::{Connection, params};

use crate::error::StoreError;
use crate::open::Store;

impl Store {
    /// The other jobs that want to send a shard, as of `now`.
    ///
    /// # Errors
    /// If the store fails or an entry does not decode.
    pub fn waiters(&self, but: &JobId, now: Timestamp) -> Result<Vec<Waiter>, StoreError> {
        let mut waiters = self.in_line(now)?;
        waiters.retain(|waiter| waiter.turn.job != *but);
        Ok(waiters)
    }

    /// The jobs that want to send a shard, as of `now`.
    ///
    /// # Errors
    /// If the store fails or an entry does not decode.
    pub fn in_line(&self, now: Timestamp) -> Result<Vec<Waiter>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT job, rows, phase, priority, deadline, at_work, created_at FROM in_line
             WHERE abs(at - ?) < ? ORDER BY job",
        )?;
        let (now, fresh) = (now.as_micros(), WAITS_FOR.as_micros());
        let rows = statement.query_map(params![now, fresh], |row| {
            let (job, rows, phase): (String, u32, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let (priority, deadline): (i64, Option<i64>) = (row.get(3)?, row.get(4)?);
            let (at_work, created_at): (u32, i64) = (row.get(5)?, row.get(6)?);
            Ok((job, rows, phase, priority, deadline, at_work, created_at))
        })?;
        rows.map(|row| {
            let (job, rows, phase, priority, deadline, at_work, created_at) = row?;
            let named = Phase::ALL.into_iter().find(|s| s.as_str() == phase);
            Ok(Waiter {
                turn: Turn {
                    priority,
                    deadline: deadline.map(Timestamp::from_micros),
                    at_work: at_work.into(),
                    created_at: Timestamp::from_micros(created_at),
                    job: JobId::parse(&job).ok_or_else(|| damaged(&job))?,
                },
                rows: rows.into(),
                phase: named.ok_or_else(|| damaged(&phase))?,
            })
        })
        .collect()
    }
}

fn damaged(detail: &str) -> StoreError {
    StoreError::Damaged {
        what: "place in line",
        detail: detail.to_owned(),
    }
}

/// The job wants to send a shard, or does not any longer.
pub(crate) fn put_in_line(
    connection: &Connection,
    job: &JobId,
    at: Timestamp,
    waiter: Option<&Waiter>,
) -> Result<(), StoreError> {
    let Some(Waiter { turn, rows, phase }) = waiter else {
        connection
            .prepare_cached("DELETE FROM in_line WHERE job = ?")?
            .execute([job.as_str()])?;
        return Ok(());
    };
    connection
        .prepare_cached("REPLACE INTO in_line VALUES (?, ?, ?, ?, ?, ?, ?, ?)")?
        .execute(params![
            job.as_str(),
            at.as_micros(),
            u32::try_from(*rows).unwrap_or(u32::MAX),
            phase.as_str(),
            turn.priority,
            turn.deadline.map(Timestamp::as_micros),
            u32::try_from(turn.at_work).unwrap_or(u32::MAX),
            turn.created_at.as_micros(),
        ])?;
    Ok(())
}
