//! The gate itself: what happened goes in, acts come out.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use offpeak_wire::limits::MAX_BREAKPOINTS;
use offpeak_wire::request::Ttl;

use crate::plan::{NodeId, Trie, best_marks, timed_crossings};
use crate::price::Rates;
use crate::units::{Span, Timestamp};

use super::call::{Act, Block, Call, HELD, Marks};
use super::marking::{Choice, Planned};
use super::prefix::{Entry, Kind, KindOf, Prefix, Size, lifetime};

use super::spread::Spread;
use super::stake::{Purpose, billed, worst};

/// How long before its end an entry is pinged.
const MARGIN: Span = Span::from_secs(20);
/// What is taken as the time until an entry can be read, when marks are chosen ahead.
pub(super) const AVAILABLE: Span = Span::from_millis(800);

/// The decisions for awaited calls of one model.
#[derive(Debug)]
pub struct CacheGate {
    pub(super) rates: Rates,
    pub(super) minimum: u64,
    pub(super) trie: Trie,
    pub(super) prefixes: Vec<Prefix>,
    pub(super) kinds: HashMap<KindOf, Kind>,
    pub(super) spread: Spread,
    due: BTreeSet<(Timestamp, NodeId)>,
    /// Calls that wait for an answer under way.
    held: Vec<Held>,
    under_way: HashMap<Flight, Outstanding>,
    pub(super) planned: HashMap<usize, Vec<Planned>>,
    pings: u64,
    /// Answers that read what only a renewal kept, and that did not.
    pub(super) kept: u64,
    pub(super) broken: u64,
}

/// A call that waits, and until when.
#[derive(Debug)]
struct Held {
    call: Arc<Call>,
    until: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Flight {
    Call(usize),
    Ping(u64),
}

/// A call or ping whose answer hasn't begun.
#[derive(Debug)]
struct Outstanding {
    sent: Timestamp,
    path: Vec<NodeId>,
    marks: Marks,
    worst: Vec<i128>,
    expected: Option<Expected>,
    /// What was believed of the path before.
    before: Vec<Option<Entry>>,
}

/// The entry that an answer is expected to read.
#[derive(Debug, Clone, Copy)]
struct Expected {
    depth: u64,
    touches: usize,
    sure: bool,
}

impl CacheGate {
    /// A gate that has seen nothing, at the synchronous rates of a model that caches prefixes from
    /// `minimum` tokens on.
    #[must_use]
    pub fn new(rates: Rates, minimum: u64) -> Self {
        Self {
            rates,
            minimum,
            trie: Trie::new(),
            prefixes: vec![Prefix::default()],
            kinds: HashMap::new(),
            spread: Spread::default(),
            due: BTreeSet::new(),
            held: Vec::new(),
            under_way: HashMap::new(),
            planned: HashMap::new(),
            pings: 0,
            kept: 0,
            broken: 0,
        }
    }

    /// Calls that will come at the times they say: their marks are chosen together. A conversation's
    /// marks move along with it and are not.
    pub fn expect(&mut self, calls: &[Arc<Call>]) {
        let mut trie = Trie::new();
        let insert = |call: &Arc<Call>| {
            let blocks = call.blocks.iter().map(Block::prompt);
            trie.insert(call.at, blocks)
        };
        let ends: Vec<NodeId> = calls.iter().map(insert).collect();
        let segments = trie.contracted(self.minimum);
        let grows = segments.list.iter().any(|segment| {
            let above = segment.parent.map(|parent| segments.list[parent].ends);
            segment.ends > 0 && above.is_some_and(|ends| ends > 0)
        });
        if grows {
            return;
        }
        let crossings = timed_crossings(&trie, &segments, &self.rates, AVAILABLE);
        let marking = best_marks(&segments, &crossings, MAX_BREAKPOINTS);
        let mut soon: HashSet<(usize, NodeId)> = HashSet::new();
        for segment in &segments.list {
            for pair in segment.users.windows(2) {
                let [this, next] = [pair[0], pair[1]].map(|call| trie.calls()[call as usize].0);
                let gap = next - this;
                if AVAILABLE <= gap && gap < lifetime(Ttl::FiveMinutes) - MARGIN {
                    soon.insert((pair[0] as usize, segment.node));
                }
            }
        }
        for (index, (call, end)) in calls.iter().zip(ends).enumerate() {
            let path = trie.path(end);
            let marks = marking.on_path(&path).into_iter();
            let marks = marks.map(|(at, ttl)| Planned {
                at,
                ttl,
                soon: soon.contains(&(index, path[at])),
            });
            self.planned.insert(call.number, marks.collect());
        }
    }

