//! Owns the simulator's reading of the price book: which models exist at an instant, and what
//! their tokens cost. It shares the data file with the product and not one line of code, so that
//! two arithmetics can disagree. Who is billed for what is `bill`'s matter.

use std::sync::OnceLock;

use serde::Deserialize;

use crate::bill::{Lane, Tally};
use crate::stamp;

/// Fixed point: prices in millionths of a dollar per million tokens, which is picodollars per
/// token, and multipliers in millionths.
const MILLION: i128 = 1_000_000;

#[derive(Debug)]
pub(crate) struct Book {
    models: Vec<Model>,
    /// Models that share their rate limits, in the order of the book.
    classes: Vec<Class>,
    batch: i128,
    us: i128,
}

/// Models that share their rate limits (Anthropic docs, rate limits): one generation with a price
/// generation of its own, or all older ones of a family together.
#[derive(Debug)]
pub(crate) struct Class {
    /// Such as `opus-4.x` or `fable-5.x`.
    pub(crate) name: String,
    pub(crate) models: Vec<u16>,
}

/// One model of the book, as far as the simulator needs it.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) id: String,
    pub(crate) class: u8,
    aliases: Vec<String>,
    retired: bool,
    retired_on: Option<i64>,
    /// The day its first price began; not known for older models.
    released: Option<i64>,
    pub(crate) context_window: u64,
    pub(crate) min_cacheable: u64,
    pub(crate) max_output: u64,
    pub(crate) batch: bool,
    pub(crate) us_geo: bool,
    pub(crate) hidden_tool_tokens: u64,
    prices: Vec<Price>,
}

#[derive(Debug)]
struct Price {
    from: i64,
    until: i64,
    row: Row,
    long_prompt: Option<(u64, Row)>,
    fast: Option<Row>,
}

/// Picodollars per token at the synchronous price.
#[derive(Clone, Copy, Debug)]
struct Row {
    input: i128,
    write_5m: i128,
    write_1h: i128,
    read: i128,
    output: i128,
}

impl Row {
    fn all(&self) -> [i128; 5] {
        [
            self.input,
            self.write_5m,
            self.write_1h,
            self.read,
            self.output,
        ]
    }
}

impl Book {
    /// The price book that ships with the product, read once.
    pub(crate) fn embedded() -> &'static Self {
        static BOOK: OnceLock<Book> = OnceLock::new();
        BOOK.get_or_init(|| {
            Self::parse(include_str!("../../../data/prices.toml"))
                .expect("the embedded price book is read by a test")
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: file::Book = toml::from_str(text).map_err(|e| e.to_string())?;
        let batch = decimal(&file.multipliers.batch)?;
        let us = decimal(&file.multipliers.inference_geo_us)?;
        let models = file.model.into_iter().map(Model::read);
        let mut models = models.collect::<Result<Vec<_>, _>>()?;
        let classes = classes(&mut models);
        for model in &models {
            for rate in model.prices.iter().flat_map(Price::rates) {
                if rate * batch * us % (MILLION * MILLION) != 0 {
                    return Err(format!("{}: a rate that is no whole picodollar", model.id));
                }
            }
        }
        Ok(Self {
            models,
            classes,
            batch,
            us,
        })
    }

    pub(crate) fn class(&self, index: u8) -> &Class {
        &self.classes[usize::from(index)]
    }

    pub(crate) fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// Every model's id, in the order of the indices.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.models.iter().map(|model| model.id.as_str())
    }

    /// The models that can be called at `now`, in the order of the book, which is newest first.
    pub(crate) fn callable(&self, now: i64) -> impl Iterator<Item = &Model> {
        self.models
            .iter()
            .filter(move |model| model.is_callable(now))
    }

    /// The model of an id or alias that can be called at `now`.
    pub(crate) fn find(&self, name: &str, now: i64) -> Option<u16> {
        let named = |m: &Model| m.id == name || m.aliases.iter().any(|a| a == name);
        let index = self.models.iter().position(named)?;
        self.models[index]
            .is_callable(now)
            .then(|| u16::try_from(index).expect("a book of fewer than 65,536 models"))
    }

    pub(crate) fn model(&self, index: u16) -> &Model {
        &self.models[usize::from(index)]
    }

