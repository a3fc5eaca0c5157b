//! Performs the acts of the machine, each in its own task, each ending in one event. An error here
//! is ours (disk, store, price); whatever the upstream does is an event.
//!
//! Leaves out when to do anything.

mod queue;
mod search;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use offpeak_client::Bytes;
use offpeak_core::job::Act;
use offpeak_core::job::event::{CollectAnswer, Event, SyncRow};
use offpeak_core::job::shard::{JobId, Proof, Shard, ShardNo, ShardState, Upstream as Batch};
use offpeak_core::price::Lane;
use offpeak_core::units::{Timestamp, Usd};
use offpeak_wire::batch::BatchId;
use offpeak_wire::error::ErrorKind;
use offpeak_wire::limits::MAX_TOKENS_UNSTREAMED;
use offpeak_wire::stream::asked;

use self::queue::QueueLimit;
use crate::blocking::blocking;
use crate::error::EngineError;
use crate::facts::JobFacts;
use crate::journal_writer::JournalWriter;
use crate::recover::Recovered;
use crate::settle::{Results, SettleContext, read_results, settle_batch, settle_sync};
use crate::spool::{RefsReader, RowRef, SpoolDir, SpoolError, SpoolReader};
use crate::start::{Engine, Job};
use crate::sync_call::{self, SyncCall};
use crate::transfer::{DownloadError, download, fit, measure_body, stream_body};
use crate::upstream::{Failure, Upstream};
use crate::weigh::weigh;

/// Rows of a sync shard that are read at a time.
const FETCH: u32 = 512;

/// Performs acts.
#[derive(Debug)]
pub(crate) struct Actor {
    engine: Engine,
    job: JobId,
    facts: JobFacts,
    created_at: Timestamp,
    budget: Option<Usd>,
    spool: SpoolDir,
    upstream: Upstream,
    limit: QueueLimit,
    journal: JournalWriter,
    recovered: BTreeMap<ShardNo, Arc<Recovered>>,
    /// How often a search could not read whose batch it is.
    unread: Mutex<HashMap<BatchId, u32>>,
    /// References of the rows that the sync lane holds, by shard.
    rows: Mutex<BTreeMap<ShardNo, BTreeMap<u64, RowRef>>>,
    /// Results that were read to be counted, for the settlement that mostly follows at once.
    results: Mutex<Option<(ShardNo, Results)>>,
    /// Shards whose results this process has downloaded: what is wrong with those was so upstream.
    downloaded: Mutex<BTreeSet<ShardNo>>,
}

impl Actor {
    pub(crate) fn new(job: &Job, recovered: BTreeMap<ShardNo, Arc<Recovered>>) -> Self {
        let engine = job.engine.clone();
        let betas = job.settings.betas.clone();
        Self {
            upstream: Upstream::new(engine.client.clone(), betas, engine.clock),
            limit: QueueLimit::of(&job.engine),
            journal: JournalWriter::start(job.spool.clone()),
            engine,
            job: job.record.id.clone(),
            facts: job.facts.clone(),
            created_at: job.record.created_at,
            budget: job.settings.budget,
            spool: job.spool.clone(),
            recovered,
            unread: Mutex::default(),
            rows: Mutex::default(),
            results: Mutex::default(),
            downloaded: Mutex::default(),
        }
    }

    /// What went wrong upstream since the last time.
    pub(crate) fn take_trouble(&self) -> Option<String> {
        self.upstream.take_trouble()
    }

    /// Performs one act; `shard` is the shard it is about.
    pub(crate) async fn perform(
        self: Arc<Self>,
        act: Act,
        shard: Option<Shard>,
    ) -> Result<Event, EngineError> {
        let about = || shard.clone().expect("this act is about a shard");
        match act {
            Act::Scout { rows, search } => {
                let scouted = self.look_for_ourselves(&rows, search).await?;
                Ok(Event::Scouted(scouted))
            }
            Act::LookAtQueue(no) => {
                let seen = self.look_at_queue().await?;
                Ok(Event::QueueSeen { shard: no, seen })
            }
            Act::Prepare(no) => self.prepare(no, about()).await,
            Act::Submit(no) => {
                let shard = about();
                let len = shard.bytes;
                let body = stream_body(self.spool.clone(), self.job.clone(), shard, len);
                let answer = self.upstream.create(body).await;
                Ok(Event::Submitted { shard: no, answer })
            }
            Act::List(no, since) => {
                let listing = self.listing(no, &about(), since).await?;
                Ok(Event::Listed { shard: no, listing })
            }
            Act::Poll(no, batch) => {
                let answer = self.upstream.poll(&batch).await;
                Ok(Event::Polled { shard: no, answer })
            }
            Act::Cancel(no, batch) => {
                let accepted = self.upstream.cancel(&batch).await;
                Ok(Event::CancelAnswered {
                    shard: no,
                    accepted,
                })
            }
            Act::Delete(no, batch) => {
                let answer = self.upstream.delete(&batch).await;
                Ok(Event::Deleted { shard: no, answer })
            }
            Act::Collect(no, batch) => {
                let answer = self.collect(no, about(), &batch).await?;
                Ok(Event::Collected { shard: no, answer })
            }
            Act::Weigh(batch) => {
                let (book, models) = (&self.engine.book, &self.facts.models);
                let cost = weigh(&self.upstream, &batch, book, models).await;
                Ok(Event::Weighed { batch, cost })
            }
            Act::Settle(no) => self.settle(no, about()).await,
            Act::Measure(no, worst) => {
                let (spool, shard) = (self.spool.clone(), about());
                let fit = blocking(move || fit(&spool, &shard, worst)).await?;
                let crate::transfer::Fit { rows, worst, bytes } = fit;
                Ok(Event::Measured {
                    shard: no,
                    rows,
                    worst,
                    bytes,
                })
            }
            Act::Fetch(no, from) => self.fetch(no, about(), from).await,
            Act::Send {
                shard: no,
                row,
                attempt,
                held,
            } => self.send(about(), no, row, attempt, held).await,
        }
    }

