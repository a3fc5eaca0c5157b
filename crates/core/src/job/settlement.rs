//! The end of a shard: its ledger is closed, its leftovers become a shard, those that waited for it
//! go, and the guard looks at its answers before more is paid for.
//!
//! Leaves out how the outcomes were found (`settle`, in `offpeak-engine`).

use offpeak_wire::request::Ttl;

use crate::job::event::{LedgerEntry, LedgerKind, Leftovers, Settlement, Stop, Write};
use crate::job::machine::{Live, Machine, Step};
use crate::job::outcome::{OutcomeClass, Tally};
use crate::job::retry::EXPIRED_ROUNDS_MAX;
use crate::job::shard::{Origin, Shard, ShardNo, ShardRole, ShardState};
use crate::job::unmark::Unmarked;
use crate::price::Lane;
use crate::units::{Timestamp, Usd};

/// Share of useless first answers, in percent, above which the bulk is not paid for.
pub(crate) const GUARD_PERCENT: u64 = 20;

/// Answers that the guard must have seen to judge the bulk.
pub(crate) const GUARD_FIRST: u64 = 20;

impl Machine {
    pub(crate) fn on_settled(
        &mut self,
        now: Timestamp,
        no: ShardNo,
        settled: Box<Settlement>,
        out: &mut Step,
    ) {
        let Settlement {
            tally,
            leftovers,
            stop,
            examples,
            observed,
        } = *settled;
        let shard = self.live(no).shard.clone();
        if matches!(shard.state, ShardState::Settled(_)) {
            return;
        }
        assert_eq!(
            tally.outcomes.total() + tally.leftovers,
            u64::from(shard.rows.len()),
            "shard {no}: every row is either done or handed on"
        );
        self.live_mut(no).busy = false;
        close_ledger(&shard, &tally, out);
        self.live_mut(no).shard.reserved = Usd::ZERO;
        self.live_mut(no).shard.origin = Origin::of(&shard.state);
        let next = leftovers.map(|rest| self.hand_on(now, &shard, rest, out));
        self.move_to(no, ShardState::Settled(Box::new(tally.clone())), out);
        // In the transaction that settles the shard, which happens once: nothing is learnt twice.
        out.writes.extend(observed.into_iter().map(|observed| {
            let observed = Box::new(observed);
            Write::Observed {
                shard: no,
                observed,
            }
        }));
        self.sync.close(no);
        self.release_followers(no, next, out);
        if let Some((kind, message)) = stop
            && !self.is_canceled()
        {
            self.stop_for(Stop::Upstream { kind, message });
        }
        self.guard(&shard, &tally, examples);
    }

    /// Makes the shard that takes what another left over, and says which it is.
    fn hand_on(
        &mut self,
        now: Timestamp,
        from: &Shard,
        rest: Leftovers,
        out: &mut Step,
    ) -> ShardNo {
        let rows = u64::from(rest.rows.len());
        let sync = from.lane == Lane::Sync || !self.slack_for_a_batch(now, rows);
        let (lane, worst) = if sync {
            (Lane::Sync, rest.worst)
        } else {
            (Lane::Batch, half_up(rest.worst))
        };
        self.hand_over(now, from, (lane, worst), &rest, out)
    }

    /// The same on a lane that is decided, on which the rows cost so much at the most.
    pub(crate) fn hand_over(
        &mut self,
        now: Timestamp,
        from: &Shard,
        (lane, worst): (Lane, Usd),
        rest: &Leftovers,
        out: &mut Step,
    ) -> ShardNo {
        let round = match from.role {
            ShardRole::Leftovers { round, .. } => round + 1,
            ShardRole::Bulk | ShardRole::Canary => 1,
        };
        let no = from.no.leftovers();
        let shard = Shard {
            no,
            lane,
            role: ShardRole::Leftovers {
                round,
                expired: rest.round_max,
            },
            rows: rest.rows,
            bytes: rest.bytes,
            worst,
            reserved: Usd::ZERO,
            mark: leftover_mark(lane, from.mark, rest.rows.len()),
            unmarked: None,
            found: false,
            account: None,
            origin: None,
            after: None,
            state: ShardState::Planned,
        };
        out.writes.push(Write::Shard {
            expect: None,
            shard: Box::new(shard.clone()),
        });
        let live = Live {
            shard,
            busy: false,
            due: now,
            failures: 0,
            downloads: 0,
        };
        self.shards.insert(no, live);
        self.scout_again();
        no
    }

    /// Lets the shards go that waited for a canary; if it left rows over on the batch lane they
    /// wait for those, and if it did not warm anything they go without marks.
    fn release_followers(&mut self, canary: ShardNo, next: Option<ShardNo>, out: &mut Step) {
        // One whose rows expired too often warms nothing: `ask_about_expired` says what becomes of it.
        let next_batch = next.filter(|no| {
            let shard = &self.live(*no).shard;
            shard.lane == Lane::Batch && !expired_out(shard)
        });
        let warmed = next.is_none();
        let followers: Vec<_> = self.waiting_for(canary).collect();
        for no in followers {
            let shard = &mut self.live_mut(no).shard;
            shard.after = next_batch;
            if !warmed && next_batch.is_none() {
                shard.unmark(Unmarked::FailedCanary);
            }
            let shard = Box::new(shard.clone());
            out.writes.push(Write::Shard {
                expect: Some("planned"),
                shard,
            });
        }
        if let Some(next) = next_batch {
            // The second try of a canary must warm the cache as the first would have.
            let mark = self.live(canary).shard.mark;
            let shard = &mut self.live_mut(next).shard;
            shard.role = ShardRole::Canary;
            shard.mark = mark;
            for write in &mut out.writes {
                if let Write::Shard { shard: written, .. } = write
                    && written.no == next
                {
                    written.role = ShardRole::Canary;
                    written.mark = mark;
                }
            }
        }
    }

