//! Traffic as public traces of chat services have it: many conversations of few turns, prompts from
//! hundreds of tokens to a hundred thousand, and the longer the prompt, the more rarely it comes back.
//! No fixed way of marking may be cheaper than offpeak's own decision, which knows none of this.

use offpeak_core::units::{Span, Timestamp};
use offpeak_replay::{Block, Call, Dice, PolicyName, Role, Trace};

use crate::played::{quiet, under};

const MINUTE: i64 = 60_000;

/// Shares, in per cent, of prompts that come back within five minutes: 35 of those below 2,000 tokens, 14
/// of those above 32,000, as in Mooncake's conversation trace (FAST '25); half as many later.
fn comes_back(tokens: u32) -> u64 {
    match tokens {
        ..2_000 => 35,
        2_000..8_000 => 28,
        8_000..32_000 => 20,
        _ => 14,
    }
}

/// Three hours of conversations, one beginning every five seconds.
fn conversations(seed: u64, named: bool) -> Trace {
    let mut dice = Dice::new(seed);
    let (mut calls, mut blocks) = (Vec::new(), 0);
    let mut begins = 0;
    while begins < 180 * MINUTE {
        begins += dice.geometric(5_000);
        let mut block = |tokens: u32, role: Role| {
            blocks += 1;
            Block {
                id: blocks,
                tokens,
                role: named.then_some(role),
            }
        };
        // From 400 tokens on, every doubling half as probable, up to 100,000.
        let doublings = dice.draw().trailing_zeros().min(7) + 1;
        let first = 400 + u32::try_from(dice.below(200 << doublings)).unwrap();
        let mut prompt = vec![block(first, Role::Turn)];
        let mut at = begins;
        loop {
            let output = 50 + u32::try_from(dice.below(600)).unwrap();
            calls.push(Call {
                at: Timestamp::EPOCH + Span::from_millis(at),
                model: "claude-sonnet-4-6".to_owned(),
                blocks: prompt.clone(),
                output,
                max_tokens: 1_000,
                deferrable: false,
                deadline: None,
                job: None,
            });
            let tokens: u32 = prompt.iter().map(|block| block.tokens).sum();
            let soon = comes_back(tokens);
            at += match dice.below(100) {
                lot if lot < soon => 5_000 + dice.geometric(80_000).min(290_000),
                lot if 2 * lot < 3 * soon => 5 * MINUTE + dice.geometric(20 * MINUTE),
                _ => break,
            };
            let question = 50 + u32::try_from(dice.below(400)).unwrap();
            prompt.extend([block(output, Role::Turn), block(question, Role::Turn)]);
        }
    }
    calls.sort_by_key(|call| call.at);
    Trace {
        calls,
        jobs: Vec::new(),
        blocks: Vec::new(),
    }
}

const FIXED: [PolicyName; 4] = [
    PolicyName::Sync,
    PolicyName::LastBlock5m,
    PolicyName::LastBlock1h,
    PolicyName::Second5m,
];

#[test]
fn no_fixed_way_of_marking_is_cheaper() {
    for seed in 0..3 {
        for named in [true, false] {
            let trace = conversations(seed, named);
            let auto = under(&trace, PolicyName::Auto, &quiet());
            for policy in FIXED {
                let fixed = under(&trace, policy, &quiet());
                assert!(
                    auto.realised < fixed.realised,
                    "seed {seed}, named {named}: {} of naive, {policy} {}",
                    auto.realised_to_naive,
                    fixed.realised_to_naive
                );
            }
        }
    }
}
