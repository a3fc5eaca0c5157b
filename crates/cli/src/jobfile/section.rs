//! Typed reads from a TOML document that remember where things stand, so that every refusal names
//! the file, the line and the key.
//!
//! It knows the keys of no table; `jobfile` does.

use std::path::Path;

use offpeak_core::units::{Timestamp, Usd};
use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::ExpectedError;

/// Unknown keys are compared with known ones up to this distance, per three letters.
const DISTANCE: usize = 1;

/// The text that a job is read from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Document<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

impl Document<'_> {
    /// The line of a byte offset, counted from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or_default();
        before.iter().filter(|&&byte| byte == b'\n').count() + 1
    }

    pub(super) fn error(&self, offset: usize, problem: &str) -> ExpectedError {
        let (path, line) = (self.path.display(), self.line(offset));
        ExpectedError::usage(format!("{path}, line {line}: {problem}"))
    }

    /// An error about something that is not there.
    pub(super) fn missing(&self, key: &str) -> ExpectedError {
        ExpectedError::usage(format!("{}: `{key}` is missing", self.path.display()))
    }
}

/// Where a known key belongs: the table's name, empty for the top.
pub(super) type Places = [(&'static str, &'static [&'static str])];

/// One table of the document.
#[derive(Debug)]
pub(super) struct Section<'a> {
    document: Document<'a>,
    table: &'a DeTable<'a>,
    name: &'static str,
}

/// A text and the byte offset where its value begins in the document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) text: &'a str,
    pub(super) offset: usize,
}

/// A text that stands in the job file, or in a file that the job file names.
#[derive(Debug, Clone, Copy)]
pub(super) enum TextOrFile<'a> {
    Here(Text<'a>),
    File(Text<'a>),
}

impl<'a> Section<'a> {
    /// The top of the document.
    pub(super) fn top(document: Document<'a>, table: &'a DeTable<'a>) -> Self {
        Self {
            document,
            table,
            name: "",
        }
    }

    /// Refuses keys that do not belong here.
    pub(super) fn only(&self, places: &Places) -> Result<(), ExpectedError> {
        let here = places.iter().find(|(table, _)| *table == self.name);
        let known = here.map_or(&[][..], |(_, keys)| keys);
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                let error = self.document.error(
                    key.span().start,
                    &format!("unknown key `{}`", self.path_of(name)),
                );
                return Err(error.hint(place_of(name, self.name, known, places)));
            }
        }
        Ok(())
    }

    /// An error about a key, at its line.
    pub(super) fn error(&self, key: &str, problem: &str) -> ExpectedError {
        let offset = self
            .table
            .get_key_value(key)
            .map_or(0, |(key, _)| key.span().start);
        self.document
            .error(offset, &format!("`{}` {problem}", self.path_of(key)))
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A text that is not empty.
    pub(super) fn text(&self, key: &str) -> Result<Option<Text<'a>>, ExpectedError> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        match value.get_ref() {
            DeValue::String(text) if text.trim().is_empty() => Err(self
                .error(key, "is empty")
                .hint(format!("fill `{key}` in, or remove it"))),
            DeValue::String(text) => Ok(Some(Text {
                text,
                offset: value.span().start,
            })),
            other => Err(self.wrong_type(key, "a string in quotes", "\"…\"", other)),
        }
    }

    /// A text, or `{ file = "…" }`.
    pub(super) fn text_or_file(&self, key: &str) -> Result<Option<TextOrFile<'a>>, ExpectedError> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        let wanted = "a string, or { file = \"…\" }";
        match value.get_ref() {
            DeValue::Table(table) => match table.get("file").map(Spanned::get_ref) {
                Some(DeValue::String(path)) if table.len() == 1 => {
                    Ok(Some(TextOrFile::File(Text {
                        text: path,
                        offset: value.span().start,
                    })))
                }
                _ => Err(self
                    .error(key, &format!("must be {wanted}, with nothing else in it"))
                    .hint(format!("write {key} = {{ file = \"prompt.md\" }}"))),
            },
            DeValue::String(_) => Ok(self.text(key)?.map(TextOrFile::Here)),
            other => Err(self.wrong_type(key, wanted, "\"…\"", other)),
        }
    }

    /// A whole number above zero.
    pub(super) fn count(&self, key: &str) -> Result<Option<u32>, ExpectedError> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        let DeValue::Integer(number) = value.get_ref() else {
            return Err(self.wrong_type(
                key,
                "a whole number without quotes",
                "1024",
                value.get_ref(),
            ));
        };
        match u32::from_str_radix(number.as_str(), number.radix()) {
            Ok(count) if count > 0 => Ok(Some(count)),
            _ => Err(self
                .error(key, &format!("must be at least 1, not {number}"))
                .hint(format!(
                    "set it to what the longest answer needs, e.g. `{key} = 1024`"
                ))),
        }
    }

    /// Whether a date or a time stands there, in quotes or not.
    pub(super) fn is_moment(&self, key: &str) -> bool {
        match self.table.get(key).map(Spanned::get_ref) {
            Some(DeValue::Datetime(_)) => true,
            Some(DeValue::String(text)) => {
                Timestamp::of_day(text).is_ok() || text.parse::<Timestamp>().is_ok()
            }
            _ => false,
        }
    }

    /// True or false.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, ExpectedError> {
        match self.table.get(key).map(Spanned::get_ref) {
            None => Ok(None),
            Some(DeValue::Boolean(flag)) => Ok(Some(*flag)),
            Some(other) => Err(self.wrong_type(key, "true or false", "true", other)),
        }
    }

    /// A whole number that may be negative.
    pub(super) fn rank(&self, key: &str) -> Result<Option<i16>, ExpectedError> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        let wanted = "a whole number without quotes";
        let DeValue::Integer(number) = value.get_ref() else {
            return Err(self.wrong_type(key, wanted, "10", value.get_ref()));
        };
        let rank = i16::from_str_radix(number.as_str(), number.radix());
        rank.map(Some).map_err(|_| {
            self.error(key, "must be between -32768 and 32767")
                .hint(format!("set `{key}` to such a number, e.g. {key} = 10"))
        })
    }

    /// An amount of US dollars: a decimal in quotes, or a whole number.
    pub(super) fn usd(&self, key: &str) -> Result<Option<Usd>, ExpectedError> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        let text = match value.get_ref() {
            DeValue::String(text) => text.as_ref(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            // TOML reads it as a binary fraction, which is not the amount that was written.
            other => return Err(self.wrong_type(key, "an amount in quotes", "\"5.00\"", other)),
        };
        match text.parse::<Usd>() {
            Ok(amount) if amount > Usd::ZERO => Ok(Some(amount)),
            Ok(_) => Err(self
                .error(key, "must be more than nothing")
                .hint(format!("raise it, or leave `{key}` out for no limit"))),
            Err(error) => Err(self
                .error(key, &format!("is no amount: {error}"))
                .hint(format!("write {key} = \"5.00\""))),
        }
    }

    /// A list of texts.
    pub(super) fn texts(&self, key: &str) -> Result<Vec<String>, ExpectedError> {
        let Some(value) = self.table.get(key) else {
            return Ok(Vec::new());
        };
        let (wanted, example) = ("a list of strings", "[\"…\"]");
        let DeValue::Array(values) = value.get_ref() else {
            return Err(self.wrong_type(key, wanted, example, value.get_ref()));
        };
        let text = |value: &Spanned<DeValue<'_>>| match value.get_ref() {
            DeValue::String(text) => Ok(text.clone().into_owned()),
            other => Err(self.wrong_type(key, wanted, example, other)),
        };
        values.iter().map(text).collect()
    }

    /// The table `[key]`.
    pub(super) fn section(&self, key: &'static str) -> Result<Option<Self>, ExpectedError> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        match value.get_ref() {
            DeValue::Table(table) => Ok(Some(Self {
                document: self.document,
                table,
                name: key,
            })),
            other => {
                let error = self.error(key, &format!("must be a table, not {}", type_name(other)));
                Err(error.hint(format!(
                    "write [{key}] on a line of its own, and its keys below it"
                )))
            }
        }
    }

    /// Every member as JSON, in the order of the file.
    pub(super) fn json_members(&self) -> Result<Vec<(String, Value)>, ExpectedError> {
        let mut members: Vec<_> = self.table.iter().collect();
        members.sort_by_key(|(key, _)| key.span().start);
        let member = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
            let key: &std::borrow::Cow<'_, str> = key.get_ref();
            json(value.get_ref())
                .map(|value| (key.clone().into_owned(), value))
                .ok_or_else(|| {
                    self.error(key, "cannot be written as JSON")
                        .hint("put dates in quotes; infinities and very large numbers have no JSON")
                })
        };
        members.into_iter().map(member).collect()
    }

    fn wrong_type(
        &self,
        key: &str,
        wanted: &str,
        example: &str,
        found: &DeValue<'_>,
    ) -> ExpectedError {
        self.error(key, &format!("must be {wanted}, not {}", type_name(found)))
            .hint(format!("write {key} = {example}"))
    }

    fn path_of(&self, key: &str) -> String {
        if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        }
    }
}

