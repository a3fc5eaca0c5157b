//! A replayed trace under two policies.

use offpeak_core::units::{Span, Usd};
use offpeak_report::{ReplayLine, ReplayView, replay_text};

use crate::{at_both_widths, usd};

fn view() -> ReplayView {
    let automatic = ReplayLine {
        policy: "last-block-5m".to_owned(),
        realised: usd("16.5"),
        to_naive: 1.1,
        to_bound: 4.125,
        read: 0,
        written: 4_000_000,
        late: 0,
        sent: 1_000,
        refused: 0,
        declined: 0,
        makespan: Span::from_secs(3_605),
        budget_left: None,
        causes: [
            Usd::ZERO,
            usd("8.25"),
            Usd::ZERO,
            usd("3.24"),
            usd("1.01"),
            usd("0.01"),
            usd("-0.01"),
        ],
    };
    let own = ReplayLine {
        policy: "auto".to_owned(),
        realised: usd("4.004"),
        to_naive: 0.266_933,
        to_bound: 1.001,
        read: 3_996_000,
        written: 4_000,
        late: 12,
        sent: 1_012,
        refused: 0,
        declined: 0,
        makespan: Span::from_secs(3_600),
        budget_left: None,
        causes: [
            usd("0.014"),
            Usd::ZERO,
            Usd::ZERO,
            Usd::ZERO,
            Usd::ZERO,
            Usd::ZERO,
            usd("-0.01"),
        ],
    };
    ReplayView {
        calls: 1_000,
        naive: usd("15"),
        bound: usd("4"),
        budget: None,
        soonest: None,
        lines: vec![automatic, own],
    }
}

#[test]
fn a_trace_under_two_policies() {
    let view = view();
    insta::assert_snapshot!(at_both_widths(|width| replay_text(&view, width)));
}

#[test]
fn limits_and_a_budget_have_tables_of_their_own() {
    let mut view = view();
    view.budget = Some(usd("9"));
    view.soonest = Some(Span::from_secs(3_500));
    let [automatic, own] = &mut view.lines[..] else {
        panic!("two policies")
    };
    (automatic.refused, automatic.sent) = (12_345, 13_345);
    automatic.makespan = Span::from_secs(9_000);
    automatic.budget_left = Some(usd("-7.5"));
    (own.refused, own.declined, own.budget_left) = (9, 3, Some(usd("0.12")));
    insta::assert_snapshot!(at_both_widths(|width| replay_text(&view, width)));
}
