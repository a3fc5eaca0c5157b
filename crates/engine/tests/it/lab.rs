//! A laboratory: an upstream that outlives the runs against it, a data directory, an input, and an
//! auditor that compares what the output says with what the upstream billed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use offpeak_client::clock::Clock;
use offpeak_client::{Auth, BaseUrl, Client, Connector, Io, Options, SecretString};
use offpeak_core::job::cancel::Cancel;
use offpeak_core::job::deletion::Deletions;
use offpeak_core::job::machine::OnUnknown;
use offpeak_core::job::shard::JobId;
use offpeak_core::plan::Plan;
use offpeak_core::price::Book;
use offpeak_core::units::{Span, Timestamp, Usd};
use offpeak_engine::cancel::open_to_cancel;
use offpeak_engine::count::{Counting, Counts, plan_counted};
use offpeak_engine::deletion::delete_upstream;
use offpeak_engine::disk::Disk;
use offpeak_engine::error::EngineError;
use offpeak_engine::finish::{Manifest, finish};
use offpeak_engine::lock::JobLock;
use offpeak_engine::progress::{Progress, Report};
use offpeak_engine::purge::purge;
use offpeak_engine::reconcile::{ReconcileError, Reconciliation, Scope, reconcile};
use offpeak_engine::run::{RunEnd, run};
use offpeak_engine::spec::{InputShape, JobSpec, Need, OnInvalid, Reuse, Source};
use offpeak_engine::spool::SpoolDir;
use offpeak_engine::start::{Choice, Engine, Job, Opened, open};
use offpeak_engine::verify::{Verdict, verify};
use offpeak_sim::server::Upstream;
use offpeak_sim::{BillLine, Config, Lane, Request, World};
use offpeak_store::Store;
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::dice::Dice;

/// 2026-11-22T00:00:00Z.
const START: i64 = 1_795_305_600_000_000;

const KEY: &str = "sk-ant-api03-laboratory";
const ADMIN_KEY: &str = "sk-ant-admin01-laboratory";

pub(crate) struct Lab {
    dir: tempfile::TempDir,
    world: Arc<Mutex<World>>,
    /// Virtual time at the end of the last life.
    now: i64,
    pub(crate) spec: JobSpec,
    pub(crate) choice: Choice,
    /// Rows that go before the others are planned.
    pub(crate) probe: Option<u32>,
    /// The key in use; each has a workspace of its own.
    pub(crate) key: &'static str,
    /// There is an admin key, so that the limit of the upstream's queue is known.
    pub(crate) sees_the_limit: bool,
    /// The next life gives the job up.
    pub(crate) cancel: Option<Cancel>,
    /// A life crashes when a shard was committed in this state, before anything follows from it.
    pub(crate) crash_in: Option<&'static str>,
    seed: u64,
    /// What became of the upstream's copies, as the last life that came so far said.
    pub(crate) copies: Mutex<Option<Deletions>>,
}

/// How one life of the process ended.
#[derive(Debug)]
pub(crate) enum Life {
    Crashed,
    Ended(Box<RunEnd>),
    Finished(Box<Manifest>),
}

impl Lab {
    pub(crate) fn new(seed: u64, config: Config, rows: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let input = dir.path().join("rows.jsonl");
        std::fs::write(&input, rows).unwrap();
        let spec = JobSpec {
            name: "lab".to_owned(),
            source: Source {
                input,
                shape: InputShape::Batch,
                files: Vec::new(),
            },
            need: Need::Whenever,
            budget: None,
            soft_budget: None,
            zero_data_retention: false,
            delete_upstream: false,
            priority: 0,
            kept_for: None,
            betas: Vec::new(),
            output: dir.path().join("out.jsonl"),
            overwrite: false,
            on_invalid: OnInvalid::Stop,
            on_unknown: OnUnknown::Wait,
            reuse: Reuse::default(),
        };
        let choice = Choice {
            past_guard: true,
            expired_to_sync: true,
            ..Choice::default()
        };
        let world = Arc::new(Mutex::new(World::new(config)));
        Self {
            dir,
            world,
            now: START,
            spec,
            choice,
            probe: None,
            key: KEY,
            sees_the_limit: false,
            cancel: None,
            crash_in: None,
            seed,
            copies: Mutex::new(None),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.path("data")
    }

    pub(crate) fn store(&self) -> Store {
        Store::open(&self.data_dir().join("jobs.db")).unwrap()
    }

    /// The job of the newest run, if it was made.
    pub(crate) fn latest(&self) -> Option<JobId> {
        let record = self.store().latest_run(&self.spec.name).unwrap();
        record.map(|record| record.id)
    }

    /// The moment at which the next life begins.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.now)
    }

