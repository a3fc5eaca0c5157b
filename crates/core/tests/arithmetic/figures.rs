//! The figures in the prose, by name, and how they are written.

use offpeak_core::plan::{Tokenizer, break_even_calls, hit_threshold};
use offpeak_core::price::{Book, Lane, Rates};
use offpeak_core::units::{Tokens, Usd};
use offpeak_wire::request::Ttl;

use crate::job::{
    self, CALLS, CLASSES, OUTPUT, PREFIX, Prefix, SUFFIX, bill, one_write, prefix_bill, rates,
};
use crate::tables;

/// The figure people quote, in hundredths.
const WRONG: i128 = 30;
/// Rows that start before the first answer begins, in the example of a cold batch.
const CONCURRENT: u64 = 50;
const SMALL: u64 = 70;
const LARGE: u64 = 2_500;
/// Rows that hit, in hundredths, in the example of a batch that barely hits.
const THIRD: u64 = 30;
/// The preamble that is too short.
const SHORT: u64 = 3_000;

/// A share with so many decimals of a per cent, rounded half up.
pub(crate) fn percent(part: u128, whole: u128, decimals: u32) -> String {
    let scale = 10u128.pow(decimals);
    let units = (part * 100 * scale + whole / 2) / whole;
    let digits = decimals as usize;
    match decimals {
        0 => format!("{units} %"),
        _ => format!("{}.{:0digits$} %", units / scale, units % scale),
    }
}

/// A ratio with so many decimals, rounded half up.
pub(crate) fn ratio(part: u128, whole: u128, decimals: u32) -> String {
    let scale = 10u128.pow(decimals);
    let units = (part * scale + whole / 2) / whole;
    let digits = decimals as usize;
    format!("{}.{:0digits$}", units / scale, units % scale)
}

/// Dollars with so many decimals, rounded half up.
pub(crate) fn dollars(amount: Usd, decimals: u32) -> String {
    format!("${}", ratio(pico(amount), 1_000_000_000_000, decimals))
}

pub(crate) fn pico(amount: Usd) -> u128 {
    u128::try_from(amount.pico()).expect("bills are not negative")
}

pub(crate) fn count(number: u64) -> String {
    Tokens::new(number).to_string()
}

/// The price of a prefix token in a batch without cache, as a share of its list price.
fn batch_share(model: &str) -> (u128, u128) {
    let [sync, batch] = [Lane::Sync, Lane::Batch].map(|lane| rates(model, lane));
    (batch.input.into(), sync.input.into())
}

/// The same for every class: what must hold for the page to speak of one share.
fn batch_share_of_all() -> String {
    let mut shares: Vec<String> = Vec::new();
    for model in tables::models().filter(|model| model.batch) {
        let [sync, batch] = [Lane::Sync, Lane::Batch].map(|lane| rates(&model.id, lane));
        let classes = |of: Rates| [of.input, of.write_5m, of.write_1h, of.read, of.output];
        for (part, whole) in classes(batch).into_iter().zip(classes(sync)) {
            shares.push(percent(part.into(), whole.into(), 0));
        }
    }
    shares.dedup();
    assert_eq!(shares.len(), 1, "one share for all models and classes");
    shares.remove(0)
}

/// What a rate is as a share of the input price, least first.
fn shares_of_input(rate: impl Fn(&Rates) -> u64) -> Vec<(u64, u64)> {
    let of = |model: &offpeak_core::price::Model| {
        let rates = rates(&model.id, Lane::Sync);
        (rate(&rates), rates.input)
    };
    let mut shares: Vec<_> = tables::models().map(of).collect();
    shares.sort_by_key(|(part, whole)| u128::from(*part) * 1_000_000 / u128::from(*whole));
    shares
}

fn share_of(shares: &[(u64, u64)]) -> String {
    let shown = |(part, whole): &(u64, u64)| tables::plain_percent(*part, *whole);
    let (first, last) = (
        shown(&shares[0]),
        shown(shares.last().expect("there are models")),
    );
    if first == last {
        return first;
    }
    format!("{} to {last}", first.trim_end_matches(" %"))
}

/// By how much more tokens the newer tokenizer makes of a text.
fn newer_tokens() -> String {
    let [older, newer] = [Tokenizer::Older, Tokenizer::Newer].map(Tokenizer::bytes_per_token);
    format!("{:.0} %", (older / newer - 1.0) * 100.0)
}

