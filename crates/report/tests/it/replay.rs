//! A replayed trace under two policies.

use offpeak_core::units::Usd;
use offpeak_report::{ReplayLine, ReplayView, replay_text};

use crate::{at_both_widths, usd};

#[test]
fn a_trace_under_two_policies() {
    let automatic = ReplayLine {
        policy: "last-block-5m".to_owned(),
        realised: usd("16.5"),
        to_naive: 1.1,
        to_bound: 4.125,
        read: 0,
        written: 4_000_000,
        late: 0,
        sent: 1_000,
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
    let view = ReplayView {
        calls: 1_000,
        naive: usd("15"),
        bound: usd("4"),
        lines: vec![automatic, own],
    };
    insta::assert_snapshot!(at_both_widths(|width| replay_text(&view, width)));
}
