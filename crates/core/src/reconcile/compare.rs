//! Our books against a report, cell by cell, and what is to be thought of each difference.
//!
//! The rule: what the books say for certain must be in the report. What the report has on top is held
//! against what lies across the edges of the window, then against what may have been billed without our
//! knowing; the rest comes from somebody else. Less than the books say has no explanation but that the
//! report is not complete yet.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::price::{Book, Lane, PriceError};
use crate::units::{Timestamp, Usd};

use super::amounts::{Cell, Charge, Class, Counts, Tier};
use super::ours::{Books, Held, Share, Window};

/// What explains the difference of a line. The later in this list, the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// There is none, but for the report's own rounding.
    Equal,
    /// Rows of ours whose moment may lie on either side of the window's edge.
    AtTheEdge,
    /// Calls of ours that may have been billed.
    Unknown,
    /// Nothing of ours: other traffic on the account.
    OtherTraffic,
    /// The report has less than we know was billed.
    Short,
}

/// The tokens of one cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// Model and tier.
    pub cell: Cell,
    /// Ours, for certain.
    pub ours: Counts,
    /// Ours, on one side of an edge or the other.
    pub perhaps: Counts,
    /// The report's.
    pub upstream: Counts,
    /// What explains the difference.
    pub finding: Finding,
}

impl Compared {
    /// The report's tokens of a class less our own.
    #[must_use]
    pub fn residual(&self, class: Class) -> i128 {
        i128::from(self.upstream.get(class)) - i128::from(self.ours.get(class))
    }
}

/// What a cost report has for one charge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Charged {
    /// The sum.
    pub amount: Usd,
    /// Most that the sum may be off because the report rounds.
    pub rounding: Usd,
}

impl Charged {
    /// Adds another line of the same charge.
    pub fn add(&mut self, other: Self) {
        self.amount += other.amount;
        self.rounding += other.rounding;
    }
}

/// The money of one charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Money {
    /// What for.
    pub charge: Charge,
    /// Ours, for certain.
    pub ours: Usd,
    /// Ours, on one side of an edge or the other.
    pub perhaps: Usd,
    /// The report's.
    pub upstream: Charged,
    /// What explains the difference.
    pub finding: Finding,
}

impl Money {
    /// The report's money less our own.
    #[must_use]
    pub fn residual(&self) -> Usd {
        self.upstream.amount - self.ours
    }
}

/// The least that these tokens can have cost: each at its price in a small prompt, outside the US and
/// at standard speed, by the prices of `at`.
///
/// # Errors
/// When the model has no price there.
pub fn least_worth(
    book: &Book,
    at: Timestamp,
    cell: &Cell,
    counts: &Counts,
) -> Result<Usd, PriceError> {
    let lane = match cell.tier {
        Tier::Batch => Lane::Batch,
        Tier::Standard | Tier::Priority | Tier::Other(_) => Lane::Sync,
    };
    let mut worth = Usd::ZERO;
    for class in Class::ALL {
        // A prompt of one token is below every step in the prices.
        let one = Counts::only(class, 1).as_usage();
        let price = book.bill(at, lane, &cell.model, &one)?.total();
        worth += price.times(counts.get(class));
    }
    Ok(worth)
}

/// Tokens against a usage report of the window. `worth` is the least that tokens of a cell can have
/// cost; `None` if nobody knows. Cells come in order.
#[must_use]
pub fn compare_tokens(
    books: &Books,
    window: Window,
    report: &BTreeMap<Cell, Counts>,
    worth: impl Fn(&Cell, &Counts) -> Option<Usd>,
) -> Vec<Compared> {
    let (shares, mut anywhere) = books.shares(window);
    let cells: BTreeSet<&Cell> = shares.keys().chain(report.keys()).collect();
    let compare = |cell: &Cell| {
        let share = shares.get(cell).copied().unwrap_or_default();
        let (ours, perhaps) = (share.certain.counts, share.perhaps.counts);
        let upstream = report.get(cell).copied().unwrap_or_default();
        let more = upstream.less(&ours);
        let beyond = more.less(&perhaps);
        let finding = if !ours.less(&upstream).is_zero() {
            Finding::Short
        } else if more.is_zero() {
            Finding::Equal
        } else if beyond.is_zero() {
            Finding::AtTheEdge
        } else {
            worth(cell, &beyond).map_or(Finding::OtherTraffic, |worth| {
                explained(worth, share.allowed, &mut anywhere)
            })
        };
        Compared {
            cell: cell.clone(),
            ours,
            perhaps,
            upstream,
            finding,
        }
    };
    let lines = cells.into_iter().map(compare);
    lines.filter(|line| !is_blank(line)).collect()
}

