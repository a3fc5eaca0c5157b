//! Money that is owed or was paid: whole picodollars.
//!
//! At 1e-12 US$ every published price, batch and geography multipliers included, is a whole number,
//! so a ledger of millions of rows adds up without a rounding rule. Rounding happens once, on
//! display. There is deliberately no way in from floating point and no product of two amounts;
//! estimates are [`super::Estimate`].
#![deny(clippy::float_arithmetic, clippy::arithmetic_side_effects)]

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::decimal::{DecimalError, scaled};
use super::grouped;

/// Decimals of a picodollar.
const PLACES: u32 = 12;
/// Picodollars in a US dollar.
const PICO_PER_USD: u128 = 1_000_000_000_000;
/// Picodollars in the smallest displayed step, a millionth of a dollar.
const PICO_PER_SHOWN: u128 = 1_000_000;

const OVERFLOW: &str = "no amount of US$ 1.7e26 exists, so an overflow is a bug";

/// US dollars as integer picodollars (1e-12 US$).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Usd(i128);

impl Usd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// An amount of picodollars.
    pub const fn from_pico(pico: i128) -> Self {
        Self(pico)
    }

    /// The amount in picodollars.
    pub const fn pico(self) -> i128 {
        self.0
    }

    /// The sum, or `None` on overflow.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, or `None` on overflow.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// This amount `count` times, exactly. Panics on overflow, which only a bug can cause.
    pub fn times(self, count: u64) -> Self {
        Self(self.0.checked_mul(i128::from(count)).expect(OVERFLOW))
    }

    /// The exact amount in US dollars without trailing zeros: `12.5`, `0.000000000001`, `-3`.
    pub fn to_decimal(self) -> String {
        let (dollars, rest) = split(self.0.unsigned_abs(), PICO_PER_USD);
        let fraction = format!("{rest:012}");
        let fraction = fraction.trim_end_matches('0');
        let sign = if self.0 < 0 { "-" } else { "" };
        let point = if fraction.is_empty() { "" } else { "." };
        format!("{sign}{dollars}{point}{fraction}")
    }
}

/// Quotient and remainder of two positive numbers, the second never zero.
fn split(value: u128, by: u128) -> (u128, u128) {
    (
        value.checked_div(by).expect("divides by a constant"),
        value.checked_rem(by).expect("divides by a constant"),
    )
}

/// `$1.234567`: cents at least, at most six decimals, rounded once and half away from zero.
impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = split(self.0.unsigned_abs(), PICO_PER_SHOWN);
        let round = u128::from(rest.saturating_mul(2) >= PICO_PER_SHOWN);
        let shown = whole.checked_add(round).expect(OVERFLOW);
        let (dollars, micros) = split(shown, 1_000_000);
        let sign = if self.0 < 0 && shown > 0 { "-" } else { "" };
        let fraction = format!("{micros:06}");
        let (cents, beyond) = fraction.split_at(2);
        let beyond = beyond.trim_end_matches('0');
        f.pad(&format!(
            "{sign}${}.{cents}{beyond}",
            grouped(&dollars.to_string())
        ))
    }
}

/// Reads `12.5`, `$12.50` or `-$0.01`, exactly; more than twelve decimals are refused.
impl FromStr for Usd {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Self, DecimalError> {
        let bare = match text.strip_prefix("-$") {
            Some(rest) if !rest.starts_with('-') => format!("-{rest}"),
            Some(_) => {
                return Err(DecimalError::NotADecimal {
                    text: text.to_owned(),
                });
            }
            None => text.strip_prefix('$').unwrap_or(text).to_owned(),
        };
        if text.starts_with("$-") {
            return Err(DecimalError::NotADecimal {
                text: text.to_owned(),
            });
        }
        scaled(&bare, PLACES).map(Self)
    }
}

impl Add for Usd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.checked_add(other).expect(OVERFLOW)
    }
}

impl Sub for Usd {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.checked_sub(other).expect(OVERFLOW)
    }
}

impl AddAssign for Usd {
    fn add_assign(&mut self, other: Self) {
        *self = self.checked_add(other).expect(OVERFLOW);
    }
}

impl SubAssign for Usd {
    fn sub_assign(&mut self, other: Self) {
        *self = self.checked_sub(other).expect(OVERFLOW);
    }
}

impl Neg for Usd {
    type Output = Self;

    fn neg(self) -> Self {
        Self(self.0.checked_neg().expect(OVERFLOW))
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, |sum, amount| {
            sum.checked_add(amount).expect(OVERFLOW)
        })
    }
}

