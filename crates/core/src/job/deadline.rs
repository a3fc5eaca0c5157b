//! The deadline: whether there is time for a batch, the last safe moment to give up waiting for one,
//! and the moment when a canary has cost enough time.
//!
//! Leaves out the measuring of the sync lane: until it is measured, a cautious rate holds.

use offpeak_wire::request::Ttl;

use crate::job::event::{Act, Write};
use crate::job::machine::{Live, Machine, Step};
use crate::job::shard::{Proof, ShardState};
use crate::plan::timing::{HEDGE_OVERHEAD, SYNC_CALLS_PER_MINUTE, TURNAROUND};
use crate::price::Lane;
use crate::units::{Span, Timestamp};

impl Machine {
    /// Whether there is time for a batch and, should it fail, for `rows` synchronous calls.
    pub(crate) fn slack_for_a_batch(&self, now: Timestamp, rows: u64) -> bool {
        self.facts.deadline.is_none_or(|deadline| {
            deadline - now >= TURNAROUND + HEDGE_OVERHEAD + sync_time(rows + self.rows_not_ended())
        })
    }

    fn rows_not_ended(&self) -> u64 {
        let not_ended = |state: &ShardState| {
            matches!(
                state,
                ShardState::InProgress(_) | ShardState::Unknown(_) | ShardState::Submitting(_)
            )
        };
        let rows = self.shards.values().filter(|l| l.shard.lane == Lane::Batch);
        rows.filter(|l| not_ended(&l.shard.state))
            .map(|l| u64::from(l.shard.rows.len()))
            .sum()
    }

    fn rows_unsent_to_batches(&self) -> u64 {
        let rows = self.shards.values().filter(|l| l.shard.lane == Lane::Batch);
        rows.filter(|l| l.shard.state == ShardState::Planned)
            .map(|l| u64::from(l.shard.rows.len()))
            .sum()
    }

    /// The last safe moment: waiting in a batch is free, so it is as late as the sync lane allows
    /// (economics.md, 2e).
    pub(crate) fn hedge_at(&self) -> Option<Timestamp> {
        let open = self.rows_not_ended() + self.rows_unsent_to_batches();
        let deadline = self.facts.deadline.filter(|_| open > 0)?;
        let hedgeable = self.shards.values().any(|l| self.is_hedgeable(l));
        hedgeable.then(|| deadline - HEDGE_OVERHEAD - sync_time(open))
    }

    fn is_hedgeable(&self, live: &Live) -> bool {
        live.shard.lane == Lane::Batch
            && match &live.shard.state {
                ShardState::Planned => !live.busy,
                // A batch that is not proved ours is never canceled.
                ShardState::InProgress(up) => up.proof == Proof::Certain,
                _ => false,
            }
    }

    pub(crate) fn hedge(&mut self, now: Timestamp, out: &mut Step) {
        if self.hedge_at().is_none_or(|at| now < at) {
            return;
        }
        let hedged: Vec<_> = self
            .shards
            .values()
            .filter(|l| self.is_hedgeable(l))
            .map(|l| l.shard.no)
            .collect();
        for no in hedged {
            let shard = &mut self.live_mut(no).shard;
            if let ShardState::InProgress(up) = &shard.state {
                let up = up.clone();
                self.move_to(no, ShardState::Canceling(up.clone()), out);
                out.acts.push(Act::Cancel(no, up.batch));
            } else {
                shard.lane = Lane::Sync;
                shard.worst = shard.worst + shard.worst;
                shard.mark = shard.mark.map(|_| Ttl::FiveMinutes);
                shard.after = None;
                let shard = Box::new(shard.clone());
                out.writes.push(Write::Shard {
                    expect: Some("planned"),
                    shard,
                });
            }
        }
    }

    /// A canary that takes more than half the slack has cost enough time: the rest goes unmarked.
    pub(crate) fn canary_until(&self) -> Option<Timestamp> {
        let deadline = self.facts.deadline?;
        let waiting = self.shards.values().any(|l| l.shard.after.is_some());
        let half = Span::from_micros((deadline - self.facts.created_at).as_micros() / 2);
        waiting.then(|| self.facts.created_at + half)
    }

    pub(crate) fn release_from_late_canary(&mut self, now: Timestamp, out: &mut Step) {
        if self.canary_until().is_none_or(|at| now < at) {
            return;
        }
        for live in self.shards.values_mut() {
            if live.shard.state == ShardState::Planned && live.shard.after.take().is_some() {
                live.shard.mark = None;
                let shard = Box::new(live.shard.clone());
                out.writes.push(Write::Shard {
                    expect: Some("planned"),
                    shard,
                });
            }
        }
    }
}

/// Time that `rows` synchronous calls take at the rate to count on.
fn sync_time(rows: u64) -> Span {
    let micros = rows.saturating_mul(60_000_000) / u64::from(SYNC_CALLS_PER_MINUTE);
    Span::from_micros(i64::try_from(micros).unwrap_or(i64::MAX / 4))
}
