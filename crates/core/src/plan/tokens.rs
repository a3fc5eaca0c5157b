//! Tokens from bytes, before anything was counted or billed: a range, marked as uncalibrated.
//!
//! Leaves out bounds, which must hold whatever the tokenizer does (`price`'s worst case).

use serde::Serialize;

/// How far the estimate may be off, as a share, for prose and JSON in European languages.
pub(crate) const SPREAD: f64 = 0.35;

/// The generation of tokenizer that a model uses. From 4.7 on (and Mythos Preview) the same text
/// makes about 30 % more tokens (Anthropic docs, pricing).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tokenizer {
    /// Models up to 4.6.
    Older,
    /// Models from 4.7 on, and Mythos Preview.
    Newer,
}

impl Tokenizer {
    /// The tokenizer of a model id. An id it cannot read is taken for a new model, which is the
    /// dearer assumption.
    #[must_use]
    pub fn of(model: &str) -> Self {
        let mut parts = model
            .strip_prefix("claude-")
            .unwrap_or(model)
            .split(['-', '.']);
        let first = parts.next().unwrap_or_default();
        if first == "2" || first == "1" || first == "3" || first == "instant" {
            return Self::Older;
        }
        // A long number is a date, not a version.
        let mut version = parts
            .map_while(|part| part.parse::<u32>().ok())
            .filter(|n| *n < 1_000);
        match (version.next(), version.next().unwrap_or(0)) {
            (Some(major), minor) if (major, minor) < (4, 7) => Self::Older,
            _ => Self::Newer,
        }
    }

    /// Mean bytes of a token of prose or JSON.
    #[must_use]
    pub fn bytes_per_token(self) -> f64 {
        match self {
            Self::Older => 4.0,
            Self::Newer => 3.1,
        }
    }

    /// The tokens that so many bytes may be.
    #[must_use]
    pub fn estimate(self, bytes: u64) -> TokenRange {
        // Integers, so that a count compared with a minimum is the count that is shown.
        let (times, per) = match self {
            Self::Older => (10u128, 40),
            Self::Newer => (10, 31),
        };
        let percent = |share: u128| {
            let tokens = u128::from(bytes) * times * share / (per * 100);
            u64::try_from(tokens).unwrap_or(u64::MAX)
        };
        TokenRange {
            low: percent(65),
            mid: percent(100),
            high: percent(135),
        }
    }
}

/// An estimated number of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct TokenRange {
    /// Probably not fewer.
    pub low: u64,
    /// Expected.
    pub mid: u64,
    /// Probably not more.
    pub high: u64,
}

impl TokenRange {
    /// The range with `more` tokens that are known exactly.
    #[must_use]
    pub fn plus(self, more: u64) -> Self {
        let add = |tokens: u64| tokens.saturating_add(more);
        Self {
            low: add(self.low),
            mid: add(self.mid),
            high: add(self.high),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_runs_between_4_6_and_4_7() {
        for model in [
            "claude-3-5-haiku-20241022",
            "claude-sonnet-4-20250514",
            "claude-haiku-4-5-20251001",
            "claude-opus-4-6",
            "claude-instant-1.2",
            "claude-2.1",
        ] {
            assert_eq!(Tokenizer::of(model), Tokenizer::Older, "{model}");
        }
        for model in [
            "claude-opus-4-7",
            "claude-opus-5",
            "claude-haiku-5-5",
            "claude-mythos-preview",
            "claude-fable-5-20270101",
            "something-else",
        ] {
            assert_eq!(Tokenizer::of(model), Tokenizer::Newer, "{model}");
        }
    }

    #[test]
    fn the_range_is_35_percent_either_way() {
        let range = Tokenizer::Older.estimate(4_000);
        assert_eq!(
            range,
            TokenRange {
                low: 650,
                mid: 1_000,
                high: 1_350
            }
        );
        assert_eq!(Tokenizer::Newer.estimate(3_100).mid, 1_000);
        assert!(Tokenizer::Newer.estimate(u64::MAX).high > u64::MAX / 3);
    }
}
