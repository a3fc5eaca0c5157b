//! Looks at the upstream's queue of batch rows, and at the jobs of this data directory that wait for room.
//!
//! How many rows it takes only an admin key can ask; without one the jobs still go in turn. What fills it
//! is seen in a listing, which shows the batches of our key's workspace, whoever made them. Leaves out
//! what follows from it (the machine).

use std::sync::Arc;

use offpeak_client::{Call, Client};
use offpeak_core::job::queue::{Fill, QueueSeen};
use offpeak_core::units::{Span, Timestamp};
use offpeak_wire::batch::{BatchObject, BatchStatus};
use offpeak_wire::limits::BATCH_EXPIRY_S;
use offpeak_wire::rate_limits::{batch_limits_path, queue_limit};
use tokio::sync::Mutex;

use super::Actor;
use crate::blocking::blocking;
use crate::error::EngineError;

/// A limit is asked for again after this.
const ASK_EVERY: Span = Span::from_secs(600);

/// Most bytes of an answer.
const ANSWER_MAX: usize = 4 << 20;

/// The limit, as it was known at some time.
#[derive(Debug, Default)]
pub(super) struct QueueLimit(Mutex<Option<(Timestamp, Option<u64>)>>);

impl Actor {
    pub(super) async fn look_at_queue(&self) -> Result<QueueSeen, EngineError> {
        let fill = match self.queue_limit().await {
            Some(limit) => self.rows_queued().await.map(|rows| Fill { rows, limit }),
            None => None,
        };
        let (store, job, now) = (
            Arc::clone(&self.engine.store),
            self.job.clone(),
            self.engine.now(),
        );
        let waiters = blocking(move || store.waiters(&job, now)).await?;
        Ok(QueueSeen { fill, waiters })
    }

    /// Rows that the upstream has not answered yet; `None` if it does not say.
    async fn rows_queued(&self) -> Option<u64> {
        let expiry = i64::try_from(BATCH_EXPIRY_S).expect("a small constant");
        let since = self.upstream.server_not_before() - Span::from_secs(expiry);
        let batches = self.upstream.list(since).await.ok()?;
        let at_work = |batch: &&BatchObject| batch.status != BatchStatus::Ended;
        let rows = batches.iter().filter(at_work);
        Some(rows.map(|batch| batch.counts.processing).sum())
    }

    /// The smaller one of those of the organisation and of our workspace, if we may know and there is one.
    async fn queue_limit(&self) -> Option<u64> {
        let admin = self.engine.admin.as_ref()?;
        let mut known = self.limit.0.lock().await;
        let now = self.engine.now();
        match *known {
            Some((at, limit)) if now - at < ASK_EVERY => limit,
            _ => {
                let account = self.upstream.account().workspace;
                let workspace = account.as_deref().and_then(|of| of.split_once('/'));
                let asked = [None].into_iter().chain(workspace.map(|(_, id)| Some(id)));
                let mut limits = Vec::new();
                for of in asked {
                    match ask(admin, of).await {
                        Ok(limit) => limits.extend(limit),
                        Err(why) => {
                            let message = format!("its batch limits cannot be read: {why}");
                            self.upstream.note_trouble(message);
                        }
                    }
                }
                let limit = limits.into_iter().filter(|limit| *limit > 0).min();
                *known = Some((now, limit));
                limit
            }
        }
    }
}

async fn ask(admin: &Client, workspace: Option<&str>) -> Result<Option<u64>, String> {
    let call = Call::get(batch_limits_path(workspace));
    let answer = admin.send(call).await.map_err(|error| error.to_string())?;
    let status = answer.status;
    let body = answer.body.collect(ANSWER_MAX).await;
    let body = body.map_err(|error| error.to_string())?;
    match status {
        200 => queue_limit(&body).map_err(|error| error.to_string()),
        // The default workspace has none of its own.
        404 if workspace.is_some() => Ok(None),
        _ => Err(format!("status {status}")),
    }
}
