//! What an answer cost, and would have cost by other routes, from the usage that it reports.
//!
//! Leaves out the prices (`offpeak-core`) and what the answer means for its row.

use offpeak_core::job::outcome::Tally;
use offpeak_core::price::{Book, Lane, PriceError};
use offpeak_core::units::Timestamp;
use offpeak_wire::usage::Usage;

/// The sums of one answer, without its outcome, by the prices of `at`.
///
/// Of the two models, that of the answer and that of the request, the first counts; if the price
/// book does not know that name, the second does: an alias may answer under an id that is younger
/// than the book.
///
/// # Errors
///
/// When the answer has no price. It is never taken for free.
pub(crate) fn priced(
    book: &Book,
    lane: Lane,
    at: Timestamp,
    [of_answer, of_request]: [&str; 2],
    usage: &Usage,
) -> Result<Tally, PriceError> {
    match priced_as(book, lane, at, of_answer, usage) {
        Err(PriceError::UnknownModel { .. }) => priced_as(book, lane, at, of_request, usage),
        priced => priced,
    }
}

fn priced_as(
    book: &Book,
    lane: Lane,
    at: Timestamp,
    model: &str,
    usage: &Usage,
) -> Result<Tally, PriceError> {
    let cost = book.bill(at, lane, model, usage)?.total();
    let naive = book.naive(at, model, usage)?;
    let plain_batch = match book.plain_batch(at, model, usage) {
        // Then there is no cheaper way without a cache than the naive one.
        Err(PriceError::NotBatchable { .. }) => naive,
        priced => priced?,
    };
    let (read, written) = (
        usage.cache_read_input_tokens,
        usage.cache_creation_input_tokens,
    );
    Ok(Tally {
        cost,
        naive,
        plain_batch,
        input_tokens: usage.input_tokens,
        cache_read_tokens: read,
        cache_write_tokens: written,
        output_tokens: usage.output_tokens,
        cache_hits: u64::from(read > written),
        cache_misses: u64::from(written > 0 && read <= written),
        ..Tally::default()
    })
}
