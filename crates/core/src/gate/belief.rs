//! What is believed of prefixes: which entries live, how they are used, and what they are worth.
//!
//! A prefix that was used before is judged by its own gaps, one that was not by those of its kind:
//! prefixes that end in the same part of a prompt. Leaves out what is sent when (`cache_gate`) and how
//! much may be lost (`account`).

use std::collections::{HashMap, VecDeque};

use offpeak_wire::request::Ttl;

use crate::plan::{
    Gap, Habit, NodeId, Survival, Trie, best_habit, ping_limit, ping_pays, write_on_sighting,
};
use crate::price::Rates;
use crate::units::{Span, Timestamp};

use super::account::Account;
use super::call::{Block, Role};

/// Gaps that are remembered of one prefix, and of a kind of prefixes.
const GAPS: usize = 64;
const GAPS_OF_KIND: usize = 256;
/// Prefixes of a kind that are looked at before its share of reused ones says anything.
const ENOUGH: u64 = 8;
/// Gaps of a prefix that say that it is to be kept alive, and gaps that say for how long.
const SEEN: usize = 3;
const SURE: usize = 16;
/// Pings on prefixes of a kind nothing is known of, without any use after them, before they end.
const FRUITLESS: u64 = 3;

/// Answers that read what was believed, before it is relied upon.
const PROVEN: u64 = 3;

/// What is believed of one prefix.
#[derive(Debug, Default)]
pub(super) struct Belief {
    pub(super) entry: Option<Entry>,
    pub(super) account: Account,
    /// A call that has it, and how many of its blocks it is.
    pub(super) like: (usize, usize),
    pub(super) due: Option<Timestamp>,
    last_use: Option<Timestamp>,
    gaps: VecDeque<Span>,
    pings: u64,
    kind: Option<Role>,
}

impl Belief {
    pub(super) fn was_used_again(&self) -> bool {
        !self.gaps.is_empty()
    }

    /// The entry, if it lives.
    pub(super) fn alive(&self, now: Timestamp) -> Option<Entry> {
        self.entry.filter(|entry| now < entry.dies)
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) dies: Timestamp,
    pub(super) ttl: Ttl,
    /// The call that wrote it, until its answer begins.
    pub(super) writer: Option<usize>,
}

impl Entry {
    pub(super) fn renewed(&mut self, now: Timestamp) {
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

/// How answers bear out what was believed of the cache.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Trust {
    /// Answers that read what was believed, and that did not.
    kept: u64,
    broken: u64,
}

impl Trust {
    pub(super) fn saw(&mut self, believed: u64, read: u64) {
        if read < believed {
            self.broken += 1;
        } else if believed > 0 {
            self.kept += 1;
        }
    }

    /// Entries are where they should be, and a hit renews for an hour what was written for less: so it
    /// is assumed until answers say otherwise.
    pub(super) fn holds(self) -> bool {
        self.broken * 20 <= self.kept
    }

    /// It holds, and it was seen to: until then a hit that does not come must not cost more than a
    /// write for five minutes, and only few may be tried at once.
    pub(super) fn is_proven(self) -> bool {
        self.holds() && self.kept >= PROVEN
    }
}

pub(super) fn lifetime(ttl: Ttl) -> Span {
    Span::from_secs(i64::try_from(ttl.seconds()).unwrap_or(i64::MAX))
}

fn remember<T>(list: &mut VecDeque<T>, item: T, most: usize) {
    if list.len() == most {
        list.pop_front();
    }
    list.push_back(item);
}

/// All prefixes seen so far.
#[derive(Debug)]
pub(super) struct Prefixes {
    pub(super) trie: Trie,
    pub(super) trust: Trust,
    rates: Rates,
    nodes: Vec<Belief>,
    kinds: HashMap<Option<Role>, Kind>,
}

impl Prefixes {
    pub(super) fn new(rates: Rates) -> Self {
        Self {
            trie: Trie::new(),
            trust: Trust::default(),
            rates,
            nodes: vec![Belief::default()],
            kinds: HashMap::new(),
        }
    }

    pub(super) fn of(&self, node: NodeId) -> &Belief {
        &self.nodes[node.index()]
    }

