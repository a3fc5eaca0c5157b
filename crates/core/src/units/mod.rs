//! Numbers with a unit: money, tokens, time.
//!
//! Arithmetic exists only where it means something (tokens times a rate is money; money times money
//! is nothing). Prices, formatting of whole tables and clocks live elsewhere.

mod decimal;
mod estimate;
mod money;
mod span;
mod time;
mod tokens;

pub use decimal::DecimalError;
pub use estimate::Estimate;
pub use money::Usd;
pub use span::{Span, SpanError};
pub use time::{TimeError, Timestamp};
pub use tokens::Tokens;

pub(crate) use decimal::scaled;

/// Writes `digits` in groups of three, as people read large numbers.
pub(crate) fn grouped(digits: &str) -> String {
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
