//! The deadline: the last safe moment, what is given up then and in which order.

use offpeak_wire::batch::BatchStatus;

use super::{Bench, batch_id, dollars, facts, shard};
use crate::job::Facts;
use crate::job::event::{Act, CollectAnswer, Event, PollAnswer, SubmitAnswer};
use crate::job::outcome::OutcomeClass::Succeeded;
use crate::job::shard::ShardNo;
use crate::price::Lane;
use crate::units::{Span, Timestamp};

/// The shard that takes what shard 0 leaves over.
fn left() -> ShardNo {
    ShardNo(0).leftovers()
}

#[test]
fn what_a_batch_leaves_over_is_batched_again_while_there_is_time() {
    let mut bench = Bench::new(facts(), vec![shard(0, Lane::Batch, 3)]);
    bench.begin();
    bench.run_batch(0, "first");
    assert_eq!(bench.settle(0, &[Succeeded], 2), [Act::Prepare(left())]);
    assert_eq!(bench.stored[&left()].lane, Lane::Batch);
}

#[test]
fn what_a_batch_leaves_over_goes_sync_when_there_is_none() {
    let deadline = Some(Timestamp::from_micros(0) + Span::from_secs(3_700));
    let mut bench = Bench::new(
        Facts {
            deadline,
            ..facts()
        },
        vec![shard(0, Lane::Batch, 3)],
    );
    bench.begin();
    bench.run_batch(0, "first");
    assert_eq!(bench.settle(0, &[Succeeded], 2), [Act::Fetch(left(), 0)]);
    assert_eq!(bench.stored[&left()].lane, Lane::Sync);
}

#[test]
fn the_last_safe_moment_cancels_and_what_is_left_goes_sync() {
    let deadline = Some(Timestamp::from_micros(0) + Span::from_secs(7_200));
    let mut bench = Bench::new(
        Facts {
            deadline,
            ..facts()
        },
        vec![shard(0, Lane::Batch, 500)],
    );
    bench.begin();
    bench.prepare(0);
    bench.accept(0, "slow");
    // 500 calls at 500 a minute, seven answers until the window is open, two minutes for the rest.
    let hedge = Timestamp::from_micros(0) + Span::from_secs(7_200 - 60 - 7 * 10 - 120);
    let running = || PollAnswer::Status {
        status: BatchStatus::InProgress,
        retry_after: None,
    };
    let canceled = loop {
        let next = bench
            .machine
            .next_timeout(bench.now)
            .expect("the deadline is a timer");
        assert!(next <= hedge, "{next:?} is past the last safe moment");
        bench.now = next;
        let acts = bench.wake();
        if acts.iter().any(|act| matches!(act, Act::Cancel(..))) {
            break bench.now;
        }
        bench.step(Event::Polled {
            shard: ShardNo(0),
            answer: running(),
        });
    };
    assert_eq!(canceled, hedge);
    assert_eq!(bench.state(0), "canceling");
}

#[test]
fn a_deadline_reserves_the_hedge_at_the_synchronous_price() {
    let deadline = Some(Timestamp::from_micros(0) + Span::from_secs(80_000));
    let facts = Facts {
        budget: Some(dollars(99)),
        deadline,
        ..facts()
    };
    let mut bench = Bench::new(facts, vec![shard(0, Lane::Batch, 50)]);
    let half = crate::units::Usd::from_pico(dollars(99).pico() / 2);
    assert_eq!(bench.begin(), [Act::Measure(ShardNo(0), Some(half))]);
}

#[test]
fn a_cancel_that_is_on_its_way_keeps_the_shard_busy() {
    let deadline = Some(Timestamp::from_micros(0) + Span::from_secs(7_200));
    let mut bench = Bench::new(
        Facts {
            deadline,
            ..facts()
        },
        vec![shard(0, Lane::Batch, 70)],
    );
    bench.begin();
    bench.prepare(0);
    bench.accept(0, "slow");
    bench.now = bench.now + Span::from_secs(7_190);
    assert_eq!(bench.wake(), [Act::Cancel(ShardNo(0), batch_id("slow"))]);
    assert_eq!(bench.pass(60), [], "no poll beside the cancel");
    bench.step(Event::CancelAnswered {
        shard: ShardNo(0),
        accepted: false,
    });
    assert_eq!(bench.pass(3), [Act::Poll(ShardNo(0), batch_id("slow"))]);
}

/// Rows of each shard in the tests of several: four minutes of synchronous calls.
const MANY: u32 = 2_000;

