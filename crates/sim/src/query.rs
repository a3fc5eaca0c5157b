//! Owns the parameters behind the `?`: decoded, and repeated ones together. Which of them mean
//! anything is each endpoint's matter; unknown ones do not matter.

use std::ops::Range;

use crate::http::Problem;

/// Objects on a page, unless asked for otherwise, and at most (Anthropic docs, list batches).
const PAGE: usize = 20;
const PAGE_MAX: usize = 1_000;

#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn read(query: &str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decoded(name), decoded(value))
                })
                .collect(),
        )
    }

    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        let mut pairs = self.0.iter();
        pairs
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// Every value of a list, written as `name[]` or `name`.
    pub(crate) fn list(&self, name: &str) -> Vec<&str> {
        let is = |n: &str| n == name || n.strip_suffix("[]") == Some(name);
        let pairs = self.0.iter().filter(|(n, _)| is(n));
        pairs.map(|(_, value)| value.as_str()).collect()
    }

    /// A `limit` of at least 1 and at most `most`.
    pub(crate) fn limit(&self, usual: usize, most: usize) -> Result<usize, Problem> {
        let Some(limit) = self.one("limit") else {
            return Ok(usual);
        };
        match limit.parse::<usize>() {
            Ok(n) if n > most => Err(Problem::invalid(format!(
                "limit: Input should be less than or equal to {most}"
            ))),
            Ok(0) => Err(Problem::invalid(
                "limit: Input should be greater than or equal to 1",
            )),
            Ok(n) => Ok(n),
            Err(_) => Err(Problem::invalid("limit: Input should be a valid integer")),
        }
    }

    /// The page of a list, newest first, that `limit`, `after_id` and `before_id` ask for, and
    /// whether there is more in that direction.
    pub(crate) fn page(&self, all: &[&str], what: &str) -> Result<(Range<usize>, bool), Problem> {
        let limit = self.limit(PAGE, PAGE_MAX)?;
        let position = |id: &str| {
            let found = all.iter().position(|known| *known == id);
            found.ok_or_else(|| Problem::not_found(format!("{what} {id} not found.")))
        };
        match (self.one("after_id"), self.one("before_id")) {
            (Some(_), Some(_)) => Err(Problem::invalid(
                "Only one of before_id and after_id can be provided.",
            )),
            (None, Some(id)) => {
                let end = position(id)?;
                let start = end.saturating_sub(limit);
                Ok((start..end, start > 0))
            }
            (after, None) => {
                let start = after.map_or(Ok(0), |id| position(id).map(|found| found + 1))?;
                let end = all.len().min(start + limit);
                Ok((start..end, end < all.len()))
            }
        }
    }
}

/// Percent signs and plus signs as forms write them.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten();
        let byte = digits.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(match (byte, bytes[at]) {
            (Some(byte), _) => byte,
            (None, b'+') => b' ',
            (None, other) => other,
        });
        at += if byte.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let query = Query::read(
            "group_by%5B%5D=model&group_by[]=speed&at=2026-11-22T10%3A00%3A00Z&x=%zz+%C3%A9&flag",
        );
        assert_eq!(query.list("group_by"), ["model", "speed"]);
        assert_eq!(query.one("at"), Some("2026-11-22T10:00:00Z"));
        assert_eq!(query.one("x"), Some("%zz é"));
        assert_eq!(query.one("flag"), Some(""));
        assert_eq!(query.one("y"), None);
    }
}
