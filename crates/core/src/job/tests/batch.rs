//! The batch lane: submission in doubt, canaries, the guard, the budget.

use offpeak_wire::batch::BatchStatus;
use offpeak_wire::error::ErrorKind;
use offpeak_wire::request::Ttl;

use super::{Bench, batch_id, canary, dollars, facts, listed, lost, shard, submitted};
use crate::job::event::{
    Act, CollectAnswer, Event, Leftovers, Listing, Owner, PollAnswer, Sent, Settlement, Stop,
    SubmitAnswer, SyncRow,
};
use crate::job::outcome::OutcomeClass::{Refused, Succeeded};
use crate::job::outcome::Tally;
use crate::job::retry::Blame;
use crate::job::shard::{ShardNo, ShardState};
use crate::job::{Facts, Status};
use crate::price::Lane;
use crate::units::{Span, Timestamp};

/// A bench whose only shard was sent whole and never answered.
fn in_doubt(rows: u32) -> Bench {
    let mut bench = Bench::new(facts(), vec![shard(0, Lane::Batch, rows)]);
    assert_eq!(bench.begin(), [Act::Prepare(ShardNo(0))]);
    assert_eq!(bench.prepare(0), [Act::Submit(ShardNo(0))]);
    let acts = bench.step(submitted(0, lost(Sent::Whole)));
    assert!(matches!(acts.as_slice(), [Act::List(..)]), "{acts:?}");
    assert_eq!(bench.state(0), "unknown");
    bench
}

#[test]
fn a_lost_create_is_adopted_and_not_sent_again() {
    let mut bench = in_doubt(70);
    let seen = [("stranger", 69, Owner::Untold), ("ours", 70, Owner::Untold)];
    let acts = bench.step(listed(&bench, 0, &seen));
    assert_eq!(acts, [Act::Poll(ShardNo(0), batch_id("ours"))]);
    assert_eq!(bench.state(0), "in_progress");
}

#[test]
fn a_lost_create_is_sent_again_only_after_two_listings_five_minutes_apart() {
    let mut bench = in_doubt(70);
    let first = bench.now;
    let mut looks = 0;
    while bench.step(listed(&bench, 0, &[])) != [Act::Prepare(ShardNo(0))] {
        looks += 1;
        assert_eq!(bench.state(0), "unknown");
        assert!(
            bench.now - first < Span::from_secs(300),
            "this listing is proof"
        );
        let mut acts = Vec::new();
        while acts.is_empty() {
            bench.now = bench.machine.next_timeout(bench.now).unwrap();
            acts = bench.wake();
        }
        assert!(matches!(acts.as_slice(), [Act::List(..)]), "{acts:?}");
    }
    assert!(bench.now - first >= Span::from_secs(300));
    assert!((3..12).contains(&looks), "{looks} looks");
    assert_eq!(bench.state(0), "planned");
}

#[test]
fn a_server_clock_that_stands_still_proves_nothing() {
    let mut bench = in_doubt(70);
    let then = bench.now;
    for _ in 0..5 {
        let listing = Listing {
            server_now: then,
            seen: Vec::new(),
        };
        bench.step(Event::Listed {
            shard: ShardNo(0),
            listing: Ok(listing),
        });
        let acts = bench.pass(400);
        assert!(matches!(acts.as_slice(), [Act::List(..)]), "{acts:?}");
    }
    assert_eq!(bench.state(0), "unknown");
}

#[test]
fn a_create_that_was_not_sent_whole_is_sent_again_after_a_backoff() {
    for sent in [Sent::Nothing, Sent::Part] {
        let mut bench = Bench::new(facts(), vec![shard(0, Lane::Batch, 3)]);
        bench.begin();
        bench.prepare(0);
        assert_eq!(bench.step(submitted(0, lost(sent))), []);
        assert_eq!(bench.state(0), "planned");
        assert_eq!(bench.pass(2), [Act::Prepare(ShardNo(0))]);
    }
}

#[test]
fn a_crash_during_submission_is_a_doubt() {
    let mut bench = Bench::new(facts(), vec![shard(0, Lane::Batch, 3)]);
    bench.begin();
    bench.prepare(0);
    assert_eq!(bench.state(0), "submitting");
    bench.restart();
    let acts = bench.wake();
    assert!(matches!(acts.as_slice(), [Act::List(..)]), "{acts:?}");
}

#[test]
fn two_that_fit_are_told_apart_by_their_results() {
    let mut bench = in_doubt(70);
    let both = [("a", 70, Owner::Untold), ("b", 70, Owner::Untold)];
    assert_eq!(bench.step(listed(&bench, 0, &both)), []);
    assert_eq!(bench.state(0), "unknown");
    bench.pass(60);
    let told = [("a", 70, Owner::Other), ("b", 70, Owner::Ours)];
    let acts = bench.step(listed(&bench, 0, &told));
    assert_eq!(acts, [Act::Poll(ShardNo(0), batch_id("b"))]);
}

