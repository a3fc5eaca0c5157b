//! The sync lane: pauses that use no attempt, rows that do, cold prefixes, money.

use offpeak_wire::error::ErrorKind;
use offpeak_wire::message::StopReason;

use super::{Bench, dollars, facts, shard};
use crate::job::event::{Act, Event, RowAnswer, Sent, Stop, SyncRow};
use crate::job::outcome::Tally;
use crate::job::retry::Blame;
use crate::job::shard::ShardNo;
use crate::job::speed::{Allowance, Limits};
use crate::job::{Facts, Status};
use crate::price::Lane;
use crate::units::{Span, Usd};

pub(super) fn row(row: u64, prefix: Option<u32>) -> SyncRow {
    SyncRow {
        row,
        worst: dollars(1),
        prefixes: prefix.into_iter().collect(),
        attempts: 0,
        blame: Blame::default(),
    }
}

/// A bench with one sync shard whose rows were fetched; returns the rows that were sent at once.
pub(super) fn running(facts: Facts, rows: Vec<SyncRow>) -> (Bench, Vec<u64>) {
    let count = u32::try_from(rows.len()).unwrap();
    let mut bench = Bench::new(facts, vec![shard(0, Lane::Sync, count)]);
    assert_eq!(bench.wake(), [Act::Fetch(ShardNo(0), 0)]);
    let sent = sends(&bench.step(Event::Fetched {
        shard: ShardNo(0),
        rows,
        next: None,
    }));
    (bench, sent)
}

pub(super) fn sends(acts: &[Act]) -> Vec<u64> {
    let sends = acts.iter().filter_map(|act| match act {
        Act::Send { row, .. } => Some(*row),
        _ => None,
    });
    sends.collect()
}

pub(super) fn answer(bench: &mut Bench, row: u64, answer: RowAnswer) -> Vec<Act> {
    bench.step(Event::RowAnswered {
        shard: ShardNo(0),
        row,
        answer,
        limits: Limits::default(),
    })
}

fn good(bench: &mut Bench, row: u64) -> Vec<Act> {
    answer(bench, row, message(StopReason::EndTurn, 7))
}

pub(super) fn message(stop: StopReason, pico: i128) -> RowAnswer {
    let cost = Usd::from_pico(pico);
    let sums = Box::new(Tally {
        cost,
        ..Tally::default()
    });
    RowAnswer::Message { stop, sums }
}

fn error(kind: ErrorKind) -> RowAnswer {
    RowAnswer::Error {
        kind,
        message: "so it is".to_owned(),
        retry_after: None,
    }
}

#[test]
fn the_window_limits_what_is_in_flight() {
    let (mut bench, sent) = running(facts(), (0..100).map(|n| row(n, None)).collect());
    assert_eq!(sent, (0..8).collect::<Vec<_>>());
    assert_eq!(sends(&good(&mut bench, 0)), [8]);
}

#[test]
fn an_overload_pauses_the_lane_and_uses_no_attempt() {
    let (mut bench, sent) = running(facts(), vec![row(0, None)]);
    assert_eq!(sent, [0]);
    for _ in 0..50 {
        answer(&mut bench, 0, error(ErrorKind::Overloaded));
        let acts = bench.pass(61);
        assert!(
            matches!(
                acts.as_slice(),
                [Act::Send {
                    row: 0,
                    attempt: 0,
                    ..
                }]
            ),
            "{acts:?}"
        );
    }
    assert_eq!(good(&mut bench, 0), [Act::Settle(ShardNo(0))]);
}

#[test]
fn retry_after_is_obeyed_and_jitter_comes_on_top() {
    let (mut bench, _) = running(facts(), vec![row(0, None)]);
    let kind = ErrorKind::RateLimit;
    let retry_after = Some(Span::from_secs(100));
    answer(
        &mut bench,
        0,
        RowAnswer::Error {
            kind,
            message: String::new(),
            retry_after,
        },
    );
    assert_eq!(
        bench.pass(100),
        [],
        "half a second of jitter is still to come"
    );
    assert_eq!(sends(&bench.pass(1)), [0]);
}

