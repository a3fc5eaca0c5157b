//! The tables of the page.

use std::fmt::Write as _;

use offpeak_core::plan::hit_threshold;
use offpeak_core::price::{Book, Lane, Model, Rates, Status};
use offpeak_wire::request::Ttl;

use crate::figures::{count, dollars, percent, pico, ratio};
use crate::job::{self, CLASSES, Prefix, bill, hitting, one_write, rates, write_rate};

/// The models that can be called on the day of the price book.
pub(crate) fn models() -> impl Iterator<Item = &'static Model> {
    let priced = |model: &&Model| {
        let plain = offpeak_core::price::Mode::plain(Lane::Sync);
        model.status == Status::Active && model.rates(job::day(), plain).is_ok()
    };
    Book::embedded().models().filter(priced)
}

/// A share as a per cent without zeros at its end.
pub(crate) fn plain_percent(part: u64, whole: u64) -> String {
    let shown = percent(part.into(), whole.into(), 2);
    let digits = shown.trim_end_matches(" %").trim_end_matches('0');
    format!("{} %", digits.trim_end_matches('.'))
}

/// A Markdown table: the first column on the left, figures on the right.
fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut out = format!("| {} |\n|---|", head.join(" | "));
    out.push_str(&"--:|".repeat(head.len() - 1));
    for row in rows {
        assert_eq!(row.len(), head.len());
        let _ = write!(out, "\n| {} |", row.join(" | "));
    }
    out
}

/// Picodollars for a token are dollars for a million tokens times a million.
fn per_million(rate: u64) -> String {
    let shown = ratio(rate.into(), 1_000_000, 4);
    let (whole, fraction) = shown.split_once('.').expect("it has decimals");
    let fraction = fraction.trim_end_matches('0');
    format!("${whole}.{fraction:0<2}")
}

fn models_table() -> String {
    let head = [
        "model",
        "input",
        "write 5m",
        "write 1h",
        "read",
        "output",
        "input in a batch",
        "read in a batch",
        "read / input",
        "caches from",
    ];
    let row = |model: &Model| {
        let sync = rates(&model.id, Lane::Sync);
        let batch = |rate: fn(&Rates) -> u64| match model.batch {
            true => per_million(rate(&rates(&model.id, Lane::Batch))),
            false => "no batch".to_owned(),
        };
        vec![
            format!("`{}`", model.id),
            per_million(sync.input),
            per_million(sync.write_5m),
            per_million(sync.write_1h),
            per_million(sync.read),
            per_million(sync.output),
            batch(|rates| rates.input),
            batch(|rates| rates.read),
            plain_percent(sync.read, sync.input),
            format!("{} tokens", count(model.min_cacheable_tokens.into())),
        ]
    };
    table(&head, models().map(row))
}

fn reads_table() -> String {
    let of = rates(CLASSES[0], Lane::Sync);
    let input = u128::from(of.input);
    let row = |reads: u64| {
        let total = |ttl| {
            let pico = u128::from(write_rate(&of, ttl)) + u128::from(of.read) * u128::from(reads);
            let shown = ratio(pico, input, 2);
            match pico < input * u128::from(reads + 1) {
                true => format!("**{shown}**"),
                false => shown,
            }
        };
        vec![
            count(reads),
            count(reads + 1),
            ratio(u128::from(reads + 1), 1, 2),
            total(Ttl::FiveMinutes),
            total(Ttl::OneHour),
        ]
    };
    let head = ["reads", "calls", "no cache", "5 minutes", "1 hour"];
    let mut out = table(&head, [0, 1, 2, 3, 5].map(row));
    out.push_str("\n\n(Bold: cheaper than without.)");
    out
}

fn thresholds_table() -> String {
    let mut seen: Vec<(String, Rates, Vec<&str>)> = Vec::new();
    for model in models() {
        let rates = rates(&model.id, Lane::Sync);
        let read = plain_percent(rates.read, rates.input);
        match seen.iter_mut().find(|(shown, ..)| *shown == read) {
            Some((.., names)) => names.push(&model.id),
            None => seen.push((read, rates, vec![&model.id])),
        }
    }
    let row = |(read, rates, names): (String, Rates, Vec<&str>)| {
        let share = |ttl| {
            let threshold = hit_threshold(&rates, ttl);
            percent(threshold.part.into(), threshold.whole.into(), 1)
        };
        let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        vec![
            names.join(", "),
            read,
            share(Ttl::FiveMinutes),
            share(Ttl::OneHour),
        ]
    };
    let head = ["models", "read / input", "5 minutes", "1 hour"];
    table(&head, seen.into_iter().map(row))
}

