//! Token counts.
//!
//! Which class a token is billed as is not known here: that is `price`'s business.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

use super::{Usd, grouped};

/// A number of tokens.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Tokens(u64);

impl Tokens {
    /// None.
    pub const ZERO: Self = Self(0);

    /// A number of tokens.
    pub const fn new(count: u64) -> Self {
        Self(count)
    }

    /// The bare number.
    pub const fn count(self) -> u64 {
        self.0
    }

    /// What these tokens cost at `rate` picodollars each.
    pub fn at_rate(self, rate: u64) -> Usd {
        Usd::from_pico(i128::from(rate)).times(self.0)
    }
}

impl Add for Tokens {
    type Output = Self;

    /// Counts stay at the largest number instead of wrapping around.
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Tokens {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Tokens {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::ZERO, Add::add)
    }
}

/// `1,234,567`.
impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&grouped(&self.0.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_groups_and_costs_exactly() {
        assert_eq!(Tokens::new(1_234_567).to_string(), "1,234,567");
        assert_eq!(Tokens::new(100).to_string(), "100");
        assert_eq!(Tokens::new(3).at_rate(62_500).pico(), 187_500);
        assert_eq!(
            Tokens::new(u64::MAX) + Tokens::new(1),
            Tokens::new(u64::MAX)
        );
    }
}
