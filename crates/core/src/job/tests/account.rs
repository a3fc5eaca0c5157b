//! Which account a batch is in, and what a key of another one may do: nothing.

use super::{Bench, batch_id, canary, facts, lost, shard, submitted};
use crate::job::Status;
use crate::job::account::Account;
use crate::job::event::{Act, Event, Scouted, Search, Sent, Stop, SubmitAnswer};
use crate::job::outcome::OutcomeClass;
use crate::job::shard::ShardNo;
use crate::price::Lane;
use crate::units::Timestamp;

fn account(key: &str, workspace: Option<&str>) -> Account {
    let (key, workspace) = (key.to_owned(), workspace.map(str::to_owned));
    Account { key, workspace }
}

fn reached(account: Account) -> Event {
    Event::Scouted(Scouted {
        account: Some(account),
        ..Scouted::default()
    })
}

/// A job whose only batch was made with the key `a` in the workspace `one`.
fn in_progress() -> Bench {
    let mut bench = Bench::new(facts(), vec![shard(0, Lane::Batch, 3)]);
    bench.wake();
    bench.step(reached(account("a", Some("one"))));
    bench.prepare(0);
    bench.accept(0, "made");
    bench
}

#[test]
fn a_batch_is_not_asked_for_before_the_account_is_known() {
    let mut bench = in_progress();
    bench.restart();
    assert!(matches!(bench.pass(60)[..], [Act::Scout { .. }]));
    let acts = bench.step(reached(account("a", Some("one"))));
    assert_eq!(acts, [Act::Poll(ShardNo(0), batch_id("made"))]);
}

#[test]
fn a_key_that_was_exchanged_within_the_workspace_goes_on() {
    let mut bench = in_progress();
    bench.restart();
    bench.pass(60);
    let acts = bench.step(reached(account("b", Some("one"))));
    assert_eq!(acts, [Act::Poll(ShardNo(0), batch_id("made"))]);
}

#[test]
fn a_key_of_another_workspace_stops_the_job() {
    let mut bench = in_progress();
    bench.restart();
    bench.pass(60);
    assert_eq!(bench.step(reached(account("b", Some("two")))), []);
    let Status::Stopped(Stop::OtherAccount { batches: 1, .. }) = bench.status() else {
        panic!("{:?}", bench.status());
    };
}

#[test]
fn a_batch_in_doubt_is_not_looked_for_in_another_account() {
    let mut bench = Bench::new(facts(), vec![shard(0, Lane::Batch, 3)]);
    bench.wake();
    bench.step(reached(account("a", None)));
    bench.prepare(0);
    bench.step(submitted(0, lost(Sent::Whole)));
    assert_eq!(bench.state(0), "unknown");
    bench.restart();
    bench.pass(60);
    // The listing of another account would prove that there is no batch.
    assert_eq!(bench.step(reached(account("b", None))), []);
    assert!(matches!(
        bench.status(),
        Status::Stopped(Stop::OtherAccount { .. })
    ));
}

#[test]
fn what_was_certainly_not_made_is_in_no_account() {
    let mut bench = Bench::new(facts(), vec![shard(0, Lane::Batch, 3)]);
    bench.wake();
    bench.step(reached(account("a", None)));
    bench.prepare(0);
    bench.step(submitted(0, lost(Sent::Part)));
    bench.restart();
    bench.pass(60);
    let acts = bench.step(reached(account("b", None)));
    assert_eq!(acts, [Act::Prepare(ShardNo(0))]);
}

/// A job whose first batch alarmed the guard, begun again while another is at work or in doubt.
fn stopped_by_the_guard(second: SubmitAnswer) -> Bench {
    let shards = vec![
        canary(0),
        shard(1, Lane::Batch, 4),
        shard(2, Lane::Batch, 5),
    ];
    let mut careless = facts();
    careless.past_guard = true;
    let mut bench = Bench::new(careless, shards);
    bench.wake();
    bench.step(reached(account("a", Some("one"))));
    bench.prepare(0);
    bench.prepare(1);
    bench.step(submitted(1, second));
    bench.accept(0, "refused");
    assert!(
        bench
            .pass(10)
            .contains(&Act::Poll(ShardNo(0), batch_id("refused")))
    );
    bench.end_batch(0);
    bench.settle(0, &[OutcomeClass::Refused], 0);
    bench.machine.facts.past_guard = false;
    bench.restart();
    bench
}

#[test]
fn after_a_stop_by_the_guard_too_the_account_is_learnt_before_batches_are_brought_home() {
    let made = SubmitAnswer::Accepted {
        batch: batch_id("made"),
        created_at: Timestamp::from_micros(0),
    };
    for second in [made, lost(Sent::Whole)] {
        let mut bench = stopped_by_the_guard(second);
        let knock = [Act::Scout {
            rows: vec![5],
            search: Search::Knock,
        }];
        assert_eq!(bench.pass(60), knock);
        assert_eq!(bench.machine.stop.as_ref().map(Stop::is_hard), Some(false));
        // One that fails is made again.
        let failed = Some((None, "unreachable".to_owned()));
        let nobody = Event::Scouted(Scouted {
            failed,
            ..Scouted::default()
        });
        assert_eq!(bench.step(nobody), []);
        let next = bench
            .machine
            .next_timeout(bench.now)
            .expect("it knocks again");
        bench.now = next;
        assert_eq!(bench.wake(), knock);
        let acts = bench.step(reached(account("a", Some("one"))));
        assert!(
            matches!(
                acts[..],
                [Act::Poll(ShardNo(1), _) | Act::List(ShardNo(1), _)]
            ),
            "{acts:?}"
        );
    }
}
