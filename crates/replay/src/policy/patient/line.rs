//! When batches are given up because deadlines come first, and which.
//!
//! Waiting costs nothing, so it is as long as it can be: until the synchronous lane, at its pace, needs
//! all the time that is left for what is still open, and the overhead of a cancellation before. Then no
//! more is given up than has to be: a batch at a time, so that the lane has work while the others go on
//! (economics.md, 2e: ride the line). Sorted by deadline, the k-th open call needs k turns of the lane.

use std::collections::BTreeSet;

use offpeak_core::plan::Timing;
use offpeak_core::units::{Span, Timestamp};

use crate::moves::Action;

use super::Patient;

/// Rows that are given up together.
#[derive(Debug, Clone, Copy)]
enum Lot {
    /// Those of a campaign that were not sent yet: nothing has been done for them.
    Waiting(usize),
    Batch(u32),
}

/// What may have to be made on the synchronous lane.
#[derive(Debug)]
struct Line {
    pace: Span,
    overhead: Span,
    /// When the lane has made everything that is on its way to it.
    free: Timestamp,
}

impl Line {
    fn turns(&self, turns: usize) -> Span {
        let turns = i64::try_from(turns).unwrap_or(i64::MAX);
        Span::from_micros(self.pace.as_micros().saturating_mul(turns))
    }

    /// The last moment at which nothing of what is open, in order of deadlines, has to be given up, or
    /// how many calls at its beginning hold what has to be.
    fn holds(
        &self,
        now: Timestamp,
        open: &[(Timestamp, usize)],
    ) -> Result<Option<Timestamp>, usize> {
        let moments = open.iter().enumerate().map(|(at, &(deadline, _))| {
            let latest = deadline - self.turns(at + 1);
            if latest < self.free {
                now
            } else {
                latest - self.overhead
            }
        });
        let moments: Vec<Timestamp> = moments.collect();
        match moments.iter().rposition(|&moment| moment <= now) {
            Some(tight) => Err(tight + 1),
            None => Ok(moments.into_iter().min()),
        }
    }
}

impl Patient {
    /// Calls go to the synchronous lane.
    pub(super) fn give_back(&mut self, calls: impl IntoIterator<Item = usize>) {
        for call in calls {
            let deadline = self.calls[&call].deadline;
            let last = Timestamp::from_micros(i64::MAX);
            self.returned.insert((deadline.unwrap_or(last), call));
        }
    }

    /// Gives up what would come too late, and finds the last moment at which nothing more has to be.
    pub(super) fn hold_the_line(&mut self, now: Timestamp, out: &mut Vec<Action>) {
        loop {
            let open = self.open();
            match self.lane(now).holds(now, &open) {
                Ok(moment) => {
                    self.line = moment;
                    break;
                }
                Err(critical) => {
                    let critical = open[..critical].iter().map(|&(_, call)| call).collect();
                    let lot = self.least_promising(&critical);
                    self.give_up(now, lot, &critical, out);
                }
            }
        }
        if let Some(line) = self.line {
            self.wake_at(line, out);
        }
    }

    /// Calls with a deadline that are not answered, nor on their way to the synchronous lane.
    fn open(&self) -> Vec<(Timestamp, usize)> {
        let shards = self.shards.iter();
        let running = shards.filter(|(number, _)| !self.canceling.contains(number));
        let sent = running.flat_map(|(_, shard)| &shard.calls);
        let waiting = self.campaigns.iter().flat_map(|campaign| &campaign.waiting);
        let mut open: Vec<(Timestamp, usize)> = sent
            .chain(waiting)
            .filter_map(|&call| Some((self.calls.get(&call)?.deadline?, call)))
            .collect();
        open.sort_unstable();
        open
    }

    fn lane(&self, now: Timestamp) -> Line {
        let line = Line {
            pace: self.facts.pace,
            overhead: Timing::of(Span::ZERO, 0).overhead,
            free: now,
        };
        let given_up = self
            .canceling
            .iter()
            .map(|number| self.shards[number].calls.len());
        let coming = given_up.sum::<usize>();
        let mut from = now.max(self.slot);
        if self.returned.is_empty() && coming > 0 {
            from = from.max(self.settled);
        }
        Line {
            free: from + line.turns(self.returned.len() + coming),
            ..line
        }
    }

    /// Of what holds critical calls: rows for which nothing has been done, else the youngest batch.
    fn least_promising(&self, critical: &BTreeSet<usize>) -> Lot {
        let holds = |calls: &[usize]| calls.iter().any(|call| critical.contains(call));
        let waiting = self.campaigns.iter().position(|c| holds(&c.waiting));
        let batch = || {
            let mut shards = self.shards.iter().rev();
            let running = |number: &u32| !self.canceling.contains(number);
            shards.find(|(number, shard)| running(number) && holds(&shard.calls))
        };
        match waiting {
            Some(campaign) => Lot::Waiting(campaign),
            None => Lot::Batch(*batch().expect("what is open is waiting or in a batch").0),
        }
    }

    fn give_up(
        &mut self,
        now: Timestamp,
        lot: Lot,
        critical: &BTreeSet<usize>,
        out: &mut Vec<Action>,
    ) {
        match lot {
            Lot::Waiting(campaign) => {
                let waiting = std::mem::take(&mut self.campaigns[campaign].waiting);
                let (late, rest): (Vec<usize>, Vec<usize>) = waiting
                    .into_iter()
                    .partition(|call| critical.contains(call));
                self.campaigns[campaign].waiting = rest;
                self.give_back(late);
            }
            Lot::Batch(number) => {
                self.canceling.insert(number);
                // Half of the overhead is for settling, the rest for what comes after.
                let overhead = Timing::of(Span::ZERO, 0).overhead.as_micros();
                self.settled = now + Span::from_micros(overhead / 2);
                out.push(Action::Cancel { shard: number });
            }
        }
    }
}
