//! Shards and the ledger: the writes of one step of the machine, committed together.

use std::collections::BTreeMap;

use offpeak_core::job::event::{LedgerEntry, Write};
use offpeak_core::job::shard::{JobId, Proof, Shard, ShardNo, ShardState};
use offpeak_core::price::Lane;
use offpeak_core::units::{Timestamp, Usd};
use offpeak_wire::batch::BatchId;
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::StoreError;
use crate::line::put_in_line;
use crate::observation::observe;
use crate::open::Store;
use crate::waste::{is_waste, put_waste};

/// Sums of a job's ledger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LedgerSums {
    /// Ever set aside.
    pub reserved: Usd,
    /// Billed, from reported usage.
    pub settled: Usd,
    /// Given back.
    pub released: Usd,
    /// Held for calls of unknown outcome.
    pub unknown: Usd,
    /// Billed for batches that answer no row.
    pub waste: Usd,
    /// Set aside for batches and neither used nor given back yet. The sync lane holds call by call,
    /// in its journals, and is entered here when a shard of it is settled.
    pub held: Usd,
}

impl Store {
    /// Commits the writes of a step. When this returns they are on the disk.
    ///
    /// # Errors
    /// If the store fails, or a shard is not in the state that the step saw; then nothing is
    /// written.
    pub fn commit(&self, job: &JobId, at: Timestamp, writes: &[Write]) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        for write in writes {
            match write {
                Write::Shard { expect, shard } => put_shard(&transaction, job, *expect, shard)?,
                Write::Ledger(entry) => append(&transaction, job, at, entry)?,
                Write::InLine(waiter) => put_in_line(&transaction, job, at, waiter.as_ref())?,
                Write::Waste { batch, cost } => put_waste(&transaction, job, batch, *cost)?,
                Write::Observed { shard, observed } => {
                    observe(&transaction, job, at, *shard, observed)?;
                }
            }
        }
        transaction.commit()?;
        Ok(())
    }

    /// The shards of a job, in order of their numbers.
    ///
    /// # Errors
    /// If the store fails or a shard does not decode.
    pub fn shards(&self, job: &JobId) -> Result<Vec<Shard>, StoreError> {
        let connection = self.connection();
        let mut statement =
            connection.prepare_cached("SELECT body FROM shard WHERE job = ? ORDER BY no")?;
        let rows = statement.query_map([job.as_str()], |row| row.get::<_, String>(0))?;
        rows.map(|body| read_shard(&body?)).collect()
    }

    /// From the first to the last entry of each shard in the ledger, waste left aside: between submission and settlement of
    /// a batch, or the settlement of synchronous calls alone. By our clock.
    ///
    /// # Errors
    /// If the store fails.
    pub fn ledger_times(
        &self,
        job: &JobId,
    ) -> Result<BTreeMap<ShardNo, (Timestamp, Timestamp)>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT shard, min(at), max(at) FROM ledger WHERE job = ? AND kind != 'waste'
             GROUP BY shard",
        )?;
        let rows = statement.query_map([job.as_str()], |row| {
            let [first, last] = [row.get(1)?, row.get(2)?].map(Timestamp::from_micros);
            Ok((ShardNo(row.get(0)?), (first, last)))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Whether any shard of any job certainly owns this batch, or it is known to be waste. One that only
    /// took it for its own, because time and row count fit, does not: it may be the lost batch of another
    /// job.
    ///
    /// # Errors
    /// If the store fails or a shard does not decode.
    pub fn owns_batch(&self, batch: &BatchId) -> Result<bool, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached("SELECT body FROM shard WHERE batch = ?")?;
        let mut rows = statement.query([batch.as_str()])?;
        while let Some(row) = rows.next()? {
            if !is_guess(&read_shard(&row.get::<_, String>(0)?)?.state) {
                return Ok(true);
            }
        }
        is_waste(&connection, batch.as_str())
    }

    /// The sums of a job's ledger.
    ///
    /// # Errors
    /// If the store fails or an entry does not decode.
    pub fn ledger(&self, job: &JobId) -> Result<LedgerSums, StoreError> {
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached("SELECT kind, lane, pico FROM ledger WHERE job = ? ORDER BY seq")?;
        let mut sums = LedgerSums::default();
        let mut rows = statement.query([job.as_str()])?;
        while let Some(row) = rows.next()? {
            let (kind, lane, pico): (String, String, String) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            let damaged = || StoreError::Damaged {
                what: "ledger entry",
                detail: format!("{kind} {pico}"),
            };
            let amount = Usd::from_pico(pico.parse().map_err(|_| damaged())?);
            let sum = match kind.as_str() {
                "reserve" => &mut sums.reserved,
                "settle" => &mut sums.settled,
                "release" => &mut sums.released,
                "unknown" => &mut sums.unknown,
                "waste" => &mut sums.waste,
                _ => return Err(damaged()),
            };
            *sum += amount;
            // Nothing was set aside for what nobody meant to send.
            if lane == lane_name(Lane::Batch) && kind != "waste" {
                let held = if kind == "reserve" { amount } else { -amount };
                sums.held += held;
            }
        }
        Ok(sums)
    }
}

