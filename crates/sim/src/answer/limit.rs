//! Owns cutting an answer short: at its token limit, and at the first stop sequence.

use super::{Block, Plan, Stop};
use crate::tokens::Tokenizer;

/// One block to be, and what it costs.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) block: Block,
    pub(super) tokens: u32,
}

/// The room an answer has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room<'a> {
    pub(super) tokens: u32,
    /// Why it ends if the room is not enough.
    pub(super) over: &'a Stop,
    pub(super) sequences: &'a [String],
    pub(super) tokenizer: Tokenizer,
}

/// What of the parts fits.
pub(super) fn fit(parts: Vec<Part>, stop: Stop, room: Room<'_>) -> Plan {
    let mut plan = Plan {
        content: Box::default(),
        stop,
        tokens: 0,
        thinking: 0,
    };
    let mut content = Vec::with_capacity(parts.len());
    for mut part in parts {
        let left = room.tokens - plan.tokens;
        let whole = part.tokens <= left;
        if !whole {
            part = cut(part, left, room.tokenizer);
            plan.stop = room.over.clone();
        }
        let met = stop_at_sequence(&mut part, room);
        plan.tokens += part.tokens;
        if matches!(part.block, Block::Thinking(_)) {
            plan.thinking += part.tokens;
        }
        if !is_empty(&part.block) {
            content.push(part.block);
        }
        if let Some(sequence) = met {
            plan.stop = Stop::Sequence(sequence);
            break;
        }
        if !whole {
            break;
        }
    }
    plan.content = content.into_boxed_slice();
    plan
}

fn is_empty(block: &Block) -> bool {
    match block {
        Block::Prose { tokens, .. } => *tokens == 0,
        Block::Text(text) => text.is_empty(),
        Block::Thinking(thought) => thought.tokens == 0,
        Block::ToolUse(call) => call.id.is_empty(),
    }
}

/// The beginning of a part, `left` tokens of it.
fn cut(part: Part, left: u32, tokenizer: Tokenizer) -> Part {
    let block = match part.block {
        Block::Prose { seed, .. } => Block::Prose { seed, tokens: left },
        Block::Text(text) => {
            let end = if part.tokens == count(&text, tokenizer) {
                prefix(&text, left, tokenizer)
            } else {
                // Its length was given by a rule: the same share of its text.
                let share = text.len() as u128 * u128::from(left) / u128::from(part.tokens);
                boundary(&text, usize::try_from(share).unwrap_or(0))
            };
            Block::Text(text[..end].into())
        }
        Block::Thinking(mut thought) => {
            if let Some(text) = &thought.text {
                let end = prefix(text, left, tokenizer);
                thought.text = Some(text[..end].into());
            }
            thought.tokens = left;
            Block::Thinking(thought)
        }
        Block::ToolUse(mut call) => {
            // An incomplete call is still there (Anthropic docs, handling stop reasons); as its
            // input is no JSON, nothing of that is.
            call.input = "{}".into();
            if left == 0 {
                call.id.clear();
            }
            Block::ToolUse(call)
        }
    };
    Part {
        block,
        tokens: left,
    }
}

/// Ends a text at the first stop sequence in it, and says which one that was.
fn stop_at_sequence(part: &mut Part, room: Room<'_>) -> Option<Box<str>> {
    if room.sequences.is_empty() {
        return None;
    }
    let text = part.block.text()?;
    let found = room.sequences.iter().filter(|s| !s.is_empty());
    let (at, sequence) = found
        .filter_map(|s| text.find(s.as_str()).map(|at| (at, s)))
        .min_by_key(|&(at, _)| at)?;
    // The sequence itself was generated, though it is not handed out.
    let tokens = count(&text[..at + sequence.len()], room.tokenizer);
    let kept = text[..at].into();
    part.tokens = tokens.min(part.tokens).max(1);
    part.block = Block::Text(kept);
    Some(sequence.as_str().into())
}

pub(super) fn count(text: &str, tokenizer: Tokenizer) -> u32 {
    u32::try_from(tokenizer.count(text.as_bytes())).unwrap_or(u32::MAX)
}

/// Where the longest beginning of at most `most` tokens ends.
fn prefix(text: &str, most: u32, tokenizer: Tokenizer) -> usize {
    let fits = |end: usize| tokenizer.count(&text.as_bytes()[..end]) <= u64::from(most);
    let (mut low, mut high) = (0, text.len());
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    boundary(text, low)
}

/// The last character boundary at or before `at`.
pub(super) fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len()))
        .rev()
        .find(|&end| text.is_char_boundary(end))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_cut_text_is_a_beginning_that_fits(text in "\\PC{0,80}", left in 0u32..30) {
            let tokenizer = Tokenizer::Newer;
            let part = Part { tokens: count(&text, tokenizer), block: Block::Text(text.as_str().into()) };
            let whole = part.tokens;
            prop_assume!(left < whole);
            let part = cut(part, left, tokenizer);
            prop_assert_eq!(part.tokens, left);
            let kept = part.block.text().unwrap();
            prop_assert!(text.starts_with(&*kept));
            prop_assert!(count(&kept, tokenizer) <= left);
        }
    }
}
