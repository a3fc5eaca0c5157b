//! Owns the token count of a text: a deterministic stand-in for the models' tokenizers, which are
//! not public. About one token per 4.2 bytes of English for models up to 4.6 and 30 % more from
//! 4.7 on (Anthropic docs, pricing). Never more tokens than bytes, which is what makes "UTF-8
//! bytes bound the input" a law a client may rely on. Which bytes are text is `prompt`'s matter.

/// The two tokenizers: the line runs between 4.6 and 4.7 (Anthropic docs, pricing).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokenizer {
    /// Models up to 4.6.
    Older,
    /// Models from 4.7 on, and Mythos Preview: about 30 % more tokens for the same text.
    Newer,
}

impl Tokenizer {
    /// Tokens of `text`; at least 1 unless it is empty, at most its bytes.
    #[must_use]
    pub fn count(self, text: &[u8]) -> u64 {
        let bytes = u64::try_from(text.len()).expect("a length fits u64");
        let base = base_count(text);
        let tokens = match self {
            Self::Older => base,
            Self::Newer => (base * 13).div_ceil(10),
        };
        tokens.max(1).min(bytes)
    }
}

/// A run of one class costs a token per `period` bytes; period 0 costs nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Class {
    Space,
    Letter,
    Digit,
    Foreign,
    Mark,
}

const CLASSES: [Class; 256] = {
    let mut table = [Class::Mark; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "the loop stops at 256")]
        let b = byte as u8;
        table[byte] = match b {
            b' ' => Class::Space,
            b'a'..=b'z' | b'A'..=b'Z' => Class::Letter,
            b'0'..=b'9' => Class::Digit,
            0x80.. => Class::Foreign,
            _ => Class::Mark,
        };
        byte += 1;
    }
    table
};

/// Bytes of one token within a run, by class: five letters, three digits, two bytes of a
/// non-ASCII character; every other character is a token of its own; spaces belong to words.
const PERIODS: [u32; 5] = [0, 5, 3, 2, 1];

fn base_count(text: &[u8]) -> u64 {
    let mut tokens = 0u64;
    let mut class = Class::Space;
    let mut left = 0u32; // bytes of the current token still free
    for &byte in text {
        let next = CLASSES[usize::from(byte)];
        if next != class {
            class = next;
            left = 0;
        }
        if left == 0 {
            let period = PERIODS[class as usize];
            tokens += u64::from(period != 0);
            left = period;
        }
        left = left.saturating_sub(1);
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ENGLISH: &str = "The committee met on Tuesday to review the quarterly figures, and after \
        a long discussion it agreed that the proposal should be sent back to the working group. \
        Nobody objected; the chair thanked everyone for their patience and closed the meeting at 17:45.";

    #[test]
    fn english_is_about_four_bytes_a_token() {
        let bytes = ENGLISH.len() as f64;
        let older = Tokenizer::Older.count(ENGLISH.as_bytes()) as f64;
        let newer = Tokenizer::Newer.count(ENGLISH.as_bytes()) as f64;
        assert!((3.8..4.6).contains(&(bytes / older)), "{}", bytes / older);
        assert!((1.28..1.33).contains(&(newer / older)), "{}", newer / older);
    }

    #[test]
    fn runs_are_counted_by_class() {
        let count = |text: &str| Tokenizer::Older.count(text.as_bytes());
        assert_eq!(count(""), 0);
        assert_eq!(count(" "), 1);
        assert_eq!(count("hello"), 1);
        assert_eq!(count("hello world"), 2);
        assert_eq!(count("tokenizer"), 2);
        assert_eq!(count("1234567"), 3);
        assert_eq!(count("a, b."), 4);
    }

    proptest! {
        #[test]
        fn never_more_tokens_than_bytes(text in any::<String>()) {
            for tokenizer in [Tokenizer::Older, Tokenizer::Newer] {
                let tokens = tokenizer.count(text.as_bytes());
                prop_assert!(tokens <= text.len() as u64);
                prop_assert_eq!(tokens == 0, text.is_empty());
            }
        }
    }
}
