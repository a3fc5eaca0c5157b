//! A length of time in microseconds, and the way people write it.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Neg, Sub};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::scaled;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// Units a length may be written in, longest first.
const UNITS: [(&str, i64); 5] = [
    ("d", DAY),
    ("h", HOUR),
    ("m", MINUTE),
    ("s", SECOND),
    ("ms", 1_000),
];

/// A length of time in microseconds; may be negative. Serialised as that integer.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Span(i64);

/// Why a text is not a length of time.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SpanError {
    /// No sequence of numbers and units, or the units are out of order.
    #[error("`{text}` is not a length of time; write it like `8h`, `90m`, `45s`, `2d` or `1h30m`")]
    NotASpan { text: String },
    /// Longer than 290,000 years.
    #[error("`{text}` is too long")]
    TooLong { text: String },
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// Microseconds.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Milliseconds; too many stay at the longest span there is.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// Seconds; too many stay at the longest span there is.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(SECOND))
    }

    /// The length in microseconds.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The length in seconds.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl Add for Span {
    type Output = Self;

    /// Sums stay at the longest span instead of wrapping around.
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Span {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Neg for Span {
    type Output = Self;

    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl Sum for Span {
    fn sum<I: Iterator<Item = Self>>(spans: I) -> Self {
        spans.fold(Self::ZERO, Add::add)
    }
}

/// The two largest units that matter: `350ms`, `12.3s`, `4m 05s`, `1h 05m`, `2d 03h`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = i128::from(self.0).abs();
        // Each bracket is tried with its own rounding, so that 59.96 s is `1m 00s`, not `60.0s`.
        let rounded = |step: i64| (micros + i128::from(step) / 2) / i128::from(step);
        let pairs = |count: i128, per: i128, big: &str, small: &str| {
            format!("{}{big} {:02}{small}", count / per, count % per)
        };
        let (millis, tenths) = (rounded(1_000), rounded(100_000));
        let (seconds, minutes, hours) = (rounded(SECOND), rounded(MINUTE), rounded(HOUR));
        let text = if micros == 0 {
            "0s".to_owned()
        } else if millis < 1_000 {
            format!("{millis}ms")
        } else if tenths < 600 {
            match tenths % 10 {
                0 => format!("{}s", tenths / 10),
                tenth => format!("{}.{tenth}s", tenths / 10),
            }
        } else if seconds < 3_600 {
            pairs(seconds, 60, "m", "s")
        } else if minutes < 24 * 60 {
            pairs(minutes, 60, "h", "m")
        } else {
            pairs(hours, 24, "d", "h")
        };
        let sign = if self.0 < 0 { "-" } else { "" };
        f.pad(&format!("{sign}{text}"))
    }
}

/// Reads numbers with units from long to short: `8h`, `1h30m`, `2d 12h`, `12.3s`, `500ms`.
impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let not_a_span = || SpanError::NotASpan {
            text: text.to_owned(),
        };
        let too_long = || SpanError::TooLong {
            text: text.to_owned(),
        };
        let mut rest = text;
        let mut units = UNITS.as_slice();
        let mut total: i64 = 0;
        while !rest.is_empty() {
            let number_len = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .ok_or_else(not_a_span)?;
            let (number, tail) = rest.split_at(number_len);
            let unit_len = tail
                .find(|c: char| !c.is_ascii_lowercase())
                .unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit_len);
            let at = units
                .iter()
                .position(|(name, _)| *name == unit)
                .ok_or_else(not_a_span)?;
            let millionths = scaled(number, 6).map_err(|_| not_a_span())?;
            let micros = millionths
                .checked_mul(i128::from(units[at].1))
                .ok_or_else(too_long)?;
            if micros % 1_000_000 != 0 {
                return Err(not_a_span());
            }
            let micros = i64::try_from(micros / 1_000_000).map_err(|_| too_long())?;
            total = total.checked_add(micros).ok_or_else(too_long)?;
            units = &units[at + 1..];
            rest = match tail.strip_prefix(' ') {
                Some("") => return Err(not_a_span()),
                Some(next) => next,
                None => tail,
            };
        }
        if text.is_empty() {
            Err(not_a_span())
        } else {
            Ok(Self(total))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, secs) in [
            ("8h", 28_800),
            ("90m", 5_400),
            ("45s", 45),
            ("2d", 172_800),
            ("1h30m", 5_400),
            ("1h 05m", 3_900),
            ("1.5h", 5_400),
        ] {
            assert_eq!(text.parse(), Ok(Span::from_secs(secs)), "{text}");
        }
        assert_eq!("12.3s".parse(), Ok(Span::from_millis(12_300)));
        for text in [
            "",
            "8",
            "h",
            "8 h",
            "30m1h",
            "1h1h",
            "-1h",
            "8h ",
            "1hr",
            "8H",
            "0.0000001s",
        ] {
            assert!(text.parse::<Span>().is_err(), "accepted {text:?}");
        }
        assert!(matches!(
            "999999999999d".parse::<Span>(),
            Err(SpanError::TooLong { .. })
        ));
    }

    #[test]
    fn shows_two_units_and_never_sixty_of_one() {
        for (micros, shown) in [
            (0, "0s"),
            (350_000, "350ms"),
            (999_600, "1s"),
            (12_300_000, "12.3s"),
            (59_940_000, "59.9s"),
            (59_960_000, "1m 00s"),
            (245_000_000, "4m 05s"),
            (3_599_600_000, "1h 00m"),
            (3_900_000_000, "1h 05m"),
            (86_399_000_000, "1d 00h"),
            (183_600_000_000, "2d 03h"),
            (-3_900_000_000, "-1h 05m"),
        ] {
            assert_eq!(Span::from_micros(micros).to_string(), shown, "{micros}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back_within_its_last_unit(micros in 1_000_i64..400_000_000_000_000) {
            let span = Span::from_micros(micros);
            let read = span.to_string().parse::<Span>().unwrap();
            let off = (read - span).as_micros().abs();
            let last = if micros < SECOND { 1_000 } else if micros < MINUTE { 100_000 }
                else if micros < HOUR { SECOND } else if micros < DAY { MINUTE } else { HOUR };
            prop_assert!(off * 2 <= last, "{} is {} off", span, off);
        }
    }
}
