//! What was paid for and answers no row: a batch that carries this job's mark beside the one that its rows
//! were answered by. A restored backup, a copied data directory, or a batch in doubt that was not waited
//! for can bring one about.
//!
//! It is looked for once, when all rows have their outcome, and its price goes into the ledger as waste.
//! Leaves out the reading of its results (`weigh`, in `offpeak-engine`).

use crate::job::event::{Act, LedgerEntry, LedgerKind, OurBatch, Search, Write};
use crate::job::machine::{Machine, Step};
use crate::job::outcome::Tally;
use crate::job::scouting::Scouting;
use crate::job::shard::{Shard, ShardNo, ShardState};
use crate::price::Lane;
use crate::units::{Span, Timestamp, Usd};

/// Searches that fail before the job ends without one.
const LOOKS_MAX: u32 = 3;

/// Tries to read the results of one batch.
const WEIGHINGS_MAX: u32 = 3;

/// So long before the deadline the search is given up: the output comes first.
const BEFORE_THE_DEADLINE: Span = Span::from_secs(15);

/// The search for waste.
#[derive(Debug)]
pub(crate) struct Waste {
    look: Look,
    /// Found and not weighed yet, and how often that failed.
    found: Vec<(OurBatch, u32)>,
    weighing: bool,
    /// What was weighed, of this process and of those before.
    pub(crate) cost: Usd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Not yet, or it failed so often.
    ToCome(u32),
    UnderWay(u32),
    Done,
}

impl Waste {
    /// For a job with these shards; a job without batches has nothing to look for.
    pub(crate) fn at_start<'a>(
        mut shards: impl Iterator<Item = &'a Shard>,
        probing: bool,
        cost: Usd,
    ) -> Self {
        let any = !probing && shards.any(|shard| shard.lane == Lane::Batch);
        Self {
            look: if any { Look::ToCome(0) } else { Look::Done },
            found: Vec::new(),
            weighing: false,
            cost,
        }
    }

    pub(crate) fn is_looked_for(&self) -> bool {
        self.look == Look::Done && self.found.is_empty() && !self.weighing
    }

    pub(crate) fn is_weighing(&self) -> bool {
        self.weighing
    }

    /// Whether the search under way is the last one of the job.
    pub(crate) fn is_last_look(&self) -> bool {
        matches!(self.look, Look::UnderWay(_))
    }

    /// A batch of ours that no shard needs.
    pub(crate) fn note(&mut self, batch: OurBatch) {
        if self
            .found
            .iter()
            .all(|(known, _)| known.batch != batch.batch)
        {
            self.found.push((batch, 0));
        }
    }

    /// The search has come to its end, or failed.
    pub(crate) fn looked(&mut self, failed: bool) {
        if let Look::UnderWay(failures) = self.look {
            self.look = match failures + 1 {
                more if failed && more < LOOKS_MAX => Look::ToCome(more),
                _ => Look::Done,
            };
        }
    }
}

impl Machine {
    /// When the search is given up, if there is a deadline.
    pub(crate) fn waste_until(&self) -> Option<Timestamp> {
        let deadline = self.facts.deadline.filter(|_| self.is_answered())?;
        (!self.waste.is_looked_for()).then(|| deadline - BEFORE_THE_DEADLINE)
    }

    /// Whether every row has its outcome.
    pub(crate) fn is_answered(&self) -> bool {
        let answered =
            |s: &ShardState| matches!(s, ShardState::Settled(_) | ShardState::GivenUp(_));
        self.shards.values().all(|l| answered(&l.shard.state))
    }

    pub(crate) fn look_for_waste(&mut self, now: Timestamp, out: &mut Step) {
        if !self.waste.weighing
            && let Some((batch, _)) = self.waste.found.first()
        {
            out.acts.push(Act::Weigh(batch.clone()));
            self.waste.weighing = true;
        }
        if !self.is_answered() {
            return;
        }
        if self.waste_until().is_some_and(|until| now >= until) {
            self.waste.look = Look::Done;
            self.waste.found.clear();
            self.waste.weighing = false;
            self.scouting = Scouting::Done;
        }
        if let Look::ToCome(failures) = self.waste.look
            && self.may_look_again(now)
        {
            self.waste.look = Look::UnderWay(failures);
            self.scouting = Scouting::Busy { stale: false };
            let batches = self.shards.values().filter(|l| l.shard.lane == Lane::Batch);
            let rows = batches.map(|l| u64::from(l.shard.rows.len())).collect();
            // The life before may have made batches of any size.
            let search = if self.facts.scout && self.memory_was_lost() {
                Search::All
            } else {
                Search::Ended
            };
            out.acts.push(Act::Scout { rows, search });
        }
        if self.waste.is_looked_for() {
            self.close_given_up(out);
        }
    }

    fn may_look_again(&self, now: Timestamp) -> bool {
        match self.scouting {
            Scouting::Done | Scouting::Wanted => true,
            Scouting::Again(at) => now >= at,
            Scouting::Busy { .. } => false,
        }
    }

    /// The results of a batch that no shard needs were read: what they cost, or nothing if that failed.
    pub(crate) fn on_weighed(&mut self, batch: OurBatch, cost: Option<Usd>, out: &mut Step) {
        self.waste.weighing = false;
        let Some(at) = self
            .waste
            .found
            .iter()
            .position(|(known, _)| known.batch == batch.batch)
        else {
            return;
        };
        let Some(cost) = cost else {
            self.waste.found[at].1 += 1;
            if self.waste.found[at].1 >= WEIGHINGS_MAX {
                self.waste.found.remove(at);
            }
            return;
        };
        self.waste.found.remove(at);
        self.waste.cost += cost;
        out.writes.push(Write::Ledger(LedgerEntry {
            kind: LedgerKind::Waste,
            shard: batch.shard,
            lane: Lane::Batch,
            amount: cost,
        }));
        let no = batch.shard;
        out.writes.push(Write::Waste { batch, cost });
        let given_up = |s: &ShardState| matches!(s, ShardState::GivenUp(_));
        if self
            .shards
            .get(&no)
            .is_some_and(|l| given_up(&l.shard.state))
        {
            self.close(no, Usd::ZERO, out);
        }
    }

    /// What became of batches that were given up and did not turn up stays unknown.
    fn close_given_up(&mut self, out: &mut Step) {
        let given_up = self.shards.values().filter_map(|l| match l.shard.state {
            ShardState::GivenUp(_) => Some((l.shard.no, l.shard.worst)),
            _ => None,
        });
        for (no, worst) in given_up.collect::<Vec<_>>() {
            self.close(no, worst, out);
        }
    }

    /// Settles a shard whose rows another one answered.
    fn close(&mut self, no: ShardNo, unknown: Usd, out: &mut Step) {
        let shard = &mut self.live_mut(no).shard;
        let rows = u64::from(shard.rows.len());
        let released = std::mem::take(&mut shard.reserved) - unknown;
        let tally = Tally {
            leftovers: rows,
            attempts: rows,
            unknown,
            unknown_calls: if unknown == Usd::ZERO { 0 } else { rows },
            ..Tally::default()
        };
        for (kind, amount) in [
            (LedgerKind::Unknown, unknown),
            (LedgerKind::Release, released),
        ] {
            if amount != Usd::ZERO {
                let (shard, lane) = (no, Lane::Batch);
                out.writes.push(Write::Ledger(LedgerEntry {
                    kind,
                    shard,
                    lane,
                    amount,
                }));
            }
        }
        self.move_to(no, ShardState::Settled(Box::new(tally)), out);
    }
}
