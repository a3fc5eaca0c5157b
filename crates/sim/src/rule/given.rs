//! Owns the entries of a fault plan's tables as they were written: each with its line, taken out one
//! by one with its type checked, so that what is left over is what nobody knows.

use serde_json::Value;
use toml::de::DeValue;

use crate::stamp;

use super::Mark;

/// Why a fault plan cannot be used: the line, the reason, and a suggestion.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadRules(String);

/// A key, its value, and the line it stands on.
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) value: Value,
    pub(super) line: Option<usize>,
}

impl Entry {
    pub(super) fn new(key: &str, value: Value, line: Option<usize>) -> Self {
        Self {
            key: key.to_owned(),
            value,
            line,
        }
    }

    pub(super) fn text(&self) -> Result<&str, BadRules> {
        let text = format!("`{}` must be a text in quotes", self.key);
        self.value.as_str().ok_or_else(|| wrong(self.line, &text))
    }

    pub(super) fn not_one_of(&self, found: &str, known: &[&str]) -> BadRules {
        let hint = closest(found, known).map_or_else(
            || format!("it can be {}", known.join(", ")),
            |near| format!("did you mean \"{near}\"?"),
        );
        wrong(
            self.line,
            &format!("unknown {} \"{found}\"; {hint}", self.key),
        )
    }
}

/// What one table says, as far as it has not been taken yet.
pub(super) struct Given(pub(super) Vec<Entry>);

impl Given {
    pub(super) fn take(&mut self, key: &str) -> Option<Entry> {
        let at = self.0.iter().position(|entry| entry.key == key)?;
        Some(self.0.swap_remove(at))
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|entry| entry.key == key)
    }

    pub(super) fn source(&self) -> Value {
        let entries = self.0.iter();
        Value::Object(entries.map(|e| (e.key.clone(), e.value.clone())).collect())
    }

    pub(super) fn string(&mut self, key: &str) -> Result<Option<String>, BadRules> {
        let entry = self.take(key);
        entry.map(|e| e.text().map(str::to_owned)).transpose()
    }

    pub(super) fn number(&mut self, key: &str) -> Result<Option<u64>, BadRules> {
        let Some(entry) = self.take(key) else {
            return Ok(None);
        };
        let text = format!("`{key}` must be a whole number");
        let number = entry.value.as_u64();
        number.map(Some).ok_or_else(|| wrong(entry.line, &text))
    }

    /// A whole number of a unit of so many microseconds.
    pub(super) fn micros(&mut self, key: &str, unit: i64) -> Result<Option<i64>, BadRules> {
        let Some(entry) = self.take(key) else {
            return Ok(None);
        };
        let text = format!("`{key}` must be a whole number");
        let micros = entry.value.as_i64().and_then(|n| n.checked_mul(unit));
        micros.map(Some).ok_or_else(|| wrong(entry.line, &text))
    }

    pub(super) fn mark(&mut self, key: &str) -> Result<Option<Mark>, BadRules> {
        let Some(entry) = self.take(key) else {
            return Ok(None);
        };
        let mark = match &entry.value {
            Value::String(text) => stamp::parse(text).map(Mark::At),
            value => value.as_i64().map(Mark::Since),
        };
        let text = format!(
            "`{key}` must be an instant like \"2026-11-22T10:00:00Z\", or seconds since the first \
             request"
        );
        mark.map(Some).ok_or_else(|| wrong(entry.line, &text))
    }
}

pub(super) fn json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(n) => {
            i64::from_str_radix(n.as_str(), n.radix()).map_or(Value::Null, Value::from)
        }
        DeValue::Float(n) => n.as_str().parse::<f64>().map_or(Value::Null, Value::from),
        DeValue::Boolean(yes) => Value::from(*yes),
        DeValue::Datetime(at) => Value::from(at.to_string()),
        DeValue::Array(_) | DeValue::Table(_) => Value::Null,
    }
}

pub(super) fn wrong(line: Option<usize>, text: &str) -> BadRules {
    BadRules(match line {
        Some(line) => format!("line {line}: {text}"),
        None => text.to_owned(),
    })
}

pub(super) fn unknown(line: Option<usize>, key: &str, known: &[&str]) -> BadRules {
    let hint = closest(key, known).map_or_else(
        || format!("known here are {}", known.join(", ")),
        |near| format!("did you mean `{near}`?"),
    );
    wrong(line, &format!("unknown key `{key}`; {hint}"))
}

/// The known word that was probably meant.
pub(crate) fn closest<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    let scored = known
        .iter()
        .map(|word| (strsim::jaro_winkler(found, word), *word));
    let near = scored.filter(|(score, _)| *score > 0.8);
    near.max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}
