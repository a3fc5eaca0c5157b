//! Batches that answer no row: found once, priced, entered as waste; and what is given up for a deadline.

use super::{Bench, batch_id, dollars, facts, listed, lost, shard, submitted};
use crate::job::event::{
    Act, Event, LedgerKind, OurBatch, Owner, PollAnswer, Scouted, Search, Sent, Stop,
};
use crate::job::machine::OnUnknown;
use crate::job::outcome::OutcomeClass::Succeeded;
use crate::job::shard::ShardNo;
use crate::job::{Facts, Status, Step};
use crate::price::Lane;
use crate::units::{Span, Timestamp, Usd};

fn ours(bench: &Bench, no: ShardNo, name: &str, rows: u64) -> OurBatch {
    OurBatch {
        shard: no,
        batch: batch_id(name),
        rows,
        created_at: bench.now,
    }
}

fn scouted(ours: &[OurBatch]) -> Event {
    Event::Scouted(Scouted {
        ours: ours.to_vec(),
        ..Scouted::default()
    })
}

/// A job of one batch of three rows, all of them answered.
fn answered() -> (Bench, Vec<Act>) {
    let mut bench = Bench::new(facts(), vec![shard(0, Lane::Batch, 3)]);
    bench.begin();
    bench.run_batch(0, "first");
    let acts = bench.settle(0, &[Succeeded; 3], 0);
    (bench, acts)
}

fn last_look() -> [Act; 1] {
    [Act::Scout {
        rows: vec![3],
        search: Search::Ended,
    }]
}

#[test]
fn a_job_ends_when_nothing_else_of_it_is_found() {
    let (mut bench, acts) = answered();
    assert_eq!(acts, last_look());
    assert_eq!(bench.status(), Status::Going);
    assert_eq!(bench.step(scouted(&[])), []);
    assert_eq!(bench.status(), Status::Done);
}

#[test]
fn a_second_batch_of_the_same_rows_is_priced_and_told() {
    let (mut bench, _) = answered();
    let twin = ours(&bench, ShardNo(0), "twin", 3);
    let acts = bench.step(scouted(std::slice::from_ref(&twin)));
    assert_eq!(acts, [Act::Weigh(twin.clone())]);
    assert_eq!(bench.status(), Status::Going);
    let mut step = Step::default();
    let weighed = Event::Weighed {
        batch: twin,
        cost: Some(dollars(2)),
    };
    bench
        .machine
        .step(bench.now, weighed, &mut || 0.5, &mut step);
    assert_eq!(ledger(&step), [(LedgerKind::Waste, dollars(2))]);
    assert_eq!(bench.status(), Status::Done);
}

#[test]
fn a_search_that_fails_keeps_no_output_back() {
    let (mut bench, _) = answered();
    let failed = || {
        Event::Scouted(Scouted {
            failed: Some((None, "away".to_owned())),
            ..Scouted::default()
        })
    };
    for _ in 0..2 {
        assert_eq!(bench.step(failed()), []);
        assert_eq!(bench.pass(10), last_look());
    }
    bench.step(failed());
    assert_eq!(bench.status(), Status::Done);
}

#[test]
fn a_deadline_does_not_wait_for_the_search() {
    let deadline = Timestamp::from_micros(0) + Span::from_secs(7_200);
    let facts = Facts {
        deadline: Some(deadline),
        ..facts()
    };
    let mut bench = Bench::new(facts, vec![shard(0, Lane::Batch, 3)]);
    bench.begin();
    bench.run_batch(0, "first");
    assert_eq!(bench.settle(0, &[Succeeded; 3], 0), last_look());
    let until = bench.machine.next_timeout(bench.now).unwrap();
    assert!(until < deadline);
    bench.now = until;
    assert_eq!(bench.wake(), []);
    assert_eq!(bench.status(), Status::Done);
}

#[test]
fn a_restored_store_takes_back_what_was_sent_after_the_backup() {
    let facts = Facts {
        resumed: true,
        past_guard: true,
        ..facts()
    };
    let shards = vec![shard(0, Lane::Batch, 3), shard(1, Lane::Batch, 4)];
    let mut bench = Bench::new(facts, shards);
    let search = Search::Ended;
    assert_eq!(
        bench.wake(),
        [Act::Scout {
            rows: vec![3, 4],
            search
        }]
    );
    let sent_before = ours(&bench, ShardNo(1), "sent", 4);
    let acts = bench.step(scouted(&[sent_before]));
    assert_eq!(
        acts,
        [
            Act::Prepare(ShardNo(0)),
            Act::Poll(ShardNo(1), batch_id("sent"))
        ]
    );
}

fn ledger(step: &Step) -> Vec<(LedgerKind, Usd)> {
    let entries = step.writes.iter().filter_map(|write| match write {
        crate::job::Write::Ledger(entry) => Some((entry.kind, entry.amount)),
        _ => None,
    });
    entries.collect()
}

