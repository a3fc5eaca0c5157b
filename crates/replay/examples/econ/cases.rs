//! What is replayed: workloads, upstreams, price rows and seeds; and the scores, on all cores.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use offpeak_core::price::Book;
use offpeak_core::units::Usd;
use offpeak_replay::{Options, PolicyName, Score, Workload, replay};
use offpeak_sim::{Limits, Outage, Profile};

/// The price rows: what they stand for, and the model that has them.
pub(crate) const ROWS: [(&str, &str); 5] = [
    ("Sonnet class", "claude-sonnet-4-6"),
    ("Opus class", "claude-opus-4-6"),
    ("Haiku class", "claude-haiku-4-5"),
    ("reads at 5 %", "claude-opus-5-5"),
    ("reads at 2.5 %", "claude-fable-5-2"),
];

/// The mean gaps of W7's prefixes, each of which is a case of its own as well.
pub(crate) const GAPS: [&str; 8] = [
    "10 s", "1 min", "5 min", "20 min", "1 h", "4 h", "12 h", "24 h",
];

/// A workload on an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) workload: Workload,
    /// Only one of W7's prefixes.
    pub(crate) gap: Option<usize>,
    pub(crate) profile: Profile,
    pub(crate) domains: u32,
    pub(crate) load: Load,
}

/// What keeps the calls of a case back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// Nothing.
    None,
    /// The limits of the lowest tier.
    Limits,
    /// The same, and an outage from the first to the third minute.
    Outage,
    /// Three fifths of what all calls would cost.
    Budget,
}

/// Cases of a load are told in a table of their own.
pub(crate) fn pressed() -> Vec<Case> {
    let case = |workload, load| Case {
        workload,
        gap: None,
        profile: Profile::Fast,
        domains: 1,
        load,
    };
    vec![
        case(Workload::W12, Load::Limits),
        case(Workload::W12, Load::Outage),
        case(Workload::W10, Load::Budget),
    ]
}

/// The scores of a case at one price row and seed, in the order of the policies.
#[derive(Debug)]
pub(crate) struct Result {
    pub(crate) case: Case,
    pub(crate) row: usize,
    pub(crate) scores: Vec<Score>,
}

/// Every workload on a quiet day, and what its gate says beyond that.
pub(crate) fn cases() -> Vec<Case> {
    let quiet = |workload| Case {
        workload,
        gap: None,
        profile: Profile::Fast,
        domains: 1,
        load: Load::None,
    };
    // These two are about what keeps calls back.
    let free = |workload: &Workload| !matches!(workload, Workload::W10 | Workload::W12);
    let workloads: Vec<Workload> = Workload::ALL.into_iter().filter(free).collect();
    let mut cases: Vec<Case> = workloads.iter().copied().map(quiet).collect();
    cases.extend((0..GAPS.len()).map(|gap| Case {
        gap: Some(gap),
        ..quiet(Workload::W7)
    }));
    for workload in [Workload::W1, Workload::W6, Workload::W8, Workload::W9] {
        cases.push(Case {
            profile: Profile::Normal,
            ..quiet(workload)
        });
    }
    for workload in workloads {
        for domains in [4, 16] {
            cases.push(Case {
                domains,
                ..quiet(workload)
            });
        }
    }
    cases
}

/// Replays everything.
pub(crate) fn run(quick: bool) -> Vec<Result> {
    let (rows, seeds) = if quick { (1, 2) } else { (ROWS.len(), 20) };
    let mut todo = Vec::new();
    for case in cases() {
        for row in 0..rows {
            todo.extend((0..seeds).map(|seed| (case, row, seed)));
        }
    }
    for case in pressed() {
        todo.extend((0..seeds).map(|seed| (case, 0, seed)));
    }
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(&(case, row, seed)) = todo.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let scores = scores(case, row, seed);
                    let result = Result { case, row, scores };
                    let mut done = done.lock().expect("nobody panics");
                    done.push(result);
                    eprint!("\r{} of {} ", done.len(), todo.len());
                }
            });
        }
    });
    eprintln!();
    done.into_inner().expect("nobody panics")
}

fn scores(case: Case, row: usize, seed: u64) -> Vec<Score> {
    let mut trace = case.workload.generate(seed);
    if let Some(gap) = case.gap {
        // The prefixes come in the order of their gaps.
        let mut prefixes: Vec<u64> = trace.calls.iter().map(|call| call.blocks[0].id).collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        trace
            .calls
            .retain(|call| call.blocks[0].id == prefixes[gap]);
    }
    for call in &mut trace.calls {
        ROWS[row].1.clone_into(&mut call.model);
    }
    let book = Book::embedded();
    let mut options = Options {
        seed,
        profile: case.profile,
        domains: case.domains,
        ..Options::quiet(book)
    };
    let play = |policies: &[PolicyName], options: &Options| {
        replay(&trace, policies, book, options).expect("policies do what the API allows")
    };
    let pressure = &mut options.pressure;
    match case.load {
        Load::None => return play(&PolicyName::ALL, &options),
        Load::Limits => pressure.limits = Some(Limits::start()),
        Load::Outage => {
            pressure.limits = Some(Limits::start());
            pressure.outage = Some(Outage {
                from: 60_000_000,
                to: 180_000_000,
            });
        }
        Load::Budget => {
            let all = play(&[PolicyName::Sync], &options)[0].realised.pico();
            options.pressure.budget = Some(Usd::from_pico(all * 3 / 5));
        }
    }
    play(&[PolicyName::Sync, PolicyName::Auto], &options)
}