fn read_shard(body: &str) -> Result<Shard, StoreError> {
    serde_json::from_str(body).map_err(|e| StoreError::Damaged {
        what: "shard",
        detail: e.to_string(),
    })
}

/// Whether the shard does not know yet that its batch is its own.
fn is_guess(state: &ShardState) -> bool {
    match state {
        ShardState::InProgress(up) | ShardState::Canceling(up) | ShardState::Ended(up) => {
            up.proof != Proof::Certain
        }
        ShardState::Planned
        | ShardState::Submitting(_)
        | ShardState::Unknown(_)
        | ShardState::GivenUp(_)
        | ShardState::Collected(_)
        | ShardState::Running
        | ShardState::Settled(_) => false,
    }
}

/// Writes a shard if it is in the state expected (or, with `None`, if there is none yet).
pub(crate) fn put_shard(
    connection: &Connection,
    job: &JobId,
    expect: Option<&str>,
    shard: &Shard,
) -> Result<(), StoreError> {
    let body = serde_json::to_string(shard).expect("a shard has only string keys");
    let batch = shard.state.upstream().map(|up| up.batch.as_str());
    let changed = match expect {
        None => connection
            .prepare_cached(
                "INSERT INTO shard (job, no, lane, rows, state, batch, body)
                 VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                job.as_str(),
                shard.no.0,
                lane_name(shard.lane),
                shard.rows.len(),
                shard.state.tag(),
                batch,
                body,
            ])?,
        // A settled shard keeps the batch it came from: it must never be taken for a stranger's. One
        // that is in doubt again lets go of the batch that was not its own.
        Some(expect) => connection
            .prepare_cached(
                "UPDATE shard SET lane = ?1, rows = ?2, state = ?3,
                     batch = CASE ?3 WHEN 'settled' THEN coalesce(?4, batch) ELSE ?4 END, body = ?5
                 WHERE job = ?6 AND no = ?7 AND state = ?8",
            )?
            .execute(params![
                lane_name(shard.lane),
                shard.rows.len(),
                shard.state.tag(),
                batch,
                body,
                job.as_str(),
                shard.no.0,
                expect,
            ])?,
    };
    if changed == 1 {
        return Ok(());
    }
    let found = connection
        .query_row(
            "SELECT state FROM shard WHERE job = ? AND no = ?",
            params![job.as_str(), shard.no.0],
            |row| row.get::<_, String>(0),
        )
        .optional()?;
    Err(StoreError::Moved {
        job: job.to_string(),
        shard: shard.no.0,
        expected: expect.unwrap_or("new").to_owned(),
        found: found.unwrap_or_else(|| "missing".to_owned()),
    })
}

fn append(
    connection: &Connection,
    job: &JobId,
    at: Timestamp,
    entry: &LedgerEntry,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO ledger (job, shard, at, kind, lane, pico) VALUES (?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            job.as_str(),
            entry.shard.0,
            at.as_micros(),
            entry.kind.as_str(),
            lane_name(entry.lane),
            entry.amount.pico().to_string(),
        ])?;
    Ok(())
}

fn lane_name(lane: Lane) -> &'static str {
    match lane {
        Lane::Sync => "sync",
        Lane::Batch => "batch",
    }
}
