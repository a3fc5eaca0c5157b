//! Why something has no price.
//!
//! Every message is a fragment that fits after "failed to price …: "; [`PriceError::hint`] says what
//! to do next.

use thiserror::Error;

use crate::units::Timestamp;

use super::model::Lane;

/// A call that cannot be priced. Nothing is ever priced at zero instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PriceError {
    /// The price book has no such id or alias.
    #[error("unknown model `{model}`{}", did_you_mean(suggestion.as_deref()))]
    UnknownModel {
        model: String,
        suggestion: Option<String>,
    },
    /// The model is known, its price is not public.
    #[error("no public price is known for `{model}`; add it with --price-book")]
    NoPublicPrice { model: String },
    /// The price book has prices for the model, but none for this moment.
    #[error("no price is known for `{model}` on {}; {nearest}", at.day())]
    Gap {
        model: String,
        at: Timestamp,
        nearest: String,
    },
    /// The model had been retired by then.
    #[error("`{model}` was retired on {on}{}", use_instead(replacement.as_deref()))]
    Retired {
        model: String,
        on: String,
        replacement: Option<String>,
    },
    /// The model is not offered on the batch lane.
    #[error("`{model}` cannot be batched")]
    NotBatchable { model: String },
    /// Fast mode exists on the sync lane only (Anthropic docs, fast mode).
    #[error("`{model}` has no fast mode on the batch lane")]
    FastInBatch { model: String },
    /// No fast-mode price is known for the model at that time.
    #[error("no fast-mode price is known for `{model}` on {}", at.day())]
    NoFastPrice { model: String, at: Timestamp },
    /// A contract price or discount times the multipliers is not exact. Only US inference gets this
    /// far: a book that is not exact without it is refused when it is read.
    #[error(
        "the `{class}` rate of `{model}` on the {lane} lane{} is not a whole number of \
         picodollars per token",
        if *us { " with US inference" } else { "" }
    )]
    NotExact {
        model: String,
        class: &'static str,
        lane: Lane,
        us: bool,
    },
    /// `usage.speed` says something this version does not know.
    #[error("unknown `usage.speed` `{speed}`")]
    UnknownSpeed { speed: String },
    /// `usage.inference_geo` says something this version does not know.
    #[error("unknown `usage.inference_geo` `{geo}`")]
    UnknownGeo { geo: String },
    /// The cache writes per lifetime differ from their reported sum.
    #[error("{parts} cache writes by lifetime do not add up to the {total} reported")]
    WritesDoNotAddUp { parts: u128, total: u64 },
}

impl PriceError {
    /// What to type or change next.
    pub fn hint(&self) -> String {
        match self {
            Self::UnknownModel { model, .. } => add_to_book(model),
            Self::NoPublicPrice { model } => add_to_book(model),
            Self::Gap { model, .. } => format!(
                "see `offpeak prices {model}`, or give the price of that time with \
                 --price-book FILE"
            ),
            Self::Retired {
                replacement: Some(replacement),
                ..
            } => {
                format!("set `model` to `{replacement}`")
            }
            Self::Retired { .. } => "choose another model from `offpeak prices`".to_owned(),
            Self::NotBatchable { model } => format!(
                "send it on the sync lane, or choose a model that `offpeak prices` lists with \
                 batch prices instead of `{model}`"
            ),
            Self::FastInBatch { .. } => {
                "remove `speed` from the request, or keep it on the sync lane".to_owned()
            }
            Self::NoFastPrice { model, .. } => format!(
                "remove `speed` from the request, or add a [model.price.fast] row for `{model}` \
                 with --price-book FILE"
            ),
            Self::NotExact { .. } => {
                "pin `inference_geo` to `global` in the requests, or give the price book a price or \
                 discount with fewer decimals"
                    .to_owned()
            }
            Self::UnknownSpeed { .. } => {
                "only `standard` and `fast` have a price; update offpeak".to_owned()
            }
            Self::UnknownGeo { .. } => {
                "only `global`, `us` and `not_available` have a price; update offpeak".to_owned()
            }
            Self::WritesDoNotAddUp { .. } => {
                "the answer's `usage` contradicts itself; keep it and report it".to_owned()
            }
        }
    }
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

fn use_instead(replacement: Option<&str>) -> String {
    replacement.map_or_else(String::new, |name| format!("; its replacement is `{name}`"))
}

fn add_to_book(model: &str) -> String {
    format!(
        "add it to a price book: offpeak … --price-book FILE, with [[model]] id = \"{model}\" … \
         (see `offpeak prices --json`)"
    )
}
