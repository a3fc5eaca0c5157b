//! What a block has cost above its plain price, and what it may still cost: the account that keeps a
//! gate from losing more than twice a prefix. Amounts are picodollars.

use offpeak_wire::request::Ttl;

use crate::price::Rates;

use super::call::Marks;

/// A block may cost so many times its plain price more than it would without any mark.
const LIMIT: i128 = 2;
/// Plain tokens of a ping behind what it reads: a prompt has to end in a message.
pub(super) const PING_TOKENS: u64 = 4;

/// The account of one block over all calls that had it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stake {
    /// What answers cost above plain; below zero where hits paid.
    lost: i128,
    /// The worst that answers under way can add.
    at_risk: i128,
}

/// Who pays: a call would have cost its plain price anyway, a ping nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Call,
    Ping,
}

impl Purpose {
    fn plain(self, rates: &Rates) -> u64 {
        match self {
            Self::Call => rates.input,
            Self::Ping => 0,
        }
    }
}

fn above(rate: u64, plain: u64, tokens: u64) -> i128 {
    (i128::from(rate) - i128::from(plain)) * i128::from(tokens)
}

/// What a token of the block at `at` costs if it isn't read: the deepest mark of an hour takes
/// everything above it along, and so does the deepest mark of all (Anthropic docs, prompt caching).
fn unread(at: usize, marks: &Marks, rates: &Rates) -> u64 {
    let hour = marks.iter().rfind(|(_, ttl)| *ttl == Ttl::OneHour);
    if hour.is_some_and(|&(hour, _)| at <= hour) {
        rates.write_1h
    } else if marks.last().is_some_and(|&(last, _)| at <= last) {
        rates.write_5m
    } else {
        rates.input
    }
}

/// What a ping costs beside what it reads; its last block pays.
fn placeholder(purpose: Purpose, rates: &Rates) -> i128 {
    match purpose {
        Purpose::Call => 0,
        Purpose::Ping => above(rates.input, 0, PING_TOKENS),
    }
}

/// The worst that each block of a prompt can cost above plain, from the top down to the deepest mark:
/// nothing is read, and everything written.
pub(super) fn worst(
    tokens: impl Iterator<Item = u64>,
    marks: &Marks,
    purpose: Purpose,
    rates: &Rates,
) -> Vec<i128> {
    let blocks = marks.last().map_or(0, |&(at, _)| at + 1);
    let of = |(at, tokens): (usize, u64)| {
        let rate = unread(at, marks, rates).max(rates.read);
        above(rate, purpose.plain(rates), tokens).max(0)
    };
    let mut worst: Vec<i128> = tokens.take(blocks).enumerate().map(of).collect();
    if let Some(last) = worst.last_mut() {
        *last += placeholder(purpose, rates);
    }
    worst
}

/// What each block of a prompt came to above plain when the first `read` tokens were read.
pub(super) fn billed(
    tokens: impl Iterator<Item = u64>,
    read: u64,
    marks: &Marks,
    purpose: Purpose,
    rates: &Rates,
) -> Vec<i128> {
    let plain = purpose.plain(rates);
    let mut left = read;
    let of = |(at, tokens): (usize, u64)| {
        let hit = tokens.min(left);
        left -= hit;
        above(rates.read, plain, hit) + above(unread(at, marks, rates), plain, tokens - hit)
    };
    let mut costs: Vec<i128> = tokens.enumerate().map(of).collect();
    if let Some(last) = costs.last_mut() {
        *last += placeholder(purpose, rates);
    }
    costs
}

impl Stake {
    /// Whether a block of so many tokens can bear so much more, with what is under way at its worst. As
    /// long as hits have not paid, no more than half of the limit is risked at a time: answers that all
    /// miss together would teach no more than some of them.
    pub(super) fn bears(&self, worst: i128, tokens: u64, rates: &Rates) -> bool {
        let plain = above(rates.input, 0, tokens);
        let at_once = self.at_risk == 0 || self.lost <= 0 || self.at_risk + worst <= plain;
        worst <= 0 || (at_once && self.lost + self.at_risk + worst <= LIMIT * plain)
    }

    /// Whether it can bear what is trusted to be a read.
    pub(super) fn bears_read(&self, purpose: Purpose, tokens: u64, rates: &Rates) -> bool {
        let read = above(rates.read, purpose.plain(rates), tokens).max(0);
        self.lost + read + placeholder(purpose, rates) <= LIMIT * above(rates.input, 0, tokens)
    }

    /// The same if everything under way came back for nothing.
    pub(super) fn would_bear(&self, worst: i128, tokens: u64, rates: &Rates) -> bool {
        let calm = Self {
            at_risk: 0,
            ..*self
        };
        calm.bears(worst, tokens, rates)
    }

    /// Whether an answer is outstanding that could cost.
    pub(super) fn is_waiting(&self) -> bool {
        self.at_risk > 0
    }

    /// Whether no answer is outstanding, or hits have paid for that much more anyway.
    pub(super) fn is_calm(&self, worst: i128) -> bool {
        self.at_risk == 0 || self.lost + self.at_risk + worst <= 0
    }

    pub(super) fn risk(&mut self, worst: i128) {
        self.at_risk += worst;
    }

    /// An answer came back: what it could have cost is replaced by what it did.
    pub(super) fn settle(&mut self, worst: i128, cost: i128) {
        self.at_risk -= worst;
        self.lost += cost;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATES: Rates = Rates {
        input: 1_000,
        write_5m: 1_250,
        write_1h: 2_000,
        read: 100,
        output: 5_000,
    };

    #[test]
    fn eight_writes_for_five_minutes_or_two_for_an_hour() {
        for (ttl, most) in [(Ttl::FiveMinutes, 8), (Ttl::OneHour, 2)] {
            let mut stake = Stake::default();
            let worst = worst([10].into_iter(), &vec![(0, ttl)], Purpose::Call, &RATES)[0];
            let mut writes = 0;
            while stake.bears(worst, 10, &RATES) {
                stake.risk(worst);
                stake.settle(worst, worst);
                writes += 1;
            }
            assert_eq!(writes, most);
        }
    }

    #[test]
    fn a_bill_is_shared_out_from_the_top() {
        let marks = vec![(1, Ttl::OneHour), (2, Ttl::FiveMinutes)];
        let costs = billed([10; 4].into_iter(), 15, &marks, Purpose::Call, &RATES);
        // 10 read; 5 read and 5 written for an hour; 10 for five minutes; 10 plain.
        assert_eq!(costs, [-9_000, -4_500 + 5_000, 2_500, 0]);
        let ping = vec![(0, Ttl::FiveMinutes)];
        let costs = billed([10].into_iter(), 10, &ping, Purpose::Ping, &RATES);
        assert_eq!(costs, [1_000 + 4_000], "a read, and four tokens");
    }

    proptest! {
        #[test]
        fn nothing_is_worse_than_the_worst(
            sizes in prop::collection::vec(1u64..5_000, 1..6), hour: bool, ping: bool, read in 0usize..6,
        ) {
            let last = sizes.len() - 1;
            let ttl = if hour { Ttl::OneHour } else { Ttl::FiveMinutes };
            let purpose = if ping { Purpose::Ping } else { Purpose::Call };
            let marks = vec![(last, ttl)];
            let worst = worst(sizes.iter().copied(), &marks, purpose, &RATES);
            let hit: u64 = sizes.iter().take(read).sum();
            let costs = billed(sizes.iter().copied(), hit, &marks, purpose, &RATES);
            for (cost, worst) in costs.iter().zip(&worst) {
                prop_assert!(cost <= worst);
            }
        }
    }
}
