//! The upstream's queue of batch rows, which all jobs of an organisation share: whether a shard fits in, and
//! which of the jobs that wait for room goes first.
//!
//! A batch that does not fit is refused with 429 and costs nothing, so this is about order, not about
//! money. Each job says what it wants to send before it looks, so that of two that look at once one sees
//! the other. Leaves out how long a refused job pauses (`pace`), and asking the upstream and the store (the
//! driver).

use std::cmp::{Ordering, Reverse};

use crate::job::event::{Act, Stop, Write};
use crate::job::machine::{Machine, Step};
use crate::job::pace::Dice;
use crate::job::retry::share;
use crate::job::shard::{JobId, ShardNo, ShardState};
use crate::price::Lane;
use crate::units::{Span, Timestamp};

/// Time between two looks at a full queue. Batches take minutes, and a look is one listing.
const LOOK_EVERY: Span = Span::from_secs(20);

/// A job that has not said for so long that it waits does so no longer: its process is gone.
pub const WAITS_FOR: Span = Span::from_secs(120);

/// The place of a job in line; the smallest goes first: the highest priority, then the earliest deadline, then
/// whoever has the least at work, so that jobs without a deadline take turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// As the user says; a job without one has 0.
    pub priority: i64,
    /// When its output must be in place.
    pub deadline: Option<Timestamp>,
    /// Its rows in the upstream's queue.
    pub at_work: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// Which job it is, so that no two are equal.
    pub job: JobId,
}

impl Turn {
    fn key(&self) -> impl Ord + '_ {
        let deadline = self.deadline.map_or((1, Timestamp::EPOCH), |at| (0, at));
        let Self {
            priority,
            at_work,
            created_at,
            ref job,
            ..
        } = *self;
        (Reverse(priority), deadline, at_work, created_at, job)
    }
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A job that wants to send a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiter {
    /// Its place in line.
    pub turn: Turn,
    /// Rows of the shard.
    pub rows: u64,
    /// How far it is.
    pub phase: Phase,
}

/// How far a job is that wants to send a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It looks whether there is room.
    Looking,
    /// There was none.
    Waiting,
    /// There was, and it takes it.
    Going,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Looking, Self::Waiting, Self::Going];

    /// The name in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Looking => "looking",
            Self::Waiting => "waiting",
            Self::Going => "going",
        }
    }
}

/// What a job saw when it looked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueSeen {
    /// What the upstream has in its queue, of so many at the most; `None` if that cannot be found out.
    pub fill: Option<Fill>,
    /// Other jobs that want to send.
    pub waiters: Vec<Waiter>,
}

/// How full the queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// Rows in it, as far as our key can see.
    pub rows: u64,
    /// Most rows in it: `enqueued_batch_requests` of the organisation, at least 1.
    pub limit: u64,
}

/// Why a job waits for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom {
    /// Rows of the shard that wants to go.
    pub rows: u64,
    /// How full it is, if that is known.
    pub fill: Option<Fill>,
    /// Jobs that go first.
    pub ahead: u64,
}

/// A job in front of the queue.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// The shard for which a look is under way.
    looking: Option<ShardNo>,
    /// No look before this.
    next_look: Option<Timestamp>,
    /// The shard for which the job stands in line, and how, as the others see it in the store.
    place: Option<(ShardNo, Phase)>,
    /// What the newest look found, if there was no room.
    no_room: Option<NoRoom>,
}

/// Whether `rows` fit, with `coming` of our own on their way, for a job whose turn is `turn`.
fn room_for(rows: u64, coming: u64, turn: &Turn, seen: &QueueSeen) -> Result<(), NoRoom> {
    let others = seen.waiters.iter();
    // Who goes has its room, whoever's turn it was.
    let first = others.filter(|other| other.phase == Phase::Going || other.turn < *turn);
    let theirs: u64 = first.clone().map(|other| other.rows).sum();
    let waiting = first.filter(|other| other.phase == Phase::Waiting);
    let ahead = u64::try_from(waiting.count()).unwrap_or(u64::MAX);
    let fits = match seen.fill {
        Some(Fill { rows: there, limit }) => there + coming + theirs + rows <= limit,
        // Only a refusal says that the queue is full.
        None => ahead == 0,
    };
    let fill = seen.fill;
    if fits {
        Ok(())
    } else {
        Err(NoRoom { rows, fill, ahead })
    }
}

