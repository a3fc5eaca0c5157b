//! The upstream's queue is full, or another job goes first.

use offpeak_wire::error::ErrorKind;

use super::*;
use crate::job::event::Stop;
use crate::job::queue::{Fill, NoRoom, Phase, Turn};

fn fill(rows: u64, limit: u64) -> QueueSeen {
    QueueSeen {
        fill: Some(Fill { rows, limit }),
        waiters: Vec::new(),
    }
}

/// Another job that waits with a shard of so many rows.
fn other(priority: i64, rows: u64) -> Waiter {
    let turn = Turn {
        priority,
        deadline: None,
        at_work: 0,
        created_at: Timestamp::from_micros(0),
        job: JobId::of_digest(&[1; 32]),
    };
    let phase = Phase::Waiting;
    Waiter { turn, rows, phase }
}

#[test]
fn a_shard_waits_for_room_and_stands_in_line_until_its_batch_is_there() {
    let mut bench = Bench::new(facts(), vec![shard(0, Lane::Batch, 30)]);
    bench.queue = fill(80, 100);
    assert_eq!(bench.begin(), []);
    let no_room = NoRoom {
        rows: 30,
        fill: bench.queue.fill,
        ahead: 0,
    };
    assert_eq!(bench.machine.waits_for_room(), Some(no_room));
    let place = |bench: &Bench| bench.in_line.as_ref().map(|w| (w.rows, w.phase));
    assert_eq!(place(&bench), Some((30, Phase::Waiting)));
    // It looks again after 20 to 30 seconds, and at nothing else in between.
    assert_eq!((bench.pass(19), bench.looks), (vec![], 1));
    let at = bench.machine.next_timeout(bench.now).unwrap();
    assert_eq!(at - Timestamp::from_micros(0), Span::from_secs(25));
    assert_eq!((bench.pass(6), bench.looks), (vec![], 2));
    bench.queue = fill(70, 100);
    assert_eq!(bench.pass(25), [Act::Prepare(ShardNo(0))]);
    assert_eq!(bench.machine.waits_for_room(), None);
    bench.prepare(0);
    assert_eq!(place(&bench), Some((30, Phase::Going)));
    bench.accept(0, "a");
    assert_eq!(bench.in_line, None);
}

#[test]
fn all_shards_of_a_job_look_once_in_a_while() {
    let shards = (0..5).map(|no| shard(no, Lane::Batch, 30 + no)).collect();
    let mut bench = Bench::new(facts(), shards);
    bench.queue = fill(80, 100);
    bench.begin();
    for _ in 0..10 {
        bench.pass(25);
    }
    assert_eq!(bench.looks, 11);
}

#[test]
fn shards_that_are_on_their_way_take_room_too() {
    let shards = vec![shard(0, Lane::Batch, 60), shard(1, Lane::Batch, 61)];
    let mut bench = Bench::new(facts(), shards);
    bench.machine.facts.past_guard = true;
    bench.queue = fill(0, 120);
    assert_eq!(bench.begin(), [Act::Prepare(ShardNo(0))]);
    bench.queue = fill(0, 121);
    assert_eq!(bench.pass(25), [Act::Prepare(ShardNo(1))]);
}

#[test]
fn without_a_limit_those_that_were_refused_go_first() {
    let mut bench = Bench::new(facts(), vec![shard(0, Lane::Batch, 30)]);
    bench.machine.facts.priority = 1;
    assert_eq!(bench.begin(), [Act::Prepare(ShardNo(0))]);
    bench.prepare(0);
    let refused = SubmitAnswer::Refused {
        kind: ErrorKind::RateLimit,
        message: "the queue is full".to_owned(),
        retry_after: None,
    };
    assert_eq!(bench.step(submitted(0, refused)), []);
    let waiter = bench.in_line.clone().expect("it was refused");
    assert_eq!((waiter.turn.priority, waiter.rows), (1, 30));
    assert_eq!(waiter.phase, Phase::Waiting);
    // Another job that is behind does not go before it; one that is ahead does.
    bench.queue.waiters = vec![other(2, 500)];
    assert_eq!(bench.pass(60), []);
    assert_eq!(
        bench.machine.waits_for_room().map(|no_room| no_room.ahead),
        Some(1)
    );
    bench.queue.waiters = vec![other(0, 500)];
    assert_eq!(bench.pass(60), [Act::Prepare(ShardNo(0))]);
}

#[test]
fn a_shard_that_never_fits_stops_the_job_and_says_so() {
    let mut bench = Bench::new(facts(), vec![shard(0, Lane::Batch, 30)]);
    bench.queue = fill(0, 29);
    assert_eq!(bench.begin(), []);
    let stop = Stop::NeverFits {
        rows: 30,
        limit: 29,
    };
    assert_eq!(bench.status(), Status::Stopped(stop));
    assert_eq!((bench.in_line.clone(), bench.looks), (None, 1));
}

#[test]
fn whoever_goes_another_way_leaves_the_line() {
    let hour = Span::from_secs(3_600);
    let mut late = facts();
    late.deadline = Some(Timestamp::from_micros(0) + hour);
    late.past_guard = true;
    let mut bench = Bench::new(late, vec![shard(0, Lane::Batch, 30)]);
    bench.queue = fill(100, 100);
    assert_eq!(bench.begin(), []);
    assert!(bench.in_line.is_some());
    bench.now = Timestamp::from_micros(0) + hour;
    let acts = bench.wake();
    assert_eq!(acts, [Act::Fetch(ShardNo(0), 0)]);
    assert_eq!((bench.in_line.clone(), bench.looks), (None, 1));
    let mut stopped = Bench::new(facts(), vec![shard(0, Lane::Batch, 30)]);
    stopped.queue = fill(100, 100);
    stopped.begin();
    stopped.step(Event::StopAsked);
    assert_eq!(stopped.in_line, None);
}