    // ---- batches ------------------------------------------------------------------------------

    async fn prepare(&self, no: ShardNo, shard: Shard) -> Result<Event, EngineError> {
        let (spool, job) = (self.spool.clone(), self.job.clone());
        let measure = blocking(move || measure_body(&spool, job, shard)).await?;
        Ok(Event::Prepared {
            shard: no,
            body_digest: measure.digest,
            bytes: measure.bytes,
            server_not_before: self.upstream.server_not_before(),
        })
    }

    async fn collect(
        &self,
        no: ShardNo,
        shard: Shard,
        batch: &Batch,
    ) -> Result<CollectAnswer, EngineError> {
        self.downloaded
            .lock()
            .expect("nothing panics in here")
            .insert(no);
        // What was read of an earlier download holds no longer.
        self.take_results(no);
        match download(&self.upstream, &self.spool, no, &batch.batch).await {
            Ok(_) => {}
            Err(DownloadError::Io(source)) => {
                return Err(EngineError::io("write", &self.spool.results(no))(source));
            }
            Err(DownloadError::Upstream(failure)) => {
                let not_found = failure.kind == Some(ErrorKind::NotFound);
                if not_found && self.upstream.is_archived(&batch.batch).await {
                    return self.nothing_to_collect(no).await;
                }
                let Failure {
                    kind,
                    message,
                    retry_after,
                } = failure;
                return Ok(CollectAnswer::Failed {
                    kind,
                    message,
                    retry_after,
                });
            }
        }
        let on_trust = shard.found || batch.proof != Proof::Certain;
        let (this, created_at) = (self.settle_parts(), batch.created_at);
        let results = blocking(move || read_results(&this.context(), &shard, created_at)).await?;
        let census = results.census();
        *self.results.lock().expect("nothing panics in here") = Some((no, results));
        let flawed = census.missing + census.malformed;
        Ok(match () {
            () if census.is_foreign(on_trust) => CollectAnswer::Foreign,
            () if flawed > 0 => CollectAnswer::Flawed { rows: flawed },
            () => CollectAnswer::Complete,
        })
    }

    /// The upstream threw the results away: an empty file says so to the settlement.
    async fn nothing_to_collect(&self, no: ShardNo) -> Result<CollectAnswer, EngineError> {
        let (spool, path) = (self.spool.clone(), self.spool.results(no));
        blocking(move || {
            let disk = spool.disk();
            crate::spool::create_file(&path)
                .and_then(|file| disk.content(&file, &path))
                .and_then(|()| disk.name_of(&path))
                .map_err(EngineError::io("write", &path))
        })
        .await?;
        Ok(CollectAnswer::Gone)
    }

    // ---- settlement ---------------------------------------------------------------------------

    fn take_results(&self, no: ShardNo) -> Option<Results> {
        let mut kept = self.results.lock().expect("nothing panics in here");
        kept.take_if(|(of, _)| *of == no)
            .map(|(_, results)| results)
    }

    async fn settle(&self, no: ShardNo, shard: Shard) -> Result<Event, EngineError> {
        let this = self.settle_parts();
        let results = self.take_results(no);
        // A process that is gone has seen that they were whole.
        let on_trust = !self
            .downloaded
            .lock()
            .expect("nothing panics in here")
            .contains(&no);
        let settlement = blocking(move || {
            let context = this.context();
            match shard.lane {
                Lane::Sync => settle_sync(&context, &shard).map(Some),
                // It was never sent, and the job was given up.
                Lane::Batch if shard.state == ShardState::Planned => {
                    settle_sync(&context, &shard).map(Some)
                }
                Lane::Batch if on_trust && !this.spool.results(no).exists() => Ok(None),
                Lane::Batch => {
                    let ShardState::Collected(collection) = &shard.state else {
                        unreachable!("a batch shard is settled from its collection")
                    };
                    let results = match results {
                        Some(results) => results,
                        None => read_results(&context, &shard, collection.upstream.created_at)?,
                    };
                    let census = results.census();
                    if on_trust && census.missing + census.malformed > 0 {
                        return Ok(None);
                    }
                    settle_batch(&context, &shard, collection, results).map(Some)
                }
            }
        })
        .await?;
        let Some(settlement) = settlement else {
            return Ok(Event::ResultsLost { shard: no });
        };
        self.rows
            .lock()
            .expect("nothing panics in here")
            .remove(&no);
        Ok(Event::Settled {
            shard: no,
            settlement: Box::new(settlement),
        })
    }

