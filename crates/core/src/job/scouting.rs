//! Looking for batches of an earlier life of the job: its memory may have been lost with a disk, and
//! what it paid for then must not be paid again.
//!
//! Leaves out the looking itself (`act`, in `offpeak-engine`).

use offpeak_wire::error::ErrorKind;

use crate::job::account::Account;
use crate::job::event::{Act, OurBatch, Scouted, Search, Stop};
use crate::job::machine::{Live, Machine, Step, is_fatal};
use crate::job::settlement::half_up;
use crate::job::shard::{Proof, Shard, ShardState, Upstream};
use crate::price::Lane;
use crate::units::{Span, Timestamp};

/// Time to the next look, after one that failed and while a batch runs that may be ours.
const AFTER_FAILURE: Span = Span::from_secs(10);
const WHILE_IT_RUNS: Span = Span::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scouting {
    Wanted,
    /// One is under way; `stale` if rows were left over since it began, which it does not look for.
    Busy {
        stale: bool,
    },
    /// Look again then.
    Again(Timestamp),
    Done,
}

impl Scouting {
    /// Before its first submission every job knocks, to learn the server's time; and before it asks for
    /// a batch that an earlier process made, to learn whether the key in use is of the account that has it.
    /// How far it then looks is another question (`Search`). If its memory was lost, calls that are unsent
    /// count too: the life before may have had the time for a batch of them.
    pub(crate) fn at_start(shards: &[Shard]) -> Self {
        let settled = |s: &Shard| matches!(s.state, ShardState::Settled(_));
        if shards.iter().any(|s| s.account.is_some() && !settled(s)) {
            return Self::Wanted;
        }
        let was_lost = shards.iter().any(|s| s.found);
        let unsent =
            |s: &Shard| s.state == ShardState::Planned && (s.lane == Lane::Batch || was_lost);
        if shards.iter().any(unsent) {
            Self::Wanted
        } else {
            Self::Done
        }
    }

    pub(crate) fn is_busy(self) -> bool {
        matches!(self, Self::Busy { .. })
    }

    pub(crate) fn next_look(self) -> Option<Timestamp> {
        match self {
            Self::Again(at) => Some(at),
            Self::Wanted | Self::Busy { .. } | Self::Done => None,
        }
    }
}

impl Machine {
    pub(crate) fn scout(&mut self, now: Timestamp, out: &mut Step) {
        // Then only waste is looked for.
        if self.is_answered() {
            return;
        }
        let wanted = match self.scouting {
            Scouting::Wanted => true,
            Scouting::Again(at) => now >= at,
            Scouting::Busy { .. } | Scouting::Done => false,
        };
        if wanted {
            self.scouting = Scouting::Busy { stale: false };
            let unsent = self
                .shards
                .values()
                .filter(|l| l.shard.state == ShardState::Planned);
            let mut rows: Vec<u64> = unsent.map(|l| u64::from(l.shard.rows.len())).collect();
            if self.facts.budget.is_some() && self.memory_was_lost() {
                // The life before may have cut them anywhere.
                rows = (1..=rows.into_iter().max().unwrap_or(0)).collect();
            }
            let search = match () {
                // Nothing is sent any more, so nothing can be paid again.
                () if self.stop.is_some() => Search::Knock,
                () if self.facts.scout => Search::All,
                // The store may be that of a backup, older than what was sent since.
                () if self.facts.resumed => Search::Ended,
                () => Search::Knock,
            };
            out.acts.push(Act::Scout { rows, search });
        }
    }

    /// What a shard has left over may have been sent by the life before, too, if that shard was.
    pub(crate) fn scout_again(&mut self) {
        if (self.facts.scout || self.facts.resumed) && self.memory_was_lost() {
            self.scouting = match self.scouting {
                Scouting::Busy { .. } => Scouting::Busy { stale: true },
                Scouting::Wanted | Scouting::Again(_) | Scouting::Done => Scouting::Wanted,
            };
        }
    }

    /// Takes note of the account in use, and stops if batches of the job are in another one: there they can
    /// neither be fetched nor be proved absent.
    fn meet(&mut self, account: Account) {
        let elsewhere = |l: &&Live| {
            let other = l
                .shard
                .account
                .as_ref()
                .filter(|a| !account.sees_batches_of(a));
            other.is_some() && !matches!(l.shard.state, ShardState::Settled(_))
        };
        let strangers: Vec<_> = self.shards.values().filter(elsewhere).collect();
        if let Some(theirs) = strangers.first().and_then(|l| l.shard.account.clone()) {
            let batches = strangers.len() as u64;
            let ours = account.clone();
            self.stop_for(Stop::OtherAccount {
                batches,
                theirs,
                ours,
            });
        }
        self.account = Some(account);
    }

    /// Whether the batch of a shard may be asked for: not before it is known that the key in use can see it.
    pub(crate) fn is_within_reach(&self, shard: &Shard) -> bool {
        shard.account.is_none() || self.account.is_some()
    }

    /// Whether batches are still brought home after a soft stop that came before the account was known.
    pub(crate) fn must_meet(&self) -> bool {
        let asks = |state: &ShardState| {
            matches!(
                state,
                ShardState::Submitting(_)
                    | ShardState::Unknown(_)
                    | ShardState::InProgress(_)
                    | ShardState::Canceling(_)
                    | ShardState::Ended(_)
            )
        };
        let waits = |l: &Live| asks(&l.shard.state) && !self.is_within_reach(&l.shard);
        self.stop.is_some() && !self.is_hard_stop() && self.shards.values().any(waits)
    }

    pub(crate) fn memory_was_lost(&self) -> bool {
        self.taken_back() > 0
    }

