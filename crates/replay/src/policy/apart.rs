//! How the calls of the reference policies meet an upstream that refuses some of them: each goes again for
//! itself, as the official clients do it.

use std::collections::BTreeMap;

use offpeak_core::gate::Refusal;
use offpeak_core::units::{Span, Timestamp};

use crate::generate::Dice;
use crate::moves::{Action, Event, Item};

/// The official clients' first wait and their longest, and by how much of it, at most, they come early.
const FIRST: Span = Span::from_micros(500_000);
const LONGEST: Span = Span::from_secs(8);
const EARLY_PERCENT: u64 = 25;

/// A number for what was sent.
pub(crate) fn ticket(item: Item) -> u64 {
    match item {
        Item::Call(call) => u64::try_from(call).expect("a number of calls fits u64"),
        Item::Ping { ping, .. } => 1 << 63 | ping,
    }
}

/// What an action sends, if it is a synchronous call.
pub(crate) fn sends(action: &Action) -> Option<Item> {
    match action {
        Action::Send { call, .. } => Some(Item::Call(*call)),
        Action::Ping {
            ping, like, blocks, ..
        } => Some(Item::Ping {
            ping: *ping,
            like: *like,
            blocks: *blocks,
        }),
        _ => None,
    }
}

/// Clients that know nothing of each other.
#[derive(Debug)]
pub(crate) struct Apart {
    on_its_way: BTreeMap<u64, (Action, u32)>,
    waiting: Vec<(Timestamp, u64)>,
    dice: Dice,
}

impl Apart {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            on_its_way: BTreeMap::new(),
            waiting: Vec::new(),
            dice: Dice::new(seed),
        }
    }

    /// Lets through what the policy wants.
    pub(crate) fn take(&mut self, wanted: Vec<Action>, out: &mut Vec<Action>) {
        for action in wanted {
            if let Some(item) = sends(&action) {
                self.on_its_way.insert(ticket(item), (action.clone(), 0));
            }
            out.push(action);
        }
    }

    /// Takes in what happened, and lets go again what has waited long enough.
    pub(crate) fn note(&mut self, now: Timestamp, event: &Event, out: &mut Vec<Action>) {
        match event {
            Event::Done { item, .. } => {
                self.on_its_way.remove(&ticket(*item));
            }
            Event::Refused { item, why } => {
                let ticket = ticket(*item);
                let sent = self.on_its_way.get_mut(&ticket);
                let (_, failures) = sent.expect("refusals are of what was sent");
                let failed = *failures;
                *failures += 1;
                let (Refusal::Limited { retry_after } | Refusal::Overloaded { retry_after }) = *why;
                let at = now + retry_after.unwrap_or_else(|| self.wait(failed));
                self.waiting.push((at, ticket));
                out.push(Action::Wake(at));
            }
            Event::Wake => {
                let due = |(at, _): &mut (Timestamp, u64)| *at <= now;
                for (_, ticket) in self.waiting.extract_if(.., due) {
                    out.push(self.on_its_way[&ticket].0.clone());
                }
            }
            _ => {}
        }
    }

    fn wait(&mut self, failed: u32) -> Span {
        let wait = Span::from_micros(FIRST.as_micros() << failed.min(8)).min(LONGEST);
        let early = i64::try_from(self.dice.below(EARLY_PERCENT + 1)).expect("a percentage");
        Span::from_micros(wait.as_micros() * (100 - early) / 100)
    }
}
