//! Each workload of the benchmark against figures worked out by hand for US$ 3 and 15 per million
//! tokens, and how close to them offpeak's own decision comes.

use offpeak_core::price::Book;
use offpeak_core::units::Usd;
use offpeak_replay::{Options, PolicyName, Trace, Workload, replay};
use offpeak_sim::{Line, Profile};

use crate::played::{PROFILES, auto, quiet, under, usd};

fn bound_and_naive(workload: Workload) -> (Usd, Usd) {
    let score = under(&workload.generate(0), PolicyName::Sync, &quiet());
    assert_eq!(score.realised, score.naive);
    (score.bound, score.naive)
}

#[test]
fn bounds_and_naive_costs_by_hand() {
    // Half of 4,500 (1.25 + 0.1 × 4,999) + 5,000 × (1,500 + 2,000) tokens of input.
    assert_eq!(
        bound_and_naive(Workload::W1),
        (usd("29.6327625"), usd("120"))
    );
    // 20,000 (1.25 + 19.9) + 200 × 1,300.
    assert_eq!(bound_and_naive(Workload::W2), (usd("2.049"), usd("12.78")));
    // One write, one ping in the first gap that renews for an hour, 239 reads, 240 × 700. Writing for
    // an hour at once, 30,000 × 25.9 + 168,000, is US$ 2.835.
    assert_eq!(
        bound_and_naive(Workload::W3),
        (usd("2.7765"), usd("22.104"))
    );
    // 5,200 × 3.15 + 600 × 40.6 + 40,000.
    assert_eq!(
        bound_and_naive(Workload::W4),
        (usd("0.24222"), usd("0.774"))
    );
    // 3,000 × 4.75 + 7,500 × 2.35 + 72,000 × 1.55 + 5,400.
    assert_eq!(
        bound_and_naive(Workload::W5),
        (usd("0.446625"), usd("1.4742"))
    );
    assert_eq!(
        bound_and_naive(Workload::W5b),
        (usd("0.71235"), usd("2.6208"))
    );
    // Nothing is shared: half of the naive cost.
    assert_eq!(bound_and_naive(Workload::W6), (usd("1.5"), usd("3")));
}

#[test]
fn the_bounds_of_seeded_workloads_follow_their_counts() {
    let trace = Workload::W8.generate(0);
    let waiting = trace.calls.iter().filter(|call| call.deferrable).count();
    let (patient, awaited) = (waiting as i128, (trace.calls.len() - waiting) as i128);
    // Each lane writes 6,000 tokens once; 500 + 5 × 250 are everybody's own.
    let rate = 3_000_000_i128;
    let lane = |calls: i128| 6_000 * (125 + 10 * (calls - 1)) * rate / 100 + calls * 1_750 * rate;
    let expected = lane(awaited) + lane(patient) / 2;
    let score = under(&trace, PolicyName::Sync, &quiet());
    assert_eq!(score.bound.pico(), expected);

    // Rows of the same entity share 1,060 tokens; rows of different ones nothing long enough.
    let trace = Workload::W9.generate(0);
    let mut entities: Vec<u64> = trace.calls.iter().map(|call| call.blocks[1].id).collect();
    entities.sort_unstable();
    let shared: i128 = entities
        .chunk_by(|a, b| a == b)
        .map(|rows| rows.len() as i128)
        .map(|rows| 1_060 * (100 * rows).min(125 + 10 * (rows - 1)) * rate / 200)
        .sum();
    let own = 2_000 * (200 + 5 * 50) * rate / 2;
    let score = under(&trace, PolicyName::Sync, &quiet());
    assert_eq!(score.bound.pico(), shared + own);
}

#[test]
fn reference_policies_cost_what_arithmetic_says() {
    let cost = |workload: Workload, policy| under(&workload.generate(0), policy, &quiet()).realised;
    assert_eq!(cost(Workload::W1, PolicyName::Batch), usd("60"));
    // Dead after five minutes, every six: all writes.
    assert_eq!(cost(Workload::W3, PolicyName::LastBlock5m), usd("27.54"));
    assert_eq!(cost(Workload::W4, PolicyName::LastBlock5m), usd("0.24267"));
    // The question is in the mark: nothing is ever read.
    assert_eq!(cost(Workload::W5, PolicyName::LastBlock5m), usd("1.84275"));
}

fn ratio(trace: &Trace, options: &Options) -> f64 {
    let score = under(trace, PolicyName::Auto, options);
    assert_eq!(score.deadline_misses, 0);
    score.realised_to_bound
}

