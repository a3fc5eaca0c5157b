//! Giving a job up: nothing more is sent, what is upstream is brought home, and every other row ends as
//! canceled.
//!
//! Leaves out what a canceled row says (`settle`, in `offpeak-engine`).

use serde::{Deserialize, Serialize};

use crate::job::event::Act;
use crate::job::machine::{Machine, Step};
use crate::job::shard::{Proof, ShardNo, ShardState};

/// How much of a job is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cancel {
    /// All that can be: batches upstream are canceled, and what they have finished by then is kept, as it
    /// is billed.
    Everything,
    /// What was not sent: batches upstream run to their end.
    Unsent,
}

impl Machine {
    pub(crate) fn is_canceled(&self) -> bool {
        self.facts.cancel.is_some()
    }

    /// Ends what nobody waits for any more. Batches that are not proved ours are looked at as ever: one of
    /// somebody else is never canceled.
    pub(crate) fn cancel(&mut self, how: Cancel, out: &mut Step) {
        let numbers: Vec<ShardNo> = self.shards.keys().copied().collect();
        for no in numbers {
            let live = self.live(no);
            if live.busy {
                continue;
            }
            let act = match &live.shard.state {
                // An earlier life of the job may have paid for it.
                ShardState::Planned if self.has_scouted() => Act::Settle(no),
                ShardState::Running if !self.sync.is_at_work(no) => Act::Settle(no),
                ShardState::InProgress(up)
                    if how == Cancel::Everything
                        && up.proof == Proof::Certain
                        && self.is_within_reach(&live.shard) =>
                {
                    let up = up.clone();
                    self.move_to(no, ShardState::Canceling(up.clone()), out);
                    Act::Cancel(no, up.batch)
                }
                _ => continue,
            };
            let unsent = |s: &ShardState| matches!(s, ShardState::Planned | ShardState::Running);
            if matches!(act, Act::Settle(_)) && !self.fewer_than(1, unsent) {
                continue;
            }
            self.live_mut(no).busy = true;
            out.acts.push(act);
        }
    }
}