#[test]
fn an_adopted_batch_that_turns_out_foreign_is_given_back() {
    let mut bench = in_doubt(70);
    bench.step(listed(&bench, 0, &[("theirs", 70, Owner::Untold)]));
    let answer = PollAnswer::Status {
        status: BatchStatus::Ended,
        retry_after: None,
    };
    bench.step(Event::Polled {
        shard: ShardNo(0),
        answer,
    });
    let acts = bench.step(Event::Collected {
        shard: ShardNo(0),
        answer: CollectAnswer::Foreign,
    });
    assert!(matches!(acts.as_slice(), [Act::List(..)]), "{acts:?}");
    // It is in the listing for ever, and is not ours for ever.
    bench.step(listed(&bench, 0, &[("theirs", 70, Owner::Untold)]));
    bench.pass(310);
    let acts = bench.step(listed(&bench, 0, &[("theirs", 70, Owner::Untold)]));
    assert_eq!(acts, [Act::Prepare(ShardNo(0))]);
}

#[test]
fn a_batch_not_proved_ours_is_never_canceled() {
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
    bench.step(submitted(0, lost(Sent::Whole)));
    bench.step(listed(&bench, 0, &[("maybe", 70, Owner::Untold)]));
    let answer = PollAnswer::Status {
        status: BatchStatus::InProgress,
        retry_after: None,
    };
    bench.step(Event::Polled {
        shard: ShardNo(0),
        answer,
    });
    let acts = bench.pass(7_190);
    assert!(
        acts.iter().all(|act| !matches!(act, Act::Cancel(..))),
        "{acts:?}"
    );
}

#[test]
fn the_bulk_waits_for_its_canary() {
    let mut bulk = shard(1, Lane::Batch, 50);
    bulk.after = Some(ShardNo(0));
    let mut bench = Bench::new(facts(), vec![canary(0), bulk]);
    assert_eq!(bench.begin(), [Act::Prepare(ShardNo(0))]);
    assert_eq!(bench.run_batch(0, "canary"), [Act::Settle(ShardNo(0))]);
    assert_eq!(bench.settle(0, &[Succeeded], 0), [Act::Prepare(ShardNo(1))]);
}

#[test]
fn a_canary_that_is_refused_stops_the_job_before_the_bulk() {
    let mut bulk = shard(1, Lane::Batch, 50);
    bulk.after = Some(ShardNo(0));
    let mut bench = Bench::new(facts(), vec![canary(0), bulk]);
    bench.begin();
    bench.run_batch(0, "canary");
    assert_eq!(bench.settle(0, &[Refused], 0), []);
    let Status::Stopped(Stop::Guard { bad: 1, of: 1, .. }) = bench.status() else {
        panic!("{:?}", bench.status());
    };
    assert_eq!(bench.state(1), "planned");
}

#[test]
fn a_canary_that_fails_is_tried_again_before_the_bulk_goes() {
    let mut bulk = shard(1, Lane::Batch, 50);
    bulk.after = Some(ShardNo(0));
    let mut bench = Bench::new(facts(), vec![canary(0), bulk]);
    bench.begin();
    bench.run_batch(0, "canary");
    let left = ShardNo(0).leftovers();
    assert_eq!(bench.settle(0, &[], 1), [Act::Prepare(left)]);
    let second = &bench.stored[&left];
    assert!(
        second.mark.is_some(),
        "it warms the cache as the first would have"
    );
    assert_eq!(bench.stored[&ShardNo(1)].after, Some(left));
}

#[test]
fn the_bulk_does_not_wait_for_ever_for_a_canary_that_expires() {
    let mut bulk = shard(1, Lane::Batch, 50);
    (bulk.after, bulk.mark) = (Some(ShardNo(0)), Some(Ttl::OneHour));
    let mut bench = Bench::new(facts(), vec![canary(0), bulk]);
    bench.begin();
    bench.run_batch(0, "first");
    let leftovers = Leftovers {
        rows: shard(9, Lane::Batch, 1).rows,
        bytes: 1_000,
        worst: dollars(2),
        expired: 1,
        round_max: 2,
    };
    let tally = Tally {
        leftovers: 1,
        ..Tally::default()
    };
    bench.step(Event::Settled {
        shard: ShardNo(0),
        settlement: Box::new(Settlement {
            tally,
            leftovers: Some(leftovers),
            ..Settlement::default()
        }),
    });
    let bulk = &bench.stored[&ShardNo(1)];
    assert_eq!((bulk.after, bulk.mark), (None, None));
    let Status::Stopped(Stop::Expired { rows: 1 }) = bench.status() else {
        panic!("{:?}", bench.status());
    };
}