/// A job with a deadline whose only batch is in doubt; nobody is sure that `suspect` is ours, if there is one.
fn in_doubt(on_unknown: OnUnknown, suspect: bool) -> Bench {
    let facts = Facts {
        deadline: Some(Timestamp::from_micros(0) + Span::from_secs(7_200)),
        on_unknown,
        ..facts()
    };
    let mut bench = Bench::new(facts, vec![shard(0, Lane::Batch, 3)]);
    bench.begin();
    bench.prepare(0);
    bench.step(submitted(0, lost(Sent::Whole)));
    if suspect {
        bench.step(listed(&bench, 0, &[("suspect", 3, Owner::Untold)]));
        assert_eq!(bench.state(0), "in_progress");
    }
    bench.now = Timestamp::from_micros(0) + Span::from_secs(7_200 - 65);
    bench
}

#[test]
fn a_batch_in_doubt_is_waited_for_unless_the_deadline_is_worth_more() {
    for suspect in [false, true] {
        let mut bench = in_doubt(OnUnknown::Wait, suspect);
        bench.wake();
        assert!(!bench.stored.contains_key(&ShardNo(0).leftovers()));
    }
}

#[test]
fn for_the_deadline_the_rows_of_a_batch_in_doubt_are_answered_by_calls() {
    let mut bench = in_doubt(OnUnknown::Deadline, true);
    // A poll of the suspect is under way when the moment comes.
    assert_eq!(bench.wake(), []);
    let acts = bench.step(Event::Polled {
        shard: ShardNo(0),
        answer: PollAnswer::Failed {
            kind: None,
            message: String::new(),
            retry_after: None,
        },
    });
    let left = ShardNo(0).leftovers();
    assert_eq!(acts, [Act::Fetch(left, 0)]);
    assert_eq!(
        (bench.state(0), bench.stored[&left].lane),
        ("given_up", Lane::Sync)
    );
    // What the batch may cost stays set aside, what it would have cost to hedge it does not.
    assert_eq!(bench.stored[&ShardNo(0)].reserved, dollars(3));
}

/// The same with the rows answered by calls.
fn given_up() -> Bench {
    let mut bench = in_doubt(OnUnknown::Deadline, false);
    bench.wake();
    bench.step(listed(&bench, 0, &[]));
    assert_eq!(bench.state(0), "given_up");
    bench.restart();
    bench
}

#[test]
fn what_was_given_up_and_turns_up_is_waste_and_nothing_stays_unknown() {
    let mut bench = given_up();
    let left = ShardNo(0).leftovers();
    bench.wake();
    bench.step(scouted(&[]));
    bench.settle(left.0, &[Succeeded; 3], 0);
    let twin = ours(&bench, ShardNo(0), "late", 3);
    assert_eq!(
        bench.step(scouted(std::slice::from_ref(&twin))),
        [Act::Weigh(twin.clone())]
    );
    let mut step = Step::default();
    let weighed = Event::Weighed {
        batch: twin,
        cost: Some(dollars(1)),
    };
    bench
        .machine
        .step(bench.now, weighed, &mut || 0.5, &mut step);
    assert_eq!(
        ledger(&step),
        [
            (LedgerKind::Waste, dollars(1)),
            (LedgerKind::Release, dollars(3))
        ]
    );
    assert_eq!(bench.status(), Status::Done);
    assert_eq!(bench.machine.tally().unknown, Usd::ZERO);
}

#[test]
fn what_was_given_up_and_does_not_turn_up_stays_unknown() {
    let mut bench = given_up();
    let left = ShardNo(0).leftovers();
    bench.wake();
    bench.step(scouted(&[]));
    bench.settle(left.0, &[Succeeded; 3], 0);
    bench.step(scouted(&[]));
    assert_eq!(bench.status(), Status::Done);
    let tally = bench.machine.tally();
    assert_eq!((tally.unknown, tally.unknown_calls), (dollars(3), 3));
    assert_eq!((tally.outcomes.total(), tally.leftovers), (3, 3));
}

#[test]
fn a_batch_of_other_rows_stops_a_job_before_it_sends_and_not_after() {
    let other = || {
        Event::Scouted(Scouted {
            other_rows: Some(batch_id("other")),
            ..Scouted::default()
        })
    };
    let mut bench = Bench::new(facts(), vec![shard(0, Lane::Batch, 3)]);
    bench.wake();
    assert_eq!(bench.step(other()), []);
    assert!(matches!(
        bench.status(),
        Status::Stopped(Stop::SentOtherRows { .. })
    ));
    let (mut bench, _) = answered();
    bench.step(other());
    assert_eq!(bench.status(), Status::Done);
}