impl<'a> Sum<&'a Self> for Usd {
    fn sum<I: Iterator<Item = &'a Self>>(amounts: I) -> Self {
        amounts.copied().sum()
    }
}

/// A decimal string of picodollars: JSON numbers lose digits above 2^53 in many readers.
impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        scaled(&text, 0).map(Self).map_err(de::Error::custom)
    }
}

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "the amounts of the tests stay far from the limits"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn amount() -> impl Strategy<Value = Usd> {
        (-1_000_000_000_000_000_000_000_000_i128..1_000_000_000_000_000_000_000_000)
            .prop_map(Usd::from_pico)
    }

    #[test]
    fn shows_cents_at_least_and_rounds_once() {
        for (pico, shown) in [
            (0, "$0.00"),
            (1_000_000_000_000, "$1.00"),
            (1_234_567_000_000, "$1.234567"),
            (1_200_000_000_000, "$1.20"),
            (499_999, "$0.00"),
            (500_000, "$0.000001"),
            (-499_999, "$0.00"),
            (-500_000, "-$0.000001"),
            (999_999_499_999, "$0.999999"),
            (999_999_500_000, "$1.00"),
            (1_234_567_890_100_000_000, "$1,234,567.8901"),
        ] {
            assert_eq!(Usd::from_pico(pico).to_string(), shown, "{pico}");
        }
        assert_eq!(
            format!("{:>8}|", Usd::from_pico(1_500_000_000_000)),
            "   $1.50|"
        );
    }

    #[test]
    fn reads_amounts_and_refuses_what_it_cannot_hold() {
        assert_eq!("$12.50".parse(), Ok(Usd::from_pico(12_500_000_000_000)));
        assert_eq!("0.000000000001".parse(), Ok(Usd::from_pico(1)));
        assert_eq!("-$0.01".parse(), Ok(Usd::from_pico(-10_000_000_000)));
        for text in [
            "",
            "$",
            "$-1",
            "-$-1",
            "$$1",
            "1,000.00",
            "12 USD",
            "1.0000000000000",
        ] {
            assert!(text.parse::<Usd>().is_err(), "accepted {text:?}");
        }
    }

    #[test]
    fn is_a_string_in_json() {
        let amount = Usd::from_pico(i128::MAX);
        let json = serde_json::to_string(&amount).unwrap();
        assert_eq!(json, format!("\"{}\"", i128::MAX));
        assert_eq!(serde_json::from_str::<Usd>(&json).unwrap(), amount);
        assert!(serde_json::from_str::<Usd>("\"1.5\"").is_err());
        assert!(serde_json::from_str::<Usd>("15").is_err());
    }

    #[test]
    #[should_panic(expected = "an overflow is a bug")]
    fn an_overflow_is_never_silent() {
        let _sum = Usd::from_pico(i128::MAX) + Usd::from_pico(1);
    }

    proptest! {
        #[test]
        fn addition_is_associative_and_undone_by_subtraction(
            a in amount(), b in amount(), c in amount(),
        ) {
            prop_assert_eq!((a + b) + c, a + (b + c));
            prop_assert_eq!(a + b - b, a);
            prop_assert_eq!(a + -a, Usd::ZERO);
        }

        #[test]
        fn splitting_a_sum_loses_nothing(
            amounts in prop::collection::vec(amount(), 0..40), cut in 0_usize..40, n in 0_u64..1_000_000,
        ) {
            let (left, right) = amounts.split_at(cut.min(amounts.len()));
            let parts = left.iter().sum::<Usd>() + right.iter().sum::<Usd>();
            prop_assert_eq!(parts, amounts.iter().sum::<Usd>());
            if let Some(&first) = amounts.first() {
                prop_assert_eq!(first.times(n) + first, first.times(n + 1));
            }
        }

        #[test]
        fn exact_text_and_json_round_trip(amount in amount()) {
            prop_assert_eq!(amount.to_decimal().parse::<Usd>(), Ok(amount));
            let json = serde_json::to_string(&amount).unwrap();
            prop_assert_eq!(serde_json::from_str::<Usd>(&json).unwrap(), amount);
        }

        #[test]
        fn display_is_within_half_a_step_and_keeps_order(a in amount(), b in amount()) {
            let read = |usd: Usd| usd.to_string().replace(',', "").parse::<Usd>().unwrap();
            prop_assert!((read(a) - a).pico().abs() <= 500_000);
            prop_assert!(a > b || read(a) <= read(b));
            // Rounding once: what is shown is shown the same when it is rounded again.
            prop_assert_eq!(read(a).to_string(), a.to_string());
        }
    }
}