    /// A call came.
    pub fn arrived(&mut self, now: Timestamp, call: Arc<Call>, out: &mut Vec<Act>) {
        let path = self.path(&call.blocks);
        for (index, (&node, block)) in path.iter().zip(&call.blocks).enumerate() {
            let size = Size {
                depth: self.trie.node(node).depth,
                tokens: self.tokens(node),
            };
            let prefix = &mut self.prefixes[node.index()];
            prefix.like = (call.number, index + 1);
            if prefix.last_use.is_none() {
                let whole = index + 1 == call.blocks.len();
                prefix.kind = KindOf::new(block.role, whole, size.depth);
            }
            let kind = prefix.kind;
            prefix.used(now, node, size, self.kinds.entry(kind).or_default());
            self.judge(now, kind);
        }
        self.take_up(now, call, out);
    }

    /// A call that was refused goes out again: its prompt was counted when it came.
    pub fn again(&mut self, now: Timestamp, call: Arc<Call>, out: &mut Vec<Act>) {
        self.take_up(now, call, out);
    }

    fn take_up(&mut self, now: Timestamp, call: Arc<Call>, out: &mut Vec<Act>) {
        // Nobody waits for a call that came back from a batch, but its lane must not stop.
        let until = if call.awaited { call.at } else { now } + HELD;
        let held = self.held.len();
        self.decide(now, Held { call, until }, out);
        if self.held.len() > held {
            out.push(Act::Wake(until));
        }
    }

    /// The answer of a call began: what it wrote can be read, and its usage says how many prompt tokens
    /// it read.
    pub fn begun(&mut self, now: Timestamp, call: usize, read: u64, out: &mut Vec<Act>) {
        self.settle(Flight::Call(call), read, Purpose::Call);
        self.reconsider(now, out);
    }

    /// The same of a ping.
    pub fn pinged(&mut self, now: Timestamp, ping: u64, read: u64, out: &mut Vec<Act>) {
        self.settle(Flight::Ping(ping), read, Purpose::Ping);
        self.reconsider(now, out);
    }

    /// A call was refused: it wrote and read nothing, and cost nothing.
    pub fn refused(&mut self, now: Timestamp, call: usize, out: &mut Vec<Act>) {
        for node in self.undo(Flight::Call(call)) {
            self.set_due(node, out);
        }
        self.reconsider(now, out);
    }

    /// The same of a ping. It is not sent again: an upstream that refuses gets no calls that nobody needs.
    pub fn ping_refused(&mut self, ping: u64) {
        for node in self.undo(Flight::Ping(ping)) {
            let prefix = &mut self.prefixes[node.index()];
            if let Some(due) = prefix.due.take() {
                self.due.remove(&(due, node));
            }
        }
    }

    /// Takes back what was believed when this was sent, but for what others touched since; says of which
    /// nodes.
    fn undo(&mut self, flight: Flight) -> Vec<NodeId> {
        let Some(lost) = self.under_way.remove(&flight) else {
            return Vec::new();
        };
        let mut undone = Vec::new();
        let worst = lost.worst.iter().copied().chain(std::iter::repeat(0));
        for ((&node, before), worst) in lost.path.iter().zip(lost.before).zip(worst) {
            let prefix = &mut self.prefixes[node.index()];
            prefix.stake.settle(worst, 0);
            let own = |entry: Entry| {
                let writer = entry.writer.map(Flight::Call) == Some(flight);
                writer || entry.touched == lost.sent
            };
            if prefix.entry.is_some_and(own) {
                let under_way = |call: &usize| self.under_way.contains_key(&Flight::Call(*call));
                prefix.entry = before.map(|mut entry| {
                    entry.writer = entry.writer.filter(under_way);
                    entry
                });
                undone.push(node);
            }
        }
        undone
    }

    /// It is as late as an earlier order asked to be told.
    pub fn wake(&mut self, now: Timestamp, out: &mut Vec<Act>) {
        self.reconsider(now, out);
        let later = self
            .due
            .split_off(&(now + Span::from_micros(1), Trie::ROOT));
        let mut ripe: Vec<NodeId> = self.due.iter().map(|&(_, node)| node).collect();
        self.due = later;
        // A deeper ping keeps what lies above it alive as well.
        ripe.sort_by_key(|&node| std::cmp::Reverse((self.trie.node(node).depth, node)));
        for &node in &ripe {
            self.prefixes[node.index()].due = None;
        }
        for node in ripe {
            let prefix = &self.prefixes[node.index()];
            let alive = prefix.live(now).is_some() && prefix.due.is_none();
            if alive && self.wants_ping(now, node) {
                self.ping(now, node, out);
            }
        }
    }

