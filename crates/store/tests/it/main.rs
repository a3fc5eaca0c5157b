//! What the store promises, through its public door: jobs, shards moved by compare-and-set, a
//! ledger that only grows, all of it still there after a restart.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

use offpeak_core::job::event::{LedgerEntry, LedgerKind, Write};
use offpeak_core::job::outcome::{OutcomeClass, Tally};
use offpeak_core::job::queue::{Phase, Turn, WAITS_FOR, Waiter};
use offpeak_core::job::shard::{
    Doubt, Intent, JobId, Proof, RowRange, Shard, ShardNo, ShardRole, ShardState, Upstream,
};
use offpeak_core::plan::evidence::{HitCount, Observed, Start};
use offpeak_core::price::Lane;
use offpeak_core::units::{Timestamp, Usd};
use offpeak_store::{JobRecord, JobState, LedgerSums, Observation, Store, StoreError};
use offpeak_wire::batch::BatchId;
use offpeak_wire::request::Ttl;

struct Fixture {
    dir: tempfile::TempDir,
    store: Store,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("jobs.db")).unwrap();
        Self { dir, store }
    }

    fn reopened(self) -> Self {
        let Self { dir, store } = self;
        drop(store);
        let store = Store::open(&dir.path().join("jobs.db")).unwrap();
        Self { dir, store }
    }
}