fn hits_table() -> String {
    let [list, batch] = [Lane::Sync, Lane::Batch].map(|lane| rates(CLASSES[0], lane));
    let cell = |cost: u128, of: u128| percent(cost, u128::from(list.input) * of, 2);
    let even = hit_threshold(&batch, Ttl::OneHour);
    let shares = [
        (0, 100),
        (30, 100),
        (even.part, even.whole),
        (70, 100),
        (98, 100),
        (100, 100),
    ];
    let row = |(hits, of): (u64, u64)| {
        let cost = |ttl| {
            let writes = u128::from(write_rate(&batch, ttl)) * u128::from(of - hits);
            cell(
                writes + u128::from(batch.read) * u128::from(hits),
                of.into(),
            )
        };
        vec![
            plain_percent(hits, of),
            cell(batch.input.into(), 1),
            cost(Ttl::FiveMinutes),
            cost(Ttl::OneHour),
        ]
    };
    table(
        &["rows that hit", "no cache", "5 minutes", "1 hour"],
        shares.map(row),
    )
}

fn nightly_table() -> String {
    use Lane::{Batch, Sync};
    use Ttl::{FiveMinutes, OneHour};
    let routes = [
        ("sync", Sync, Prefix::Plain),
        ("sync, 5 minutes", Sync, one_write(FiveMinutes)),
        ("batch", Batch, Prefix::Plain),
        ("batch, 1 hour, h = 30 %", Batch, hitting(OneHour, 30)),
        (
            "batch, 5 minutes, h = 30 %",
            Batch,
            hitting(FiveMinutes, 30),
        ),
        ("batch, 1 hour, h = 70 %", Batch, hitting(OneHour, 70)),
        ("batch, 1 hour, h = 98 %", Batch, hitting(OneHour, 98)),
        (
            "batch, 5 minutes, h = 98 %",
            Batch,
            hitting(FiveMinutes, 98),
        ),
        (
            "batch, 1 hour, written ahead by a sync call",
            Batch,
            Prefix::WrittenAhead(OneHour),
        ),
        ("batch, 1 hour, canary", Batch, one_write(OneHour)),
        (
            "least possible: batch, 5 minutes, one write",
            Batch,
            one_write(FiveMinutes),
        ),
    ];
    let row = |(name, lane, how): (&str, Lane, Prefix)| {
        let bills = CLASSES.map(|model| bill(model, lane, how));
        let [opus, ..] = CLASSES;
        let naive = pico(bill(opus, Sync, Prefix::Plain));
        let least = pico(bill(opus, Batch, one_write(FiveMinutes)));
        let mut row = vec![name.to_owned()];
        row.extend(bills.map(|bill| dollars(bill, 3)));
        row.push(percent(pico(bills[0]), naive, 2));
        row.push(ratio(pico(bills[0]), least, 4));
        row
    };
    let names = CLASSES.map(|model| format!("`{model}`"));
    let [a, b, c] = &names;
    let head = ["route", a, b, c, "of naive", "of the least"];
    table(&head, routes.map(row))
}

fn newest_table() -> String {
    let newest = [
        "claude-fable-5-2",
        "claude-opus-5-5",
        "claude-sonnet-5-5",
        "claude-haiku-5-5",
    ];
    let row = |model: &str| {
        let naive = bill(model, Lane::Sync, Prefix::Plain);
        let both = bill(model, Lane::Batch, one_write(Ttl::OneHour));
        vec![
            format!("`{model}`"),
            dollars(naive, 2),
            dollars(bill(model, Lane::Sync, one_write(Ttl::FiveMinutes)), 2),
            dollars(bill(model, Lane::Batch, Prefix::Plain), 2),
            dollars(both, 2),
            percent(pico(both), pico(naive), 1),
        ]
    };
    let head = [
        "model",
        "sync",
        "sync, 5 minutes",
        "batch",
        "batch, 1 hour, canary",
        "of naive",
    ];
    table(&head, newest.map(row))
}

pub(crate) fn all() -> [(&'static str, String); 6] {
    [
        ("table models", models_table()),
        ("table reads", reads_table()),
        ("table thresholds", thresholds_table()),
        ("table hits", hits_table()),
        ("table nightly", nightly_table()),
        ("table newest", newest_table()),
    ]
}
