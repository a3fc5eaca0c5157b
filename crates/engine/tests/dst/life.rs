//! One life of one job, as the command line would lead it, and what ends it: a crash after a commit, or when
//! a connection is made.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use offpeak_core::job::cancel::Cancel;
use offpeak_core::job::event::Stop;
use offpeak_engine::cancel::open_to_cancel;
use offpeak_engine::deletion::delete_upstream;
use offpeak_engine::finish::{Manifest, finish};
use offpeak_engine::progress::{Progress, Report};
use offpeak_engine::run::{RunEnd, run};
use offpeak_engine::spec::JobSpec;
use offpeak_engine::start::{Choice, Engine, Opened, open};
use offpeak_store::JobState;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::case::Crash;

/// One job in one life.
pub(crate) async fn job(
    engine: &Engine,
    spec: &JobSpec,
    choice: Choice,
    (probe, cancel): (Option<u32>, Option<Cancel>),
    report: Report,
) -> Result<Box<Manifest>, Stop> {
    let latest = engine.store.latest_run(&spec.name).unwrap();
    if let (Some(how), Some(record)) = (cancel, latest)
        && record.state == JobState::Open
    {
        let job = open_to_cancel(engine, &record.id, how, None).await.unwrap();
        return match run(&job, CancellationToken::new(), report).await.unwrap() {
            RunEnd::Done(_) => Ok(Box::new(finish(&job, None).await.unwrap())),
            RunEnd::Stopped { stop, .. } => Err(stop),
        };
    }
    let opened = open(engine, spec, choice, report.clone()).await.unwrap();
    let mut job = match opened {
        Opened::Finished(manifest, job) => {
            delete_upstream(&job, CancellationToken::new(), report)
                .await
                .unwrap();
            return Ok(manifest);
        }
        Opened::Unfinished(job) => *job,
        Opened::Fresh(mut fresh) => {
            if let Some(rows) = probe {
                fresh.probe(rows);
            }
            fresh.commit().await.unwrap()
        }
    };
    let interrupt = CancellationToken::new;
    if job.is_probing() {
        match run(&job, interrupt(), report.clone()).await.unwrap() {
            RunEnd::Done(_) => job = job.plan_the_rest().await.unwrap(),
            RunEnd::Stopped { stop, .. } => return Err(stop),
        }
    }
    match run(&job, interrupt(), report.clone()).await.unwrap() {
        RunEnd::Done(_) => {
            let manifest = Box::new(finish(&job, None).await.unwrap());
            delete_upstream(&job, interrupt(), report).await.unwrap();
            Ok(manifest)
        }
        RunEnd::Stopped { stop, .. } => Err(stop),
    }
}

/// Says when a life is over.
pub(crate) struct Trigger {
    pub(crate) fired: Notify,
    commits: AtomicU64,
    commit: Option<u64>,
    connections: AtomicU64,
    connection: Option<u64>,
}

impl Trigger {
    pub(crate) fn new(crash: Option<Crash>) -> Self {
        Self {
            fired: Notify::new(),
            commits: AtomicU64::new(0),
            commit: match crash {
                Some(Crash::AfterCommit(nth)) => Some(nth),
                _ => None,
            },
            connections: AtomicU64::new(0),
            connection: match crash {
                Some(Crash::AtConnection(nth)) => Some(nth),
                _ => None,
            },
        }
    }

    pub(crate) fn connected(&self) {
        if self.connection == Some(self.connections.fetch_add(1, Ordering::Relaxed)) {
            self.fired.notify_one();
        }
    }

    /// A shard's new state is told when it is committed and before what follows from it is done.
    pub(crate) fn report(self: &Arc<Self>, job: usize, seen: Arc<Mutex<Vec<Seen>>>) -> Report {
        let this = Arc::clone(self);
        Arc::new(move |progress| {
            let Progress::Shard { state, .. } = progress else {
                return;
            };
            if state == "unknown" {
                seen.lock().unwrap()[job].doubted = true;
            }
            if this.commit == Some(this.commits.fetch_add(1, Ordering::Relaxed)) {
                this.fired.notify_one();
            }
        })
    }
}

/// What was seen of a job in any life.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// When it first came to its end; the life may have crashed after that, while others ran.
    pub(crate) done_at: Option<i64>,
    /// A batch of it was in doubt.
    pub(crate) doubted: bool,
}
