//! Contract prices on top of the public ones, and the listing of the result.

use crate::units::Timestamp;

use super::{Book, Ceiling, Lane, Mode, listing};

fn at() -> Timestamp {
    Timestamp::of_day("2026-11-22").unwrap()
}

fn over(text: &str) -> Book {
    Book::parse(&format!("as_of = \"2026-11-20\"\n{text}"), "mine.toml").unwrap()
}

fn rate(book: &Book, model: &str, lane: Lane) -> u64 {
    book.model(model)
        .unwrap()
        .rates(at(), Mode::plain(lane))
        .unwrap()
        .input
}

const CONTRACT: &str = r#"
[[model]]
id = "claude-opus-5-5"
min_cacheable_tokens = 512
batch = true
us_geo = true
[[model.price]]
input = "3"
write_5m = "3.75"
write_1h = "6"
read = "0.15"
output = "15"
"#;

#[test]
fn a_listed_model_replaces_its_row_and_leaves_the_others() {
    let new = CONTRACT.replace("claude-opus-5-5", "claude-next");
    let book = Book::embedded()
        .overlaid(over(&format!("{CONTRACT}{new}")))
        .unwrap();
    assert_eq!(rate(&book, "claude-opus-5-5", Lane::Batch), 1_500_000);
    assert_eq!(rate(&book, "claude-next", Lane::Sync), 3_000_000);
    assert_eq!(rate(&book, "claude-haiku-4-5", Lane::Sync), 1_000_000);
    assert_eq!(book.models().count(), Book::embedded().models().count() + 1);
    let model = book.model("claude-next").unwrap();
    assert_eq!(
        (model.source.as_slice(), model.as_of.as_str()),
        (["mine.toml".to_owned()].as_slice(), "2026-11-20")
    );
    assert_eq!(book.as_of(), "2026-11-22");
    // The whole row is replaced: fast mode is not in the contract.
    let fast = Mode {
        fast: true,
        ..Mode::plain(Lane::Sync)
    };
    assert!(
        book.model("claude-opus-5-5")
            .unwrap()
            .rates(at(), fast)
            .is_err()
    );
}

#[test]
fn a_discount_lowers_every_rate_but_those_listed_with_it() {
    let text = format!("discount = \"0.15\"\n{CONTRACT}");
    let book = Book::embedded().overlaid(over(&text)).unwrap();
    assert_eq!(rate(&book, "claude-opus-5-5", Lane::Sync), 3_000_000);
    assert_eq!(rate(&book, "claude-haiku-5-5", Lane::Sync), 85_000);
    assert_eq!(rate(&book, "claude-haiku-5-5", Lane::Batch), 42_500);
    assert_eq!(book.web_search_fee(), Book::embedded().web_search_fee());
    // Discounts of several books multiply.
    let twice = book.overlaid(over("discount = \"0.2\"")).unwrap();
    assert_eq!(rate(&twice, "claude-haiku-5-5", Lane::Sync), 68_000);
    assert_eq!(rate(&twice, "claude-opus-5-5", Lane::Sync), 2_400_000);
}

#[test]
fn a_discount_that_is_not_exact_is_refused() {
    let error = Book::embedded()
        .overlaid(over("discount = \"0.123457\""))
        .unwrap_err();
    assert_eq!(error.origin, "mine.toml");
    assert_eq!(error.key, "discount");
    assert!(
        error
            .to_string()
            .contains("is not a whole number of picodollars per token"),
        "{error}"
    );
}

