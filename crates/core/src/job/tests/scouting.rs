//! Looking for the batches of an earlier life: what is found is taken back, and nothing that may have
//! been paid for then is paid again.

use offpeak_wire::error::ErrorKind;

use super::{Bench, batch_id, dollars, facts, listed, lost, shard, submitted};
use crate::job::event::{Act, Event, OurBatch, Owner, Scouted, Search, Sent, Stop};
use crate::job::outcome::OutcomeClass::Succeeded;
use crate::job::shard::ShardNo;
use crate::job::{Facts, Status};
use crate::price::Lane;
use crate::units::{Span, Timestamp};

/// Facts of a job whose data directory knew nothing of it.
fn on_an_empty_disk() -> Facts {
    Facts {
        scout: true,
        ..facts()
    }
}

fn look(rows: &[u64], search: Search) -> Act {
    Act::Scout {
        rows: rows.to_vec(),
        search,
    }
}

/// What a search says that finds these batches of ours: shard, name, rows.
fn scouted(bench: &Bench, ours: &[(ShardNo, &str, u64)]) -> Event {
    let ours = ours.iter().map(|(shard, name, rows)| OurBatch {
        shard: *shard,
        batch: batch_id(name),
        rows: *rows,
        created_at: bench.now,
    });
    Event::Scouted(Scouted {
        ours: ours.collect(),
        ..Scouted::default()
    })
}

#[test]
fn an_earlier_life_is_found_before_anything_is_sent() {
    let mut bench = Bench::new(facts(), vec![shard(0, Lane::Batch, 3)]);
    assert_eq!(bench.wake(), [look(&[3], Search::Knock)]);
    let acts = bench.step(scouted(&bench, &[(ShardNo(0), "before", 3)]));
    assert_eq!(acts, [Act::Poll(ShardNo(0), batch_id("before"))]);
}

#[test]
fn a_running_batch_that_may_be_ours_is_waited_for() {
    let mut bench = Bench::new(facts(), vec![shard(0, Lane::Batch, 3)]);
    bench.wake();
    let suspects = vec![batch_id("maybe")];
    let told = Scouted {
        suspects,
        ..Scouted::default()
    };
    assert_eq!(bench.step(Event::Scouted(told)), []);
    assert_eq!(bench.pass(60), [look(&[3], Search::Knock)]);
    assert_eq!(bench.step(scouted(&bench, &[])), [Act::Prepare(ShardNo(0))]);
}

#[test]
fn what_an_earlier_life_left_over_is_looked_for_before_it_is_sent_again() {
    let mut bench = Bench::new(on_an_empty_disk(), vec![shard(0, Lane::Batch, 3)]);
    bench.wake();
    let leftovers = ShardNo(0).leftovers();
    // Both of its batches are there; the second is of rows that this life has not left over yet.
    let both = [(ShardNo(0), "first", 3), (leftovers, "second", 1)];
    let acts = bench.step(scouted(&bench, &both));
    assert_eq!(acts, [Act::Poll(ShardNo(0), batch_id("first"))]);
    bench.end_batch(0);
    assert_eq!(
        bench.settle(0, &[Succeeded, Succeeded], 1),
        [look(&[1], Search::All)]
    );
    let acts = bench.step(scouted(&bench, &both[1..]));
    assert_eq!(acts, [Act::Poll(leftovers, batch_id("second"))]);
}

#[test]
fn rows_that_are_left_over_during_a_search_are_looked_for_in_another() {
    let shards = vec![shard(0, Lane::Batch, 3), shard(1, Lane::Batch, 4)];
    let mut bench = Bench::new(on_an_empty_disk(), shards);
    bench.wake();
    let (first, running) = ((ShardNo(0), "first", 3), batch_id("maybe"));
    let Event::Scouted(mut told) = scouted(&bench, &[first]) else {
        unreachable!();
    };
    told.suspects = vec![running];
    bench.step(Event::Scouted(told));
    // The first batch is read while the second search is on its way.
    assert!(bench.pass(60).contains(&look(&[4], Search::All)));
    bench.end_batch(0);
    assert_eq!(bench.settle(0, &[Succeeded, Succeeded], 1), []);
    let mut acts = bench.step(scouted(&bench, &[]));
    assert_eq!(acts.pop(), Some(look(&[4, 1], Search::All)));
    assert_eq!(acts, []);
}

