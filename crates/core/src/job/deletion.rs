//! The upstream's copy of a batch, once its answers are ours: if the job asks for it, it is deleted
//! there, so that requests and answers do not stay for the 29 days that the upstream keeps them.
//!
//! A batch is deleted when its shard is settled, which is after its results and outcomes are on the
//! disk, and only if every row had a readable result. Deleting never stops or delays a row: what
//! fails is tried again a few times, then told, and tried again by the next run. Leaves out the call.

use std::collections::BTreeSet;

use offpeak_wire::batch::BatchId;
use offpeak_wire::error::ErrorKind;

use crate::job::event::{Act, DeleteAnswer, Write};
use crate::job::machine::{Live, Machine, Step};
use crate::job::outcome::OutcomeClass;
use crate::job::pace::Dice;
use crate::job::retry::{backoff, stops_the_account};
use crate::job::shard::{Origin, RESULTS_KEPT, Shard, ShardNo, ShardState, UpstreamCopy};
use crate::job::waste::Waste;
use crate::units::{Span, Timestamp};

/// Tries to delete a batch in one life of the process.
const TRIES: u32 = 5;

/// Batches that are being deleted at the same time.
const DELETED_AT_ONCE: usize = 4;

/// What the machine knows of deletions beyond the store.
#[derive(Debug, Default)]
pub(crate) struct Deleting {
    /// Batches that a try without an answer may have deleted.
    unanswered: BTreeSet<ShardNo>,
    /// The newest failure, in words.
    trouble: Option<String>,
    /// The key or the account is refused: no further try in this life.
    refused: bool,
    /// There is nothing else to do.
    alone: bool,
}

/// What became of the upstream's copies of a job's batches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deletions {
    /// Deleted at our request.
    pub deleted: u64,
    /// Not known upstream when they were to be deleted.
    pub missing: u64,
    /// Still there.
    pub there: u64,
    /// Of those, the ones that are never deleted because some of their results could not be read: the
    /// upstream has the only good copy, if there is one.
    pub unproved: u64,
    /// Why a deletion failed last, in words.
    pub trouble: Option<String>,
}

impl Deletions {
    /// Those of settled shards, as the store has them. Batches that the upstream does not keep any
    /// longer at `now` are not counted as being there.
    pub fn of<'a>(shards: impl IntoIterator<Item = &'a Shard>, now: Timestamp) -> Self {
        let mut sums = Self::default();
        for shard in shards {
            let Some(origin) = &shard.origin else {
                continue;
            };
            match origin.copy {
                UpstreamCopy::Deleted => sums.deleted += 1,
                UpstreamCopy::Missing => sums.missing += 1,
                UpstreamCopy::There if now >= origin.kept_until() => {}
                UpstreamCopy::There => {
                    sums.there += 1;
                    sums.unproved += u64::from(!is_whole(shard));
                }
            }
        }
        sums
    }

    /// Batches that could be deleted and are not.
    #[must_use]
    pub fn owed(&self) -> u64 {
        self.there - self.unproved
    }
}

impl Origin {
    /// The batch that a state names, if it does; its copy is there.
    pub(crate) fn of(state: &ShardState) -> Option<Self> {
        let up = state.upstream()?;
        Some(Self {
            batch: up.batch.clone(),
            created_at: up.created_at,
            copy: UpstreamCopy::There,
        })
    }

    /// Until when the upstream keeps the results: 29 days from the batch's creation (Anthropic docs,
    /// batch processing).
    #[must_use]
    pub fn kept_until(&self) -> Timestamp {
        self.created_at + RESULTS_KEPT
    }
}

/// Whether every row of a settled shard had a readable result.
fn is_whole(shard: &Shard) -> bool {
    match &shard.state {
        ShardState::Settled(tally) => tally.outcomes.of(OutcomeClass::ResultUnreadable) == 0,
        _ => false,
    }
}

