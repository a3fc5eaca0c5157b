//! Typed reads from a TOML document that remember where things stand.
//!
//! Owns the refusal of unknown keys and wrong types. It knows nothing about prices.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::units::{Timestamp, scaled};

use super::book_error::{BookError, BookErrorKind};

/// The text a price book is read from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    pub(super) origin: &'a str,
}

impl Source<'_> {
    /// An error about `key`, found at a byte offset of the text.
    pub(super) fn error(&self, offset: usize, key: &str, kind: BookErrorKind) -> BookError {
        let before = self.text.as_bytes().get(..offset).unwrap_or_default();
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        BookError {
            origin: self.origin.to_owned(),
            line: Some(line),
            key: key.to_owned(),
            kind: Box::new(kind),
        }
    }
}

/// One table of the document.
#[derive(Debug)]
pub(super) struct Section<'a> {
    source: Source<'a>,
    table: &'a DeTable<'a>,
    start: usize,
    path: String,
}

/// A day as it is written and its first moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Day {
    pub(super) text: String,
    pub(super) start: Timestamp,
}

impl<'a> Section<'a> {
    /// The whole document.
    pub(super) fn root(source: Source<'a>, table: &'a DeTable<'a>) -> Self {
        Self {
            source,
            table,
            start: 0,
            path: String::new(),
        }
    }

    /// Refuses every key that is not in `known`.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), BookError> {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                let kind = BookErrorKind::UnknownKey {
                    suggestion: nearest(name, known.iter().copied()),
                    known: quoted(known),
                };
                return Err(self
                    .source
                    .error(key.span().start, &self.path_of(name), kind));
            }
        }
        Ok(())
    }

    /// An error about a key of this table: at the key if it is there, else at the table.
    pub(super) fn error(&self, key: &str, kind: BookErrorKind) -> BookError {
        let offset = self
            .table
            .get_key_value(key)
            .map_or(self.start, |(key, _)| key.span().start);
        self.source.error(offset, &self.path_of(key), kind)
    }

    /// The value, or an error that `key` is missing.
    pub(super) fn need<T>(&self, key: &str, value: Option<T>) -> Result<T, BookError> {
        value.ok_or_else(|| self.error(key, BookErrorKind::Missing))
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, BookError> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        match value.get_ref() {
            DeValue::String(text) => Ok(Some(text)),
            other => Err(self.wrong_type(key, "a string in quotes", other)),
        }
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, BookError> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        match value.get_ref() {
            DeValue::Boolean(flag) => Ok(Some(*flag)),
            other => Err(self.wrong_type(key, "true or false", other)),
        }
    }

    /// A number of tokens.
    pub(super) fn count(&self, key: &str) -> Result<Option<u32>, BookError> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        match value.get_ref() {
            DeValue::Integer(number) => {
                match u32::from_str_radix(number.as_str(), number.radix()) {
                    Ok(count) => Ok(Some(count)),
                    Err(_) => {
                        let wanted = "a number of tokens from 0 to 4,294,967,295";
                        Err(self.error(key, BookErrorKind::OutOfRange { wanted }))
                    }
                }
            }
            other => Err(self.wrong_type(key, "a whole number without quotes", other)),
        }
    }

    pub(super) fn texts(&self, key: &str) -> Result<Option<Vec<String>>, BookError> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        let wanted = "a list of strings";
        let DeValue::Array(values) = value.get_ref() else {
            return Err(self.wrong_type(key, wanted, value.get_ref()));
        };
        let text = |value: &Spanned<DeValue<'_>>| match value.get_ref() {
            DeValue::String(text) => Ok(text.clone().into_owned()),
            other => Err(self.wrong_type(key, wanted, other)),
        };
        values.iter().map(text).collect::<Result<_, _>>().map(Some)
    }

    /// A decimal string times 10^`places`. Numbers without quotes are refused: TOML reads them as
    /// binary fractions.
    pub(super) fn decimal(&self, key: &str, places: u32) -> Result<Option<i128>, BookError> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        let DeValue::String(text) = value.get_ref() else {
            return Err(self.wrong_type(key, "a decimal in quotes", value.get_ref()));
        };
        scaled(text, places)
            .map(Some)
            .map_err(|error| self.error(key, error.into()))
    }

    pub(super) fn day(&self, key: &str) -> Result<Option<Day>, BookError> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        match Timestamp::of_day(text) {
            Ok(start) => Ok(Some(Day {
                text: text.to_owned(),
                start,
            })),
            Err(_) => Err(self.error(
                key,
                BookErrorKind::NotADay {
                    text: text.to_owned(),
                },
            )),
        }
    }

    pub(super) fn section(&self, key: &str) -> Result<Option<Self>, BookError> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        match value.get_ref() {
            DeValue::Table(table) => Ok(Some(self.below(key, table, value.span().start))),
            other => Err(self.wrong_type(key, "a table", other)),
        }
    }

    /// The tables of `[[key]]`, in the order of the file; none when the key is absent.
    pub(super) fn sections(&self, key: &str) -> Result<Vec<Self>, BookError> {
        let Some(value) = self.table.get(key) else {
            return Ok(Vec::new());
        };
        let wanted = "a list of tables";
        let DeValue::Array(values) = value.get_ref() else {
            return Err(self.wrong_type(key, wanted, value.get_ref()));
        };
        let table = |value: &'a Spanned<DeValue<'a>>| match value.get_ref() {
            DeValue::Table(table) => Ok(self.below(key, table, value.span().start)),
            other => Err(self.wrong_type(key, wanted, other)),
        };
        values.iter().map(table).collect()
    }

    fn below(&self, key: &str, table: &'a DeTable<'a>, start: usize) -> Self {
        Self {
            source: self.source,
            table,
            start,
            path: self.path_of(key),
        }
    }

    fn wrong_type(&self, key: &str, wanted: &'static str, found: &DeValue<'_>) -> BookError {
        self.error(
            key,
            BookErrorKind::WrongType {
                wanted,
                found: type_name(found),
            },
        )
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }
}

/// The candidate that `name` was probably meant to be, if any is near.
pub(super) fn nearest<'n>(name: &str, candidates: impl Iterator<Item = &'n str>) -> Option<String> {
    let limit = name.chars().count() / 3 + 1;
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.to_owned())
}

fn quoted(keys: &[&str]) -> String {
    let quoted: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
    quoted.join(", ")
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date without quotes",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
