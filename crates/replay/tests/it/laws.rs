//! What holds for every replay: nobody goes below the bound, the parts of the regret add up, and the
//! same seed gives the same score.

use offpeak_core::price::{Book, Lane, Mode};
use offpeak_core::units::{Span, Timestamp, Usd};
use offpeak_replay::{Block, Call, Options, PolicyName, Role, Trace, Workload, replay};
use proptest::prelude::*;

use crate::played::{PROFILES, quiet};

/// Calls on a small tree of prompts, at any times, some of which can wait.
fn traces() -> impl Strategy<Value = Trace> {
    let gap = prop_oneof![0i64..2_000, 0i64..400_000, 0i64..5_000_000];
    let call = (
        gap,
        0u64..3,
        0u64..3,
        prop::option::of(7_200_000i64..90_000_000),
        any::<bool>(),
        any::<bool>(),
    );
    prop::collection::vec(call, 1..25).prop_map(|calls| {
        let mut at = 0;
        let calls = calls.into_iter().enumerate().map(|(number, drawn)| {
            let (gap, system, context, due, named, job) = drawn;
            at += gap;
            let block = |id: u64, tokens: u32, role: Role| Block {
                id,
                tokens,
                role: named.then_some(role),
            };
            let moment = |millis: i64| Timestamp::EPOCH + Span::from_millis(millis);
            Call {
                at: moment(at),
                model: "claude-sonnet-4-6".to_owned(),
                blocks: vec![
                    block(system, 900, Role::System),
                    block(10 + context, 2_000, Role::Context),
                    block(100 + u64::try_from(number).unwrap(), 50, Role::Suffix),
                ],
                output: 20,
                max_tokens: 40,
                deferrable: due.is_some(),
                deadline: due.filter(|due| due % 2 == 0).map(|due| moment(at + due)),
                job: job.then_some(0),
            }
        });
        Trace {
            calls: calls.collect(),
            jobs: vec!["job".to_owned()],
            blocks: Vec::new(),
            lines: Vec::new(),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn nobody_goes_below_the_bound_and_nothing_is_lost(
        trace in traces(), profile in 0usize..5, domains in 1u32..5, seed: u64,
    ) {
        let options = Options { profile: PROFILES[profile], domains, seed, ..quiet() };
        let scores = replay(&trace, &PolicyName::ALL, Book::embedded(), &options).unwrap();
        for score in scores {
            prop_assert!(score.bound <= score.realised, "{score:?}");
            prop_assert_eq!(score.regret.total(), score.realised - score.bound);
            prop_assert!(score.regret.unavoidable <= Usd::ZERO);
            let regret = score.regret;
            for cause in [regret.hedged, regret.route, regret.pings, regret.cold_writes, regret.unread_writes] {
                prop_assert!(cause >= Usd::ZERO, "{regret:?}");
            }
            let calls = u64::try_from(trace.calls.len()).unwrap();
            prop_assert!(score.attempts >= calls);
            if score.policy == PolicyName::Auto {
                prop_assert_eq!(score.deadline_misses, 0);
            }
        }
    }
}

/// Awaited calls on a small tree of prompts, one after the other's answer.
fn awaited() -> impl Strategy<Value = Trace> {
    let gap = prop_oneof![900i64..4_000, 900i64..400_000, 900i64..5_000_000];
    let gaps = prop::collection::vec((gap, 0u64..3, 0u64..3), 1..150);
    let model = prop::sample::select(vec![
        "claude-sonnet-4-6",
        "claude-opus-5-5",
        "claude-fable-5-2",
    ]);
    (gaps, model, any::<bool>()).prop_map(|(calls, model, named)| {
        let mut at = 0;
        let calls = calls
            .into_iter()
            .enumerate()
            .map(|(number, (gap, system, context))| {
                at += gap;
                let block = |id: u64, tokens: u32, role: Role| Block {
                    id,
                    tokens,
                    role: named.then_some(role),
                };
                Call {
                    at: Timestamp::EPOCH + Span::from_millis(at),
                    model: model.to_owned(),
                    blocks: vec![
                        block(system, 1_200, Role::System),
                        block(10 + context, 2_000, Role::Context),
                        block(100 + u64::try_from(number).unwrap(), 50, Role::Suffix),
                    ],
                    output: 0,
                    max_tokens: 40,
                    deferrable: false,
                    deadline: None,
                    job: None,
                }
            });
        Trace {
            calls: calls.collect(),
            jobs: Vec::new(),
            blocks: Vec::new(),
            lines: Vec::new(),
        }
    })
}

/// Tokens of all different beginnings, each block counted once for each way to it.
fn prefix_tokens(trace: &Trace) -> u64 {
    let mut seen = std::collections::BTreeSet::new();
    let mut tokens = 0;
    for call in &trace.calls {
        let mut path = Vec::new();
        for block in &call.blocks {
            path.push(block.id);
            if seen.insert(path.clone()) {
                tokens += u64::from(block.tokens);
            }
        }
    }
    tokens
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    /// The price of learning, whatever the cache does: twice each prefix, and a few tokens of each ping.
    #[test]
    fn what_is_awaited_never_loses_more_than_twice_each_prefix(
        trace in awaited(), domains in 1u32..=16, seed: u64,
    ) {
        let options = Options { domains, seed, ..quiet() };
        let scores = replay(&trace, &[PolicyName::Auto], Book::embedded(), &options).unwrap();
        let model = Book::embedded().model(&trace.calls[0].model).unwrap();
        let rates = model.rates(options.prices_at, Mode::plain(Lane::Sync)).unwrap();
        let calls = u64::try_from(trace.calls.len()).unwrap();
        let learning = 2 * prefix_tokens(&trace) + 200 * calls;
        let learning = Usd::from_pico(rates.input.into()).times(learning);
        let score = &scores[0];
        prop_assert!(
            score.realised <= score.naive + learning,
            "{} caches: {:?} against {:?}", domains, score.realised, score.naive
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_score() {
    let trace = Workload::W9.generate(3);
    let options = Options {
        seed: 7,
        domains: 4,
        ..quiet()
    };
    let scores = || replay(&trace, &PolicyName::ALL, Book::embedded(), &options).unwrap();
    assert_eq!(scores(), scores());
}
