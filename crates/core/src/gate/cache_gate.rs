//! The gate: a call comes, and goes out with marks, at once or a moment later.
//!
//! Calls of a job are marked by the exact choice over all of them; the others by the parts of their
//! prompts, or where no parts are known, by what came before. A hit renews what it read for an hour at
//! no cost, as long as answers say that such entries are still there.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use offpeak_wire::limits::MAX_BREAKPOINTS;
use offpeak_wire::request::Ttl;

use crate::plan::{NodeId, Trie, Turn, best_marks, conversation_marks, timed_crossings};
use crate::price::Rates;
use crate::units::{Span, Timestamp};

use super::account::{Account, Fate};
use super::belief::{Entry, Prefixes, lifetime};
use super::call::{Act, Block, Call, HELD, Marks, Role};

/// How long before its end an entry is pinged.
const MARGIN: Span = Span::from_secs(20);
/// What is taken as the time until an entry can be read, when marks are chosen ahead.
const AVAILABLE: Span = Span::from_millis(800);

/// The gate of one model.
#[derive(Debug)]
pub struct CacheGate {
    rates: Rates,
    minimum: u64,
    prefixes: Prefixes,
    due: BTreeSet<(Timestamp, NodeId)>,
    /// Calls that wait for an entry, and until when.
    held: Vec<(Arc<Call>, Timestamp)>,
    under_way: HashMap<usize, Flight>,
    pings: HashMap<u64, Flight>,
    pinged: u64,
    planned: HashMap<usize, Vec<Planned>>,
}

/// A call or a ping whose answer has not begun.
#[derive(Debug)]
struct Flight {
    path: Vec<NodeId>,
    marks: Marks,
    /// Tokens that it is believed to read.
    believed: u64,
    /// What each block of the path may lose.
    stakes: Vec<i64>,
}

impl Flight {
    /// What an answer that read so many tokens did with the block at `at`, which ends at `depth`: what
    /// lies beyond is written as the marks say (Anthropic docs, prompt caching).
    fn fate(&self, at: usize, depth: u64, read: u64) -> Fate {
        if depth <= read {
            return Fate::Read;
        }
        written_for(&self.marks, at).map_or(Fate::Plain, Fate::Written)
    }
}

/// The lifetime for which a block is written if nothing is there: the deepest mark of an hour takes
/// everything above it along, and so does the deepest mark of all.
fn written_for(marks: &[(usize, Ttl)], at: usize) -> Option<Ttl> {
    let deepest = |ttl: Ttl| {
        let of = marks.iter().filter(|(_, marked)| *marked == ttl);
        of.map(|(marked, _)| *marked).max()
    };
    if deepest(Ttl::OneHour).is_some_and(|marked| at <= marked) {
        Some(Ttl::OneHour)
    } else {
        deepest(Ttl::FiveMinutes)
            .filter(|marked| at <= *marked)
            .map(|_| Ttl::FiveMinutes)
    }
}

/// A mark that was chosen ahead.
#[derive(Debug, Clone, Copy)]
struct Planned {
    at: usize,
    ttl: Ttl,
    /// The next call with it comes within five minutes, and so in time to renew it.
    soon: bool,
}

/// What can be risked of the marks that are wanted.
enum Afforded {
    These(Marks),
    /// More, once calls under way are answered.
    Later,
}

impl CacheGate {
    /// A gate that has seen nothing, at the synchronous rates of a model that caches prefixes from
    /// `minimum` tokens on.
    #[must_use]
    pub fn new(rates: Rates, minimum: u64) -> Self {
        Self {
            rates,
            minimum,
            prefixes: Prefixes::new(rates),
            due: BTreeSet::new(),
            held: Vec::new(),
            under_way: HashMap::new(),
            pings: HashMap::new(),
            pinged: 0,
            planned: HashMap::new(),
        }
    }

    /// Calls that will come at the times they say: their marks are chosen together. A conversation's
    /// marks move along with it and are not.
    pub fn expect(&mut self, calls: &[Arc<Call>]) {
        let mut trie = Trie::new();
        let ends: Vec<NodeId> = calls
            .iter()
            .map(|call| trie.insert(call.at, call.blocks.iter().map(Block::prompt)))
            .collect();
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
        let path = self.prefixes.path(&call.blocks);
        for (index, &node) in path.iter().enumerate() {
            let like = (call.number, index + 1);
            self.prefixes.used(now, node, like, call.blocks[index].role);
        }
        // Nobody waits for a call that came back from a batch, but its lane must not stop.
        let until = if call.awaited { call.at } else { now } + HELD;
        let held = self.held.len();
        self.decide(now, call, until, out);
        if self.held.len() > held {
            out.push(Act::Wake(until));
        }
    }

