//! Batches that are paid for and answer no row: how they come about, and that every one is told.

use std::time::Duration;

use offpeak_core::job::machine::OnUnknown;
use offpeak_core::reconcile::{Held, Verdict};
use offpeak_core::units::{Span, Usd};
use offpeak_engine::finish::Manifest;
use offpeak_engine::spec::Need;
use offpeak_sim::{Config, Endpoint, Fault, Faults, ResultFaults};

use crate::directory::copy;
use crate::lab::{Lab, Life, rows};
use crate::reconcile::{job, residual};

fn finished(life: Life) -> Box<Manifest> {
    match life {
        Life::Finished(manifest) => manifest,
        other => panic!("{other:?}"),
    }
}

/// A lab in the second run of its job, of which one life has ended after so much time; and what the first
/// run was billed.
fn second_run(after: Duration) -> (Lab, Usd) {
    let mut lab = Lab::new(40, Config::default(), &rows(40, 60));
    // Not at midnight, and not one run on the heels of the other: a row may belong to either side then.
    lab.wait(Duration::from_secs(3_600));
    finished(lab.live(None));
    let before = lab.bill();
    lab.wait(Duration::from_secs(3_600));
    begin_again(&mut lab, after);
    (lab, before)
}

fn begin_again(lab: &mut Lab, after: Duration) {
    (lab.choice.fresh, lab.spec.overwrite) = (true, true);
    assert!(matches!(lab.live(Some(after)), Life::Crashed));
    lab.choice.fresh = false;
}

#[test]
fn a_restored_backup_takes_back_what_has_ended_since() {
    let (mut lab, before) = second_run(Duration::from_millis(20));
    let (data, backup) = (lab.data_dir(), lab.path("backup"));
    copy(&data, &backup);
    // What it sends and pays after the backup.
    finished(lab.live(None));
    std::fs::remove_file(&lab.spec.output).unwrap();
    lab.lose_the_disk();
    copy(&backup, &data);
    let paid = lab.bill();
    let manifest = finished(lab.live(None));
    assert_eq!(lab.bill(), paid, "nothing is paid again");
    assert_eq!(manifest.cost_picousd, paid - before);
    let scope = job(&lab, "lab");
    assert_eq!(
        lab.reconcile(scope, &[]).comparison.verdict,
        Verdict::Agrees
    );
    assert_eq!(
        (manifest.waste_picousd, manifest.wasted.len()),
        (Usd::ZERO, 0)
    );
}

/// A backup is put back that was made before the last half minute: what was sent in that is at work, and it knows
/// nothing of it.
fn goes_back(lab: &mut Lab) {
    let (data, backup) = (lab.data_dir(), lab.path("backup"));
    copy(&data, &backup);
    assert!(matches!(
        lab.live(Some(Duration::from_secs(30))),
        Life::Crashed
    ));
    lab.lose_the_disk();
    copy(&backup, &data);
}

#[test]
fn what_a_restored_backup_pays_twice_is_told_to_the_picodollar() {
    let (mut lab, before) = second_run(Duration::from_millis(20));
    goes_back(&mut lab);
    let manifest = finished(lab.live(None));
    assert!(!manifest.wasted.is_empty(), "{manifest:?}");
    assert_eq!(
        manifest.cost_picousd + manifest.waste_picousd,
        lab.bill() - before
    );
    let scope = job(&lab, "lab");
    let found = lab.reconcile(scope, &[]);
    assert_eq!(found.comparison.verdict, Verdict::Explained, "{found:?}");
    assert_eq!(
        found.comparison.allowed[&Held::Wasted],
        manifest.waste_picousd
    );
    assert_eq!(residual(&found), manifest.waste_picousd);
    // It stays told, once, when the last step is done again.
    lab.reopen_job();
    let again = finished(lab.live(None));
    assert_eq!(again.wasted, manifest.wasted);
}

/// A job with a deadline of three hours. The answer to its first create is lost, and so many listings
/// after those before it fail.
fn in_doubt(on_unknown: OnUnknown, failing: u64) -> Lab {
    let lost = Faults::none().at(Endpoint::Create, 0, Fault::ResetAfterAccept);
    let fail = |faults: Faults, nth| faults.at(Endpoint::List, nth, Fault::Internal);
    let config = Config {
        faults: (2..=failing).fold(lost, fail),
        ..Config::default()
    };
    let mut lab = Lab::new(41, config, &rows(41, 60));
    lab.spec.need = Need::Within(Span::from_secs(3 * 3_600));
    lab.spec.on_unknown = on_unknown;
    lab
}

#[test]
fn results_that_come_torn_or_twice_weigh_what_was_billed_or_nothing() {
    let (mut told, mut untold) = (0, 0);
    for seed in 0..12 {
        // Every seventh line is missing, and the file looks whole.
        let rule = "[[rule]]\neffect = 'missing_line'\nevery = 7";
        let faults = Faults::parse(rule).unwrap();
        let results = ResultFaults {
            truncated: 0.3,
            duplicate_line: 0.2,
            ..ResultFaults::default()
        };
        let config = Config {
            seed,
            faults: Faults {
                seed,
                results,
                ..faults
            },
            ..Config::default()
        };
        let mut lab = Lab::new(seed, config, &rows(seed, 60));
        finished(lab.live(None));
        begin_again(&mut lab, Duration::from_millis(20));
        goes_back(&mut lab);
        let manifest = finished(lab.live(None));
        for wasted in &manifest.wasted {
            assert_eq!(wasted.cost_picousd, lab.billed_in(&wasted.batch));
        }
        told += manifest.wasted.len();
        untold += usize::from(manifest.wasted.len() < 2);
    }
    assert!(told > 3 && untold > 0, "{told} {untold}");
}

#[test]
fn a_deadline_that_is_worth_more_than_a_batch_in_doubt_is_kept() {
    let mut lab = in_doubt(OnUnknown::Deadline, 5_000);
    let manifest = finished(lab.live(None));
    assert!(!manifest.after_deadline, "{} s", manifest.seconds);
    assert!(manifest.all_succeeded(), "{:?}", manifest.outcomes);
    // The batch was made and billed; nobody could find out, so what it can cost is held.
    let over = lab.bill() - manifest.cost_picousd;
    assert!(Usd::ZERO < over && over <= manifest.unknown_picousd);
    assert_eq!(manifest.wasted.len(), 0);
    let scope = job(&lab, "lab");
    let found = lab.reconcile(scope, &[]);
    assert_eq!(found.comparison.verdict, Verdict::Explained, "{found:?}");
    assert_eq!((residual(&found), found.comparison.unread.len()), (over, 0));
}

#[test]
fn money_is_worth_more_than_the_deadline_unless_the_job_says_otherwise() {
    let mut lab = in_doubt(OnUnknown::Wait, 800);
    let manifest = finished(lab.live(None));
    assert!(manifest.after_deadline, "{} s", manifest.seconds);
    assert_eq!(manifest.cost_picousd, lab.bill());
}
