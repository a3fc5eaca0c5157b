//! Owns the answers' prose: plausible English of a wanted token length, from a seed alone. It
//! needs no JSON escaping, so a result line can be written straight into a buffer.

use crate::dice::Sequence;

const OPENERS: &[&str] = &[
    "The", "This", "Each", "Every", "That", "Its", "Their", "One", "Most", "Some",
];
const NOUNS: &[&str] = &[
    "record", "answer", "report", "order", "client", "figure", "price", "region", "product",
    "review", "message", "account", "team", "market", "season", "story", "signal", "method",
    "table", "result", "contract", "question", "detail", "pattern", "source", "change",
];
const VERBS: &[&str] = &[
    "shows",
    "follows",
    "suggests",
    "confirms",
    "covers",
    "explains",
    "changes",
    "supports",
    "includes",
    "describes",
    "matches",
    "keeps",
    "limits",
    "reaches",
    "names",
    "reflects",
];
const QUALITIES: &[&str] = &[
    "clear", "short", "early", "local", "common", "recent", "stable", "large", "careful", "useful",
    "likely", "modest", "direct", "public", "simple", "steady",
];
const LINKS: &[&str] = &[
    "and", "while", "because", "so", "although", "where", "after", "before",
];

/// About `tokens` tokens of text, by itself.
pub(crate) fn prose(seed: u64, tokens: u32) -> String {
    let mut out = Vec::new();
    write(seed, tokens, &mut out);
    String::from_utf8(out).expect("every word above is ASCII")
}

/// A noun, for short strings and keys.
pub(crate) fn noun(sequence: &mut Sequence) -> &'static str {
    NOUNS[sequence.below(NOUNS.len())]
}

/// About `tokens` tokens of text (by the older tokenizer's count), appended to `out`.
pub(crate) fn write(seed: u64, tokens: u32, out: &mut Vec<u8>) {
    let mut sequence = Sequence::new(seed);
    let mut pick = |words: &[&'static str]| words[sequence.below(words.len())];
    let mut left = tokens;
    let mut clause = 0u32;
    let mut first = true;
    while left > 0 {
        let words = if clause == 0 {
            [
                pick(OPENERS),
                pick(QUALITIES),
                pick(NOUNS),
                pick(VERBS),
                "the",
                pick(NOUNS),
            ]
        } else {
            [
                pick(LINKS),
                "the",
                pick(NOUNS),
                pick(VERBS),
                "a",
                pick(QUALITIES),
            ]
        };
        for word in words {
            let cost = u32::try_from(word.len().div_ceil(5)).expect("words are short");
            if left == 0 {
                return;
            }
            left = left.saturating_sub(cost);
            if !first {
                out.push(b' ');
            }
            first = false;
            out.extend_from_slice(word.as_bytes());
        }
        clause = (clause + 1) % 3;
        if left > 0 {
            left -= 1;
            out.push(if clause == 0 { b'.' } else { b',' });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::Tokenizer;

    #[test]
    fn length_follows_the_wish_and_nothing_needs_escaping() {
        for wanted in [0u32, 1, 7, 60, 220, 3_000] {
            let mut out = Vec::new();
            write(u64::from(wanted) + 9, wanted, &mut out);
            let counted = Tokenizer::Older.count(&out);
            assert!(
                counted.abs_diff(u64::from(wanted)) <= 1,
                "{wanted}: {counted}"
            );
            assert!(out.iter().all(|b| b.is_ascii() && !b"\"\\\n".contains(b)));
        }
    }
}
