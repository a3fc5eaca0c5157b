//! What clients commonly do: send everything at once, with or without automatic caching, or put into
//! batches whatever can wait. A batch's rows that nobody answered are sent at once; deadlines are left
//! to luck.

use std::collections::HashMap;
use std::sync::Arc;

use offpeak_core::gate::Marks;
use offpeak_core::plan::{NodeId, Trie};
use offpeak_core::units::{Span, Timestamp};
use offpeak_wire::request::Ttl;

use crate::moves::{Action, Event, RowFate, Visible};

use super::{Facts, PolicyName};

/// How long calls are collected for a batch when no job says that there are no more.
const COLLECTED: Span = Span::from_secs(300);

#[derive(Debug)]
pub(crate) struct Reference {
    name: PolicyName,
    facts: Facts,
    calls: HashMap<usize, Arc<Visible>>,
    /// Calls of each job that have not come yet.
    expected: HashMap<usize, usize>,
    queue: Vec<usize>,
    /// When the queue is submitted.
    flush_at: Option<Timestamp>,
    shards: u32,
    seen: Seen,
}

/// Which beginnings came before, of all models.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    tries: HashMap<String, (Trie, Vec<u32>)>,
}

impl Seen {
    /// The nodes of a prompt, each with how often it came before; counts this one.
    pub(crate) fn again(&mut self, call: &Visible) -> Vec<(NodeId, u32)> {
        let fresh = || (Trie::new(), vec![0]);
        let (trie, counts) = self.tries.entry(call.model.clone()).or_insert_with(fresh);
        let mut at = Trie::ROOT;
        let mut path = Vec::with_capacity(call.blocks.len());
        for block in &call.blocks {
            at = trie.extend(at, [block.prompt()]);
            counts.resize(trie.len(), 0);
            path.push((at, counts[at.index()]));
            counts[at.index()] += 1;
        }
        path
    }
}

impl Reference {
    pub(crate) fn new(name: PolicyName, facts: Facts) -> Self {
        Self {
            name,
            facts,
            calls: HashMap::new(),
            expected: HashMap::new(),
            queue: Vec::new(),
            flush_at: None,
            shards: 0,
            seen: Seen::default(),
        }
    }

    fn batches(&self) -> bool {
        matches!(self.name, PolicyName::Batch | PolicyName::Batch1h)
    }

    pub(crate) fn step(&mut self, now: Timestamp, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Job(calls) => {
                let of = calls.iter().filter(|call| call.deferrable);
                for job in of.filter_map(|call| call.job) {
                    *self.expected.entry(job).or_default() += 1;
                }
            }
            Event::Arrived(call) => self.arrived(now, call, out),
            Event::Ended { rows, .. } => {
                for (call, fate) in rows {
                    if fate != RowFate::Answered {
                        let marks = Marks::new();
                        out.push(Action::Send { call, marks });
                    }
                }
            }
            Event::Wake if self.flush_at.is_some_and(|at| at <= now) => self.flush(out),
            Event::Wake => {}
            Event::Begun { .. }
            | Event::Pinged { .. }
            | Event::Done { .. }
            | Event::Refused { .. } => {}
        }
    }

    fn arrived(&mut self, now: Timestamp, call: Arc<Visible>, out: &mut Vec<Action>) {
        let number = call.number;
        let batchable = self.facts.model(&call.model).batch.is_some();
        if !(self.batches() && call.deferrable && batchable) {
            let marks = self.sync_marks(&call);
            out.push(Action::Send {
                call: number,
                marks,
            });
            return;
        }
        self.queue.push(number);
        let left = call.job.and_then(|job| self.expected.get_mut(&job));
        let at = match left {
            Some(left) => {
                *left -= 1;
                (*left == 0).then_some(now)
            }
            None => Some(now + COLLECTED),
        };
        if let Some(at) = at.filter(|&at| self.flush_at.is_none_or(|before| at < before)) {
            self.flush_at = Some(at);
            out.push(Action::Wake(at));
        }
        self.calls.insert(number, call);
    }

    fn sync_marks(&mut self, call: &Visible) -> Marks {
        let last = call.blocks.len() - 1;
        match self.name {
            PolicyName::LastBlock5m => vec![(last, Ttl::FiveMinutes)],
            PolicyName::LastBlock1h => vec![(last, Ttl::OneHour)],
            PolicyName::Second5m => {
                let path = self.seen.again(call);
                let deepest = path.iter().rposition(|&(_, before)| before > 0);
                deepest
                    .map(|at| (at, Ttl::FiveMinutes))
                    .into_iter()
                    .collect()
            }
            PolicyName::Sync | PolicyName::Batch | PolicyName::Batch1h | PolicyName::Auto => {
                Marks::new()
            }
        }
    }

    /// Submits the queue, a batch for each model.
    fn flush(&mut self, out: &mut Vec<Action>) {
        self.flush_at = None;
        let mut by_model: Vec<(String, Vec<usize>)> = Vec::new();
        for call in std::mem::take(&mut self.queue) {
            let model = &self.calls[&call].model;
            match by_model.iter_mut().find(|(known, _)| known == model) {
                Some((_, calls)) => calls.push(call),
                None => by_model.push((model.clone(), vec![call])),
            }
        }
        for (_, calls) in by_model {
            let mut seen = Seen::default();
            let paths: Vec<_> = calls
                .iter()
                .map(|call| seen.again(&self.calls[call]))
                .collect();
            let uses = |node: NodeId| {
                let count = seen
                    .tries
                    .values()
                    .next()
                    .map(|(_, counts)| counts[node.index()]);
                count.unwrap_or(0)
            };
            let marks = |path: &[(NodeId, u32)]| -> Marks {
                if self.name != PolicyName::Batch1h {
                    return Marks::new();
                }
                let shared = path.iter().rposition(|&(node, _)| uses(node) > 1);
                shared.map(|at| (at, Ttl::OneHour)).into_iter().collect()
            };
            let rows = calls
                .iter()
                .zip(&paths)
                .map(|(&call, path)| (call, marks(path)));
            out.push(Action::Flush {
                shard: self.shards,
                rows: rows.collect(),
            });
            self.shards += 1;
        }
    }
}