    /// Nobody runs the job for so long.
    pub(crate) fn pass(&mut self, span: Span) {
        self.now += span.as_micros();
    }

    /// Batches that the upstream has taken.
    pub(crate) fn batches(&self) -> u64 {
        self.world.lock().unwrap().bill().batches()
    }

    /// The jobs that have a spool.
    pub(crate) fn jobs(&self) -> Vec<String> {
        let jobs = std::fs::read_dir(self.data_dir().join("jobs")).unwrap();
        jobs.map(|job| job.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    /// The files in a folder of each job's spool.
    pub(crate) fn spooled(&self, folder: &str) -> Vec<PathBuf> {
        let jobs = self.jobs().into_iter();
        let folders = jobs.map(|job| self.data_dir().join("jobs").join(job).join(folder));
        let files = folders.flat_map(|folder| std::fs::read_dir(folder).unwrap());
        files.map(|file| file.unwrap().path()).collect()
    }

    /// Takes the job's lock, as another process does that runs it.
    pub(crate) fn hold_the_job(&self) -> JobLock {
        JobLock::take(&self.data_dir().join("locks"), &self.spec.name).unwrap()
    }

    /// Loses everything that the machine knew.
    pub(crate) fn lose_the_disk(&self) {
        std::fs::remove_dir_all(self.data_dir()).unwrap();
    }

    /// Puts the store back to where it was before the last step of the job.
    pub(crate) fn reopen_job(&self) {
        let path = self.data_dir().join("jobs.db");
        let store = rusqlite::Connection::open(path).unwrap();
        store
            .execute("UPDATE job SET state = 'open', finished_at = NULL", [])
            .unwrap();
    }

    /// One life of the process, which ends by itself or after so much virtual time. It has a
    /// runtime of its own: when that is gone, nothing of the life goes on.
    pub(crate) fn live(&mut self, crash_after: Option<Duration>) -> Life {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let (life, now) = runtime.block_on(async {
            let clock = Clock::starting_at(self.now);
            let crash = Arc::new(Notify::new());
            let after = async {
                match crash_after {
                    Some(after) => tokio::time::sleep(after).await,
                    None => std::future::pending().await,
                }
            };
            let life = tokio::select! {
                biased;
                () = crash.notified() => Life::Crashed,
                life = self.life(clock, &crash) => life,
                () = after => Life::Crashed,
            };
            (life, clock.now())
        });
        drop(runtime);
        self.now = now;
        life
    }

    /// Reads and plans the job with counted rows, without running it.
    pub(crate) fn plan_counted(&mut self, how: Counting) -> (Plan, Counts, i64) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let clock = Clock::starting_at(self.now);
            let engine = self.engine(clock);
            let silent: Report = Arc::new(|_: Progress| {});
            let planned = plan_counted(&engine, &self.spec, how, &silent).await;
            let (planned, counts) = planned.unwrap();
            (planned.plan, counts, clock.now() - self.now)
        })
    }

    /// Lets time pass without anybody at work.
    pub(crate) fn wait(&mut self, time: Duration) {
        self.now += i64::try_from(time.as_micros()).unwrap();
    }

    /// Holds the books of the data directory against the upstream's reports.
    pub(crate) fn reconcile(&mut self, scope: Scope, api_keys: &[String]) -> Reconciliation {
        let found = self.try_to_reconcile(scope, api_keys);
        found.unwrap()
    }

    /// The same with an upstream that may refuse.
    pub(crate) fn try_to_reconcile(
        &mut self,
        scope: Scope,
        api_keys: &[String],
    ) -> Result<Reconciliation, ReconcileError> {
        let key = std::mem::replace(&mut self.key, ADMIN_KEY);
        let keys = api_keys.to_vec();
        let found = self.asked(|engine| async move { reconcile(&engine, scope, keys).await });
        self.key = key;
        found
    }

    /// Does something that is no life of the job.
    pub(crate) fn asked<T, F: Future<Output = T>>(&mut self, ask: impl FnOnce(Engine) -> F) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let clock = Clock::starting_at(self.now);
            let answer = ask(self.engine(clock)).await;
            self.now = clock.now();
            answer
        })
    }

    /// What the upstream has billed.
    pub(crate) fn bill(&self) -> Usd {
        Usd::from_pico(self.world.lock().unwrap().bill().total())
    }

    /// What it has billed for the rows of a batch.
    pub(crate) fn billed_in(&self, batch: &str) -> Usd {
        let world = self.world.lock().unwrap();
        let of_batch = |line: &BillLine<'_>| line.row.is_some_and(|(of, _)| of == batch);
        let lines = world.bill().lines().filter(of_batch).map(|line| line.pico);
        Usd::from_pico(lines.sum())
    }

    /// How many calls and rows it has billed.
    pub(crate) fn billed(&self) -> usize {
        self.world.lock().unwrap().bill().lines().count()
    }

    /// The files of a run.
    pub(crate) fn spool_of(&self, manifest: &Manifest) -> SpoolDir {
        SpoolDir::new(self.data_dir().join("jobs").join(&manifest.job))
    }

    /// Purges the requests and answers of a finished run.
    pub(crate) fn purge(&self, manifest: &Manifest) {
        let id = JobId::parse(&manifest.job).unwrap();
        let record = self.store().job(&id).unwrap().unwrap();
        purge(
            &self.store(),
            Book::embedded(),
            &self.data_dir(),
            &record,
            self.now(),
        )
        .unwrap();
    }

    /// Proves a finished run again.
    pub(crate) fn verify(&self, manifest: &Manifest) -> Verdict {
        let id = JobId::parse(&manifest.job).unwrap();
        let (store, spool) = (self.store(), self.spool_of(manifest));
        let record = store.job(&id).unwrap().unwrap();
        verify(&store, &record, &spool, Book::embedded()).unwrap()
    }

    async fn life(&self, clock: Clock, crash: &Arc<Notify>) -> Life {
        let engine = self.engine(clock);
        let (crash, crash_in) = (Arc::clone(crash), self.crash_in);
        let silent: Report = Arc::new(move |progress: Progress| {
            if let Progress::Shard { state, .. } = progress
                && Some(state) == crash_in
            {
                crash.notify_one();
            }
        });
        if let Some(how) = self.cancel {
            let id = self.latest().unwrap();
            let job = open_to_cancel(&engine, &id, how, None).await.unwrap();
            return match run(&job, CancellationToken::new(), silent).await.unwrap() {
                RunEnd::Done(_) => Life::Finished(Box::new(finish(&job, None).await.unwrap())),
                end @ RunEnd::Stopped { .. } => Life::Ended(Box::new(end)),
            };
        }
        let mut job = match open(&engine, &self.spec, self.choice, silent.clone())
            .await
            .unwrap()
        {
            Opened::Finished(manifest, job) => {
                self.delete(&job).await;
                return Life::Finished(manifest);
            }
            Opened::Unfinished(job) => *job,
            Opened::Fresh(mut fresh) => {
                if let Some(rows) = self.probe {
                    fresh.probe(rows);
                }
                fresh.commit().await.unwrap()
            }
        };
        if job.is_probing() {
            match run(&job, CancellationToken::new(), silent.clone())
                .await
                .unwrap()
            {
                RunEnd::Done(_) => job = job.plan_the_rest().await.unwrap(),
                end @ RunEnd::Stopped { .. } => return Life::Ended(Box::new(end)),
            }
        }
        match run(&job, CancellationToken::new(), silent).await.unwrap() {
            RunEnd::Done(_) => {
                let manifest = finish(&job, None).await.unwrap();
                self.delete(&job).await;
                Life::Finished(Box::new(manifest))
            }
            end @ RunEnd::Stopped { .. } => Life::Ended(Box::new(end)),
        }
    }

    /// From now on nothing goes wrong upstream.
    pub(crate) fn mend(&self) {
        let request = Request::new("POST", "/_sim/faults").body("{\"rule\":[]}");
        let reply = self.world.lock().unwrap().handle(self.now, &request);
        assert_eq!(reply.status, 200);
    }

    /// Lets time pass between two lives.
    pub(crate) fn later(&mut self, by: Duration) {
        self.now += i64::try_from(by.as_micros()).unwrap();
    }

    /// A life of an unfinished job that ends with an error of ours when the output is made.
    pub(crate) fn fails(&mut self) -> EngineError {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let engine = self.engine(Clock::starting_at(self.now));
            let silent: Report = Arc::new(|_: Progress| {});
            let opened = open(&engine, &self.spec, self.choice, silent.clone()).await;
            let Opened::Unfinished(job) = opened.unwrap() else {
                panic!("it is not finished");
            };
            run(&job, CancellationToken::new(), silent).await.unwrap();
            finish(&job, None).await.unwrap_err()
        })
    }

    async fn delete(&self, job: &Job) {
        let silent: Report = Arc::new(|_: Progress| {});
        let copies = delete_upstream(job, CancellationToken::new(), silent).await;
        *self.copies.lock().unwrap() = copies.unwrap();
    }

    /// Runs new jobs at once, each from so many seconds on, to their ends. Says what each of them reports, with
    /// the number of the job.
    pub(crate) fn together(
        &mut self,
        jobs: &[(JobSpec, u64)],
        tell: impl Fn(usize, Progress) + Send + Sync + 'static,
    ) -> Vec<Manifest> {
        let (tell, choice) = (Arc::new(tell), self.choice);
        self.asked(|engine| async move {
            let mut running = tokio::task::JoinSet::new();
            for (number, (spec, after)) in jobs.iter().cloned().enumerate() {
                let (engine, tell) = (engine.clone(), Arc::clone(&tell));
                let report: Report = Arc::new(move |progress: Progress| tell(number, progress));
                running.spawn(async move {
                    tokio::time::sleep(Duration::from_secs(after)).await;
                    let opened = open(&engine, &spec, choice, report.clone()).await;
                    let Opened::Fresh(fresh) = opened.unwrap() else {
                        panic!("it was run before");
                    };
                    let job = fresh.commit().await.unwrap();
                    let end = run(&job, CancellationToken::new(), report).await.unwrap();
                    assert!(matches!(end, RunEnd::Done(_)), "{end:?}");
                    (number, finish(&job, None).await.unwrap())
                });
            }
            let mut ends = running.join_all().await;
            ends.sort_by_key(|(number, _)| *number);
            ends.into_iter().map(|(_, manifest)| manifest).collect()
        })
    }

    /// The batches that the upstream lists, by the key of the laboratory.
    pub(crate) fn batches_upstream(&self) -> Vec<String> {
        let request = Request::new("GET", "/v1/messages/batches?limit=1000").signed(self.key);
        let reply = self.world.lock().unwrap().handle(self.now, &request);
        assert_eq!(reply.status, 200);
        let page: Value = serde_json::from_slice(&reply.body.collect().0).unwrap();
        let ids = page["data"].as_array().unwrap().iter();
        ids.map(|batch| batch["id"].as_str().unwrap().to_owned())
            .collect()
    }

    fn engine(&self, clock: Clock) -> Engine {
        std::fs::create_dir_all(self.data_dir()).unwrap();
        std::fs::create_dir_all(self.data_dir().join("jobs")).unwrap();
        let upstream = Upstream::new(Arc::clone(&self.world), Arc::new(move || clock.now()));
        let connect: Connector = Arc::new(move || {
            let stream = upstream.connect();
            Box::pin(async move { Ok(Box::new(stream) as Box<dyn Io>) })
        });
        let client = |key: &str| {
            let auth = Auth::ApiKey(SecretString::from(key.to_owned()));
            let connect = Arc::clone(&connect);
            Client::over(connect, BaseUrl::anthropic(), auth, Options::default())
        };
        Engine {
            store: Arc::new(Store::open(&self.data_dir().join("jobs.db")).unwrap()),
            client: client(self.key),
            admin: self.sees_the_limit.then(|| client(ADMIN_KEY)),
            clock,
            book: Arc::new(Book::embedded().clone()),
            data_dir: self.data_dir(),
            seed: self.seed,
            disk: Disk::default(),
        }
    }

    /// Compares the output with the upstream's bill, line by line.
    pub(crate) fn audit(&self, manifest: &Manifest) -> Audit {
        let output = std::fs::read_to_string(&self.spec.output).unwrap();
        let lines: Vec<Value> = output
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let mut audit = Audit {
            lines,
            ..Audit::default()
        };
        let mut known: BTreeMap<String, u32> = BTreeMap::new();
        for line in &audit.lines {
            // Nobody knows what an unreadable row cost.
            let pico: i128 = line["cost_picousd"]
                .as_str()
                .map_or(0, |p| p.parse().unwrap());
            audit.cost += Usd::from_pico(pico);
            if let Some(id) = line["message"]["id"].as_str() {
                *known.entry(id.to_owned()).or_default() += 1;
            }
        }
        assert!(
            known.values().all(|times| *times == 1),
            "an answer stands in two lines"
        );
        let world = self.world.lock().unwrap();
        let bill = world.bill();
        audit.bill = Usd::from_pico(bill.total());
        audit.duplicates = bill.duplicates();
        for BillLine { lane, id, pico, .. } in bill.lines() {
            if known.remove(&id).is_some() {
                continue;
            }
            let pico = Usd::from_pico(pico);
            match lane {
                Lane::Batch => audit.batch_not_ours += pico,
                Lane::Sync => {
                    audit.sync_lost += pico;
                    audit.sync_lost_calls += 1;
                }
            }
        }
        assert!(known.is_empty(), "answers that nobody billed: {known:?}");
        assert_eq!(
            audit.cost, manifest.cost_picousd,
            "the lines add up to the manifest"
        );
        audit
    }

    /// The promises that hold whatever happened.
    pub(crate) fn check(&self, manifest: &Manifest, rows: u64) -> Audit {
        let audit = self.audit(manifest);
        assert_eq!((manifest.rows_in, manifest.rows_out), (rows, rows));
        assert_eq!(audit.lines.len() as u64, rows);
        for (row, line) in audit.lines.iter().enumerate() {
            assert_eq!(line["key"], format!("row {row}"), "input order, each once");
        }
        assert_eq!(audit.duplicates, 0, "no batch row is billed twice");
        assert_eq!(
            audit.batch_not_ours,
            Usd::ZERO,
            "every billed batch row is in the output"
        );
        // The ledger and what nobody knows are the upstream's bill, to the picodollar.
        assert_eq!(audit.bill, audit.cost + audit.sync_lost);
        assert!(
            audit.sync_lost <= manifest.unknown_picousd,
            "the worst case is held"
        );
        assert!(audit.sync_lost_calls <= manifest.unknown_calls);
        let sums = self.engine_ledger(manifest);
        assert_eq!(sums.settled, manifest.cost_picousd);
        assert_eq!(sums.unknown, manifest.unknown_picousd);
        audit
    }

    fn engine_ledger(&self, manifest: &Manifest) -> offpeak_store::LedgerSums {
        let store = self.store();
        let id = JobId::parse(&manifest.job).unwrap();
        store.ledger(&id).unwrap()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Audit {
    pub(crate) lines: Vec<Value>,
    pub(crate) cost: Usd,
    pub(crate) bill: Usd,
    pub(crate) duplicates: u64,
    pub(crate) batch_not_ours: Usd,
    pub(crate) sync_lost: Usd,
    pub(crate) sync_lost_calls: u64,
}

/// Rows in the batch shape: a shared system prompt for a part of them, and one of their own for
/// none.
pub(crate) fn rows(seed: u64, count: u64) -> String {
    let mut dice = Dice(seed);
    let preamble = "You label the topic of a sentence. Answer with one word. ".repeat(60);
    let mut rows = String::new();
    for row in 0..count {
        let shared = dice.below(4) > 0;
        let words = "peace and commerce with all nations ".repeat(1 + dice.below(20) as usize);
        let system = if shared {
            format!("\"system\":\"{preamble}\",")
        } else {
            String::new()
        };
        let _ = writeln!(
            rows,
            "{{\"custom_id\":\"row {row}\",\"params\":{{\"model\":\"claude-haiku-5-5\",\
             \"max_tokens\":300,{system}\"messages\":[{{\"role\":\"user\",\
             \"content\":\"{words}{row}\"}}]}}}}"
        );
    }
    rows
}
