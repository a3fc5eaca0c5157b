//! What a call costs: the dated price book and exact bills.
//!
//! Owns the price data's rules (validity, multipliers, the prompt-size step, fast mode, contract
//! prices) and the arithmetic from reported usage to money. Prices are data: no figure of a model
//! stands in this code. Anything unknown is an error, never zero. Leaves out estimates, cache plans
//! and how a listing looks.
#![deny(clippy::float_arithmetic)]

mod bill;
mod book;
mod book_error;
mod decode;
mod error;
mod listing;
mod model;
mod multiplier;
mod reader;

#[cfg(test)]
mod examples;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod overlays;
#[cfg(test)]
mod published;
#[cfg(test)]
mod refusals;

pub use bill::{Bill, Ceiling};
pub use book::Book;
pub use book_error::{BookError, BookErrorKind};
pub use error::PriceError;
pub use listing::{ListedRates, ListingRow, listing};
pub use model::{Lane, Mode, Model, Rates, Status};
