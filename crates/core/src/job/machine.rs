//! The job machine: one step function from events to writes and acts.
//!
//! Owns the order of things: what may be submitted now, what waits for a canary, the budget or a
//! pause, when the last safe moment has come, when the job is done. The two lanes have their own
//! files. Leaves out every effect: the driver commits the writes of a step, then performs its acts.

use std::collections::BTreeMap;

use offpeak_wire::batch::BatchId;
use offpeak_wire::error::ErrorKind;

use crate::job::account::Account;
use crate::job::cancel::Cancel;
use crate::job::deletion::Deleting;
use crate::job::event::{Act, Event, Stop, Write};
use crate::job::outcome::Tally;
use crate::job::pace::{Dice, Pause};
use crate::job::queue::Line;
use crate::job::scouting::Scouting;
use crate::job::shard::{JobId, Shard, ShardNo, ShardState};
use crate::job::sync_lane::SyncLane;
use crate::job::unmark::MarkFacts;
use crate::job::waste::Waste;
use crate::units::{Span, Timestamp, Usd};

/// What does not change while a job runs.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Its id.
    pub id: JobId,
    /// When it was made; the deadline counts from here.
    pub created_at: Timestamp,
    /// When the output must be in place.
    pub deadline: Option<Timestamp>,
    /// Most that may be spent.
    pub budget: Option<Usd>,
    /// What is not to be crossed by what can be expected: an estimate says whether more may begin.
    pub soft_budget: Option<Usd>,
    /// What a row is expected to cost of its worst case, as planned.
    pub expected_share: f64,
    /// Most that the dearest row can cost as a call.
    pub dearest: Usd,
    /// Whether batches of an earlier life of this job may be upstream: the data directory is new.
    pub scout: bool,
    /// The user saw what the guard saw and wants to go on.
    pub past_guard: bool,
    /// Rows that expired twice go to the sync lane, as the user said.
    pub expired_to_sync: bool,
    /// Time that a whole synchronous answer is expected to take at the most.
    pub answer: Span,
    /// What cache marks need to pay.
    pub marks: MarkFacts,
    /// What becomes of a batch in doubt at the last safe moment.
    pub on_unknown: OnUnknown,
    /// Another process has run this job before.
    pub resumed: bool,
    /// What was paid for batches that answer no row, as far as it was found before.
    pub wasted: Usd,
    /// The job was given up.
    pub cancel: Option<Cancel>,
    /// Only the probe has been cut; batches of an earlier life may be of shards to come.
    pub probing: bool,
    /// Batches are deleted upstream once their answers are here, whole and durable.
    pub delete_upstream: bool,
    /// The higher goes first where jobs wait for room in the upstream's queue.
    pub priority: i64,
}

/// What becomes, at the last safe moment, of a batch that may exist and may be ours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnUnknown {
    /// It is waited for, whatever the deadline: its rows are not paid twice.
    #[default]
    Wait,
    /// Its rows are answered by calls: the deadline is kept, and they may be paid twice.
    Deadline,
}

/// What one step wants: first remembered, then done.
#[derive(Debug, Default)]
pub struct Step {
    /// Committed in one transaction, before any act.
    pub writes: Vec<Write>,
    /// Performed after that.
    pub acts: Vec<Act>,
}

/// Where a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Something is under way or will be.
    Going,
    /// Every shard is settled.
    Done,
    /// It stopped and nothing is under way here.
    Stopped(Stop),
}

/// A shard and what the machine knows about it beyond the store.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) shard: Shard,
    /// An act for it is under way.
    pub(crate) busy: bool,
    /// Not before this.
    pub(crate) due: Timestamp,
    /// Failures in a row of what it is at.
    pub(crate) failures: u32,
    /// Flawed downloads so far.
    pub(crate) downloads: u32,
}

/// The machine.
#[derive(Debug)]
pub struct Machine {
    pub(crate) facts: Facts,
    pub(crate) shards: BTreeMap<ShardNo, Live>,
    pub(crate) batch_pause: Pause,
    pub(crate) line: Line,
    pub(crate) sync: SyncLane,
    pub(crate) stop: Option<Stop>,
    pub(crate) scouting: Scouting,
    /// That of the key in use, once the upstream was reached.
    pub(crate) account: Option<Account>,
    pub(crate) waste: Waste,
    pub(crate) deleting: Deleting,
}

