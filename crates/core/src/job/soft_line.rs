//! The soft line of a budget: what a job is expected to come to, and whether more of it may begin.
//!
//! The hard budget counts the most that calls can cost, which may be many times what they do. The soft line
//! counts what is expected, with a margin that what is under way exceeds once in a hundred times at the most
//! (Hoeffding, for costs between nothing and the worst case of each row; economics.md, 2g). What is expected
//! is a share of the worst case: as planned, and more and more as the rows so far have shown. These are
//! estimates in floating point; none becomes money. Leaves out the hard budget (`budget`), and cuts no shard:
//! what a batch holds must not depend on an estimate, or another disk could not find it again.

use crate::job::event::Stop;
use crate::job::machine::Machine;
use crate::job::shard::{Shard, ShardNo, ShardState};
use crate::price::Lane;
use crate::units::Usd;

/// The plan's share counts as much as so many rows.
const ROWS_OF_THE_PLAN: f64 = 20.0;

/// `ln(1/δ)/2` for δ = 1 %: half of `ln 100`.
const HALF_LOG: f64 = std::f64::consts::LN_10;

/// What is left below the line, in picodollars, and what is under way towards it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SoftRoom {
    /// The line without what was spent.
    left: f64,
    /// What a row costs of its worst case, on average.
    share: f64,
    /// The worst cases of what is under way.
    worst: f64,
    /// At least the sum of their squares, row by row.
    squares: f64,
}

impl SoftRoom {
    fn of(left: Usd, share: f64) -> Self {
        Self {
            left: approx(left),
            share,
            worst: 0.0,
            squares: 0.0,
        }
    }

    /// Rows are under way that cost at most `worst` together, and each of them at most `dearest`.
    fn take(&mut self, worst: Usd, dearest: Usd) {
        let worst = approx(worst);
        self.worst += worst;
        // Squares add up to the most where as few rows as possible have all of it.
        self.squares += worst * approx(dearest).min(worst);
    }

    /// Takes more rows in, unless the line might then be crossed.
    #[must_use]
    pub(crate) fn admit(&mut self, worst: Usd, dearest: Usd) -> bool {
        let mut with = *self;
        with.take(worst, dearest);
        let expected = with.share * with.worst;
        // No more than all of it can be paid, however few the rows.
        let most = (expected + (HALF_LOG * with.squares).sqrt()).min(with.worst);
        let fits = most <= with.left;
        if fits {
            *self = with;
        }
        fits
    }
}

impl Machine {
    /// What is left below the soft line; `None` without one.
    pub(crate) fn soft_room(&self) -> Option<SoftRoom> {
        let line = self.facts.soft_budget?;
        let mut room = SoftRoom::of(line - self.spent(), self.share());
        for live in self.shards.values() {
            let shard = &live.shard;
            match &shard.state {
                ShardState::Planned if live.busy && shard.lane == Lane::Batch => {
                    room.take(shard.worst, self.dearest(shard.lane));
                }
                ShardState::Planned => {}
                // Whether they were billed nobody knows; it is thought that they were.
                ShardState::Settled(tally) => room.take(tally.unknown, self.dearest(shard.lane)),
                ShardState::Running => {
                    let progress = self.sync.progress(shard.no);
                    room.take(progress.unknown, self.dearest(shard.lane));
                    for worst in self.sync.in_flight(shard.no) {
                        room.take(worst, worst);
                    }
                }
                _ => room.take(shard.worst, self.dearest(shard.lane)),
            }
        }
        Some(room)
    }

    /// Whether a batch may begin, as far as the soft line goes.
    pub(crate) fn fits_below_soft_line(&self, no: ShardNo) -> bool {
        let shard = &self.live(no).shard;
        let fits = |mut room: SoftRoom| room.admit(shard.worst, self.dearest(shard.lane));
        self.soft_room().is_none_or(fits)
    }

    /// No batch may begin for now. Calls may, and turn out cheaper; if not, it is the sync lane that stops.
    pub(crate) fn batches_stop_at_soft_line(&mut self) {
        let has_calls = |shard: &Shard| match shard.state {
            ShardState::Planned => shard.lane == Lane::Sync && shard.after.is_none(),
            ref state => *state == ShardState::Running,
        };
        if !self.shards.values().any(|l| has_calls(&l.shard)) {
            self.stop_at_soft_line();
        }
    }