    /// The answer of a call began: what it wrote can be read, and its usage says how many prompt tokens
    /// it read.
    pub fn begun(&mut self, now: Timestamp, call: usize, read: u64, out: &mut Vec<Act>) {
        let Some(flight) = self.under_way.remove(&call) else {
            return;
        };
        self.prefixes.trust.saw(flight.believed, read);
        for (at, &node) in flight.path.iter().enumerate() {
            let fate = flight.fate(at, self.prefixes.trie.node(node).depth, read);
            let belief = self.prefixes.of_mut(node);
            belief.account.settle(flight.stakes[at], fate, &self.rates);
            if let Some(entry) = &mut belief.entry
                && entry.writer == Some(call)
            {
                entry.writer = None;
            }
        }
        self.reconsider(now, out);
    }

    /// The answer of a ping came.
    pub fn pinged(&mut self, now: Timestamp, ping: u64, read: u64, out: &mut Vec<Act>) {
        let Some(flight) = self.pings.remove(&ping) else {
            return;
        };
        self.prefixes.trust.saw(flight.believed, read);
        for (at, &node) in flight.path.iter().enumerate() {
            let fate = flight.fate(at, self.prefixes.trie.node(node).depth, read);
            let account = &mut self.prefixes.of_mut(node).account;
            account.settle_ping(flight.stakes[at], fate, &self.rates);
        }
        self.reconsider(now, out);
    }

    /// A moment that was asked for.
    pub fn wake(&mut self, now: Timestamp, out: &mut Vec<Act>) {
        self.reconsider(now, out);
        let later = self
            .due
            .split_off(&(now + Span::from_micros(1), Trie::ROOT));
        let mut ripe: Vec<NodeId> = self.due.iter().map(|&(_, node)| node).collect();
        self.due = later;
        // A deeper ping keeps what lies above it alive as well.
        let depth = |node: NodeId| self.prefixes.trie.node(node).depth;
        ripe.sort_by_key(|&node| std::cmp::Reverse((depth(node), node)));
        for &node in &ripe {
            self.prefixes.of_mut(node).due = None;
        }
        for node in ripe {
            let is_due = self.prefixes.of(node).due.is_none();
            if is_due && self.prefixes.wants_ping(now, node) {
                self.ping(now, node, out);
            }
        }
    }

    fn reconsider(&mut self, now: Timestamp, out: &mut Vec<Act>) {
        for (call, until) in std::mem::take(&mut self.held) {
            self.decide(now, call, until, out);
        }
    }

    /// Sends a call, or holds it back while what it could read is being written.
    fn decide(&mut self, now: Timestamp, call: Arc<Call>, until: Timestamp, out: &mut Vec<Act>) {
        let path = self.prefixes.path(&call.blocks);
        let live = |node: &NodeId| self.prefixes.of(*node).alive(now);
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
        let wanted = self.marks(&call, &path, hit);
        let marks = match self.afforded(wanted, &path, hit) {
            Afforded::These(marks) => marks,
            Afforded::Later if now < until => {
                self.held.push((call, until));
                return;
            }
            Afforded::Later => Marks::new(),
        };
        let believed = hit.filter(|_| !marks.is_empty());
        let flight = Flight {
            believed: believed.map_or(0, |hit| self.prefixes.trie.node(path[hit]).depth),
            stakes: self.stakes(&marks, path.len(), hit),
            marks: marks.clone(),
            path,
        };
        for (&node, &stake) in flight.path.iter().zip(&flight.stakes) {
            self.prefixes.of_mut(node).account.stake_on(stake);
        }
        self.sent(now, call.number, &flight.path, believed, &marks, out);
        self.under_way.insert(call.number, flight);
        out.push(Act::Send {
            call: call.number,
            marks,
        });
    }

    /// What each block may lose by these marks. As long as answers bear the belief out, what is believed
    /// to be there is not at stake.
    fn stakes(&self, marks: &Marks, blocks: usize, hit: Option<usize>) -> Vec<i64> {
        let proven = self.prefixes.trust.is_proven();
        let believed = |at: usize| proven && hit.is_some_and(|hit| at <= hit);
        let stake = |at: usize| {
            let written = written_for(marks, at).filter(|_| !believed(at));
            written.map_or(0, |ttl| Account::stake(ttl, &self.rates))
        };
        (0..blocks).map(stake).collect()
    }

