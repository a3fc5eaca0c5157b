//! `auto` for calls that can wait: when they go into batches, which of them go ahead so that the
//! others find their prefixes written, and when a batch is given up because the deadline comes first.
//!
//! Calls are collected until the earliest of them could not wait any longer for two batches and the
//! reserve to do without them; a job's calls go when the last of them has come. One row for each
//! prefix goes ahead, level by level, and the others follow when its batch has ended; whether that helps
//! is seen with a few groups first (`scout`). Whatever has not
//! come back when the synchronous lane needs all the time that is left is cancelled and sent there, at
//! a cautious pace (`line`).

mod line;
mod scout;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use offpeak_core::gate::{Block, Marks};
use offpeak_core::plan::{
    Crossing, HitPosterior, Marking, NodeId, Timing, Trie, best_marks, marked_cost,
    warmed_crossings,
};
use offpeak_core::price::Rates;
use offpeak_core::units::{Span, Timestamp, Tokens, Usd};
use offpeak_wire::limits::{MAX_BREAKPOINTS, MAX_ROWS_PER_BATCH};

use crate::moves::{Action, RowFate, Visible};

use super::Facts;
use scout::Scouted;

/// How long a call without a deadline waits for company.
const COLLECTED: Span = Span::from_secs(3_600);
/// Rows that go ahead in one batch: it hides its results until all of them are done.
const CANARIES: usize = 50;
/// Campaigns that a model's calls are spread over, so that one slow canary doesn't hold up all groups.
const CAMPAIGNS: usize = 50;
/// Levels of prefixes that are sent ahead one after the other.
const LEVELS: u32 = 3;
/// How old a canary's entry may be for the rows behind it to start in time.
const FRESH: Span = Span::from_secs(3_600 - 60 - 150);
/// Times that canaries whose batch took too long are sent again.
const AGAIN: u32 = 2;
/// Batches that rows with a deadline are spread over: what has ended needs no second way.
const SHARDS: usize = 10;
/// Fewer rows than this stay together.
const SPREAD_FROM: usize = 100;

#[derive(Debug)]
pub(crate) struct Patient {
    facts: Facts,
    calls: HashMap<usize, Arc<Visible>>,
    /// Calls of each job that have not come yet.
    expected: HashMap<usize, usize>,
    queue: Queue,
    campaigns: Vec<Campaign>,
    shards: BTreeMap<u32, Shard>,
    next_shard: u32,
    /// Calls on their way to the synchronous lane by deadline, and when the next may go.
    returned: BTreeSet<(Timestamp, usize)>,
    slot: Timestamp,
    /// Batches that were given up and have not ended, and when the last of them has at the latest.
    canceling: BTreeSet<u32>,
    settled: Timestamp,
    expired: BTreeSet<usize>,
    /// The last moment at which nothing has to be given up.
    line: Option<Timestamp>,
    /// What rows behind canaries have shown of their model's cache, and who waits for that.
    shown: BTreeMap<String, HitPosterior>,
    scouted: BTreeMap<String, Scouted>,
    /// Tokens read by rows whose batch is about to end.
    read: HashMap<usize, u64>,
    /// The next moment that was asked for.
    woken: Option<Timestamp>,
}

/// Calls that are being collected.
#[derive(Debug, Default)]
struct Queue {
    calls: Vec<usize>,
    /// When the first of those without a deadline has waited long enough.
    company: Option<Timestamp>,
    /// The earliest deadline.
    pressed: Option<Timestamp>,
}

impl Queue {
    fn push(&mut self, call: &Visible) {
        self.calls.push(call.number);
        let (earliest, at) = match call.deadline {
            None => (&mut self.company, call.at + COLLECTED),
            Some(deadline) => (&mut self.pressed, deadline),
        };
        *earliest = Some(earliest.map_or(at, |before| before.min(at)));
    }

    /// When it has to be emptied: two batches and the reserve before the earliest deadline.
    fn flush_at(&self) -> Option<Timestamp> {
        let rows = u64::try_from(self.calls.len()).unwrap_or(u64::MAX);
        let needed = Timing::of(Span::ZERO, rows).two_batches();
        let pressed = self.pressed.map(|deadline| deadline - needed);
        [self.company, pressed].into_iter().flatten().min()
    }
}

