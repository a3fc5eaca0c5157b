//! Traffic as public traces of chat services have it: many conversations of few turns, prompts from
//! hundreds of tokens to a hundred thousand, and the longer the prompt, the more rarely it comes back.

use offpeak_core::gate::Role;

use super::{AWAITED, Dice, Draft, MINUTE, Shape};

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
pub(super) fn conversations(draft: &mut Draft, dice: &mut Dice) {
    let mut begins = 0;
    let mut blocks = 0u64;
    while begins < 180 * MINUTE {
        begins += dice.geometric(5_000);
        let mut block = |tokens: u32| {
            blocks += 1;
            (format!("turn {blocks}"), tokens)
        };
        // From 400 tokens on, every doubling half as probable, up to 100,000.
        let doublings = dice.draw().trailing_zeros().min(7) + 1;
        let first = 400 + small(dice.below(200 << doublings));
        let mut prompt = vec![block(first)];
        let mut at = begins;
        loop {
            let output = 50 + small(dice.below(600));
            let shape = Shape {
                output,
                max_tokens: Some(1_000),
                ..AWAITED
            };
            let turns: Vec<(&str, u32, Role)> = prompt
                .iter()
                .map(|(name, tokens)| (name.as_str(), *tokens, Role::Turn))
                .collect();
            draft.call(at, shape, &turns);
            let tokens: u32 = prompt.iter().map(|(_, tokens)| tokens).sum();
            let soon = comes_back(tokens);
            at += match dice.below(100) {
                lot if lot < soon => 5_000 + dice.geometric(80_000).min(290_000),
                lot if 2 * lot < 3 * soon => 5 * MINUTE + dice.geometric(20 * MINUTE),
                _ => break,
            };
            let question = 50 + small(dice.below(400));
            prompt.extend([block(output), block(question)]);
        }
    }
}

fn small(number: u64) -> u32 {
    u32::try_from(number).expect("a number of tokens")
}
