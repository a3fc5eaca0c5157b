//! The nightly job of the page, priced exactly by the rates of a model.

use offpeak_core::price::{Book, Lane, Mode, Model, Rates};
use offpeak_core::units::{Timestamp, Usd};
use offpeak_wire::request::Ttl;

pub(crate) const CALLS: u64 = 5_000;
pub(crate) const PREFIX: u64 = 4_500;
pub(crate) const SUFFIX: u64 = 1_500;
pub(crate) const OUTPUT: u64 = 400;

/// The models of the worked table: one with each of the price levels that have long been there, and the
/// shortest prefixes not too long for it.
pub(crate) const CLASSES: [&str; 3] = ["claude-opus-4-6", "claude-sonnet-4-6", "claude-haiku-4-5"];

/// The day of the price book.
pub(crate) fn day() -> Timestamp {
    Timestamp::of_day(Book::embedded().as_of()).expect("the book has a day")
}

pub(crate) fn model(id: &str) -> &'static Model {
    Book::embedded().model(id).expect("it is in the book")
}

pub(crate) fn rates(model: &str, lane: Lane) -> Rates {
    let rates = self::model(model).rates(day(), Mode::plain(lane));
    rates.expect("it has a price")
}

/// How the shared prefix is paid.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Prefix {
    Plain,
    /// Written by so many calls, read by the others.
    Cached {
        ttl: Ttl,
        writes: u64,
    },
    /// Written by a synchronous call of its own, read by all.
    WrittenAhead(Ttl),
}

pub(crate) fn write_rate(rates: &Rates, ttl: Ttl) -> u64 {
    match ttl {
        Ttl::FiveMinutes => rates.write_5m,
        Ttl::OneHour => rates.write_1h,
    }
}

/// What the job's prefix costs; `prefix` is its length.
pub(crate) fn prefix_bill(model: &str, lane: Lane, how: Prefix, prefix: u64) -> Usd {
    let of = rates(model, lane);
    let pico = |rate: u64, calls: u64| i128::from(rate) * i128::from(calls) * i128::from(prefix);
    Usd::from_pico(match how {
        Prefix::Plain => pico(of.input, CALLS),
        Prefix::Cached { ttl, writes } => {
            pico(write_rate(&of, ttl), writes) + pico(of.read, CALLS - writes)
        }
        Prefix::WrittenAhead(ttl) => {
            let ahead = write_rate(&rates(model, Lane::Sync), ttl);
            pico(ahead, 1) + pico(of.read, CALLS)
        }
    })
}

/// What the whole job costs.
pub(crate) fn bill(model: &str, lane: Lane, how: Prefix) -> Usd {
    let of = rates(model, lane);
    let per_call = SUFFIX * of.input + OUTPUT * of.output;
    prefix_bill(model, lane, how, PREFIX) + Usd::from_pico(i128::from(per_call)).times(CALLS)
}

/// Marked, and so many hundredths of the calls hit.
pub(crate) fn hitting(ttl: Ttl, percent: u64) -> Prefix {
    let writes = CALLS * (100 - percent) / 100;
    Prefix::Cached { ttl, writes }
}

/// Marked, and all but the first hit.
pub(crate) fn one_write(ttl: Ttl) -> Prefix {
    Prefix::Cached { ttl, writes: 1 }
}
