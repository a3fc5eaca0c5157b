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

/// A place where prompts branch or end: where a mark can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level {
    /// The one above, by its place in the list.
    pub(super) parent: Option<usize>,
    /// Tokens up to here.
    pub(super) depth: u64,
    /// What a mark for five minutes costs beside the crossing of its tokens, if none stands below it:
    /// a row that goes ahead.
    pub(super) fixed_5m: u128,
    /// The same for an hour.
    pub(super) fixed_1h: u128,
}

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
    let level = |segment: &Segment| Level {
        parent: segment.parent,
        depth: segment.depth,
        fixed_5m: 0,
        fixed_1h: 0,
    };
    let levels: Vec<Level> = segments.list.iter().map(level).collect();
    let (marks, cost) = best_levels(&levels, crossings, most);
    let nodes = segments.list.iter().map(|segment| segment.node);
    let marked = nodes
        .zip(marks)
        .filter_map(|(node, mark)| Some((node, mark?)));
    Marking {
        marks: marked.collect(),
        cost,
    }
}

/// The same over bare levels, parents before their children: the mark of each, and the cost of all.
pub(super) fn best_levels(
    levels: &[Level],
    crossings: &[Crossing],
    most: usize,
) -> (Vec<Option<Ttl>>, u128) {
    assert_eq!(levels.len(), crossings.len(), "one for each level");
    let tree = Tree::new(levels, crossings, most.min(MAX_BREAKPOINTS));
    let solution = tree.solve();
    (tree.read_off(&solution), solution.cost)
}

/// What the calls' prompts cost with a marking whose crossings are in picodollars.
#[must_use]
pub fn marked_cost(marking: &Marking) -> Usd {
    Usd::from_pico(i128::try_from(marking.cost).expect("a bill of less than US$ 1.7e26"))
}

/// More than anything costs: what cannot be.
const NEVER: u128 = u128::MAX / 8;

/// What is done at a level, in one state of the way down to it, if a mark stands there or below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    /// Only below.
    Unmarked,
    /// There.
    Marked {
        ttl: Ttl,
        /// And nowhere below.
        last: bool,
    },
}

/// The best at and below a level, in one state: without any mark and with at least one.
#[derive(Debug, Clone, Copy)]
struct Best {
    bare: u128,
    some: u128,
    choice: Choice,
}

/// What is kept of it for the way back down.
#[derive(Debug, Clone, Copy)]
struct Step {
    choice: Choice,
    /// Having marks is better than having none.
    pays: bool,
}

/// The levels right below one, in one state that is passed on to them.
#[derive(Debug, Clone, Copy)]
struct Below {
    /// Without any mark.
    bare: u128,
    /// Each at its best.
    free: u128,
    /// What it costs more that at least one of them has a mark, and which.
    force: u128,
    forced: u32,
}

impl Below {
    const NONE: Self = Self {
        bare: 0,
        free: 0,
        force: NEVER,
        forced: 0,
    };

    fn take(&mut self, index: u32, best: &Best) {
        let free = best.bare.min(best.some);
        let force = best.some - free;
        self.bare += best.bare;
        self.free += free;
        // Of equals the first in the list, which is taken up last.
        if force <= self.force {
            (self.force, self.forced) = (force, index);
        }
    }

    /// With at least one mark.
    fn some(&self) -> u128 {
        self.free + self.force
    }
}

/// What is wanted of a level and what is below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Free,
    Bare,
    Some,
}

/// The levels with what the recursion needs of them.
struct Tree<'a> {
    levels: &'a [Level],
    crossings: &'a [Crossing],
    most: usize,
    /// What a mark may leave of an hour to those below it: of one lifetime only one answer.
    hours: &'static [bool],
    /// Depths of the candidates above each level, nothing (0) first.
    above: Vec<Vec<u64>>,
    /// Whether a level may be marked.
    candidate: Vec<bool>,
}

/// A state: which candidate above is the deepest marked one, marks used, an hour still allowed.
#[derive(Clone, Copy)]
struct State {
    above: usize,
    used: usize,
    hour: bool,
}

impl State {
    const START: Self = Self {
        above: 0,
        used: 0,
        hour: true,
    };
}

