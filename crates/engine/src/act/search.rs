//! Searches for batches of the job upstream: all that an earlier life made, what has ended since it was made, and
//! the ones that a shard in doubt may have.
//!
//! Leaves out when to search and what follows from it (the machine).

use std::sync::Arc;

use offpeak_core::job::event::{Listing, OurBatch, Owner, Scouted, Search, SeenBatch};
use offpeak_core::job::retry::concerns_the_lane;
use offpeak_core::job::shard::{RESULTS_KEPT, Shard, ShardNo, ShardState};
use offpeak_core::price::Lane;
use offpeak_core::units::{Span, Timestamp, Usd};
use offpeak_wire::batch::{BatchId, BatchObject, BatchStatus};
use offpeak_wire::error::ErrorKind;
use offpeak_wire::limits::BATCH_EXPIRY_S;

use super::Actor;
use crate::blocking::blocking;
use crate::error::EngineError;
use crate::transfer::fit;
use crate::upstream::{Failure, created_at};

/// Searches that are made again because one batch could not be read.
const UNREAD_MAX: u32 = 5;

/// What a failed listing tells the machine.
type Told = (Option<ErrorKind>, String);

impl Actor {
    /// Looks for batches of this job, as far as asked; in any case learns the server's time.
    pub(super) async fn look_for_ourselves(
        &self,
        sizes: &[u64],
        search: Search,
    ) -> Result<Scouted, EngineError> {
        let found = match (self.upstream.knock().await, search) {
            (Ok(()), Search::Ended | Search::All) => self.search(sizes, search).await?,
            (knocked, _) => knocked.map(|()| Scouted::default()),
        };
        let account = found.is_ok().then(|| self.upstream.account());
        let found = found.unwrap_or_else(|failure| Scouted {
            failed: Some((failure.kind, failure.message)),
            ..Scouted::default()
        });
        Ok(Scouted { account, ..found })
    }

    async fn search(
        &self,
        sizes: &[u64],
        search: Search,
    ) -> Result<Result<Scouted, Failure>, EngineError> {
        let now = self.upstream.server_not_before();
        let all = search == Search::All;
        let back = if all {
            RESULTS_KEPT
        } else {
            // A clock that was set in the meantime is wrong by less than a day.
            let since = self.upstream.now() - self.created_at + Span::from_secs(86_400);
            since.clamp(Span::ZERO, RESULTS_KEPT)
        };
        let mut found = Scouted::default();
        let mut sizes = sizes.to_vec();
        sizes.extend(self.cut_by_the_budget().await?);
        let batches = match self.upstream.list(now - back).await {
            Ok(batches) => batches,
            Err(failure) => return Ok(Err(failure)),
        };
        for batch in batches {
            if self.is_owned(batch.id.clone()).await? {
                continue;
            }
            let rows = batch.counts.total();
            match batch.status {
                _ if !all && !sizes.contains(&rows) => {}
                BatchStatus::Ended if batch.archived_at.is_some() => {}
                BatchStatus::Ended => match self.upstream.whose(&batch.id).await {
                    Ok(Some(mark)) if mark.job == self.job => found.ours.push(OurBatch {
                        shard: mark.shard,
                        created_at: created_at(&batch).unwrap_or(now),
                        rows,
                        batch: batch.id,
                    }),
                    Ok(Some(mark)) if mark.job.sends_other_rows_than(&self.job) => {
                        found.other_rows = Some(batch.id);
                    }
                    Ok(_) => {}
                    // It may be one of ours of any size: the search is made again.
                    Err(failure) if all && self.passes(&batch.id, &failure) => {
                        return Ok(Err(failure));
                    }
                    Err(_) if !all || !sizes.contains(&rows) => {}
                    Err(_) => found.suspects.push(batch.id),
                },
                _ if all && sizes.contains(&rows) && self.may_still_run(&batch, now) => {
                    found.suspects.push(batch.id);
                }
                _ => {}
            }
        }
        // While others were looked at, the shard of one may have read its results and made it its own.
        let mut unowned = Vec::with_capacity(found.ours.len());
        for batch in found.ours {
            if !self.is_owned(batch.batch.clone()).await? {
                unowned.push(batch);
            }
        }
        found.ours = unowned;
        Ok(Ok(found))
    }

    /// Whether a failure to read whose batch it is may pass. One that fails again and again must not keep
    /// the job from beginning.
    fn passes(&self, batch: &BatchId, failure: &Failure) -> bool {
        let may = match failure.kind {
            None => true,
            Some(kind) => concerns_the_lane(kind),
        };
        let mut unread = self.unread.lock().expect("nothing panics in here");
        let failures = unread.entry(batch.clone()).or_default();
        *failures += 1;
        may && *failures <= UNREAD_MAX
    }

    /// Rows that the first shard would be cut to: an earlier life had the budget to spend that this one
    /// has, or, with a deadline, half of it for the batch.
    async fn cut_by_the_budget(&self) -> Result<Vec<u64>, EngineError> {
        let Some(budget) = self.budget else {
            return Ok(Vec::new());
        };
        let (store, job, spool) = (
            Arc::clone(&self.engine.store),
            self.job.clone(),
            self.spool.clone(),
        );
        blocking(move || {
            let shards = store.shards(&job)?;
            let unsent = |s: &&Shard| s.lane == Lane::Batch && s.state == ShardState::Planned;
            let Some(first) = shards.iter().find(unsent) else {
                return Ok(Vec::new());
            };
            let half = Usd::from_pico(budget.pico() / 2);
            let rows = |most| Ok(u64::from(fit(&spool, first, Some(most))?.rows));
            [budget, half].into_iter().map(rows).collect()
        })
        .await
    }

    fn may_still_run(&self, batch: &BatchObject, now: Timestamp) -> bool {
        let expiry = i64::try_from(BATCH_EXPIRY_S).expect("a small constant");
        created_at(batch).is_none_or(|at| now - at < Span::from_secs(expiry))
    }

    pub(super) async fn listing(
        &self,
        no: ShardNo,
        shard: &Shard,
        since: Timestamp,
    ) -> Result<Result<Listing, Told>, EngineError> {
        let batches = match self.upstream.list(since).await {
            Ok(batches) => batches,
            Err(failure) => return Ok(Err((failure.kind, failure.message))),
        };
        let rows = u64::from(shard.rows.len());
        let mut seen = Vec::new();
        for batch in batches {
            if batch.counts.total() != rows {
                continue;
            }
            let created_at = created_at(&batch).unwrap_or(since);
            if self.is_owned(batch.id.clone()).await? {
                continue;
            }
            let owner = match batch.status {
                BatchStatus::Ended => match self.upstream.whose(&batch.id).await {
                    Ok(Some(mark)) if mark.job == self.job && mark.shard == no => Owner::Ours,
                    Ok(_) => Owner::Other,
                    Err(_) => Owner::Untold,
                },
                _ => Owner::Untold,
            };
            seen.push(SeenBatch {
                batch: batch.id,
                created_at,
                rows,
                owner,
            });
        }
        let server_now = self
            .upstream
            .server_now()
            .unwrap_or_else(|| self.upstream.now());
        Ok(Ok(Listing { server_now, seen }))
    }

    async fn is_owned(&self, batch: BatchId) -> Result<bool, EngineError> {
        let store = Arc::clone(&self.engine.store);
        Ok(blocking(move || store.owns_batch(&batch)).await?)
    }
}