#[test]
fn a_discount_that_is_only_inexact_in_the_us_is_refused_there() {
    let book = Book::embedded()
        .overlaid(over("discount = \"0.15\""))
        .unwrap();
    let us = Mode {
        us: true,
        ..Mode::plain(Lane::Batch)
    };
    let error = book
        .model("claude-haiku-5-5")
        .unwrap()
        .rates(at(), us)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the `write_5m` rate of `claude-haiku-5-5` on the batch lane with US inference is not a \
         whole number of picodollars per token"
    );
    assert!(
        book.model("claude-opus-5-5")
            .unwrap()
            .rates(at(), us)
            .is_ok()
    );
    // A request whose geography floats could come to that rate, so it has no worst case.
    let mut ceiling = Ceiling {
        input_bytes: 1_000,
        max_tokens: 100,
        marked: None,
        has_tools: false,
        global_pinned: false,
        fast: false,
    };
    let worst = |ceiling| book.worst_case(at(), Lane::Batch, "claude-haiku-5-5", &ceiling);
    assert_eq!(worst(ceiling), Err(error));
    ceiling.global_pinned = true;
    assert_eq!(worst(ceiling).unwrap().to_decimal(), "0.00006375");
}

#[test]
fn an_alias_cannot_be_taken_over() {
    let text = CONTRACT.replace("claude-opus-5-5", "claude-haiku-4-5");
    let error = Book::embedded().overlaid(over(&text)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`mine.toml`: `model.id`: `claude-haiku-4-5` names both `claude-haiku-4-5-20251001` and \
         `claude-haiku-4-5`"
    );
}

#[test]
fn stated_multipliers_and_fees_hold_for_all_models() {
    let text = "[multipliers]\nbatch = \"0.4\"\ninference_geo_us = \"1\"\n\
                [tool_fees]\nweb_search_usd_each = \"0.02\"\n";
    let book = Book::embedded().overlaid(over(text)).unwrap();
    assert_eq!(rate(&book, "claude-haiku-5-5", Lane::Batch), 40_000);
    assert_eq!(book.web_search_fee().to_decimal(), "0.02");
    // A later book that states none leaves them alone, for its own rows as well.
    let later = book.overlaid(over(CONTRACT)).unwrap();
    assert_eq!(rate(&later, "claude-opus-5-5", Lane::Batch), 1_200_000);
    assert_eq!(later.web_search_fee().to_decimal(), "0.02");
}

#[test]
fn the_listing_shows_both_lanes_exactly_and_says_what_columns_cannot() {
    let rows = listing(Book::embedded(), Some("claude-haiku-5-5"), at()).unwrap();
    let [row] = rows.as_slice() else {
        panic!("one model, not {}", rows.len())
    };
    let (standard, batch) = (row.standard.as_ref().unwrap(), row.batch.as_ref().unwrap());
    assert_eq!(
        (standard.write_5m.as_str(), batch.write_5m.as_str()),
        ("0.125", "0.0625")
    );
    assert_eq!(
        (row.status, row.min_cacheable_tokens),
        ("active", Some(512))
    );
    assert_eq!(
        row.notes,
        [
            "above 100,000 prompt tokens every token of the request costs more: input 0.5, 5m \
             write 0.625, 1h write 1, read 0.05, output 2.5 (sync lane)",
            "US inference costs 1.1 times as much",
        ]
    );

    let early = Timestamp::of_day("2026-10-01").unwrap();
    let rows = listing(Book::embedded(), Some("sonnet"), early).unwrap();
    let row = rows
        .iter()
        .find(|row| row.id == "claude-sonnet-5-5")
        .unwrap();
    assert_eq!(row.standard.as_ref().unwrap().read, "0.2");
    assert!(
        row.notes
            .contains(&"price changes on 2026-10-07".to_owned()),
        "{:?}",
        row.notes
    );

    let rows = listing(Book::embedded(), None, at()).unwrap();
    assert_eq!(rows.len(), 38);
    for row in rows {
        assert_eq!(row.standard.is_some(), row.batch.is_some(), "{}", row.id);
        assert!(
            row.standard.is_some() || !row.notes.is_empty(),
            "{}",
            row.id
        );
    }
    assert!(listing(Book::embedded(), Some("claude-haiku-9"), at()).is_err());
}