/// Tries of a row that always fails like this, where 39 others pass.
fn tries_where_others_pass(failure: fn() -> RowAnswer) -> u32 {
    let (mut bench, mut flying) = running(facts(), (0..40).map(|n| row(n, None)).collect());
    let mut tries = 0;
    let mut last = Vec::new();
    while !flying.is_empty() {
        let next = flying.remove(0);
        last = if next == 0 {
            tries += 1;
            assert!(tries < 10, "it is tried for ever");
            answer(&mut bench, 0, failure())
        } else {
            good(&mut bench, next)
        };
        flying.extend(sends(&last));
        flying.extend(sends(&bench.pass(70)));
    }
    assert_eq!(last, [Act::Settle(ShardNo(0))]);
    tries
}

#[test]
fn a_row_that_fails_where_others_pass_is_exhausted_after_three_attempts() {
    // The first failure is the lane's; the next three are its own.
    assert_eq!(tries_where_others_pass(|| error(ErrorKind::Api)), 4);
}

#[test]
fn a_lone_row_that_always_fails_ends_too() {
    let (mut bench, _) = running(facts(), vec![row(0, None)]);
    for tries in 1..200 {
        if answer(&mut bench, 0, error(ErrorKind::Api)) == [Act::Settle(ShardNo(0))] {
            assert!(tries >= 10, "given up after {tries}");
            return;
        }
        while !bench.machine.sync.is_flying() {
            bench.pass(61);
        }
    }
    panic!("it was tried for ever");
}

#[test]
fn what_is_wrong_with_the_row_is_final_at_once() {
    let (mut bench, _) = running(facts(), vec![row(0, None)]);
    let acts = answer(&mut bench, 0, error(ErrorKind::InvalidRequest));
    assert_eq!(acts, [Act::Settle(ShardNo(0))]);
}

#[test]
fn of_a_cold_prefix_one_call_goes_ahead() {
    let rows = (0..6).map(|n| row(n, Some(u32::from(n >= 3)))).collect();
    let (mut bench, sent) = running(facts(), rows);
    assert_eq!(sent, [0, 3], "one per prefix");
    assert_eq!(sends(&good(&mut bench, 0)), [1, 2]);
    // The second prefix failed to warm: again one goes ahead.
    answer(
        &mut bench,
        3,
        RowAnswer::Lost {
            sent: Sent::Nothing,
        },
    );
    assert_eq!(sends(&bench.pass(5)), [3]);
    assert_eq!(sends(&good(&mut bench, 3)), [4, 5]);
}

#[test]
fn calls_that_stand_on_a_cold_prefix_wait_until_the_first_has_written_it() {
    // Six calls about two documents, all behind one system prompt.
    let rows = (0..6).map(|n| SyncRow {
        prefixes: vec![0, 1 + u32::from(n >= 3)],
        ..row(n, None)
    });
    let (mut bench, sent) = running(facts(), rows.collect());
    assert_eq!(sent, [0], "one writes the system prompt");
    assert_eq!(
        sends(&good(&mut bench, 0)),
        [1, 2, 3],
        "one the other document"
    );
    assert_eq!(sends(&good(&mut bench, 3)), [4, 5]);
}

#[test]
fn a_lost_answer_is_held_against_the_budget_and_sent_again() {
    let budget = Some(dollars(2));
    let (mut bench, _) = running(Facts { budget, ..facts() }, vec![row(0, None)]);
    answer(&mut bench, 0, RowAnswer::Lost { sent: Sent::Whole });
    assert_eq!(
        sends(&bench.pass(5)),
        [0],
        "one dollar is held, one is left"
    );
    answer(&mut bench, 0, RowAnswer::Lost { sent: Sent::Whole });
    assert_eq!(bench.pass(5), []);
    let Status::Stopped(Stop::Budget { needed, left }) = bench.status() else {
        panic!("{:?}", bench.status());
    };
    assert_eq!((needed, left), (dollars(1), dollars(0)));
}

fn lost() -> RowAnswer {
    RowAnswer::Lost { sent: Sent::Whole }
}

