//! What is believed of one beginning of prompts, and what is known of all that end in the same part.

use std::collections::VecDeque;

use offpeak_wire::request::Ttl;

use crate::plan::Gap;
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
    pub(super) role: Option<Role>,
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
    touched: Timestamp,
    /// The call that wrote it, until its answer begins.
    pub(super) writer: Option<usize>,
}

/// All prefixes that end in the same part of a prompt.
#[derive(Debug, Default)]
pub(super) struct Kind {
    pub(super) seen: u64,
    pub(super) reused: u64,
    pub(super) gaps: VecDeque<Gap>,
    /// Pings without any use after them.
    pub(super) fruitless: u64,
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
    pub(super) fn used(&mut self, now: Timestamp, weight: u64, kind: &mut Kind) {
        match self.last_use {
            None => kind.seen += 1,
            Some(last) => {
                let length = now - last;
                kind.reused += u64::from(self.gaps.is_empty());
                if self.pings > 0 {
                    kind.fruitless = kind.fruitless.saturating_sub(1);
                }
                remember(&mut self.gaps, length, GAPS);
                let gap = Gap {
                    length,
                    ended: true,
                    weight,
                };
                remember(&mut kind.gaps, gap, GAPS_OF_KIND);
            }
        }
        self.last_use = Some(now);
        self.pings = 0;
    }
}
