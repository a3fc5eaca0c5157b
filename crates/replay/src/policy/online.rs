//! `auto` for calls that go out at once, of one model: which blocks they mark and for how long, which
//! of them wait a moment for an entry that is being written, and which entries are kept alive.
//!
//! It keeps its own belief of the cache, from what it sent, and checks it against the usage of every
//! answer. Calls of a job are marked by the exact choice over all of them; the others by the parts of
//! their prompts, or where the trace names none, by what came before. A hit renews what it read for an
//! hour at no cost, as long as answers say that such entries are still there.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use offpeak_core::plan::{
    Gap, Habit, NodeId, Survival, Trie, Turn, best_habit, best_marks, conversation_marks,
    ping_limit, ping_pays, timed_crossings, write_on_sighting,
};
use offpeak_core::price::Rates;
use offpeak_core::units::{Span, Timestamp};
use offpeak_wire::limits::MAX_BREAKPOINTS;
use offpeak_wire::request::Ttl;

use crate::game::{Action, HELD, Marks, Visible};
use crate::trace::{Block, Role};

use super::Fact;

/// How long before its end an entry is pinged.
const MARGIN: Span = Span::from_secs(20);
/// What is taken as the time until an entry can be read, when marks are chosen ahead.
const AVAILABLE: Span = Span::from_millis(800);
/// Gaps that are remembered of one prefix, and of a kind of prefixes.
const GAPS: usize = 64;
const GAPS_OF_KIND: usize = 256;
/// Prefixes of a kind that are looked at before its share of reused ones says anything.
const ENOUGH: u64 = 8;
/// Pings on prefixes of a kind nothing is known of, without any use after them, before they end.
const FRUITLESS: u64 = 3;

#[derive(Debug)]
pub(crate) struct Online {
    fact: Fact,
    trie: Trie,
    nodes: Vec<Belief>,
    kinds: HashMap<Option<Role>, Kind>,
    due: BTreeSet<(Timestamp, NodeId)>,
    /// Calls that wait for an entry, and until when.
    held: Vec<(Arc<Visible>, Timestamp)>,
    /// Tokens that a call under way is believed to read, and the nodes it writes.
    under_way: HashMap<usize, (u64, Vec<NodeId>)>,
    planned: HashMap<usize, Vec<Planned>>,
    /// Answers that read what was believed, and that did not.
    kept: u64,
    broken: u64,
}

/// What is believed of one prefix.
#[derive(Debug, Default)]
struct Belief {
    entry: Option<Entry>,
    last_use: Option<Timestamp>,
    gaps: VecDeque<Span>,
    pings: u64,
    /// A call that has it, and how many of its blocks it is.
    like: (usize, usize),
    kind: Option<Role>,
    due: Option<Timestamp>,
}

/// A mark that was chosen ahead.
#[derive(Debug, Clone, Copy)]
struct Planned {
    at: usize,
    ttl: Ttl,
    /// The next call with it comes within five minutes, and so in time to renew it.
    soon: bool,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    dies: Timestamp,
    ttl: Ttl,
    /// The call that wrote it, until its answer begins.
    writer: Option<usize>,
}

impl Entry {
    fn renewed(&mut self, now: Timestamp) {
        self.dies = self.dies.max(now + lifetime(self.ttl));
    }
}

/// What is known of all prefixes that end in the same part of a prompt.
#[derive(Debug, Default)]
struct Kind {
    seen: u64,
    reused: u64,
    gaps: VecDeque<Gap>,
    fruitless: u64,
}

fn lifetime(ttl: Ttl) -> Span {
    Span::from_secs(i64::try_from(ttl.seconds()).unwrap_or(i64::MAX))
}

fn remember<T>(list: &mut VecDeque<T>, item: T, most: usize) {
    if list.len() == most {
        list.pop_front();
    }
    list.push_back(item);
}

impl Online {
    pub(crate) fn new(fact: Fact) -> Self {
        Self {
            fact,
            trie: Trie::new(),
            nodes: vec![Belief::default()],
            kinds: HashMap::new(),
            due: BTreeSet::new(),
            held: Vec::new(),
            under_way: HashMap::new(),
            planned: HashMap::new(),
            kept: 0,
            broken: 0,
        }
    }