#[test]
fn a_row_whose_answer_is_lost_where_others_pass_is_not_bought_for_ever() {
    assert_eq!(tries_where_others_pass(lost), 4);
    assert_eq!(tries_where_others_pass(|| error(ErrorKind::Timeout)), 4);
}

#[test]
fn an_upstream_that_takes_calls_and_answers_none_stops_the_job() {
    for unanswered in [
        lost,
        || error(ErrorKind::Unknown),
        || error(ErrorKind::Timeout),
    ] {
        let past_guard = true;
        let rows = (0..900).map(|n| row(n, None)).collect();
        let (mut bench, mut flying) = running(
            Facts {
                past_guard,
                ..facts()
            },
            rows,
        );
        for next in 0..200 {
            assert_eq!(flying.remove(0), next);
            flying.extend(sends(&good(&mut bench, next)));
        }
        let together = flying.len();
        assert!(together > 100, "{together}");
        let mut calls = 0;
        while matches!(bench.status(), Status::Going) {
            let Some(gone) = flying.pop() else {
                flying.extend(sends(&bench.pass(61)));
                assert!(flying.len() <= 1, "while nobody knows, no more is at stake");
                continue;
            };
            calls += 1;
            bench.pass(1);
            flying.extend(sends(&answer(&mut bench, gone, unanswered())));
        }
        // All that were under way are one event; then one after the other goes.
        assert_eq!(calls, together + 19);
        let calls = u64::try_from(calls).unwrap();
        assert_eq!(bench.status(), Status::Stopped(Stop::Unanswered { calls }));
    }
}

#[test]
fn rows_at_the_head_that_are_never_answered_do_not_stop_those_behind_them() {
    for unanswered in [lost, || error(ErrorKind::Timeout)] {
        let (mut bench, mut flying) = running(facts(), (0..100).map(|n| row(n, None)).collect());
        let mut tries = [0; 8];
        let mut settled = false;
        while !settled {
            flying.extend(sends(&bench.pass(if flying.is_empty() { 61 } else { 1 })));
            let Some(next) = flying.pop() else { continue };
            let acts = match usize::try_from(next) {
                Ok(of @ 0..8) => {
                    tries[of] += 1;
                    answer(&mut bench, next, unanswered())
                }
                _ => good(&mut bench, next),
            };
            assert_eq!(bench.status(), Status::Going);
            settled = acts == [Act::Settle(ShardNo(0))];
            flying.extend(sends(&acts));
        }
        assert!(
            tries.iter().all(|tries| (3..=4).contains(tries)),
            "{tries:?}"
        );
    }
}

#[test]
fn rows_that_an_earlier_process_lost_do_not_keep_the_others_from_being_read() {
    let mut bench = Bench::new(facts(), vec![shard(0, Lane::Sync, 100)]);
    assert_eq!(bench.wake(), [Act::Fetch(ShardNo(0), 0)]);
    let failed = |n| {
        let mut row = row(n, None);
        assert!(!row.blame.unanswered(0));
        row
    };
    let mut flying = sends(&bench.step(Event::Fetched {
        shard: ShardNo(0),
        rows: (0..40).map(failed).collect(),
        next: Some(40),
    }));
    bench.pass(1);
    let acts = answer(&mut bench, flying.remove(0), lost());
    assert_eq!(acts, [Act::Fetch(ShardNo(0), 40)], "another row can tell");
    for gone in flying {
        answer(&mut bench, gone, lost());
    }
    bench.step(Event::Fetched {
        shard: ShardNo(0),
        rows: (40..100).map(|n| row(n, None)).collect(),
        next: None,
    });
    assert_eq!(sends(&bench.pass(61)), [40]);
    assert!(
        sends(&good(&mut bench, 40)).len() > 1,
        "one answer was enough"
    );
}

