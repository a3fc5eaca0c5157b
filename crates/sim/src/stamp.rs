//! Owns the two spellings of an instant the API uses: RFC 3339 with microseconds in bodies, and
//! the HTTP date in headers. Instants are microseconds since the Unix epoch; no clock is read.

pub(crate) const SECOND: i64 = 1_000_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;

/// The first moment of the year 9999. No clock gets beyond it, so that sums with days do not
/// overflow and every instant can be written.
#[cfg(feature = "server")]
pub(crate) const LAST: i64 = 253_370_764_800 * SECOND;

fn instant(micros: i64) -> jiff::Timestamp {
    // Out of jiff's range (beyond the year 9999) only a broken clock gets; the epoch then shows.
    jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

/// `2026-11-22T10:00:00.000000Z`.
pub(crate) fn rfc3339(micros: i64) -> String {
    format!("{:.6}", instant(micros))
}

/// `2026-11-22T10:00:00Z`, as rate-limit headers write it.
pub(crate) fn rfc3339_seconds(micros: i64) -> String {
    format!("{:.0}", instant(micros))
}

/// `Sun, 22 Nov 2026 10:00:00 GMT`, the `date` header (RFC 9110).
pub(crate) fn http_date(micros: i64) -> String {
    jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&instant(micros))
        .unwrap_or_default()
}

/// The beginnings of the calendar month of an instant, and of the next one (UTC).
pub(crate) fn month(micros: i64) -> (i64, i64) {
    let first = instant(micros)
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date()
        .first_of_month();
    let start = |date: jiff::civil::Date| {
        let zoned = date.to_zoned(jiff::tz::TimeZone::UTC);
        zoned.map_or(i64::MAX, |zoned| zoned.timestamp().as_microsecond())
    };
    let next = first.saturating_add(jiff::Span::new().months(1));
    (start(first), start(next))
}

/// The instant of an RFC 3339 text.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let at: jiff::Timestamp = text.parse().ok()?;
    Some(at.as_microsecond())
}

/// Midnight UTC of a `YYYY-MM-DD` date.
pub(crate) fn midnight(date: &str) -> Option<i64> {
    let date: jiff::civil::Date = date.parse().ok()?;
    let zoned = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(zoned.timestamp().as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        let at = midnight("2026-11-22").unwrap() + 10 * HOUR + 7;
        assert_eq!(rfc3339(at), "2026-11-22T10:00:00.000007Z");
        assert_eq!(http_date(at), "Sun, 22 Nov 2026 10:00:00 GMT");
        #[cfg(feature = "server")]
        assert_eq!(midnight("9999-01-01"), Some(LAST));
        assert_eq!(midnight("2026-13-01"), None);
        let day = |date| midnight(date).unwrap();
        assert_eq!(month(at), (day("2026-11-01"), day("2026-12-01")));
        assert_eq!(parse("2026-11-22T11:00:00.000007+01:00"), Some(at));
    }
}
