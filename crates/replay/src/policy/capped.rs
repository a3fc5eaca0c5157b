//! A budget: what a policy may spend.
//!
//! offpeak sets the worst case of every call aside before it is sent and waits for what others give
//! back; what will never fit is given up. The reference policies stop when what they were billed reaches
//! the budget, which answers under way then exceed. Leaves out what is worth being answered first: calls
//! are taken as they come, smaller ones past larger ones that do not fit.

use offpeak_core::gate::{Marks, Purse};
use offpeak_core::price::Rates;
use offpeak_core::units::{Tokens, Usd};
use offpeak_sim::{Lane, Tally};
use offpeak_wire::request::Ttl;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::moves::{Action, Event, Item, RowFate, Visible};

use super::Facts;
use super::apart::{sends, ticket};

/// Between a policy and its budget.
#[derive(Debug)]
pub(crate) struct Capped {
    purse: Purse,
    budget: Usd,
    /// Whether worst cases are set aside.
    reserves: bool,
    facts: Facts,
    calls: BTreeMap<usize, Arc<Visible>>,
    /// What did not fit, in the order in which it was wanted.
    waiting: Vec<Action>,
}

impl Capped {
    pub(crate) fn new(budget: Usd, reserves: bool, facts: Facts) -> Self {
        Self {
            purse: Purse::new(budget),
            budget,
            reserves,
            facts,
            calls: BTreeMap::new(),
            waiting: Vec::new(),
        }
    }

    /// Takes in what happened.
    pub(crate) fn note(&mut self, event: &Event, out: &mut Vec<Action>) {
        match event {
            Event::Arrived(call) => {
                self.calls.insert(call.number, Arc::clone(call));
                return;
            }
            Event::Done {
                item, lane, tally, ..
            } => {
                let (Item::Call(like) | Item::Ping { like, .. }) = *item;
                let price = self.price(like, *lane, tally);
                self.purse.settle(ticket(*item), price);
            }
            // It holds money again when it is sent again.
            Event::Refused { item, .. } => self.purse.release(ticket(*item)),
            Event::Ended { rows, .. } => {
                for (call, fate) in rows {
                    if *fate != RowFate::Answered {
                        self.purse.release(ticket(Item::Call(*call)));
                    }
                }
            }
            _ => return,
        }
        let waiting = std::mem::take(&mut self.waiting);
        self.take(waiting, out);
    }

    /// Lets through what can be paid for.
    pub(crate) fn take(&mut self, wanted: Vec<Action>, out: &mut Vec<Action>) {
        for action in wanted {
            if self.fits(&action) {
                out.push(action);
            } else {
                self.waiting.push(action);
            }
        }
        if self.purse.is_settled() || (!self.reserves && self.purse.spent() >= self.budget) {
            // Nothing comes back any more.
            for action in std::mem::take(&mut self.waiting) {
                self.give_up(action, out);
            }
        }
    }

    fn give_up(&mut self, action: Action, out: &mut Vec<Action>) {
        match action {
            Action::Send { call, .. } => out.push(Action::Decline { call }),
            Action::Flush { shard, rows } => {
                let (fit, rest): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(call, marks)| {
                    let worst = self.worst_of_row(*call, marks);
                    self.reserves && self.purse.hold(ticket(Item::Call(*call)), worst)
                });
                if !fit.is_empty() {
                    out.push(Action::Flush { shard, rows: fit });
                }
                out.extend(rest.into_iter().map(|(call, _)| Action::Decline { call }));
            }
            // Nobody waits for a ping.
            _ => {}
        }
    }

    fn fits(&mut self, action: &Action) -> bool {
        let mut held: Vec<(u64, Usd)> = Vec::new();
        match action {
            Action::Send { call, marks } => {
                let worst = self.worst(*call, Lane::Sync, usize::MAX, marks);
                held.push((ticket(Item::Call(*call)), worst));
            }
            Action::Ping {
                like,
                blocks,
                marks,
                ..
            } => {
                let item = sends(action).expect("a ping is sent");
                held.push((ticket(item), self.worst(*like, Lane::Sync, *blocks, marks)));
            }
            Action::Flush { rows, .. } => {
                let row = |(call, marks): &(usize, Marks)| {
                    (ticket(Item::Call(*call)), self.worst_of_row(*call, marks))
                };
                held.extend(rows.iter().map(row));
            }
            _ => return true,
        }
        if !self.reserves {
            return self.purse.spent() < self.budget;
        }
        let all: Usd = held.iter().map(|(_, worst)| *worst).sum();
        let fits = all <= self.purse.left();
        if fits {
            for (ticket, worst) in held {
                assert!(self.purse.hold(ticket, worst), "all of them fit");
            }
        }
        fits
    }

    /// A row that may have to be answered at once in the end is paid for as if it were.
    fn worst_of_row(&self, call: usize, marks: &Marks) -> Usd {
        let due = self.calls[&call].deadline.is_some();
        let lane = if due { Lane::Sync } else { Lane::Batch };
        self.worst(call, lane, usize::MAX, marks)
    }

    /// The most that the beginning of a call's prompt can cost with these marks, and its answer.
    fn worst(&self, call: usize, lane: Lane, blocks: usize, marks: &Marks) -> Usd {
        let call = &self.calls[&call];
        let whole = blocks >= call.blocks.len();
        let prompt: u64 = call
            .blocks
            .iter()
            .take(blocks)
            .map(|block| u64::from(block.tokens))
            .sum();
        let rates = self.rates(call, lane);
        let rate = match marks.iter().map(|(_, ttl)| *ttl).max() {
            None => rates.input,
            Some(Ttl::FiveMinutes) => rates.write_5m.max(rates.input),
            Some(Ttl::OneHour) => rates.write_1h.max(rates.input),
        };
        let (prompt, output) = if whole {
            (prompt, u64::from(call.max_tokens))
        } else {
            (prompt + u64::from(crate::game::PING_TOKENS), 0)
        };
        Tokens::new(prompt).at_rate(rate) + Tokens::new(output).at_rate(rates.output)
    }

    fn price(&self, call: usize, lane: Lane, tally: &Tally) -> Usd {
        let rates = self.rates(&self.calls[&call], lane);
        let of = |tokens: u32, rate| Tokens::new(tokens.into()).at_rate(rate);
        of(tally.input, rates.input)
            + of(tally.write_5m, rates.write_5m)
            + of(tally.write_1h, rates.write_1h)
            + of(tally.read, rates.read)
            + of(tally.output, rates.output)
    }

    fn rates(&self, call: &Visible, lane: Lane) -> Rates {
        let prompt: u64 = call.blocks.iter().map(|b| u64::from(b.tokens)).sum();
        let rates = self.facts.model(&call.model).at(prompt);
        match lane {
            Lane::Sync => rates.sync,
            Lane::Batch => rates.batch,
        }
    }
}
