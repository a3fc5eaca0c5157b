//! One course of a case: lives of the process, one after the other, until every job has its output.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use offpeak_client::clock::Clock;
use offpeak_client::{Auth, BaseUrl, Client, Connector, Io, Options, SecretString};
use offpeak_core::job::event::Stop;
use offpeak_core::price::Book;
use offpeak_core::units::Usd;
use offpeak_engine::finish::Manifest;
use offpeak_engine::spec::{InputShape, JobSpec, OnInvalid, Reuse, Source};
use offpeak_engine::start::{Choice, Engine};
use offpeak_sim::World;
use offpeak_sim::server::Upstream;
use offpeak_store::Store;
use tokio::task::JoinSet;

use crate::case::{Between, Case, Crash};
use crate::dice::Dice;
use crate::directory::copy;
use crate::disk::{self, ADMIN_KEY, KEY};
use crate::life::{Seen, Trigger, job};
use crate::power::{Forgets, Power};

/// 2026-11-22T00:00:00Z.
pub(crate) const START: i64 = 1_795_305_600_000_000;

/// Lives after which a case is taken to go round in circles.
const LIVES_MAX: usize = 80;

/// What is done to a course from outside, to see whether the auditor notices. Each is a bug that a change
/// of the engine could bring.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Sabotage {
    #[default]
    None,
    /// The engine forgets that it was about to submit, and what it had submitted.
    ForgetIntents,
    /// The engine forgets the calls that were under way.
    ForgetCalls,
    /// The engine forgets what it holds for calls of unknown outcome.
    ForgetUnknowns,
    /// The engine takes a batch to cost 70 % of the list price.
    WrongPrices,
    /// The engine believes in a budget a hundred times as large.
    LargeBudget,
    /// The engine believes in a deadline twice as far away.
    LateDeadline,
    /// The engine forgets what the job's earlier runs have answered.
    ForgetEarlierRuns,
    /// The engine does not ask the disk to keep something.
    ForgetSync(Forgets),
}

/// A job that has come to its end.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) manifest: Manifest,
    /// A batch of it was in doubt at some time: it may have been waited for past the deadline, as one that
    /// is not proved ours is not canceled.
    pub(crate) doubted: bool,
    /// Microseconds of true time from the course's begin until the output was in place.
    pub(crate) took: i64,
}

/// What a course leaves to the auditor.
pub(crate) struct Course {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) world: Arc<Mutex<World>>,
    /// In the order of the jobs.
    pub(crate) finished: Vec<Option<Finished>>,
    pub(crate) lives: usize,
    pub(crate) crashes: u64,
    /// When, in microseconds of true time from the course's begin.
    pub(crate) crashed_at: Vec<i64>,
    /// Backups that were put back.
    pub(crate) restores: u64,
    /// Stops of jobs, for the budget or for what the first answers said.
    pub(crate) stops: u64,
    /// Those of them for the soft line.
    pub(crate) soft_stops: u64,
    /// Moments at which more had been billed than the budget allowed: bill and budget.
    pub(crate) overspent: Vec<(Usd, Usd)>,
    /// Digest of everything that has to be the same when the seed runs again.
    pub(crate) digest: String,
}

impl Course {
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn output(&self, job: usize) -> PathBuf {
        self.dir.path().join(format!("{job}.out.jsonl"))
    }

    pub(crate) fn store(&self) -> Store {
        Store::open(&self.data_dir().join("jobs.db")).unwrap()
    }
}

/// The state of a course between two lives.
struct State<'a> {
    case: &'a Case,
    sabotage: Sabotage,
    dir: tempfile::TempDir,
    power: Arc<Power>,
    world: Arc<Mutex<World>>,
    /// True time.
    now: i64,
    /// How far the machine's clock is off.
    off: i64,
    budgets: Vec<Option<Usd>>,
    soft_budgets: Vec<Option<Usd>>,
    past_guard: Vec<bool>,
    finished: Vec<Option<Finished>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    digest: blake3::Hasher,
    restores: u64,
}

/// How a job ended in one life.
enum JobEnd {
    Finished(Box<Manifest>),
    Stopped(Stop),
}