/// Every figure of the page.
pub(crate) fn all() -> Vec<(&'static str, String)> {
    let [opus, ..] = CLASSES;
    let list = rates(opus, Lane::Sync);
    let naive = bill(opus, Lane::Sync, Prefix::Plain);
    let of_naive = |hundredths: i128| Usd::from_pico(naive.pico() * hundredths / 100);
    let reads = shares_of_input(|rates| rates.read);
    let cheapest_read = reads[0];
    let common_read = (list.read, list.input);
    let times_batch = |(read, input): (u64, u64)| {
        let (batch, whole) = batch_share(opus);
        percent(u128::from(read) * batch, u128::from(input) * whole, 2)
    };
    // A prefix of share s: cached and synchronous 1 − s(1 − r), in a batch without cache b.
    let sync_beats = |(read, input): (u64, u64)| {
        let (batch, whole) = batch_share(opus);
        let (read, input) = (u128::from(read), u128::from(input));
        percent((whole - batch) * input, whole * (input - read), 1)
    };
    let call = PREFIX * list.input + SUFFIX * list.input + OUTPUT * list.output;
    let sigma = (u128::from(PREFIX * list.input), u128::from(call));
    let limit = {
        let per_call = PREFIX * list.read + SUFFIX * list.input + OUTPUT * list.output;
        let (batch, whole) = batch_share(opus);
        percent(u128::from(per_call) * batch, u128::from(call) * whole, 1)
    };
    let thirty = |ttl| job::hitting(ttl, THIRD);
    let batch_prefix = |how| prefix_bill(opus, Lane::Batch, how, PREFIX).pico();
    let plain = batch_prefix(Prefix::Plain);
    let against_plain = |how| {
        let change = (batch_prefix(how) - plain).unsigned_abs();
        percent(change, plain.unsigned_abs(), 1)
    };
    let hits = |rows: u64| percent((rows - CONCURRENT).into(), rows.into(), 0);
    let minimum = u64::from(job::model(opus).min_cacheable_tokens);
    let pad_from = minimum * list.read / list.input + 1;
    let break_even = |ttl| count(break_even_calls(&list, ttl).expect("reads are cheaper"));
    let mut all = vec![
        ("as_of", Book::embedded().as_of().to_owned()),
        ("batch", batch_share_of_all()),
        ("reads", share_of(&reads)),
        (
            "write_5m",
            share_of(&shares_of_input(|rates| rates.write_5m)),
        ),
        (
            "write_1h",
            share_of(&shares_of_input(|rates| rates.write_1h)),
        ),
        ("both", times_batch(common_read)),
        ("both_least", times_batch(cheapest_read)),
        ("wrong", format!("{WRONG} %")),
        ("calls", count(CALLS)),
        ("prefix", count(PREFIX)),
        ("suffix", count(SUFFIX)),
        ("output", count(OUTPUT)),
        ("opus", format!("`{opus}`")),
        ("nightly_naive", dollars(naive, 2)),
        ("nightly_if_off", dollars(of_naive(100 - WRONG), 2)),
        ("nightly_if_of", dollars(of_naive(WRONG), 2)),
        (
            "nightly_batch",
            dollars(bill(opus, Lane::Batch, Prefix::Plain), 2),
        ),
        ("read", tables::plain_percent(list.read, list.input)),
        (
            "read_saves",
            tables::plain_percent(list.input - list.read, list.input),
        ),
        ("calls_5m", break_even(Ttl::FiveMinutes)),
        ("calls_1h", break_even(Ttl::OneHour)),
        ("third", format!("{THIRD} %")),
        ("third_loss", against_plain(thirty(Ttl::OneHour))),
        ("third_gain", against_plain(thirty(Ttl::FiveMinutes))),
        ("concurrent", count(CONCURRENT)),
        ("small", count(SMALL)),
        ("large", count(LARGE)),
        ("small_hits", hits(SMALL)),
        ("large_hits", hits(LARGE)),
        ("sigma", percent(sigma.0, sigma.1, 2)),
        ("nightly_limit", limit),
        ("sync_beats", sync_beats(common_read)),
        ("sync_beats_least", sync_beats(cheapest_read)),
        (
            "tenth",
            tables::plain_percent(list.input - list.read, list.input * 10),
        ),
        ("newer_tokens", newer_tokens()),
        ("long_minimum", count(minimum)),
        ("short", count(SHORT)),
        ("pad_from", count(pad_from)),
        (
            "pad_before",
            dollars(prefix_bill(opus, Lane::Batch, Prefix::Plain, SHORT), 2),
        ),
        (
            "pad_after",
            dollars(
                prefix_bill(opus, Lane::Batch, one_write(Ttl::OneHour), minimum),
                2,
            ),
        ),
    ];
    all.extend(tables::all());
    all
}

#[test]
fn break_evens_and_thresholds_that_the_prose_relies_on() {
    for model in tables::models() {
        let rates = rates(&model.id, Lane::Sync);
        assert_eq!(
            break_even_calls(&rates, Ttl::FiveMinutes),
            Some(2),
            "{}",
            model.id
        );
        assert_eq!(
            break_even_calls(&rates, Ttl::OneHour),
            Some(3),
            "{}",
            model.id
        );
        if model.batch {
            for ttl in [Ttl::FiveMinutes, Ttl::OneHour] {
                let inside = hit_threshold(&job::rates(&model.id, Lane::Batch), ttl);
                assert!((inside.share() - hit_threshold(&rates, ttl).share()).abs() < 1e-12);
            }
            let batch = job::rates(&model.id, Lane::Batch);
            assert_eq!(
                batch.write_1h, rates.input,
                "{}: a write of no hits",
                model.id
            );
        }
    }
}
