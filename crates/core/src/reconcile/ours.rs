//! Our own books: what was billed and when, and what may have been.
//!
//! When a row was billed is known to within a stretch of time: a synchronous call between its sending
//! and its answer, a row of a batch between submission and settlement.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::units::{Span, Timestamp, Usd};

use super::amounts::{Amounts, Cell};

/// From one moment to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stretch {
    /// The first moment.
    pub from: Timestamp,
    /// The last, not before it.
    pub to: Timestamp,
}

impl Stretch {
    /// The same for a clock that is `ahead` of the one it was read on by no more than that, and not
    /// behind it; or behind, if `ahead` is negative. `slack` is what else it may be off by.
    #[must_use]
    pub fn on_clock(self, ahead: Span, slack: Span) -> Self {
        Self {
            from: self.from + ahead.min(Span::ZERO) - slack,
            to: self.to + ahead.max(Span::ZERO) + slack,
        }
    }
}

/// Buckets of a report: from one moment to before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    /// Its first moment.
    pub from: Timestamp,
    /// The first moment after it.
    pub to: Timestamp,
}

/// Where a stretch lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Inside,
    Across,
    Outside,
}

impl Window {
    /// The whole buckets of `seconds` that a stretch needs.
    ///
    /// # Panics
    /// If buckets have no length.
    #[must_use]
    pub fn around(stretch: Stretch, seconds: i64) -> Self {
        assert!(seconds > 0, "a bucket has a length");
        let width = seconds.saturating_mul(1_000_000);
        let start = |at: Timestamp| at.as_micros().div_euclid(width).saturating_mul(width);
        Self {
            from: Timestamp::from_micros(start(stretch.from)),
            to: Timestamp::from_micros(start(stretch.to).saturating_add(width)),
        }
    }

    /// The whole buckets of `seconds` that hold this window.
    #[must_use]
    pub fn widened_to(self, seconds: i64) -> Self {
        Self::around(
            Stretch {
                from: self.from,
                to: (self.to - Span::from_micros(1)).max(self.from),
            },
            seconds,
        )
    }

    /// The starts of its buckets of `seconds`.
    pub fn starts(self, seconds: i64) -> impl Iterator<Item = Timestamp> {
        let width = Span::from_secs(seconds);
        std::iter::successors(Some(self.from), move |at| Some(*at + width))
            .take_while(move |at| *at < self.to)
    }

    fn place(self, stretch: Stretch) -> Place {
        if stretch.to < self.from || stretch.from >= self.to {
            Place::Outside
        } else if stretch.from >= self.from && stretch.to < self.to {
            Place::Inside
        } else {
            Place::Across
        }
    }

    /// Whether a moment of the stretch may lie in it.
    #[must_use]
    pub fn touches(self, stretch: Stretch) -> bool {
        self.place(stretch) != Place::Outside
    }
}

/// Why the upstream may have billed more than our books say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// Answers got lost or cannot be read; the calls may have been billed.
    Unknown,
    /// Batches of ours that were billed and answer no row. What they cost is known; which tokens that
    /// was for is not kept.
    Wasted,
    /// Rows are under way, or were when their job was given up.
    UnderWay,
    /// The answers of settled rows are no longer there to be read; the sum is the ledger's.
    Unread,
}

/// An amount that may have been billed, or not, or in part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    /// Why.
    pub why: Held,
    /// When it would have been.
    pub when: Stretch,
    /// To what; `None` when it may be anything.
    pub cell: Option<Cell>,
    /// The most.
    pub amount: Usd,
}

/// What was billed by our books, by cell and time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Books {
    billed: BTreeMap<(Cell, Stretch), Amounts>,
    allowances: Vec<Allowance>,
}

/// What of one cell lies in a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// Certainly.
    pub(super) certain: Amounts,
    /// Perhaps: it lies across an edge.
    pub(super) perhaps: Amounts,
    /// Most that may be there besides, in this cell alone.
    pub(super) allowed: Usd,
}

impl Books {
    /// Enters what was billed.
    pub fn bill(&mut self, cell: Cell, when: Stretch, amounts: &Amounts) {
        self.billed.entry((cell, when)).or_default().add(amounts);
    }

    /// Enters what may have been; nothing is not entered.
    pub fn allow(&mut self, allowance: Allowance) {
        if allowance.amount > Usd::ZERO {
            self.allowances.push(allowance);
        }
    }

    /// Only what was certainly billed before a moment.
    #[must_use]
    pub fn before(&self, at: Timestamp) -> Self {
        let billed = self.billed.iter().filter(|((_, when), _)| when.to < at);
        Self {
            billed: billed
                .map(|(key, amounts)| (key.clone(), *amounts))
                .collect(),
            allowances: self.allowances.clone(),
        }
    }

    /// The last moment at which something in the window may have been billed.
    #[must_use]
    pub fn last(&self, window: Window) -> Option<Timestamp> {
        let touching = self.billed.keys().filter(|(_, when)| window.touches(*when));
        touching.map(|(_, when)| when.to).max()
    }

    /// Most that may have been billed in a window beyond what the books say, by reason.
    #[must_use]
    pub fn allowed(&self, window: Window) -> BTreeMap<Held, Usd> {
        let mut sums: BTreeMap<Held, Usd> = BTreeMap::new();
        for allowance in self.touching(window) {
            *sums.entry(allowance.why).or_default() += allowance.amount;
        }
        sums
    }

    fn touching(&self, window: Window) -> impl Iterator<Item = &Allowance> {
        let touches = move |allowance: &&Allowance| window.touches(allowance.when);
        self.allowances.iter().filter(touches)
    }

    /// The shares of a window by cell, and most that may be there in any.
    pub(super) fn shares(&self, window: Window) -> (BTreeMap<Cell, Share>, Usd) {
        let mut shares: BTreeMap<Cell, Share> = BTreeMap::new();
        for ((cell, when), amounts) in &self.billed {
            let place = window.place(*when);
            if place == Place::Outside {
                continue;
            }
            let share = shares.entry(cell.clone()).or_default();
            if place == Place::Inside {
                share.certain.add(amounts);
            } else {
                share.perhaps.add(amounts);
            }
        }
        let mut anywhere = Usd::ZERO;
        for allowance in self.touching(window) {
            match &allowance.cell {
                Some(cell) => shares.entry(cell.clone()).or_default().allowed += allowance.amount,
                None => anywhere += allowance.amount,
            }
        }
        (shares, anywhere)
    }
}