pub(crate) fn course(case: &Case, sabotage: Sabotage) -> Course {
    let jobs = case.jobs.len();
    let dir = disk::dir();
    for (number, job) in case.jobs.iter().enumerate() {
        std::fs::write(dir.path().join(format!("{number}.jsonl")), &job.input).unwrap();
    }
    let forgets = match sabotage {
        Sabotage::ForgetSync(forgets) => Some(forgets),
        _ => None,
    };
    let mut state = State {
        case,
        sabotage,
        power: Power::on(dir.path(), forgets),
        dir,
        world: Arc::new(Mutex::new(World::new(case.config.clone()))),
        now: START,
        off: 0,
        budgets: case.jobs.iter().map(|job| job.budget).collect(),
        soft_budgets: case.jobs.iter().map(|job| job.soft_budget).collect(),
        past_guard: case.jobs.iter().map(|job| job.past_guard).collect(),
        finished: (0..jobs).map(|_| None).collect(),
        seen: Arc::new(Mutex::new(vec![Seen::default(); jobs])),
        digest: blake3::Hasher::new(),
        restores: 0,
    };
    let (mut lives, mut crashes, mut stops, mut soft_stops) = (0, 0, 0, 0);
    let mut overspent = Vec::new();
    let mut crashed_at = Vec::new();
    while state.finished.iter().any(Option::is_none) && lives < LIVES_MAX {
        let planned = case.lives.get(lives).copied();
        lives += 1;
        let ends = state.live(planned.map(|(crash, _)| crash), lives);
        let crashed = ends.is_none();
        crashes += u64::from(crashed);
        crashed_at.extend(crashed.then_some(state.now - START));
        for (job, end) in ends.into_iter().flatten() {
            match end {
                JobEnd::Finished(manifest) => {
                    let manifest = *manifest;
                    let seen = state.seen.lock().unwrap()[job].clone();
                    let took = seen.done_at.expect("it came to its end") - START;
                    let doubted = seen.doubted;
                    state.finished[job] = Some(Finished {
                        manifest,
                        doubted,
                        took,
                    });
                }
                JobEnd::Stopped(stop) => {
                    stops += 1;
                    soft_stops += u64::from(matches!(stop, Stop::SoftBudget { .. }));
                    state.answer(job, &stop);
                }
            }
        }
        if let [Some(budget)] = state
            .case
            .jobs
            .iter()
            .map(|job| job.budget)
            .collect::<Vec<_>>()[..]
        {
            let allowed = state.budgets[0].unwrap_or(budget);
            let bill = Usd::from_pico(state.world.lock().unwrap().bill().total());
            if bill > allowed {
                overspent.push((bill, allowed));
            }
        }
        if let (true, Some((_, between))) = (crashed, planned) {
            state.between(between);
        }
        if state.case.is_restored() {
            state.back_up();
        }
    }
    let digest = state.sum_up();
    Course {
        dir: state.dir,
        world: state.world,
        finished: state.finished,
        lives,
        crashes,
        crashed_at,
        restores: state.restores,
        stops,
        soft_stops,
        overspent,
        digest,
    }
}

