//! Under limits, an outage or a budget: what the gates of W10 and W12 ask for.

use offpeak_core::units::{Span, Timestamp, Usd};
use offpeak_replay::{Block, Call, Options, PolicyName, Pressure, Role, Score, Trace, Workload};
use offpeak_sim::{Limits, Outage};
use proptest::prelude::*;

use crate::played::{quiet, under};

const SECOND: i64 = 1_000_000;

/// The lowest tier, and two minutes of an outage that begins a minute after the storm.
fn storm(seed: u64, outage: bool) -> Options {
    let outage = outage.then_some(Outage {
        from: 60 * SECOND,
        to: 180 * SECOND,
    });
    let pressure = Pressure {
        limits: Some(Limits::start()),
        outage,
        budget: None,
    };
    Options {
        seed,
        pressure,
        ..quiet()
    }
}

fn times(score: &Score) -> (f64, f64) {
    #[expect(clippy::cast_precision_loss, reason = "a few thousand calls")]
    let attempts = score.attempts as f64 / 5_000.0;
    (
        attempts,
        score.makespan.as_secs_f64() / score.makespan_bound.as_secs_f64(),
    )
}

#[test]
fn one_door_brings_a_storm_through_limits_and_an_outage() {
    let trace = Workload::W12.generate(0);
    for seed in 0..5 {
        for outage in [false, true] {
            let score = under(&trace, PolicyName::Auto, &storm(seed, outage));
            let (attempts, makespan) = times(&score);
            assert!(
                attempts <= 1.1,
                "seed {seed}, outage {outage}: {attempts} tries a call"
            );
            assert!(
                makespan <= 1.1,
                "seed {seed}, outage {outage}: {makespan} of the least time"
            );
            assert_eq!(score.declined, 0);
        }
    }
    // Clients that know nothing of each other are refused again and again.
    let score = under(&trace, PolicyName::Sync, &storm(0, true));
    assert!(times(&score).0 > 2.0, "{score:?}");
}

#[test]
fn a_budget_is_never_exceeded_and_what_is_left_over_pays_for_no_more_call() {
    for seed in 0..5 {
        let trace = Workload::W10.generate(seed);
        let free = under(&trace, PolicyName::Sync, &quiet());
        let budget = Usd::from_pico(free.realised.pico() * 6 / 10);
        let options = Options {
            pressure: Pressure {
                budget: Some(budget),
                ..Pressure::default()
            },
            ..quiet()
        };
        let score = under(&trace, PolicyName::Auto, &options);
        let left = score.budget_left.expect("there is a budget");
        // 8,000 generated tokens at US$ 15 and 1,000 prompt tokens at US$ 3 a million, written at most.
        let dearest = Usd::from_pico(8_000 * 15_000_000 + 1_000 * 3_750_000);
        assert!(left >= Usd::ZERO && left < dearest, "{left:?}");
        assert!(score.declined > 0 && score.declined < 1_000);
        let unreserved = under(&trace, PolicyName::Sync, &options);
        assert!(unreserved.budget_left < Some(Usd::ZERO), "{unreserved:?}");
    }
}

#[test]
fn without_pressure_nothing_is_refused_and_the_last_answer_is_as_early_as_it_can_be() {
    let trace = Workload::W12.generate(0);
    let score = under(&trace, PolicyName::Auto, &quiet());
    assert_eq!((score.refused, score.declined), (0, 0));
    assert_eq!(score.budget_left, None);
    assert_eq!(score.makespan, score.makespan_bound);
    assert!(score.makespan < Span::from_secs(3));
}

/// The storm, with a preamble that all its calls share.
fn alike() -> Trace {
    let mut trace = Workload::W12.generate(0);
    let preamble = Block {
        id: u64::try_from(trace.blocks.len()).unwrap(),
        tokens: 1_200,
        role: Some(Role::System),
    };
    trace.blocks.push("preamble".to_owned());
    for call in &mut trace.calls {
        call.blocks.insert(0, preamble);
    }
    trace
}