    /// Calls that will come at the times they say: their marks are chosen together. A conversation's
    /// marks move along with it and are not.
    pub(crate) fn expect(&mut self, calls: &[Arc<Visible>]) {
        let mut trie = Trie::new();
        let ends: Vec<NodeId> = calls
            .iter()
            .map(|call| trie.insert(call.at, call.blocks.iter().map(Block::prompt)))
            .collect();
        let segments = trie.contracted(self.fact.minimum);
        let grows = segments.list.iter().any(|segment| {
            let above = segment.parent.map(|parent| segments.list[parent].ends);
            segment.ends > 0 && above.is_some_and(|ends| ends > 0)
        });
        if grows {
            return;
        }
        let crossings = timed_crossings(&trie, &segments, &self.fact.sync, AVAILABLE);
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

    pub(crate) fn arrived(&mut self, now: Timestamp, call: Arc<Visible>, out: &mut Vec<Action>) {
        let path = self.path(&call);
        for (index, &node) in path.iter().enumerate() {
            self.used(now, node, (call.number, index + 1), &call.blocks[index]);
        }
        // Nobody waits for a call that came back from a batch, but its lane must not stop.
        let until = if call.deferrable { now } else { call.at } + HELD;
        let held = self.held.len();
        self.decide(now, call, until, out);
        if self.held.len() > held {
            out.push(Action::Wake(until));
        }
    }

    /// The answer of a call began: what it wrote can be read.
    pub(crate) fn begun(&mut self, now: Timestamp, call: usize, read: u64, out: &mut Vec<Action>) {
        let Some((believed, written)) = self.under_way.remove(&call) else {
            return;
        };
        if believed > 0 {
            let counter = if read < believed {
                &mut self.broken
            } else {
                &mut self.kept
            };
            *counter += 1;
        }
        for node in written {
            if let Some(entry) = &mut self.nodes[node.index()].entry
                && entry.writer == Some(call)
            {
                entry.writer = None;
            }
        }
        self.reconsider(now, out);
    }

    pub(crate) fn wake(&mut self, now: Timestamp, out: &mut Vec<Action>) {
        self.reconsider(now, out);
        let later = self
            .due
            .split_off(&(now + Span::from_micros(1), Trie::ROOT));
        let mut ripe: Vec<NodeId> = self.due.iter().map(|&(_, node)| node).collect();
        self.due = later;
        // A deeper ping keeps what lies above it alive as well.
        ripe.sort_by_key(|&node| std::cmp::Reverse((self.trie.node(node).depth, node)));
        for &node in &ripe {
            self.nodes[node.index()].due = None;
        }
        for node in ripe {
            let belief = &self.nodes[node.index()];
            let alive = belief.entry.is_some_and(|entry| now < entry.dies);
            if alive && belief.due.is_none() && self.wants_ping(now, node) {
                self.ping(now, node, out);
            }
        }
    }

    fn reconsider(&mut self, now: Timestamp, out: &mut Vec<Action>) {
        for (call, until) in std::mem::take(&mut self.held) {
            self.decide(now, call, until, out);
        }
    }

    fn path(&mut self, call: &Visible) -> Vec<NodeId> {
        let mut at = Trie::ROOT;
        let mut path = Vec::with_capacity(call.blocks.len());
        for block in &call.blocks {
            at = self.trie.extend(at, [block.prompt()]);
            path.push(at);
        }
        self.nodes.resize_with(self.trie.len(), Belief::default);
        path
    }

    /// A prefix came again, or for the first time.
    fn used(&mut self, now: Timestamp, node: NodeId, like: (usize, usize), block: &Block) {
        let weight = self.trie.node(node).depth;
        let belief = &mut self.nodes[node.index()];
        let kind = self.kinds.entry(block.role).or_default();
        match belief.last_use {
            None => kind.seen += 1,
            Some(last) => {
                let length = now - last;
                kind.reused += u64::from(belief.gaps.is_empty());
                if belief.pings > 0 {
                    kind.fruitless = kind.fruitless.saturating_sub(1);
                }
                remember(&mut belief.gaps, length, GAPS);
                let gap = Gap {
                    length,
                    ended: true,
                    weight,
                };
                remember(&mut kind.gaps, gap, GAPS_OF_KIND);
            }
        }
        belief.last_use = Some(now);
        belief.pings = 0;
        belief.like = like;
        belief.kind = block.role;
    }

    /// Whether hits renew for an hour what was written for less: so it is assumed until answers say
    /// that entries are not where they should be.
    fn renews(&self) -> bool {
        self.broken <= 1 + self.kept / 20
    }

    /// The rates with which habits are compared: an hour costs a write for five minutes and a ping.
    fn rates(&self) -> Rates {
        let rates = self.fact.sync;
        if self.renews() {
            let renewed = rates.write_5m + rates.read;
            Rates {
                write_1h: rates.write_1h.min(renewed),
                ..rates
            }
        } else {
            rates
        }
    }

    /// Sends a call, or holds it back while what it could read is being written.
    fn decide(
        &mut self,
        now: Timestamp,
        call: Arc<Visible>,
        until: Timestamp,
        out: &mut Vec<Action>,
    ) {
        let path = self.path(&call);
        let live = |node: &NodeId| {
            let entry = self.nodes[node.index()].entry;
            entry.filter(|entry| now < entry.dies)
        };
        let hit = path
            .iter()
            .rposition(|n| live(n).is_some_and(|e| e.writer.is_none()));
        let coming = path
            .iter()
            .rposition(|n| live(n).is_some_and(|e| e.writer.is_some()));
        if coming > hit && now < until {
            self.held.push((call, until));
            return;
        }
        let marks = self.marks(&call, &path, hit);
        let believed = hit.map_or(0, |hit| self.trie.node(path[hit]).depth);
        let written = marks.iter().map(|&(at, _)| path[at]).collect();
        self.under_way.insert(call.number, (believed, written));
        self.sent(now, call.number, &path, hit, &marks, out);
        out.push(Action::Send {
            call: call.number,
            marks,
        });
    }

    /// The marks of a call whose deepest entry is believed to be at block `hit`.
    fn marks(&self, call: &Visible, path: &[NodeId], hit: Option<usize>) -> Marks {
        let beyond = |&(at, _): &(usize, Ttl)| {
            hit.is_none_or(|hit| at > hit) && self.is_long_enough(path[at])
        };
        let chosen: Marks = match self.planned.get(&call.number) {
            Some(planned) => planned.iter().map(|mark| self.written(mark)).collect(),
            None => self.parts(call, path, hit),
        };
        let mut marks: Marks = chosen.into_iter().filter(beyond).collect();
        // One slot is kept for what is read.
        while marks.len() + usize::from(hit.is_some()) > MAX_BREAKPOINTS {
            marks.remove(marks.len() / 2);
        }
        if let Some(hit) = hit {
            let own = |at: usize| self.nodes[path[at].index()].entry.map(|entry| entry.ttl);
            let renewed = |at: usize| {
                let ttl = if self.renews() {
                    Some(Ttl::OneHour)
                } else {
                    own(at)
                };
                ttl.map(|ttl| (at, ttl))
            };
            marks.extend(renewed(hit));
            let above = (0..hit).filter(|&at| own(at) == Some(Ttl::FiveMinutes));
            let room = MAX_BREAKPOINTS - marks.len();
            if self.renews() {
                marks.extend(above.filter_map(renewed).take(room));
            }
        }
        marks.sort_unstable_by_key(|&(at, _)| at);
        // An hour's mark may not stand below one of five minutes.
        let mut five = false;
        for (_, ttl) in &mut marks {
            five |= *ttl == Ttl::FiveMinutes;
            if five {
                *ttl = Ttl::FiveMinutes;
            }
        }
        marks
    }

    /// A planned mark as it is written: what the next hit renews for an hour costs no hour's write.
    fn written(&self, mark: &Planned) -> (usize, Ttl) {
        if mark.soon && self.renews() {
            (mark.at, Ttl::FiveMinutes)
        } else {
            (mark.at, mark.ttl)
        }
    }

    /// Marks by the parts of a prompt: behind each part that other calls may have as well, if it is
    /// worth writing. Without named parts, behind the deepest beginning seen before.
    fn parts(&self, call: &Visible, path: &[NodeId], hit: Option<usize>) -> Marks {
        let stable = |at: usize| {
            let role = call.blocks.get(at).and_then(|block| block.role);
            role.filter(|role| *role != Role::Suffix)
        };
        let named = call.blocks.iter().any(|block| block.role.is_some());
        let ends: Vec<usize> = if !named {
            let seen = |node: &NodeId| !self.nodes[node.index()].gaps.is_empty();
            path.iter().rposition(seen).into_iter().collect()
        } else if stable(call.blocks.len() - 1) == Some(Role::Turn) {
            conversation_marks(&Turn {
                fixed: (0..call.blocks.len())
                    .rfind(|&at| stable(at).is_some_and(|role| role != Role::Turn)),
                before: hit,
                end: call.blocks.len() - 1,
                last: false,
            })
        } else {
            let ends = (0..call.blocks.len())
                .filter(|&at| stable(at).is_some() && stable(at) != stable(at + 1));
            ends.collect()
        };
        let marked = |at: usize| self.worth(path[at]).map(|ttl| (at, ttl));
        ends.into_iter().filter_map(marked).collect()
    }

    fn is_long_enough(&self, node: NodeId) -> bool {
        self.trie.node(node).depth >= self.fact.minimum
    }

    /// The lifetime for which a prefix is worth writing now, if it is.
    fn worth(&self, node: NodeId) -> Option<Ttl> {
        let belief = &self.nodes[node.index()];
        let gaps: Vec<Span> = belief.gaps.iter().copied().collect();
        match best_habit(&gaps, &self.rates()) {
            Some((Habit::Plain, _)) => None,
            Some((Habit::Keep { ttl, .. }, _)) => {
                let hour = ttl == Ttl::OneHour && !self.renews();
                Some(if hour { ttl } else { Ttl::FiveMinutes })
            }
            None => {
                let kind = self.kinds.get(&belief.kind)?;
                let Rates {
                    input,
                    write_5m,
                    read,
                    ..
                } = self.fact.sync;
                let saved = kind.reused * input.saturating_sub(read);
                let spent = kind.seen * write_5m.saturating_sub(input);
                let hopeless = kind.seen >= ENOUGH && saved < spent;
                let write = write_on_sighting(Ttl::FiveMinutes, 1) && !hopeless;
                write.then_some(Ttl::FiveMinutes)
            }
        }
    }

    /// Takes note of what a call does to the entries on its path.
    fn sent(
        &mut self,
        now: Timestamp,
        call: usize,
        path: &[NodeId],
        hit: Option<usize>,
        marks: &Marks,
        out: &mut Vec<Action>,
    ) {
        for (at, node) in path.iter().enumerate() {
            let inside = hit.is_some_and(|hit| at <= hit);
            let mark = marks.iter().find(|(marked, _)| *marked == at);
            let belief = &mut self.nodes[node.index()];
            let mut entry = belief.entry.filter(|entry| now < entry.dies);
            if let Some(entry) = entry.as_mut().filter(|_| inside) {
                entry.renewed(now);
            }
            if let Some(&(_, ttl)) = mark {
                let fresh = Entry {
                    dies: now + lifetime(ttl),
                    ttl,
                    writer: Some(call),
                };
                let entry = entry.get_or_insert(fresh);
                if ttl == Ttl::OneHour {
                    entry.ttl = ttl;
                }
                entry.renewed(now);
            }
            belief.entry = entry;
            self.set_due(*node, out);
        }
    }

    fn set_due(&mut self, node: NodeId, out: &mut Vec<Action>) {
        let belief = &mut self.nodes[node.index()];
        let due = belief.entry.map(|entry| entry.dies - MARGIN);
        if due == belief.due {
            return;
        }
        if let Some(before) = belief.due {
            self.due.remove(&(before, node));
        }
        belief.due = due;
        if let Some(due) = due {
            self.due.insert((due, node));
            out.push(Action::Wake(due));
        }
    }

    /// Whether an entry that is about to die is worth a read.
    fn wants_ping(&self, now: Timestamp, node: NodeId) -> bool {
        let belief = &self.nodes[node.index()];
        let Some((entry, last)) = belief.entry.zip(belief.last_use) else {
            return false;
        };
        let renews = self.renews() && entry.ttl == Ttl::FiveMinutes;
        let gaps: Vec<Span> = belief.gaps.iter().copied().collect();
        if let Some((habit, _)) = best_habit(&gaps, &self.rates()) {
            return match habit {
                Habit::Plain => false,
                Habit::Keep { ttl, pings } if ttl == entry.ttl => belief.pings < pings,
                Habit::Keep { ttl, .. } => ttl == Ttl::OneHour && renews,
            };
        }
        let Some(kind) = self.kinds.get(&belief.kind) else {
            return false;
        };
        if kind.gaps.is_empty() {
            return renews && belief.pings == 0 && kind.fruitless < FRUITLESS;
        }
        let gaps: Vec<Gap> = kind.gaps.iter().copied().collect();
        let ttl = if self.renews() {
            Ttl::OneHour
        } else {
            entry.ttl
        };
        let most = ping_limit(&self.fact.sync, entry.ttl, false);
        let pays = ping_pays(&self.fact.sync, ttl, &Survival::of(&gaps), now - last);
        belief.pings < most && pays == Some(true)
    }

    fn ping(&mut self, now: Timestamp, node: NodeId, out: &mut Vec<Action>) {
        let (like, blocks) = self.nodes[node.index()].like;
        let own = self.nodes[node.index()].entry.map(|entry| entry.ttl);
        let renews = self.renews();
        let ttl = if renews {
            Ttl::OneHour
        } else {
            own.unwrap_or(Ttl::FiveMinutes)
        };
        out.push(Action::Ping {
            like,
            blocks,
            marks: vec![(blocks - 1, ttl)],
        });
        let belief = &mut self.nodes[node.index()];
        if own == Some(ttl) || belief.gaps.is_empty() {
            belief.pings += 1;
        }
        if belief.gaps.is_empty() {
            self.kinds.entry(belief.kind).or_default().fruitless += 1;
        }
        if let Some(entry) = &mut belief.entry {
            entry.ttl = ttl;
        }
        for at in self.trie.path(node) {
            if let Some(entry) = &mut self.nodes[at.index()].entry
                && now < entry.dies
            {
                entry.renewed(now);
                self.set_due(at, out);
            }
        }
    }
}
