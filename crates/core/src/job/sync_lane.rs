//! The sync lane of the machine: which row is sent next, how many at once, and what an answer
//! means for the row and for the lane.
//!
//! The journal in the spool is the memory of this lane; what is here can be rebuilt from it.
//! Leaves out the settlement of a whole shard (`machine`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use offpeak_wire::error::{Billing, ErrorKind};

use crate::job::event::{Act, RowAnswer, Sent, Stop, SyncRow};
use crate::job::machine::{Machine, Step};
use crate::job::outcome::{OutcomeClass, Tally};
use crate::job::pace::{Dice, Pause, RetryBudget, Window};
use crate::job::retry::{Again, Finding, Judgement, backoff, concerns_the_lane, judge};
use crate::job::settlement::{GUARD_FIRST, GUARD_PERCENT};
use crate::job::shard::{ShardNo, ShardState};
use crate::job::speed::{Limits, Speed};
use crate::job::unanswered::Unanswered;
use crate::price::Lane;
use crate::units::{Span, Timestamp, Usd};

/// Sync shards that are open at once: the next one fills the window while the last rows of the one
/// before are still on their way.
const OPEN_SHARDS: usize = 2;

/// A prefix counts as warm this long after its last use: the 5-minute lifetime less a margin.
const WARM: Span = Span::from_secs(270);

/// The guard looks at no answer after this one.
const GUARD_LAST: u64 = 200;

/// Calls in flight while the guard has not seen enough.
const WATCHED: usize = 8;

/// The lane.
#[derive(Debug, Default)]
pub(crate) struct SyncLane {
    open: BTreeMap<ShardNo, Open>,
    ready: VecDeque<Queued>,
    waiting: Vec<(Timestamp, Queued)>,
    flying: BTreeMap<(ShardNo, u64), Flight>,
    pause: Pause,
    window: Window,
    pub(crate) speed: Speed,
    /// When the upstream's limits let the next call out.
    paced_until: Option<Timestamp>,
    retries: RetryBudget,
    /// When a prefix was last used.
    warm: BTreeMap<u32, Timestamp>,
    warming: BTreeSet<u32>,
    finals: u64,
    alarms: u64,
    examples: Vec<String>,
    /// When the retry budget has something again.
    budget_at: Option<Timestamp>,
    /// Calls that may have been billed and were not answered, since one was answered.
    unanswered: Option<Unanswered>,
}

#[derive(Debug, Default)]
struct Open {
    /// Sums over the rows with a terminal answer, and what is held for calls of unknown outcome.
    progress: Tally,
    /// The next reference to read; `None` when all were.
    next: Option<u32>,
    fetching: bool,
    /// Rows read and not done.
    pending: u32,
}

#[derive(Debug, Clone)]
struct Queued {
    shard: ShardNo,
    row: SyncRow,
    retry: bool,
}

#[derive(Debug)]
struct Flight {
    queued: Queued,
    sent_at: Timestamp,
    /// The prefixes that were cold when it went.
    warms: Vec<u32>,
}

impl Queued {
    /// It has not failed in a way that may be the upstream's.
    fn is_new(&self) -> bool {
        self.row.blame.failures() == 0
    }
}

impl SyncLane {
    pub(crate) fn resume(&mut self, no: ShardNo, progress: Tally) {
        // The guard goes on from what it saw before.
        self.finals += progress.outcomes.total();
        let alarms = OutcomeClass::ALL.iter().filter(|class| class.alarms());
        self.alarms += alarms
            .map(|class| progress.outcomes.of(*class))
            .sum::<u64>();
        self.open.insert(
            no,
            Open {
                progress,
                next: Some(0),
                ..Open::default()
            },
        );
    }

    pub(crate) fn close(&mut self, no: ShardNo) {
        self.open.remove(&no);
    }

    pub(crate) fn is_flying(&self) -> bool {
        !self.flying.is_empty()
    }

    pub(crate) fn is_fetching(&self) -> bool {
        self.open.values().any(|o| o.fetching)
    }

    /// Whether something is under way for a shard.
    pub(crate) fn is_at_work(&self, no: ShardNo) -> bool {
        let flying = self.flying.keys().any(|(shard, _)| *shard == no);
        flying || self.open.get(&no).is_some_and(|open| open.fetching)
    }

