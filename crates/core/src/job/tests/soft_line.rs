//! The soft line: what may begin by what is expected, when the rest waits, and when the job stops.

use super::sync::{answer, message, row, running, sends};
use super::{Bench, dollars, facts, shard};
use crate::job::event::{Act, Stop};
use crate::job::outcome::OutcomeClass::Succeeded;
use crate::job::shard::ShardNo;
use crate::job::{Facts, Status};
use crate::price::Lane;
use crate::units::Usd;
use offpeak_wire::message::StopReason;

/// A tenth of the worst case is expected.
fn below(line: i128) -> Facts {
    Facts {
        soft_budget: Some(dollars(line)),
        past_guard: true,
        ..facts()
    }
}

/// Two batches of 100 rows, of a dollar at the most each, of which the first has cost something.
fn after_one(line: i128, cost: Usd) -> (Bench, Vec<Act>) {
    let shards = vec![shard(0, Lane::Batch, 100), shard(1, Lane::Batch, 101)];
    let mut bench = Bench::new(below(line), shards);
    assert_eq!(bench.begin(), [Act::Prepare(ShardNo(0))], "one fits");
    assert_eq!(bench.run_batch(0, "first"), [Act::Settle(ShardNo(0))]);
    assert_eq!(
        bench.state(1),
        "planned",
        "it waits for what the first comes to"
    );
    let acts = bench.settle_at(0, &[Succeeded; 100], 0, cost);
    (bench, acts)
}

#[test]
fn a_batch_that_would_cross_the_line_waits_and_goes_if_the_one_before_was_cheap() {
    let (_, acts) = after_one(30, dollars(1));
    assert_eq!(acts, [Act::Prepare(ShardNo(1))]);
}

#[test]
fn if_it_was_as_dear_as_expected_the_job_stops_below_the_line() {
    let (line, spent) = (dollars(30), dollars(10));
    let (bench, acts) = after_one(30, spent);
    assert_eq!(acts, []);
    assert_eq!(
        bench.status(),
        Status::Stopped(Stop::SoftBudget { line, spent })
    );
    assert_eq!(bench.state(1), "planned");
}

#[test]
fn a_batch_that_alone_would_cross_the_line_is_never_sent_nor_cut() {
    // Ten dollars are expected, and it may well be fifteen more.
    let mut bench = Bench::new(below(20), vec![shard(0, Lane::Batch, 100)]);
    assert_eq!(bench.begin(), []);
    let (line, spent) = (dollars(20), Usd::ZERO);
    assert_eq!(
        bench.status(),
        Status::Stopped(Stop::SoftBudget { line, spent })
    );
}

#[test]
fn calls_in_flight_are_what_the_line_allows_and_cheap_ones_go_to_the_end() {
    let (mut bench, sent) = running(below(4), (0..50).map(|n| row(n, None)).collect());
    assert_eq!(sent, [0, 1, 2, 3, 4], "of a window of eight");
    let mut flying = sent;
    let mut answered = 0;
    while let Some(next) = flying.pop() {
        answered += 1;
        let acts = answer(&mut bench, next, message(StopReason::EndTurn, 7));
        flying.extend(sends(&acts));
    }
    assert_eq!(answered, 50);
}

#[test]
fn dear_calls_stop_at_the_line_and_never_far_beyond() {
    let (mut bench, mut flying) = running(below(4), (0..50).map(|n| row(n, None)).collect());
    let mut spent = Usd::ZERO;
    while let Some(next) = flying.pop() {
        // Nine times what was expected.
        let cost = 900_000_000_000;
        spent += Usd::from_pico(cost);
        let acts = answer(&mut bench, next, message(StopReason::EndTurn, cost));
        flying.extend(sends(&acts));
    }
    let line = dollars(4);
    assert_eq!(
        bench.status(),
        Status::Stopped(Stop::SoftBudget { line, spent })
    );
    assert!(spent > dollars(3) && spent <= dollars(5), "{spent}");
}
