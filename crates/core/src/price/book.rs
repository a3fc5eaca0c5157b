//! The price book: finding a model, and laying a user's prices over the public ones.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use crate::units::Usd;

use super::book_error::{BookError, BookErrorKind};
use super::decode::{Stated, stated};
use super::error::PriceError;
use super::model::{Lane, Model, Status};
use super::multiplier::{Multipliers, Ratio};
use super::reader::{Source, nearest};

const EMBEDDED: &str = include_str!("../../../../data/prices.toml");

/// Dated prices of many models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Book {
    as_of: String,
    origin: String,
    multipliers: Multipliers,
    /// The multipliers stand in the file itself instead of being taken over.
    states_multipliers: bool,
    web_search: Usd,
    states_web_search: bool,
    /// What this book's discount leaves of the rates it is laid over.
    keep: Option<Ratio>,
    models: Vec<Model>,
    /// Ids and aliases.
    names: BTreeMap<String, usize>,
}

impl Book {
    /// The public list prices this version was built with.
    pub fn embedded() -> &'static Self {
        static BOOK: OnceLock<Book> = OnceLock::new();
        BOOK.get_or_init(|| {
            let source = Source {
                text: EMBEDDED,
                origin: "built-in prices",
            };
            Self::read(source, None).expect("a test reads the same built-in text")
        })
    }

    /// Reads a price book in TOML; `origin` is its name in messages.
    ///
    /// A file may be partial: what it does not state of `[multipliers]` and `[tool_fees]` is taken
    /// over from the built-in prices here and from the book below in [`Book::overlaid`].
    ///
    /// # Errors
    ///
    /// When anything in it is unknown, contradictory, or not exact in picodollars.
    pub fn parse(toml: &str, origin: &str) -> Result<Self, BookError> {
        Self::read(Source { text: toml, origin }, Some(Self::embedded()))
    }

    fn read(source: Source<'_>, base: Option<&Self>) -> Result<Self, BookError> {
        let defaults = base.map(|base| base.multipliers);
        let Stated {
            as_of,
            multipliers,
            web_search,
            keep,
            models,
        } = stated(source, defaults)?;
        let missing = |key: &str| source.error(0, key, BookErrorKind::Missing);
        let default_fee = base.map(|base| base.web_search);
        Ok(Self {
            names: names(&models, source.origin)?,
            as_of,
            origin: source.origin.to_owned(),
            states_multipliers: multipliers.is_some(),
            multipliers: multipliers
                .or(defaults)
                .ok_or_else(|| missing("multipliers"))?,
            states_web_search: web_search.is_some(),
            web_search: web_search
                .or(default_fee)
                .ok_or_else(|| missing("tool_fees"))?,
            keep,
            models,
        })
    }

    /// This book with a user's book on top: whole model rows replace rows of the same id, new ones
    /// are added, and a `discount` lowers every rate of the rows that `over` does not list itself.
    /// Rows that `over` lists are contract prices and are taken as written.
    ///
    /// # Errors
    ///
    /// When a discounted rate is not a whole number of picodollars per token, or a name of a new
    /// row already belongs to another model.
    pub fn overlaid(&self, over: Self) -> Result<Self, BookError> {
        let multipliers = if over.states_multipliers {
            over.multipliers
        } else {
            self.multipliers
        };
        let key = if over.keep.is_some() {
            "discount"
        } else {
            "multipliers"
        };
        let inexact = |kind| BookError::of_file(&over.origin, key, kind);
        let mut models = Vec::with_capacity(self.models.len() + over.models.len());
        for model in &self.models {
            let listed = over.models.iter().find(|listed| listed.id == model.id);
            models.push(match (listed, over.keep) {
                (Some(listed), _) => listed.clone(),
                (None, None) => model.clone(),
                (None, Some(keep)) => model.discounted(keep).map_err(inexact)?,
            });
        }
        let is_new = |model: &&Model| self.models.iter().all(|known| known.id != model.id);
        models.extend(over.models.iter().filter(is_new).cloned());
        for model in &mut models {
            model.scale.multipliers = multipliers;
            if let Some(kind) = model.not_whole() {
                return Err(inexact(kind));
            }
        }
        Ok(Self {
            names: names(&models, &over.origin)?,
            as_of: self.as_of.clone().max(over.as_of),
            origin: over.origin,
            multipliers,
            states_multipliers: self.states_multipliers || over.states_multipliers,
            web_search: if over.states_web_search {
                over.web_search
            } else {
                self.web_search
            },
            states_web_search: self.states_web_search || over.states_web_search,
            keep: self.keep,
            models,
        })
    }

    /// The model with this id or alias.
    ///
    /// # Errors
    ///
    /// When there is none; the error carries the nearest id that can still be called.
    pub fn model(&self, id: &str) -> Result<&Model, PriceError> {
        let found = self.names.get(id).and_then(|&index| self.models.get(index));
        found.ok_or_else(|| {
            let callable = self
                .models
                .iter()
                .filter(|model| model.status != Status::Retired);
            let suggestion = nearest(id, callable.flat_map(Model::names).map(|(name, _)| name));
            PriceError::UnknownModel {
                model: id.to_owned(),
                suggestion,
            }
        })
    }

    /// All models, in the order of the file.
    pub fn models(&self) -> impl Iterator<Item = &Model> {
        self.models.iter()
    }

    /// The day the prices were read, `YYYY-MM-DD`.
    pub fn as_of(&self) -> &str {
        &self.as_of
    }

    /// What one web search costs, on any lane.
    pub fn web_search_fee(&self) -> Usd {
        self.web_search
    }
}

