//! Deleting batches upstream: only what is whole and here, again after a failure, never at the cost of
//! a row.

use offpeak_wire::error::ErrorKind;
use proptest::prelude::*;

use super::{Bench, batch_id, facts, shard};
use crate::job::deletion::Deletions;
use crate::job::event::{Act, DeleteAnswer, Event, Stop};
use crate::job::outcome::OutcomeClass::{ResultUnreadable, Succeeded};
use crate::job::shard::{ShardNo, UpstreamCopy};
use crate::job::{Facts, Status};
use crate::price::Lane;
use crate::units::Span;

fn deleting() -> Facts {
    Facts {
        delete_upstream: true,
        past_guard: true,
        ..facts()
    }
}

/// A bench whose only batch, of two rows, waits to be settled.
fn collected() -> Bench {
    let mut bench = Bench::new(deleting(), vec![shard(0, Lane::Batch, 2)]);
    assert_eq!(bench.begin(), [Act::Prepare(ShardNo(0))]);
    assert_eq!(bench.run_batch(0, "a"), [Act::Settle(ShardNo(0))]);
    // Nothing else is done at the end.
    bench.machine.only_delete();
    bench
}

/// A new life, which only deletes.
fn restart(bench: &mut Bench) {
    bench.restart();
    bench.machine.only_delete();
}

fn failed(kind: Option<ErrorKind>) -> DeleteAnswer {
    DeleteAnswer::Failed {
        kind,
        message: "not now".to_owned(),
        retry_after: None,
    }
}

fn told(bench: &mut Bench, answer: DeleteAnswer) -> Vec<Act> {
    let shard = ShardNo(0);
    bench.step(Event::Deleted { shard, answer })
}

fn copy(bench: &Bench) -> UpstreamCopy {
    bench.stored[&ShardNo(0)].origin.as_ref().unwrap().copy
}

fn delete() -> [Act; 1] {
    [Act::Delete(ShardNo(0), batch_id("a"))]
}

#[test]
fn a_batch_is_deleted_when_its_answers_are_durable_and_never_before() {
    let mut bench = collected();
    let acts = bench.settle(0, &[Succeeded; 2], 0);
    assert_eq!(acts, delete());
    // The rows are done, whatever becomes of it.
    assert_eq!(bench.status(), Status::Done);
    assert!(bench.machine.deletes_more());
    assert!(told(&mut bench, DeleteAnswer::Deleted).is_empty());
    assert_eq!(copy(&bench), UpstreamCopy::Deleted);
    assert!(!bench.machine.deletes_more());
}

#[test]
fn nothing_is_deleted_that_nobody_asked_for() {
    let mut bench = collected();
    bench.machine.facts.delete_upstream = false;
    assert!(bench.settle(0, &[Succeeded; 2], 0).is_empty());
    assert!(!bench.machine.deletes_more());
    // A later run that asks for it knows which batch it was.
    restart(&mut bench);
    bench.machine.facts.delete_upstream = true;
    assert_eq!(bench.wake(), delete());
}

#[test]
fn a_batch_whose_results_cannot_all_be_read_stays_and_is_told() {
    let mut bench = collected();
    assert!(
        bench
            .settle(0, &[Succeeded, ResultUnreadable], 0)
            .is_empty()
    );
    assert!(!bench.machine.deletes_more());
    let sums = bench.machine.deletions(bench.now);
    assert_eq!((sums.there, sums.unproved, sums.owed()), (1, 1, 0));
    // The upstream throws it away by itself.
    let later = bench.now + Span::from_secs(30 * 86_400);
    assert_eq!(bench.machine.deletions(later), Deletions::default());
}