/// Calls of one model that are marked together.
#[derive(Debug)]
struct Campaign {
    marks: HashMap<usize, Marks>,
    /// The marked nodes of each call, from the top.
    marked: HashMap<usize, Vec<NodeId>>,
    /// Calls that were not sent yet, neighbours in the trie beside each other.
    waiting: Vec<usize>,
    covered: BTreeSet<NodeId>,
    /// Batches of canaries that have not ended, and since when their entries may live.
    ahead: usize,
    since: Timestamp,
    /// One canary is ahead, in a batch of its own.
    alone: bool,
    level: u32,
    again: u32,
    /// What its first batch behind the canaries read is known.
    told: bool,
}

/// A call with its marks and the nodes that they stand at.
#[derive(Debug, Clone)]
struct Marked {
    call: usize,
    marks: Marks,
    nodes: Vec<NodeId>,
}

#[derive(Debug)]
struct Shard {
    campaign: usize,
    calls: Vec<usize>,
    canary: bool,
}

impl Patient {
    pub(crate) fn new(facts: Facts) -> Self {
        Self {
            facts,
            calls: HashMap::new(),
            expected: HashMap::new(),
            queue: Queue::default(),
            campaigns: Vec::new(),
            shards: BTreeMap::new(),
            next_shard: 0,
            returned: BTreeSet::new(),
            slot: Timestamp::EPOCH,
            canceling: BTreeSet::new(),
            settled: Timestamp::EPOCH,
            expired: BTreeSet::new(),
            line: None,
            shown: BTreeMap::new(),
            scouted: BTreeMap::new(),
            read: HashMap::new(),
            woken: None,
        }
    }

    /// Calls of a job that will come.
    pub(crate) fn expect(&mut self, calls: &[Arc<Visible>]) {
        for job in calls.iter().filter_map(|call| call.job) {
            *self.expected.entry(job).or_default() += 1;
        }
    }

    pub(crate) fn arrived(&mut self, now: Timestamp, call: Arc<Visible>, out: &mut Vec<Action>) {
        let job = call.job;
        self.queue.push(&call);
        self.calls.insert(call.number, call);
        let last_of_job = job.filter(|job| {
            self.expected.get_mut(job).is_some_and(|left| {
                *left = left.saturating_sub(1);
                *left == 0
            })
        });
        if let Some(job) = last_of_job {
            let mut ready = Vec::new();
            for call in std::mem::take(&mut self.queue).calls {
                if self.calls[&call].job == Some(job) {
                    ready.push(call);
                } else {
                    self.queue.push(&self.calls[&call]);
                }
            }
            self.launch(now, ready, out);
        }
        if let Some(at) = self.queue.flush_at() {
            self.wake_at(at, out);
        }
    }

    /// Asks for a moment, unless an earlier one that is still to come will ask again.
    fn wake_at(&mut self, at: Timestamp, out: &mut Vec<Action>) {
        if self.woken.is_none_or(|before| at < before) {
            self.woken = Some(at);
            out.push(Action::Wake(at));
        }
    }

    pub(crate) fn wake(&mut self, now: Timestamp, out: &mut Vec<Action>) {
        if self.woken.is_some_and(|at| at <= now) {
            self.woken = None;
        }
        if self.queue.flush_at().is_some_and(|at| at <= now) {
            let queue = std::mem::take(&mut self.queue);
            self.launch(now, queue.calls, out);
        }
        if self.line.is_some_and(|line| line <= now) {
            self.hold_the_line(now, out);
        }
        self.stop_waiting(now, out);
        for at in [self.queue.flush_at(), self.line, self.waits_until()]
            .into_iter()
            .flatten()
        {
            self.wake_at(at, out);
        }
    }

