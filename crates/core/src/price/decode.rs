//! From the text of a price book to checked models.
//!
//! Owns the TOML format: every key, its range, and what contradicts what. Looking models up and
//! laying books over each other is `book`'s business.

use std::collections::BTreeMap;

use toml::de::DeTable;

use crate::units::Usd;

use super::book_error::{BookError, BookErrorKind};
use super::model::{Model, Price, Rates, Status, Step};
use super::multiplier::{Multipliers, RATIO_PLACES, Ratio, Scale};
use super::reader::{Day, Section, Source};

/// US$ per million tokens times 1e6 is picodollars per token.
const PRICE_PLACES: u32 = 6;
/// US$ 1 per token: far above any price, low enough that no bill overflows.
const MAX_RATE: u64 = 1_000_000_000_000;
/// Assumed where no minimum is published: the largest published one, so that nothing is planned
/// that might silently not be cached (Anthropic docs, prompt caching).
const CAUTIOUS_MIN_CACHEABLE: u32 = 4_096;

/// A price book as its file states it.
#[derive(Debug)]
pub(super) struct Stated {
    pub(super) as_of: String,
    pub(super) multipliers: Option<Multipliers>,
    pub(super) web_search: Option<Usd>,
    /// What a contract's discount leaves of every rate.
    pub(super) keep: Option<Ratio>,
    pub(super) models: Vec<Model>,
}

/// Reads a price book. `defaults` are the multipliers of a book that states none.
pub(super) fn stated(
    source: Source<'_>,
    defaults: Option<Multipliers>,
) -> Result<Stated, BookError> {
    let document = DeTable::parse(source.text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        let message = error.message().trim().replace('\n', ", ");
        source.error(offset, "", BookErrorKind::Syntax { message })
    })?;
    let root = Section::root(source, document.get_ref());
    root.only(&["as_of", "multipliers", "tool_fees", "discount", "model"])?;
    let as_of = root.need("as_of", root.day("as_of")?)?.text;
    let multipliers = root
        .section("multipliers")?
        .map(|section| multipliers(&section));
    let multipliers = multipliers.transpose()?;
    let used = root.need("multipliers", multipliers.or(defaults))?;
    let web_search = root
        .section("tool_fees")?
        .map(|section| web_search(&section))
        .transpose()?;
    let keep = discount(&root)?;
    let mut models = Vec::new();
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for section in root.sections("model")? {
        let model = model(&section, source, &as_of, used)?;
        for (name, key) in model.names() {
            if let Some(first) = names.insert(name.to_owned(), model.id.clone()) {
                let (name, second) = (name.to_owned(), model.id.clone());
                let kind = BookErrorKind::DuplicateName {
                    name,
                    first,
                    second,
                };
                return Err(section.error(key, kind));
            }
        }
        models.push(model);
    }
    Ok(Stated {
        as_of,
        multipliers,
        web_search,
        keep,
        models,
    })
}

fn multipliers(section: &Section<'_>) -> Result<Multipliers, BookError> {
    section.only(&["batch", "inference_geo_us"])?;
    let ratio = |key: &str, range: std::ops::RangeInclusive<u128>, wanted: &'static str| {
        let value = section.need(key, section.decimal(key, RATIO_PLACES)?)?;
        match u128::try_from(value) {
            Ok(value) if range.contains(&value) => Ok(Ratio::from_millionths(value)),
            _ => Err(section.error(key, BookErrorKind::OutOfRange { wanted })),
        }
    };
    Ok(Multipliers {
        batch: ratio(
            "batch",
            1..=1_000_000,
            "a ratio above 0 and at most 1, such as \"0.5\"",
        )?,
        us: ratio(
            "inference_geo_us",
            1_000_000..=10_000_000,
            "a ratio from 1 to 10",
        )?,
    })
}

fn web_search(section: &Section<'_>) -> Result<Usd, BookError> {
    section.only(&["web_search_usd_each"])?;
    let key = "web_search_usd_each";
    let pico = section.need(key, section.decimal(key, 12)?)?;
    if (0..=1_000_000_000_000_000).contains(&pico) {
        Ok(Usd::from_pico(pico))
    } else {
        let wanted = "an amount from 0 to 1000 dollars";
        Err(section.error(key, BookErrorKind::OutOfRange { wanted }))
    }
}