#[test]
fn a_budget_that_holds_part_of_a_shard_cuts_it() {
    let facts = Facts {
        budget: Some(dollars(30)),
        ..facts()
    };
    let mut bench = Bench::new(facts, vec![shard(0, Lane::Batch, 50)]);
    assert_eq!(bench.begin(), [Act::Measure(ShardNo(0), Some(dollars(30)))]);
    let measured = Event::Measured {
        shard: ShardNo(0),
        rows: 30,
        worst: dollars(30),
        bytes: 30_000,
    };
    assert_eq!(bench.step(measured), [Act::Prepare(ShardNo(0))]);
    let rest = &bench.stored[&ShardNo(1)];
    assert_eq!(
        (rest.rows.from, rest.rows.to, rest.worst),
        (30, 50, dollars(20))
    );
    assert_eq!(bench.run_batch(0, "first"), [Act::Settle(ShardNo(0))]);
    // It cost half of what was set aside: the other half pays for the rest.
    let acts = bench.settle_at(0, &[Succeeded; 30], 0, dollars(5));
    assert_eq!(acts, [Act::Prepare(ShardNo(1))]);
}

#[test]
fn a_budget_below_one_row_stops_before_anything_is_sent() {
    let facts = Facts {
        budget: Some(dollars(0)),
        ..facts()
    };
    let mut bench = Bench::new(facts, vec![shard(0, Lane::Batch, 50)]);
    assert_eq!(bench.begin(), [Act::Measure(ShardNo(0), Some(dollars(0)))]);
    bench.step(Event::Measured {
        shard: ShardNo(0),
        rows: 0,
        worst: dollars(1),
        bytes: 0,
    });
    assert!(matches!(
        bench.status(),
        Status::Stopped(Stop::Budget { .. })
    ));
}

#[test]
fn a_refused_key_stops_and_keeps_everything() {
    let mut bench = Bench::new(facts(), vec![shard(0, Lane::Batch, 3)]);
    bench.begin();
    bench.prepare(0);
    let refused = SubmitAnswer::Refused {
        kind: ErrorKind::Authentication,
        message: "API key is invalid.".to_owned(),
        retry_after: None,
    };
    bench.step(submitted(0, refused));
    assert!(matches!(
        bench.status(),
        Status::Stopped(Stop::Upstream { .. })
    ));
    assert_eq!(bench.state(0), "planned");
}

#[test]
fn a_rate_limit_pauses_the_lane_for_as_long_as_it_says() {
    let mut bench = Bench::new(facts(), vec![shard(0, Lane::Batch, 3)]);
    bench.begin();
    bench.prepare(0);
    let refused = SubmitAnswer::Refused {
        kind: ErrorKind::RateLimit,
        message: String::new(),
        retry_after: Some(Span::from_secs(40)),
    };
    assert_eq!(bench.step(submitted(0, refused)), []);
    assert_eq!(bench.pass(39), []);
    assert_eq!(bench.pass(3), [Act::Prepare(ShardNo(0))]);
}

#[test]
fn a_rate_limit_of_the_batches_holds_no_call_back() {
    let mut bench = Bench::new(
        facts(),
        vec![shard(0, Lane::Batch, 3), shard(1, Lane::Sync, 1)],
    );
    bench.begin();
    bench.prepare(0);
    let refused = SubmitAnswer::Refused {
        kind: ErrorKind::RateLimit,
        message: String::new(),
        retry_after: Some(Span::from_secs(1_000)),
    };
    assert_eq!(bench.step(submitted(0, refused)), []);
    let rows = vec![SyncRow {
        row: 0,
        worst: dollars(1),
        prefixes: Vec::new(),
        attempts: 0,
        blame: Blame::default(),
    }];
    let acts = bench.step(Event::Fetched {
        shard: ShardNo(1),
        rows,
        next: None,
    });
    assert!(matches!(acts.as_slice(), [Act::Send { .. }]), "{acts:?}");
}

#[test]
fn a_batch_that_is_not_visible_yet_is_not_lost() {
    let mut bench = Bench::new(facts(), vec![shard(0, Lane::Batch, 3)]);
    bench.begin();
    bench.prepare(0);
    bench.accept(0, "new");
    bench.pass(10);
    bench.step(Event::Polled {
        shard: ShardNo(0),
        answer: PollAnswer::NotFound,
    });
    assert_eq!(bench.status(), Status::Going);
    assert_eq!(bench.pass(70), [Act::Poll(ShardNo(0), batch_id("new"))]);
    for _ in 0..20 {
        bench.step(Event::Polled {
            shard: ShardNo(0),
            answer: PollAnswer::NotFound,
        });
        bench.pass(70);
    }
    assert_eq!(
        bench.status(),
        Status::Stopped(Stop::Upstream {
            kind: ErrorKind::NotFound,
            message: "the upstream does not know batch msgbatch_new; is this the key that made it?"
                .to_owned(),
        })
    );
}

