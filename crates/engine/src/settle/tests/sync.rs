//! The sync lane: a journal in which rows are mixed.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use std::sync::Arc;

use offpeak_core::job::retry::Blame;

use crate::journal::{Journal, Record};
use crate::recover::{Recovered, recover};

fn sent(row: u64) -> Record {
    Record::Sent {
        row,
        attempt: 0,
        at: at(),
        held: Usd::from_pico(500),
    }
}

fn answered(row: u64, status: u16, body: &str) -> Record {
    Record::Answered {
        row,
        at: at(),
        status,
        body: body.as_bytes().to_vec(),
    }
}

fn lost(row: u64) -> Record {
    Record::Lost {
        row,
        held: Usd::from_pico(500),
    }
}

fn unknown(row: u64) -> Record {
    Record::Unknown {
        row,
        held: Usd::from_pico(500),
    }
}

impl Job {
    fn settle_journal(&self, records: &[Record]) -> Result<Settlement, SettleError> {
        let shard = self.shard(0, Lane::Sync, 0..self.refs.len());
        let mut journal = Journal::open(&self.spool, shard.no).unwrap();
        journal.append(records).unwrap();
        settle_sync(&self.ctx(), &shard)
    }
}

/// How a row fared: a name for it, its records, then status, cost and attempts in its line, and what
/// is held as unknown.
type Fate = (
    &'static str,
    Vec<Record>,
    (&'static str, Option<&'static str>, u64),
    i128,
);

fn fates() -> Vec<Fate> {
    let good = message("end_turn", 10, 0);
    vec![
        (
            "answered",
            vec![sent(0), answered(0, 200, &good)],
            ("succeeded", Some("1000000"), 1),
            0,
        ),
        (
            "answered after a pause of the lane",
            vec![
                sent(0),
                answered(0, 529, "{}"),
                sent(0),
                answered(0, 200, &good),
            ],
            ("succeeded", Some("1000000"), 2),
            0,
        ),
        (
            "answered after a lost answer",
            vec![sent(0), lost(0), sent(0), answered(0, 200, &good)],
            ("succeeded", Some("1000000"), 2),
            500,
        ),
        (
            "answered after a crash",
            vec![sent(0), unknown(0), sent(0), answered(0, 200, &good)],
            ("succeeded", Some("1000000"), 2),
            500,
        ),
        (
            "a try that did not leave is no attempt",
            vec![
                sent(0),
                Record::NotSent { row: 0 },
                sent(0),
                answered(0, 200, &good),
            ],
            ("succeeded", Some("1000000"), 1),
            0,
        ),
        (
            "refused by the API",
            vec![sent(0), answered(0, 400, &error("invalid_request_error"))],
            ("errored", Some("0"), 1),
            0,
        ),
        (
            "failed for good",
            vec![
                sent(0),
                answered(0, 500, "{}"),
                sent(0),
                answered(0, 500, "{}"),
            ],
            ("exhausted", Some("0"), 2),
            0,
        ),
        (
            "a failure of which nobody knows whether it was billed",
            vec![sent(0), answered(0, 504, "{}")],
            ("exhausted", None, 1),
            500,
        ),
        (
            "a timeout may have been billed",
            vec![
                sent(0),
                answered(0, 504, "{}"),
                sent(0),
                answered(0, 200, &good),
            ],
            ("succeeded", Some("1000000"), 2),
            500,
        ),
        (
            "answered, but not readable",
            vec![sent(0), answered(0, 200, "<html>")],
            ("result_unreadable", None, 1),
            500,
        ),
    ]
}

#[test]
fn a_row_ends_as_its_records_say() {
    for (name, records, (status, cost, attempts), unknown) in fates() {
        let job = Job::of(1);
        let tally = job.settle_journal(&records).unwrap().tally;
        let line = &job.lines()[0];
        assert_eq!(line["status"], status, "{name}");
        assert_eq!(line["cost_picousd"].as_str(), cost, "{name}");
        assert_eq!(line["attempts"], attempts, "{name}");
        assert_eq!(line["route"], "sync", "{name}");
        assert_eq!(tally.unknown, Usd::from_pico(unknown), "{name}");
        assert_eq!(tally.unknown_calls, u64::from(unknown > 0), "{name}");
        assert_eq!(tally.attempts, attempts, "{name}");
        assert_eq!(tally.cost, sum_of_costs(&job.lines()), "{name}");
    }
}