impl<'a> Tree<'a> {
    fn new(list: &'a [Level], crossings: &'a [Crossing], most: usize) -> Self {
        let mut above: Vec<Vec<u64>> = Vec::with_capacity(list.len());
        let mut candidate: Vec<bool> = Vec::with_capacity(list.len());
        for (index, level) in list.iter().enumerate() {
            let depths: Vec<u64> = match level.parent {
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
        let any = |marked: fn(&Crossing) -> Option<u128>| {
            crossings.iter().any(|crossing| marked(crossing).is_some())
        };
        let hours: &[bool] = match (any(|c| c.marked_5m), any(|c| c.marked_1h)) {
            (true, true) => &[false, true],
            (true, false) => &[false],
            (false, _) => &[true],
        };
        Self {
            levels: list,
            crossings,
            most,
            hours,
            above,
            candidate,
        }
    }

    /// The place of a state among those that can be reached: the k-th candidate is the deepest
    /// marked one with at least one mark and at most k.
    fn slot(&self, state: State) -> usize {
        let Some(above) = state.above.checked_sub(1) else {
            return 0;
        };
        let before = if above <= self.most {
            above * (above + 1) / 2
        } else {
            self.most * (self.most + 1) / 2 + (above - self.most) * self.most
        };
        let hour = usize::from(state.hour && self.hours.len() > 1);
        1 + (before + state.used - 1) * self.hours.len() + hour
    }

    /// Those states, in that order.
    fn each_state(&self, levels: usize) -> impl Iterator<Item = State> + use<> {
        let (most, hours) = (self.most, self.hours);
        let later = (1..levels).flat_map(move |above| {
            (1..=most.min(above))
                .flat_map(move |used| hours.iter().map(move |&hour| State { above, used, hour }))
        });
        std::iter::once(State::START).chain(later)
    }

    /// From the leaves up: the best of every level in every state.
    fn solve(&self) -> Solution {
        let count = self.levels.len();
        let mut solution = Solution {
            steps: vec![Vec::new(); count],
            forced: vec![Vec::new(); count],
            cost: 0,
        };
        let mut below: Vec<Vec<Below>> = vec![Vec::new(); count];
        let mut best: Vec<Best> = Vec::new();
        for index in (0..count).rev() {
            let mine = std::mem::take(&mut below[index]);
            let states = self.each_state(self.above[index].len());
            best.clear();
            best.extend(states.map(|state| self.best(index, state, &mine)));
            let step = |best: &Best| Step {
                choice: best.choice,
                pays: best.some < best.bare,
            };
            solution.steps[index] = best.iter().map(step).collect();
            solution.forced[index] = mine.iter().map(|below| below.forced).collect();
            let Some(parent) = self.levels[index].parent else {
                let start = &best[0];
                solution.cost += start.bare.min(start.some);
                continue;
            };
            let of_parent = &mut below[parent];
            if of_parent.is_empty() {
                *of_parent = vec![Below::NONE; best.len()];
            }
            let number = u32::try_from(index).expect("fewer than 2^32 levels");
            for (all, one) in of_parent.iter_mut().zip(&best) {
                all.take(number, one);
            }
        }
        solution
    }

    /// The best at one level in one state, given what is below it.
    fn best(&self, index: usize, state: State, below: &[Below]) -> Best {
        let (level, crossing) = (&self.levels[index], &self.crossings[index]);
        let tokens = u128::from(level.depth - self.above[index][state.above]);
        let after = |state: State| below.get(self.slot(state)).unwrap_or(&Below::NONE);
        let plain = tokens * crossing.plain;
        let unmarked = after(state);
        let mut best = Best {
            bare: plain + unmarked.bare,
            some: (plain + unmarked.some()).min(NEVER),
            choice: Choice::Unmarked,
        };
        if !self.candidate[index] || state.used == self.most {
            return best;
        }
        let hourly = crossing.marked_1h.filter(|_| state.hour);
        let options = [
            (crossing.marked_5m, level.fixed_5m, Ttl::FiveMinutes),
            (hourly, level.fixed_1h, Ttl::OneHour),
        ];
        for (rate, fixed, ttl) in options {
            let Some(rate) = rate else { continue };
            let after = after(self.marked(index, state, ttl));
            let (alone, with_others) = (after.bare + fixed, after.some());
            let cost = tokens * rate + alone.min(with_others);
            if cost < best.some {
                let last = alone <= with_others;
                let choice = Choice::Marked { ttl, last };
                (best.some, best.choice) = (cost, choice);
            }
        }
        best
    }

    /// The state below a level that is marked.
    fn marked(&self, index: usize, state: State, ttl: Ttl) -> State {
        State {
            above: self.above[index].len(),
            used: state.used + 1,
            hour: ttl == Ttl::OneHour,
        }
    }

    /// From the roots down: the marks that were chosen.
    fn read_off(&self, solution: &Solution) -> Vec<Option<Ttl>> {
        let mut passed: Vec<(State, Wanted, usize)> = Vec::with_capacity(self.levels.len());
        let mut marks = vec![None; self.levels.len()];
        for (index, level) in self.levels.iter().enumerate() {
            let (state, wanted) = match level.parent.map(|parent| passed[parent]) {
                None => (State::START, Wanted::Free),
                Some((state, Wanted::Some, forced)) if forced != index => (state, Wanted::Free),
                Some((state, wanted, _)) => (state, wanted),
            };
            let step = &solution.steps[index][self.slot(state)];
            let has_marks = match wanted {
                Wanted::Free => step.pays,
                Wanted::Bare => false,
                Wanted::Some => true,
            };
            let (below, wanted) = match step.choice {
                _ if !has_marks => (state, Wanted::Bare),
                Choice::Unmarked => (state, Wanted::Some),
                Choice::Marked { ttl, last } => {
                    marks[index] = Some(ttl);
                    let wanted = if last { Wanted::Bare } else { Wanted::Some };
                    (self.marked(index, state, ttl), wanted)
                }
            };
            let forced = solution.forced[index].get(self.slot(below));
            passed.push((below, wanted, forced.map_or(0, |&forced| forced as usize)));
        }
        marks
    }
}

/// Every level in every state.
struct Solution {
    steps: Vec<Vec<Step>>,
    /// Of those right below, the one that gets a mark if one has to, by the state passed on.
    forced: Vec<Vec<u32>>,
    cost: u128,
}