    /// Picodollars of one answered call: the price row valid at `at`, the long-prompt step, fast
    /// mode, the batch discount and the US multiplier (Anthropic docs, pricing).
    pub(crate) fn cost(&self, at: i64, lane: Lane, model: u16, tally: &Tally) -> i128 {
        self.parts(at, lane, model, tally).iter().sum()
    }

    /// The same by class of token: plain input, 5m writes, 1h writes, reads, output. Every rate is
    /// a whole number of picodollars, so the parts add up exactly.
    pub(crate) fn parts(&self, at: i64, lane: Lane, model: u16, tally: &Tally) -> [i128; 5] {
        let price = self.model(model).price(at);
        let price = price.expect("a model is only called while it has a price");
        let prompt = tally.prompt();
        let row = match (&price.fast, &price.long_prompt) {
            (Some(fast), _) if tally.fast => fast,
            (_, Some((above, long))) if prompt > *above => long,
            _ => &price.row,
        };
        let batch = if lane == Lane::Batch {
            self.batch
        } else {
            MILLION
        };
        let us = if tally.us { self.us } else { MILLION };
        let part = |tokens: u32, rate: i128| i128::from(tokens) * rate * batch * us;
        [
            part(tally.input, row.input),
            part(tally.write_5m, row.write_5m),
            part(tally.write_1h, row.write_1h),
            part(tally.read, row.read),
            part(tally.output, row.output),
        ]
        .map(|part| part / (MILLION * MILLION))
    }
}

/// Sorts the models into classes and tells each its own.
fn classes(models: &mut [Model]) -> Vec<Class> {
    let mut classes: Vec<Class> = Vec::new();
    for (index, model) in (0..).zip(models) {
        let name = class_name(&model.id);
        let known = classes.iter().position(|class| class.name == name);
        let class = known.unwrap_or_else(|| {
            classes.push(Class {
                name,
                models: Vec::new(),
            });
            classes.len() - 1
        });
        classes[class].models.push(index);
        model.class = u8::try_from(class).expect("a book of fewer than 256 classes");
    }
    classes
}

/// `claude-<family>-<major>[-<minor>]`; what does not follow the scheme is of a class of its own.
fn class_name(id: &str) -> String {
    let mut parts = id.split('-').skip(1);
    let family = match parts.next() {
        Some("mythos") => "fable",
        Some(family @ ("fable" | "opus" | "sonnet" | "haiku")) => family,
        _ => return id.to_owned(),
    };
    let digit = |part: Option<&str>| part.filter(|p| p.len() == 1)?.parse::<u8>().ok();
    let (major, minor) = (digit(parts.next()), digit(parts.next()));
    match (family, major, minor) {
        ("fable", ..) => "fable-5.x".to_owned(),
        ("haiku", Some(4), Some(minor)) => format!("haiku-4.{minor}"),
        (_, Some(4), _) => format!("{family}-4.x"),
        (_, Some(major), Some(minor)) => format!("{family}-{major}.{minor}"),
        (_, Some(major), None) => format!("{family}-{major}"),
        _ => id.to_owned(),
    }
}

impl Model {
    fn read(raw: file::Model) -> Result<Self, String> {
        let day = |date: &str| stamp::midnight(date).ok_or_else(|| format!("no date: {date}"));
        let prices = raw
            .price
            .iter()
            .map(Price::read)
            .collect::<Result<_, _>>()?;
        // A price without a first day has held since a release whose day is not known.
        let days: Option<Vec<&str>> = raw
            .price
            .iter()
            .map(|price| price.from.as_deref())
            .collect();
        let released = days.and_then(|days| days.into_iter().min());
        let released = released.map(day).transpose()?;
        Ok(Self {
            class: 0,
            released,
            context_window: raw.context_window.unwrap_or(u64::MAX),
            retired: raw.status == "retired",
            retired_on: raw.retired_on.as_deref().map(day).transpose()?,
            id: raw.id,
            aliases: raw.aliases,
            min_cacheable: raw.min_cacheable_tokens.unwrap_or(u64::MAX),
            max_output: raw.max_output.unwrap_or(u64::MAX),
            batch: raw.batch,
            us_geo: raw.us_geo,
            hidden_tool_tokens: raw.hidden_tool_tokens,
            prices,
        })
    }

    fn is_callable(&self, now: i64) -> bool {
        let gone = self.retired_on.map_or(self.retired, |on| now >= on);
        !gone && self.price(now).is_some()
    }