    /// Takes note of prefixes that didn't come again within five minutes.
    fn judge(&mut self, now: Timestamp, of: KindOf) {
        let Some(kind) = self.kinds.get_mut(&of) else {
            return;
        };
        while let Some((node, tokens)) = kind.grown_up(now) {
            self.prefixes[node.index()].judge(tokens, false, kind);
        }
    }

    pub(super) fn tokens(&self, node: NodeId) -> u64 {
        let of = self.trie.node(node);
        let above = of.parent.map_or(0, |parent| self.trie.node(parent).depth);
        of.depth - above
    }

    /// Whether no answer is awaited that could cost on this prefix, or hits have paid for it anyway.
    pub(super) fn is_calm(&self, node: NodeId) -> bool {
        let path = self.trie.path(node);
        let rates = &self.rates;
        path.iter().all(|&node| {
            let hour = i128::from(rates.write_1h.saturating_sub(rates.input));
            let worst = hour * i128::from(self.tokens(node));
            self.prefixes[node.index()].stake.is_calm(worst)
        })
    }

    fn path(&mut self, blocks: &[Block]) -> Vec<NodeId> {
        let mut at = Trie::ROOT;
        let mut path = Vec::with_capacity(blocks.len());
        for block in blocks {
            at = self.trie.extend(at, [block.prompt()]);
            path.push(at);
        }
        self.prefixes.resize_with(self.trie.len(), Prefix::default);
        path
    }

    fn reconsider(&mut self, now: Timestamp, out: &mut Vec<Act>) {
        for held in std::mem::take(&mut self.held) {
            self.decide(now, held, out);
        }
    }

    /// Sends a call, or holds it back while what it could read is being written, or while answers under
    /// way may still make room for its marks.
    fn decide(&mut self, now: Timestamp, held: Held, out: &mut Vec<Act>) {
        let call = &held.call;
        let path = self.path(&call.blocks);
        let live = |node: &NodeId| self.prefixes[node.index()].live(now);
        let hit = path
            .iter()
            .rposition(|n| live(n).is_some_and(|e| e.writer.is_none()));
        let coming = path
            .iter()
            .rposition(|n| live(n).is_some_and(|e| e.writer.is_some()));
        let Choice { marks, held_back } = self.choose(now, call, &path, hit);
        if (coming > hit || held_back) && now < held.until {
            self.held.push(held);
            return;
        }
        let read = hit.filter(|hit| marks.iter().any(|(at, _)| at == hit));
        self.launch(now, Flight::Call(call.number), &path, read, marks.clone());
        self.note(now, call.number, &path, hit, &marks, out);
        out.push(Act::Send {
            call: call.number,
            marks,
        });
    }

    /// Takes what an answer can cost at worst into the accounts.
    fn launch(
        &mut self,
        now: Timestamp,
        flight: Flight,
        path: &[NodeId],
        read: Option<usize>,
        marks: Marks,
    ) {
        let purpose = match flight {
            Flight::Call(_) => Purpose::Call,
            Flight::Ping(_) => Purpose::Ping,
        };
        let sizes = path.iter().map(|&node| self.tokens(node));
        let worst = worst(sizes, &marks, purpose, &self.rates);
        for (&node, &worst) in path.iter().zip(&worst) {
            self.prefixes[node.index()].stake.risk(worst);
        }
        let expected = read.and_then(|at| {
            let prefix = &self.prefixes[path[at].index()];
            Some(Expected {
                depth: self.trie.node(path[at]).depth,
                touches: prefix.touches(now),
                sure: prefix.entry?.is_sure(now),
            })
        });
        let entries = path.iter().map(|&node| self.prefixes[node.index()].entry);
        let outstanding = Outstanding {
            before: entries.collect(),
            sent: now,
            path: path.to_vec(),
            marks,
            worst,
            expected,
        };
        self.under_way.insert(flight, outstanding);
    }

