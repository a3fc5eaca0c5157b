//! Answers that serve more than one row: of identical rows one is sent, and what an earlier run of the
//! job has answered is taken over.
//!
//! A row that is not sent is in no shard. It has its bytes and its key in the spool as all rows do, and
//! an outcome that says whose answer is its own: of another row of the job, looked up when the output is
//! written, or of an earlier run, copied when the job is made, so that it outlives that run's files. So
//! the machine, the budget and the ledger know nothing of it. Leaves out how such rows are found
//! (`ingest`) and how their lines are made (`output`).

mod again;
mod earlier;

use offpeak_core::job::outcome::Outcomes;
use offpeak_core::units::Usd;
use serde::{Deserialize, Serialize};

use offpeak_core::plan::{self, AskedAgain, Plan, ReuseEffect};

use crate::ingest::Ingested;

pub(crate) use again::{Again, End, Past, Pasts};
pub(crate) use earlier::is_same;
pub(crate) use earlier::{AnswerAt, Offered, Taken, Taker};
pub use earlier::{EarlierRun, earlier_runs};

/// Rows that were answered without a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spared {
    /// How many.
    pub rows: u64,
    /// What their answers cost where they were paid: what it would have cost about to send these rows too.
    #[serde(rename = "cost_picousd")]
    pub cost: Usd,
}

impl Spared {
    /// One more row, whose answer cost so much.
    pub(crate) fn add(&mut self, cost: Usd) {
        self.rows += 1;
        self.cost += cost;
    }
}

/// What it comes to that answers serve more than one row, or would if that were wanted.
#[must_use]
pub fn effect(ingested: &Ingested, plan: &Plan) -> ReuseEffect {
    let spared = |on, rows, saves| plan::Spared { on, rows, saves };
    let (identical, earlier, reuse) = (&ingested.identical, &ingested.earlier, ingested.reuse);
    let saves = plan.saving_without(identical.worst);
    ReuseEffect {
        of: ingested.rows,
        identical: spared(reuse.identical, identical.rows, saves),
        earlier_runs: spared(reuse.earlier_runs, earlier.rows, earlier.paid.approx()),
        asked_again: ingested.again.map(|again| AskedAgain {
            rows: again.rows,
            max_tokens: again.max_tokens,
            unanswered: again.unanswered,
        }),
    }
}

/// What the rows of an output came to that were not sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reused {
    /// How they ended.
    pub outcomes: Outcomes,
    /// Those that share the answer of an identical row.
    pub identical: Spared,
    /// Those that an earlier run has answered.
    pub earlier: Spared,
}

impl Reused {
    pub(crate) fn add(&mut self, other: &Self) {
        self.outcomes.add(&other.outcomes);
        for (sum, part) in [
            (&mut self.identical, other.identical),
            (&mut self.earlier, other.earlier),
        ] {
            sum.rows += part.rows;
            sum.cost += part.cost;
        }
    }
}