    pub(crate) fn ended(
        &mut self,
        now: Timestamp,
        shard: u32,
        rows: &[(usize, RowFate)],
        out: &mut Vec<Action>,
    ) {
        self.canceling.remove(&shard);
        let Some(shard) = self.shards.remove(&shard) else {
            return;
        };
        self.learn(now, &shard, rows, out);
        let mut again = Vec::new();
        for &(call, fate) in rows {
            match fate {
                RowFate::Answered => {
                    self.calls.remove(&call);
                }
                RowFate::Expired if self.expired.insert(call) => again.push(call),
                RowFate::Expired | RowFate::Canceled => self.give_back([call]),
            }
        }
        if !again.is_empty() {
            self.launch(now, again, out);
        }
        if shard.canary {
            let campaign = &mut self.campaigns[shard.campaign];
            campaign.ahead -= 1;
            if shard.calls.len() == 1 && campaign.ahead == 0 && campaign.alone {
                // A batch of one row ends when that row does: its entry is new.
                campaign.since = now;
            }
            if campaign.ahead == 0 {
                self.go_on(now, shard.campaign, out);
            }
        }
        self.hold_the_line(now, out);
    }

    /// Calls that are given up before they were sent. A batch without any is as good as ended.
    pub(crate) fn declined(&mut self, now: Timestamp, calls: &[usize], out: &mut Vec<Action>) {
        let mut emptied = Vec::new();
        for call in calls {
            self.calls.remove(call);
            let mut shards = self.shards.iter_mut();
            let Some((&number, shard)) = shards.find(|(_, shard)| shard.calls.contains(call))
            else {
                continue;
            };
            shard.calls.retain(|other| other != call);
            if shard.calls.is_empty() {
                emptied.push(number);
            }
        }
        for number in emptied {
            self.ended(now, number, &[], out);
        }
    }

    /// The calls that go out at once now.
    pub(crate) fn due(&mut self, now: Timestamp, out: &mut Vec<Action>) -> Vec<Arc<Visible>> {
        let mut due = Vec::new();
        while self.slot <= now
            && let Some((_, call)) = self.returned.pop_first()
        {
            self.slot = now.max(self.slot) + self.facts.pace;
            due.extend(self.calls.remove(&call));
        }
        if !self.returned.is_empty() {
            self.wake_at(self.slot, out);
        }
        due
    }

    /// Sends calls on their way, model by model.
    fn launch(&mut self, now: Timestamp, calls: Vec<usize>, out: &mut Vec<Action>) {
        let mut by_model: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for call in calls {
            let model = self.calls[&call].model.clone();
            by_model.entry(model).or_default().push(call);
        }
        for (model, calls) in by_model {
            let rows = u64::try_from(calls.len()).unwrap_or(u64::MAX);
            let has_time = |call: &usize| {
                let deadline = self.calls[call].deadline;
                deadline.is_none_or(|at| Timing::of(at - now, rows).allows_canary())
            };
            let (calm, pressed): (Vec<_>, Vec<_>) = calls.into_iter().partition(has_time);
            for calls in [calm, pressed]
                .into_iter()
                .filter(|calls| !calls.is_empty())
            {
                self.launch_model(now, &model, calls, out);
            }
        }
        self.hold_the_line(now, out);
    }

