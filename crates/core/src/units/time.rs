//! A point in time: microseconds since the Unix epoch, UTC.
//!
//! Nothing here reads a clock; `now` is always an argument. Time zones exist only in the text that is
//! read.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Span;

/// Microseconds since 1970-01-01T00:00:00Z. Serialised as that integer.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// Why a text is not a point in time.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TimeError {
    /// Not RFC 3339, or a day that does not exist.
    #[error("`{text}` is not a point in time; write it like `2026-10-07T08:30:00Z`")]
    NotATimestamp { text: String },
    /// Not `YYYY-MM-DD`, or a day that does not exist.
    #[error("`{text}` is not a day; write it like `2026-10-07`")]
    NotADay { text: String },
}

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// Microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The first moment of a day written `YYYY-MM-DD`, UTC.
    pub fn of_day(text: &str) -> Result<Self, TimeError> {
        let not_a_day = || TimeError::NotADay {
            text: text.to_owned(),
        };
        let well_formed = text.len() == 10 && text.is_ascii();
        let parts = (text.get(0..4), text.get(5..7), text.get(8..10));
        let (true, (Some(year), Some(month), Some(day))) = (well_formed, parts) else {
            return Err(not_a_day());
        };
        if text.as_bytes()[4] != b'-' || text.as_bytes()[7] != b'-' {
            return Err(not_a_day());
        }
        let number = |digits: &str| {
            digits
                .bytes()
                .all(|b| b.is_ascii_digit())
                .then(|| digits.parse::<i16>().ok())
                .flatten()
        };
        let date = number(year)
            .zip(number(month))
            .zip(number(day))
            .and_then(|((y, m), d)| {
                jiff::civil::Date::new(y, i8::try_from(m).ok()?, i8::try_from(d).ok()?).ok()
            });
        let midnight = date.and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC).ok());
        midnight
            .map(|at| Self(at.timestamp().as_microsecond()))
            .ok_or_else(not_a_day)
    }

    /// The day this moment falls on, UTC, as `YYYY-MM-DD`.
    pub fn day(self) -> String {
        let mut text = self.to_string();
        if let Some(end) = text.find('T') {
            text.truncate(end);
        }
        text
    }
}

impl Add<Span> for Timestamp {
    type Output = Self;

    /// A moment too far away to write stays at the last one there is.
    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.as_micros()))
    }
}

impl Sub<Span> for Timestamp {
    type Output = Self;

    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.as_micros()))
    }
}

impl Sub for Timestamp {
    type Output = Span;

    fn sub(self, other: Self) -> Span {
        Span::from_micros(self.0.saturating_sub(other.0))
    }
}

/// RFC 3339 in UTC: `2026-10-07T08:30:00Z`, with as many decimals as there are.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(at) => f.pad(&at.to_string()),
            // RFC 3339 ends with the year 9999.
            Err(_) => f.pad(&format!("{}µs", self.0)),
        }
    }
}

/// Reads RFC 3339 with any offset; digits below a microsecond are dropped.
impl FromStr for Timestamp {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        match text.parse::<jiff::Timestamp>() {
            Ok(at) => Ok(Self(at.as_microsecond())),
            Err(_) => Err(TimeError::NotATimestamp {
                text: text.to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_rfc_3339_and_days() {
        let at = "2026-10-07T00:00:00Z".parse::<Timestamp>().unwrap();
        assert_eq!(at.as_micros(), 1_791_331_200_000_000);
        assert_eq!("2026-10-07T02:00:00+02:00".parse(), Ok(at));
        assert_eq!(Timestamp::of_day("2026-10-07"), Ok(at));
        assert_eq!((at - Span::from_micros(1)).day(), "2026-10-06");
        assert_eq!(
            (at + Span::from_millis(1_500)).to_string(),
            "2026-10-07T00:00:01.5Z"
        );
        for text in [
            "2026-02-30",
            "2026-1-01",
            "20261007",
            "2026-10-07T00:00:00Z",
            "+026-10-07",
            "",
        ] {
            assert!(Timestamp::of_day(text).is_err(), "accepted {text:?}");
        }
        assert!("2026-10-07 noon".parse::<Timestamp>().is_err());
    }

    proptest! {
        #[test]
        fn text_round_trips_and_spans_add_up(
            micros in -60_000_000_000_000_000_i64..200_000_000_000_000_000, gap in 0_i64..1_000_000_000_000,
        ) {
            let at = Timestamp::from_micros(micros);
            prop_assert_eq!(at.to_string().parse(), Ok(at));
            let later = at + Span::from_micros(gap);
            prop_assert_eq!(later - at, Span::from_micros(gap));
            prop_assert_eq!(later - Span::from_micros(gap), at);
        }
    }
}