/// Four batches under way, sent a second apart, that must be answered within two hours.
fn four_under_way() -> Bench {
    let facts = Facts {
        deadline: Some(Timestamp::from_micros(0) + Span::from_secs(7_200)),
        past_guard: true,
        ..facts()
    };
    let shards = (0..4).map(|no| shard(no, Lane::Batch, MANY)).collect();
    let mut bench = Bench::new(facts, shards);
    bench.begin();
    for no in 0..4 {
        bench.prepare(no);
        let answer = SubmitAnswer::Accepted {
            batch: batch_id(&format!("b{no}")),
            created_at: bench.now + Span::from_secs(i64::from(no)),
        };
        let shard = ShardNo(no);
        bench.step(Event::Submitted { shard, answer });
    }
    bench
}

/// Answers every poll with "in progress" until something else than polls is done.
fn wait_for_more_than_polls(bench: &mut Bench) -> Vec<Act> {
    let mut others = Vec::new();
    while others.is_empty() {
        bench.now = bench.machine.next_timeout(bench.now).expect("a timer");
        let mut acts = bench.wake();
        while let Some(act) = acts.pop() {
            let Act::Poll(shard, _) = act else {
                others.push(act);
                continue;
            };
            let answer = PollAnswer::Status {
                status: BatchStatus::InProgress,
                retry_after: None,
            };
            acts.extend(bench.step(Event::Polled { shard, answer }));
        }
    }
    others
}

/// The last safe moment for so many open rows.
fn line(rows: i64) -> Timestamp {
    Timestamp::from_micros(0) + Span::from_millis(1_000 * (7_200 - 120 - 7 * 10) - rows * 120)
}

#[test]
fn batches_are_given_up_one_by_one_and_the_last_sent_first() {
    let mut bench = four_under_way();
    let acts = wait_for_more_than_polls(&mut bench);
    assert_eq!(acts, [Act::Cancel(ShardNo(3), batch_id("b3"))]);
    assert_eq!(bench.now, line(4 * i64::from(MANY)));
    // It takes the sync lane four minutes to answer its rows: the others go on waiting.
    assert_eq!(
        bench.step(Event::CancelAnswered {
            shard: ShardNo(3),
            accepted: true
        }),
        []
    );
    let answer = PollAnswer::Status {
        status: BatchStatus::Ended,
        retry_after: None,
    };
    bench.step(Event::Polled {
        shard: ShardNo(3),
        answer,
    });
    bench.step(Event::Collected {
        shard: ShardNo(3),
        answer: CollectAnswer::Complete,
    });
    // Most of it was answered in time after all, so there is more time for the others.
    let left = 100;
    bench.settle(3, &[Succeeded; MANY as usize - 100], left);
    let acts = wait_for_more_than_polls(&mut bench);
    assert_eq!(acts, [Act::Cancel(ShardNo(2), batch_id("b2"))]);
    assert_eq!(bench.now, line(3 * i64::from(MANY) + i64::from(left)));
}

#[test]
fn a_batch_that_is_being_canceled_is_looked_at_often_however_old_it_is() {
    let deadline = Timestamp::from_micros(0) + Span::from_secs(7_200);
    let facts = Facts {
        deadline: Some(deadline),
        ..facts()
    };
    let mut bench = Bench::new(facts, vec![shard(0, Lane::Batch, 3)]);
    bench.begin();
    bench.prepare(0);
    bench.accept(0, "slow");
    bench.now = deadline - Span::from_secs(100);
    bench.wake();
    bench.step(Event::Polled {
        shard: ShardNo(0),
        answer: PollAnswer::Status {
            status: BatchStatus::InProgress,
            retry_after: None,
        },
    });
    assert_eq!(bench.state(0), "canceling");
    bench.step(Event::CancelAnswered {
        shard: ShardNo(0),
        accepted: true,
    });
    let canceling = |bench: &mut Bench, answer| {
        let shard = ShardNo(0);
        bench.step(Event::Polled { shard, answer })
    };
    let status = BatchStatus::Canceling;
    let asked = PollAnswer::Status {
        status,
        retry_after: None,
    };
    let poll = [Act::Poll(ShardNo(0), batch_id("slow"))];
    assert_eq!(bench.pass(10), poll);
    canceling(&mut bench, asked);
    assert_eq!(bench.pass(11), poll);
    // Nor does it wait long after failures, however many there were.
    for _ in 0..5 {
        let failed = PollAnswer::Failed {
            kind: None,
            message: String::new(),
            retry_after: None,
        };
        canceling(&mut bench, failed);
        assert_eq!(bench.pass(11), poll);
    }
}
