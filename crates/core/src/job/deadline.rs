//! The deadline: whether there is time for a batch, the last safe moment to give up waiting for one,
//! and the moment when a canary has cost enough time.
//!
//! Leaves out the measuring of the sync lane (`speed`).

use crate::job::event::{Act, LedgerEntry, LedgerKind, Leftovers, Write};
use crate::job::machine::{Live, Machine, OnUnknown, Step};
use crate::job::pace::Window;
use crate::job::shard::{Doubt, Proof, ShardNo, ShardRole, ShardState};
use crate::job::unmark::Unmarked;
use crate::plan::timing::{HEDGE_OVERHEAD, TURNAROUND};
use crate::price::Lane;
use crate::units::{Span, Timestamp, Usd};

impl Machine {
    /// Whether there is time for a batch and, should it fail, for `rows` synchronous calls.
    pub(crate) fn slack_for_a_batch(&self, now: Timestamp, rows: u64) -> bool {
        self.facts.deadline.is_none_or(|deadline| {
            let rows = rows + self.rows_not_ended() + self.rows_on_sync();
            deadline - now >= TURNAROUND + HEDGE_OVERHEAD + self.sync_time(rows)
        })
    }

    pub(crate) fn rows_not_ended(&self) -> u64 {
        let not_ended = |state: &ShardState| {
            matches!(
                state,
                ShardState::InProgress(_)
                    | ShardState::Canceling(_)
                    | ShardState::Unknown(_)
                    | ShardState::Submitting(_)
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

    /// Rows that the sync lane still has to answer.
    fn rows_on_sync(&self) -> u64 {
        let open = |state: &ShardState| matches!(state, ShardState::Planned | ShardState::Running);
        let rows = self.shards.values().filter(|l| l.shard.lane == Lane::Sync);
        let rows: u64 = rows
            .filter(|l| open(&l.shard.state))
            .map(|l| u64::from(l.shard.rows.len()))
            .sum();
        rows.saturating_sub(self.sync.tally().outcomes.total())
    }

    /// The last safe moment: waiting in a batch is free, so it is as late as the sync lane allows
    /// (economics.md, 2e).
    pub(crate) fn hedge_at(&self) -> Option<Timestamp> {
        let open = self.rows_not_ended() + self.rows_unsent_to_batches();
        let deadline = self.facts.deadline.filter(|_| open > 0)?;
        let hedgeable = self.shards.values().any(|l| self.is_hedgeable(l));
        let rows = open + self.rows_on_sync();
        hedgeable.then(|| deadline - HEDGE_OVERHEAD - self.sync_time(rows))
    }

    fn is_hedgeable(&self, live: &Live) -> bool {
        live.shard.lane == Lane::Batch
            && !live.busy
            && match &live.shard.state {
                // An earlier life may have paid for it; that batch comes first.
                ShardState::Planned => self.has_scouted(),
                // A batch that is not proved ours is never canceled.
                ShardState::InProgress(up) if up.proof == Proof::Certain => {
                    self.is_within_reach(&live.shard)
                }
                // Nor is it waited for any longer, if the deadline is worth more than its price.
                ShardState::InProgress(_) | ShardState::Unknown(_) => {
                    self.facts.on_unknown == OnUnknown::Deadline
                }
                _ => false,
            }
    }

    /// From the last safe moment on, gives batches up one by one, each when the sync lane is about to
    /// run dry: what is open then falls as fast as the time that is left for it, and every other
    /// batch goes on waiting for free.
    pub(crate) fn hedge(&mut self, now: Timestamp, out: &mut Step) {
        while self.hedge_at().is_some_and(|at| now >= at) && self.sync_runs_dry() {
            let Some(no) = self.least_likely_to_end() else {
                return;
            };
            match self.live(no).shard.state.clone() {
                ShardState::InProgress(up) => match up.proof {
                    Proof::Certain => {
                        self.move_to(no, ShardState::Canceling(up.clone()), out);
                        self.live_mut(no).busy = true;
                        out.acts.push(Act::Cancel(no, up.batch));
                    }
                    Proof::Likely(doubt) => self.give_up(now, no, doubt, out),
                },
                ShardState::Unknown(doubt) => self.give_up(now, no, doubt, out),
                _ => {
                    let shard = &mut self.live_mut(no).shard;
                    shard.go_sync();
                    let shard = Box::new(shard.clone());
                    out.writes.push(Write::Shard {
                        expect: Some("planned"),
                        shard,
                    });
                }
            }
        }
    }

    /// Answers the rows of a batch in doubt by calls. What the batch can cost stays set aside.
    fn give_up(&mut self, now: Timestamp, no: ShardNo, doubt: Doubt, out: &mut Step) {
        let shard = self.live(no).shard.clone();
        let expired = match shard.role {
            ShardRole::Leftovers { expired, .. } => expired,
            ShardRole::Bulk | ShardRole::Canary => 0,
        };
        let rest = Leftovers {
            rows: shard.rows,
            bytes: shard.bytes,
            worst: shard.worst + shard.worst,
            expired: 0,
            round_max: expired,
        };
        self.hand_over(now, &shard, (Lane::Sync, rest.worst), &rest, out);
        let released = shard.reserved - shard.worst;
        self.live_mut(no).shard.reserved = shard.worst;
        self.move_to(no, ShardState::GivenUp(doubt), out);
        // A batch that was sent when there was no deadline had nothing set aside for a hedge.
        if released > Usd::ZERO {
            out.writes.push(Write::Ledger(LedgerEntry {
                kind: LedgerKind::Release,
                shard: no,
                lane: Lane::Batch,
                amount: released,
            }));
        }
    }

    /// Of the batches that can be given up, the one that loses least: never sent, or sent last.
    fn least_likely_to_end(&self) -> Option<ShardNo> {
        let sent_at = |live: &Live| live.shard.state.upstream().map(|up| up.created_at);
        let hedgeable = self.shards.values().filter(|l| self.is_hedgeable(l));
        let last = hedgeable.max_by_key(|l| {
            let sent_at = sent_at(l);
            (sent_at.is_none(), sent_at, l.shard.rows.len(), l.shard.no)
        });
        last.map(|l| l.shard.no)
    }

    /// Whether the sync lane will have answered all that it has, and all of the batches that are being
    /// canceled, by the time that another one could be canceled and settled.
    fn sync_runs_dry(&self) -> bool {
        let canceling = |l: &&Live| matches!(l.shard.state, ShardState::Canceling(_));
        let rows = |l: &Live| u64::from(l.shard.rows.len());
        let coming: u64 = self.shards.values().filter(canceling).map(rows).sum();
        self.time_to_answer(coming + self.rows_on_sync()) < HEDGE_OVERHEAD
    }

    /// Half of the time that the job was given.
    pub(crate) fn half_of_the_slack(&self) -> Option<Timestamp> {
        let created_at = self.facts.created_at;
        let slack = self.facts.deadline? - created_at;
        Some(created_at + Span::from_micros(slack.as_micros() / 2))
    }

    /// A canary that takes more than half the slack has cost enough time: the rest goes unmarked.
    pub(crate) fn canary_until(&self) -> Option<Timestamp> {
        let unsent = self
            .shards
            .values()
            .any(|l| l.shard.state == ShardState::Planned);
        self.half_of_the_slack().filter(|_| unsent)
    }

    pub(crate) fn release_from_late_canary(&mut self, now: Timestamp, out: &mut Step) {
        if self.canary_until().is_none_or(|at| now < at) {
            return;
        }
        for live in self.shards.values_mut() {
            if live.shard.state == ShardState::Planned && live.shard.after.take().is_some() {
                live.shard.unmark(Unmarked::LateCanary);
                let shard = Box::new(live.shard.clone());
                out.writes.push(Write::Shard {
                    expect: Some("planned"),
                    shard,
                });
            }
        }
    }

    /// Time that `rows` synchronous calls take, and the time in which the window opens.
    fn sync_time(&self, rows: u64) -> Span {
        let answer = self.facts.answer.as_micros();
        let rows_at_first = i64::try_from(rows).unwrap_or(i64::MAX).min(Window::OPENING);
        let opening = answer.saturating_mul(rows_at_first);
        let micros = self.time_to_answer(rows).as_micros();
        Span::from_micros(micros.saturating_add(opening).min(i64::MAX / 4))
    }

    /// Time that `rows` calls take on a lane at full speed: at the rate to count on, or as fast as a
    /// full window of calls of the expected length allows, whichever is slower.
    fn time_to_answer(&self, rows: u64) -> Span {
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "at least one call a minute"
        )]
        let micros_per_call = (60e6 / self.sync.speed.calls_per_minute()).ceil() as i64;
        let by_rate = rows.saturating_mul(micros_per_call);
        let by_window = rows.saturating_mul(self.facts.answer.as_micros()) / Window::MAX_CALLS;
        Span::from_micros(by_rate.max(by_window).min(i64::MAX / 4))
    }
}
