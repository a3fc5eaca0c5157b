//! offpeak's own decision, as far as it goes over traces: what is awaited goes through a door where there
//! are limits (`paced`) and then finds its prefix warm (`offpeak_core::gate`), what can wait goes into
//! batches behind canaries and comes back in time (`patient`). This file only says which call is whose.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use offpeak_core::gate::{Act, CacheGate, Call};
use offpeak_core::plan::Timing;
use offpeak_core::units::Timestamp;
use offpeak_sim::Lane;

use crate::moves::{Action, Event, Item, Visible};

use super::Facts;
use super::paced::{Paced, Released};
use super::patient::Patient;

#[derive(Debug)]
pub(crate) struct Auto {
    facts: Facts,
    /// Where calls are refused.
    doors: Option<Paced>,
    gates: BTreeMap<String, CacheGate>,
    /// The model and the gate's own number of each ping.
    pings: Vec<(String, u64)>,
    patient: Patient,
}

impl Auto {
    /// With a seed for its own dice, where calls are refused.
    pub(crate) fn new(facts: Facts, refused: Option<u64>) -> Self {
        Self {
            doors: refused.map(Paced::new),
            gates: BTreeMap::new(),
            pings: Vec::new(),
            patient: Patient::new(facts.clone()),
            facts,
        }
    }

    pub(crate) fn step(&mut self, now: Timestamp, event: Event, out: &mut Vec<Action>) {
        if let Some(doors) = &mut self.doors {
            doors.note(now, &event);
        }
        match event {
            Event::Job(calls) => self.job(&calls),
            Event::Arrived(call) if self.goes_at_once(now, &call) => {
                self.arrived(now, call, out);
            }
            Event::Arrived(call) => self.patient.arrived(now, call, out),
            Event::Begun { call, read } => {
                self.at_gates(now, out, |gate, acts| gate.begun(now, call, read, acts));
            }
            Event::Pinged { ping, read } => {
                let (model, ping) = self.ping(ping);
                self.at_gate(now, &model, out, |gate, acts| {
                    gate.pinged(now, ping, read, acts);
                });
            }
            Event::Refused {
                item: Item::Call(call),
                ..
            } => self.at_gates(now, out, |gate, acts| gate.refused(now, call, acts)),
            Event::Refused {
                item: Item::Ping { ping, .. },
                ..
            } => {
                let (model, ping) = self.ping(ping);
                self.gate(&model).ping_refused(ping);
            }
            Event::Done {
                item: Item::Call(call),
                lane: Lane::Batch,
                tally,
                ..
            } => self.patient.row_read(call, tally.read.into()),
            Event::Done { .. } => {}
            Event::Ended { shard, rows } => self.patient.ended(now, shard, &rows, out),
            Event::Wake => {
                self.patient.wake(now, out);
                self.at_gates(now, out, |gate, acts| gate.wake(now, acts));
            }
        }
        for call in self.patient.due(now, out) {
            self.arrived(now, call, out);
        }
        self.let_out(now, out);
    }

    /// Calls that it wanted to send, and that are given up.
    pub(crate) fn declined(&mut self, now: Timestamp, calls: &[usize], out: &mut Vec<Action>) {
        for &call in calls {
            if let Some(doors) = &mut self.doors {
                doors.withdrawn(now, call);
            }
            self.at_gates(now, out, |gate, acts| gate.refused(now, call, acts));
        }
        self.patient.declined(now, calls, out);
        self.let_out(now, out);
    }

    fn ping(&self, number: u64) -> (String, u64) {
        let known = usize::try_from(number)
            .ok()
            .and_then(|ping| self.pings.get(ping));
        known
            .cloned()
            .expect("answers are for pings that were sent")
    }

    fn arrived(&mut self, now: Timestamp, call: Arc<Visible>, out: &mut Vec<Action>) {
        if let Some(doors) = &mut self.doors {
            doors.knock(call);
            return;
        }
        let awaited = Arc::new(gate_call(&call));
        self.at_gate(now, &call.model, out, |gate, acts| {
            gate.arrived(now, awaited, acts);
        });
    }

