//! The built-in prices against the published tables, column by column.
//!
//! The batch columns below are published figures, while the price book derives them from a
//! multiplier: the two must agree to the last digit.

use crate::units::Timestamp;

use super::{Book, Lane, Mode, PriceError, Status};

/// Model, a day, whether the prompt is above the step, the sync columns and the batch columns in
/// US$ per million tokens: input, 5m write, 1h write, read, output.
#[rustfmt::skip]
const PUBLISHED: &[(&str, &str, bool, &str, &str)] = &[
    ("claude-fable-5-2", "2026-11-22", false, "8 10 16 0.2 40", "4 5 8 0.1 20"),
    ("claude-mythos-5-2", "2026-11-22", false, "8 10 16 0.2 40", "4 5 8 0.1 20"),
    ("claude-fable-5-1", "2026-11-22", false, "10 12.5 20 0.25 50", "5 6.25 10 0.125 25"),
    ("claude-mythos-5-1", "2026-11-22", false, "10 12.5 20 0.25 50", "5 6.25 10 0.125 25"),
    ("claude-fable-5", "2026-11-22", false, "10 12.5 20 1 50", "5 6.25 10 0.5 25"),
    ("claude-mythos-5", "2026-11-22", false, "10 12.5 20 1 50", "5 6.25 10 0.5 25"),
    ("claude-opus-5-5", "2026-11-22", false, "4 5 8 0.2 20", "2 2.5 4 0.1 10"),
    // The read price of its first days; no batch figure was published for them.
    ("claude-sonnet-5-5", "2026-10-06", false, "2 2.5 4 0.2 10", "1 1.25 2 0.1 5"),
    ("claude-sonnet-5-5", "2026-11-22", false, "2 2.5 4 0.1 10", "1 1.25 2 0.05 5"),
    ("claude-haiku-5-5", "2026-11-22", false, "0.1 0.125 0.2 0.01 0.5", "0.05 0.0625 0.1 0.005 0.25"),
    ("claude-haiku-5-5", "2026-11-22", true, "0.5 0.625 1 0.05 2.5", "0.25 0.3125 0.5 0.025 1.25"),
    ("claude-opus-5", "2026-11-22", false, "5 6.25 10 0.5 25", "2.5 3.125 5 0.25 12.5"),
    ("claude-opus-4-8", "2026-11-22", false, "5 6.25 10 0.5 25", "2.5 3.125 5 0.25 12.5"),
    ("claude-opus-4-7", "2026-11-22", false, "5 6.25 10 0.5 25", "2.5 3.125 5 0.25 12.5"),
    ("claude-opus-4-6", "2026-11-22", false, "5 6.25 10 0.5 25", "2.5 3.125 5 0.25 12.5"),
    ("claude-opus-4-5-20251101", "2026-11-22", false, "5 6.25 10 0.5 25", "2.5 3.125 5 0.25 12.5"),
    ("claude-sonnet-5", "2026-11-22", false, "2 2.5 4 0.2 10", "1 1.25 2 0.1 5"),
    ("claude-sonnet-4-6", "2026-11-22", false, "3 3.75 6 0.3 15", "1.5 1.875 3 0.15 7.5"),
    ("claude-sonnet-4-5-20250929", "2026-11-22", false, "3 3.75 6 0.3 15", "1.5 1.875 3 0.15 7.5"),
    ("claude-haiku-4-5-20251001", "2026-11-22", false, "1 1.25 2 0.1 5", "0.5 0.625 1 0.05 2.5"),
    ("claude-opus-4-1-20250805", "2026-08-05", false, "15 18.75 30 1.5 75", "7.5 9.375 15 0.75 37.5"),
    ("claude-opus-4-20250514", "2026-06-15", false, "15 18.75 30 1.5 75", "7.5 9.375 15 0.75 37.5"),
    ("claude-sonnet-4-20250514", "2026-06-15", false, "3 3.75 6 0.3 15", "1.5 1.875 3 0.15 7.5"),
    ("claude-3-5-haiku-20241022", "2026-02-19", false, "0.8 1 1.6 0.08 4", "0.4 0.5 0.8 0.04 2"),
];

fn day(text: &str) -> Timestamp {
    Timestamp::of_day(text).unwrap()
}

/// Rates as the published tables write them.
fn columns(model: &str, at: &str, mode: Mode) -> String {
    let rates = Book::embedded()
        .model(model)
        .unwrap()
        .rates(day(at), mode)
        .unwrap();
    let per_million = [
        rates.input,
        rates.write_5m,
        rates.write_1h,
        rates.read,
        rates.output,
    ]
    .map(|rate| {
        crate::units::Usd::from_pico(rate.into())
            .times(1_000_000)
            .to_decimal()
    });
    per_million.join(" ")
}

#[test]
fn both_lanes_equal_the_published_columns() {
    for &(model, at, long_prompt, sync, batch) in PUBLISHED {
        let mode = |lane| Mode {
            long_prompt,
            ..Mode::plain(lane)
        };
        assert_eq!(columns(model, at, mode(Lane::Sync)), sync, "{model} {at}");
        assert_eq!(columns(model, at, mode(Lane::Batch)), batch, "{model} {at}");
    }
}

