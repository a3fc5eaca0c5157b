//! The table that ends a run.

use offpeak_core::job::outcome::{OutcomeClass, Outcomes, Tally};
use offpeak_core::plan::Route;
use offpeak_core::units::{Span, Usd};
use offpeak_report::{ReusedRows, Summary, summary_text};

use crate::{at_both_widths, job, usd};

fn outcomes(rows: &[(OutcomeClass, u64)]) -> Outcomes {
    let mut outcomes = Outcomes::default();
    for (class, number) in rows {
        for _ in 0..*number {
            outcomes.count(*class);
        }
    }
    outcomes
}

fn speeches() -> Summary {
    Summary {
        name: "speeches".to_owned(),
        job: job(),
        route: Route::BatchCache,
        rows: 4_133,
        tally: Tally {
            outcomes: outcomes(&[(OutcomeClass::Succeeded, 4_133)]),
            attempts: 4_133,
            cost: usd("0.4567891"),
            naive: usd("2.9871234"),
            plain_batch: usd("1.4935617"),
            input_tokens: 1_400_210,
            cache_read_tokens: 20_776_112,
            cache_write_tokens: 5_028,
            output_tokens: 661_280,
            ..Tally::default()
        },
        reused: ReusedRows::default(),
        asked_again: None,
        duration: Span::from_secs(6_730),
        spare: Some(Span::from_secs(22_070)),
        stopped: None,
        waste: (0, Usd::ZERO),
        upstream_bill: Some(usd("0.4567891")),
        examples: Vec::new(),
        output: Some("out/speeches.jsonl".to_owned()),
    }
}

fn text(summary: &Summary) -> String {
    at_both_widths(|width| summary_text(summary, width))
}

#[test]
fn all_succeeded_in_the_simulator() {
    insta::assert_snapshot!(text(&speeches()));
}

#[test]
fn failures_lost_answers_and_a_missed_deadline() {
    let mut summary = speeches();
    summary.route = Route::Sync;
    summary.tally.outcomes = outcomes(&[
        (OutcomeClass::Succeeded, 4_100),
        (OutcomeClass::Truncated, 20),
        (OutcomeClass::Errored, 8),
        (OutcomeClass::Invalid, 2),
        (OutcomeClass::ResultUnreadable, 3),
    ]);
    summary.tally.attempts = 4_180;
    summary.tally.cost = usd("2.99");
    summary.tally.unknown = usd("0.0123");
    summary.tally.unknown_calls = 3;
    summary.upstream_bill = Some(usd("2.9964"));
    summary.spare = Some(Span::from_secs(-312));
    summary.examples = vec![
        "line 17, key \"1863-lincoln-014\": invalid_request_error: max_tokens: 0 is too small"
            .to_owned(),
    ];
    insta::assert_snapshot!(text(&summary));
}

#[test]
fn stopped_before_anything_was_answered() {
    let summary = Summary {
        stopped: Some("the upstream refused the key (authentication_error)".to_owned()),
        tally: Tally::default(),
        spare: None,
        upstream_bill: None,
        output: None,
        duration: Span::from_millis(2_300),
        ..speeches()
    };
    insta::assert_snapshot!(text(&summary));
}

#[test]
fn rows_that_were_not_sent_are_told_with_what_they_save() {
    let mut summary = speeches();
    summary.tally.attempts = 1_132;
    summary.reused = ReusedRows {
        identical: 1,
        earlier_runs: 3_000,
        saved: usd("0.3320011"),
    };
    let reused = |summary: &Summary| {
        let text = summary_text(summary, 100);
        let lines = text
            .lines()
            .filter(|line| line.starts_with("Reused") || line.starts_with("Tries"));
        lines.collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(reused(&summary));
    summary.asked_again = Some((1_132, 4_096));
    let text = summary_text(&summary, 100);
    assert!(text.contains("3,000 rows were settled by earlier runs"));
    assert!(text.contains(
        "Again:  1,132 rows that had been cut off were asked again with `max_tokens` 4,096."
    ));
    summary.asked_again = None;
    summary.reused.earlier_runs = 4_133;
    assert!(summary_text(&summary, 100).contains("; nothing had to be sent."));
}

#[test]
fn a_difference_nobody_can_explain_is_shouted() {
    let bill = usd("0.4567891") + Usd::from_pico(1);
    let summary = Summary {
        upstream_bill: Some(bill),
        ..speeches()
    };
    let text = summary_text(&summary, 100);
    assert!(
        text.contains("NOT EXPLAINED (0.000000000001 exactly)"),
        "{text}"
    );
}
