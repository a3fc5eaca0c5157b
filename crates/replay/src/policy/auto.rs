//! offpeak's own decision, as far as it goes over traces: what is awaited goes out at once and finds
//! its prefix warm (`offpeak_core::gate`), what can wait goes into batches behind canaries and comes back in time
//! (`patient`). This file only says which call is whose.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use offpeak_core::gate::{Act, CacheGate, Call};
use offpeak_core::plan::Timing;
use offpeak_core::units::Timestamp;

use crate::game::{Action, Event, Visible};

use super::Facts;
use super::patient::Patient;

#[derive(Debug)]
pub(crate) struct Auto {
    facts: Facts,
    gates: BTreeMap<String, CacheGate>,
    /// The model and the gate's own number of each ping.
    pings: Vec<(String, u64)>,
    patient: Patient,
}

impl Auto {
    pub(crate) fn new(facts: Facts) -> Self {
        Self {
            gates: BTreeMap::new(),
            pings: Vec::new(),
            patient: Patient::new(facts.clone()),
            facts,
        }
    }

    pub(crate) fn step(&mut self, now: Timestamp, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Job(calls) => self.job(&calls),
            Event::Arrived(call) if self.goes_at_once(now, &call) => {
                self.arrived(now, &call, out);
            }
            Event::Arrived(call) => self.patient.arrived(now, call, out),
            Event::Begun { call, read } => {
                self.at_gates(out, |gate, acts| gate.begun(now, call, read, acts));
            }
            Event::Pinged { ping, read } => {
                let known = usize::try_from(ping)
                    .ok()
                    .and_then(|ping| self.pings.get(ping));
                let (model, ping) = known
                    .cloned()
                    .expect("answers are for pings that were sent");
                self.at_gate(&model, out, |gate, acts| gate.pinged(now, ping, read, acts));
            }
            Event::Done { .. } | Event::Refused { .. } => {}
            Event::Ended { shard, rows } => self.patient.ended(now, shard, &rows, out),
            Event::Wake => {
                self.patient.wake(now, out);
                self.at_gates(out, |gate, acts| gate.wake(now, acts));
            }
        }
        for call in self.patient.due(now, out) {
            self.arrived(now, &call, out);
        }
    }

    fn arrived(&mut self, now: Timestamp, call: &Visible, out: &mut Vec<Action>) {
        let awaited = Arc::new(gate_call(call));
        self.at_gate(&call.model, out, |gate, acts| {
            gate.arrived(now, awaited, acts);
        });
    }

    fn at_gates(
        &mut self,
        out: &mut Vec<Action>,
        mut tell: impl FnMut(&mut CacheGate, &mut Vec<Act>),
    ) {
        let models: Vec<String> = self.gates.keys().cloned().collect();
        for model in models {
            self.at_gate(&model, out, &mut tell);
        }
    }

    /// Tells something to the gate of a model, and puts what it wants done into the game's words.
    fn at_gate(
        &mut self,
        model: &str,
        out: &mut Vec<Action>,
        tell: impl FnOnce(&mut CacheGate, &mut Vec<Act>),
    ) {
        let mut acts = Vec::new();
        tell(self.gate(model), &mut acts);
        for act in acts {
            out.push(match act {
                Act::Send { call, marks } => Action::Send { call, marks },
                Act::Ping {
                    ping,
                    like,
                    blocks,
                    marks,
                } => {
                    self.pings.push((model.to_owned(), ping));
                    let ping = self.pings.len() as u64 - 1;
                    Action::Ping {
                        ping,
                        like,
                        blocks,
                        marks,
                    }
                }
                Act::Wake(at) => Action::Wake(at),
            });
        }
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