    /// When it came out: the day in its id, or that of its first price. The epoch if neither is
    /// known, as the API does (Anthropic docs, list models).
    pub(crate) fn released(&self) -> i64 {
        let day = self.id.rsplit('-').next().filter(|last| last.len() == 8);
        let named = day.and_then(|d| {
            stamp::midnight(&format!("{}-{}-{}", d.get(..4)?, d.get(4..6)?, d.get(6..)?))
        });
        named.or(self.released).unwrap_or(0)
    }

    fn price(&self, at: i64) -> Option<&Price> {
        self.prices.iter().find(|p| p.from <= at && at < p.until)
    }

    /// Whether fast mode is sold for this model at `at`.
    pub(crate) fn has_fast(&self, at: i64) -> bool {
        self.price(at).is_some_and(|p| p.fast.is_some())
    }
}

impl Price {
    fn read(raw: &file::Price) -> Result<Self, String> {
        let day = |date: &str| stamp::midnight(date).ok_or_else(|| format!("no date: {date}"));
        let row = Row {
            input: decimal(&raw.input)?,
            write_5m: decimal(&raw.write_5m)?,
            write_1h: decimal(&raw.write_1h)?,
            read: decimal(&raw.read)?,
            output: decimal(&raw.output)?,
        };
        let long_prompt = match &raw.long_prompt {
            None => None,
            Some(long) => Some((
                long.above_prompt_tokens,
                Row {
                    input: decimal(&long.input)?,
                    write_5m: decimal(&long.write_5m)?,
                    write_1h: decimal(&long.write_1h)?,
                    read: decimal(&long.read)?,
                    output: decimal(&long.output)?,
                },
            )),
        };
        let fast = match &raw.fast {
            None => None,
            Some(fast) => Some(row.fast(decimal(&fast.input)?, decimal(&fast.output)?)?),
        };
        Ok(Self {
            from: raw.from.as_deref().map_or(Ok(i64::MIN), day)?,
            until: raw.until.as_deref().map_or(Ok(i64::MAX), day)?,
            row,
            long_prompt,
            fast,
        })
    }

    fn rates(&self) -> impl Iterator<Item = i128> {
        let long = self.long_prompt.as_ref().map(|(_, row)| row);
        [Some(&self.row), long, self.fast.as_ref()]
            .into_iter()
            .flatten()
            .flat_map(Row::all)
    }
}

impl Row {
    /// Fast mode lists input and output only; the cache classes keep their ratios to input.
    fn fast(&self, input: i128, output: i128) -> Result<Self, String> {
        let like = |class: i128| match class * input {
            product if product % self.input == 0 => Ok(product / self.input),
            _ => Err("a fast-mode rate that is no whole picodollar".to_owned()),
        };
        Ok(Self {
            input,
            write_5m: like(self.write_5m)?,
            write_1h: like(self.write_1h)?,
            read: like(self.read)?,
            output,
        })
    }
}

/// A decimal string in millionths; more than six decimals are refused.
fn decimal(text: &str) -> Result<i128, String> {
    let wrong = || format!("not a decimal with at most six decimals: {text}");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 6 {
        return Err(wrong());
    }
    let millionths: i128 = format!("{fraction:0<6}").parse().map_err(|_| wrong())?;
    let whole: i128 = whole.parse().map_err(|_| wrong())?;
    Ok(whole * MILLION + millionths)
}

/// The file as it is written.
mod file {
    use super::Deserialize;

    #[derive(Deserialize)]
    pub(super) struct Book {
        pub(super) multipliers: Multipliers,
        pub(super) model: Vec<Model>,
    }

    #[derive(Deserialize)]
    pub(super) struct Multipliers {
        pub(super) batch: String,
        pub(super) inference_geo_us: String,
    }

    #[derive(Deserialize)]
    pub(super) struct Model {
        pub(super) id: String,
        #[serde(default)]
        pub(super) aliases: Vec<String>,
        pub(super) status: String,
        pub(super) retired_on: Option<String>,
        pub(super) min_cacheable_tokens: Option<u64>,
        pub(super) context_window: Option<u64>,
        pub(super) max_output: Option<u64>,
        #[serde(default)]
        pub(super) batch: bool,
        #[serde(default)]
        pub(super) us_geo: bool,
        #[serde(default)]
        pub(super) hidden_tool_tokens: u64,
        #[serde(default)]
        pub(super) price: Vec<Price>,
    }

