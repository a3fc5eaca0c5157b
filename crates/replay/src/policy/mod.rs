//! Who decides in a replay: the reference policies, which are what clients commonly do, and `auto`,
//! which is offpeak's own decision. Each has a file; none sees more than `game` lets it. Between a policy
//! and the upstream stand its budget (`capped`) and what it does about refusals (`paced`, `apart`).

mod apart;
mod auto;
mod capped;
mod paced;
mod patient;
mod reference;

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use offpeak_core::plan::LaneRates;
use offpeak_core::price::{Book, Rates};
use offpeak_core::units::{Span, Timestamp};
use serde::{Serialize, Serializer};

use crate::moves::{Action, Event};
use crate::score::{Options, Pressure, lanes};
use crate::trace::Trace;

use apart::Apart;
use auto::Auto;
use capped::Capped;
use reference::Reference;

/// A policy by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyName {
    /// Every call at once, no cache.
    Sync,
    /// Every call at once, its last block marked for five minutes: automatic caching.
    LastBlock5m,
    /// The same for an hour.
    LastBlock1h,
    /// Every call at once, the deepest beginning seen before marked for five minutes.
    Second5m,
    /// Calls that can wait in batches, the others at once; no cache.
    Batch,
    /// The same, with shared beginnings of batches marked for an hour, all rows at once.
    Batch1h,
    /// offpeak's own decision.
    Auto,
}

impl PolicyName {
    /// All, in table order.
    pub const ALL: [Self; 7] = [
        Self::Sync,
        Self::LastBlock5m,
        Self::LastBlock1h,
        Self::Second5m,
        Self::Batch,
        Self::Batch1h,
        Self::Auto,
    ];

    /// The name in options and outputs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::LastBlock5m => "last-block-5m",
            Self::LastBlock1h => "last-block-1h",
            Self::Second5m => "second-5m",
            Self::Batch => "batch",
            Self::Batch1h => "batch+1h",
            Self::Auto => "auto",
        }
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for PolicyName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Takes `sync+5m` and `sync+1h` for automatic caching too.
impl FromStr for PolicyName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = match text {
            "sync+5m" => "last-block-5m",
            "sync+1h" => "last-block-1h",
            other => other,
        };
        let known = Self::ALL.into_iter().find(|policy| policy.as_str() == name);
        known.ok_or_else(|| {
            let all = Self::ALL.map(Self::as_str).join(", ");
            format!("`{text}` is not a policy; the policies are {all}")
        })
    }
}

/// What policies know of a model.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fact {
    pub(crate) sync: Rates,
    /// `None` if it is not sold in batches.
    pub(crate) batch: Option<Rates>,
    pub(crate) minimum: u64,
    /// Prompts above so many tokens have other rates.
    long: Option<(u64, LaneRates)>,
}

impl Fact {
    /// The rates of a prompt of so many tokens.
    fn at(&self, prompt: u64) -> LaneRates {
        match self.long {
            Some((above, rates)) if prompt > above => rates,
            _ => LaneRates {
                sync: self.sync,
                batch: self.batch.unwrap_or(self.sync),
            },
        }
    }
}

/// What policies know of the models of a trace.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    models: HashMap<String, Fact>,
    /// Between two synchronous calls of those that no batch brings in time.
    pub(crate) pace: Span,
}

impl Facts {
    pub(crate) fn of(trace: &Trace, book: &Book, options: &Options) -> Self {
        let mut facts = HashMap::new();
        for call in &trace.calls {
            if facts.contains_key(&call.model) {
                continue;
            }
            let model = book.model(&call.model);
            let model = model.expect("every model of a trace is in the book");
            let lanes = lanes(model, options.prices_at, false);
            let lanes = lanes.expect("every model of a trace has a price");
            let fact = Fact {
                sync: lanes.sync,
                batch: model.batch.then_some(lanes.batch),
                minimum: options.minimum(model),
                long: model
                    .step_above(options.prices_at)
                    .ok()
                    .flatten()
                    .and_then(|above| {
                        Some((above, self::lanes(model, options.prices_at, true).ok()?))
                    }),
            };
            facts.insert(call.model.clone(), fact);
        }
        Self {
            models: facts,
            pace: Span::from_micros(60_000_000 / i64::from(options.sync_per_minute.max(1))),
        }
    }

    pub(crate) fn model(&self, name: &str) -> &Fact {
        self.models
            .get(name)
            .expect("the facts are of the trace that is replayed")
    }
}

/// A policy at work.
#[derive(Debug)]
pub(crate) struct Policy {
    mind: Mind,
    budget: Option<Box<Capped>>,
}

#[derive(Debug)]
enum Mind {
    /// With what its calls do when they are refused, where that happens.
    Reference(Box<Reference>, Option<Box<Apart>>),
    Auto(Box<Auto>),
}

impl Policy {
    pub(crate) fn new(name: PolicyName, facts: &Facts, pressure: &Pressure, seed: u64) -> Self {
        let refused = pressure.refuses().then_some(seed);
        let mind = match name {
            PolicyName::Auto => Mind::Auto(Box::new(Auto::new(facts.clone(), refused))),
            name => Mind::Reference(
                Box::new(Reference::new(name, facts.clone())),
                refused.map(|seed| Box::new(Apart::new(seed))),
            ),
        };
        let own = name == PolicyName::Auto;
        let capped = |budget| Box::new(Capped::new(budget, own, facts.clone()));
        Self {
            mind,
            budget: pressure.budget.map(capped),
        }
    }

    /// One step: something happened, what is to be done?
    pub(crate) fn step(&mut self, now: Timestamp, event: Event, out: &mut Vec<Action>) {
        let (mut own, mut paid) = (Vec::new(), Vec::new());
        if let Some(budget) = &mut self.budget {
            budget.note(&event, &mut paid);
        }
        match &mut self.mind {
            Mind::Reference(reference, apart) => {
                if let Some(apart) = apart {
                    apart.note(now, &event, out);
                }
                reference.step(now, event, &mut own);
            }
            Mind::Auto(auto) => auto.step(now, event, &mut own),
        }
        let Some(budget) = &mut self.budget else {
            return self.mind.send(own, out);
        };
        budget.take(own, &mut paid);
        // Whoever is given up makes room for others, which cost as well.
        let mut told = 0;
        while let Mind::Auto(auto) = &mut self.mind {
            let declined: Vec<usize> = paid[told..].iter().filter_map(declines).collect();
            told = paid.len();
            if declined.is_empty() {
                break;
            }
            let mut more = Vec::new();
            auto.declined(now, &declined, &mut more);
            budget.take(more, &mut paid);
        }
        self.mind.send(paid, out);
    }
}

impl Mind {
    fn send(&mut self, mut actions: Vec<Action>, out: &mut Vec<Action>) {
        match self {
            Self::Reference(_, Some(apart)) => apart.take(actions, out),
            Self::Reference(_, None) | Self::Auto(_) => out.append(&mut actions),
        }
    }
}

fn declines(action: &Action) -> Option<usize> {
    match action {
        Action::Decline { call } => Some(*call),
        _ => None,
    }
}