impl Machine {
    /// Why the job waits for room in the upstream's queue, if it does.
    #[must_use]
    pub fn waits_for_room(&self) -> Option<NoRoom> {
        self.line.no_room
    }

    /// When to look again.
    pub(crate) fn next_look_at_queue(&self) -> Option<Timestamp> {
        self.line.next_look.filter(|_| self.line.place.is_some())
    }

    /// The look at the queue that a shard needs before it is sent, if it is time for one.
    pub(crate) fn look_at_queue(
        &mut self,
        now: Timestamp,
        no: ShardNo,
        out: &mut Step,
    ) -> Option<Act> {
        let may = self.line.looking.is_none() && self.line.next_look.is_none_or(|at| now >= at);
        may.then(|| {
            let refused = self.line.place == Some((no, Phase::Waiting));
            let phase = if refused {
                Phase::Waiting
            } else {
                Phase::Looking
            };
            self.stand_in_line(no, phase, out);
            self.line.looking = Some(no);
            Act::LookAtQueue(no)
        })
    }

    pub(crate) fn on_queue_seen(
        &mut self,
        now: Timestamp,
        no: ShardNo,
        seen: &QueueSeen,
        dice: Dice<'_>,
        out: &mut Step,
    ) {
        self.line.looking = None;
        self.live_mut(no).busy = false;
        // In the meantime it may have been hedged, or the job stopped.
        if !self.may_submit() || !self.is_unsent(no) {
            return;
        }
        let rows = u64::from(self.live(no).shard.rows.len());
        if let Some(fill) = seen.fill.filter(|fill| rows > fill.limit) {
            // It is not cut: on a new disk nobody would know how, and pay for its batches again.
            let limit = fill.limit;
            self.stop_for(Stop::NeverFits { rows, limit });
            return;
        }
        match room_for(rows, self.rows_coming(no), &self.turn(), seen) {
            Ok(()) => {
                (self.line.next_look, self.line.no_room) = (None, None);
                self.stand_in_line(no, Phase::Going, out);
                self.live_mut(no).busy = true;
                out.acts.push(Act::Prepare(no));
            }
            Err(no_room) => {
                self.line.no_room = Some(no_room);
                self.line.next_look = Some(now + LOOK_EVERY + share(LOOK_EVERY, dice() / 2.0));
                self.stand_in_line(no, Phase::Waiting, out);
            }
        }
    }

    /// Tells the other jobs that this one wants to send a shard.
    pub(crate) fn stand_in_line(&mut self, no: ShardNo, phase: Phase, out: &mut Step) {
        let (turn, rows) = (self.turn(), u64::from(self.live(no).shard.rows.len()));
        self.line.place = Some((no, phase));
        out.writes
            .push(Write::InLine(Some(Waiter { turn, rows, phase })));
    }

    /// Leaves the line once the shard that it was for is sent, or never will be in a batch.
    pub(crate) fn leave_line(&mut self, out: &mut Step) {
        let Some((no, _)) = self.line.place else {
            return;
        };
        let sending = matches!(self.live(no).shard.state, ShardState::Submitting(_));
        if !self.may_submit() || !(sending || self.is_unsent(no)) {
            let looking = self.line.looking;
            self.line = Line {
                looking,
                ..Line::default()
            };
            out.writes.push(Write::InLine(None));
        }
    }

    fn is_unsent(&self, no: ShardNo) -> bool {
        let shard = &self.live(no).shard;
        shard.lane == Lane::Batch && shard.state == ShardState::Planned
    }

    fn turn(&self) -> Turn {
        Turn {
            priority: self.facts.priority,
            deadline: self.facts.deadline,
            at_work: self.rows_not_ended(),
            created_at: self.facts.created_at,
            job: self.facts.id.clone(),
        }
    }