impl State<'_> {
    fn output(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("{number}.out.jsonl"))
    }

    fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// What a user says to a job that has stopped.
    fn answer(&mut self, job: usize, stop: &Stop) {
        match stop {
            Stop::Budget { .. } => {
                let budget = self.budgets[job].expect("it stopped for its budget");
                self.budgets[job] = Some(budget + budget);
            }
            Stop::SoftBudget { line, .. } => self.soft_budgets[job] = Some(*line + *line),
            Stop::Guard { .. } => self.past_guard[job] = true,
            // The account is put in order, and the same command given again.
            Stop::Upstream { .. }
            | Stop::OtherAccount { .. }
            | Stop::SentOtherRows { .. }
            | Stop::NeverFits { .. }
            | Stop::Unanswered { .. }
            | Stop::Expired { .. }
            | Stop::Interrupted => {}
        }
    }

    fn backup(&self) -> PathBuf {
        self.dir.path().join("backup")
    }

    fn no_output_yet(&self) -> bool {
        let outputs = (0..self.case.jobs.len()).map(|number| self.output(number));
        outputs.into_iter().all(|output| !output.exists())
    }

    /// Keeps the data directory as it is, for the end of the next life.
    fn back_up(&self) {
        let backup = self.backup();
        let _none_yet = std::fs::remove_dir_all(&backup);
        copy(&self.data_dir(), &backup);
    }

    fn between(&mut self, between: Between) {
        match between {
            Between::Nothing => {}
            Between::NewDisk => {
                // What has its output is somewhere safe.
                if self.finished.iter().all(Option::is_none) {
                    std::fs::remove_dir_all(self.data_dir()).unwrap();
                    for number in 0..self.case.jobs.len() {
                        let _never_written = std::fs::remove_file(self.output(number));
                    }
                    self.power.adopt();
                }
            }
            Between::PowerCut => self.power.restore(),
            Between::Restored => {
                // An output in its place is not part of the backup.
                if self.finished.iter().all(Option::is_none) && self.no_output_yet() {
                    std::fs::remove_dir_all(self.data_dir()).unwrap();
                    copy(&self.backup(), &self.data_dir());
                    self.restores += 1;
                    self.power.adopt();
                }
            }
            Between::ClockSet(by) => self.off += by,
        }
        let edit = |sql: &str| {
            let path = self.data_dir().join("jobs.db");
            if let Ok(store) = rusqlite::Connection::open(path) {
                let _no_such_table = store.execute_batch(sql);
            }
        };
        match self.sabotage {
            Sabotage::ForgetIntents => edit(
                "UPDATE shard SET state = 'planned', batch = NULL, \
                 body = json_set(body, '$.state', 'Planned') \
                 WHERE state IN ('submitting', 'unknown', 'in_progress'); \
                 UPDATE job SET facts = json_set(facts, '$.scout', json('false'))",
            ),
            Sabotage::ForgetUnknowns => edit(
                "DROP TRIGGER ledger_is_append_only_delete; \
                 DELETE FROM ledger WHERE kind = 'unknown'",
            ),
            Sabotage::ForgetCalls => {
                for entry in journals(&self.data_dir()) {
                    std::fs::remove_file(entry).unwrap();
                }
            }
            _ => {}
        }
    }

    /// One life. It has a runtime of its own: when that is gone, nothing of the life goes on. `None` if it
    /// ended by a crash.
    fn live(&mut self, crash: Option<Crash>, life: usize) -> Option<Vec<(usize, JobEnd)>> {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let cut_at = match crash {
            Some(Crash::AtSync(nth)) => {
                // Nobody else does anything once the power is out.
                runtime.event_interval(1);
                Some(nth)
            }
            _ => None,
        };
        self.power.cut_at(cut_at);
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        let trigger = Arc::new(Trigger::new(crash));
        let (ends, now) = runtime.block_on(async {
            let truth = Clock::starting_at(self.now);
            let clock = Clock::starting_at(self.now + self.off);
            let engine = self.engine(truth, clock, &trigger, life);
            let after = match crash {
                Some(Crash::At(after)) => Some(after),
                _ => None,
            };
            let ends = tokio::select! {
                biased;
                () = trigger.fired.notified() => None,
                () = self.power.went_out() => None,
                () = sleep(after), if after.is_some() => None,
                ends = self.jobs(&engine, truth, &trigger, life) => Some(ends),
            };
            (ends, truth.now())
        });
        drop(runtime);
        self.now = now;
        ends
    }

    /// All jobs that have no output yet, at once.
    async fn jobs(
        &self,
        engine: &Engine,
        truth: Clock,
        trigger: &Arc<Trigger>,
        life: usize,
    ) -> Vec<(usize, JobEnd)> {
        let mut running = JoinSet::new();
        for number in 0..self.case.jobs.len() {
            let follows = self.case.jobs[number].follows;
            let is_early = follows.is_some_and(|first| self.finished[first].is_none());
            if self.finished[number].is_some() || is_early {
                continue;
            }
            let (engine, spec, choice) = (engine.clone(), self.spec(number), self.choice(number));
            let probe = self.case.jobs[number].probe;
            let cancel = self.case.jobs[number].cancel;
            let cancel = cancel.filter(|(from, _)| life >= *from).map(|(_, how)| how);
            let seen = Arc::clone(&self.seen);
            let report = trigger.report(number, Arc::clone(&seen));
            running.spawn(async move {
                let end = job(&engine, &spec, choice, (probe, cancel), report).await;
                let end = match end {
                    Ok(manifest) => {
                        let done_at = &mut seen.lock().unwrap()[number].done_at;
                        done_at.get_or_insert_with(|| truth.now());
                        JobEnd::Finished(manifest)
                    }
                    Err(stop) => JobEnd::Stopped(stop),
                };
                (number, end)
            });
        }
        let mut ends = Vec::new();
        while let Some(end) = running.join_next().await {
            ends.push(end.unwrap());
        }
        ends
    }

    fn spec(&self, number: usize) -> JobSpec {
        let job = &self.case.jobs[number];
        let budget = self.budgets[number].map(|budget| match self.sabotage {
            Sabotage::LargeBudget => Usd::from_pico(budget.pico() * 100),
            _ => budget,
        });
        let need = match (job.need, self.sabotage) {
            (offpeak_engine::spec::Need::Within(span), Sabotage::LateDeadline) => {
                offpeak_engine::spec::Need::Within(span + span)
            }
            (need, _) => need,
        };
        JobSpec {
            name: job.name.clone(),
            source: Source {
                input: self.dir.path().join(format!("{number}.jsonl")),
                shape: InputShape::Batch,
                files: Vec::new(),
            },
            need,
            budget,
            soft_budget: self.soft_budgets[number],
            zero_data_retention: false,
            delete_upstream: self.case.delete_upstream,
            priority: job.priority,
            kept_for: None,
            betas: Vec::new(),
            output: self.output(number),
            overwrite: false,
            on_invalid: OnInvalid::Stop,
            on_unknown: job.on_unknown,
            reuse: Reuse {
                identical: job.identical,
                earlier_runs: job.follows.is_some() && self.sabotage != Sabotage::ForgetEarlierRuns,
            },
        }
    }

    fn choice(&self, number: usize) -> Choice {
        Choice {
            past_guard: self.past_guard[number],
            expired_to_sync: true,
            ..Choice::default()
        }
    }

    fn engine(&self, truth: Clock, clock: Clock, trigger: &Arc<Trigger>, life: usize) -> Engine {
        let data_dir = self.data_dir();
        self.power.disk().make_dir(&data_dir, true).unwrap();
        let upstream = Upstream::new(Arc::clone(&self.world), Arc::new(move || truth.now()));
        let upstream = upstream.with_room(self.case.room);
        let dice = Arc::new(Mutex::new(Dice(self.case.seed ^ (life as u64) << 32)));
        let (trigger, delay) = (Arc::clone(trigger), self.case.delay);
        let connect: Connector = Arc::new(move || {
            let wait = dice.lock().unwrap().below(delay + 1);
            let (upstream, trigger) = (upstream.clone(), Arc::clone(&trigger));
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(wait)).await;
                trigger.connected();
                // Nothing goes over a connection in the moment of the crash.
                tokio::task::yield_now().await;
                Ok(Box::new(upstream.connect()) as Box<dyn Io>)
            })
        });
        let client_of = |key: &str| {
            let auth = Auth::ApiKey(SecretString::from(key.to_owned()));
            let connect = Arc::clone(&connect);
            Client::over(connect, BaseUrl::anthropic(), auth, Options::default())
        };
        let (client, admin) = (client_of(KEY), client_of(ADMIN_KEY));
        let mut book = Book::embedded().clone();
        if self.sabotage == Sabotage::WrongPrices {
            let text = include_str!("../../../../data/prices.toml");
            book = Book::parse(
                &text.replace("batch = \"0.5\"", "batch = \"0.7\""),
                "wrong prices",
            )
            .unwrap();
        }
        Engine {
            store: Arc::new(Store::open(&data_dir.join("jobs.db")).unwrap()),
            client,
            admin: self.case.sees_the_limit.then_some(admin),
            clock,
            book: Arc::new(book),
            data_dir,
            seed: self.case.seed,
            disk: self.power.disk(),
        }
    }

    /// Everything that came out.
    fn sum_up(&mut self) -> String {
        for (number, finished) in self.finished.iter().enumerate() {
            let output = self.output(number);
            if let (Ok(bytes), Some(finished)) = (std::fs::read(output), finished) {
                self.digest.update(&bytes);
                let manifest = &finished.manifest;
                let facts = format!("{} {}", manifest.cost_picousd, manifest.finished_at);
                self.digest.update(facts.as_bytes());
            }
        }
        let world = self.world.lock().unwrap();
        for line in world.bill().lines() {
            self.digest.update(format!("{line:?}").as_bytes());
        }
        self.digest.finalize().to_hex().to_string()
    }
}

async fn sleep(after: Option<Duration>) {
    if let Some(after) = after {
        tokio::time::sleep(after).await;
    }
}

/// The journals of synchronous calls below a data directory.
fn journals(data_dir: &Path) -> Vec<PathBuf> {
    let Ok(jobs) = std::fs::read_dir(data_dir.join("jobs")) else {
        return Vec::new();
    };
    let sync = jobs.flatten().map(|job| job.path().join("sync"));
    let files = sync.filter_map(|dir| std::fs::read_dir(dir).ok()).flatten();
    files.flatten().map(|file| file.path()).collect()
}
