//! offpeak's own decision, as far as it goes over traces: what is awaited goes out at once and finds
//! its prefix warm (`online`), what can wait goes into batches behind canaries and comes back in time
//! (`patient`). This file only says which call is whose.

use std::collections::HashMap;
use std::sync::Arc;

use offpeak_core::plan::Timing;
use offpeak_core::units::Timestamp;

use crate::game::{Action, Event, Visible};

use super::Facts;
use super::online::Online;
use super::patient::Patient;

#[derive(Debug)]
pub(crate) struct Auto {
    facts: Facts,
    online: HashMap<String, Online>,
    patient: Patient,
}

impl Auto {
    pub(crate) fn new(facts: Facts) -> Self {
        Self {
            online: HashMap::new(),
            patient: Patient::new(facts.clone()),
            facts,
        }
    }

    pub(crate) fn step(&mut self, now: Timestamp, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Job(calls) => self.job(&calls),
            Event::Arrived(call) if self.goes_at_once(now, &call) => {
                self.online(&call.model).arrived(now, call, out);
            }
            Event::Arrived(call) => self.patient.arrived(now, call, out),
            Event::Begun { call, read } => {
                for online in self.online.values_mut() {
                    online.begun(now, call, read, out);
                }
            }
            Event::Ended { shard, rows } => self.patient.ended(now, shard, &rows, out),
            Event::Wake => {
                self.patient.wake(now, out);
                for online in self.online.values_mut() {
                    online.wake(now, out);
                }
            }
        }
        for call in self.patient.due(now, out) {
            self.online(&call.model).arrived(now, call, out);
        }
    }

    fn online(&mut self, model: &str) -> &mut Online {
        let fact = self.facts.model(model);
        let online = self.online.entry(model.to_owned());
        online.or_insert_with(|| Online::new(*fact))
    }

    fn job(&mut self, calls: &[Arc<Visible>]) {
        let (waiting, awaited): (Vec<_>, Vec<_>) = calls
            .iter()
            .cloned()
            .partition(|call| call.deferrable && self.facts.model(&call.model).batch.is_some());
        self.patient.expect(&waiting);
        let mut by_model: HashMap<String, Vec<Arc<Visible>>> = HashMap::new();
        for call in awaited {
            by_model.entry(call.model.clone()).or_default().push(call);
        }
        for (model, calls) in by_model {
            self.online(&model).expect(&calls);
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
