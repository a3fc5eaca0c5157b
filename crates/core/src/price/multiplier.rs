//! Factors on a rate, applied exactly or not at all.

use crate::units::Usd;

use super::model::{Lane, Rates};

/// Decimals a ratio may be written with.
pub(super) const RATIO_PLACES: u32 = 6;
const RATIO_UNIT: u128 = 1_000_000;

/// A positive fraction in lowest terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ratio {
    num: u128,
    den: u128,
}

impl Ratio {
    pub(super) const ONE: Self = Self { num: 1, den: 1 };

    /// A ratio given in millionths, above zero.
    pub(super) fn from_millionths(millionths: u128) -> Self {
        Self {
            num: millionths,
            den: RATIO_UNIT,
        }
        .reduced()
    }

    fn reduced(self) -> Self {
        let (mut a, mut b) = (self.num, self.den);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        Self {
            num: self.num / a.max(1),
            den: self.den / a.max(1),
        }
    }

    fn checked_mul(self, other: Self) -> Option<Self> {
        // Most factors are one, and dividing numbers of 128 bits takes its time.
        if self == Self::ONE || other == Self::ONE {
            return Some(if self == Self::ONE { other } else { self });
        }
        let num = self.num.checked_mul(other.num)?;
        let den = self.den.checked_mul(other.den)?;
        Some(Self { num, den }.reduced())
    }

    /// `rate` times this, or `None` when that is not a whole number.
    fn of(self, rate: u64) -> Option<u64> {
        let product = u128::from(rate).checked_mul(self.num)?;
        // Nearly always small numbers, whose division is many times faster.
        if let (Ok(product), Ok(den)) = (u64::try_from(product), u64::try_from(self.den)) {
            return product.is_multiple_of(den).then(|| product / den);
        }
        let whole = product
            .is_multiple_of(self.den)
            .then(|| product / self.den)?;
        u64::try_from(whole).ok()
    }

    /// `1.1`, or `11/3` when it has no short decimal form.
    pub(super) fn text(self) -> String {
        let pico = self
            .num
            .checked_mul(1_000_000_000_000)
            .filter(|p| p.is_multiple_of(self.den));
        match pico.and_then(|pico| i128::try_from(pico / self.den).ok()) {
            Some(pico) => Usd::from_pico(pico).to_decimal(),
            None => format!("{}/{}", self.num, self.den),
        }
    }
}

/// The multipliers of a price book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Multipliers {
    pub(super) batch: Ratio,
    pub(super) us: Ratio,
}

/// Everything that stands between a model's listed rate and the rate that is charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scale {
    pub(super) multipliers: Multipliers,
    /// What a contract's discounts leave of every rate.
    pub(super) keep: Ratio,
}

impl Scale {
    pub(super) fn new(multipliers: Multipliers) -> Self {
        Self {
            multipliers,
            keep: Ratio::ONE,
        }
    }

    /// This scale with another discount on top; `None` when it cannot be held exactly.
    pub(super) fn discounted(self, keep: Ratio) -> Option<Self> {
        Some(Self {
            keep: self.keep.checked_mul(keep)?,
            ..self
        })
    }

    /// The factor of a lane and geography; `None` when it cannot be held exactly.
    fn factor(self, lane: Lane, us: bool) -> Option<Ratio> {
        let lane = match lane {
            Lane::Sync => Ratio::ONE,
            Lane::Batch => self.multipliers.batch,
        };
        let geo = if us { self.multipliers.us } else { Ratio::ONE };
        self.keep.checked_mul(lane)?.checked_mul(geo)
    }

    /// Every rate times every factor that applies, or the name of the class that is not whole.
    pub(super) fn apply(self, rates: Rates, lane: Lane, us: bool) -> Result<Rates, &'static str> {
        let factor = self.factor(lane, us).ok_or("factor")?;
        Ok(Rates {
            input: factor.of(rates.input).ok_or("input")?,
            write_5m: factor.of(rates.write_5m).ok_or("write_5m")?,
            write_1h: factor.of(rates.write_1h).ok_or("write_1h")?,
            read: factor.of(rates.read).ok_or("read")?,
            output: factor.of(rates.output).ok_or("output")?,
        })
    }
}
