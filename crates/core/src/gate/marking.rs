//! Which blocks of a call are marked, and for how long.

use offpeak_wire::limits::MAX_BREAKPOINTS;
use offpeak_wire::request::Ttl;

use crate::plan::{NodeId, Turn, conversation_marks};
use crate::units::Timestamp;

use super::cache_gate::CacheGate;
use super::call::{Call, Marks, Role};
use super::stake::{Purpose, worst};

/// A mark that was chosen ahead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Planned {
    pub(super) at: usize,
    pub(super) ttl: Ttl,
    /// The next call with it comes within five minutes, and so in time to renew it.
    pub(super) soon: bool,
}

/// The marks of a call, and whether it would get more of them if it waited for answers under way.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) marks: Marks,
    pub(super) held_back: bool,
}

impl CacheGate {
    /// The marks of a call whose deepest entry is believed to be at block `hit`: what is wished, as
    /// far as every block can bear it.
    pub(super) fn choose(
        &self,
        now: Timestamp,
        call: &Call,
        path: &[NodeId],
        hit: Option<usize>,
    ) -> Choice {
        let mut marks = if self.spread.is_single() {
            self.marks(call, path, hit)
        } else {
            self.spread_marks(now, call, path, hit)
        };
        let wished = marks.last().map(|&(at, _)| at);
        let mut held_back = false;
        while let Some((at, calm)) = self.overcharged(path, &marks, Purpose::Call, hit) {
            let beyond = |&(mark, _): &(usize, Ttl)| mark >= at;
            let hour = |&(_, ttl): &(usize, Ttl)| ttl == Ttl::OneHour;
            if marks.iter().any(|mark| beyond(mark) && hour(mark)) {
                let cut = marks.iter_mut().filter(|mark| mark.0 >= at);
                cut.for_each(|(_, ttl)| *ttl = Ttl::FiveMinutes);
            } else {
                held_back |= calm;
                marks.retain(|mark| !beyond(mark));
            }
        }
        held_back &= marks.last().map(|&(at, _)| at) < wished;
        Choice { marks, held_back }
    }

    /// The first block that can't bear these marks, and whether it could if all answers under way cost
    /// nothing. What is believed to be read, down to block `hit`, is not looked at as long as that
    /// belief is trusted and no other answer of the same prefix is outstanding.
    pub(super) fn overcharged(
        &self,
        path: &[NodeId],
        marks: &Marks,
        purpose: Purpose,
        hit: Option<usize>,
    ) -> Option<(usize, bool)> {
        let trusted = self.spread.is_trusted();
        let rates = &self.rates;
        let sizes = path.iter().map(|&node| self.tokens(node));
        let worst = worst(sizes, marks, purpose, rates);
        let at = worst
            .iter()
            .zip(path)
            .enumerate()
            .position(|(at, (&worst, &node))| {
                let stake = &self.prefixes[node.index()].stake;
                let read = trusted && Some(at) <= hit && !stake.is_waiting();
                let spared = read && stake.bears_read(purpose, self.tokens(node), rates);
                !spared && !stake.bears(worst, self.tokens(node), rates)
            })?;
        let stake = &self.prefixes[path[at].index()].stake;
        let calm = stake.would_bear(worst[at], self.tokens(path[at]), rates);
        Some((at, calm))
    }