    fn taken_back(&self) -> usize {
        self.shards.values().filter(|l| l.shard.found).count()
    }

    pub(crate) fn on_scouted(&mut self, now: Timestamp, scouted: Scouted, out: &mut Step) {
        let Scouted {
            account,
            failed,
            other_rows,
            mut ours,
            suspects,
        } = scouted;
        let stale = self.scouting == Scouting::Busy { stale: true };
        self.scouting = Scouting::Again(now + AFTER_FAILURE);
        match failed {
            Some(_) if self.waste.is_last_look() => {
                self.waste.looked(true);
                return;
            }
            Some((kind, message)) if is_fatal(kind) => {
                let kind = kind.unwrap_or(ErrorKind::Unknown);
                self.stop_for(Stop::Upstream { kind, message });
                return;
            }
            Some(_) => return,
            None => {}
        }
        if let Some(account) = account {
            self.meet(account);
        }
        // Where nothing more is sent, nothing is paid again.
        let unwanted = self.waste.is_last_look() || self.is_canceled();
        if let Some(batch) = other_rows.filter(|_| !unwanted) {
            self.stop_for(Stop::SentOtherRows { batch });
        }
        if self.stop.is_some() {
            return;
        }
        // What a budget cut has its numbers in the order in which it was cut.
        ours.sort_by_key(|found| (found.created_at, found.shard));
        let known = self.taken_back();
        for found in ours {
            self.take_back(now, found, out);
        }
        // Behind one that the budget cut there may be others.
        if self.waste.is_last_look() {
            self.waste.looked(false);
            self.scouting = Scouting::Done;
            return;
        }
        let looks_again = self.facts.budget.is_some() && self.taken_back() > known;
        // A batch that runs cannot be told from another of its size; paying twice is worse than
        // waiting until its results say whose it is.
        self.scouting = match () {
            () if stale => Scouting::Wanted,
            () if looks_again && self.stop.is_none() => Scouting::Again(now + AFTER_FAILURE),
            () if suspects.is_empty() => Scouting::Done,
            () => Scouting::Again(now + WHILE_IT_RUNS),
        };
    }

    /// Takes a batch of the earlier life as the one of its shard.
    fn take_back(&mut self, now: Timestamp, found: OurBatch, out: &mut Step) {
        let OurBatch {
            shard: no,
            batch,
            rows,
            created_at,
        } = found;
        let cut = |s: &Shard| {
            let unsent = s.state == ShardState::Planned && s.lane == Lane::Batch;
            unsent && u64::from(s.rows.len()) > rows
        };
        if self.facts.budget.is_some()
            && let Some(live) = self.shards.get(&no).filter(|live| cut(&live.shard))
        {
            // What the parts can cost at the most is not known here: as much as the whole, until somebody
            // measures.
            let whole = (live.shard.worst, live.shard.bytes);
            let first = u32::try_from(rows).expect("fewer than its shard has");
            self.cut(no, first, whole, whole, out);
        }
        let fits = |s: &Shard| u64::from(s.rows.len()) == rows;
        let unwanted = self.waste.is_last_look() || self.is_canceled();
        match self.shards.get_mut(&no) {
            // Its shard has taken it on trust; the search does not know that, as nobody owns it for certain.
            Some(live)
                if live
                    .shard
                    .state
                    .upstream()
                    .is_some_and(|up| up.batch == batch) => {}
            Some(live) if live.shard.state == ShardState::Planned && fits(&live.shard) => {
                live.shard.after = None;
                live.shard.found = true;
                if live.shard.lane == Lane::Sync {
                    // This life had less time left, and would have made calls of them.
                    live.shard.lane = Lane::Batch;
                    live.shard.worst = half_up(live.shard.worst);
                    live.shard.mark = None;
                }
                live.shard.account.clone_from(&self.account);
                let proof = Proof::Certain;
                let up = Upstream {
                    batch,
                    created_at,
                    since: now,
                    proof,
                };
                self.reserve(no, out);
                self.move_to(no, ShardState::InProgress(up), out);
            }
            // Its doubt is being resolved; that finds the batch as well.
            Some(live)
                if matches!(
                    live.shard.state,
                    ShardState::Submitting(_) | ShardState::Unknown(_)
                ) => {}
            // The results of what it took on trust decide.
            Some(live)
                if live
                    .shard
                    .state
                    .upstream()
                    .is_some_and(|up| up.proof != Proof::Certain) => {}
            // Its rows have their answers, or will have them from another batch.
            Some(live) if live.shard.state != ShardState::Planned => {
                self.waste.note(OurBatch {
                    shard: no,
                    batch,
                    rows,
                    created_at,
                });
            }
            // Nothing that it was made for is sent any more.
            _ if unwanted => self.waste.note(OurBatch {
                shard: no,
                batch,
                rows,
                created_at,
            }),
            // The run over all shards looks again.
            None if self.facts.probing => {}
            // What it left over this life has not left over yet; then it looks again.
            None if no.is_of_leftovers() => {}
            _ => {
                let message = format!(
                    "batch {batch} carries the mark of this job for rows that this run has cut \
                     differently (shard {no}, {rows} rows); `--fresh` starts anew and pays them again"
                );
                self.stop_for(Stop::Upstream {
                    kind: ErrorKind::Conflict,
                    message,
                });
            }
        }
    }

    /// Whether everything that an earlier life may have paid for is accounted for.
    pub(crate) fn has_scouted(&self) -> bool {
        self.scouting == Scouting::Done
    }

    pub(crate) fn may_submit(&self) -> bool {
        self.stop.is_none() && self.has_scouted() && !self.is_canceled()
    }
}
