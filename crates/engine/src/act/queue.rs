//! Looks at the upstream's queue of batch rows, and at the jobs of this data directory that wait for room.
//!
//! How many rows it takes only an admin key can ask; without one the jobs still go in turn. What fills it
//! is seen in a listing, which shows the batches of our key's workspace, whoever made them. Leaves out
//! what follows from it (the machine).

use std::sync::Arc;

use offpeak_core::job::queue::{Fill, QueueSeen};
use offpeak_core::units::{Span, Timestamp};
use offpeak_wire::batch::{BatchObject, BatchStatus};
use offpeak_wire::error::ErrorKind;
use offpeak_wire::limits::BATCH_EXPIRY_S;
use offpeak_wire::rate_limits::{batch_limits_path, queue_limit};
use tokio::sync::Mutex;

use super::Actor;
use crate::blocking::blocking;
use crate::error::EngineError;
use crate::start::Engine;
use crate::upstream::{Failure, Upstream, unreadable};

/// A limit is asked for again after this.
const ASK_EVERY: Span = Span::from_secs(600);

/// The limit of the queue, and how it is asked for.
#[derive(Debug)]
pub(super) struct QueueLimit {
    /// The upstream as an admin key sees it.
    admin: Option<Upstream>,
    /// The limit, as it was known at some time.
    known: Mutex<Option<(Timestamp, Option<u64>)>>,
}

impl QueueLimit {
    pub(super) fn of(engine: &Engine) -> Self {
        let admin = engine.admin.clone();
        Self {
            admin: admin.map(|client| Upstream::new(client, Vec::new(), engine.clock)),
            known: Mutex::default(),
        }
    }
}

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
        let admin = self.limit.admin.as_ref()?;
        let mut known = self.limit.known.lock().await;
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
                        Err(Failure { message, .. }) => {
                            let message = format!("its batch limits cannot be read: {message}");
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

async fn ask(admin: &Upstream, workspace: Option<&str>) -> Result<Option<u64>, Failure> {
    match admin.get(batch_limits_path(workspace)).await {
        Ok(page) => queue_limit(&page).map_err(|error| unreadable(&error)),
        // The default workspace has none of its own.
        Err(failure) if failure.kind == Some(ErrorKind::NotFound) && workspace.is_some() => {
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}
