//! A row of a batch input: `{"custom_id": …, "params": {…}}`.
//!
//! Leaves out the characters a `custom_id` may have: the user's ids come back in the output and
//! never go upstream.

use std::borrow::Cow;
use std::ops::Range;

use super::{RequestView, RowError, RowErrorKind};
use crate::json::Scanner;

/// One line of a batch input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowLine<'a> {
    /// The user's id; null counts as absent.
    pub custom_id: Option<Cow<'a, str>>,
    /// The request's bytes, within the line.
    pub params: Range<usize>,
}

impl<'a> RowLine<'a> {
    /// Reads a row and checks all of its JSON, in one pass.
    ///
    /// # Errors
    ///
    /// When the line is not JSON, repeats a key, lacks `params`, or has another member than
    /// `custom_id` and `params`.
    pub fn parse(line: &'a [u8]) -> Result<Self, RowError> {
        Self::scan(line, |scanner| {
            scanner.skip_value()?;
            Ok(())
        })
        .map(|(row, ())| row)
    }

    /// Reads a row together with the view of its request, in one pass over the line. The view's
    /// spans are relative to the request; an error's offset to the line.
    ///
    /// # Errors
    ///
    /// As [`RowLine::parse`].
    pub fn parse_with_view(line: &'a [u8]) -> Result<(Self, RequestView<'a>), RowError> {
        Self::scan(line, RequestView::scan)
    }

    fn scan<V>(
        line: &'a [u8],
        mut read_params: impl FnMut(&mut Scanner<'a>) -> Result<V, RowError>,
    ) -> Result<(Self, V), RowError> {
        let mut scanner = Scanner::new(line)?;
        if scanner.peek() != Some(b'{') {
            // What is no JSON at all is reported as such.
            let start = scanner.pos();
            scanner.skip_value()?;
            return Err(RowError::wrong_type(start, "a row", "an object"));
        }
        let mut custom_id = None;
        let mut params = None;
        scanner.object(|scanner, key| {
            let start = scanner.pos();
            match &*key.text() {
                "custom_id" => {
                    custom_id = scanner.string_value()?.map(|id| id.text());
                    if custom_id.is_none() && line.get(start) != Some(&b'n') {
                        return Err(RowError::wrong_type(start, "`custom_id`", "a string"));
                    }
                }
                "params" => {
                    if scanner.peek() != Some(b'{') {
                        scanner.skip_value()?;
                        return Err(RowError::wrong_type(start, "`params`", "an object"));
                    }
                    let view = read_params(scanner)?;
                    params = Some((start..scanner.pos(), view));
                }
                _ => {
                    return Err(RowError {
                        offset: key.offset(),
                        kind: RowErrorKind::UnknownMember(key.text().into_owned()),
                    });
                }
            }
            Ok(())
        })?;
        scanner.end()?;
        let (params, view) = params.ok_or(RowError {
            offset: line.len(),
            kind: RowErrorKind::MissingMember("params"),
        })?;
        Ok((Self { custom_id, params }, view))
    }
}