    /// What the doors let out comes to the gates as if it came now: how long it may be held back there
    /// counts from here.
    fn let_out(&mut self, now: Timestamp, out: &mut Vec<Action>) {
        let Some(doors) = &mut self.doors else {
            return;
        };
        for Released { call, again } in doors.let_out(now, out) {
            let awaited = Arc::new(Call {
                at: now,
                ..gate_call(&call)
            });
            self.at_gate(now, &call.model, out, |gate, acts| {
                if again {
                    gate.again(now, awaited, acts);
                } else {
                    gate.arrived(now, awaited, acts);
                }
            });
        }
    }

    fn at_gates(
        &mut self,
        now: Timestamp,
        out: &mut Vec<Action>,
        mut tell: impl FnMut(&mut CacheGate, &mut Vec<Act>),
    ) {
        let models: Vec<String> = self.gates.keys().cloned().collect();
        for model in models {
            self.at_gate(now, &model, out, &mut tell);
        }
    }

    /// Tells something to the gate of a model, and puts what it wants done into the game's words.
    fn at_gate(
        &mut self,
        now: Timestamp,
        model: &str,
        out: &mut Vec<Action>,
        tell: impl FnOnce(&mut CacheGate, &mut Vec<Act>),
    ) {
        let mut acts = Vec::new();
        tell(self.gate(model), &mut acts);
        for act in acts {
            match act {
                Act::Send { call, marks } => out.push(Action::Send { call, marks }),
                Act::Ping { ping, .. } if !self.is_clear(now, model) => {
                    self.gate(model).ping_refused(ping);
                }
                Act::Ping {
                    ping,
                    like,
                    blocks,
                    marks,
                } => {
                    self.pings.push((model.to_owned(), ping));
                    let ping = self.pings.len() as u64 - 1;
                    out.push(Action::Ping {
                        ping,
                        like,
                        blocks,
                        marks,
                    });
                }
                Act::Wake(at) => out.push(Action::Wake(at)),
            }
        }
    }

    /// Whether a ping takes nobody's place.
    fn is_clear(&self, now: Timestamp, model: &str) -> bool {
        let doors = self.doors.as_ref();
        doors.is_none_or(|doors| doors.is_clear(now, model))
    }

    fn gate(&mut self, model: &str) -> &mut CacheGate {
        let fact = self.facts.model(model);
        let gate = self.gates.entry(model.to_owned());
        gate.or_insert_with(|| CacheGate::new(fact.sync, fact.minimum))
    }

    fn job(&mut self, calls: &[Arc<Visible>]) {
        let (waiting, awaited): (Vec<_>, Vec<_>) = calls
            .iter()
            .cloned()
            .partition(|call| call.deferrable && self.facts.model(&call.model).batch.is_some());
        self.patient.expect(&waiting);
        let mut by_model: HashMap<String, Vec<Arc<Call>>> = HashMap::new();
        for call in awaited {
            let of_model = by_model.entry(call.model.clone()).or_default();
            of_model.push(Arc::new(gate_call(&call)));
        }
        for (model, calls) in by_model {
            self.gate(&model).expect(&calls);
        }
    }

    /// Awaited, not sold in batches, or with too little time for one.
    fn goes_at_once(&self, now: Timestamp, call: &Visible) -> bool {
        let no_batch = self.facts.model(&call.model).batch.is_none();
        let hurried = call
            .deadline
            .is_some_and(|deadline| !Timing::of(deadline - now, 1).allows_batch());
        !call.deferrable || no_batch || hurried
    }
}

/// A call as the gate sees it.
fn gate_call(call: &Visible) -> Call {
    Call {
        number: call.number,
        at: call.at,
        blocks: call.blocks.clone(),
        awaited: !call.deferrable,
    }
}