#[test]
fn no_priced_model_is_missing_from_the_table() {
    for model in Book::embedded().models() {
        let listed = PUBLISHED.iter().any(|row| row.0 == model.id);
        assert_eq!(listed, !model.prices.is_empty(), "{}", model.id);
    }
}

#[test]
fn fast_mode_rates_and_their_days() {
    let fast = Mode {
        fast: true,
        ..Mode::plain(Lane::Sync)
    };
    for (model, at, rates) in [
        ("claude-opus-5-5", "2026-11-22", "8 10 16 0.4 40"),
        ("claude-fable-5-2", "2026-11-22", "16 20 32 0.4 80"),
        ("claude-opus-5", "2026-11-22", "10 12.5 20 1 50"),
        ("claude-opus-4-8", "2026-11-30", "10 12.5 20 1 50"),
    ] {
        assert_eq!(columns(model, at, fast), rates, "{model}");
    }
    for (model, at) in [
        ("claude-opus-4-8", "2026-12-01"),
        ("claude-opus-4-7", "2026-11-22"),
        ("claude-sonnet-5-5", "2026-11-22"),
        ("claude-mythos-5-2", "2026-11-22"),
    ] {
        let refused = Book::embedded().model(model).unwrap().rates(day(at), fast);
        assert!(
            matches!(refused, Err(PriceError::NoFastPrice { .. })),
            "{model}: {refused:?}"
        );
    }
    let batched = Mode {
        fast: true,
        ..Mode::plain(Lane::Batch)
    };
    let refused = Book::embedded()
        .model("claude-opus-5-5")
        .unwrap()
        .rates(day("2026-11-22"), batched);
    assert!(matches!(refused, Err(PriceError::FastInBatch { .. })));
}

#[test]
fn us_inference_multiplies_where_it_exists() {
    let us = Mode {
        us: true,
        ..Mode::plain(Lane::Batch)
    };
    // 3 x 0.1 x 0.5 x 1.1: the stacking example of the published rules.
    assert_eq!(
        columns("claude-sonnet-4-6", "2026-11-22", us),
        "1.65 2.0625 3.3 0.165 8.25"
    );
    assert_eq!(
        columns("claude-haiku-5-5", "2026-11-22", us),
        "0.055 0.06875 0.11 0.0055 0.275"
    );
    assert_eq!(
        columns("claude-haiku-4-5", "2026-11-22", us),
        "0.5 0.625 1 0.05 2.5"
    );
}

#[test]
fn every_combination_of_every_model_is_exact() {
    for model in Book::embedded().models() {
        for price in &model.prices {
            let at = price
                .from
                .or(price.until)
                .unwrap_or_else(|| day("2024-12-01"));
            for flags in 0..16 {
                let flag = |bit: u32| flags >> bit & 1 == 1;
                let lane = if flag(0) { Lane::Batch } else { Lane::Sync };
                let mode = Mode {
                    lane,
                    us: flag(1),
                    fast: flag(2),
                    long_prompt: flag(3),
                };
                let exact = !matches!(model.rates(at, mode), Err(PriceError::NotExact { .. }));
                assert!(exact, "{} {mode:?}", model.id);
            }
        }
    }
}

#[test]
fn every_row_is_dated_and_sourced() {
    let book = Book::embedded();
    assert_eq!(book.as_of(), "2026-11-22");
    assert_eq!(book.models().count(), 38);
    for model in book.models() {
        assert!(model.as_of.as_str() <= book.as_of(), "{}", model.id);
        assert!(!model.source.is_empty(), "{}", model.id);
        assert!(
            model.source.iter().all(|url| url.starts_with("https://")),
            "{}",
            model.id
        );
        if let Some(next) = &model.replacement {
            assert_ne!(
                book.model(next).unwrap().status,
                Status::Retired,
                "{}",
                model.id
            );
        }
        if model.status == Status::Retired {
            assert!(model.replacement.is_some(), "{}", model.id);
        } else {
            assert!(model.min_cacheable_known && model.batch, "{}", model.id);
        }
    }
}

#[test]
fn the_smallest_cacheable_prompts_are_the_published_ones() {
    for (model, tokens) in [
        ("claude-fable-5-2", 512),
        ("claude-opus-5-5", 512),
        ("claude-opus-5", 512),
        ("claude-opus-4-8", 1_024),
        ("claude-opus-4-7", 2_048),
        ("claude-opus-4-6", 4_096),
        ("claude-opus-4-5", 4_096),
        ("claude-sonnet-5-5", 512),
        ("claude-sonnet-5", 1_024),
        ("claude-sonnet-4-6", 1_024),
        ("claude-sonnet-4-5", 1_024),
        ("claude-haiku-5-5", 512),
        ("claude-haiku-4-5", 4_096),
        ("claude-mythos-preview", 2_048),
    ] {
        let found = Book::embedded().model(model).unwrap().min_cacheable_tokens;
        assert_eq!(found, tokens, "{model}");
    }
}