    fn settle_parts(&self) -> SettleParts {
        SettleParts {
            engine: self.engine.clone(),
            job: self.job.clone(),
            spool: self.spool.clone(),
            models: self.facts.models.clone(),
            led: self.facts.groups.canaries > 0,
            canceled: self.facts.cancel.is_some(),
        }
    }

    // ---- the sync lane ------------------------------------------------------------------------

    async fn fetch(&self, no: ShardNo, shard: Shard, from: u32) -> Result<Event, EngineError> {
        let spool = self.spool.clone();
        let recovered = self.recovered.get(&no).cloned().unwrap_or_default();
        let Fetched {
            references,
            rows,
            next,
        } = blocking(move || fetch_rows(&spool, &shard, from, &recovered)).await?;
        let mut kept = self.rows.lock().expect("nothing panics in here");
        kept.entry(no)
            .or_default()
            .extend(references.into_iter().map(|r| (r.row, r)));
        Ok(Event::Fetched {
            shard: no,
            rows,
            next,
        })
    }

    async fn send(
        &self,
        shard: Shard,
        no: ShardNo,
        row: u64,
        attempt: u16,
        held: Usd,
    ) -> Result<Event, EngineError> {
        let reference = {
            let rows = self.rows.lock().expect("nothing panics in here");
            let reference = rows.get(&no).and_then(|rows| rows.get(&row));
            reference
                .cloned()
                .expect("a row is fetched before it is sent")
        };
        let spool = self.spool.clone();
        let (model, request) = blocking(move || {
            let mut rows = SpoolReader::open(&spool)?;
            let row = rows.read(reference.at)?;
            let mut request = Vec::new();
            row.write_request(reference.marks.within(shard.mark), &mut request);
            if row.meta.max_tokens > MAX_TOKENS_UNSTREAMED {
                request = asked(&request).expect("the rows of a spool were read as objects");
            }
            Ok::<_, SpoolError>((usize::from(row.meta.model), Bytes::from(request)))
        })
        .await?;
        let model = self.facts.models.get(model).cloned().unwrap_or_default();
        let call = SyncCall {
            shard: no,
            row,
            attempt,
            held,
            model,
            request,
        };
        let (answer, limits) =
            sync_call::call(&self.upstream, &self.journal, &self.engine.book, call).await?;
        Ok(Event::RowAnswered {
            shard: no,
            row,
            answer,
            limits,
        })
    }
}

struct SettleParts {
    engine: Engine,
    job: JobId,
    spool: SpoolDir,
    models: Vec<String>,
    led: bool,
    canceled: bool,
}

impl SettleParts {
    fn context(&self) -> SettleContext<'_> {
        SettleContext {
            spool: &self.spool,
            job: &self.job,
            book: &self.engine.book,
            models: &self.models,
            led: self.led,
            canceled: self.canceled,
        }
    }
}

/// Rows of a sync shard, read from the spool.
struct Fetched {
    references: Vec<RowRef>,
    rows: Vec<SyncRow>,
    next: Option<u32>,
}

fn fetch_rows(
    spool: &SpoolDir,
    shard: &Shard,
    from: u32,
    recovered: &Recovered,
) -> Result<Fetched, EngineError> {
    let mut range = shard.rows;
    range.from += from;
    range.to = range.to.min(range.from + FETCH);
    let next = (range.to < shard.rows.to).then(|| range.to - shard.rows.from);
    let mut fetched = Fetched {
        references: Vec::new(),
        rows: Vec::new(),
        next,
    };
    for reference in RefsReader::open(spool, range)? {
        let reference = reference?;
        if recovered.done.contains(&reference.row) {
            continue;
        }
        fetched.rows.push(SyncRow {
            row: reference.row,
            worst: crate::transfer::worst_on(shard, &reference),
            prefixes: reference
                .marks
                .within(shard.mark)
                .iter()
                .map(|mark| mark.group)
                .collect(),
            attempts: recovered
                .attempts
                .get(&reference.row)
                .copied()
                .unwrap_or(reference.attempts),
            blame: recovered.blame(reference.row),
        });
        fetched.references.push(reference);
    }
    Ok(fetched)
}