fn discount(root: &Section<'_>) -> Result<Option<Ratio>, BookError> {
    let Some(millionths) = root.decimal("discount", RATIO_PLACES)? else {
        return Ok(None);
    };
    let keep = 1_000_000_i128
        .checked_sub(millionths)
        .and_then(|keep| u128::try_from(keep).ok());
    match keep {
        Some(keep @ 1..=999_999) => Ok(Some(Ratio::from_millionths(keep))),
        _ => {
            let wanted = "a share above 0 and below 1; \"0.15\" takes 15 % off";
            Err(root.error("discount", BookErrorKind::OutOfRange { wanted }))
        }
    }
}

const MODEL_KEYS: [&str; 15] = [
    "id",
    "aliases",
    "family",
    "status",
    "retired_on",
    "replacement",
    "min_cacheable_tokens",
    "context_window",
    "max_output",
    "batch",
    "us_geo",
    "hidden_tool_tokens",
    "as_of",
    "source",
    "price",
];

fn model(
    section: &Section<'_>,
    source: Source<'_>,
    as_of: &str,
    multipliers: Multipliers,
) -> Result<Model, BookError> {
    section.only(&MODEL_KEYS)?;
    let id = section.need("id", section.text("id")?)?;
    let status = status(section)?;
    let retired_on = section.day("retired_on")?.map(|day| day.text);
    match (status, &retired_on) {
        (Status::Retired, None) => return section.need("retired_on", None),
        (Status::Active | Status::Limited | Status::Deprecated, Some(_)) => {
            let problem = "only a model with status = \"retired\" has a day of retirement";
            return Err(section.error("retired_on", BookErrorKind::Contradiction { problem }));
        }
        _ => {}
    }
    let min_cacheable = section.count("min_cacheable_tokens")?;
    if status != Status::Retired {
        section.need("min_cacheable_tokens", min_cacheable)?;
    }
    let mut aliases = section.texts("aliases")?.unwrap_or_default();
    aliases.retain(|alias| alias != id);
    let model = Model {
        id: id.to_owned(),
        aliases,
        family: section.text("family")?.unwrap_or("other").to_owned(),
        status,
        retired_on,
        replacement: section.text("replacement")?.map(str::to_owned),
        min_cacheable_tokens: min_cacheable.unwrap_or(CAUTIOUS_MIN_CACHEABLE),
        min_cacheable_known: min_cacheable.is_some(),
        context_window: section.count("context_window")?.map(u64::from),
        max_output: section.count("max_output")?.map(u64::from),
        batch: section.need("batch", section.flag("batch")?)?,
        us_geo: section.need("us_geo", section.flag("us_geo")?)?,
        hidden_tool_tokens: section.count("hidden_tool_tokens")?.map_or(0, u64::from),
        as_of: section
            .day("as_of")?
            .map_or_else(|| as_of.to_owned(), |day| day.text),
        source: section
            .texts("source")?
            .unwrap_or_else(|| vec![source.origin.to_owned()]),
        prices: prices(section, id)?,
        scale: Scale::new(multipliers),
    };
    match model.not_whole() {
        None => Ok(model),
        Some(kind) => Err(section.error("price", kind)),
    }
}

fn status(section: &Section<'_>) -> Result<Status, BookError> {
    Ok(match section.text("status")? {
        None | Some("active") => Status::Active,
        Some("limited") => Status::Limited,
        Some("deprecated") => Status::Deprecated,
        Some("retired") => Status::Retired,
        Some(other) => {
            let known = "`active`, `limited`, `deprecated`, `retired`";
            let kind = BookErrorKind::UnknownValue {
                found: other.to_owned(),
                known,
            };
            return Err(section.error("status", kind));
        }
    })
}