#[test]
fn a_deletion_that_fails_is_tried_again_five_times_and_by_the_next_life() {
    let mut bench = collected();
    assert_eq!(bench.settle(0, &[Succeeded; 2], 0), delete());
    for _ in 0..4 {
        assert!(told(&mut bench, failed(Some(ErrorKind::Overloaded))).is_empty());
        let due = bench.machine.next_timeout(bench.now).unwrap();
        bench.now = due;
        assert_eq!(bench.wake(), delete());
    }
    assert!(told(&mut bench, failed(Some(ErrorKind::Overloaded))).is_empty());
    assert!(!bench.machine.deletes_more());
    assert_eq!(bench.machine.next_timeout(bench.now), None);
    let sums = bench.machine.deletions(bench.now);
    assert_eq!((sums.owed(), sums.trouble.as_deref()), (1, Some("not now")));
    restart(&mut bench);
    assert_eq!(bench.wake(), delete());
}

#[test]
fn a_refused_key_stops_the_deleting_and_no_row() {
    let mut bench = collected();
    bench.settle(0, &[Succeeded; 2], 0);
    told(&mut bench, failed(Some(ErrorKind::Permission)));
    assert!(!bench.machine.deletes_more());
    assert_eq!(bench.status(), Status::Done);
}

#[test]
fn a_batch_that_is_not_there_was_deleted_only_if_a_try_had_no_answer() {
    let mut bench = collected();
    bench.settle(0, &[Succeeded; 2], 0);
    told(&mut bench, DeleteAnswer::NotFound);
    assert_eq!(copy(&bench), UpstreamCopy::Missing);
    assert!(!bench.machine.deletes_more());
    // It may have been the wrong key.
    restart(&mut bench);
    assert_eq!(bench.wake(), delete());

    let mut bench = collected();
    bench.settle(0, &[Succeeded; 2], 0);
    told(&mut bench, failed(None));
    assert_eq!(bench.pass(70), delete());
    told(&mut bench, DeleteAnswer::NotFound);
    assert_eq!(copy(&bench), UpstreamCopy::Deleted);
}

#[test]
fn after_an_interrupt_nothing_more_is_asked_of_the_upstream() {
    let mut bench = collected();
    bench.step(Event::StopAsked);
    assert!(bench.settle(0, &[Succeeded; 2], 0).is_empty());
    assert_eq!(bench.status(), Status::Done);
    assert!(!bench.machine.deletes_more());
}

#[test]
fn a_stop_waits_for_the_deletion_under_way_only() {
    let shards = vec![shard(0, Lane::Batch, 2), shard(1, Lane::Batch, 3)];
    let mut bench = Bench::new(deleting(), shards);
    assert_eq!(
        bench.begin(),
        [Act::Prepare(ShardNo(0)), Act::Prepare(ShardNo(1))]
    );
    assert_eq!(bench.run_batch(0, "a"), [Act::Settle(ShardNo(0))]);
    assert_eq!(bench.settle(0, &[Succeeded; 2], 0), delete());
    bench.step(Event::StopAsked);
    bench.prepare(1);
    assert_eq!(bench.status(), Status::Going);
    told(&mut bench, failed(None));
    assert_eq!(bench.status(), Status::Stopped(Stop::Interrupted));
}

proptest! {
    /// Whatever is answered: a batch is asked to be deleted at most five times in a life, never again
    /// once it is, and the end comes.
    #[test]
    fn deleting_ends(answers in prop::collection::vec(0u8..5, 0..20)) {
        let mut bench = collected();
        let mut asked = bench.settle(0, &[Succeeded; 2], 0).len();
        for answer in answers {
            if !bench.machine.live(ShardNo(0)).busy {
                break;
            }
            prop_assert_eq!(copy(&bench), UpstreamCopy::There);
            told(&mut bench, match answer {
                0 => DeleteAnswer::Deleted,
                1 => DeleteAnswer::NotFound,
                2 => failed(None),
                3 => failed(Some(ErrorKind::RateLimit)),
                _ => failed(Some(ErrorKind::InvalidRequest)),
            });
            asked += bench.pass(70).len();
            prop_assert!(asked <= 5);
        }
        let ended = !bench.machine.deletes_more();
        prop_assert_eq!(ended, !bench.machine.live(ShardNo(0)).busy);
    }
}
