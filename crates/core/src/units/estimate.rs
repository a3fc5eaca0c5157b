//! Money that is expected: a range in floating point.
//!
//! An estimate never becomes a [`Usd`]; the only way between the two is from the exact amount to the
//! estimate. This file is the one place where money meets floating point.

use std::fmt;
use std::iter::Sum;
use std::ops::Add;

use serde::{Deserialize, Serialize};

use super::Usd;

/// A low, expected and high amount in US dollars.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Estimate {
    pub low: f64,
    pub mid: f64,
    pub high: f64,
}

impl Estimate {
    /// An estimate without spread.
    pub const fn point(usd: f64) -> Self {
        Self {
            low: usd,
            mid: usd,
            high: usd,
        }
    }

    /// An estimate of something whose amount is known.
    pub fn known(amount: Usd) -> Self {
        Self::point(amount.approx())
    }

    /// All three amounts times a factor that is not negative.
    pub fn scale(self, factor: f64) -> Self {
        Self {
            low: self.low * factor,
            mid: self.mid * factor,
            high: self.high * factor,
        }
    }
}

impl Usd {
    /// The nearest floating-point number of US dollars, for estimates, plots and ratios only.
    pub fn approx(self) -> f64 {
        self.pico() as f64 / 1e12
    }

    /// This amount as a share of `whole`; `None` when `whole` is zero.
    pub fn ratio_to(self, whole: Self) -> Option<f64> {
        (whole != Self::ZERO).then(|| self.pico() as f64 / whole.pico() as f64)
    }
}

impl Add for Estimate {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            low: self.low + other.low,
            mid: self.mid + other.mid,
            high: self.high + other.high,
        }
    }
}

impl Sum for Estimate {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), Add::add)
    }
}

/// `$1.20 ($0.90–$1.60)`, or `$1.20` when there is no spread.
impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, mid, high) = (dollars(self.low), dollars(self.mid), dollars(self.high));
        if low == high {
            f.pad(&mid)
        } else {
            f.pad(&format!("{mid} ({low}–{high})"))
        }
    }
}

/// Cents, or three significant digits where cents would hide the amount.
fn dollars(amount: f64) -> String {
    let size = amount.abs();
    let decimals = match size {
        s if s >= 0.1 || s == 0.0 => 2,
        s if s >= 0.01 => 4,
        s if s >= 0.000_1 => 6,
        _ => 9,
    };
    let text = format!("{size:.decimals$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, "00"));
    let sign = if amount < 0.0 { "-" } else { "" };
    format!("{sign}${}.{fraction}", super::grouped(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_scales_and_shows_its_range() {
        let a = Estimate {
            low: 0.5,
            mid: 0.75,
            high: 1.0,
        };
        let b = a + Estimate::point(0.25);
        assert_eq!(
            b,
            Estimate {
                low: 0.75,
                mid: 1.0,
                high: 1.25
            }
        );
        assert_eq!(b.scale(2.0).to_string(), "$2.00 ($1.50–$2.50)");
        assert_eq!(
            Estimate::known("1234.5".parse().unwrap()).to_string(),
            "$1,234.50"
        );
        assert_eq!(Estimate::point(0.001_234).to_string(), "$0.001234");
    }

    #[test]
    fn a_ratio_needs_a_whole() {
        let half = "0.5".parse::<Usd>().unwrap();
        assert_eq!(half.ratio_to("2".parse().unwrap()), Some(0.25));
        assert_eq!(half.ratio_to(Usd::ZERO), None);
    }
}