/// The prices of a model in order of time.
fn prices(section: &Section<'_>, id: &str) -> Result<Vec<Price>, BookError> {
    let mut rows = Vec::new();
    for row in section.sections("price")? {
        rows.push((price(&row)?, row));
    }
    rows.sort_by_key(|(price, _)| price.from);
    for pair in rows.windows(2) {
        let [(earlier, _), (later, row)] = pair else {
            continue;
        };
        let overlaps = match (earlier.until, later.from) {
            (Some(until), Some(from)) => from < until,
            (None, _) | (_, None) => true,
        };
        if overlaps {
            let when = later.from.map_or_else(
                || "at the same time".to_owned(),
                |from| format!("on {}", from.day()),
            );
            let model = id.to_owned();
            let kind = BookErrorKind::Overlap { model, when };
            return Err(row.error("from", kind));
        }
    }
    Ok(rows.into_iter().map(|(price, _)| price).collect())
}

fn price(section: &Section<'_>) -> Result<Price, BookError> {
    section.only(&[
        "from",
        "until",
        "input",
        "write_5m",
        "write_1h",
        "read",
        "output",
        "long_prompt",
        "fast",
    ])?;
    let (from, until) = (section.day("from")?, section.day("until")?);
    if let (Some(from), Some(until)) = (&from, &until)
        && from.start >= until.start
    {
        let (from, until) = (from.text.clone(), until.text.clone());
        return Err(section.error("until", BookErrorKind::EmptyValidity { from, until }));
    }
    let standard = rates(section)?;
    let step = section
        .section("long_prompt")?
        .map(|row| step(&row))
        .transpose()?;
    let fast = section
        .section("fast")?
        .map(|row| fast(&row, standard))
        .transpose()?;
    if step.is_some() && fast.is_some() {
        let problem = "a price has `long_prompt` or `fast`: how they combine is not known";
        return Err(section.error("fast", BookErrorKind::Contradiction { problem }));
    }
    let start = |day: Option<Day>| day.map(|day| day.start);
    Ok(Price {
        from: start(from),
        until: start(until),
        standard,
        step,
        fast,
    })
}

fn rates(section: &Section<'_>) -> Result<Rates, BookError> {
    Ok(Rates {
        input: rate(section, "input")?,
        write_5m: rate(section, "write_5m")?,
        write_1h: rate(section, "write_1h")?,
        read: rate(section, "read")?,
        output: rate(section, "output")?,
    })
}

fn rate(section: &Section<'_>, key: &str) -> Result<u64, BookError> {
    let value = section.need(key, section.decimal(key, PRICE_PLACES)?)?;
    match u64::try_from(value) {
        Ok(rate @ 1..=MAX_RATE) => Ok(rate),
        _ => {
            let wanted = "a price above 0 and at most 1000000 dollars per million tokens";
            Err(section.error(key, BookErrorKind::OutOfRange { wanted }))
        }
    }
}

fn step(section: &Section<'_>) -> Result<Step, BookError> {
    section.only(&[
        "above_prompt_tokens",
        "input",
        "write_5m",
        "write_1h",
        "read",
        "output",
    ])?;
    let key = "above_prompt_tokens";
    let above = section.need(key, section.count(key)?)?;
    Ok(Step {
        above: above.into(),
        rates: rates(section)?,
    })
}

/// Fast mode states input and output; the cache classes keep the ratios of the standard rates
/// (Anthropic docs, fast mode).
fn fast(section: &Section<'_>, standard: Rates) -> Result<Rates, BookError> {
    section.only(&["input", "output"])?;
    let (input, output) = (rate(section, "input")?, rate(section, "output")?);
    let follow = |class: u64| {
        let product = u128::from(class) * u128::from(input);
        let whole = product.is_multiple_of(standard.input.into());
        let rate = u64::try_from(product / u128::from(standard.input)).ok();
        rate.filter(|_| whole).ok_or_else(|| {
            let wanted = "a price whose cache classes come out whole, such as twice the standard";
            section.error("input", BookErrorKind::OutOfRange { wanted })
        })
    };
    Ok(Rates {
        input,
        write_5m: follow(standard.write_5m)?,
        write_1h: follow(standard.write_1h)?,
        read: follow(standard.read)?,
        output,
    })
}
