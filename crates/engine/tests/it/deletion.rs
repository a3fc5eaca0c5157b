//! Batches deleted upstream: what the upstream has afterwards, and what a crash or a refusal leaves to
//! the next run.

use std::time::Duration;

use offpeak_sim::{Config, Endpoint, EndpointFaults, Fault, Faults, ResultFaults};

use crate::lab::{Lab, Life};
use crate::scenarios::{finished, short_rows};

/// Some batches: a job of so many rows travels in several.
fn deleting(faults: Faults) -> Lab {
    let config = Config {
        faults,
        ..Config::default()
    };
    let mut lab = Lab::new(3, config, &short_rows(600));
    lab.spec.delete_upstream = true;
    lab
}

/// Deleted, not known, still there, of those not whole.
fn copies(lab: &Lab) -> [u64; 4] {
    let copies = lab.copies.lock().unwrap();
    let copies = copies.as_ref().expect("a life came so far");
    [
        copies.deleted,
        copies.missing,
        copies.there,
        copies.unproved,
    ]
}

#[test]
fn nothing_stays_upstream_and_everything_is_here() {
    let mut lab = deleting(Faults::none());
    let manifest = finished(lab.live(None));
    lab.check(&manifest, 600);
    let [deleted, rest @ ..] = copies(&lab);
    assert!(deleted > 1);
    assert_eq!(rest, [0; 3]);
    assert!(lab.batches_upstream().is_empty());
}

#[test]
fn a_deletion_whose_answer_is_lost_is_asked_for_again_and_counts() {
    let mut lab = deleting(Faults::none().at(Endpoint::Delete, 0, Fault::ResetAfterAccept));
    let manifest = finished(lab.live(None));
    lab.check(&manifest, 600);
    let [deleted, rest @ ..] = copies(&lab);
    assert!(deleted > 1);
    assert_eq!(rest, [0; 3]);
    assert!(lab.batches_upstream().is_empty());
}

#[test]
fn what_cannot_be_deleted_stops_no_row_and_the_same_command_does_it_later() {
    let broken = EndpointFaults {
        internal: 1.0,
        ..EndpointFaults::default()
    };
    let mut lab = deleting(Faults::none().on(Endpoint::Delete, broken));
    let first = finished(lab.live(None));
    lab.check(&first, 600);
    let [deleted, missing, there, _] = copies(&lab);
    assert_eq!((deleted, missing), (0, 0));
    assert_eq!(lab.batches_upstream().len() as u64, there);
    let told = lab.copies.lock().unwrap().clone().unwrap();
    assert!(told.trouble.is_some() && told.owed() == there);
    // The upstream is mended; the job has finished, and only deletes.
    lab.mend();
    let bill = lab.bill();
    assert_eq!(finished(lab.live(None)), first);
    assert_eq!(copies(&lab), [there, 0, 0, 0]);
    assert!(lab.batches_upstream().is_empty());
    assert_eq!(lab.bill(), bill);
}

#[test]
fn crashes_at_any_moment_leave_nothing_upstream_in_the_end() {
    for millis in [1_000, 60_000, 600_000, 1_200_000, 1_500_000, 1_800_000] {
        let mut lab = deleting(Faults::none());
        let life = lab.live(Some(Duration::from_millis(millis)));
        if matches!(life, Life::Crashed) {
            let manifest = finished(lab.live(None));
            lab.check(&manifest, 600);
        }
        assert!(lab.batches_upstream().is_empty(), "{millis}");
    }
}

#[test]
fn a_batch_with_a_result_that_cannot_be_read_is_left_alone() {
    let faults = Faults {
        results: ResultFaults {
            malformed_line: 0.005,
            ..ResultFaults::default()
        },
        ..Faults::none()
    };
    let mut lab = deleting(faults);
    let manifest = finished(lab.live(None));
    assert!(manifest.outcomes["result_unreadable"] > 0);
    let [deleted, _, there, unproved] = copies(&lab);
    assert!(deleted > 0 && there > 0 && there == unproved);
    assert_eq!(lab.batches_upstream().len() as u64, there);
}

#[test]
fn nobody_deletes_unasked() {
    let mut lab = deleting(Faults::none());
    lab.spec.delete_upstream = false;
    finished(lab.live(None));
    assert!(lab.copies.lock().unwrap().is_none());
    let upstream = lab.batches_upstream().len();
    assert!(upstream > 1);
    // Asked for later, a finished job deletes what it had left there.
    lab.spec.delete_upstream = true;
    finished(lab.live(None));
    assert_eq!(copies(&lab), [upstream as u64, 0, 0, 0]);
    assert!(lab.batches_upstream().is_empty());
}