    /// Sums over the open shards.
    pub(crate) fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        for open in self.open.values() {
            sum.add(&open.progress);
        }
        sum
    }

    /// What an open shard has come to; nothing if it is not open.
    pub(crate) fn progress(&self, no: ShardNo) -> Tally {
        let open = self.open.get(&no);
        open.map(|open| open.progress.clone()).unwrap_or_default()
    }

    /// What each call in flight of a shard can cost.
    pub(crate) fn in_flight(&self, no: ShardNo) -> impl Iterator<Item = Usd> {
        let flying = self.flying.iter();
        let of = flying.filter(move |((shard, _), _)| *shard == no);
        of.map(|(_, flight)| flight.queued.row.worst)
    }

    /// Spent, unknown and held by calls in flight of one shard.
    pub(crate) fn committed(&self, no: ShardNo) -> Usd {
        let progress = self.progress(no);
        progress.cost + progress.unknown + self.in_flight(no).sum::<Usd>()
    }

    pub(crate) fn next_timeout(&self, now: Timestamp) -> Option<Timestamp> {
        let waiting = self.waiting.iter().map(|(at, _)| *at).min();
        let idle = self.ready.is_empty() && self.waiting.is_empty();
        let pause = self.pause.ends(now).filter(|_| !idle);
        [waiting, pause, self.budget_at, self.paced_until]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .min()
    }

    pub(crate) fn on_fetched(&mut self, no: ShardNo, rows: Vec<SyncRow>, next: Option<u32>) {
        let open = self
            .open
            .get_mut(&no)
            .expect("rows are fetched for open shards");
        open.fetching = false;
        open.next = next;
        open.pending += u32::try_from(rows.len()).expect("a fetch is small");
        self.ready.extend(rows.into_iter().map(|row| {
            let retry = row.attempts > 0;
            Queued {
                shard: no,
                row,
                retry,
            }
        }));
    }

    /// Takes in an answer; says whether the whole job must stop.
    pub(crate) fn on_answer(
        &mut self,
        now: Timestamp,
        to: (ShardNo, u64),
        answer: RowAnswer,
        limits: &Limits,
        dice: Dice<'_>,
    ) -> Option<Stop> {
        let flight = self
            .flying
            .remove(&to)
            .expect("answers are for calls in flight");
        let Flight {
            mut queued,
            sent_at,
            warms,
        } = flight;
        let no = queued.shard;
        let later = self.flying.values().filter(|f| f.sent_at >= sent_at);
        let later = later.count();
        self.speed.told(now, limits, later);
        for prefix in &warms {
            self.warming.remove(prefix);
        }
        let answer = match answer {
            // Somebody may have done the work: it is a failure of the upstream, not of the way there.
            RowAnswer::Lost { sent: Sent::Whole } => RowAnswer::Error {
                kind: ErrorKind::Unknown,
                message: "the request was sent whole, and its answer never came".to_owned(),
                retry_after: None,
            },
            other => other,
        };
        match answer {
            RowAnswer::Message { stop, sums } => {
                for prefix in &queued.row.prefixes {
                    self.warm.insert(*prefix, sent_at);
                }
                self.went_through();
                let uncached = sums.input_tokens.saturating_add(sums.cache_write_tokens);
                self.speed.answered(now, uncached, sums.output_tokens);
                self.open_mut(no).progress.add(&sums);
                let class = match judge(&Finding::Message(stop), queued.row.attempts) {
                    Judgement::Final(class) => class,
                    Judgement::Again(_) | Judgement::Stop(_) => OutcomeClass::Succeeded,
                };
                self.done(no, class, class.as_str());
            }
            RowAnswer::Unreadable => {
                self.went_through();
                self.hold_unknown(no, queued.row.worst);
                self.done(
                    no,
                    OutcomeClass::ResultUnreadable,
                    "a success that cannot be read",
                );
            }
            RowAnswer::Lost { .. } => {
                self.pause.failed(now, None, dice);
                self.window.refused(now);
                self.ready.push_front(queued);
            }
            RowAnswer::Error {
                kind,
                message,
                retry_after,
            } => {
                if kind.billing() == Billing::Possible {
                    self.hold_unknown(no, queued.row.worst);
                    let unanswered = Unanswered::after(self.unanswered, now, sent_at);
                    self.unanswered = Some(unanswered);
                    let is_own = queued.row.blame.unanswered(self.passed(no));
                    if unanswered.is_repeated() || (!is_own && concerns_the_lane(kind)) {
                        self.pause.failed(now, retry_after, dice);
                        self.window.refused(now);
                    }
                    if !is_own {
                        // Whether any row is answered, another one can tell better.
                        self.goes_again(now, queued, kind, retry_after, dice);
                        return unanswered.stop();
                    }
                } else if concerns_the_lane(kind) && !self.is_to_blame(&mut queued, kind) {
                    self.pause.failed(now, retry_after, dice);
                    self.window.refused(now);
                    self.ready.push_front(queued);
                    return None;
                }
                match judge(&Finding::Error(kind), queued.row.attempts) {
                    Judgement::Final(class) => self.done(no, class, &message),
                    Judgement::Again(Again::Expired | Again::Canceled) => {
                        unreachable!("calls neither expire nor are canceled")
                    }
                    Judgement::Again(Again::Failed) => {
                        queued.row.attempts += 1;
                        queued.retry = true;
                        let failures = u32::from(queued.row.attempts);
                        let at = now + backoff(retry_after, failures, dice());
                        self.waiting.push((at, queued));
                    }
                    Judgement::Stop(kind) => {
                        self.ready.push_front(queued);
                        return Some(Stop::Upstream { kind, message });
                    }
                }
                return self.unanswered.and_then(Unanswered::stop);
            }
        }
        None
    }

    /// A server error is the lane's trouble, until other rows pass where this one fails, or until
    /// it has failed very often.
    fn is_to_blame(&self, queued: &mut Queued, kind: ErrorKind) -> bool {
        let says_so = matches!(kind, ErrorKind::RateLimit | ErrorKind::Overloaded);
        !says_so && queued.row.blame.failed(self.passed(queued.shard))
    }

    /// Rows of a shard that went through.
    fn passed(&self, no: ShardNo) -> u64 {
        self.open[&no].progress.outcomes.answered()
    }

    /// A row that may have been billed, was not answered, and is not to blame: it waits behind the others.
    fn goes_again(
        &mut self,
        now: Timestamp,
        mut queued: Queued,
        kind: ErrorKind,
        retry_after: Option<Span>,
        dice: Dice<'_>,
    ) {
        if concerns_the_lane(kind) {
            self.ready.push_back(queued);
        } else {
            queued.retry = true;
            let failures = u32::from(queued.row.blame.failures());
            let at = now + backoff(retry_after, failures, dice());
            self.waiting.push((at, queued));
        }
    }

    fn went_through(&mut self) {
        self.unanswered = None;
        self.pause.succeeded();
        self.window.succeeded();
    }

    /// Nobody knows whether a call was billed; its worst case stays set aside.
    fn hold_unknown(&mut self, no: ShardNo, worst: Usd) {
        let progress = &mut self.open_mut(no).progress;
        progress.unknown += worst;
        progress.unknown_calls += 1;
    }

    fn done(&mut self, no: ShardNo, class: OutcomeClass, words: &str) {
        let open = self.open_mut(no);
        open.pending -= 1;
        open.progress.outcomes.count(class);
        open.progress.attempts += 1;
        self.finals += 1;
        if class.alarms() {
            self.alarms += 1;
            if self.examples.len() < 3 {
                self.examples.push(words.to_owned());
            }
        }
    }

    fn open_mut(&mut self, no: ShardNo) -> &mut Open {
        self.open
            .get_mut(&no)
            .expect("the shard of a call in flight is open")
    }

    /// What the guard says of the first answers of this lane.
    fn guard(&self) -> Option<Stop> {
        let looking = (GUARD_FIRST..=GUARD_LAST).contains(&self.finals);
        (looking && self.alarms * 100 > self.finals * GUARD_PERCENT).then(|| Stop::Guard {
            bad: self.alarms,
            of: self.finals,
            examples: self.examples.clone(),
        })
    }

    /// The next row that may go now: first those whose wait is over, then the queue; of a cold
    /// prefix only one at a time, because the others would all pay for the same write.
    fn next_row(&mut self, now: Timestamp) -> Option<Queued> {
        while let Some(at) = self.waiting.iter().position(|(due, _)| *due <= now) {
            let (_, queued) = self.waiting.swap_remove(at);
            if self.unanswered.is_some() {
                self.ready.push_back(queued);
            } else {
                self.ready.push_front(queued);
            }
        }
        let may_go = |at: &usize| self.may_go(&self.ready[*at], now);
        let mut rows = 0..self.ready.len();
        let position = match self.unanswered {
            // Whether anything is answered, a row tells that has not failed yet.
            Some(_) => rows
                .clone()
                .find(|at| self.ready[*at].is_new() && may_go(at)),
            None => None,
        };
        let position = position.or_else(|| rows.find(may_go))?;
        if self.ready[position].retry
            && let Err(at) = self.retries.spend(now)
        {
            self.budget_at = Some(at);
            return None;
        }
        self.ready.remove(position)
    }

    fn may_go(&self, queued: &Queued, now: Timestamp) -> bool {
        queued
            .row
            .prefixes
            .iter()
            .all(|prefix| self.is_warm(*prefix, now) || !self.warming.contains(prefix))
    }

    fn is_warm(&self, prefix: u32, now: Timestamp) -> bool {
        self.warm.get(&prefix).is_some_and(|at| now < *at + WARM)
    }
}