#[test]
fn calls_that_wait_for_limits_find_their_prefix_written() {
    let trace = alike();
    for (seed, from) in [(0, 60), (1, 0), (2, 200)] {
        let mut options = storm(seed, true);
        options.pressure.outage = Some(Outage {
            from: from * SECOND,
            to: (from + 120) * SECOND,
        });
        let score = under(&trace, PolicyName::Auto, &options);
        let (attempts, makespan) = times(&score);
        let paid = score.realised_to_bound;
        assert!(paid <= 1.1, "outage from {from} s: {paid} of the bound");
        assert!(attempts <= 1.1 && makespan <= 1.1, "{attempts}, {makespan}");
    }
}

/// Bursts of calls that share a preamble: few of them or many, short or long, awaited or not.
fn bursts() -> impl Strategy<Value = Trace> {
    let burst = (
        0i64..90_000,
        1usize..100,
        0u32..400,
        1u32..3_000,
        any::<bool>(),
    );
    prop::collection::vec(burst, 1..7).prop_map(|bursts| {
        let mut calls: Vec<Call> = Vec::new();
        let mut at = 0;
        for (gap, size, output, tokens, deferrable) in bursts {
            at += gap;
            for _ in 0..size {
                let block = |id: u64, tokens: u32, role: Role| Block {
                    id,
                    tokens,
                    role: Some(role),
                };
                let own = 10 + u64::try_from(calls.len()).unwrap();
                calls.push(Call {
                    at: Timestamp::EPOCH + Span::from_millis(at),
                    model: "claude-sonnet-4-6".to_owned(),
                    blocks: vec![
                        block(0, 1_200, Role::System),
                        block(own, tokens, Role::Suffix),
                    ],
                    output,
                    max_tokens: 400,
                    deferrable,
                    deadline: None,
                    job: None,
                });
            }
        }
        Trace {
            calls,
            ..Trace::default()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Everybody is answered or given up for want of money, nobody sooner than can be, and `auto` tries
    /// seldom in vain: a tenth, the ten retries that are saved up, and what trickles out once a second.
    #[test]
    fn under_any_pressure_limits_and_budget_hold_and_nobody_is_lost(
        trace in bursts(),
        limit in 30u32..600,
        tokens in 20_000u32..500_000,
        from in 0i64..200,
        length in 1i64..200,
        share in prop::option::of(1i128..100),
        seed: u64,
    ) {
        let naive = under(&trace, PolicyName::Sync, &quiet()).naive;
        let budget = share.map(|percent| Usd::from_pico(naive.pico() * percent / 100));
        let pressure = Pressure {
            limits: Some(Limits {
                messages: limit,
                input_tokens: tokens,
                output_tokens: tokens / 5,
                ..Limits::start()
            }),
            outage: Some(Outage {
                from: from * SECOND,
                to: (from + length) * SECOND,
            }),
            budget,
        };
        let options = Options { seed, pressure, ..quiet() };
        let calls = u64::try_from(trace.calls.len()).unwrap();
        for policy in [PolicyName::Second5m, PolicyName::Batch, PolicyName::Auto] {
            let score = under(&trace, policy, &options);
            if budget.is_none() {
                prop_assert!(score.makespan >= score.makespan_bound, "{score:?}");
                prop_assert_eq!(score.declined, 0);
            }
            if policy == PolicyName::Auto {
                prop_assert!(score.budget_left.is_none_or(|left| left >= Usd::ZERO), "{score:?}");
                let waited = u64::try_from(score.makespan.as_micros() / SECOND).unwrap();
                let most = calls + calls / 10 + 11 + waited;
                prop_assert!(score.attempts <= most, "{score:?}");
            }
        }
    }
}

/// A row that goes ahead of others and isn't paid for must not keep them waiting.
#[test]
fn rows_behind_one_that_the_budget_does_not_pay_for_are_answered_or_given_up() {
    let mut trace = Workload::W1.generate(0);
    trace.calls.truncate(300);
    for call in &mut trace.calls {
        call.deadline = None;
    }
    let naive = under(&trace, PolicyName::Sync, &quiet()).naive;
    for percent in [0, 1, 5, 20, 60] {
        let budget = Usd::from_pico(naive.pico() * percent / 100 + 1_000_000_000);
        let options = Options {
            pressure: Pressure {
                budget: Some(budget),
                ..Pressure::default()
            },
            ..quiet()
        };
        let score = under(&trace, PolicyName::Auto, &options);
        assert!(score.budget_left >= Some(Usd::ZERO), "{score:?}");
        assert!(score.declined + score.attempts >= 300, "{score:?}");
    }
}