#[test]
fn a_crash_does_not_make_calls_of_what_an_earlier_life_left_over() {
    // Too little time is left for another batch, so what is left over goes to the sync lane; the life
    // before had more and sent a batch of it.
    let facts = Facts {
        deadline: Some(Timestamp::from_micros(0) + Span::from_secs(1_800)),
        ..on_an_empty_disk()
    };
    let mut bench = Bench::new(facts, vec![shard(0, Lane::Batch, 3)]);
    bench.wake();
    bench.step(scouted(&bench, &[(ShardNo(0), "first", 3)]));
    bench.end_batch(0);
    let leftovers = ShardNo(0).leftovers();
    bench.settle(0, &[Succeeded, Succeeded], 1);
    assert_eq!(bench.stored[&leftovers].lane, Lane::Sync);
    bench.restart();
    assert_eq!(bench.wake(), [look(&[1], Search::All)]);
    let acts = bench.step(scouted(&bench, &[(leftovers, "second", 1)]));
    assert_eq!(acts, [Act::Poll(leftovers, batch_id("second"))]);
}

#[test]
fn a_batch_of_an_earlier_life_that_was_cut_differently_stops_the_job() {
    let mut bench = Bench::new(facts(), vec![shard(0, Lane::Batch, 3)]);
    bench.wake();
    bench.step(scouted(&bench, &[(ShardNo(0), "before", 2)]));
    assert!(matches!(
        bench.status(),
        Status::Stopped(Stop::Upstream { .. })
    ));
}

#[test]
fn a_batch_that_its_shard_has_taken_on_trust_is_no_other_when_a_search_finds_it() {
    // The answer to a create is lost, the batch is taken for the shard's own because it fits, and then the
    // process dies. Until its results are read nobody owns the batch for certain, so the search of the
    // next life finds it: among those that run, and when it has ended, with the mark of its shard.
    let facts = Facts {
        past_guard: true,
        ..on_an_empty_disk()
    };
    let shards = vec![shard(0, Lane::Batch, 3), shard(1, Lane::Batch, 4)];
    let mut bench = Bench::new(facts, shards);
    bench.begin();
    bench.prepare(0);
    bench.step(submitted(0, lost(Sent::Whole)));
    bench.step(listed(&bench, 0, &[("own", 3, Owner::Untold)]));
    assert_eq!(bench.state(0), "in_progress");
    bench.restart();
    bench.wake();
    let acts = bench.step(scouted(&bench, &[(ShardNo(0), "own", 3)]));
    assert_eq!(bench.status(), Status::Going);
    assert_eq!(acts, [Act::Prepare(ShardNo(1))]);
}

#[test]
fn a_batch_of_an_earlier_life_that_the_budget_had_cut_is_cut_again() {
    let facts = Facts {
        budget: Some(dollars(2)),
        ..on_an_empty_disk()
    };
    let mut bench = Bench::new(facts, vec![shard(0, Lane::Batch, 3)]);
    bench.wake();
    let acts = bench.step(scouted(&bench, &[(ShardNo(0), "before", 2)]));
    assert_eq!(acts, [Act::Poll(ShardNo(0), batch_id("before"))]);
    assert_eq!((bench.state(0), bench.state(1)), ("in_progress", "planned"));
    let rows = |no| bench.stored[&ShardNo(no)].rows;
    assert_eq!((rows(0).to, rows(1).from, rows(1).to), (2, 2, 3));
    // Behind it there may be others, of any size.
    assert!(bench.pass(10).contains(&look(&[1], Search::All)));
}

#[test]
fn a_key_that_may_not_even_look_stops_the_job() {
    let mut bench = Bench::new(facts(), vec![shard(0, Lane::Batch, 3)]);
    bench.wake();
    let failed = Some((Some(ErrorKind::Authentication), "no".to_owned()));
    bench.step(Event::Scouted(Scouted {
        failed,
        ..Scouted::default()
    }));
    assert!(matches!(
        bench.status(),
        Status::Stopped(Stop::Upstream { .. })
    ));
}