impl Machine {
    /// From now on nothing but deletions: the job has come to its end before.
    pub fn only_delete(&mut self) {
        self.waste = Waste::at_start(std::iter::empty(), true, self.waste.cost);
        self.deleting.alone = true;
    }

    /// Whether a deletion is under way or will be tried in this life.
    #[must_use]
    pub fn deletes_more(&self) -> bool {
        self.may_delete() && self.shards.values().any(|l| is_owed(l).is_some())
    }

    /// What became of the upstream's copies so far.
    #[must_use]
    pub fn deletions(&self, now: Timestamp) -> Deletions {
        Deletions {
            trouble: self.deleting.trouble.clone(),
            ..Deletions::of(self.shards(), now)
        }
    }

    fn may_delete(&self) -> bool {
        self.facts.delete_upstream && !self.is_hard_stop() && !self.deleting.refused
    }

    /// When the next try is due.
    pub(crate) fn next_deletion(&self) -> Option<Timestamp> {
        let waiting = self.shards.values().filter(|l| !l.busy);
        let due = waiting.filter_map(|l| is_owed(l).map(|_| l.due));
        due.min()
            .filter(|_| self.may_delete() && (self.deleting.alone || !self.is_answered()))
    }

    pub(crate) fn delete_batches(&mut self, now: Timestamp, out: &mut Step) {
        // Once all rows are answered the output comes first. A call that its end cuts off would leave it open
        // whether the batch was deleted.
        if !self.may_delete() || (self.is_answered() && !self.deleting.alone) {
            return;
        }
        let settled = |state: &ShardState| matches!(state, ShardState::Settled(_));
        let numbers: Vec<_> = self.shards.keys().copied().collect();
        for no in numbers {
            let live = self.live(no);
            let Some(batch) = is_owed(live).filter(|_| !live.busy && live.due <= now) else {
                continue;
            };
            if !self.fewer_than(DELETED_AT_ONCE, settled) {
                return;
            }
            out.acts.push(Act::Delete(no, batch.clone()));
            self.live_mut(no).busy = true;
        }
    }

    pub(crate) fn on_deleted(
        &mut self,
        now: Timestamp,
        no: ShardNo,
        answer: DeleteAnswer,
        dice: Dice<'_>,
        out: &mut Step,
    ) {
        self.live_mut(no).busy = false;
        let copy = match answer {
            DeleteAnswer::Deleted => UpstreamCopy::Deleted,
            DeleteAnswer::NotFound if self.deleting.unanswered.contains(&no) => {
                UpstreamCopy::Deleted
            }
            DeleteAnswer::NotFound => UpstreamCopy::Missing,
            DeleteAnswer::Failed {
                kind,
                message,
                retry_after,
            } => {
                if kind.is_none() {
                    self.deleting.unanswered.insert(no);
                }
                self.deleting.refused |= kind.is_some_and(stops_the_account);
                self.deleting.trouble = Some(message);
                let live = self.live_mut(no);
                live.failures += 1;
                if kind == Some(ErrorKind::InvalidRequest) {
                    // It is about this batch, and would be the same the next time.
                    live.failures = TRIES;
                }
                live.due = now + backoff(retry_after, live.failures, dice()) + Span::from_secs(1);
                return;
            }
        };
        // With another key it may be there yet, so the next life asks again.
        self.live_mut(no).failures = TRIES;
        let shard = &mut self.live_mut(no).shard;
        if let Some(origin) = &mut shard.origin {
            origin.copy = copy;
        }
        let shard = Box::new(shard.clone());
        out.writes.push(Write::Shard {
            expect: Some(shard.state.tag()),
            shard,
        });
    }
}

/// The batch of a shard that is to be deleted and may be tried again in this life.
fn is_owed(live: &Live) -> Option<&BatchId> {
    let origin = live.shard.origin.as_ref()?;
    let owed = origin.copy != UpstreamCopy::Deleted && is_whole(&live.shard);
    (owed && live.failures < TRIES).then_some(&origin.batch)
}
