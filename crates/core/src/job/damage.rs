//! Results that were collected and are not there when they are to be settled: the shard goes back to be
//! collected again, which costs nothing for as long as the upstream keeps them.
//!
//! Leaves out answers that are lost after their shard was settled (`mend`, in `offpeak-engine`).

use crate::job::machine::{Machine, Step};
use crate::job::shard::{ShardNo, ShardState};
use crate::units::Timestamp;

impl Machine {
    pub(crate) fn on_results_lost(&mut self, now: Timestamp, no: ShardNo, out: &mut Step) {
        let live = self.live_mut(no);
        live.busy = false;
        live.due = now;
        live.downloads = 0;
        let ShardState::Collected(collection) = &live.shard.state else {
            unreachable!("only a collected shard is settled from its results");
        };
        let upstream = collection.upstream.clone();
        self.move_to(no, ShardState::Ended(upstream), out);
    }
}