impl Machine {
    pub(crate) fn advance_sync(&mut self, now: Timestamp, out: &mut Step) {
        if self.stop.is_none() && !self.is_canceled() {
            self.open_sync_shards(now, out);
            self.fetch_rows(out);
            self.send_rows(now, out);
        }
        self.settle_sync_shards(out);
    }

    fn open_sync_shards(&mut self, now: Timestamp, out: &mut Step) {
        // What an earlier life may have paid for in a batch is not paid again here.
        while self.sync.open.len() < OPEN_SHARDS && self.has_scouted() {
            let next = self.shards.values().find(|l| {
                l.shard.lane == Lane::Sync
                    && l.shard.state == ShardState::Planned
                    && !l.busy
                    && l.due <= now
                    && l.shard.after.is_none()
            });
            let Some(no) = next.map(|l| l.shard.no) else {
                return;
            };
            self.move_to(no, ShardState::Running, out);
            self.sync.resume(no, Tally::default());
        }
    }

    fn fetch_rows(&mut self, out: &mut Step) {
        let lane = &mut self.sync;
        let enough = lane.ready.len() + lane.waiting.len() >= 2 * lane.window.size();
        let asks_others = lane.unanswered.is_some() && !lane.ready.iter().any(Queued::is_new);
        if enough && !asks_others {
            return;
        }
        if lane.open.values().any(|o| o.fetching) {
            return;
        }
        let next = lane
            .open
            .iter_mut()
            .find_map(|(no, o)| Some((*no, o.next?, o)));
        if let Some((no, from, open)) = next {
            open.fetching = true;
            out.acts.push(Act::Fetch(no, from));
        }
    }