    /// Rows of other shards that are about to be sent, or are being sent.
    fn rows_coming(&self, no: ShardNo) -> u64 {
        let coming = self.shards.values().filter(|live| {
            let sending = matches!(live.shard.state, ShardState::Submitting(_));
            live.shard.no != no && (sending || (live.busy && self.is_unsent(live.shard.no)))
        });
        coming.map(|live| u64::from(live.shard.rows.len())).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn turn(priority: i64, deadline: Option<i64>, at_work: u64, job: u8) -> Turn {
        Turn {
            priority,
            deadline: deadline.map(Timestamp::from_micros),
            at_work,
            created_at: Timestamp::from_micros(i64::from(job)),
            job: JobId::of_digest(&[job; 32]),
        }
    }

    fn seen(fill: Option<(u64, u64)>, waiters: &[(Turn, u64)]) -> QueueSeen {
        let waiter = |(turn, rows): &(Turn, u64)| Waiter {
            turn: turn.clone(),
            rows: *rows,
            phase: Phase::Waiting,
        };
        QueueSeen {
            fill: fill.map(|(rows, limit)| Fill { rows, limit }),
            waiters: waiters.iter().map(waiter).collect(),
        }
    }

    #[test]
    fn priority_goes_before_deadline_and_deadline_before_fairness() {
        let line = [
            turn(1, None, 900, 9),
            turn(0, Some(5), 900, 8),
            turn(0, Some(6), 0, 7),
            turn(0, None, 10, 6),
            turn(0, None, 20, 4),
            turn(0, None, 20, 5),
            turn(-1, Some(1), 0, 3),
        ];
        assert!(line.is_sorted());
    }

    #[test]
    fn those_ahead_keep_their_room_and_those_behind_do_not() {
        let (first, me, last) = (
            turn(1, None, 0, 1),
            turn(0, None, 0, 2),
            turn(-1, None, 0, 3),
        );
        let others = [(first, 30), (last, 50)];
        let room = |rows, limit| room_for(rows, 10, &me, &seen(Some((50, limit)), &others));
        assert_eq!(room(10, 100), Ok(()));
        let fill = Some(Fill {
            rows: 50,
            limit: 100,
        });
        let (rows, ahead) = (11, 1);
        assert_eq!(room(11, 100), Err(NoRoom { rows, fill, ahead }));
    }

    #[test]
    fn who_goes_has_its_room_and_who_looks_is_no_reason_to_wait() {
        let (me, other) = (turn(0, None, 0, 2), turn(-1, None, 0, 3));
        let beside = |fill, turn: &Turn, phase| {
            let mut seen = seen(fill, &[(turn.clone(), 40)]);
            seen.waiters[0].phase = phase;
            room_for(60, 0, &me, &seen).is_ok()
        };
        let limit = |rows| Some((0, rows));
        assert!(beside(limit(99), &other, Phase::Looking));
        assert!(!beside(limit(99), &other, Phase::Going));
        assert!(beside(limit(100), &other, Phase::Going));
        let first = turn(1, None, 0, 1);
        assert!(!beside(limit(99), &first, Phase::Looking));
        assert!(beside(None, &first, Phase::Looking));
        assert!(beside(None, &first, Phase::Going));
        assert!(!beside(None, &first, Phase::Waiting));
    }

    proptest! {
        /// What may go fits, and of those that wait at least one may go when the queue is empty.
        #[test]
        fn somebody_may_always_go(
            limit in 1_u64..1_000,
            jobs in prop::collection::vec((-2_i64..3, prop::option::of(0_i64..5), 0_u64..9, 1_u64..2_000), 1..8),
        ) {
            let waiters: Vec<(Turn, u64)> = (0..)
                .zip(&jobs)
                .map(|(job, (priority, deadline, at_work, rows))| {
                    (turn(*priority, *deadline, *at_work, job), (*rows).min(limit))
                })
                .collect();
            for fill in [None, Some((0, limit))] {
                let may_go = (0..waiters.len()).filter(|at| {
                    let mut others = waiters.clone();
                    let (turn, rows) = others.remove(*at);
                    room_for(rows, 0, &turn, &seen(fill, &others)).is_ok()
                });
                let rows: u64 = may_go.clone().map(|at| waiters[at].1).sum();
                prop_assert!(may_go.count() >= 1);
                prop_assert!(fill.is_none() || rows <= limit);
            }
        }
    }
}