#[test]
fn one_answer_ends_the_doubt_whether_any_would_come() {
    let (mut bench, mut flying) = running(facts(), (0..900).map(|n| row(n, None)).collect());
    let mut calls = 0;
    while calls < 1_000 {
        flying.extend(sends(&bench.pass(if flying.is_empty() { 61 } else { 1 })));
        let Some(next) = flying.pop() else { continue };
        calls += 1;
        let acts = if calls % 15 == 0 {
            good(&mut bench, next)
        } else {
            answer(&mut bench, next, lost())
        };
        flying.extend(sends(&acts));
        assert_eq!(bench.status(), Status::Going, "after {calls} calls");
    }
}

#[test]
fn the_budget_limits_what_is_in_flight() {
    let budget = Some(dollars(3));
    let rows = (0..10).map(|n| row(n, None)).collect();
    let (mut bench, sent) = running(Facts { budget, ..facts() }, rows);
    assert_eq!(sent, [0, 1, 2]);
    // It cost a trifle, so not quite a dollar came back.
    assert_eq!(good(&mut bench, 0), []);
    assert_eq!(
        good(&mut bench, 1).len(),
        1,
        "two that cost little make room for one more"
    );
}

#[test]
fn a_billing_error_stops_the_job() {
    let (mut bench, _) = running(facts(), (0..9).map(|n| row(n, None)).collect());
    assert_eq!(answer(&mut bench, 0, error(ErrorKind::Billing)), []);
    for n in 1..8 {
        assert_eq!(good(&mut bench, n), [], "nothing new is sent");
    }
    assert!(matches!(
        bench.status(),
        Status::Stopped(Stop::Upstream { .. })
    ));
    assert_eq!(bench.state(0), "running");
}

#[test]
fn useless_first_answers_stop_the_lane() {
    let (mut bench, sent) = running(facts(), (0..100).map(|n| row(n, None)).collect());
    let mut flying = sent;
    let mut answered = 0;
    while let Some(next) = flying.pop() {
        let stop = StopReason::MaxTokens;
        let acts = answer(&mut bench, next, message(stop, 0));
        answered += 1;
        flying.extend(sends(&acts));
    }
    assert!((20..40).contains(&answered), "{answered}");
    assert!(matches!(
        bench.status(),
        Status::Stopped(Stop::Guard { .. })
    ));
}

#[test]
fn the_limits_of_the_upstream_pace_the_lane() {
    let rows = (0..20).map(|no| row(no, None)).collect();
    let (mut bench, sent) = running(facts(), rows);
    assert_eq!(sent.len(), 8);
    // Sixty a minute, and two are left beyond the seven on their way.
    let limits = Limits {
        requests: Some(Allowance { limit: 60, left: 9 }),
        ..Limits::default()
    };
    let acts = bench.step(Event::RowAnswered {
        shard: ShardNo(0),
        row: sent[0],
        answer: message(StopReason::EndTurn, 7),
        limits,
    });
    assert_eq!(sends(&acts).len(), 1, "the window");
    assert_eq!(sends(&good(&mut bench, sent[1])).len(), 1);
    assert_eq!(sends(&good(&mut bench, sent[2])).len(), 0, "the limit");
    let next = bench.machine.next_timeout(bench.now);
    assert_eq!(next, Some(bench.now + Span::from_secs(1)));
    assert_eq!(sends(&bench.pass(1)).len(), 1);
}

#[test]
fn what_is_read_from_the_cache_and_what_max_tokens_allows_use_up_no_limit() {
    let rows = (0..20).map(|no| row(no, None)).collect();
    let (mut bench, sent) = running(facts(), rows);
    // As many tokens are left as a few calls need, if only what was new and what was said counts.
    let left = |left| Some(Allowance { limit: 1_000, left });
    let limits = Limits {
        requests: None,
        input_tokens: left(200),
        output_tokens: left(200),
    };
    let sums = Box::new(Tally {
        input_tokens: 4,
        cache_write_tokens: 6,
        cache_read_tokens: 1_000_000,
        output_tokens: 10,
        ..Tally::default()
    });
    let stop = StopReason::EndTurn;
    let acts = bench.step(Event::RowAnswered {
        shard: ShardNo(0),
        row: sent[0],
        answer: RowAnswer::Message { stop, sums },
        limits,
    });
    assert_eq!(sends(&acts).len(), 1);
}