#[test]
fn a_row_that_is_not_finished_is_an_error_unless_the_job_was_given_up() {
    let answer = answered(0, 200, &message("end_turn", 1, 1));
    for last in [
        vec![],
        vec![sent(1)],
        vec![sent(1), unknown(1)],
        vec![sent(1), answered(1, 500, "{}"), sent(1)],
        vec![sent(1), answered(1, 401, &error("authentication_error"))],
    ] {
        let records = [vec![sent(0), answer.clone()], last].concat();
        let mut job = Job::of(2);
        let error = job.settle_journal(&records).unwrap_err();
        assert!(
            matches!(error, SettleError::Unfinished { row: 1 }),
            "{error}"
        );
        job.canceled = true;
        let tally = settle_sync(&job.ctx(), &job.shard(0, Lane::Sync, 0..2))
            .unwrap()
            .tally;
        assert_eq!(tally.outcomes.of(OutcomeClass::Canceled), 1);
        assert_eq!(job.lines()[0]["status"], "succeeded");
        assert_eq!(job.lines()[1]["status"], "canceled");
    }
}

#[test]
fn a_row_whose_answers_were_all_lost_is_exhausted_and_names_no_cost() {
    let tries = vec![[sent(0), lost(0)]; 3].concat();
    let job = Job::of(1);
    let tally = job.settle_journal(&tries).unwrap().tally;
    let line = &job.lines()[0];
    assert_eq!(
        (&line["status"], &line["attempts"]),
        (&json!("exhausted"), &json!(3))
    );
    assert_eq!(line["cost_picousd"], Value::Null);
    assert_eq!(
        (tally.unknown, tally.unknown_calls),
        (Usd::from_pico(1_500), 3)
    );
    let message = line["error"]["message"].as_str().unwrap();
    assert!(
        message.ends_with("may have been billed, at most $0.0000000015"),
        "{message}"
    );

    // A try without an end, one that never left, or one that a crash ended, is not the last of such a row.
    for last in [
        vec![sent(0)],
        vec![sent(0), Record::NotSent { row: 0 }],
        vec![sent(0), unknown(0)],
    ] {
        let error = Job::of(1)
            .settle_journal(&[tries.clone(), last].concat())
            .unwrap_err();
        assert!(
            matches!(error, SettleError::Unfinished { row: 0 }),
            "{error}"
        );
    }
}

impl Job {
    /// What the next process knows of its rows.
    fn recovered(&self, records: &[Record]) -> Arc<Recovered> {
        let mut shard = self.shard(0, Lane::Sync, 0..self.refs.len());
        shard.state = ShardState::Running;
        let mut journal = Journal::open(&self.spool, shard.no).unwrap();
        journal.append(records).unwrap();
        let found = recover(&self.spool, &[&shard], Book::embedded(), &self.models).unwrap();
        Arc::clone(&found[&shard.no])
    }
}

/// One row is lost again and again, while others pass.
fn lost_where_others_pass() -> Vec<Record> {
    let passes = |row| [sent(row), answered(row, 200, &message("end_turn", 1, 1))];
    let mut records = [sent(0), lost(0)].to_vec();
    for row in 1..4 {
        records.extend(passes(row));
        records.extend([sent(0), lost(0)]);
    }
    records
}

