//! What marks have cost and saved, block by block, and how much more they may lose.
//!
//! A block that was written cost more than plain input, one that was read less. Per token of a block
//! both are known to the picodollar from an answer's usage, so their sum over all calls is what the
//! block has cost beyond no marks at all. Before a call is marked, the worst that can come of it is held
//! against [`Account::allowance`]; so no block ever loses more than twice its input price, and neither
//! does a beginning of prompts, which is a chain of blocks.
//!
//! The second of the two prices is not given out at once: it comes free as plain uses go by, so that a
//! cache that begins to work later is noticed. Leaves out which marks are wanted (`belief`).

use offpeak_wire::request::Ttl;

use crate::plan::cost::write_rate;
use crate::price::Rates;

/// Plain uses of a block after which half of the second allowance is free.
const PATIENCE: i64 = 8;

/// Input prices of a block that are remembered as saved.
const SAVED: i64 = 16;

/// What one block's marks came to, in picodollars per token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// Cost beyond plain input so far; negative is saved.
    lost: i64,
    /// The worst that calls under way can add.
    at_stake: i64,
    /// Uses that were plain because nothing more could be risked.
    refused: i64,
}

/// What became of a block of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Plain,
    Read,
    Written(Ttl),
}

impl Fate {
    fn rate(self, rates: &Rates) -> i64 {
        let rate = match self {
            Self::Plain => rates.input,
            Self::Read => rates.read,
            Self::Written(ttl) => write_rate(rates, ttl),
        };
        i64::try_from(rate).unwrap_or(i64::MAX / 16)
    }
}

impl Account {
    /// What a block loses if its mark writes it.
    pub(super) fn stake(ttl: Ttl, rates: &Rates) -> i64 {
        (Fate::Written(ttl).rate(rates) - Fate::Plain.rate(rates)).max(0)
    }

    /// What a ping loses on a block: a read, or if nothing was there, a write.
    pub(super) fn ping_stake(finds_it: bool, ttl: Ttl, rates: &Rates) -> i64 {
        let fate = if finds_it {
            Fate::Read
        } else {
            Fate::Written(ttl)
        };
        fate.rate(rates)
    }

    /// The most that may be lost by now: one input price, and a share of a second one.
    fn allowance(&self, rates: &Rates) -> i64 {
        let input = Fate::Plain.rate(rates);
        input + input * self.refused / (PATIENCE + self.refused)
    }

    /// Whether so much more can be put at stake, beside what is at stake already.
    pub(super) fn bears(&self, stake: i64, rates: &Rates) -> bool {
        self.lost + self.at_stake + stake <= self.allowance(rates)
    }

    /// The same if everything under way ended without loss.
    pub(super) fn may_bear(&self, stake: i64, rates: &Rates) -> bool {
        self.lost + stake <= self.allowance(rates)
    }

    /// Whether a loss that is not expected could be borne, whatever else is under way.
    pub(super) fn bears_alone(&self, worst: i64, rates: &Rates) -> bool {
        self.lost + worst <= 2 * Fate::Plain.rate(rates)
    }

    /// Whether a ping can be paid for, which may take all of both allowances: it comes before it is
    /// known whether entries are kept at all.
    pub(super) fn bears_ping(&self, stake: i64, rates: &Rates) -> bool {
        self.lost + self.at_stake + stake <= 2 * Fate::Plain.rate(rates)
    }

    pub(super) fn stake_on(&mut self, stake: i64) {
        self.at_stake += stake;
    }

    /// A marked call was answered.
    pub(super) fn settle(&mut self, stake: i64, fate: Fate, rates: &Rates) {
        self.at_stake -= stake;
        self.lose(fate.rate(rates) - Fate::Plain.rate(rates), rates);
    }

    /// A ping was answered: without marks it would not have been sent.
    pub(super) fn settle_ping(&mut self, stake: i64, fate: Fate, rates: &Rates) {
        self.at_stake -= stake;
        self.lose(fate.rate(rates), rates);
    }

    /// What was saved long ago is no licence to lose it again; but a run of long gaps is no reason to
    /// give up what pays.
    fn lose(&mut self, more: i64, rates: &Rates) {
        self.lost = (self.lost + more).max(-SAVED * Fate::Plain.rate(rates));
    }

    /// The block was sent plain for want of anything that could be risked.
    pub(super) fn refuse(&mut self) {
        self.refused += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATES: Rates = Rates {
        input: 3_000_000,
        write_5m: 3_750_000,
        write_1h: 6_000_000,
        read: 300_000,
        output: 15_000_000,
    };

    #[test]
    fn an_hour_may_be_written_at_once_and_five_minutes_four_times() {
        let writes = |ttl| {
            let (mut account, stake) = (Account::default(), Account::stake(ttl, &RATES));
            let mut writes = 0;
            while account.bears(stake, &RATES) {
                account.stake_on(stake);
                account.settle(stake, Fate::Written(ttl), &RATES);
                writes += 1;
            }
            writes
        };
        assert_eq!((writes(Ttl::OneHour), writes(Ttl::FiveMinutes)), (1, 4));
    }

    #[test]
    fn a_second_chance_comes_as_plain_uses_go_by() {
        let stake = Account::stake(Ttl::OneHour, &RATES);
        let mut account = Account::default();
        account.settle(0, Fate::Written(Ttl::OneHour), &RATES);
        let until = |ttl, account: &mut Account| {
            let stake = Account::stake(ttl, &RATES);
            (0..1_000).find(|_| {
                let bears = account.bears(stake, &RATES);
                account.refuse();
                bears
            })
        };
        assert_eq!(until(Ttl::FiveMinutes, &mut account.clone()), Some(3));
        assert_eq!(
            until(Ttl::OneHour, &mut account),
            None,
            "that would be twice its price"
        );
        assert!(account.may_bear(stake - 1_000_000, &RATES));
    }

    fn what() -> impl Strategy<Value = (bool, bool, bool)> {
        any::<(bool, bool, bool)>()
    }

    proptest! {
        /// Whatever the cache does: misses are written, hits are read, pings may miss too.
        #[test]
        fn no_block_loses_more_than_twice_its_price(calls in prop::collection::vec(what(), 0..400)) {
            let mut account = Account::default();
            let input = i64::try_from(RATES.input).unwrap();
            for (hits, hour, ping) in calls {
                let ttl = if hour { Ttl::OneHour } else { Ttl::FiveMinutes };
                let fate = if hits { Fate::Read } else { Fate::Written(ttl) };
                if ping {
                    let stake = Account::ping_stake(false, ttl, &RATES);
                    if account.bears_ping(stake, &RATES) {
                        account.stake_on(stake);
                        account.settle_ping(stake, fate, &RATES);
                    }
                    continue;
                }
                let stake = Account::stake(ttl, &RATES);
                if account.bears(stake, &RATES) {
                    account.stake_on(stake);
                    account.settle(stake, fate, &RATES);
                } else {
                    account.refuse();
                }
                prop_assert!(account.lost <= 2 * input);
            }
        }
    }
}
