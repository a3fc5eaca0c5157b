//! The driver: event, step, commit, act. The writes of a step are on the disk before any of its
//! acts begins; that order is the only one in which a crash cannot spend money twice.
//!
//! Leaves out every decision (the machine), and how acts are performed (`act`).

use std::sync::Arc;
use std::time::Duration;

use offpeak_core::job::event::{Event, Stop, Write};
use offpeak_core::job::outcome::Tally;
use offpeak_core::job::queue::NoRoom;
use offpeak_core::job::shard::{Shard, ShardState};
use offpeak_core::job::{Facts, Machine, Status, Step};
use offpeak_core::units::{Span, Timestamp, Usd};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::act::Actor;
use crate::blocking::blocking;
use crate::error::EngineError;
use crate::progress::{Progress, Report};
use crate::recover::recover;
use crate::start::Job;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEnd {
    /// Every row has its outcome.
    Done(Tally),
    /// It stopped; the same command goes on from here.
    Stopped {
        /// Why.
        stop: Stop,
        /// Sums so far.
        tally: Tally,
        /// What goes on upstream without us.
        upstream: Upstream,
    },
}

/// Batches that were left at work when a run stopped: they will be billed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Upstream {
    /// Batches.
    pub batches: u64,
    /// Rows in them.
    pub rows: u64,
    /// Most that they can cost.
    pub worst: Usd,
}

/// Runs a job until it is done or has to stop. Dropping the future is like a crash: safe, and the
/// same job can be run again.
///
/// # Errors
/// If something on our side fails: disk, store, a price.
pub async fn run(
    job: &Job,
    interrupt: CancellationToken,
    report: Report,
) -> Result<RunEnd, EngineError> {
    let mut driver = Driver::start(job, report).await?;
    let mut event = Event::Woke;
    loop {
        let now = driver.step(event).await?;
        match driver.machine.status() {
            Status::Done => return Ok(RunEnd::Done(driver.machine.tally())),
            Status::Stopped(stop) => {
                let (tally, upstream) = (driver.machine.tally(), driver.upstream());
                return Ok(RunEnd::Stopped {
                    stop,
                    tally,
                    upstream,
                });
            }
            Status::Going => {}
        }
        event = driver.next_event(now, &interrupt).await?;
    }
}

async fn sleep(until: Option<Timestamp>, now: Timestamp) {
    let micros = until.map_or(0, |until| (until - now).as_micros()).max(0);
    // A timer may fire a little early; waking up for nothing once more costs less than spinning.
    let micros = u64::try_from(micros).expect("not negative") + 1_000;
    tokio::time::sleep(Duration::from_micros(micros)).await;
}

pub(crate) struct Driver<'a> {
    job: &'a Job,
    pub(crate) machine: Machine,
    actor: Arc<Actor>,
    acts: JoinSet<Result<Event, EngineError>>,
    dice: Box<dyn FnMut() -> f64 + Send>,
    report: Report,
    rows_done: u64,
    /// Why the job waits for room in the upstream's queue, as it was told.
    no_room: Option<NoRoom>,
    /// The machine knows that the user wants to stop.
    interrupted: bool,
}

impl<'a> Driver<'a> {
    pub(crate) async fn start(job: &'a Job, report: Report) -> Result<Self, EngineError> {
        let now = Timestamp::from_micros(job.engine.clock.now());
        let (shards, recovered, wasted) = {
            let (engine, record, spool) =
                (job.engine.clone(), job.record.clone(), job.spool.clone());
            let models = job.facts.models.clone();
            blocking(move || {
                let shards = engine.store.shards(&record.id)?;
                let running = shards.iter().filter(|s| s.state == ShardState::Running);
                let running: Vec<_> = running.collect();
                let recovered = recover(&spool, &running, &engine.book, &models)?;
                let wasted = engine.store.waste(&record.id)?;
                Ok::<_, EngineError>((shards, recovered, wasted))
            })
            .await?
        };
        let progress = recovered
            .iter()
            .map(|(no, r)| (*no, r.tally.clone()))
            .collect();
        let facts = Facts {
            id: job.record.id.clone(),
            created_at: job.record.created_at,
            deadline: job.settings.deadline_at(job.record.created_at),
            budget: job.settings.budget,
            soft_budget: job.settings.soft_budget,
            expected_share: job.facts.expected_share,
            dearest: job.facts.dearest,
            scout: job.scout,
            past_guard: job.settings.past_guard,
            expired_to_sync: job.settings.expired_to_sync,
            answer: Span::from_secs(job.facts.answer_seconds),
            marks: job.facts.marks,
            on_unknown: job.settings.on_unknown,
            resumed: job.resumed,
            wasted: wasted.iter().map(|batch| batch.cost).sum(),
            cancel: job.facts.cancel,
            probing: job.facts.probing,
            delete_upstream: job.settings.delete_upstream,
            priority: job.settings.priority,
        };
        let actor = Actor::new(job, recovered);
        let machine = Machine::new(facts, shards, progress, now);
        let dice = job.engine.dice();
        let acts = JoinSet::new();
        let actor = Arc::new(actor);
        Ok(Self {
            job,
            machine,
            actor,
            acts,
            dice,
            report,
            rows_done: 0,
            no_room: None,
            interrupted: false,
        })
    }

