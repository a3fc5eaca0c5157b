//! A job that is given up: what is stopped, what is waited for, and that nothing more is sent.

use offpeak_wire::batch::BatchStatus;

use super::{Bench, batch_id, facts, listed, lost, shard, submitted};
use crate::job::cancel::Cancel;
use crate::job::event::{Act, Event, Owner, PollAnswer, Scouted, Sent};
use crate::job::outcome::OutcomeClass::{Canceled, Succeeded};
use crate::job::shard::ShardNo;
use crate::job::{Facts, Status};
use crate::price::Lane;

/// A job with a batch upstream, one in doubt, one that was not sent, and calls; given up and started again,
/// and what it does at first.
fn given_up(how: Cancel) -> (Bench, Vec<Act>) {
    let shards = vec![
        shard(0, Lane::Batch, 3),
        shard(1, Lane::Batch, 4),
        shard(2, Lane::Batch, 5),
        shard(3, Lane::Sync, 2),
    ];
    let facts = Facts {
        past_guard: true,
        ..facts()
    };
    let mut bench = Bench::new(facts, shards);
    bench.begin();
    bench.prepare(0);
    bench.accept(0, "first");
    bench.prepare(1);
    bench.step(submitted(1, lost(Sent::Whole)));
    bench.machine.facts.cancel = Some(how);
    bench.restart();
    let mut acts = bench.wake();
    acts.extend(bench.step(Event::Scouted(Scouted::default())));
    (bench, acts)
}

fn polled(bench: &mut Bench, no: u32, status: BatchStatus) -> Vec<Act> {
    let answer = PollAnswer::Status {
        status,
        retry_after: None,
    };
    let shard = ShardNo(no);
    bench.step(Event::Polled { shard, answer })
}

#[test]
fn batches_that_are_proved_ours_are_canceled_and_the_unsent_is_settled() {
    let (mut bench, acts) = given_up(Cancel::Everything);
    let first = batch_id("first");
    assert!(acts.contains(&Act::Cancel(ShardNo(0), first)), "{acts:?}");
    assert!(acts.contains(&Act::Settle(ShardNo(3))), "{acts:?}");
    assert!(
        acts.iter()
            .any(|act| matches!(act, Act::List(ShardNo(1), _))),
        "{acts:?}"
    );
    // One after the other, as ever.
    assert_eq!(
        bench.settle(3, &[Canceled; 2], 0),
        [Act::Settle(ShardNo(2))]
    );
    bench.settle(2, &[Canceled; 5], 0);
    // What is in doubt is taken on trust and waited for: it may be somebody else's.
    let acts = bench.step(listed(&bench, 1, &[("maybe", 4, Owner::Untold)]));
    assert_eq!(acts, [Act::Poll(ShardNo(1), batch_id("maybe"))]);
    assert_eq!(polled(&mut bench, 1, BatchStatus::InProgress), []);
    assert_eq!(
        (bench.state(0), bench.state(1)),
        ("canceling", "in_progress")
    );
    assert_eq!(bench.status(), Status::Going);
}

#[test]
fn a_batch_that_was_proved_absent_is_not_sent_again() {
    let (mut bench, _) = given_up(Cancel::Everything);
    bench.settle(3, &[Canceled; 2], 0);
    bench.settle(2, &[Canceled; 5], 0);
    bench.step(listed(&bench, 1, &[]));
    let acts = bench.pass(400);
    assert!(
        acts.iter()
            .any(|act| matches!(act, Act::List(ShardNo(1), _))),
        "{acts:?}"
    );
    let acts = bench.step(listed(&bench, 1, &[]));
    assert_eq!(acts, [Act::Settle(ShardNo(1))]);
}

#[test]
fn batches_that_are_kept_run_to_their_end() {
    let (mut bench, acts) = given_up(Cancel::Unsent);
    assert!(
        !acts.iter().any(|act| matches!(act, Act::Cancel(..))),
        "{acts:?}"
    );
    assert!(acts.contains(&Act::Settle(ShardNo(3))), "{acts:?}");
    bench.pass(10);
    bench.end_batch(0);
    // Its rows end there: nothing is left over to be sent again.
    bench.settle(0, &[Succeeded, Succeeded, Canceled], 0);
    assert_eq!(bench.state(0), "settled");
}