    fn launch_model(
        &mut self,
        now: Timestamp,
        model: &str,
        mut calls: Vec<usize>,
        out: &mut Vec<Action>,
    ) {
        let fact = *self.facts.model(model);
        let Some(batch) = fact.batch else {
            self.give_back(calls);
            return;
        };
        let mut trie = Trie::new();
        let mut ends: HashMap<usize, NodeId> = HashMap::new();
        for call in &calls {
            let visible = &self.calls[call];
            let blocks = visible.blocks.iter().map(Block::prompt);
            ends.insert(*call, trie.insert(visible.at, blocks));
        }
        let segments = trie.contracted(fact.minimum);
        let crossings = warmed_crossings(&segments, &batch);
        // What goes ahead is read a turnaround later, which five minutes seldom outlast.
        let hourly = crossings.into_iter().map(|crossing| Crossing {
            marked_5m: None,
            ..crossing
        });
        let hourly: Vec<Crossing> = hourly.collect();
        let mut marking = best_marks(&segments, &hourly, MAX_BREAKPOINTS);
        if !self.allows_canary(now, &calls) {
            let unmarked = best_marks(&segments, &hourly, 0);
            let warm = best_marks(
                &segments,
                &warmed_crossings(&segments, &fact.sync),
                MAX_BREAKPOINTS,
            );
            let [on_sync, in_batch] = [(&warm, fact.sync), (&unmarked, batch)]
                .map(|(marking, rates)| self.expected_cost(marking, &rates, &calls));
            if on_sync < in_batch {
                self.give_back(calls);
                return;
            }
            marking = unmarked;
        }
        calls.sort_by_cached_key(|call| trie.path(ends[call]));
        // Groups by their topmost marked prefix, neighbours in the trie beside each other.
        let mut groups: Vec<(Option<NodeId>, Vec<Marked>)> = Vec::new();
        for call in calls {
            let path = trie.path(ends[&call]);
            let marks = marking.on_path(&path);
            let nodes: Vec<NodeId> = marks.iter().map(|&(at, _)| path[at]).collect();
            let top = nodes.first().copied();
            let marked = Marked { call, marks, nodes };
            match groups.last_mut() {
                Some((before, rows)) if *before == top => rows.push(marked),
                _ => groups.push((top, vec![marked])),
            }
        }
        let (alone, shared): (Vec<_>, Vec<_>) =
            groups.into_iter().partition(|(top, _)| top.is_none());
        // What shares nothing waits for nobody; the others for the canaries of a few groups at most.
        let together = shared.len().div_ceil(CAMPAIGNS).clamp(1, CANARIES);
        let shared = shared.chunks(together).map(<[_]>::to_vec);
        let mut campaign = |groups: Vec<(Option<NodeId>, Vec<Marked>)>| {
            let rows: Vec<Marked> = groups.into_iter().flat_map(|(_, rows)| rows).collect();
            (!rows.is_empty()).then(|| {
                self.campaigns.push(Campaign::new(now, rows));
                self.campaigns.len() - 1
            })
        };
        let alone = campaign(alone);
        let shared: Vec<usize> = shared.filter_map(campaign).collect();
        if let Some(alone) = alone {
            self.go_on(now, alone, out);
        }
        self.set_out(now, model, shared, out);
    }

    fn expected_cost(&self, marking: &Marking, rates: &Rates, calls: &[usize]) -> Usd {
        // Two fifths of what may be generated, as in every plan.
        let output: u64 = calls
            .iter()
            .map(|c| u64::from(self.calls[c].max_tokens) * 2 / 5)
            .sum();
        marked_cost(marking) + Tokens::new(output).at_rate(rates.output)
    }

    /// Whether there is time for one more batch ahead of that of all these calls.
    fn allows_canary(&self, now: Timestamp, calls: &[usize]) -> bool {
        let deadlines = calls.iter().filter_map(|call| self.calls[call].deadline);
        let rows = u64::try_from(calls.len()).unwrap_or(u64::MAX);
        let earliest = deadlines.min();
        earliest.is_none_or(|deadline| Timing::of(deadline - now, rows).allows_canary())
    }

    /// The next canaries of a campaign, or all that is left of it.
    fn go_on(&mut self, now: Timestamp, number: usize, out: &mut Vec<Action>) {
        let has_time = self.allows_canary(now, &self.campaigns[number].waiting);
        let campaign = &mut self.campaigns[number];
        let stale = campaign.level > 0 && now - campaign.since > FRESH;
        if stale && has_time && campaign.again < AGAIN {
            campaign.again += 1;
            campaign.level = 0;
            campaign.covered.clear();
        } else if stale {
            // Rows that start together and find nothing would all write; but what the canaries
            // themselves read to their end lives.
            campaign.keep_only(campaign.level - 1);
            campaign.level = LEVELS;
        }
        let mut canaries = Vec::new();
        if has_time && campaign.level < LEVELS {
            let parts = campaign.split();
            if !parts.is_empty() {
                self.send_rest(number, out);
                for part in parts {
                    self.campaigns.push(part);
                    self.go_on(now, self.campaigns.len() - 1, out);
                }
                return;
            }
            campaign.level += 1;
            canaries = campaign.take_canaries();
        }
        if canaries.is_empty() {
            self.send_rest(number, out);
            return;
        }
        campaign.since = now;
        campaign.alone = canaries.len() == 1;
        campaign.ahead = canaries.len().div_ceil(CANARIES);
        for calls in canaries.chunks(CANARIES) {
            self.submit(number, calls.to_vec(), true, out);
        }
    }