fn id(seed: u8) -> JobId {
    JobId::of_digest(&[seed; 32])
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn job(seed: u8, name: &str, run: u32) -> JobRecord {
    JobRecord {
        id: id(seed),
        name: name.to_owned(),
        run,
        state: JobState::Open,
        created_at: at(i64::from(seed)),
        finished_at: None,
        source_digest: "s".to_owned(),
        params_digest: "p".to_owned(),
        facts: "{}".to_owned(),
    }
}

fn shard(no: u32) -> Shard {
    Shard {
        no: ShardNo(no),
        lane: Lane::Batch,
        role: ShardRole::Leftovers {
            round: 2,
            expired: 1,
        },
        rows: RowRange {
            file: 3,
            from: 10,
            to: 110,
        },
        bytes: 12_345,
        worst: Usd::from_pico(i128::from(u64::MAX) * 3),
        reserved: Usd::from_pico(7),
        mark: Some(Ttl::OneHour),
        unmarked: None,
        found: false,
        account: None,
        origin: None,
        after: Some(ShardNo(7)),
        state: ShardState::Planned,
    }
}

fn submitting() -> ShardState {
    ShardState::Submitting(Intent {
        at: at(1),
        server_not_before: at(2),
        body_digest: "abc".to_owned(),
    })
}

fn in_progress(batch: &str) -> ShardState {
    ShardState::InProgress(Upstream {
        batch: BatchId::new(batch).unwrap(),
        created_at: at(3),
        since: at(4),
        proof: Proof::Certain,
    })
}

fn moved(mut shard: Shard, expect: &'static str, to: ShardState) -> Write {
    shard.state = to;
    Write::Shard {
        expect: Some(expect),
        shard: Box::new(shard),
    }
}

fn ledger(kind: LedgerKind, pico: i128) -> Write {
    let amount = Usd::from_pico(pico);
    Write::Ledger(LedgerEntry {
        kind,
        shard: ShardNo(0),
        lane: Lane::Batch,
        amount,
    })
}

#[test]
fn a_job_and_its_shards_survive_a_restart_as_they_were() {
    let fixture = Fixture::new();
    assert!(fixture.store.is_empty().unwrap());
    let (one, two) = (job(1, "nightly", 1), job(2, "nightly", 2));
    fixture
        .store
        .create_job(&one, &[shard(0), shard(1)], None)
        .unwrap();
    fixture.store.create_job(&two, &[], None).unwrap();
    let store = fixture.reopened().store;
    assert_eq!(store.latest_run("nightly").unwrap(), Some(two.clone()));
    assert_eq!(store.latest_run("weekly").unwrap(), None);
    assert_eq!(store.job(&id(1)).unwrap(), Some(one.clone()));
    assert_eq!(store.jobs().unwrap(), [two, one]);
    assert_eq!(store.shards(&id(1)).unwrap(), [shard(0), shard(1)]);
    assert!(!store.is_empty().unwrap());
}

#[test]
fn a_shard_moves_only_from_the_state_that_was_seen() {
    let Fixture { store, dir: _dir } = Fixture::new();
    store
        .create_job(&job(1, "a", 1), &[shard(0)], None)
        .unwrap();
    store
        .commit(&id(1), at(5), &[moved(shard(0), "planned", submitting())])
        .unwrap();
    // A second writer that still believes the shard to be planned changes nothing at all.
    let late = [
        ledger(LedgerKind::Reserve, 99),
        moved(shard(0), "planned", submitting()),
    ];
    let refused = store.commit(&id(1), at(6), &late).unwrap_err();
    let StoreError::Moved {
        expected, found, ..
    } = &refused
    else {
        panic!("{refused}")
    };
    assert_eq!(
        (expected.as_str(), found.as_str()),
        ("planned", "submitting")
    );
    assert_eq!(store.ledger(&id(1)).unwrap(), LedgerSums::default());
    assert_eq!(store.shards(&id(1)).unwrap()[0].state, submitting());
}

#[test]
fn a_new_shard_does_not_replace_one_that_exists() {
    let Fixture { store, dir: _dir } = Fixture::new();
    store
        .create_job(&job(1, "a", 1), &[shard(0)], None)
        .unwrap();
    let again = Write::Shard {
        expect: None,
        shard: Box::new(shard(0)),
    };
    assert!(matches!(
        store.commit(&id(1), at(1), &[again]),
        Err(StoreError::Moved { .. })
    ));
}

#[test]
fn a_job_is_extended_whole_and_only_as_it_was_seen() {
    let Fixture { store, dir: _dir } = Fixture::new();
    store
        .create_job(&job(1, "a", 1), &[shard(5)], None)
        .unwrap();
    // A shard that exists: neither the facts nor the other shard are written.
    assert!(
        store
            .extend_job(&id(1), "{}", "new", &[shard(0), shard(5)])
            .is_err()
    );
    assert_eq!(store.job(&id(1)).unwrap(), Some(job(1, "a", 1)));
    assert_eq!(store.shards(&id(1)).unwrap(), [shard(5)]);
    store
        .extend_job(&id(1), "{}", "new", &[shard(0), shard(1)])
        .unwrap();
    assert_eq!(store.job(&id(1)).unwrap().unwrap().facts, "new");
    assert_eq!(
        store.shards(&id(1)).unwrap(),
        [shard(0), shard(1), shard(5)]
    );
    // Somebody who still saw the old facts.
    assert!(
        store
            .extend_job(&id(1), "{}", "newer", &[shard(2)])
            .is_err()
    );
}

/// What a shard showed: one call, and a group of two rows that hit.
fn observed(model: &str, tokens: u64) -> Observed {
    let mut observed = Observed {
        model: model.to_owned(),
        hits: vec![HitCount {
            ttl: Ttl::OneHour,
            class: 1,
            start: Start::Led,
            groups: 1,
            hits: 2,
            misses: 0,
        }],
        ..Observed::default()
    };
    observed.tokens.note(1_000, tokens);
    observed.outputs.note(10, 100);
    observed
}

#[test]
fn what_a_shard_showed_is_kept_once_with_its_settlement() {
    let fixture = Fixture::new();
    let store = &fixture.store;
    store
        .create_job(&job(1, "a", 1), &[shard(0)], None)
        .unwrap();
    let settled = ShardState::Settled(Box::default());
    let step = [
        moved(shard(0), "planned", settled),
        Write::Observed {
            shard: ShardNo(0),
            observed: Box::new(observed("m", 250)),
        },
        Write::Observed {
            shard: ShardNo(0),
            observed: Box::new(observed("n", 300)),
        },
    ];
    store.commit(&id(1), at(7), &step).unwrap();
    // The same step again is refused as a whole.
    assert!(store.commit(&id(1), at(8), &step).is_err());
    let fixture = fixture.reopened();
    let expected = [("m", 250), ("n", 300)].map(|(model, tokens)| Observation {
        job_name: "a".to_owned(),
        at: at(7),
        observed: observed(model, tokens),
    });
    assert_eq!(fixture.store.observations(at(0)).unwrap(), expected);
    assert_eq!(fixture.store.observations(at(8)).unwrap(), []);
}

#[test]
fn a_batch_stays_ours_after_its_shard_is_settled() {
    let Fixture { store, dir: _dir } = Fixture::new();
    store
        .create_job(&job(1, "a", 1), &[shard(0)], None)
        .unwrap();
    let batch = BatchId::new("msgbatch_1").unwrap();
    assert!(!store.owns_batch(&batch).unwrap());
    let mut tally = Tally::default();
    tally.outcomes.count(OutcomeClass::Succeeded);
    let settled = ShardState::Settled(Box::new(tally));
    let steps = [
        moved(shard(0), "planned", submitting()),
        moved(shard(0), "submitting", in_progress("msgbatch_1")),
        moved(shard(0), "in_progress", settled.clone()),
    ];
    store.commit(&id(1), at(1), &steps).unwrap();
    assert!(store.owns_batch(&batch).unwrap());
    assert_eq!(store.shards(&id(1)).unwrap()[0].state, settled);
}

#[test]
fn a_batch_that_only_may_be_ours_is_left_to_its_owner() {
    let Fixture { store, dir: _dir } = Fixture::new();
    store
        .create_job(&job(1, "a", 1), &[shard(0)], None)
        .unwrap();
    let batch = BatchId::new("msgbatch_1").unwrap();
    let ShardState::Submitting(intent) = submitting() else {
        unreachable!("it is what it says")
    };
    let doubt = Doubt::about(intent);
    let ShardState::InProgress(mut up) = in_progress("msgbatch_1") else {
        unreachable!("it is what it says")
    };
    up.proof = Proof::Likely(doubt.clone());
    let steps = [
        moved(shard(0), "planned", submitting()),
        moved(shard(0), "submitting", ShardState::Unknown(doubt.clone())),
        moved(shard(0), "unknown", ShardState::InProgress(up.clone())),
        moved(shard(0), "in_progress", ShardState::Ended(up)),
    ];
    store.commit(&id(1), at(1), &steps).unwrap();
    assert!(!store.owns_batch(&batch).unwrap(), "it took it on trust");
    let back = moved(shard(0), "ended", ShardState::Unknown(doubt));
    store.commit(&id(1), at(1), &[back]).unwrap();
    assert!(!store.owns_batch(&batch).unwrap(), "it was a stranger's");
}

#[test]
fn the_ledger_adds_up_and_cannot_be_rewritten() {
    let fixture = Fixture::new();
    fixture
        .store
        .create_job(&job(1, "a", 1), &[shard(0)], None)
        .unwrap();
    let huge = i128::from(u64::MAX) * 1_000;
    let entries = [
        ledger(LedgerKind::Reserve, huge),
        ledger(LedgerKind::Settle, 5),
        ledger(LedgerKind::Unknown, 7),
        ledger(LedgerKind::Release, huge - 12),
    ];
    fixture.store.commit(&id(1), at(1), &entries[..2]).unwrap();
    let held = fixture.store.ledger(&id(1)).unwrap().held;
    assert_eq!(held, Usd::from_pico(huge - 5));
    fixture.store.commit(&id(1), at(2), &entries[2..]).unwrap();
    let sums = fixture.store.ledger(&id(1)).unwrap();
    assert_eq!(sums.held, Usd::ZERO);
    let times = fixture.store.ledger_times(&id(1)).unwrap();
    assert_eq!(Vec::from_iter(times), [(ShardNo(0), (at(1), at(2)))]);
    assert_eq!(sums.reserved, sums.settled + sums.unknown + sums.released);
    let path = fixture.dir.path().join("jobs.db");
    let other = rusqlite::Connection::open(path).unwrap();
    for statement in ["UPDATE ledger SET pico = '0'", "DELETE FROM ledger"] {
        let refused = other.execute(statement, []).unwrap_err();
        assert!(refused.to_string().contains("append-only"), "{refused}");
    }
}

#[test]
fn a_job_is_closed_once() {
    let Fixture { store, dir: _dir } = Fixture::new();
    store.create_job(&job(1, "a", 1), &[], None).unwrap();
    store.close_job(&id(1), JobState::Finished, at(9)).unwrap();
    let closed = store.job(&id(1)).unwrap().unwrap();
    assert_eq!(
        (closed.state, closed.finished_at),
        (JobState::Finished, Some(at(9)))
    );
    assert!(
        store
            .close_job(&id(1), JobState::Abandoned, at(10))
            .is_err()
    );
}

#[test]
fn those_that_wait_for_room_see_each_other_for_as_long_as_they_say_so() {
    let fixture = Fixture::new();
    for (seed, name) in [(1, "first"), (2, "second")] {
        let record = job(seed, name, 1);
        fixture.store.create_job(&record, &[], None).unwrap();
    }
    let waiter = |deadline| Waiter {
        turn: Turn {
            priority: -3,
            deadline,
            at_work: 100_000,
            created_at: at(1),
            job: id(1),
        },
        rows: 99_999,
        phase: Phase::Waiting,
    };
    let say = |now, waiter| {
        let store = &fixture.store;
        store.commit(&id(1), now, &[Write::InLine(waiter)]).unwrap();
    };
    let seen = |job, now| fixture.store.waiters(&id(job), now).unwrap();
    say(at(5), Some(waiter(None)));
    say(at(9), Some(waiter(Some(at(77)))));
    let fresh = at(9) + WAITS_FOR;
    assert_eq!(seen(2, at(9)), [waiter(Some(at(77)))]);
    assert_eq!(seen(1, at(9)), []);
    assert_eq!(fixture.store.in_line(at(9)).unwrap(), seen(2, at(9)));
    // Its process is gone, or the clock was set.
    assert_eq!(seen(2, fresh), []);
    assert_eq!(seen(2, at(9 - WAITS_FOR.as_micros())), []);
    say(at(9), None);
    assert_eq!(seen(2, at(9)), []);
}
