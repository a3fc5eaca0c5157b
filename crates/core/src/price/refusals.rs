//! What has no price, and price books that are refused: the words people see.

use offpeak_wire::usage::Usage;

use crate::units::Timestamp;

use super::{Book, Lane, Mode, PriceError};

fn day(text: &str) -> Timestamp {
    Timestamp::of_day(text).unwrap()
}

fn refused(model: &str, at: &str, usage: &Usage) -> PriceError {
    Book::embedded()
        .bill(day(at), Lane::Sync, model, usage)
        .unwrap_err()
}

#[test]
fn nothing_unknown_is_ever_free() {
    let none = Usage::default();
    for (model, at, message) in [
        (
            "claude-haiku-9",
            "2026-11-22",
            "unknown model `claude-haiku-9`; did you mean `claude-haiku-5-5`?",
        ),
        ("gpt-4o", "2026-11-22", "unknown model `gpt-4o`"),
        (
            "claude-sonet-5-5",
            "2026-11-22",
            "unknown model `claude-sonet-5-5`; did you mean \
          `claude-sonnet-5-5`?",
        ),
        (
            "claude-mythos-preview",
            "2026-11-22",
            "no public price is known for `claude-mythos-preview`; add it with --price-book",
        ),
        (
            "claude-haiku-5-5",
            "2026-10-06",
            "no price is known for `claude-haiku-5-5` on \
          2026-10-06; its first known price starts on 2026-10-07",
        ),
        (
            "claude-opus-4-1",
            "2026-08-06",
            "`claude-opus-4-1-20250805` was retired on 2026-08-05; \
          its replacement is `claude-opus-4-8`",
        ),
        (
            "claude-2.1",
            "2020-01-01",
            "no public price is known for `claude-2.1`; add it with --price-book",
        ),
    ] {
        assert_eq!(refused(model, at, &none).to_string(), message);
    }
    let hint = refused("claude-haiku-9", "2026-11-22", &none).hint();
    assert_eq!(
        hint,
        "add it to a price book: offpeak … --price-book FILE, with [[model]] id = \
         \"claude-haiku-9\" … (see `offpeak prices --json`)"
    );
    let hint = refused("claude-opus-4-1", "2026-11-22", &none).hint();
    assert_eq!(hint, "set `model` to `claude-opus-4-8`");
}

#[test]
fn an_answer_that_cannot_be_priced_is_an_error() {
    let says = |speed: Option<&str>, geo: Option<&str>| Usage {
        speed: speed.map(str::to_owned),
        inference_geo: geo.map(str::to_owned),
        ..Usage::default()
    };
    let at = "2026-11-22";
    for (model, usage, message) in [
        (
            "claude-opus-4-6",
            says(Some("fast"), None),
            "no fast-mode price is known for `claude-opus-4-6` on 2026-11-22",
        ),
        (
            "claude-opus-5-5",
            says(Some("ludicrous"), None),
            "unknown `usage.speed` `ludicrous`",
        ),
        (
            "claude-opus-5-5",
            says(None, Some("eu")),
            "unknown `usage.inference_geo` `eu`",
        ),
    ] {
        let error = refused(model, at, &usage);
        assert_eq!(error.to_string(), message);
        assert!(!error.hint().is_empty());
        let naive = Book::embedded().naive(day(at), model, &usage);
        assert_eq!(naive, Err(error));
    }
    let split = Usage {
        cache_creation_input_tokens: 7,
        ..Usage::default()
    };
    assert_eq!(
        refused("claude-opus-5-5", at, &split),
        PriceError::WritesDoNotAddUp { parts: 0, total: 7 }
    );
    let fast = says(Some("fast"), None);
    let batched = Book::embedded().bill(day(at), Lane::Batch, "claude-opus-5-5", &fast);
    assert_eq!(
        batched.unwrap_err().to_string(),
        "`claude-opus-5-5` has no fast mode on the batch lane"
    );
}

#[test]
fn a_gap_between_prices_names_both_sides() {
    let text = book(
        r#"
        [[model.price]]
        until = "2026-01-01"
        input = "1"
        write_5m = "1.25"
        write_1h = "2"
        read = "0.1"
        output = "5"
        [[model.price]]
        from = "2026-02-01"
        until = "2026-03-01"
        input = "1"
        write_5m = "1.25"
        write_1h = "2"
        read = "0.1"
        output = "5"
        "#,
    );
    let book = Book::parse(&text, "mine.toml").unwrap();
    let at = |text| {
        book.model("m")
            .unwrap()
            .rates(day(text), Mode::plain(Lane::Sync))
    };
    assert!(at("2025-12-31").is_ok() && at("2026-02-01").is_ok());
    assert_eq!(
        at("2026-01-01").unwrap_err().to_string(),
        "no price is known for `m` on 2026-01-01; one price ends on 2026-01-01 and the next \
         starts on 2026-02-01"
    );
    assert_eq!(
        at("2026-03-01").unwrap_err().to_string(),
        "no price is known for `m` on 2026-03-01; its last known price ends on 2026-03-01"
    );
}

