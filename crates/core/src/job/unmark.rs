//! Marks that do not pay: when the first marked batch behind a canary has shown that its rows don't read
//! what was written ahead of them, what is not sent yet goes without marks. A mark that nobody reads
//! makes a preamble dearer, once for every row.
//!
//! A shard that is being measured or is under way keeps its marks: its body is what was measured.
//! Leaves out what is believed of hits (`plan`) and marks on the sync lane, where the first call of a
//! preamble goes ahead of the others.

use offpeak_wire::request::Ttl;
use serde::{Deserialize, Serialize};

use crate::job::event::Write;
use crate::job::machine::{Machine, Step};
use crate::job::outcome::Tally;
use crate::job::shard::{Shard, ShardNo, ShardRole, ShardState};
use crate::plan::{HitPosterior, HitRate};
use crate::price::Lane;
use crate::units::Timestamp;

/// What the machine needs to know to judge marks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkFacts {
    /// The least share of hits from which the marks of some group pay; `None` if nothing is marked
    /// in batches.
    pub needed: Option<HitRate>,
    /// Earlier jobs have shown that such marks pay, so nothing waits to see it again.
    pub proven: bool,
}

/// Why a shard goes without the marks that it was planned with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Unmarked {
    /// Marked rows that were answered before it read too little.
    NoHits {
        /// Rows that read their preamble.
        hits: u64,
        /// Rows that wrote it.
        misses: u64,
        /// The share of hits from which marks pay.
        needed: HitRate,
    },
    /// Its canary took half of the time that the job has.
    LateCanary,
    /// Its canary was not answered.
    FailedCanary,
}

/// What was planned with marks and went, or goes, without them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnmarkedSum {
    /// Why.
    #[serde(flatten)]
    pub why: Unmarked,
    /// Shards.
    pub shards: u64,
    /// Their rows.
    pub rows: u64,
}

impl UnmarkedSum {
    /// The sums over some shards, by reason, in the order of the shards.
    #[must_use]
    pub fn of(shards: &[Shard]) -> Vec<Self> {
        let mut sums: Vec<Self> = Vec::new();
        for shard in shards {
            let Some(why) = shard.unmarked else {
                continue;
            };
            let rows = u64::from(shard.rows.len());
            match sums.iter_mut().find(|sum| sum.why == why) {
                Some(sum) => {
                    sum.shards += 1;
                    sum.rows += rows;
                }
                None => sums.push(Self {
                    why,
                    shards: 1,
                    rows,
                }),
            }
        }
        sums
    }
}

impl Shard {
    /// Sends a planned shard without marks. Its bytes and its worst case stay upper bounds; the body
    /// is measured before it is sent.
    pub(crate) fn unmark(&mut self, why: Unmarked) {
        assert_eq!(self.state, ShardState::Planned, "nothing of it was sent");
        if self.mark.take().is_some() {
            self.unmarked = Some(why);
        }
    }

    fn is_marked_bulk(&self) -> bool {
        self.lane == Lane::Batch && self.role == ShardRole::Bulk && self.mark.is_some()
    }
}

/// Rows of one lifetime that met the cache.
struct Met {
    hits: u64,
    misses: u64,
    belief: HitPosterior,
}

impl Machine {
    /// What the settled marked shards of the bulk have shown.
    fn met(&self, ttl: Ttl) -> Met {
        let mut met = Met {
            hits: 0,
            misses: 0,
            belief: HitPosterior::led(),
        };
        for live in self.shards.values() {
            if live.shard.is_marked_bulk()
                && live.shard.mark == Some(ttl)
                && let ShardState::Settled(tally) = &live.shard.state
            {
                let Tally {
                    cache_hits,
                    cache_misses,
                    ..
                } = **tally;
                met.hits += cache_hits;
                met.misses += cache_misses;
                met.belief = met.belief.after_group(cache_hits, cache_misses);
            }
        }
        met
    }

    /// Takes the marks off what was not sent, once they are known to lose.
    pub(crate) fn stop_marks_that_lose(&mut self, out: &mut Step) {
        let Some(needed) = self.facts.marks.needed else {
            return;
        };
        for ttl in [Ttl::FiveMinutes, Ttl::OneHour] {
            let unsent = |shard: &Shard| {
                shard.state == ShardState::Planned
                    && shard.lane == Lane::Batch
                    && shard.mark == Some(ttl)
            };
            if !self.shards.values().any(|l| !l.busy && unsent(&l.shard)) {
                continue;
            }
            let Met {
                hits,
                misses,
                belief,
            } = self.met(ttl);
            if hits + misses == 0 || !belief.loses(needed) {
                continue;
            }
            let why = Unmarked::NoHits {
                hits,
                misses,
                needed,
            };
            for live in self.shards.values_mut() {
                if live.busy || !unsent(&live.shard) {
                    continue;
                }
                live.shard.unmark(why);
                // There is nothing left to wait for.
                live.shard.after = None;
                let shard = Box::new(live.shard.clone());
                out.writes.push(Write::Shard {
                    expect: Some("planned"),
                    shard,
                });
            }
        }
    }

    /// Whether a marked shard must wait until an earlier one has shown whether its marks are read.
    /// With a deadline it waits no longer than half the slack.
    pub(crate) fn waits_for_hits(&self, now: Timestamp, no: ShardNo) -> bool {
        let marks = self.facts.marks;
        let own = &self.live(no).shard;
        if marks.proven || marks.needed.is_none() || !own.is_marked_bulk() {
            return false;
        }
        let mut alike = self
            .shards
            .values()
            .filter(|l| l.shard.is_marked_bulk() && l.shard.mark == own.mark);
        let Some(first) = alike.next() else {
            return false;
        };
        let settled = |state: &ShardState| matches!(state, ShardState::Settled(_));
        let shown = settled(&first.shard.state) || alike.any(|l| settled(&l.shard.state));
        let patient = self.half_of_the_slack().is_none_or(|at| now < at);
        first.shard.no < no && !shown && patient
    }
}
