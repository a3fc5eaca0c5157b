//! Owns the API's way of checking an object against a table of fields, and its words for what is
//! wrong: the first missing or mistyped field in the table's order, then members nobody knows.

use std::fmt::Display;

use super::Verdict;
use crate::http::Problem;
use crate::pick;

/// What a field may hold. Optional fields may be null as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    String,
    Boolean,
    Integer,
    Number,
    Object,
    List,
    /// A string or a list.
    Text,
    /// Checked elsewhere, or not at all.
    Any,
}

impl Kind {
    /// The API's words, unless the value is of this kind.
    pub(super) fn complaint(self, value: &[u8]) -> Option<&'static str> {
        let first = value.first().copied().unwrap_or(b'n');
        let number = first == b'-' || first.is_ascii_digit();
        let (fits, words) = match self {
            Self::String => (first == b'"', "Input should be a valid string"),
            Self::Boolean => (
                matches!(first, b't' | b'f'),
                "Input should be a valid boolean",
            ),
            Self::Integer => {
                let whole = number && !value.iter().any(|b| b".eE".contains(b));
                (whole, "Input should be a valid integer")
            }
            Self::Number => (number, "Input should be a valid number"),
            Self::Object => (first == b'{', "Input should be a valid dictionary"),
            Self::List => (first == b'[', "Input should be a valid list"),
            Self::Text => (
                matches!(first, b'"' | b'['),
                "Input should be a valid string",
            ),
            Self::Any => (true, ""),
        };
        (!fits).then_some(words)
    }
}

/// One field: its name, what it holds, and whether it must be there.
pub(super) type Field = (&'static str, Kind, bool);

pub(super) const fn must(name: &'static str, kind: Kind) -> Field {
    (name, kind, true)
}

pub(super) const fn may(name: &'static str, kind: Kind) -> Field {
    (name, kind, false)
}

/// The most fields a table has.
const MOST: usize = 12;

/// The values of an object's fields, in the table's order; null counts as absent.
pub(super) type Values<'a> = [Option<&'a [u8]>; MOST];

/// Checks an object. `type` is known everywhere.
pub(super) fn object<'a>(
    raw: &'a [u8],
    path: &dyn Display,
    fields: &[Field],
) -> Verdict<Values<'a>> {
    let mut values: Values<'a> = [None; MOST];
    let mut extra = None;
    if raw.first() != Some(&b'{') {
        return Err(invalid(path, "Input should be a valid dictionary"));
    }
    for (key, value) in pick::members(raw) {
        match fields.iter().position(|(name, ..)| name.as_bytes() == key) {
            Some(index) => values[index] = Some(value),
            None if key == b"type" => {}
            None => extra = extra.or(Some(key)),
        }
    }
    for (index, &(name, kind, required)) in fields.iter().enumerate() {
        match values[index] {
            None if required => return Err(invalid(&At(path, name), "Field required")),
            None => {}
            Some(b"null") if !required => values[index] = None,
            Some(value) => {
                if let Some(words) = kind.complaint(value) {
                    return Err(invalid(&At(path, name), words));
                }
            }
        }
    }
    match extra {
        None => Ok(values),
        Some(key) => {
            let key = String::from_utf8_lossy(key);
            Err(invalid(&At(path, &key), "Extra inputs are not permitted"))
        }
    }
}

/// The `type` of an object, which says by which table it is read.
pub(super) fn tag<'a>(raw: &'a [u8], path: &dyn Display) -> Verdict<&'a str> {
    if raw.first() != Some(&b'{') {
        return Err(invalid(path, "Input should be a valid dictionary"));
    }
    let value =
        pick::member(raw, "type").ok_or_else(|| invalid(&At(path, "type"), "Field required"))?;
    let text = value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""));
    text.and_then(|text| std::str::from_utf8(text).ok())
        .ok_or_else(|| invalid(&At(path, "type"), "Input should be a valid string"))
}

/// The words for a `type` that is none of the expected ones.
pub(super) fn unknown_tag(path: &dyn Display, found: &str, known: &[&str]) -> Problem {
    let known: Vec<String> = known.iter().map(|tag| format!("'{tag}'")).collect();
    invalid(
        path,
        &format!(
            "Input tag '{found}' found using 'type' does not match any of the expected tags: {}",
            known.join(", ")
        ),
    )
}

/// The words for a value outside of a list, e.g. `'a', 'b' or 'c'`.
pub(super) fn one_of(values: &[&str]) -> String {
    let quoted: Vec<String> = values.iter().map(|value| format!("'{value}'")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => {
            format!("Input should be {} or {last}", rest.join(", "))
        }
        _ => format!("Input should be {}", quoted.join("")),
    }
}

/// Whether a raw JSON string is one of these.
pub(super) fn is_one_of(value: &[u8], values: &[&str]) -> bool {
    let text = value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""));
    text.is_some_and(|text| values.iter().any(|value| value.as_bytes() == text))
}

pub(super) fn invalid(path: &dyn Display, words: &str) -> Problem {
    Problem::invalid(format!("{path}: {words}"))
}

/// A path and a step from there. Written out only when something is wrong.
pub(super) struct At<'p, S: Display>(pub(super) &'p dyn Display, pub(super) S);

impl<S: Display> Display for At<'_, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}