    /// Learns from an answer.
    fn settle(&mut self, flight: Flight, read: u64, purpose: Purpose) {
        let Some(answer) = self.under_way.remove(&flight) else {
            return;
        };
        let sizes = answer.path.iter().map(|&node| self.tokens(node));
        let costs = billed(sizes, read, &answer.marks, purpose, &self.rates);
        let worst = answer.worst.iter().copied().chain(std::iter::repeat(0));
        for ((&node, cost), worst) in answer.path.iter().zip(costs).zip(worst) {
            self.prefixes[node.index()].stake.settle(worst, cost);
        }
        if let Some(expected) = answer.expected {
            let hit = read >= expected.depth;
            if expected.sure {
                self.spread.observe(expected.touches, hit);
            } else if hit {
                self.kept += 1;
            } else {
                self.broken += 1;
            }
        }
        let Some(&(last, _)) = answer.marks.last() else {
            return;
        };
        let hour = answer.marks.iter().rfind(|(_, ttl)| *ttl == Ttl::OneHour);
        for (at, &node) in answer.path.iter().enumerate().take(last + 1) {
            let was_read = self.trie.node(node).depth <= read;
            let prefix = &mut self.prefixes[node.index()];
            let mut ttl = if hour.is_some_and(|&(hour, _)| at <= hour) {
                Ttl::OneHour
            } else {
                Ttl::FiveMinutes
            };
            if let Some(entry) = &mut prefix.entry {
                if entry.writer.map(Flight::Call) == Some(flight) {
                    entry.writer = None;
                }
                if was_read && entry.ttl == Ttl::OneHour {
                    ttl = entry.ttl;
                }
            }
            prefix.touched(answer.sent, answer.sent + lifetime(ttl));
        }
    }

    /// Takes note of what a call does to the entries on its path.
    fn note(
        &mut self,
        now: Timestamp,
        call: usize,
        path: &[NodeId],
        hit: Option<usize>,
        marks: &Marks,
        out: &mut Vec<Act>,
    ) {
        let reach = marks.last().map(|&(at, _)| at);
        for (at, node) in path.iter().enumerate() {
            let inside = hit.is_some_and(|hit| at <= hit) && Some(at) <= reach;
            let mark = marks.iter().find(|(marked, _)| *marked == at);
            let prefix = &mut self.prefixes[node.index()];
            let mut entry = prefix.live(now);
            if let Some(entry) = entry.as_mut().filter(|_| inside) {
                entry.renewed(now);
            }
            if let Some(&(_, ttl)) = mark {
                let entry = entry.get_or_insert_with(|| Entry::new(now, ttl, Some(call)));
                if ttl == Ttl::OneHour {
                    entry.ttl = ttl;
                }
                entry.renewed(now);
            }
            prefix.entry = entry;
            self.set_due(*node, out);
        }
    }

    fn set_due(&mut self, node: NodeId, out: &mut Vec<Act>) {
        let prefix = &mut self.prefixes[node.index()];
        let due = prefix.entry.map(|entry| entry.dies - MARGIN);
        if due == prefix.due {
            return;
        }
        if let Some(before) = prefix.due {
            self.due.remove(&(before, node));
        }
        prefix.due = due;
        if let Some(due) = due {
            self.due.insert((due, node));
            out.push(Act::Wake(due));
        }
    }

    /// Reads an entry to keep it, for an hour if hits renew for that long and a miss could be borne.
    fn ping(&mut self, now: Timestamp, node: NodeId, out: &mut Vec<Act>) {
        let prefix = &self.prefixes[node.index()];
        let (like, blocks) = prefix.like;
        let own = prefix.entry.map_or(Ttl::FiveMinutes, |entry| entry.ttl);
        let path = self.trie.path(node);
        let longest = if self.renews() { Ttl::OneHour } else { own };
        let affordable = |ttl: &Ttl| {
            let marks = vec![(blocks - 1, *ttl)];
            let charged = self.overcharged(&path, &marks, Purpose::Ping, Some(blocks - 1));
            charged.is_none()
        };
        let Some(ttl) = [longest, Ttl::FiveMinutes].into_iter().find(affordable) else {
            return;
        };
        let marks = vec![(blocks - 1, ttl)];
        self.pings += 1;
        let flight = Flight::Ping(self.pings);
        self.launch(now, flight, &path, Some(blocks - 1), marks.clone());
        out.push(Act::Ping {
            ping: self.pings,
            like,
            blocks,
            marks,
        });
        let prefix = &mut self.prefixes[node.index()];
        if own == ttl || prefix.gaps.is_empty() {
            prefix.pings += 1;
        }
        if prefix.gaps.is_empty() {
            self.kinds.entry(prefix.kind).or_default().fruitless += 1;
        }
        if let Some(entry) = &mut prefix.entry
            && ttl == Ttl::OneHour
        {
            entry.ttl = ttl;
        }
        for at in path {
            if let Some(entry) = &mut self.prefixes[at.index()].entry
                && now < entry.dies
            {
                entry.renewed(now);
                self.set_due(at, out);
            }
        }
    }
}