    /// The marks of a call when there is one cache.
    fn marks(&self, call: &Call, path: &[NodeId], hit: Option<usize>) -> Marks {
        let beyond = |&(at, _): &(usize, Ttl)| {
            hit.is_none_or(|hit| at > hit) && self.is_long_enough(path[at])
        };
        let chosen: Marks = match self.planned.get(&call.number) {
            Some(planned) => planned.iter().map(|mark| self.written(mark)).collect(),
            None => {
                let ends = self.ends(call, path, hit).into_iter();
                ends.filter_map(|at| Some((at, self.worth(path[at])?)))
                    .collect()
            }
        };
        let mut marks: Marks = chosen.into_iter().filter(beyond).collect();
        // One slot is kept for what is read.
        while marks.len() + usize::from(hit.is_some()) > MAX_BREAKPOINTS {
            marks.remove(marks.len() / 2);
        }
        if let Some(hit) = hit {
            let own = |at: usize| self.prefixes[path[at].index()].entry.map(|entry| entry.ttl);
            // A miss would pay for the hour: not before an answer has read, nor with others awaited.
            let confirmed = self.renews() && self.spread.is_confirmed();
            let renews = confirmed && self.is_calm(path[hit]);
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

    /// The marks of a call when calls are spread over several caches: down to where they are expected
    /// to save most, the upper ones for an hour if that saves more.
    fn spread_marks(
        &self,
        now: Timestamp,
        call: &Call,
        path: &[NodeId],
        hit: Option<usize>,
    ) -> Marks {
        let mut ends = self.ends(call, path, hit);
        ends.extend(hit);
        ends.sort_unstable();
        ends.dedup();
        ends.retain(|&at| self.is_long_enough(path[at]));
        // What all blocks down to each of them save, for five minutes and for an hour.
        let sums = [Ttl::FiveMinutes, Ttl::OneHour].map(|ttl| {
            let mut sum = 0.0;
            let sums = path.iter().map(|&node| {
                sum += self.expected_gain(now, node, ttl) * self.tokens(node) as f64;
                sum
            });
            sums.collect::<Vec<f64>>()
        });
        let saved = |ttl: Ttl, end: Option<usize>| end.map_or(0.0, |at| sums[ttl as usize][at]);
        let mut best = (0.0, None, None);
        let hours = std::iter::once(None).chain(ends.iter().copied().map(Some));
        for hour in hours {
            for last in ends
                .iter()
                .copied()
                .filter(|&at| Some(at) >= hour)
                .map(Some)
            {
                let five = saved(Ttl::FiveMinutes, last) - saved(Ttl::FiveMinutes, hour);
                let saved = saved(Ttl::OneHour, hour) + five;
                if saved > best.0 || (saved >= best.0 && best.2 < last) {
                    best = (saved, hour, last);
                }
            }
        }
        let (_, hour, last) = best;
        ends.retain(|&at| Some(at) <= last);
        while ends.len() > MAX_BREAKPOINTS {
            ends.remove(ends.len() / 2);
        }
        let ttl = |at: usize| {
            if Some(at) <= hour {
                Ttl::OneHour
            } else {
                Ttl::FiveMinutes
            }
        };
        ends.into_iter().map(|at| (at, ttl(at))).collect()
    }

    /// A planned mark as it is written: what the next hit renews for an hour costs no hour's write.
    fn written(&self, mark: &Planned) -> (usize, Ttl) {
        if mark.soon && self.renews() {
            (mark.at, Ttl::FiveMinutes)
        } else {
            (mark.at, mark.ttl)
        }
    }

    /// The blocks that other calls may have as well, down to there: by the parts of a prompt, or where
    /// none are named, the deepest beginning seen before and the whole prompt.
    fn ends(&self, call: &Call, path: &[NodeId], hit: Option<usize>) -> Vec<usize> {
        let blocks = &call.blocks;
        let stable = |at: usize| {
            let role = blocks.get(at).and_then(|block| block.role);
            role.filter(|role| *role != Role::Suffix)
        };
        let named = blocks.iter().any(|block| block.role.is_some());
        if !named {
            let seen = |node: &NodeId| !self.prefixes[node.index()].gaps.is_empty();
            let last = path.len().checked_sub(1);
            let mut ends: Vec<usize> = path
                .iter()
                .rposition(seen)
                .into_iter()
                .chain(last)
                .collect();
            ends.dedup();
            return ends;
        }
        if stable(blocks.len() - 1) == Some(Role::Turn) {
            return conversation_marks(&Turn {
                fixed: (0..blocks.len())
                    .rfind(|&at| stable(at).is_some_and(|role| role != Role::Turn)),
                before: hit,
                end: blocks.len() - 1,
                last: false,
            });
        }
        let ends =
            (0..blocks.len()).filter(|&at| stable(at).is_some() && stable(at) != stable(at + 1));
        ends.collect()
    }

    fn is_long_enough(&self, node: NodeId) -> bool {
        self.trie.node(node).depth >= self.minimum
    }
}