fn is_blank(line: &Compared) -> bool {
    line.ours.is_zero() && line.perhaps.is_zero() && line.upstream.is_zero()
}

/// Money against a cost report of the window, which is of whole days. Charges come in order. Tokens
/// of priority tiers are left out, as the report leaves them out.
#[must_use]
pub fn compare_money(
    books: &Books,
    window: Window,
    report: &BTreeMap<Charge, Charged>,
) -> Vec<Money> {
    let (shares, mut anywhere) = books.shares(window);
    let mut ours: BTreeMap<Charge, Owed> = BTreeMap::new();
    for (cell, share) in shares {
        let Share {
            certain,
            perhaps,
            allowed,
        } = share;
        let searches = ours
            .entry(Charge::Fee("web_search".to_owned()))
            .or_default();
        searches.certain += certain.searches;
        searches.perhaps += perhaps.searches;
        if cell.tier == Tier::Priority {
            continue;
        }
        let tokens = ours.entry(Charge::Tokens(cell)).or_default();
        tokens.certain += certain.tokens;
        tokens.perhaps += perhaps.tokens;
        tokens.allowed += allowed;
    }
    let charges: BTreeSet<&Charge> = ours.keys().chain(report.keys()).collect();
    let compare = |charge: &Charge| {
        let owed = ours.get(charge).copied().unwrap_or_default();
        let upstream = report.get(charge).copied().unwrap_or_default();
        let more = upstream.amount - owed.certain;
        let beyond = more - owed.perhaps - upstream.rounding;
        let finding = if more + upstream.rounding < Usd::ZERO {
            Finding::Short
        } else if more <= upstream.rounding {
            Finding::Equal
        } else if beyond <= Usd::ZERO {
            Finding::AtTheEdge
        } else {
            explained(beyond, owed.allowed, &mut anywhere)
        };
        Money {
            charge: charge.clone(),
            ours: owed.certain,
            perhaps: owed.perhaps,
            upstream,
            finding,
        }
    };
    let lines = charges.into_iter().map(compare);
    let blank = |line: &Money| [line.ours, line.perhaps, line.upstream.amount] == [Usd::ZERO; 3];
    lines.filter(|line| !blank(line)).collect()
}

/// Our money for one charge.
#[derive(Debug, Clone, Copy, Default)]
struct Owed {
    certain: Usd,
    perhaps: Usd,
    allowed: Usd,
}

/// Whether what may have been billed covers an amount: first what may only be in its own cell, then
/// what may be in any, of which it uses up its part.
fn explained(amount: Usd, own: Usd, anywhere: &mut Usd) -> Finding {
    let left = (amount - own).max(Usd::ZERO);
    if left > *anywhere {
        return Finding::OtherTraffic;
    }
    *anywhere -= left;
    Finding::Unknown
}

/// What a comparison comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Books and reports say the same.
    Agrees,
    /// What differs is explained by what our books say is not certain.
    Explained,
    /// The upstream has more than we account for: other traffic on the account.
    OtherTraffic,
    /// The upstream has less than we know was billed, but the reports may not be complete yet.
    NotYet,
    /// The upstream has less than we know was billed.
    Defect,
}

impl Verdict {
    /// The verdict of all findings. `overdue` says whether what is missing upstream has had the time to
    /// get there.
    #[must_use]
    pub fn of(findings: impl IntoIterator<Item = Finding>, overdue: bool) -> Self {
        match findings.into_iter().max() {
            None | Some(Finding::Equal) => Self::Agrees,
            Some(Finding::AtTheEdge | Finding::Unknown) => Self::Explained,
            Some(Finding::OtherTraffic) => Self::OtherTraffic,
            Some(Finding::Short) if overdue => Self::Defect,
            Some(Finding::Short) => Self::NotYet,
        }
    }
}

/// What came of holding our books against the upstream's reports. Times are the upstream's.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// Where tokens were compared.
    pub window: Window,
    /// Where money was; the days that hold the window.
    pub days: Window,
    /// Tokens by model and tier.
    pub tokens: Vec<Compared>,
    /// Money by model and tier, and fees; `None` when the report was narrowed to keys, which the cost
    /// report cannot be.
    pub money: Option<Vec<Money>>,
    /// Days on which money differs without an explanation.
    pub days_off: Vec<(Timestamp, Vec<Money>)>,
    /// Most that may have been billed beyond our books in those days, by reason.
    pub allowed: BTreeMap<Held, Usd>,
    /// What it comes to.
    pub verdict: Verdict,
    /// When the reports were asked for.
    pub asked_at: Timestamp,
    /// From when on they are complete; `None` when we have nothing there.
    pub complete_from: Option<Timestamp>,
    /// Answers that were priced again.
    pub answers: u64,
    /// Answers that could not be read again, in words.
    pub unread: Vec<String>,
}
