//! `offpeak prices`: the price book, at a moment.

use offpeak_core::price::listing;
use offpeak_report::prices_text;
use serde_json::json;

use crate::args::PricesArgs;
use crate::error::{Exit, ExpectedError};
use crate::settings::{self, Settings};

pub(crate) fn prices(args: &PricesArgs, settings: &Settings) -> Result<Exit, ExpectedError> {
    let book = settings.book()?;
    let at = args
        .at
        .map_or_else(|| settings::now(false), |moment| moment.0);
    let models = listing(&book, args.model.as_deref(), at)?;
    let answer = json!({ "as_of": book.as_of(), "at": at.to_string(), "models": models });
    settings
        .printer
        .answer(|width| prices_text(&models, width), &answer)?;
    Ok(Exit::Success)
}
