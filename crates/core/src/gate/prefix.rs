//! What is believed of one beginning of prompts, and what is known of all that end in the same part.

use std::collections::VecDeque;

use offpeak_wire::request::Ttl;

use crate::plan::{Gap, NodeId};
use crate::units::{Span, Timestamp};

use super::call::Role;
use super::stake::Stake;

/// Gaps that are remembered of one prefix, and of a kind of prefixes.
const GAPS: usize = 64;
const GAPS_OF_KIND: usize = 256;
/// Touches of an entry that are told apart; more of them make no difference.
const TOUCHES: usize = 256;

/// A beginning of prompts: a node of the trie.
#[derive(Debug, Default)]
pub(super) struct Prefix {
    pub(super) entry: Option<Entry>,
    /// When the entries that calls wrote or read here end, each in the cache that the call met.
    touches: VecDeque<Timestamp>,
    pub(super) last_use: Option<Timestamp>,
    pub(super) gaps: VecDeque<Span>,
    /// Pings since the last use.
    pub(super) pings: u64,
    /// A call that has it, and how many of its blocks it is.
    pub(super) like: (usize, usize),
    pub(super) kind: KindOf,
    /// Whether it came again soon is known.
    judged: bool,
    /// When its entry has to be pinged or given up.
    pub(super) due: Option<Timestamp>,
    /// The account of its last block.
    pub(super) stake: Stake,
}

/// An entry that is believed to be in the cache.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) dies: Timestamp,
    pub(super) ttl: Ttl,
    /// The lifetime that was paid for; longer ones came with a hit.
    written: Ttl,
    pub(super) touched: Timestamp,
    /// The call that wrote it, until its answer begins.
    pub(super) writer: Option<usize>,
}

/// What prefixes have in common that are expected to come again alike: long ones do so more rarely than
/// short ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct KindOf {
    role: Option<Role>,
    /// It was a whole prompt when it was first seen.
    whole: bool,
    /// Quadruplings of 2,000 tokens, three at most.
    size: u32,
}

impl KindOf {
    pub(super) fn new(role: Option<Role>, whole: bool, depth: u64) -> Self {
        let size = (depth / 2_000).max(1).ilog2().div_ceil(2).min(3);
        Self { role, whole, size }
    }
}

/// All prefixes of a kind.
#[derive(Debug, Default)]
pub(super) struct Kind {
    pub(super) gaps: VecDeque<Gap>,
    /// Pings without any use after them.
    pub(super) fruitless: u64,
    /// Prefixes of which it isn't known yet whether they come again within five minutes, with the tokens
    /// of their last block.
    young: VecDeque<(Timestamp, NodeId, u64)>,
    /// The same of those of which it is, and of those of them that did.
    judged: u64,
    judged_tokens: u64,
    again_tokens: u64,
}

/// Prefixes of a kind that are looked at before its share of reused ones says anything.
const ENOUGH: u64 = 8;
/// Where the judged ones are too few, so many young ones do.
const ENOUGH_YOUNG: usize = 32;

impl Kind {
    /// The share that came again within five minutes, by tokens; `None` when too little is known. Whoever
    /// still can is left out, as long as there are others.
    pub(super) fn reused(&self) -> Option<f64> {
        let young: u64 = self.young.iter().map(|&(.., tokens)| tokens).sum();
        let all = if self.judged >= ENOUGH {
            self.judged_tokens
        } else if self.young.len() >= ENOUGH_YOUNG {
            self.judged_tokens + young
        } else {
            return None;
        };
        Some(self.again_tokens as f64 / all.max(1) as f64)
    }

    fn judge(&mut self, tokens: u64, again: bool) {
        self.judged += 1;
        self.judged_tokens += tokens;
        self.again_tokens += if again { tokens } else { 0 };
        if self.judged >= 1_024 {
            // What is long ago counts less.
            self.judged /= 2;
            self.judged_tokens /= 2;
            self.again_tokens /= 2;
        }
    }

    /// The next of the young ones whose five minutes are over.
    pub(super) fn grown_up(&mut self, now: Timestamp) -> Option<(NodeId, u64)> {
        let &(seen, node, tokens) = self.young.front()?;
        (now - seen >= lifetime(Ttl::FiveMinutes)).then(|| {
            self.young.pop_front();
            (node, tokens)
        })
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

impl Entry {
    pub(super) fn new(now: Timestamp, ttl: Ttl, writer: Option<usize>) -> Self {
        Self {
            dies: now + lifetime(ttl),
            ttl,
            written: ttl,
            touched: now,
            writer,
        }
    }

    pub(super) fn renewed(&mut self, now: Timestamp) {
        self.touched = self.touched.max(now);
        self.dies = self.dies.max(now + lifetime(self.ttl));
    }

    /// Whether it lives by what is documented, and not only because hits renew for longer than was
    /// paid.
    pub(super) fn is_sure(&self, now: Timestamp) -> bool {
        now < self.touched + lifetime(self.written)
    }
}

impl Prefix {
    /// The entry, if it is believed to live.
    pub(super) fn live(&self, now: Timestamp) -> Option<Entry> {
        self.entry.filter(|entry| now < entry.dies)
    }

    /// How many calls have touched it within the lifetime that this gave it.
    pub(super) fn touches(&self, now: Timestamp) -> usize {
        self.touches.iter().filter(|&&dies| now < dies).count()
    }

    pub(super) fn touched(&mut self, now: Timestamp, dies: Timestamp) {
        while self.touches.front().is_some_and(|&dies| dies <= now) {
            self.touches.pop_front();
        }
        remember(&mut self.touches, dies, TOUCHES);
    }

    /// It is used, again or for the first time.
    pub(super) fn used(&mut self, now: Timestamp, node: NodeId, size: Size, kind: &mut Kind) {
        match self.last_use {
            None => kind.young.push_back((now, node, size.tokens)),
            Some(last) => {
                let length = now - last;
                if length < lifetime(Ttl::FiveMinutes) {
                    self.judge(size.tokens, true, kind);
                }
                if self.pings > 0 {
                    kind.fruitless = kind.fruitless.saturating_sub(1);
                }
                remember(&mut self.gaps, length, GAPS);
                let gap = Gap {
                    length,
                    ended: true,
                    weight: size.depth,
                };
                remember(&mut kind.gaps, gap, GAPS_OF_KIND);
            }
        }
        self.last_use = Some(now);
        self.pings = 0;
    }

    /// It is known whether it came again soon; only the first time counts.
    pub(super) fn judge(&mut self, tokens: u64, again: bool, kind: &mut Kind) {
        if !self.judged {
            self.judged = true;
            kind.judge(tokens, again);
        }
    }
}

/// Tokens of a prefix, and of its last block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) depth: u64,
    pub(super) tokens: u64,
}