    fn send_rest(&mut self, number: usize, out: &mut Vec<Action>) {
        let rest = std::mem::take(&mut self.campaigns[number].waiting);
        if rest.is_empty() {
            return;
        }
        let pressed = rest.iter().any(|call| self.calls[call].deadline.is_some());
        let shards = if pressed && rest.len() >= SPREAD_FROM {
            SHARDS
        } else {
            1
        };
        let size = rest.len().div_ceil(shards).min(MAX_ROWS_PER_BATCH);
        for calls in rest.chunks(size) {
            self.submit(number, calls.to_vec(), false, out);
        }
    }

    fn submit(&mut self, campaign: usize, calls: Vec<usize>, canary: bool, out: &mut Vec<Action>) {
        let marks = &self.campaigns[campaign].marks;
        let rows = calls
            .iter()
            .map(|&call| (call, marks.get(&call).cloned().unwrap_or_default()));
        out.push(Action::Flush {
            shard: self.next_shard,
            rows: rows.collect(),
        });
        let shard = Shard {
            campaign,
            calls,
            canary,
        };
        self.shards.insert(self.next_shard, shard);
        self.next_shard += 1;
    }
}

impl Campaign {
    fn new(now: Timestamp, rows: Vec<Marked>) -> Self {
        let mut campaign = Self {
            marks: HashMap::new(),
            marked: HashMap::new(),
            waiting: Vec::with_capacity(rows.len()),
            covered: BTreeSet::new(),
            ahead: 0,
            since: now,
            alone: false,
            level: 0,
            again: 0,
            told: false,
        };
        for Marked { call, marks, nodes } in rows {
            campaign.waiting.push(call);
            campaign.marks.insert(call, marks);
            campaign.marked.insert(call, nodes);
        }
        campaign
    }

    /// The topmost marked prefix of a call that none ahead has had yet.
    fn frontier(&self, call: usize) -> Option<NodeId> {
        let mut marked = self.marked[&call].iter();
        marked.find(|node| !self.covered.contains(node)).copied()
    }

    /// Below the top the groups go on by themselves, a few at a time, so that one slow canary doesn't
    /// hold up all of them; without effect where there are only a few.
    fn split(&mut self) -> Vec<Self> {
        let mut groups: Vec<(NodeId, Vec<usize>)> = Vec::new();
        for &call in &self.waiting {
            let Some(node) = self.frontier(call) else {
                continue;
            };
            match groups.last_mut() {
                Some((before, calls)) if *before == node => calls.push(call),
                _ => groups.push((node, vec![call])),
            }
        }
        let together = groups.len().div_ceil(CAMPAIGNS).clamp(1, CANARIES);
        if self.level == 0 || groups.len() <= together {
            return Vec::new();
        }
        self.waiting.retain(|&call| {
            let mut marked = self.marked[&call].iter();
            marked.all(|node| self.covered.contains(node))
        });
        let part = |groups: &[(NodeId, Vec<usize>)]| {
            let calls = groups.iter().flat_map(|(_, calls)| calls).copied();
            let waiting: Vec<usize> = calls.collect();
            let of = |call: &usize| (*call, self.marks[call].clone());
            Self {
                marks: waiting.iter().map(of).collect(),
                marked: waiting
                    .iter()
                    .map(|call| (*call, self.marked[call].clone()))
                    .collect(),
                waiting,
                covered: self.covered.clone(),
                ahead: 0,
                since: self.since,
                alone: false,
                level: self.level,
                again: 0,
                told: false,
            }
        };
        groups.chunks(together).map(part).collect()
    }

    /// Takes the marks below so many levels away.
    fn keep_only(&mut self, levels: u32) {
        let levels = usize::try_from(levels).unwrap_or(usize::MAX);
        for marks in self.marks.values_mut() {
            marks.truncate(levels);
        }
    }

    /// One call for each topmost marked prefix that no call ahead has yet; it covers its whole path.
    fn take_canaries(&mut self) -> Vec<usize> {
        let mut frontier: BTreeSet<NodeId> = BTreeSet::new();
        let mut chosen = Vec::new();
        for &call in &self.waiting {
            let first = self.frontier(call);
            if first.is_some_and(|node| frontier.insert(node)) {
                chosen.push(call);
            }
        }
        for call in &chosen {
            self.covered.extend(&self.marked[call]);
        }
        let ahead: BTreeSet<usize> = chosen.iter().copied().collect();
        self.waiting.retain(|call| !ahead.contains(call));
        chosen
    }
}
