//! The budget: what is set aside, what is left, and the cutting of a shard that is too dear for
//! what is left.
//!
//! Leaves out single calls (`sync_lane`): they are held one by one, in their journal.

use crate::job::event::{LedgerEntry, LedgerKind, Stop, Write};
use crate::job::machine::{Live, Machine, Step};
use crate::job::shard::{Shard, ShardNo, ShardState};
use crate::units::Usd;

impl Machine {
    /// What is set aside for a batch shard: with a deadline it may have to be hedged, and then its
    /// rows are paid synchronously.
    pub(crate) fn reservation(&self, shard: &Shard) -> Usd {
        if self.facts.deadline.is_some() {
            shard.worst + shard.worst
        } else {
            shard.worst
        }
    }

    /// Sets the worst case of a shard aside; the write of the shard itself is the caller's.
    pub(crate) fn reserve(&mut self, no: ShardNo, out: &mut Step) {
        let amount = self.reservation(&self.live(no).shard);
        let shard = &mut self.live_mut(no).shard;
        shard.reserved = amount;
        let lane = shard.lane;
        let kind = LedgerKind::Reserve;
        out.writes.push(Write::Ledger(LedgerEntry {
            kind,
            shard: no,
            lane,
            amount,
        }));
    }

    /// What is left of the budget; `None` without one.
    pub(crate) fn room(&self) -> Option<Usd> {
        let budget = self.facts.budget?;
        let committed = self.shards.values().map(|live| match &live.shard.state {
            ShardState::Planned => Usd::ZERO,
            ShardState::Running => self.sync.committed(live.shard.no),
            ShardState::Settled(tally) => tally.cost + tally.unknown,
            _ => live.shard.reserved,
        });
        Some(budget - committed.sum::<Usd>() - self.waste.cost)
    }

    /// Whether something under way may give money back.
    pub(crate) fn may_release(&self) -> bool {
        self.sync.is_flying()
            || self.shards.values().any(|l| {
                !matches!(
                    l.shard.state,
                    ShardState::Planned
                        | ShardState::GivenUp(_)
                        | ShardState::Running
                        | ShardState::Settled(_)
                )
            })
    }

    /// Cuts a planned shard in two where the driver measured.
    pub(crate) fn on_measured(
        &mut self,
        no: ShardNo,
        rows: u32,
        worst: Usd,
        bytes: u64,
        out: &mut Step,
    ) {
        let left = self.room().unwrap_or(Usd::ZERO);
        let live = self.live_mut(no);
        live.busy = false;
        if rows == 0 {
            let needed = worst;
            self.stop_for(Stop::Budget { needed, left });
            return;
        }
        if rows >= live.shard.rows.len() {
            // It was thought to be dearer than it is.
            live.shard.worst = worst;
            return;
        }
        let rest = (
            live.shard.worst - worst,
            live.shard.bytes.saturating_sub(bytes),
        );
        self.cut(no, rows, (worst, bytes), rest, out);
    }

    /// Cuts a planned shard behind its first `rows`. What the two parts cost at the most, and their bytes,
    /// the caller says.
    pub(crate) fn cut(
        &mut self,
        no: ShardNo,
        rows: u32,
        (worst, bytes): (Usd, u64),
        rest: (Usd, u64),
        out: &mut Step,
    ) {
        let second = no.second_part(self.shards.keys());
        let live = self.live_mut(no);
        let mut tail = live.shard.clone();
        tail.no = second;
        tail.rows.from += rows;
        (tail.worst, tail.bytes) = rest;
        live.shard.rows.to = live.shard.rows.from + rows;
        live.shard.worst = worst;
        live.shard.bytes = bytes;
        let due = live.due;
        let head = Box::new(live.shard.clone());
        out.writes.push(Write::Shard {
            expect: Some("planned"),
            shard: head,
        });
        out.writes.push(Write::Shard {
            expect: None,
            shard: Box::new(tail.clone()),
        });
        let tail = Live {
            shard: tail,
            busy: false,
            due,
            failures: 0,
            downloads: 0,
        };
        self.shards.insert(tail.shard.no, tail);
    }
}
