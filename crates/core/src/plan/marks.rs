//! Where cache marks go: the exact choice over a trie of calls.
//!
//! Every call carries the marks on its path, so a set of marked nodes with their lifetimes decides
//! everything, and what it costs separates at the marks: a call that finds a node warm finds every
//! marked node above it warm. So the best set follows from the best ones below each node, for each
//! marked node above it, each number of marks used and whether an hour's mark is still allowed.
//!
//! Candidates are the ends of a contracted trie's segments: a mark between two of them is worse than
//! one at the next end below, which the same calls read. Leaves out what a node's calls cost when it
//! is marked (the caller's `Crossing`) and conversations, whose marks move (`conversation`).

use std::collections::BTreeMap;

use offpeak_wire::limits::MAX_BREAKPOINTS;
use offpeak_wire::request::Ttl;

use crate::price::Rates;
use crate::units::{Span, Timestamp, Usd};

use super::clairvoyant::lifetime;
use super::trie::{NodeId, Segment, Segments, Trie, cold_arrivals};

/// Marked levels on one path that are looked at, from the top. Prompts have a handful; conversations,
/// which have more, are marked by their own rule.
const LEVELS_MAX: usize = 48;

/// What one token of a segment costs over all calls through it, in any one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crossing {
    /// Calls that end with the segment, when the token is behind the last mark of theirs.
    pub plain: u128,
    /// All calls, when the segment's end is marked for five minutes; `None` if it cannot pay.
    pub marked_5m: Option<u128>,
    /// All calls, when it is marked for an hour.
    pub marked_1h: Option<u128>,
}

/// Marks for the calls of a trie.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Marking {
    /// The marked nodes.
    pub marks: BTreeMap<NodeId, Ttl>,
    /// What the calls' prompts cost with them, in the unit of the crossings. Calls too short to be
    /// cached are not in it.
    pub cost: u128,
}

impl Marking {
    /// The marks on a path, by position.
    #[must_use]
    pub fn on_path(&self, path: &[NodeId]) -> Vec<(usize, Ttl)> {
        let marked = |(index, node): (usize, &NodeId)| Some((index, *self.marks.get(node)?));
        path.iter().enumerate().filter_map(marked).collect()
    }
}

/// The crossings of calls at their times, in picodollars: an entry can be read from `delay` after the
/// call that wrote it.
#[must_use]
pub fn timed_crossings(
    trie: &Trie,
    segments: &Segments,
    rates: &Rates,
    delay: Span,
) -> Vec<Crossing> {
    let one = |segment: &Segment| {
        let at = |&call: &u32| trie.calls()[call as usize].0;
        let arrivals: Vec<Timestamp> = segment.users.iter().map(at).collect();
        crossing(segment, rates, |ttl| {
            cold_arrivals(&arrivals, lifetime(ttl), delay)
        })
    };
    segments.list.iter().map(one).collect()
}

/// The crossings of calls each of whose shared prefixes is written once and then read, as a canary
/// makes sure of; in picodollars.
#[must_use]
pub fn warmed_crossings(segments: &Segments, rates: &Rates) -> Vec<Crossing> {
    let one = |segment: &Segment| crossing(segment, rates, |_| 1);
    segments.list.iter().map(one).collect()
}

/// The crossings of calls that find each prefix warm with a probability, given by segment and
/// lifetime in millionths; in millionths of a picodollar.
#[must_use]
pub fn expected_crossings(
    segments: &Segments,
    rates: &Rates,
    warm_millionths: impl Fn(&Segment, Ttl) -> u32,
) -> Vec<Crossing> {
    let one = |segment: &Segment| {
        let users = segment.users.len() as u128;
        let plain = u128::from(segment.ends) * u128::from(rates.input) * MILLION;
        let marked = |ttl: Ttl| {
            let warm = u128::from(warm_millionths(segment, ttl)).min(MILLION);
            let write = u128::from(super::cost::write_rate(rates, ttl));
            (users > 1).then(|| users * (warm * u128::from(rates.read) + (MILLION - warm) * write))
        };
        Crossing {
            plain,
            marked_5m: marked(Ttl::FiveMinutes),
            marked_1h: marked(Ttl::OneHour),
        }
    };
    segments.list.iter().map(one).collect()
}

const MILLION: u128 = 1_000_000;

fn crossing(segment: &Segment, rates: &Rates, cold: impl Fn(Ttl) -> u64) -> Crossing {
    let users = segment.users.len() as u128;
    let marked = |ttl: Ttl| {
        // A single use is never read again.
        (users > 1).then(|| {
            let cold = u128::from(cold(ttl)).min(users);
            let write = u128::from(super::cost::write_rate(rates, ttl));
            cold * write + (users - cold) * u128::from(rates.read)
        })
    };
    Crossing {
        plain: u128::from(segment.ends) * u128::from(rates.input),
        marked_5m: marked(Ttl::FiveMinutes),
        marked_1h: marked(Ttl::OneHour),
    }
}

/// The cheapest marks with at most `most` on any path, an hour's marks above those of five minutes.
/// `crossings` are in the order of the segments.
#[must_use]
pub fn best_marks(segments: &Segments, crossings: &[Crossing], most: usize) -> Marking {
    assert_eq!(segments.list.len(), crossings.len(), "one for each segment");
    let tree = Tree::new(segments, crossings, most.min(MAX_BREAKPOINTS));
    let (root, choices) = tree.solve();
    let mut marking = Marking {
        marks: BTreeMap::new(),
        cost: root,
    };
    tree.read_off(&choices, &mut marking.marks);
    marking
}