    fn upstream(&self) -> Upstream {
        let mut left = Upstream::default();
        let at_work = |state: &ShardState| {
            !matches!(
                state,
                ShardState::Planned
                    | ShardState::GivenUp(_)
                    | ShardState::Running
                    | ShardState::Settled(_)
            )
        };
        for shard in self.machine.shards().filter(|s| at_work(&s.state)) {
            left.batches += 1;
            left.rows += u64::from(shard.rows.len());
            left.worst += shard.worst;
        }
        left
    }

    /// What happens next, after a step at `now`.
    pub(crate) async fn next_event(
        &mut self,
        now: Timestamp,
        interrupt: &CancellationToken,
    ) -> Result<Event, EngineError> {
        let timeout = self.machine.next_timeout(now);
        assert!(
            timeout.is_some() || !self.acts.is_empty(),
            "the job is not done, nothing is under way and nothing is due"
        );
        if self.acts.is_empty()
            && let Some(until) = timeout
        {
            (self.report)(Progress::Waiting { now, until });
        }
        Ok(tokio::select! {
            biased;
            Some(done) = self.acts.join_next() => done.expect("acts do not panic")?,
            () = interrupt.cancelled(), if !self.interrupted => {
                self.interrupted = true;
                Event::StopAsked
            }
            () = sleep(timeout, now), if timeout.is_some() => Event::Woke,
        })
    }

    /// One turn: step, commit, act.
    pub(crate) async fn step(&mut self, event: Event) -> Result<Timestamp, EngineError> {
        let now = Timestamp::from_micros(self.job.engine.clock.now());
        let mut step = Step::default();
        self.machine.step(now, event, &mut self.dice, &mut step);
        let Step { writes, acts } = step;
        if !writes.is_empty() {
            let (engine, id) = (self.job.engine.clone(), self.job.record.id.clone());
            let writes = blocking(move || {
                engine.store.commit(&id, now, &writes)?;
                Ok::<_, EngineError>(writes)
            })
            .await?;
            self.tell(&writes);
        }
        for act in acts {
            let shard = act_shard(&self.machine, &act);
            self.acts.spawn(Arc::clone(&self.actor).perform(act, shard));
        }
        self.tell_rows();
        self.tell_of_the_queue();
        if let Some(message) = self.actor.take_trouble() {
            (self.report)(Progress::Trouble { message });
        }
        Ok(now)
    }

    fn tell(&self, writes: &[Write]) {
        for write in writes {
            if let Write::Shard { shard, .. } = write {
                (self.report)(Progress::Shard {
                    no: shard.no,
                    lane: shard.lane,
                    role: shard.role,
                    rows: shard.rows.len(),
                    state: shard.state.tag(),
                    batch: shard.state.upstream().map(|up| up.batch.to_string()),
                });
            }
        }
    }

    fn tell_of_the_queue(&mut self) {
        let no_room = self.machine.waits_for_room();
        if no_room != self.no_room {
            self.no_room = no_room;
            (self.report)(Progress::Queue { no_room });
        }
    }

    fn tell_rows(&mut self) {
        let tally = self.machine.tally();
        let done = self.job.facts.done(tally.outcomes.total());
        if done != self.rows_done {
            self.rows_done = done;
            let (of, tally) = (self.job.facts.rows, Box::new(tally));
            (self.report)(Progress::Rows { done, of, tally });
        }
    }
}

/// The shard that an act is about, as it is after the step.
fn act_shard(machine: &Machine, act: &offpeak_core::job::Act) -> Option<Shard> {
    use offpeak_core::job::Act;
    let no = match act {
        Act::Scout { .. } | Act::Weigh(_) => return None,
        Act::LookAtQueue(no)
        | Act::Prepare(no)
        | Act::Submit(no)
        | Act::List(no, _)
        | Act::Poll(no, _)
        | Act::Cancel(no, _)
        | Act::Delete(no, _)
        | Act::Collect(no, _)
        | Act::Settle(no)
        | Act::Measure(no, _)
        | Act::Fetch(no, _)
        | Act::Send { shard: no, .. } => *no,
    };
    machine.shards().find(|shard| shard.no == no).cloned()
}
