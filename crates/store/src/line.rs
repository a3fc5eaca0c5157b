//! The jobs of a data directory that want room in the upstream's queue, so that each knows who goes first.
//! An entry holds for as long as its job says it again: processes die.

use offpeak_core::job::queue::{Standing, Turn, WAITS_FOR, Waiter};
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
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT job, rows, standing, priority, deadline, at_work, created_at FROM in_line
             WHERE job != ? AND abs(at - ?) < ? ORDER BY job",
        )?;
        let (now, fresh) = (now.as_micros(), WAITS_FOR.as_micros());
        let rows = statement.query_map(params![but.as_str(), now, fresh], |row| {
            let job: String = row.get(0)?;
            let turn = (row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?);
            Ok((job, (row.get(1)?, row.get(2)?), turn))
        })?;
        rows.map(|row| {
            let (job, (rows, standing), turn): (_, (u32, String), (i64, Option<i64>, u32, i64)) =
                row?;
            let (priority, deadline, at_work, created_at) = turn;
            let job = JobId::parse(&job).ok_or_else(|| StoreError::Damaged {
                what: "job id",
                detail: job.clone(),
            })?;
            let turn = Turn {
                priority,
                deadline: deadline.map(Timestamp::from_micros),
                at_work: u64::from(at_work),
                created_at: Timestamp::from_micros(created_at),
                job,
            };
            let standing = STANDINGS.into_iter().find(|(_, name)| *name == standing);
            let (standing, _) = standing.ok_or_else(|| StoreError::Damaged {
                what: "place in line",
                detail: turn.job.to_string(),
            })?;
            Ok(Waiter {
                turn,
                rows: u64::from(rows),
                standing,
            })
        })
        .collect()
    }
}

/// Their names in the store.
const STANDINGS: [(Standing, &str); 3] = [
    (Standing::Looking, "looking"),
    (Standing::Waiting, "waiting"),
    (Standing::Going, "going"),
];

/// The job wants to send a shard, or does not any longer.
pub(crate) fn put_in_line(
    connection: &Connection,
    job: &JobId,
    at: Timestamp,
    waiter: Option<&Waiter>,
) -> Result<(), StoreError> {
    let Some(Waiter {
        turn,
        rows,
        standing,
    }) = waiter
    else {
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
            STANDINGS
                .into_iter()
                .find(|(of, _)| of == standing)
                .map(|(_, name)| name),
            turn.priority,
            turn.deadline.map(Timestamp::as_micros),
            u32::try_from(turn.at_work).unwrap_or(u32::MAX),
            turn.created_at.as_micros(),
        ])?;
    Ok(())
}