#[test]
fn auto_on_workloads_with_one_answer() {
    for (workload, gate) in [
        (Workload::W1, 1.01),
        (Workload::W2, 1.005),
        (Workload::W3, 1.005),
        (Workload::W4, 1.005),
        (Workload::W5, 1.005),
        (Workload::W5b, 1.005),
    ] {
        let score = auto(workload);
        assert_eq!(score.deadline_misses, 0, "{workload:?}");
        assert!(score.realised_to_bound <= gate, "{workload:?}: {score:?}");
    }
    let mut online = Workload::W5b.generate(0);
    for call in &mut online.calls {
        call.job = None;
    }
    assert!(ratio(&online, &quiet()) <= 1.12);
}

#[test]
fn a_nightly_job_in_a_normal_night() {
    for seed in 0..3 {
        let options = Options {
            seed,
            profile: Profile::Normal,
            ..quiet()
        };
        let ratio = ratio(&Workload::W1.generate(0), &options);
        assert!(ratio <= 1.01, "seed {seed}: {ratio}");
    }
}

#[test]
fn a_deadline_is_kept_whatever_batches_do() {
    for profile in PROFILES {
        for workload in [Workload::W6, Workload::W1, Workload::W9] {
            let options = Options { profile, ..quiet() };
            let score = under(&workload.generate(0), PolicyName::Auto, &options);
            assert_eq!(score.deadline_misses, 0, "{workload:?} in {profile:?}");
            assert!(score.realised <= score.naive, "{workload:?} in {profile:?}");
        }
    }
}

/// An upstream that is as W6 has it: a row every eight seconds, and 50 synchronous calls a minute.
fn in_line(shuffled: bool, seed: u64) -> Options {
    let line = Line {
        row: 8_000_000,
        shuffled,
    };
    Options {
        line: Some(line),
        sync_per_minute: 50,
        seed,
        ..quiet()
    }
}

/// Nine hundred rows are done in two hours; whoever knows that pays for the other hundred in full.
#[test]
fn the_line_is_ridden_until_the_last_moment() {
    let optimum = usd("3").pico() * 550 / 1_000;
    let trace = Workload::W6.generate(0);
    for seed in 0..10 {
        for (shuffled, gate) in [(false, 104), (true, 115)] {
            let score = under(&trace, PolicyName::Auto, &in_line(shuffled, seed));
            assert_eq!(score.deadline_misses, 0);
            let realised = score.realised.pico();
            assert!(realised >= optimum, "{realised}");
            assert!(
                realised * 100 <= optimum * gate,
                "{shuffled} {seed}: {realised}"
            );
        }
        for profile in PROFILES {
            let options = Options {
                profile,
                line: None,
                ..in_line(false, seed)
            };
            let score = under(&trace, PolicyName::Auto, &options);
            assert_eq!(score.deadline_misses, 0, "{profile:?} {seed}");
        }
    }
}

#[test]
fn poisson_traffic_at_every_rate() {
    // The promise not to lose more than twice a prefix binds at long gaps; an unlucky start must not end
    // in plain calls for good.
    for seed in 0..3 {
        let trace = Workload::W7.generate(seed);
        let mut prefixes: Vec<u64> = trace.calls.iter().map(|call| call.blocks[0].id).collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        for prefix in prefixes {
            let of = trace.calls.iter();
            let of = of.filter(|call| call.blocks[0].id == prefix);
            let alone = Trace {
                calls: of.cloned().collect(),
                ..trace.clone()
            };
            let ratio = ratio(&alone, &quiet());
            assert!(ratio <= 1.30, "seed {seed}, prefix {prefix}: {ratio}");
        }
    }
}

#[test]
fn a_gateways_day() {
    let mut trace = Workload::W8.generate(0);
    trace.calls.truncate(5_000);
    let scores = replay(
        &trace,
        &[PolicyName::Auto, PolicyName::LastBlock5m],
        Book::embedded(),
        &quiet(),
    );
    let scores = scores.unwrap();
    assert_eq!(scores[0].deadline_misses, 0);
    assert!(scores[0].realised_to_bound <= 1.02, "{:?}", scores[0]);
    assert!(scores[0].realised < scores[1].realised);
}

/// A canary warms one cache of several, and the rows behind it meet the others: where they show that,
/// the rest goes without marks.
#[test]
fn small_groups_over_several_caches_cost_no_more_than_a_plain_batch() {
    for (domains, profile) in [
        (4, Profile::Fast),
        (16, Profile::Fast),
        (16, Profile::Normal),
    ] {
        for seed in 0..2 {
            let options = Options {
                domains,
                profile,
                seed,
                ..quiet()
            };
            let trace = Workload::W9.generate(seed);
            let [own, plain] =
                [PolicyName::Auto, PolicyName::Batch].map(|policy| under(&trace, policy, &options));
            assert_eq!(own.deadline_misses, 0);
            let times = own.realised.ratio_to(plain.realised).unwrap();
            assert!(
                times <= 1.02,
                "{domains} caches, {profile:?}, {seed}: {times}"
            );
        }
    }
}
