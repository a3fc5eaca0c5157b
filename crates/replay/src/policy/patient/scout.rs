//! Whether marks behind canaries pay: a few groups of a job show it, and the others wait for that.
//!
//! A canary writes one cache. Rows that meet another one write too, and a mark that most rows write costs
//! more than none (`offpeak_core::job::unmark` decides likewise for jobs). So until a model's rows have
//! shown how many of them find what a canary wrote, a campaign of ordinary size goes first where there is
//! time. Of a group, as many rows as run at once are then expected to miss as often, and the rows after
//! them to find what those wrote: large groups keep their marks, small ones may not.
//!
//! Leaves out what a canary is and how deep marks go (`patient`).

use std::collections::HashMap;

use offpeak_core::plan::{HitPosterior, NodeId, Timing};
use offpeak_core::price::Rates;
use offpeak_core::units::{Span, Timestamp};

use crate::moves::{Action, RowFate};

use super::{Campaign, Marked, Patient, Shard};

/// The part of the time there is that others wait at most: a quarter.
const PART: i64 = 4;
/// Batches one after the other that must fit into that part: the first campaign's canary and its rest.
const BATCHES: i64 = 2;
/// Rows of a batch that run at the same time (economics.md, 5.2).
const AT_ONCE: usize = 50;

/// Campaigns that wait for one that went first.
#[derive(Debug)]
pub(super) struct Scouted {
    waiting: Vec<usize>,
    until: Timestamp,
}

/// Whether a group of so many rows is cheaper with marks for an hour than without, if each row of those
/// that start together finds what was written ahead of them with that chance.
fn pays(rows: usize, hit: f64, rates: &Rates) -> bool {
    let writes = rows.min(AT_ONCE) as f64 * (1.0 - hit);
    let reads = rows as f64 - writes;
    writes * rates.write_1h as f64 + reads * (rates.read as f64) < rows as f64 * rates.input as f64
}

impl Patient {
    /// Tokens that a row read, as its batch is about to end.
    pub(crate) fn row_read(&mut self, call: usize, tokens: u64) {
        self.read.insert(call, tokens);
    }

    /// Sends campaigns on their way: all of them, or one ahead of the others.
    pub(super) fn set_out(
        &mut self,
        now: Timestamp,
        model: &str,
        campaigns: Vec<usize>,
        out: &mut Vec<Action>,
    ) {
        let ahead = self.ahead(now, model, &campaigns);
        let Some((first, until)) = ahead else {
            return self.go(now, model, campaigns, out);
        };
        let waiting = campaigns.into_iter().filter(|&number| number != first);
        let waiting = waiting.collect();
        self.scouted
            .insert(model.to_owned(), Scouted { waiting, until });
        self.go_on(now, first, out);
        self.wake_at(until, out);
    }

    /// The campaign of middling size, if the others should wait for it, and until when at the latest.
    fn ahead(
        &self,
        now: Timestamp,
        model: &str,
        campaigns: &[usize],
    ) -> Option<(usize, Timestamp)> {
        let known = self.shown.contains_key(model) || self.scouted.contains_key(model);
        if known || campaigns.len() < 2 {
            return None;
        }
        let rows = |number: usize| &self.campaigns[number].waiting;
        let calls = campaigns.iter().flat_map(|&number| rows(number));
        let first = calls.filter_map(|call| self.calls[call].deadline).min();
        let turnaround = Timing::of(Span::ZERO, 0).turnaround.as_micros();
        let there_is = first.map(|first| (first - now).as_micros());
        let part = there_is.map_or(BATCHES * turnaround, |time| time / PART);
        let mut by_size = campaigns.to_vec();
        by_size.sort_by_key(|&number| rows(number).len());
        let middling = by_size[by_size.len() / 2];
        (part >= BATCHES * turnaround).then_some((middling, now + Span::from_micros(part)))
    }