    pub(super) fn of_mut(&mut self, node: NodeId) -> &mut Belief {
        &mut self.nodes[node.index()]
    }

    /// The nodes of a prompt's beginnings, from the shortest.
    pub(super) fn path(&mut self, blocks: &[Block]) -> Vec<NodeId> {
        let mut at = Trie::ROOT;
        let mut path = Vec::with_capacity(blocks.len());
        for block in blocks {
            at = self.trie.extend(at, [block.prompt()]);
            path.push(at);
        }
        self.nodes.resize_with(self.trie.len(), Belief::default);
        path
    }

    /// A prefix came again, or for the first time.
    pub(super) fn used(
        &mut self,
        now: Timestamp,
        node: NodeId,
        like: (usize, usize),
        role: Option<Role>,
    ) {
        let weight = self.trie.node(node).depth;
        let belief = &mut self.nodes[node.index()];
        let kind = self.kinds.entry(role).or_default();
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
        belief.kind = role;
    }

    /// The rates with which habits are compared: an hour costs a write for five minutes and a ping.
    fn habit_rates(&self) -> Rates {
        let rates = self.rates;
        if !self.trust.holds() {
            return rates;
        }
        let renewed = rates.write_5m + rates.read;
        Rates {
            write_1h: rates.write_1h.min(renewed),
            ..rates
        }
    }

    /// What would have paid in the gaps of a prefix; `None` without any. To watch gaps costs nothing, so
    /// entries are not kept alive over gaps longer than a lifetime before some were seen; and as long as
    /// there are few, the longest of them is not taken for the longest there is.
    fn habit(&self, belief: &Belief) -> Option<Habit> {
        let gaps: Vec<Span> = belief.gaps.iter().copied().collect();
        let (habit, _) = best_habit(&gaps, &self.habit_rates())?;
        Some(match habit {
            Habit::Keep { pings: 1.., .. } if gaps.len() < SEEN => Habit::Plain,
            Habit::Keep { ttl, pings } if pings > 0 && gaps.len() < SURE => {
                let half = ping_limit(&self.rates, ttl, false) / 2;
                let pings = pings.max(half);
                Habit::Keep { ttl, pings }
            }
            habit => habit,
        })
    }

    /// The lifetime for which a prefix is worth writing now, if it is.
    pub(super) fn worth(&self, node: NodeId) -> Option<Ttl> {
        let belief = self.of(node);
        match self.habit(belief) {
            Some(Habit::Plain) => None,
            Some(Habit::Keep { ttl, .. }) => {
                let hour = ttl == Ttl::OneHour && !self.trust.holds();
                Some(if hour { ttl } else { Ttl::FiveMinutes })
            }
            None => {
                let kind = self.kinds.get(&belief.kind)?;
                let Rates {
                    input,
                    write_5m,
                    read,
                    ..
                } = self.rates;
                let saved = kind.reused * input.saturating_sub(read);
                let spent = kind.seen * write_5m.saturating_sub(input);
                let hopeless = kind.seen >= ENOUGH && saved < spent;
                let write = write_on_sighting(Ttl::FiveMinutes, 1) && !hopeless;
                write.then_some(Ttl::FiveMinutes)
            }
        }
    }

    /// Whether an entry that is about to die is worth a read.
    pub(super) fn wants_ping(&self, now: Timestamp, node: NodeId) -> bool {
        let belief = self.of(node);
        let Some((entry, last)) = belief.alive(now).zip(belief.last_use) else {
            return false;
        };
        let renews = self.trust.holds() && entry.ttl == Ttl::FiveMinutes;
        if let Some(habit) = self.habit(belief) {
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
        let ttl = if self.trust.holds() {
            Ttl::OneHour
        } else {
            entry.ttl
        };
        let most = ping_limit(&self.rates, entry.ttl, false);
        let pays = ping_pays(&self.rates, ttl, &Survival::of(&gaps), now - last);
        belief.pings < most && pays == Some(true)
    }

    /// A ping went out for an entry, which it keeps for so long.
    pub(super) fn pinged(&mut self, now: Timestamp, node: NodeId, ttl: Ttl) {
        let belief = &mut self.nodes[node.index()];
        let own = belief.entry.map(|entry| entry.ttl);
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
            }
        }
    }
}
