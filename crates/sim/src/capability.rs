//! Owns which model takes what, as far as it follows from the generation in its id (Anthropic
//! docs, models and thinking): a `claude-<family>-<major>-<minor>` scheme since the fourth
//! generation. Prices and limits are the price book's.

use crate::tokens::Tokenizer;

/// A model's family and generation, e.g. opus 4.8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation {
    family: Family,
    /// Ten times major plus minor: 48 is 4.8.
    number: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Opus,
    Sonnet,
    Haiku,
    /// Fable and Mythos, which differ by access only.
    Fable,
    Other,
}

/// A form of the `thinking` parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thinking {
    Adaptive,
    Enabled,
    Disabled,
}

impl Generation {
    pub(crate) fn of(id: &str) -> Self {
        let mut parts = id.split('-').skip(1);
        let family = match parts.next() {
            Some("opus") => Family::Opus,
            Some("sonnet") => Family::Sonnet,
            Some("haiku") => Family::Haiku,
            Some("fable" | "mythos") => Family::Fable,
            _ => Family::Other,
        };
        // A third number may be a date: a snapshot of the whole generation.
        let mut digit = || parts.next().filter(|p| p.len() == 1)?.parse::<u16>().ok();
        let number = match (family, digit()) {
            (Family::Other, _) => 0,
            (Family::Fable, None) => 47, // Mythos Preview: the newer tokenizer
            (_, None) => 0,
            (_, Some(major)) => major * 10 + digit().unwrap_or(0),
        };
        Self { family, number }
    }

    pub(crate) fn tokenizer(self) -> Tokenizer {
        if self.number >= 47 {
            Tokenizer::Newer
        } else {
            Tokenizer::Older
        }
    }

    /// An assistant message at the end, to be continued.
    pub(crate) fn takes_prefill(self) -> bool {
        self.number < 46
    }

    /// Sampling parameters other than their defaults.
    pub(crate) fn takes_sampling(self) -> bool {
        self.number < 47
    }

    /// `tool_choice` of type `any` or `tool`.
    pub(crate) fn takes_forced_tools(self) -> bool {
        match self.family {
            Family::Fable => self.number < 51,
            Family::Opus | Family::Sonnet => self.number < 55,
            Family::Haiku | Family::Other => true,
        }
    }

    pub(crate) fn takes(self, thinking: Thinking) -> bool {
        match (thinking, self.family) {
            (Thinking::Adaptive, _) => self.number >= 46,
            (Thinking::Enabled, Family::Fable) => self.number == 47,
            (Thinking::Enabled, _) => self.number < 47,
            (Thinking::Disabled, Family::Fable) => false,
            (Thinking::Disabled, Family::Opus) => self.number < 55,
            (Thinking::Disabled, _) => true,
        }
    }

    /// The types that `thinking` may have, whether or not this model takes them. Sonnet 5.5 can be
    /// told to think between calls of tools only.
    pub(crate) fn thinking_forms(self) -> &'static [&'static str] {
        match (self.family, self.number) {
            (Family::Sonnet, 55) => &["adaptive", "between_tools", "disabled", "enabled"],
            _ => &["adaptive", "disabled", "enabled"],
        }
    }

    /// Thinks unless told otherwise.
    pub(crate) fn thinks_by_default(self) -> bool {
        self.family == Family::Fable || self.number >= 50
    }

    /// `display` is `summarized` unless told otherwise.
    pub(crate) fn shows_thinking(self) -> bool {
        self.number < 47
    }

    /// The effort levels it takes, in the API's order; none: the parameter is refused.
    pub(crate) fn efforts(self) -> &'static [&'static str] {
        match (self.family, self.number) {
            (Family::Opus, 45) => &["high", "low", "medium"],
            (Family::Opus | Family::Sonnet, 46) => &["high", "low", "max", "medium"],
            (Family::Other, _) | (_, ..47) => &[],
            _ => &["high", "low", "max", "medium", "xhigh"],
        }
    }

    /// A message with the role `system` (assumed of what came after the documented list).
    pub(crate) fn takes_system_messages(self) -> bool {
        match self.family {
            Family::Opus => self.number >= 48,
            Family::Fable => self.number >= 50,
            Family::Sonnet | Family::Haiku => self.number >= 55,
            Family::Other => false,
        }
    }

    /// A `max_tokens` that reaches beyond the context window.
    pub(crate) fn takes_overlong(self) -> bool {
        self.number >= 45
    }

    /// Opus 5 cannot turn thinking off at the two highest efforts.
    pub(crate) fn ties_thinking_to_effort(self) -> bool {
        self.family == Family::Opus && self.number == 50
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_and_tokenizers() {
        let newer = |id| Generation::of(id).tokenizer() == Tokenizer::Newer;
        for id in [
            "claude-opus-4-7",
            "claude-haiku-5-5",
            "claude-opus-5",
            "claude-mythos-preview",
        ] {
            assert!(newer(id), "{id}");
        }
        for id in [
            "claude-sonnet-4-6",
            "claude-opus-4-5-20251101",
            "claude-sonnet-4-20250514",
            "claude-3-5-haiku-20241022",
        ] {
            assert!(!newer(id), "{id}");
        }
    }

    #[test]
    fn what_is_taken() {
        let of = Generation::of;
        assert!(of("claude-opus-4-5-20251101").takes_prefill());
        assert!(!of("claude-sonnet-4-6").takes_prefill());
        assert!(of("claude-opus-5").takes_forced_tools());
        assert!(!of("claude-opus-5-5").takes_forced_tools());
        assert!(!of("claude-haiku-4-5-20251001").takes(Thinking::Adaptive));
        assert!(of("claude-sonnet-4-6").takes(Thinking::Enabled));
        assert!(!of("claude-sonnet-5").takes(Thinking::Enabled));
        assert!(!of("claude-haiku-5-5").takes(Thinking::Enabled));
        assert!(of("claude-haiku-4-5-20251001").takes(Thinking::Enabled));
        assert!(of("claude-haiku-4-5-20251001").efforts().is_empty());
        assert!(!of("claude-opus-4-6").efforts().contains(&"xhigh"));
        assert!(of("claude-mythos-preview").thinks_by_default());
        assert!(!of("claude-opus-4-8").thinks_by_default());
        assert!(!of("claude-sonnet-5").takes_system_messages());
        assert!(!of("claude-fable-5").takes(Thinking::Disabled));
        assert!(of("claude-mythos-preview").takes(Thinking::Enabled));
    }
}
