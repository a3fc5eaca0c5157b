//! Fifty seeds with faults and crashes: every row once, nothing paid twice, every picodollar known.

use std::time::Duration;

use offpeak_core::units::Span;
use offpeak_engine::spec::Need;
use offpeak_sim::{Config, Faults, Profile};

use crate::dice::Dice;
use crate::lab::{Lab, Life, rows};

fn lab(seed: u64) -> (Lab, u64) {
    let mut dice = Dice(seed);
    let count = 1 + dice.below(160);
    let profile = match dice.below(4) {
        0 => Profile::Normal,
        1 => Profile::SlowTail,
        _ => Profile::Fast,
    };
    let config = Config {
        seed,
        profile,
        faults: Faults::rough(seed),
        ..Config::default()
    };
    let mut lab = Lab::new(seed, config, &rows(seed, count));
    lab.spec.need = match dice.below(5) {
        0 => Need::Seconds,
        1 => Need::Within(Span::from_secs(2 * 3_600)),
        2 => Need::Within(Span::from_secs(10 * 3_600)),
        _ => Need::Whenever,
    };
    (lab, count)
}

/// Lives with crashes at random moments, then one that is left in peace.
fn run_to_the_end(lab: &mut Lab, dice: &mut Dice) -> Box<offpeak_engine::finish::Manifest> {
    for _ in 0..dice.below(5) {
        // Most of what can go wrong happens while the first calls are on their way, and around
        // the hour.
        let millis = match dice.below(4) {
            0 => dice.below(250),
            1 => dice.below(3_000),
            2 => dice.below(120_000),
            _ => dice.below(3 * 3_600_000),
        };
        match lab.live(Some(Duration::from_millis(millis))) {
            Life::Finished(manifest) => return manifest,
            Life::Crashed => {}
            Life::Ended(end) => panic!("{end:?}"),
        }
    }
    match lab.live(None) {
        Life::Finished(manifest) => manifest,
        other => panic!("{other:?}"),
    }
}

#[test]
fn fifty_seeds_with_faults_and_crashes_keep_the_promises() {
    let (mut lost, mut unknown, mut leftovers) = (0, 0, 0);
    for seed in 0..50 {
        let (mut lab, count) = lab(seed);
        let mut dice = Dice(seed ^ 0x5eed);
        let manifest = run_to_the_end(&mut lab, &mut dice);
        println!("seed {seed}: {count} rows, {:?}", manifest.outcomes);
        let audit = lab.check(&manifest, count);
        lost += audit.sync_lost_calls;
        unknown += manifest.unknown_calls;
        leftovers += manifest.attempts - manifest.rows_out.min(manifest.attempts);
    }
    // A campaign in which nothing went wrong would prove nothing.
    assert!(
        lost > 0 && unknown >= lost && leftovers > 0,
        "{lost} {unknown} {leftovers}"
    );
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let bytes = |seed| {
        let (mut lab, _) = lab(seed);
        let Life::Finished(manifest) = lab.live(None) else {
            panic!("it ends")
        };
        (
            std::fs::read(&lab.spec.output).unwrap(),
            manifest.cost_picousd,
            manifest.finished_at,
        )
    };
    for seed in [3, 11] {
        assert_eq!(bytes(seed), bytes(seed));
    }
}
