//! Marks that are not read: who waits to see it, who goes without, and what a crash changes about it.

use super::{Bench, canary, dollars, facts, shard};
use crate::job::event::{Act, Event, Settlement};
use crate::job::outcome::{OutcomeClass, Tally};
use crate::job::shard::{Shard, ShardNo};
use crate::job::unmark::{MarkFacts, Unmarked};
use crate::job::{Facts, Status};
use crate::plan::HitRate;
use crate::price::Lane;
use crate::units::{Span, Timestamp};
use offpeak_wire::request::Ttl;

/// The hour's threshold at the usual prices.
const NEEDED: HitRate = HitRate {
    part: 10,
    whole: 19,
};

fn judging(proven: bool) -> Facts {
    Facts {
        past_guard: true,
        marks: MarkFacts {
            needed: Some(NEEDED),
            proven,
        },
        ..facts()
    }
}

/// A canary and three marked shards behind it, of which the last still waits for another canary.
fn shards() -> Vec<Shard> {
    let bulk = |no: u32, after: u32| Shard {
        mark: Some(Ttl::OneHour),
        after: Some(ShardNo(after)),
        ..shard(no, Lane::Batch, 50 + no)
    };
    vec![canary(0), canary(1), bulk(2, 0), bulk(3, 0), bulk(4, 1)]
}

/// Settles a shard of which so many rows hit and so many missed.
fn settle_met(bench: &mut Bench, no: u32, hits: u64, misses: u64) -> Vec<Act> {
    let rows = bench.stored[&ShardNo(no)].rows.len();
    let mut tally = Tally {
        cache_hits: hits,
        cache_misses: misses,
        cost: dollars(1),
        ..Tally::default()
    };
    for _ in 0..rows {
        tally.outcomes.count(OutcomeClass::Succeeded);
    }
    let settlement = Box::new(Settlement {
        tally,
        ..Settlement::default()
    });
    bench.step(Event::Settled {
        shard: ShardNo(no),
        settlement,
    })
}

/// Up to where the first marked shard is at work, and another canary with it.
fn first_bulk_at_work(facts: Facts) -> Bench {
    let mut bench = Bench::new(facts, shards());
    bench.begin();
    bench.prepare(1);
    bench.accept(1, "slow");
    bench.prepare(0);
    bench.accept(0, "canary");
    settle_met(&mut bench, 0, 0, 1);
    bench
}

fn mark_of(bench: &Bench, no: u32) -> Option<Ttl> {
    bench.stored[&ShardNo(no)].mark
}

#[test]
fn the_second_marked_shard_waits_for_the_first_and_goes_marked_if_that_hits() {
    let mut bench = first_bulk_at_work(judging(false));
    bench.prepare(2);
    assert_eq!(bench.accept(2, "first"), []);
    assert_eq!(settle_met(&mut bench, 2, 52, 0), [Act::Prepare(ShardNo(3))]);
    assert_eq!(mark_of(&bench, 3), Some(Ttl::OneHour));
    assert_eq!(bench.stored[&ShardNo(4)].after, Some(ShardNo(1)));
}

#[test]
fn what_is_not_sent_goes_without_marks_once_they_are_not_read() {
    let mut bench = first_bulk_at_work(judging(false));
    bench.prepare(2);
    bench.accept(2, "first");
    let acts = settle_met(&mut bench, 2, 0, 52);
    assert_eq!(acts, [3, 4].map(|no| Act::Prepare(ShardNo(no))));
    for no in [3, 4] {
        let shard = &bench.stored[&ShardNo(no)];
        assert_eq!(
            (shard.mark, shard.after),
            (None, None),
            "nothing to wait for"
        );
        let why = Unmarked::NoHits {
            hits: 0,
            misses: 52,
            needed: NEEDED,
        };
        assert_eq!(shard.unmarked, Some(why));
    }
    // What was sent is what it was.
    assert_eq!(mark_of(&bench, 1), Some(Ttl::OneHour));
    assert_eq!(mark_of(&bench, 2), Some(Ttl::OneHour));
    bench.restart();
    assert_eq!(mark_of(&bench, 3), None);
    assert_eq!(bench.status(), Status::Going);
}

#[test]
fn a_shard_that_is_being_measured_keeps_the_marks_it_is_measured_with() {
    let mut bench = first_bulk_at_work(judging(true));
    bench.prepare(2);
    // Proven marks wait for nobody: the next one is being measured already.
    assert_eq!(bench.accept(2, "first"), []);
    settle_met(&mut bench, 2, 0, 52);
    assert_eq!(mark_of(&bench, 3), Some(Ttl::OneHour));
    bench.prepare(3);
    assert_eq!(bench.state(3), "submitting");
    assert_eq!(mark_of(&bench, 3), Some(Ttl::OneHour));
    assert_eq!(mark_of(&bench, 4), None);
}

#[test]
fn half_of_the_slack_is_as_long_as_it_waits() {
    let deadline = Some(Timestamp::from_micros(0) + Span::from_secs(36_000));
    let mut bench = first_bulk_at_work(Facts {
        deadline,
        ..judging(false)
    });
    bench.prepare(2);
    bench.accept(2, "first");
    let prepared = |acts: &[Act]| acts.contains(&Act::Prepare(ShardNo(3)));
    assert!(!prepared(&bench.pass(17_900)));
    assert!(prepared(&bench.pass(200)));
}

#[test]
fn nothing_is_judged_where_nothing_is_known_of_the_prices() {
    let mut bench = first_bulk_at_work(Facts {
        marks: MarkFacts::default(),
        ..judging(false)
    });
    bench.prepare(2);
    bench.accept(2, "first");
    settle_met(&mut bench, 2, 0, 52);
    assert_eq!(mark_of(&bench, 4), Some(Ttl::OneHour));
}