#[test]
fn a_row_that_had_all_its_tries_has_had_them_for_the_next_process_too() {
    let mut records = lost_where_others_pass();
    let job = Job::of(4);
    let found = job.recovered(&records);
    assert!(found.done.contains(&0), "{found:?}");
    assert_eq!(found.tally.outcomes.of(OutcomeClass::Exhausted), 1);
    let tally = job.settle_journal(&[]).unwrap().tally;
    assert_eq!(tally.outcomes, found.tally.outcomes);
    assert_eq!(tally.unknown, found.tally.unknown);

    // It was sent again all the same, so the lane had seen it otherwise.
    records.push(sent(0));
    let job = Job::of(4);
    assert!(!job.recovered(&records).done.contains(&0));
    let error = job.settle_journal(&[]).unwrap_err();
    assert!(
        matches!(error, SettleError::Unfinished { row: 0 }),
        "{error}"
    );
}

#[test]
fn crashes_and_errors_of_the_account_use_no_try_of_a_row() {
    let refused = answered(0, 401, &error("authentication_error"));
    let crashes = vec![[sent(0), unknown(0), sent(0), refused]; 5].concat();
    let found = Job::of(1).recovered(&crashes);
    assert_eq!(
        (found.done.len(), found.attempts.len()),
        (0, 0),
        "{found:?}"
    );
    assert_eq!(found.blame(0), Blame::default());
}

#[test]
fn failures_that_were_judged_otherwise_live_keep_no_row_from_being_sent() {
    let conflict = answered(0, 409, &error("conflict_error"));
    let mut records = lost_where_others_pass();
    records.truncate(records.len() - 2);
    records.extend([sent(0), conflict, sent(0), unknown(0)]);
    let found = Job::of(4).recovered(&records);
    assert!(!found.done.contains(&0), "{found:?}");
}

#[test]
fn an_answer_over_several_lines_becomes_one_line() {
    let job = Job::of(1);
    let body = message("end_turn", 1, 1).replace(",\"", ",\r\n  \"");
    job.settle_journal(&[sent(0), answered(0, 200, &body)])
        .unwrap();
    let lines = job.lines();
    let expected: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((lines.len(), &lines[0]["message"]), (1, &expected));
}

#[test]
fn a_row_of_another_shard_is_noticed() {
    let error = Job::of(1).settle_journal(&[sent(9)]).unwrap_err();
    assert!(
        matches!(error, SettleError::Inconsistent { row: 9, .. }),
        "{error}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn however_the_rows_are_mixed_the_segment_is_the_same(
        picks in prop::collection::vec(0..fates().len(), 1..12),
        dice in prop::collection::vec(any::<prop::sample::Index>(), 80),
    ) {
        let queues = (0..).zip(&picks).map(|(row, pick)| {
            let records = fates()[*pick].1.clone();
            records.into_iter().map(|record| moved(record, row)).collect::<Vec<_>>()
        });
        let queues: Vec<Vec<Record>> = queues.collect();
        let job = Job::of(picks.len() as u64);
        let settled = job.settle_journal(&queues.concat()).unwrap();
        let output = std::fs::read(job.output()).unwrap();
        prop_assert_eq!(settled.tally.cost, sum_of_costs(&job.lines()));

        let mut left: Vec<_> = queues.into_iter().map(Vec::into_iter).collect();
        let mut mixed = Vec::new();
        for die in dice.iter().cycle() {
            left.retain(|queue| queue.len() > 0);
            if left.is_empty() {
                break;
            }
            let queue = die.index(left.len());
            mixed.extend(left[queue].next());
        }
        let other = Job::of(picks.len() as u64);
        prop_assert_eq!(other.settle_journal(&mixed).unwrap(), settled);
        prop_assert_eq!(std::fs::read(other.output()).unwrap(), output);
    }
}

fn moved(record: Record, to: u64) -> Record {
    match record {
        Record::Sent {
            attempt, at, held, ..
        } => Record::Sent {
            row: to,
            attempt,
            at,
            held,
        },
        Record::Answered {
            at, status, body, ..
        } => Record::Answered {
            row: to,
            at,
            status,
            body,
        },
        Record::Unknown { held, .. } => Record::Unknown { row: to, held },
        Record::Lost { held, .. } => Record::Lost { row: to, held },
        Record::NotSent { .. } => Record::NotSent { row: to },
    }
}
