//! Replays made short.

use offpeak_core::price::Book;
use offpeak_core::units::Usd;
use offpeak_replay::{Options, PolicyName, Score, Trace, Workload, replay};
use offpeak_sim::Profile;

pub(crate) fn quiet() -> Options {
    Options::quiet(Book::embedded())
}

pub(crate) fn under(trace: &Trace, policy: PolicyName, options: &Options) -> Score {
    let scores = replay(trace, &[policy], Book::embedded(), options).unwrap();
    scores.into_iter().next().unwrap()
}

pub(crate) fn auto(workload: Workload) -> Score {
    under(&workload.generate(0), PolicyName::Auto, &quiet())
}

pub(crate) fn usd(text: &str) -> Usd {
    text.parse().unwrap()
}

pub(crate) const PROFILES: [Profile; 5] = [
    Profile::Fast,
    Profile::Normal,
    Profile::SlowTail,
    Profile::Stuck,
    Profile::Dead,
];