/// What the calls' prompts cost with a marking whose crossings are in picodollars.
#[must_use]
pub fn marked_cost(marking: &Marking) -> Usd {
    Usd::from_pico(i128::try_from(marking.cost).expect("a bill of less than US$ 1.7e26"))
}

/// What is done at a node, for one state of the way down to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Unmarked,
    Marked(Ttl),
}

/// The segments with what the recursion needs of them.
struct Tree<'a> {
    segments: &'a [Segment],
    crossings: &'a [Crossing],
    most: usize,
    /// Depths of the candidates above each segment, nothing (0) first.
    above: Vec<Vec<u64>>,
    /// Whether a segment's end may be marked.
    candidate: Vec<bool>,
}

/// A state: which candidate above is the deepest marked one, marks used, an hour still allowed.
#[derive(Clone, Copy)]
struct State {
    above: usize,
    used: usize,
    hour: bool,
}

impl<'a> Tree<'a> {
    fn new(segments: &'a Segments, crossings: &'a [Crossing], most: usize) -> Self {
        let list = &segments.list;
        let mut above: Vec<Vec<u64>> = Vec::with_capacity(list.len());
        let mut candidate: Vec<bool> = Vec::with_capacity(list.len());
        for (index, segment) in list.iter().enumerate() {
            let depths: Vec<u64> = match segment.parent {
                None => vec![0],
                Some(parent) => {
                    let mut depths: Vec<u64> = above[parent].clone();
                    if candidate[parent] {
                        depths.push(list[parent].depth);
                    }
                    depths
                }
            };
            let crossing = &crossings[index];
            let pays = crossing.marked_5m.is_some() || crossing.marked_1h.is_some();
            candidate.push(pays && depths.len() <= LEVELS_MAX);
            above.push(depths);
        }
        Self {
            segments: list,
            crossings,
            most,
            above,
            candidate,
        }
    }

    fn states(&self, index: usize) -> usize {
        self.above[index].len() * (self.most + 1) * 2
    }

    fn slot(&self, state: State) -> usize {
        (state.above * (self.most + 1) + state.used) * 2 + usize::from(state.hour)
    }

    fn each_state(&self, levels: usize) -> impl Iterator<Item = State> + use<> {
        let most = self.most;
        (0..levels).flat_map(move |above| {
            (0..=most).flat_map(move |used| [false, true].map(|hour| State { above, used, hour }))
        })
    }

    /// From the leaves up: the best cost of the whole, and what to do at each node in each state.
    fn solve(&self) -> (u128, Vec<Vec<Choice>>) {
        let count = self.segments.len();
        // Sums over the children of a segment, for every state that it can pass on.
        let mut below: Vec<Vec<u128>> = vec![Vec::new(); count];
        let mut choices: Vec<Vec<Choice>> = vec![Vec::new(); count];
        let mut root = 0;
        for index in (0..count).rev() {
            let sums = std::mem::take(&mut below[index]);
            let mut costs = vec![0; self.states(index)];
            let mut chosen = vec![Choice::Unmarked; self.states(index)];
            for state in self.each_state(self.above[index].len()) {
                let (cost, choice) = self.best(index, state, &sums);
                costs[self.slot(state)] = cost;
                chosen[self.slot(state)] = choice;
            }
            choices[index] = chosen;
            let Some(parent) = self.segments[index].parent else {
                let start = State {
                    above: 0,
                    used: 0,
                    hour: true,
                };
                root += costs[self.slot(start)];
                continue;
            };
            let total = &mut below[parent];
            if total.is_empty() {
                *total = costs;
            } else {
                total.iter_mut().zip(&costs).for_each(|(sum, c)| *sum += c);
            }
        }
        (root, choices)
    }

    /// The best at one node in one state, given the sums over its children.
    fn best(&self, index: usize, state: State, below: &[u128]) -> (u128, Choice) {
        let crossing = &self.crossings[index];
        let tokens = self.segments[index].depth - self.above[index][state.above];
        let tokens = u128::from(tokens);
        let after = |state: State| below.get(self.slot(state)).copied().unwrap_or(0);
        let mut best = (tokens * crossing.plain + after(state), Choice::Unmarked);
        if !self.candidate[index] || state.used == self.most {
            return best;
        }
        let options = [
            (crossing.marked_5m, Ttl::FiveMinutes),
            (crossing.marked_1h.filter(|_| state.hour), Ttl::OneHour),
        ];
        for (rate, ttl) in options {
            let Some(rate) = rate else { continue };
            let next = State {
                above: self.above[index].len(),
                used: state.used + 1,
                hour: ttl == Ttl::OneHour,
            };
            let cost = tokens * rate + after(next);
            if cost < best.0 {
                best = (cost, Choice::Marked(ttl));
            }
        }
        best
    }

    /// From the roots down: the choices that were made.
    fn read_off(&self, choices: &[Vec<Choice>], marks: &mut BTreeMap<NodeId, Ttl>) {
        let start = State {
            above: 0,
            used: 0,
            hour: true,
        };
        let mut passed: Vec<State> = Vec::with_capacity(self.segments.len());
        for (index, segment) in self.segments.iter().enumerate() {
            let state = segment.parent.map_or(start, |parent| passed[parent]);
            passed.push(match choices[index][self.slot(state)] {
                Choice::Unmarked => state,
                Choice::Marked(ttl) => {
                    marks.insert(segment.node, ttl);
                    State {
                        above: self.above[index].len(),
                        used: state.used + 1,
                        hour: ttl == Ttl::OneHour,
                    }
                }
            });
        }
    }
}