#[test]
fn flawed_results_are_downloaded_three_times_and_then_settled_as_they_are() {
    let mut bench = Bench::new(facts(), vec![shard(0, Lane::Batch, 3)]);
    bench.begin();
    bench.prepare(0);
    bench.accept(0, "torn");
    bench.pass(10);
    let answer = PollAnswer::Status {
        status: BatchStatus::Ended,
        retry_after: None,
    };
    bench.step(Event::Polled {
        shard: ShardNo(0),
        answer,
    });
    let mut downloads = 1;
    loop {
        let answer = CollectAnswer::Flawed { rows: 1 };
        let acts = bench.step(Event::Collected {
            shard: ShardNo(0),
            answer,
        });
        if acts == [Act::Settle(ShardNo(0))] {
            break;
        }
        let acts = bench.pass(60);
        assert!(matches!(acts.as_slice(), [Act::Collect(..)]), "{acts:?}");
        downloads += 1;
    }
    assert_eq!(downloads, 3);
}

#[test]
fn an_interrupt_leaves_the_batch_upstream() {
    let mut bench = Bench::new(
        facts(),
        vec![shard(0, Lane::Batch, 3), shard(1, Lane::Batch, 9)],
    );
    bench.begin();
    bench.prepare(0);
    bench.accept(0, "first");
    bench.step(Event::StopAsked);
    // The second shard was being measured; its intent is not written any more.
    assert_eq!(bench.prepare(1), []);
    assert_eq!(bench.status(), Status::Stopped(Stop::Interrupted));
    assert_eq!((bench.state(0), bench.state(1)), ("in_progress", "planned"));
    assert!(matches!(
        bench.stored[&ShardNo(0)].state,
        ShardState::InProgress(_)
    ));
}

#[test]
fn the_guard_remembers_over_a_restart() {
    let mut bulk = shard(1, Lane::Batch, 50);
    bulk.after = Some(ShardNo(0));
    let mut bench = Bench::new(facts(), vec![canary(0), bulk]);
    bench.begin();
    bench.run_batch(0, "canary");
    bench.settle(0, &[Refused], 0);
    bench.restart();
    bench.wake();
    assert!(matches!(
        bench.status(),
        Status::Stopped(Stop::Guard { .. })
    ));
    assert_eq!(bench.state(1), "planned");
}

#[test]
fn without_a_canary_the_bulk_waits_for_its_first_shard() {
    let shards = (0..3).map(|no| shard(no, Lane::Batch, 50 - no)).collect();
    let mut bench = Bench::new(facts(), shards);
    assert_eq!(bench.begin(), [Act::Prepare(ShardNo(0))]);
    assert_eq!(bench.run_batch(0, "first"), [Act::Settle(ShardNo(0))]);
    let acts = bench.settle(0, &[Succeeded; 50], 0);
    assert_eq!(acts, [Act::Prepare(ShardNo(1)), Act::Prepare(ShardNo(2))]);
}

#[test]
fn a_hard_stop_is_told_over_a_soft_one() {
    let shards = vec![
        shard(0, Lane::Batch, 3),
        shard(1, Lane::Batch, 9),
        shard(2, Lane::Batch, 5),
    ];
    let mut bench = Bench::new(
        Facts {
            past_guard: true,
            ..facts()
        },
        shards,
    );
    bench.begin();
    bench.prepare(0);
    bench.accept(0, "first");
    bench.machine.stop_for(Stop::Expired { rows: 1 });
    bench.step(Event::StopAsked);
    bench.prepare(1);
    bench.prepare(2);
    assert_eq!(bench.status(), Status::Stopped(Stop::Interrupted));
}

#[test]
fn a_batch_taken_on_trust_that_its_owner_deletes_was_not_ours() {
    let mut bench = Bench::new(facts(), vec![shard(0, Lane::Batch, 3)]);
    bench.begin();
    bench.prepare(0);
    bench.step(submitted(0, lost(Sent::Whole)));
    bench.step(listed(&bench, 0, &[("others", 3, Owner::Untold)]));
    assert_eq!(bench.state(0), "in_progress");
    bench.pass(700);
    bench.step(Event::Polled {
        shard: ShardNo(0),
        answer: PollAnswer::NotFound,
    });
    assert_eq!((bench.state(0), bench.status()), ("unknown", Status::Going));
}
