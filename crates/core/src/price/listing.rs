//! The price book as plain rows for `offpeak prices`; how they look is decided elsewhere.

use serde::Serialize;

use crate::units::{Timestamp, Usd, grouped};

use super::book::Book;
use super::error::PriceError;
use super::model::{Lane, Mode, Model, Rates, Status};
use super::multiplier::Ratio;

/// One model of the listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListingRow {
    pub id: String,
    pub aliases: Vec<String>,
    pub family: String,
    /// `active`, `limited`, `deprecated` or `retired`.
    pub status: &'static str,
    pub as_of: String,
    pub source: Vec<String>,
    /// Sync lane, global inference; `None` when no price is known for that moment.
    pub standard: Option<ListedRates>,
    /// Batch lane, global inference; `None` when there is none.
    pub batch: Option<ListedRates>,
    /// `None` when it is not published.
    pub min_cacheable_tokens: Option<u32>,
    pub context_window: Option<u64>,
    pub max_output: Option<u64>,
    /// What the columns cannot say: steps, fast mode, validity, replacement.
    pub notes: Vec<String>,
}

/// US$ per million tokens, as exact decimals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListedRates {
    pub input: String,
    pub write_5m: String,
    pub write_1h: String,
    pub read: String,
    pub output: String,
}

/// The models of the book, or the one (by id or alias) or the family that `filter` names, with the
/// prices in force at `at`.
///
/// # Errors
///
/// When `filter` names neither a model nor a family.
pub fn listing(
    book: &Book,
    filter: Option<&str>,
    at: Timestamp,
) -> Result<Vec<ListingRow>, PriceError> {
    let Some(wanted) = filter else {
        return Ok(book.models().map(|model| row(model, at)).collect());
    };
    let family: Vec<ListingRow> = book
        .models()
        .filter(|model| model.family == wanted)
        .map(|model| row(model, at))
        .collect();
    if family.is_empty() {
        Ok(vec![row(book.model(wanted)?, at)])
    } else {
        Ok(family)
    }
}

fn row(model: &Model, at: Timestamp) -> ListingRow {
    let plain = |lane| model.rates(at, Mode::plain(lane)).ok().map(listed);
    ListingRow {
        id: model.id.clone(),
        aliases: model.aliases.clone(),
        family: model.family.clone(),
        status: model.status.as_str(),
        as_of: model.as_of.clone(),
        source: model.source.clone(),
        standard: plain(Lane::Sync),
        batch: plain(Lane::Batch),
        min_cacheable_tokens: model
            .min_cacheable_known
            .then_some(model.min_cacheable_tokens),
        context_window: model.context_window,
        max_output: model.max_output,
        notes: notes(model, at),
    }
}

fn listed(rates: Rates) -> ListedRates {
    let per_million = |rate: u64| Usd::from_pico(rate.into()).times(1_000_000).to_decimal();
    ListedRates {
        input: per_million(rates.input),
        write_5m: per_million(rates.write_5m),
        write_1h: per_million(rates.write_1h),
        read: per_million(rates.read),
        output: per_million(rates.output),
    }
}

fn notes(model: &Model, at: Timestamp) -> Vec<String> {
    let mut notes = Vec::new();
    if model.status == Status::Limited {
        notes.push("needs special access".to_owned());
    }
    let price = match model.price(at) {
        Ok(price) => price,
        Err(error) => {
            notes.push(error.to_string());
            return notes;
        }
    };
    match (model.status, &model.replacement) {
        (Status::Retired, _) => {
            let on = model.retired_on.as_deref().unwrap_or("an unknown day");
            notes.push(format!("retired on {on}"));
        }
        (Status::Deprecated, Some(next)) => notes.push(format!("deprecated; use `{next}`")),
        (_, Some(next)) => notes.push(format!("superseded by `{next}`")),
        (_, None) => {}
    }
    if let Some(until) = price.until {
        notes.push(format!("price changes on {}", until.day()));
    }
    let mode = |fast, long_prompt| Mode {
        fast,
        long_prompt,
        ..Mode::plain(Lane::Sync)
    };
    if let (Some(step), Ok(rates)) = (price.step, model.rates(at, mode(false, true))) {
        let rates = listed(rates);
        notes.push(format!(
            "above {} prompt tokens every token of the request costs more: input {}, 5m write {}, \
             1h write {}, read {}, output {} (sync lane)",
            grouped(&step.above.to_string()),
            rates.input,
            rates.write_5m,
            rates.write_1h,
            rates.read,
            rates.output,
        ));
    }
    if let Ok(rates) = model.rates(at, mode(true, false)) {
        let rates = listed(rates);
        notes.push(format!(
            "fast mode, sync lane only: input {}, output {}",
            rates.input, rates.output
        ));
    }
    if model.us_geo {
        let times = model.scale.multipliers.us.text();
        notes.push(format!("US inference costs {times} times as much"));
    }
    if !model.batch {
        notes.push("cannot be batched".to_owned());
    }
    if model.scale.keep != Ratio::ONE {
        notes.push(format!(
            "a discount is included: {} of the list price",
            model.scale.keep.text()
        ));
    }
    notes
}
