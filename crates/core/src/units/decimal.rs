//! Decimal text to a scaled integer, exactly.
//!
//! Owns the one parser that amounts, prices and ratios share. It knows no currency sign, no exponent
//! and no thousands separator: `12,50` means different things in different countries, and money that
//! can be misread is refused.

use thiserror::Error;

/// Why a decimal text was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecimalError {
    /// Something other than digits with at most one point between them.
    #[error("`{text}` is not a decimal number; write it like `12.50`")]
    NotADecimal { text: String },
    /// More decimals than the unit can hold.
    #[error("`{text}` has more than {allowed} decimals")]
    TooManyDecimals { text: String, allowed: u32 },
    /// Does not fit the integer behind the unit.
    #[error("`{text}` is too large")]
    TooLarge { text: String },
}

/// Reads `text` as a decimal number and returns it times 10^`places`.
///
/// Trailing zeros beyond `places` are refused as well: whoever writes them means a precision that is
/// not kept.
pub(crate) fn scaled(text: &str, places: u32) -> Result<i128, DecimalError> {
    let not_a_decimal = || DecimalError::NotADecimal {
        text: text.to_owned(),
    };
    let (negative, magnitude) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = match magnitude.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return Err(not_a_decimal()),
        None => (magnitude, ""),
    };
    if whole.is_empty()
        || !whole
            .bytes()
            .chain(fraction.bytes())
            .all(|b| b.is_ascii_digit())
    {
        return Err(not_a_decimal());
    }
    let missing = u32::try_from(fraction.len())
        .ok()
        .and_then(|have| places.checked_sub(have));
    let Some(missing) = missing else {
        return Err(DecimalError::TooManyDecimals {
            text: text.to_owned(),
            allowed: places,
        });
    };
    let too_large = || DecimalError::TooLarge {
        text: text.to_owned(),
    };
    let mut value: i128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        value = value
            .checked_mul(10)
            .and_then(|value| value.checked_add(i128::from(digit - b'0')))
            .ok_or_else(too_large)?;
    }
    let scale = 10_i128.checked_pow(missing).ok_or_else(too_large)?;
    let value = value.checked_mul(scale).ok_or_else(too_large)?;
    Ok(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_exactly() {
        assert_eq!(scaled("12.5", 6), Ok(12_500_000));
        assert_eq!(scaled("-0.000001", 6), Ok(-1));
        assert_eq!(scaled("007", 0), Ok(7));
    }

    #[test]
    fn refuses_what_could_be_misread() {
        for text in [
            "", "-", ".5", "5.", "1e3", "1,000", "12,50", "+1", " 1", "1.2.3", "0x10", "٣",
        ] {
            assert!(
                matches!(scaled(text, 6), Err(DecimalError::NotADecimal { .. })),
                "accepted {text:?}"
            );
        }
        assert!(matches!(
            scaled("0.0000001", 6),
            Err(DecimalError::TooManyDecimals { .. })
        ));
        assert!(matches!(
            scaled(&"9".repeat(40), 0),
            Err(DecimalError::TooLarge { .. })
        ));
        assert!(matches!(
            scaled(&"9".repeat(30), 12),
            Err(DecimalError::TooLarge { .. })
        ));
    }
}
