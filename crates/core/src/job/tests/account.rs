//! Which account a batch is in, and what a key of another one may do: nothing.

use super::{Bench, batch_id, facts, lost, shard, submitted};
use crate::job::Status;
use crate::job::account::Account;
use crate::job::event::{Act, Event, Scouted, Sent, Stop};
use crate::job::shard::ShardNo;
use crate::price::Lane;

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