/// A price book with one model `m` and whatever follows its own keys.
fn book(rest: &str) -> String {
    format!(
        "as_of = \"2026-11-22\"\n[[model]]\nid = \"m\"\nmin_cacheable_tokens = 512\n\
         batch = true\nus_geo = true\n{rest}"
    )
}

const PRICE: &str = "[[model.price]]\ninput = \"1\"\nwrite_5m = \"1.25\"\nwrite_1h = \"2\"\n\
                     read = \"0.1\"\noutput = \"5\"\n";

#[test]
fn a_refused_book_says_where_what_and_what_to_do() {
    let decimals = PRICE.replace("\"0.1\"", "\"0.0000001\"");
    let float = PRICE.replace("\"0.1\"", "0.1");
    let comma = PRICE.replace("\"0.1\"", "\"0,1\"");
    let free = PRICE.replace("\"0.1\"", "\"0\"");
    let half = PRICE.replace("\"0.1\"", "\"0.000001\"");
    let twice = format!("{PRICE}{PRICE}");
    let backwards = PRICE.replace(
        "]]\n",
        "]]\nfrom = \"2026-02-01\"\nuntil = \"2026-02-01\"\n",
    );
    let again = format!(
        "{PRICE}[[model]]\nid = \"n\"\naliases = [\"m\"]\nmin_cacheable_tokens = 1\n\
                         batch = true\nus_geo = true\n"
    );
    for (rest, message, hint) in [
        (
            "batcch = true",
            "`p.toml` line 7: `model.batcch`: unknown key; did you mean `batch`?",
            "rename it to `batch`, or remove it",
        ),
        (
            &decimals,
            "`p.toml` line 11: `model.price.read`: `0.0000001` has more than 6 decimals",
            "at most 6 decimals can be kept exactly; give the price per million tokens",
        ),
        (
            &float,
            "`p.toml` line 11: `model.price.read`: must be a decimal in quotes, not a number \
          with a point",
            "write `read` as a decimal in quotes",
        ),
        (
            &comma,
            "`p.toml` line 11: `model.price.read`: `0,1` is not a decimal number; write it \
          like `12.50`",
            "write a plain decimal in quotes, such as \"0.125\"",
        ),
        (
            &free,
            "`p.toml` line 11: `model.price.read`: must be a price above 0 and at most 1000000 \
          dollars per million tokens",
            "give a price above 0 and at most 1000000 dollars per million tokens",
        ),
        (
            &half,
            "`p.toml` line 7: `model.price`: the `read` rate of `m` is not a whole number of \
          picodollars per token in a batch",
            "round the price or the discount so that it has fewer decimals; amounts are kept exactly",
        ),
        (
            &twice,
            "`p.toml` line 13: `model.price.from`: two prices of `m` hold at the same time",
            "end the earlier price with `until` = the `from` of the later one",
        ),
        (
            &backwards,
            "`p.toml` line 9: `model.price.until`: `from` 2026-02-01 is not before \
          `until` 2026-02-01",
            "`until` is the first day the price no longer holds; write a later one",
        ),
        (
            &again,
            "`p.toml` line 15: `model.aliases`: `m` names both `m` and `n`",
            "use the id the price book already has, or take the name out of one of the two",
        ),
        (
            "status = \"gone\"",
            "`p.toml` line 7: `model.status`: unknown value `gone`; it must be \
          one of `active`, `limited`, `deprecated`, `retired`",
            "write one of `active`, `limited`, `deprecated`, `retired`",
        ),
        (
            "status = \"retired\"",
            "`p.toml` line 2: `model.retired_on`: missing",
            "add `retired_on = …`",
        ),
        (
            "as_of = \"2026-02-30\"",
            "`p.toml` line 7: `model.as_of`: `2026-02-30` is not a day; \
          write it like `2026-10-07`",
            "write the day as \"YYYY-MM-DD\"",
        ),
    ] {
        let error = Book::parse(&book(rest), "p.toml").unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(error.hint(), hint, "{message}");
    }
}

#[test]
fn nonsense_is_refused_with_its_line() {
    let error = Book::parse("as_of = \"2026-11-22\"\nmodel = = 3\n", "p.toml").unwrap_err();
    assert_eq!(error.line, Some(2));
    assert!(
        error
            .to_string()
            .starts_with("`p.toml` line 2: not valid TOML: "),
        "{error}"
    );
    let error = Book::parse("discount = \"0.1\"", "p.toml").unwrap_err();
    assert_eq!(error.to_string(), "`p.toml` line 1: `as_of`: missing");
    for discount in ["0", "1", "15", "-0.1", "-170141183460469231731687303715884"] {
        let text = format!("as_of = \"2026-11-22\"\ndiscount = \"{discount}\"");
        assert!(Book::parse(&text, "p.toml").is_err(), "accepted {discount}");
    }
}
