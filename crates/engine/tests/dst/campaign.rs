//! Seeds, one after the other on all cores, each twice.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use offpeak_engine::finish::Manifest;

use crate::audit::audit;
use crate::case::Case;
use crate::course::{Course, START, Sabotage, course};

/// Seeds that the tests run.
const SEEDS: u64 = 2_000;

/// Seeds that once found something, and what.
const REGRESSIONS: [(u64, &str); 8] = [
    (110, "what a batch left over was paid again on a new disk"),
    (
        225,
        "the same, of several jobs whose canaries are tried again",
    ),
    (
        20_467,
        "a batch that was taken on trust was deleted by the job that it belonged to",
    ),
    (
        23_332,
        "a job given up on a new disk did not tell what its rows had left over and sent before; a result \
         line that came twice was counted twice",
    ),
    (
        100_896,
        "a job given up on a new disk stopped at batches that its probe had cut otherwise",
    ),
    (
        101_624,
        "an old batch that was being canceled was looked at too seldom for the deadline",
    ),
    (
        101_905,
        "a download that had failed waited past the deadline",
    ),
    (
        1_028_552,
        "a job that the guard had stopped with a batch at work was begun again, and did not ask whose key it had",
    ),
];

/// What a campaign came to.
#[derive(Debug, Default)]
struct Sums {
    lives: u64,
    crashes: u64,
    restores: u64,
    /// Batches that were told to be waste.
    wasted: u64,
    stops: u64,
    soft_stops: u64,
    rows: u64,
    /// Rows that show the answer of an earlier run.
    taken_over: u64,
    unknown_calls: u64,
    violations: Vec<String>,
}

fn run(case: &Case, sums: &Mutex<Sums>) {
    let seed = case.seed;
    let show = number("OFFPEAK_DST_SHOW").is_some();
    if show {
        println!("{}", case.tell());
    }
    let first = course(case, Sabotage::None);
    if show {
        for line in first.world.lock().unwrap().bill().lines() {
            if let Some((batch, custom_id)) = line.row {
                println!("{batch} {custom_id} at {} us", line.at - START);
            }
        }
    }
    let mut wrong = audit(case, &first);
    let digest = first.digest.clone();
    let mut sums_of = Sums {
        lives: first.lives as u64,
        crashes: first.crashes,
        restores: first.restores,
        wasted: of_each(&first, |manifest| manifest.wasted.len() as u64),
        stops: first.stops,
        soft_stops: first.soft_stops,
        rows: case.jobs.iter().map(|job| job.texts.len() as u64).sum(),
        taken_over: of_each(&first, |manifest| manifest.reused.earlier_runs.rows),
        unknown_calls: of_each(&first, |manifest| manifest.unknown_calls),
        violations: Vec::new(),
    };
    drop(first);
    if course(case, Sabotage::None).digest != digest {
        wrong.push("the second time something else came out".to_owned());
    }
    let told = wrong.iter().map(|what| format!("seed {seed}: {what}"));
    sums_of.violations.extend(told);
    let mut sums = sums.lock().unwrap();
    sums.lives += sums_of.lives;
    sums.crashes += sums_of.crashes;
    sums.restores += sums_of.restores;
    sums.wasted += sums_of.wasted;
    sums.stops += sums_of.stops;
    sums.soft_stops += sums_of.soft_stops;
    sums.rows += sums_of.rows;
    sums.taken_over += sums_of.taken_over;
    sums.unknown_calls += sums_of.unknown_calls;
    sums.violations.extend(sums_of.violations);
}

/// The sum of something over the jobs that have ended.
fn of_each(course: &Course, of: impl Fn(&Manifest) -> u64) -> u64 {
    let ended = course.finished.iter().flatten();
    ended.map(|finished| of(&finished.manifest)).sum()
}

fn campaign(first: u64, seeds: u64) -> Sums {
    let (next, sums) = (AtomicU64::new(first), Mutex::new(Sums::default()));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        return;
                    }
                    let run = std::panic::AssertUnwindSafe(|| run(&Case::draw(seed), &sums));
                    if let Err(panic) = std::panic::catch_unwind(run) {
                        let what = panic.downcast_ref::<String>().cloned();
                        let mut sums = sums
                            .lock()
                            .unwrap_or_else(std::sync::PoisonError::into_inner);
                        sums.violations
                            .push(format!("seed {seed}: a panic: {what:?}"));
                    }
                }
            });
        }
    });
    sums.into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn every_promise_holds_for_every_seed() {
    let seeds = number("OFFPEAK_DST_SEEDS").unwrap_or(SEEDS);
    let first = number("OFFPEAK_DST_FIRST").unwrap_or(0);
    let sums = campaign(first, seeds);
    println!(
        "{seeds} seeds from {first}: {} rows, {} taken over, {} lives, {} crashes, {} backups put back, {} wasted \
         batches, {} stops ({} soft), {} calls of unknown outcome, {} violations",
        sums.rows,
        sums.taken_over,
        sums.lives,
        sums.crashes,
        sums.restores,
        sums.wasted,
        sums.stops,
        sums.soft_stops,
        sums.unknown_calls,
        sums.violations.len()
    );
    assert!(sums.violations.is_empty(), "{:#?}", sums.violations);
    // A campaign in which nothing went wrong would prove nothing.
    if seeds >= 100 {
        assert!(sums.crashes > seeds / 2 && sums.stops > sums.soft_stops);
        assert!(sums.soft_stops > 0);
        assert!(sums.unknown_calls > 0 && sums.taken_over > 0);
    }
}

#[test]
fn seeds_that_found_something_find_nothing_any_more() {
    for (seed, what) in REGRESSIONS {
        let sums = Mutex::new(Sums::default());
        run(&Case::draw(seed), &sums);
        run(&Case::draw_plain(seed), &sums);
        let violations = sums.into_inner().unwrap().violations;
        assert!(violations.is_empty(), "{what}: {violations:#?}");
    }
}