/// Every id and alias with its place; two models may not share one.
fn names(models: &[Model], origin: &str) -> Result<BTreeMap<String, usize>, BookError> {
    let mut names = BTreeMap::new();
    for (index, model) in models.iter().enumerate() {
        for (name, key) in model.names() {
            let Some(earlier) = names.insert(name.to_owned(), index) else {
                continue;
            };
            let first = models
                .get(earlier)
                .map_or_else(String::new, |model| model.id.clone());
            let (name, second) = (name.to_owned(), model.id.clone());
            let kind = BookErrorKind::DuplicateName {
                name,
                first,
                second,
            };
            return Err(BookError::of_file(origin, &format!("model.{key}"), kind));
        }
    }
    Ok(names)
}

impl Model {
    /// This model with another discount on all its rates.
    fn discounted(&self, keep: Ratio) -> Result<Self, BookErrorKind> {
        let not_whole = || BookErrorKind::NotWhole {
            model: self.id.clone(),
            class: "input",
            when: "after so many discounts",
        };
        let scale = self.scale.discounted(keep).ok_or_else(not_whole)?;
        Ok(Self {
            scale,
            ..self.clone()
        })
    }

    /// The first rate that is not a whole number of picodollars on one of the lanes.
    ///
    /// US inference is left to [`Model::rates`]: with it even a discount of 15 % is not exact for
    /// every class of every model, and most accounts never come to it.
    pub(super) fn not_whole(&self) -> Option<BookErrorKind> {
        let lanes = [
            (Lane::Sync, "on the sync lane"),
            (Lane::Batch, "in a batch"),
        ];
        for price in &self.prices {
            let step = price.step.map(|step| step.rates);
            let both = [Some(price.standard), step].into_iter().flatten();
            let fast = price.fast.into_iter().map(|rates| (rates, &lanes[..1]));
            for (rates, lanes) in both.map(|rates| (rates, &lanes[..])).chain(fast) {
                for &(lane, when) in lanes {
                    if let Err(class) = self.scale.apply(rates, lane, false) {
                        let model = self.id.clone();
                        return Some(BookErrorKind::NotWhole { model, class, when });
                    }
                }
            }
        }
        None
    }
}