/// What to do with a key that does not belong where it stands.
fn place_of(name: &str, table: &str, known: &[&str], places: &Places) -> String {
    for (other, keys) in places {
        if *other != table && keys.contains(&name) {
            return if other.is_empty() {
                format!("move `{name}` to the top of the file, above every [table]")
            } else {
                format!("move `{name}` into the table [{other}]")
            };
        }
    }
    if let Some(near) = nearest(name, known.iter().copied()) {
        return format!("did you mean `{near}`?");
    }
    let known: Vec<_> = known.iter().map(|key| format!("`{key}`")).collect();
    let known = known.join(", ");
    if table.is_empty() {
        format!(
            "remove it, or move it into [params] if it belongs to the request; known are {known}"
        )
    } else {
        format!("remove it; known are {known}")
    }
}

/// The candidate that `name` was probably meant to be, if any is near.
pub(crate) fn nearest<'n>(
    name: &str,
    candidates: impl Iterator<Item = &'n str>,
) -> Option<&'n str> {
    let limit = name.chars().count() / 3 + DISTANCE;
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn json(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => {
            Value::from(i64::from_str_radix(number.as_str(), number.radix()).ok()?)
        }
        DeValue::Float(number) => {
            Value::Number(Number::from_f64(number.as_str().parse::<f64>().ok()?)?)
        }
        DeValue::Boolean(flag) => Value::from(*flag),
        DeValue::Datetime(_) => return None,
        DeValue::Array(values) => Value::Array(
            values
                .iter()
                .map(|value| json(value.get_ref()))
                .collect::<Option<_>>()?,
        ),
        DeValue::Table(table) => {
            let mut object = Map::new();
            for (key, value) in table {
                object.insert(key.get_ref().clone().into_owned(), json(value.get_ref())?);
            }
            Value::Object(object)
        }
    })
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