    /// Learns from a campaign's first batch behind its canaries, and lets go who waited for that. The
    /// batches after it may find what that one wrote, and say less.
    pub(super) fn learn(
        &mut self,
        now: Timestamp,
        shard: &Shard,
        rows: &[(usize, RowFate)],
        out: &mut Vec<Action>,
    ) {
        let (mut hits, mut misses) = (0, 0);
        let mut model = None;
        let campaign = &self.campaigns[shard.campaign];
        let telling = !shard.canary && !campaign.told;
        for &(call, fate) in rows {
            let read = self.read.remove(&call).unwrap_or(0);
            let deepest = campaign.marks.get(&call).and_then(|marks| marks.last());
            let answered = telling && fate == RowFate::Answered;
            let Some(&(at, _)) = deepest.filter(|_| answered) else {
                continue;
            };
            let call = &self.calls[&call];
            let marked = call.blocks[..=at]
                .iter()
                .map(|block| u64::from(block.tokens));
            if read >= marked.sum() {
                hits += 1;
            } else {
                misses += 1;
            }
            model.get_or_insert_with(|| call.model.clone());
        }
        if let Some(model) = model {
            self.campaigns[shard.campaign].told = true;
            let shown = self.shown.entry(model.clone());
            let shown = shown.or_insert_with(HitPosterior::led);
            *shown = shown.after_group(hits, misses);
            self.let_go(now, &model, out);
        }
    }

    /// Lets go who has waited long enough.
    pub(super) fn stop_waiting(&mut self, now: Timestamp, out: &mut Vec<Action>) {
        let scouted = self.scouted.iter();
        let due = scouted.filter(|(_, scouted)| scouted.until <= now);
        let due: Vec<String> = due.map(|(model, _)| model.clone()).collect();
        for model in due {
            self.let_go(now, &model, out);
        }
    }

    /// When somebody has waited long enough.
    pub(super) fn waits_until(&self) -> Option<Timestamp> {
        self.scouted.values().map(|scouted| scouted.until).min()
    }

    fn let_go(&mut self, now: Timestamp, model: &str, out: &mut Vec<Action>) {
        if let Some(Scouted { waiting, .. }) = self.scouted.remove(model) {
            self.go(now, model, waiting, out);
        }
    }

    /// Sends campaigns on their way, the rows of groups that are too small for marks without any.
    fn go(
        &mut self,
        now: Timestamp,
        model: &str,
        mut campaigns: Vec<usize>,
        out: &mut Vec<Action>,
    ) {
        let shown = self.shown.get(model).zip(self.facts.model(model).batch);
        if let Some((shown, rates)) = shown {
            let hit = shown.mean();
            let small = campaigns.iter().flat_map(|&number| {
                self.campaigns[number].leave_out(|rows| !pays(rows, hit, &rates))
            });
            let plain = |call| Marked {
                call,
                marks: Vec::new(),
                nodes: Vec::new(),
            };
            let small: Vec<Marked> = small.map(plain).collect();
            if !small.is_empty() {
                self.campaigns.push(Campaign::new(now, small));
                campaigns.push(self.campaigns.len() - 1);
            }
        }
        for number in campaigns {
            self.go_on(now, number, out);
        }
    }
}

impl Campaign {
    /// Takes out the waiting calls of groups of a size.
    fn leave_out(&mut self, of: impl Fn(usize) -> bool) -> Vec<usize> {
        let top = |call: &usize| self.marked[call].first().copied();
        let mut sizes: HashMap<NodeId, usize> = HashMap::new();
        for node in self.waiting.iter().filter_map(top) {
            *sizes.entry(node).or_default() += 1;
        }
        let left_out = |call: &usize| top(call).is_some_and(|node| of(sizes[&node]));
        let (out, rest) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(left_out);
        self.waiting = rest;
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_groups_pay_with_one_cache_and_large_ones_with_any_number() {
        let rates = Rates {
            input: 1_000,
            write_5m: 1_250,
            write_1h: 2_000,
            read: 100,
            output: 5_000,
        };
        assert!(pays(2, 0.95, &rates));
        // 1.525 times the plain price each, as long as all of them start together.
        assert!(!pays(2, 0.25, &rates) && !pays(50, 0.25, &rates));
        // 37.5 writes and 62.5 reads are 81.25; of 70 rows they are 78.25.
        assert!(pays(100, 0.25, &rates) && !pays(70, 0.25, &rates));
        // 50 writes and 56 reads are 105.6.
        assert!(pays(106, 0.0, &rates) && !pays(105, 0.0, &rates));
    }
}