impl Machine {
    /// A machine over the shards of a job as the store has them. `progress` is what the journals
    /// say of running sync shards.
    #[must_use]
    pub fn new(
        facts: Facts,
        shards: Vec<Shard>,
        progress: BTreeMap<ShardNo, Tally>,
        now: Timestamp,
    ) -> Self {
        let scouting = Scouting::at_start(&shards);
        let waste = Waste::at_start(shards.iter(), facts.probing, facts.wasted);
        let live = |shard: Shard| Live {
            shard,
            busy: false,
            due: now,
            failures: 0,
            downloads: 0,
        };
        let mut machine = Self {
            facts,
            shards: shards.into_iter().map(|s| (s.no, live(s))).collect(),
            batch_pause: Pause::default(),
            line: Line::default(),
            sync: SyncLane::default(),
            stop: None,
            scouting,
            account: None,
            waste,
            deleting: Deleting::default(),
        };
        for (no, live) in &machine.shards {
            if live.shard.state == ShardState::Running {
                let progress = progress.get(no).cloned().unwrap_or_default();
                machine.sync.resume(*no, progress);
            }
        }
        machine.guard_again();
        machine
    }

    /// Takes in one event and says what to remember and what to do.
    pub fn step(&mut self, now: Timestamp, event: Event, dice: Dice<'_>, out: &mut Step) {
        self.apply(now, event, dice, out);
        self.advance(now, out);
    }

    /// Where the job stands.
    #[must_use]
    pub fn status(&self) -> Status {
        let settled = |l: &Live| matches!(l.shard.state, ShardState::Settled(_));
        if self.shards.values().all(settled) && self.waste.is_looked_for() {
            return Status::Done;
        }
        match &self.stop {
            Some(stop) if !self.is_under_way() => Status::Stopped(stop.clone()),
            _ => Status::Going,
        }
    }

    /// When `step` should be called with [`Event::Woke`] if nothing else happens before.
    #[must_use]
    pub fn next_timeout(&self, now: Timestamp) -> Option<Timestamp> {
        // What is due and was not done waits for an act that is under way, not for the clock.
        let to_come = |at: &Timestamp| *at > now;
        let waits = |l: &&Live| match l.shard.state {
            ShardState::Settled(_) | ShardState::GivenUp(_) | ShardState::Running => false,
            ShardState::Planned => true,
            _ => !self.is_hard_stop(),
        };
        let shards = self
            .shards
            .values()
            .filter(|l| !l.busy)
            .filter(waits)
            .map(|l| l.due);
        let others = [
            self.batch_pause.ends(now),
            self.next_look_at_queue(),
            self.sync.next_timeout(now),
            self.hedge_at().filter(|_| self.stop.is_none()),
            self.canary_until(),
            self.waste_until(),
            self.scouting
                .next_look()
                .filter(|_| self.stop.is_none() || self.must_meet()),
            self.next_deletion(),
        ];
        shards
            .chain(others.into_iter().flatten())
            .filter(to_come)
            .min()
    }

