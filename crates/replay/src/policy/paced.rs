//! The doors that offpeak's own calls go through where an upstream refuses some of them
//! (`offpeak_core::gate::Door`): one for each model, as limits are not shared by all of them.
//!
//! A call waits here before it comes to the cache gate: what it marks is chosen when it goes. Leaves out
//! pings, which never wait: where somebody does, there are none.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use offpeak_core::gate::{Door, Next, Used};
use offpeak_core::units::Timestamp;

use crate::generate::Dice;
use crate::moves::{Action, Event, Item, Visible};

use super::apart::ticket;

/// A call that may go.
#[derive(Debug)]
pub(crate) struct Released {
    pub(crate) call: Arc<Visible>,
    /// It was refused before.
    pub(crate) again: bool,
}

/// A call without an answer.
#[derive(Debug)]
struct Open {
    call: Arc<Visible>,
    refused: bool,
}

#[derive(Debug)]
pub(crate) struct Paced {
    doors: BTreeMap<String, Door>,
    calls: HashMap<usize, Open>,
    dice: Dice,
    /// The next moment that was asked for.
    woken: Option<Timestamp>,
}

impl Paced {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            doors: BTreeMap::new(),
            calls: HashMap::new(),
            dice: Dice::new(seed),
            woken: None,
        }
    }

    /// A call wants out.
    pub(crate) fn knock(&mut self, call: Arc<Visible>) {
        let door = self.doors.entry(call.model.clone()).or_default();
        door.knock(ticket(Item::Call(call.number)));
        let number = call.number;
        let refused = false;
        self.calls.insert(number, Open { call, refused });
    }

    /// Takes in what happened to a call that was let out.
    pub(crate) fn note(&mut self, now: Timestamp, event: &Event) {
        match event {
            Event::Done {
                item: item @ Item::Call(call),
                tally,
                limits,
                ..
            } => {
                // What came in a batch never stood here.
                let Some(open) = self.calls.remove(call) else {
                    return;
                };
                let uncached = tally.prompt() - u64::from(tally.read);
                let used = Used {
                    uncached_tokens: uncached,
                    output_tokens: tally.output.into(),
                };
                door(&mut self.doors, &open).answered(now, ticket(*item), used, limits);
            }
            Event::Refused {
                item: item @ Item::Call(call),
                why,
            } => {
                let open = self.calls.get_mut(call);
                let open = open.expect("what is refused was let out here");
                open.refused = true;
                let dice = &mut self.dice;
                let dice: &mut dyn FnMut() -> f64 = &mut || dice.uniform();
                door(&mut self.doors, open).refused(now, ticket(*item), *why, dice);
            }
            Event::Wake if self.woken.is_some_and(|at| at <= now) => self.woken = None,
            _ => {}
        }
    }

    /// A call that was let out is given up.
    pub(crate) fn withdrawn(&mut self, now: Timestamp, call: usize) {
        if let Some(open) = self.calls.remove(&call) {
            door(&mut self.doors, &open).withdrawn(now, ticket(Item::Call(call)));
        }
    }

    /// The calls that go now.
    pub(crate) fn let_out(&mut self, now: Timestamp, out: &mut Vec<Action>) -> Vec<Released> {
        let mut released = Vec::new();
        for door in self.doors.values_mut() {
            loop {
                match door.next(now) {
                    Next::Pass(ticket) => {
                        let number = usize::try_from(ticket).expect("a ticket is a call's number");
                        let open = &self.calls[&number];
                        released.push(Released {
                            call: Arc::clone(&open.call),
                            again: open.refused,
                        });
                        continue;
                    }
                    Next::At(at) if self.woken.is_none_or(|woken| at < woken) => {
                        self.woken = Some(at);
                        out.push(Action::Wake(at));
                    }
                    Next::At(_) | Next::Later => {}
                }
                break;
            }
        }
        released
    }

    /// Whether a ping of this model takes nobody's place.
    pub(crate) fn is_clear(&self, now: Timestamp, model: &str) -> bool {
        let door = self.doors.get(model);
        door.is_none_or(|door| door.is_clear(now))
    }
}

fn door<'d>(doors: &'d mut BTreeMap<String, Door>, open: &Open) -> &'d mut Door {
    let door = doors.get_mut(&open.call.model);
    door.expect("a call came through the door of its model")
}