    #[derive(Deserialize)]
    pub(super) struct Price {
        pub(super) from: Option<String>,
        pub(super) until: Option<String>,
        pub(super) input: String,
        pub(super) write_5m: String,
        pub(super) write_1h: String,
        pub(super) read: String,
        pub(super) output: String,
        pub(super) long_prompt: Option<LongPrompt>,
        pub(super) fast: Option<Fast>,
    }

    #[derive(Deserialize)]
    pub(super) struct LongPrompt {
        pub(super) above_prompt_tokens: u64,
        pub(super) input: String,
        pub(super) write_5m: String,
        pub(super) write_1h: String,
        pub(super) read: String,
        pub(super) output: String,
    }

    #[derive(Deserialize)]
    pub(super) struct Fast {
        pub(super) input: String,
        pub(super) output: String,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(date: &str) -> i64 {
        stamp::midnight(date).unwrap()
    }

    fn cost(date: &str, lane: Lane, model: &str, tally: Tally) -> i128 {
        let book = Book::embedded();
        let model = book.find(model, at(date)).unwrap();
        book.cost(at(date), lane, model, &tally)
    }

    #[test]
    fn the_published_stacking_example() {
        // A batch cache read on Sonnet 4.6 in the US: $0.165 per million tokens.
        let tally = Tally {
            read: 1_000_000,
            us: true,
            ..Tally::default()
        };
        let pico = cost("2026-11-22", Lane::Batch, "claude-sonnet-4-6", tally);
        assert_eq!(pico, 165_000_000_000);
    }

    #[test]
    fn the_long_prompt_step_counts_cached_tokens_and_moves_output_too() {
        let below = Tally {
            read: 100_000,
            output: 10,
            ..Tally::default()
        };
        let above = Tally { input: 1, ..below };
        let model = "claude-haiku-5-5";
        assert_eq!(
            cost("2026-11-22", Lane::Sync, model, below),
            100_000 * 10_000 + 10 * 500_000
        );
        assert_eq!(
            cost("2026-11-22", Lane::Sync, model, above),
            500_000 + 100_000 * 50_000 + 10 * 2_500_000
        );
    }

    #[test]
    fn fast_mode_keeps_the_cache_ratios() {
        let tally = Tally {
            read: 1,
            write_1h: 1,
            output: 1,
            fast: true,
            ..Tally::default()
        };
        let pico = cost("2026-11-22", Lane::Sync, "claude-opus-5-5", tally);
        assert_eq!(pico, 400_000 + 16_000_000 + 40_000_000);
    }

    #[test]
    fn older_generations_share_their_limits() {
        let class = |id: &str| {
            let book = Book::embedded();
            let index = book.find(id, at("2026-11-22")).unwrap();
            book.class(book.model(index).class).name.as_str()
        };
        assert_eq!(class("claude-opus-4-5"), "opus-4.x");
        assert_eq!(class("claude-opus-4-8"), "opus-4.x");
        assert_eq!(class("claude-opus-5"), "opus-5");
        assert_eq!(class("claude-opus-5-5"), "opus-5.5");
        assert_eq!(class("claude-haiku-4-5"), "haiku-4.5");
        assert_eq!(class("claude-fable-5-2"), "fable-5.x");
        assert_eq!(class("claude-mythos-5-1"), "fable-5.x");
    }

    #[test]
    fn models_come_and_go() {
        let book = Book::embedded();
        assert!(
            book.find("claude-haiku-4-5", at("2026-11-22")).is_some(),
            "an alias"
        );
        assert!(
            book.find("claude-2.1", at("2026-11-22")).is_none(),
            "retired"
        );
        assert!(
            book.find("claude-fable-5-2", at("2026-11-01")).is_none(),
            "not yet released"
        );
        assert!(book.find("claude-nothing", at("2026-11-22")).is_none());
    }

    #[test]
    fn only_plain_decimals_are_numbers() {
        assert_eq!(decimal("12.5"), Ok(12_500_000));
        assert_eq!(decimal("0.000001"), Ok(1));
        for wrong in ["", "1.", ".5", "-1", "1e3", "0.0000001"] {
            assert!(decimal(wrong).is_err(), "{wrong}");
        }
    }
}
