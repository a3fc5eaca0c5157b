//! Jobs that are given up, at whatever moment: every row has its line, and the bill is the ledger.

use std::time::Duration;

use offpeak_core::job::cancel::Cancel;
use offpeak_core::units::Span;
use offpeak_engine::finish::Manifest;
use offpeak_engine::spec::Need;
use offpeak_sim::{Config, Faults, Profile};

use crate::dice::Dice;
use crate::lab::{Lab, Life, rows};
use crate::reconcile::is_explained;

fn finished(life: Life) -> Box<Manifest> {
    match life {
        Life::Finished(manifest) => manifest,
        other => panic!("{other:?}"),
    }
}

fn canceled(manifest: &Manifest) -> u64 {
    manifest.outcomes.get("canceled").copied().unwrap_or(0)
}

#[test]
fn a_job_can_be_given_up_at_any_moment_and_the_giving_up_can_be_interrupted() {
    let (mut without_answers, mut with_some, mut complete) = (0, 0, 0);
    for seed in 0..24 {
        let mut dice = Dice(seed);
        let config = Config {
            seed,
            profile: [Profile::Normal, Profile::SlowTail][usize::from(seed % 3 == 0)],
            faults: Faults::rough(seed),
            ..Config::default()
        };
        let mut lab = Lab::new(seed, config, &rows(seed, 60));
        lab.spec.need = match seed % 4 {
            0 => Need::Seconds,
            1 => Need::Within(Span::from_secs(3 * 3_600)),
            _ => Need::Whenever,
        };
        lab.probe = (seed % 5 == 4).then_some(5);
        let millis = [60, 2_000, 600_000, 2 * 3_600_000][(seed / 4 % 4) as usize];
        let after = Duration::from_millis(millis + dice.below(millis));
        match lab.live(Some(after)) {
            Life::Crashed => {}
            Life::Finished(_) => continue,
            Life::Ended(end) => panic!("{end:?}"),
        }
        if lab.latest().is_none() {
            continue;
        }
        lab.cancel = Some(if seed % 2 == 0 {
            Cancel::Everything
        } else {
            Cancel::Unsent
        });
        let manifest = match lab.live(Some(Duration::from_millis(dice.below(3_000)))) {
            Life::Finished(manifest) => manifest,
            Life::Crashed => finished(lab.live(None)),
            Life::Ended(end) => panic!("{end:?}"),
        };
        lab.check(&manifest, 60);
        is_explained(&mut lab);
        match canceled(&manifest) {
            60 => without_answers += 1,
            0 => complete += 1,
            _ => with_some += 1,
        }
    }
    assert!(
        without_answers > 0 && with_some > 0,
        "{without_answers} {with_some} {complete}"
    );
}

#[test]
fn a_job_that_was_given_up_is_not_gone_on_with() {
    let mut lab = Lab::new(50, Config::default(), &rows(50, 60));
    assert!(matches!(
        lab.live(Some(Duration::from_secs(20))),
        Life::Crashed
    ));
    lab.cancel = Some(Cancel::Everything);
    assert!(matches!(
        lab.live(Some(Duration::from_millis(10))),
        Life::Crashed
    ));
    lab.cancel = None;
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| lab.live(None)));
    let words = *panic.unwrap_err().downcast::<String>().unwrap();
    assert!(words.contains("Canceled"), "{words}");
    lab.cancel = Some(Cancel::Everything);
    let manifest = finished(lab.live(None));
    lab.check(&manifest, 60);
    assert!(canceled(&manifest) > 0);
}