    /// The shards as they are now, in order of their numbers.
    pub fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.shards.values().map(|live| &live.shard)
    }

    /// Sums over everything settled, and what running sync shards have spent.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut sum = self.sync.tally();
        for live in self.shards.values() {
            if let ShardState::Settled(tally) = &live.shard.state {
                sum.add(tally);
            }
        }
        sum
    }

    fn apply(&mut self, now: Timestamp, event: Event, dice: Dice<'_>, out: &mut Step) {
        match event {
            Event::Woke => {}
            Event::StopAsked => self.stop_for(Stop::Interrupted),
            Event::Scouted(scouted) => self.on_scouted(now, scouted, out),
            Event::Weighed { batch, cost } => self.on_weighed(batch, cost, out),
            Event::ResultsLost { shard } => self.on_results_lost(now, shard, out),
            Event::Deleted { shard, answer } => self.on_deleted(now, shard, answer, dice, out),
            Event::Settled { shard, settlement } => self.on_settled(now, shard, settlement, out),
            Event::Measured {
                shard,
                rows,
                worst,
                bytes,
            } => {
                self.on_measured(shard, rows, worst, bytes, out);
            }
            Event::Fetched { shard, rows, next } => self.sync.on_fetched(shard, rows, next),
            Event::RowAnswered {
                shard,
                row,
                answer,
                limits,
            } => {
                if let Some(stop) = self
                    .sync
                    .on_answer(now, (shard, row), answer, &limits, dice)
                {
                    self.stop_for(stop);
                }
            }
            Event::QueueSeen { shard, seen } => self.on_queue_seen(now, shard, &seen, dice, out),
            Event::Prepared { .. }
            | Event::Submitted { .. }
            | Event::Listed { .. }
            | Event::Polled { .. }
            | Event::CancelAnswered { .. }
            | Event::Collected { .. } => self.on_batch_event(now, event, dice, out),
        }
    }

    fn advance(&mut self, now: Timestamp, out: &mut Step) {
        if self.stop.is_none() {
            if let Some(how) = self.facts.cancel {
                self.cancel(how, out);
            } else {
                self.ask_about_expired(out);
                self.release_from_late_canary(now, out);
                self.stop_marks_that_lose(out);
                self.hedge(now, out);
            }
            self.scout(now, out);
        } else if self.must_meet() {
            self.scout(now, out);
        }
        self.advance_batches(now, out);
        self.advance_sync(now, out);
        if self.stop.is_none() {
            self.look_for_waste(now, out);
        }
        self.delete_batches(now, out);
    }

    // ---- stopping -----------------------------------------------------------------------------

    /// The first reason to stop is the one that is told; but a hard stop is told over a soft one.
    pub(crate) fn stop_for(&mut self, stop: Stop) {
        if self.stop.is_none() || (stop.is_hard() && !self.is_hard_stop()) {
            self.stop = Some(stop);
        }
    }

    /// After a hard stop nothing more is asked of the upstream; after a soft one, what is there
    /// already is still brought home.
    pub(crate) fn is_hard_stop(&self) -> bool {
        self.stop.as_ref().is_some_and(Stop::is_hard)
    }

    fn is_under_way(&self) -> bool {
        let active = |state: &ShardState| {
            !matches!(
                state,
                ShardState::Planned
                    | ShardState::GivenUp(_)
                    | ShardState::Running
                    | ShardState::Settled(_)
            )
        };
        self.waste.is_weighing()
            || self.scouting.is_busy()
            || self.sync.is_flying()
            || self.sync.is_fetching()
            || self.shards.values().any(|l| l.busy)
            || (!self.is_hard_stop() && self.shards.values().any(|l| active(&l.shard.state)))
    }

    // ---- small pieces -------------------------------------------------------------------------

    pub(crate) fn live(&self, no: ShardNo) -> &Live {
        self.shards
            .get(&no)
            .expect("events name shards of this job")
    }

    pub(crate) fn live_mut(&mut self, no: ShardNo) -> &mut Live {
        self.shards
            .get_mut(&no)
            .expect("events name shards of this job")
    }

    pub(crate) fn move_to(&mut self, no: ShardNo, state: ShardState, out: &mut Step) {
        let live = self.live_mut(no);
        let expect = Some(live.shard.state.tag());
        live.shard.state = state;
        live.failures = 0;
        out.writes.push(Write::Shard {
            expect,
            shard: Box::new(live.shard.clone()),
        });
    }

    /// Whether fewer than `most` acts are under way for shards in such a state.
    pub(crate) fn fewer_than(&self, most: usize, of: impl Fn(&ShardState) -> bool) -> bool {
        let busy = self
            .shards
            .values()
            .filter(|l| l.busy && of(&l.shard.state));
        busy.count() < most
    }
}

/// Whether an error in an answer about a batch stops the job.
pub(crate) fn is_fatal(kind: Option<ErrorKind>) -> bool {
    kind.is_some_and(|kind| {
        crate::job::retry::stops_the_account(kind) || kind == ErrorKind::InvalidRequest
    })
}

/// A message for a batch that is not what it should be.
pub(crate) fn not_ours(batch: &BatchId) -> String {
    format!("the results of batch {batch} do not carry the marks of the shard that made it")
}