    fn send_rows(&mut self, now: Timestamp, out: &mut Step) {
        self.sync.budget_at = None;
        self.sync.paced_until = None;
        if !self.facts.past_guard
            && let Some(stop) = self.sync.guard()
        {
            self.stop_for(stop);
            return;
        }
        let (mut room, mut soft_room) = (self.room(), self.soft_room());
        // Until the guard has seen the first answers, no more is at stake than a few of them.
        let watched = !self.facts.past_guard && self.sync.finals < GUARD_FIRST;
        // Nor is more than one call while nobody knows whether any would be answered.
        let most = match self.sync.unanswered {
            Some(_) => 1,
            None if watched => self.sync.window.size().min(WATCHED),
            None => self.sync.window.size(),
        };
        while self.sync.flying.len() < most && self.sync.pause.is_over(now) {
            let ready_at = self.sync.speed.ready_at(now);
            if ready_at > now {
                self.sync.paced_until = Some(ready_at);
                break;
            }
            let Some(queued) = self.sync.next_row(now) else {
                return;
            };
            let worst = queued.row.worst;
            if soft_room
                .as_mut()
                .is_some_and(|soft| !soft.admit(worst, worst))
            {
                self.sync.ready.push_front(queued);
                self.stop_at_soft_line();
                return;
            }
            if let Some(left) = room {
                if worst > left {
                    self.sync.ready.push_front(queued);
                    if !self.may_release() {
                        let needed = worst;
                        self.stop_for(Stop::Budget { needed, left });
                    }
                    return;
                }
                room = Some(left - worst);
            }
            self.send(now, queued, out);
        }
        // One call at a time is not how fast the lane can be.
        let held_back = watched || self.sync.unanswered.is_some();
        let busy = !held_back && !self.sync.ready.is_empty();
        self.sync.speed.is_busy(now, busy);
    }

    fn send(&mut self, now: Timestamp, queued: Queued, out: &mut Step) {
        let lane = &mut self.sync;
        if !queued.retry {
            lane.retries.earn();
        }
        lane.speed.sent(now);
        let prefixes = queued.row.prefixes.iter().copied();
        let cold: Vec<u32> = prefixes.filter(|p| !lane.is_warm(*p, now)).collect();
        lane.warming.extend(&cold);
        let (shard, row) = (queued.shard, queued.row.row);
        out.acts.push(Act::Send {
            shard,
            row,
            attempt: queued.row.attempts,
            held: queued.row.worst,
        });
        let flight = Flight {
            queued,
            sent_at: now,
            warms: cold,
        };
        let before = lane.flying.insert((shard, row), flight);
        assert!(
            before.is_none(),
            "row {row} of shard {shard} is sent while it is in flight"
        );
    }

    fn settle_sync_shards(&mut self, out: &mut Step) {
        let finished: Vec<ShardNo> = self
            .sync
            .open
            .iter()
            .filter(|(_, o)| o.next.is_none() && !o.fetching && o.pending == 0)
            .map(|(no, _)| *no)
            .collect();
        for no in finished {
            if !self.live(no).busy {
                self.live_mut(no).busy = true;
                out.acts.push(Act::Settle(no));
            }
        }
    }
}
