//! What our own books say, held against the reports of the upstream: tokens by class and money, per
//! model and service tier.
//!
//! A difference is judged, not only shown: rows whose moment is not known to the second may fall on
//! either side of an edge, calls of unknown outcome may have been billed, and other programs may use
//! the same account. What no such thing explains is a defect (`compare`). Leaves out where our figures
//! are read (`offpeak-engine`) and how the upstream's look (`offpeak-wire`).

mod amounts;
mod compare;
mod ours;

#[cfg(test)]
mod laws;

pub use amounts::{Amounts, Cell, Charge, Class, Counts, Tier};
pub use compare::{
    Charged, Compared, Comparison, Finding, Money, Verdict, compare_money, compare_tokens,
    least_worth,
};
pub use ours::{Allowance, Books, Held, Stretch, Window};
