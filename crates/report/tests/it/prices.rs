//! The price list.

use offpeak_core::price::{Book, listing};
use offpeak_core::units::Timestamp;
use offpeak_report::prices_text;

use crate::at_both_widths;

fn text(filter: Option<&str>) -> String {
    let now = Timestamp::of_day("2026-11-22").unwrap();
    let rows = listing(Book::embedded(), filter, now).unwrap();
    at_both_widths(|width| prices_text(&rows, width))
}

#[test]
fn the_whole_book() {
    insta::assert_snapshot!(text(None));
}

#[test]
fn one_model() {
    insta::assert_snapshot!(text(Some("claude-haiku-5-5")));
}

#[test]
fn a_model_without_a_price() {
    insta::assert_snapshot!(text(Some("claude-2.1")));
}