    /// Nothing more may begin for now. If nothing is under way, that stays so.
    pub(crate) fn stop_at_soft_line(&mut self) {
        let coming =
            |shard: &Shard| shard.lane == Lane::Batch && shard.state == ShardState::Planned;
        let is_coming = self.shards.values().any(|l| l.busy && coming(&l.shard));
        if is_coming || self.may_release() {
            return;
        }
        let line = self.facts.soft_budget.expect("it is at the line");
        let spent = self.spent();
        self.stop_for(Stop::SoftBudget { line, spent });
    }

    fn spent(&self) -> Usd {
        self.tally().cost + self.waste.cost
    }

    /// Most that one row can cost on a lane.
    fn dearest(&self, lane: Lane) -> Usd {
        match (self.facts.dearest.pico(), lane) {
            // A job that an earlier version made does not say; then all of it may be one row's.
            (0, _) => Usd::from_pico(i128::MAX),
            (pico, Lane::Batch) => Usd::from_pico(pico / 2 + 1),
            (pico, Lane::Sync) => Usd::from_pico(pico),
        }
    }

    /// What a row is expected to cost of its worst case.
    fn share(&self) -> f64 {
        let worst_of_done = |shard: &Shard| {
            let done = match &shard.state {
                ShardState::Settled(tally) => tally.outcomes.total(),
                ShardState::Running => self.sync.progress(shard.no).outcomes.total(),
                _ => 0,
            };
            approx(shard.worst) * approx_count(done) / f64::from(shard.rows.len().max(1))
        };
        let worst: f64 = self.shards.values().map(|l| worst_of_done(&l.shard)).sum();
        let tally = self.tally();
        let shown = if worst > 0.0 {
            approx(tally.cost) / worst
        } else {
            1.0
        };
        let (planned, rows) = (
            self.facts.expected_share,
            approx_count(tally.outcomes.total()),
        );
        (planned * ROWS_OF_THE_PLAN + shown * rows) / (ROWS_OF_THE_PLAN + rows)
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn approx(amount: Usd) -> f64 {
    amount.pico() as f64
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn approx_count(rows: u64) -> f64 {
    rows as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn usd(pico: i128) -> Usd {
        Usd::from_pico(pico)
    }

    #[test]
    fn many_rows_need_little_more_than_what_is_expected() {
        let share = 0.1;
        // A thousand rows of 1,000 at the most: 100,000 are expected, and 48,000 are the margin.
        for (left, fits) in [(149_000, true), (147_000, false)] {
            let mut room = SoftRoom::of(usd(left), share);
            assert_eq!(room.admit(usd(1_000_000), usd(1_000)), fits);
        }
        // One row of the same worst case can cost all of it.
        for (left, fits) in [(1_000_000, true), (999_999, false)] {
            let mut room = SoftRoom::of(usd(left), share);
            assert_eq!(room.admit(usd(1_000_000), usd(i128::MAX)), fits);
        }
    }

    proptest! {
        /// Costs of any kind, if they are of the expected mean: the line is crossed once in a hundred times at
        /// the most.
        #[test]
        fn what_is_admitted_seldom_crosses_the_line(
            share in 0.01f64..0.9,
            // Some shards, each of rows with the same worst case.
            shards in prop::collection::vec((1u64..100, 1i128..1_000), 1..6),
            slack in 1.0f64..3.0,
            mut dice in Just(()).prop_perturb(|(), dice| dice),
        ) {
            let worst = |(rows, row): &(u64, i128)| usd(*row).times(*rows);
            let all: Usd = shards.iter().map(worst).sum();
            #[expect(clippy::cast_possible_truncation, reason = "a test")]
            let left = usd((approx(all) * share * slack) as i128);
            let mut room = SoftRoom::of(left, share);
            // All of a kind in one batch, in which one row is as dear as can be.
            let dearest = shards.iter().map(|(_, row)| usd(*row)).max().unwrap();
            let admitted = room.admit(all, dearest);
            // The widest costs of that mean: all or nothing.
            let mut pays = || f64::from(dice.next_u32()) < share * f64::from(u32::MAX);
            let crossed = (0..400)
                .filter(|_| {
                    let paid = |(rows, row): &(u64, i128)| {
                        usd(*row).times((0..*rows).filter(|_| pays()).count() as u64)
                    };
                    shards.iter().map(paid).sum::<Usd>() > left
                })
                .count();
            prop_assume!(admitted);
            prop_assert!(crossed <= 16, "{crossed} of 400");
        }
    }
}
