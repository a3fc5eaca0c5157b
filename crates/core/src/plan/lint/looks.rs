//! What a text that changes from row to row looks like.
//!
//! A guess, to help people find where it comes from; nothing is decided by it.

use std::fmt;

use serde::Serialize;

/// A guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Looks {
    /// A date or a time of day.
    Time,
    /// A UUID.
    Uuid,
    /// A number.
    Number,
    /// A long hexadecimal or mixed identifier.
    Id,
    /// Anything else.
    Text,
}

impl fmt::Display for Looks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Time => "what looks like a date or a time",
            Self::Uuid => "what looks like a UUID",
            Self::Number => "a number",
            Self::Id => "what looks like an identifier",
            Self::Text => "some text",
        })
    }
}

impl Looks {
    /// What a word looks like.
    #[must_use]
    pub fn of(word: &str) -> Self {
        let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let shape: String = word
            .chars()
            .map(|c| match c {
                '0'..='9' => '9',
                'a'..='z' | 'A'..='Z' => 'a',
                other => other,
            })
            .collect();
        if is_uuid(word) {
            Self::Uuid
        } else if shape.contains("9999-99-99")
            || shape.contains("99:99")
            || shape.contains("99/99/")
        {
            Self::Time
        } else if !word.is_empty()
            && word
                .chars()
                .all(|c| c.is_ascii_digit() || ".,_".contains(c))
        {
            Self::Number
        } else if word.len() >= 8
            && shape.contains('9')
            && word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
        {
            Self::Id
        } else {
            Self::Text
        }
    }
}

fn is_uuid(word: &str) -> bool {
    let groups: Vec<&str> = word.split('-').collect();
    let hex = |group: &&str| group.chars().all(|c| c.is_ascii_hexdigit());
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) && groups.iter().all(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_guessed() {
        for (word, looks) in [
            ("2026-11-26T08:00:01Z", Looks::Time),
            ("08:15", Looks::Time),
            ("(11/26/2026)", Looks::Time),
            ("6f1e9a64-9d5b-4f7e-8d6c-0123456789ab", Looks::Uuid),
            ("17", Looks::Number),
            ("1,234.5", Looks::Number),
            ("req_8f3a9c21", Looks::Id),
            ("tickets", Looks::Text),
            ("", Looks::Text),
        ] {
            assert_eq!(Looks::of(word), looks, "{word}");
        }
    }
}
