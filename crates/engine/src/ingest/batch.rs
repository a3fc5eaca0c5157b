//! Rows in the API's own batch shape: `{"custom_id": …, "params": {…}}`, one a line.
//!
//! Leaves out what a request must be (`check`).

use std::ops::Range;

use offpeak_wire::json::{JsonErrorKind, MAX_DEPTH};
use offpeak_wire::request::{RowError, RowErrorKind, RowLine};

use super::check::{Checker, first_16, wrong_type};
use super::error::{LooksLike, ProblemKind};
use super::reader::{Broken, Piece};
use super::rows::{Bytes, Content, KeyKind, Row, Rows, key_digest};

/// Parses the rows of a piece.
pub(super) fn parse(checker: &mut Checker<'_>, mut rows: Rows) -> Rows {
    let piece = std::mem::take(&mut rows.piece);
    for_each_line(&piece, |line, span| match span {
        Ok(span) => {
            let row = parse_line(checker, &piece.bytes, span, line, &mut rows);
            rows.rows.push(row);
        }
        Err(bytes) => rows.rows.push(too_long(checker, line, bytes)),
    });
    rows.piece = piece;
    rows
}

/// Calls `each` with every line that is not blank, its line break left out; with the number of its
/// bytes if it was too long to be kept.
pub(super) fn for_each_line(piece: &Piece, mut each: impl FnMut(u64, Result<Range<usize>, u64>)) {
    if let Some(Broken::TooLong { bytes }) = piece.broken {
        each(piece.first_line, Err(bytes));
    }
    let mut line = piece.first_line;
    let mut start = 0;
    while start < piece.bytes.len() {
        let rest = &piece.bytes[start..];
        let len = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        if !rest[..len].trim_ascii().is_empty() {
            let len = if rest[..len].ends_with(b"\r") {
                len - 1
            } else {
                len
            };
            each(line, Ok(start..start + len));
        }
        start += len + 1;
        line += 1;
    }
}

pub(super) fn too_long(checker: &Checker<'_>, line: u64, bytes: u64) -> Row {
    let problem = checker.rules().fits(bytes).err();
    let max = checker.rules().request_max();
    let problem = problem.unwrap_or(ProblemKind::TooLong { bytes, max });
    Row {
        line,
        key: None,
        content: Err(problem),
    }
}

fn parse_line(
    checker: &mut Checker<'_>,
    piece: &[u8],
    span: Range<usize>,
    line: u64,
    rows: &mut Rows,
) -> Row {
    let text = &piece[span.clone()];
    let (row, view) = match RowLine::parse_with_view(text) {
        Ok(parsed) => parsed,
        Err(error) => {
            return Row {
                line,
                key: None,
                content: Err(row_problem(text, &error)),
            };
        }
    };
    let Some(id) = row.custom_id else {
        let content = Err(ProblemKind::MissingMember("custom_id"));
        return Row {
            line,
            key: None,
            content,
        };
    };
    let key = rows.keep(|out| write_string(&id, out));
    let content = checker.check(&view).and_then(|facts| {
        let request = view.bytes();
        let params = span.start + row.params.start..span.start + row.params.end;
        let too_long = |_| ProblemKind::TooLong {
            bytes: request.len() as u64,
            max: checker.rules().request_max(),
        };
        Ok(Content {
            key_digest: key_digest(KeyKind::Text, id.as_bytes()),
            bytes: Bytes::Whole(params),
            request_len: u32::try_from(request.len()).map_err(too_long)?,
            framing: 0,
            digest: first_16(&blake3::hash(request)),
            worst: facts.worst,
            facts: Some(facts),
        })
    });
    Row {
        line,
        key: Some(key),
        content,
    }
}

/// Appends text as a JSON string.
pub(super) fn write_string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a Vec takes every write and text is always JSON");
}

/// The problem behind an error about the bytes of a row.
pub(super) fn row_problem(text: &[u8], error: &RowError) -> ProblemKind {
    let column = column(text, error.offset);
    match &error.kind {
        RowErrorKind::Json(JsonErrorKind::Syntax(what)) => ProblemKind::Json {
            column,
            what,
            looks_like: looks_like(text, error.offset),
        },
        RowErrorKind::Json(JsonErrorKind::NotUtf8) => ProblemKind::NotUtf8 { column },
        RowErrorKind::Json(JsonErrorKind::DuplicateKey(name)) => ProblemKind::DuplicateMember {
            name: name.clone(),
            column,
        },
        RowErrorKind::Json(JsonErrorKind::TooDeep) => ProblemKind::TooDeep { max: MAX_DEPTH },
        RowErrorKind::MissingMember(name) => ProblemKind::MissingMember(name),
        RowErrorKind::UnknownMember(name) => ProblemKind::UnknownMember(name.clone()),
        RowErrorKind::WrongType {
            member: "a row", ..
        } if text.trim_ascii().starts_with(b"[") => ProblemKind::Json {
            column,
            what: "expected `{`",
            looks_like: LooksLike::Array,
        },
        RowErrorKind::WrongType { member, wanted } => wrong_type(member, wanted),
    }
}

/// The column of a byte, in characters and counted from 1.
fn column(text: &[u8], offset: usize) -> usize {
    let before = &text[..offset.min(text.len())];
    before
        .iter()
        .filter(|byte| !is_continuation(**byte))
        .count()
        + 1
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xC0 == 0x80
}

fn looks_like(text: &[u8], offset: usize) -> LooksLike {
    let text = text.trim_ascii();
    match text.first() {
        Some(b'[') => LooksLike::Array,
        Some(b'{') if offset >= text.len() => LooksLike::Indented,
        Some(b'{') if text[1..].trim_ascii_start().starts_with(b"'") => LooksLike::Python,
        Some(b'{') => LooksLike::Nothing,
        Some(b'}' | b']') => LooksLike::Indented,
        Some(b'"') if text.ends_with(b",") || text.ends_with(b"{") || text.ends_with(b"[") => {
            LooksLike::Indented
        }
        _ => LooksLike::Table,
    }
}