    /// The marks as far as their loss can be borne: rather for a shorter time than not, and rather the
    /// upper ones than none.
    fn afforded(&mut self, wanted: Marks, path: &[NodeId], hit: Option<usize>) -> Afforded {
        let mut later = false;
        let mut marks = wanted;
        let deepest = marks.last().map(|&(at, _)| at);
        while !marks.is_empty() {
            let shorter = marks
                .iter()
                .map(|&(at, _)| (at, Ttl::FiveMinutes))
                .collect();
            for marks in [marks.clone(), shorter] {
                let stakes = self.stakes(&marks, path.len(), hit);
                let all = |bears: fn(&Account, i64, &Rates) -> bool| {
                    path.iter()
                        .zip(&stakes)
                        .enumerate()
                        .all(|(at, (&node, &stake))| {
                            let account = &self.prefixes.of(node).account;
                            let worst =
                                written_for(&marks, at).map(|ttl| Account::stake(ttl, &self.rates));
                            match worst {
                                None => true,
                                // Believed to be there; but should it not be, this call alone must not be
                                // too much.
                                Some(worst) if stake == 0 => {
                                    account.bears_alone(worst, &self.rates)
                                }
                                Some(_) => bears(account, stake, &self.rates),
                            }
                        })
                };
                if all(Account::bears) {
                    return Afforded::These(marks);
                }
                later |= all(Account::may_bear);
            }
            marks.pop();
        }
        if later {
            return Afforded::Later;
        }
        for &node in path.iter().take(deepest.map_or(0, |at| at + 1)) {
            self.prefixes.of_mut(node).account.refuse();
        }
        Afforded::These(marks)
    }

    /// The marks of a call whose deepest entry is believed to be at block `hit`.
    fn marks(&self, call: &Call, path: &[NodeId], hit: Option<usize>) -> Marks {
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
            let own = |at: usize| self.prefixes.of(path[at]).entry.map(|entry| entry.ttl);
            let renews = self.prefixes.trust.is_proven();
            let renewed = |at: usize| {
                let ttl = if renews { Some(Ttl::OneHour) } else { own(at) };
                ttl.map(|ttl| (at, ttl))
            };
            marks.extend(renewed(hit));
            let above = (0..hit).filter(|&at| own(at) == Some(Ttl::FiveMinutes));
            let room = MAX_BREAKPOINTS - marks.len();
            if renews {
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
        if mark.soon && self.prefixes.trust.holds() {
            (mark.at, Ttl::FiveMinutes)
        } else {
            (mark.at, mark.ttl)
        }
    }

    /// Marks by the parts of a prompt: behind each part that other calls may have as well, if it is
    /// worth writing. Without named parts, behind the deepest beginning seen before.
    fn parts(&self, call: &Call, path: &[NodeId], hit: Option<usize>) -> Marks {
        let stable = |at: usize| {
            let role = call.blocks.get(at).and_then(|block| block.role);
            role.filter(|role| *role != Role::Suffix)
        };
        let named = call.blocks.iter().any(|block| block.role.is_some());
        let ends: Vec<usize> = if !named {
            let seen = |node: &NodeId| self.prefixes.of(*node).was_used_again();
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
        let marked = |at: usize| self.prefixes.worth(path[at]).map(|ttl| (at, ttl));
        ends.into_iter().filter_map(marked).collect()
    }

    fn is_long_enough(&self, node: NodeId) -> bool {
        self.prefixes.trie.node(node).depth >= self.minimum
    }

    /// Takes note of what a call does to the entries on its path.
    fn sent(
        &mut self,
        now: Timestamp,
        call: usize,
        path: &[NodeId],
        hit: Option<usize>,
        marks: &Marks,
        out: &mut Vec<Act>,
    ) {
        for (at, node) in path.iter().enumerate() {
            let inside = hit.is_some_and(|hit| at <= hit);
            let mark = marks.iter().find(|(marked, _)| *marked == at);
            let belief = self.prefixes.of_mut(*node);
            let mut entry = belief.alive(now);
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

    fn set_due(&mut self, node: NodeId, out: &mut Vec<Act>) {
        let belief = self.prefixes.of_mut(node);
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
            out.push(Act::Wake(due));
        }
    }

    /// Reads an entry before it dies, if what that may cost can be borne.
    fn ping(&mut self, now: Timestamp, node: NodeId, out: &mut Vec<Act>) {
        let (like, blocks) = self.prefixes.of(node).like;
        let trust = self.prefixes.trust;
        let own = self.prefixes.of(node).entry.map(|entry| entry.ttl);
        let ttl = match own {
            Some(own) if !trust.is_proven() => own,
            _ => Ttl::OneHour,
        };
        let path = self.prefixes.trie.path(node);
        let stake = Account::ping_stake(trust.is_proven(), ttl, &self.rates);
        let bears = |at: &NodeId| {
            let account = &self.prefixes.of(*at).account;
            account.bears_ping(stake, &self.rates)
        };
        if !path.iter().all(bears) {
            return;
        }
        for &at in &path {
            self.prefixes.of_mut(at).account.stake_on(stake);
        }
        self.prefixes.pinged(now, node, ttl);
        for &at in &path {
            if self.prefixes.of(at).alive(now).is_some() {
                self.set_due(at, out);
            }
        }
        let marks = vec![(blocks - 1, ttl)];
        self.pinged += 1;
        out.push(Act::Ping {
            ping: self.pinged,
            like,
            blocks,
            marks: marks.clone(),
        });
        let flight = Flight {
            believed: self.prefixes.trie.node(node).depth,
            stakes: vec![stake; path.len()],
            marks,
            path,
        };
        self.pings.insert(self.pinged, flight);
    }
}
