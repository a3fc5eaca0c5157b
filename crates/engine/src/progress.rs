//! What a run tells while it works: facts, not prose. Terminals, logs and tests are its consumers.

use offpeak_core::job::outcome::Tally;
use offpeak_core::job::queue::NoRoom;
use offpeak_core::job::shard::{ShardNo, ShardRole};
use offpeak_core::price::Lane;
use offpeak_core::units::Timestamp;

/// Something worth telling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// So much of the input was read.
    Reading {
        /// Bytes.
        bytes: u64,
        /// Of so many, if the input is a file.
        of: Option<u64>,
    },
    /// Rows were counted by the upstream, for the plan.
    Counting {
        /// So many.
        done: u64,
        /// Of so many.
        of: u64,
    },
    /// A shard moved to another state.
    Shard {
        /// Which.
        no: ShardNo,
        /// Its lane.
        lane: Lane,
        /// Why it exists.
        role: ShardRole,
        /// Its rows.
        rows: u32,
        /// The name of its state.
        state: &'static str,
        /// Its batch.
        batch: Option<String>,
    },
    /// Rows have their outcome.
    Rows {
        /// So many.
        done: u64,
        /// Of so many.
        of: u64,
        /// Sums over the settled shards.
        tally: Box<Tally>,
    },
    /// A shard waits for room in the upstream's queue, or none does any longer.
    Queue {
        /// Why, if one does.
        no_room: Option<NoRoom>,
    },
    /// The upstream cannot be reached, or refuses for now; it is tried again.
    Trouble {
        /// Why, in words.
        message: String,
    },
    /// Nothing to do before this time.
    Waiting {
        /// Our time now.
        now: Timestamp,
        /// When something is due.
        until: Timestamp,
    },
}

/// Takes progress in. Called on the driver's task: it must not block.
pub type Report = std::sync::Arc<dyn Fn(Progress) + Send + Sync>;
