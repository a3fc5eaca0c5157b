//! How single figures are written: amounts with equal decimals within a table, shares, moments.
//!
//! Leaves out the units' own forms (`offpeak-core`), which are for prose.

use offpeak_core::units::{Timestamp, Tokens, Usd};

/// Decimals of a US dollar that the amounts of a table are shown with: enough that the largest
/// has four significant digits, and never fewer than cents.
pub(crate) fn decimals(largest: Usd) -> usize {
    const USD: i128 = 1_000_000_000_000;
    match largest.pico().abs() {
        0 => 2,
        pico if pico >= 100 * USD => 2,
        pico if pico >= USD => 4,
        _ => 6,
    }
}

/// `$1,234.5600`: rounded half away from zero.
pub(crate) fn dollars(amount: Usd, decimals: usize) -> String {
    const PLACES: usize = 12;
    let cut = u32::try_from(PLACES.saturating_sub(decimals)).unwrap_or(0);
    let step = 10u128.pow(cut);
    let shown = (amount.pico().unsigned_abs() + step / 2) / step;
    let scale = 10u128.pow(u32::try_from(PLACES).unwrap_or(0) - cut);
    let (whole, rest) = (shown / scale, shown % scale);
    let sign = if amount.pico() < 0 && shown > 0 {
        "-"
    } else {
        ""
    };
    let whole = count(u64::try_from(whole).unwrap_or(u64::MAX));
    if decimals == 0 {
        format!("{sign}${whole}")
    } else {
        format!("{sign}${whole}.{rest:0decimals$}")
    }
}

/// Decimals for expected amounts of a table: cents, or three significant digits of the smallest.
pub(crate) fn estimate_decimals(smallest: f64) -> usize {
    match smallest {
        usd if usd >= 0.1 || usd <= 0.0 => 2,
        usd if usd >= 0.01 => 4,
        _ => 6,
    }
}

/// `$1,234.57`: an expected amount.
pub(crate) fn estimate(usd: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", usd.abs());
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, "00"));
    let whole = whole.parse().map_or_else(|_| whole.to_owned(), count);
    let sign = if usd < 0.0 { "-" } else { "" };
    format!("{sign}${whole}.{fraction}")
}

/// `1,234`.
pub(crate) fn count(number: u64) -> String {
    Tokens::new(number).to_string()
}

/// `1 call`, `2 calls`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// `12.3%` of a whole. Only all is 100.0%, and only nothing is 0.0%.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".to_owned();
    }
    let (part, whole) = (u128::from(part), u128::from(whole));
    let rounded = (part * 1_000 + whole / 2) / whole;
    let tenths = match part {
        0 => 0,
        all if all == whole => 1_000,
        _ => rounded.clamp(1, 999),
    };
    format!("{}.{}%", tenths / 10, tenths % 10)
}

/// `12.3%` from a share.
pub(crate) fn share(share: f64) -> String {
    let text = format!("{:.1}%", share * 100.0);
    if text == "-0.0%" {
        "0.0%".to_owned()
    } else {
        text
    }
}

/// `2026-11-22 08:30`, in UTC.
pub(crate) fn minute(at: Timestamp) -> String {
    let text = at.to_string();
    match (text.get(..10), text.get(11..16)) {
        (Some(day), Some(minute)) => format!("{day} {minute}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_of_a_table_have_equal_decimals() {
        let usd = |text: &str| text.parse::<Usd>().unwrap();
        assert_eq!(dollars(usd("1234.567"), 2), "$1,234.57");
        assert_eq!(dollars(usd("0.9999995"), 6), "$1.000000");
        assert_eq!(dollars(usd("-0.004"), 2), "$0.00");
        assert_eq!(dollars(usd("-0.005"), 2), "-$0.01");
        assert_eq!(dollars(Usd::ZERO, 6), "$0.000000");
        assert_eq!(decimals(usd("99.99")), 4);
        assert_eq!(decimals(usd("0.5")), 6);
    }

    #[test]
    fn a_share_of_almost_all_is_not_all() {
        assert_eq!(percent(99_999, 100_000), "99.9%");
        assert_eq!(percent(1, 100_000), "0.1%");
        assert_eq!(percent(5, 5), "100.0%");
        assert_eq!(percent(0, 0), "–");
        assert_eq!(share(-0.000_01), "0.0%");
    }

    #[test]
    fn expected_amounts_have_cents_or_three_digits() {
        let shown = |usd| estimate(usd, estimate_decimals(usd));
        assert_eq!(shown(1_234.567), "$1,234.57");
        assert_eq!(shown(0.037_7), "$0.0377");
        assert_eq!(shown(0.0), "$0.00");
    }

    #[test]
    fn moments_are_cut_to_the_minute() {
        let at = "2026-11-22T08:30:59.5Z".parse().unwrap();
        assert_eq!(minute(at), "2026-11-22 08:30");
    }

    proptest! {
        #[test]
        fn what_is_shown_is_within_half_a_step(pico in -1_000_000_000_000_000_000_i128..1_000_000_000_000_000_000) {
            let amount = Usd::from_pico(pico);
            let shown: Usd = dollars(amount, 4).replace(',', "").parse().unwrap();
            prop_assert!((shown - amount).pico().abs() * 2 <= 100_000_000);
        }
    }
}