    fn waiting_for(&self, canary: ShardNo) -> impl Iterator<Item = ShardNo> {
        self.shards
            .values()
            .filter(move |l| l.shard.after == Some(canary) && l.shard.state == ShardState::Planned)
            .map(|l| l.shard.no)
    }

    /// Rows that expired too often wait for somebody to say what they are worth: without a deadline
    /// nobody has.
    pub(crate) fn ask_about_expired(&mut self, out: &mut Step) {
        if self.facts.deadline.is_some() {
            return;
        }
        let waiting: Vec<_> = self
            .shards
            .values()
            .filter(|l| l.shard.state == ShardState::Planned && expired_out(&l.shard))
            .map(|l| l.shard.no)
            .collect();
        if !self.facts.expired_to_sync {
            let rows = waiting
                .iter()
                .map(|no| self.live(*no).shard.rows.len())
                .sum();
            if rows > 0 {
                self.stop_for(Stop::Expired { rows });
            }
            return;
        }
        for no in waiting {
            let shard = &mut self.live_mut(no).shard;
            shard.go_sync();
            let shard = Box::new(shard.clone());
            out.writes.push(Write::Shard {
                expect: Some("planned"),
                shard,
            });
        }
    }

    fn guard(&mut self, shard: &Shard, tally: &Tally, examples: Vec<String>) {
        let unsent = self
            .shards
            .values()
            .any(|l| l.shard.state == ShardState::Planned);
        let first = matches!(shard.role, ShardRole::Bulk | ShardRole::Canary);
        if self.facts.past_guard || self.is_canceled() || !unsent || !first {
            return;
        }
        let bad = OutcomeClass::ALL.iter().filter(|c| c.alarms());
        let bad = bad.map(|c| tally.outcomes.of(*c)).sum::<u64>();
        let of = tally.outcomes.total();
        // Of a canary every answer counts; of the bulk, a few are no evidence.
        let evidence = shard.role == ShardRole::Canary || of >= GUARD_FIRST;
        if evidence && bad * 100 > of * GUARD_PERCENT {
            self.stop_for(Stop::Guard { bad, of, examples });
        }
    }

    /// What the guard saw before the process ended, it still sees.
    pub(crate) fn guard_again(&mut self) {
        let settled: Vec<_> = self
            .shards
            .values()
            .filter_map(|l| match &l.shard.state {
                ShardState::Settled(tally) => Some((l.shard.clone(), tally.clone())),
                _ => None,
            })
            .collect();
        for (shard, tally) in settled {
            self.guard(&shard, &tally, Vec::new());
        }
    }

    /// Whether a shard of the bulk must wait: the first one shows what the others would cost money
    /// for. With a deadline it waits no longer than half the slack.
    pub(crate) fn waits_for_the_first(&self, now: Timestamp, no: ShardNo) -> bool {
        let bulk = |role| matches!(role, ShardRole::Bulk | ShardRole::Canary);
        let mut bulks = self.shards.values().filter(|l| bulk(l.shard.role));
        let Some(first) = bulks.next() else {
            return false;
        };
        let open = !matches!(first.shard.state, ShardState::Settled(_));
        let patient = self.half_of_the_slack().is_none_or(|at| now < at);
        !self.facts.past_guard && first.shard.no < no && open && patient
    }
}

/// Whether rows of a batch shard have expired so often that another batch is no answer.
fn expired_out(shard: &Shard) -> bool {
    let ShardRole::Leftovers { expired, .. } = shard.role else {
        return false;
    };
    shard.lane == Lane::Batch && expired >= EXPIRED_ROUNDS_MAX
}

fn close_ledger(shard: &Shard, tally: &Tally, out: &mut Step) {
    let mut entry = |kind, amount| {
        if amount != Usd::ZERO || kind == LedgerKind::Settle {
            let (shard, lane) = (shard.no, shard.lane);
            out.writes.push(Write::Ledger(LedgerEntry {
                kind,
                shard,
                lane,
                amount,
            }));
        }
    };
    entry(LedgerKind::Settle, tally.cost);
    entry(LedgerKind::Unknown, tally.unknown);
    if shard.lane == Lane::Batch {
        let used = tally.cost + tally.unknown;
        // A hidden prompt that nobody published can make the bound too small; then nothing is left
        // to give back.
        let left = if shard.reserved > used {
            shard.reserved - used
        } else {
            Usd::ZERO
        };
        entry(LedgerKind::Release, left);
    }
}

/// Half an amount, rounded up: a worst case stays one.
pub(crate) fn half_up(amount: Usd) -> Usd {
    Usd::from_pico((amount.pico() + 1).div_euclid(2))
}

/// The mark of leftovers. On the sync lane one call warms the cache for the others within seconds.
/// In a batch the entry that the shard before wrote may be dead, and a cold mark only costs.
fn leftover_mark(lane: Lane, before: Option<Ttl>, rows: u32) -> Option<Ttl> {
    let pays = lane == Lane::Sync && rows > 1;
    before.filter(|_| pays).map(|_| Ttl::FiveMinutes)
}
