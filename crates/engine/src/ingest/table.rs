//! Rows of a table: columns, as JSON objects or comma-separated, that the job's template turns into
//! requests.
//!
//! Leaves out the template (`render`), what is made of its message (`maker`), and where records end (`csv_ends`).

use std::collections::HashSet;
use std::ops::Range;

use minijinja::Value;
use offpeak_wire::request::{RequestView, RowErrorKind};

use super::batch::{for_each_line, row_problem, too_long, write_string};
use super::check::{Checker, wrong_type};
use super::error::ProblemKind;
use super::maker::Maker;
use super::reader::{Broken, Piece};
use super::render::{Renderer, Shape};
use super::row_text::{Cell, ROW};
use super::rows::{Content, KeyKind, Row, Rows};

/// The names of CSV columns.
#[derive(Debug)]
pub(super) struct Header(Vec<String>);

impl Header {
    /// Takes the header off the first piece. `None` when there is nothing but blank lines.
    pub(super) fn take(piece: &mut Piece) -> Result<Option<Self>, (u64, ProblemKind)> {
        let mut records = records(&piece.bytes);
        let mut record = csv::ByteRecord::new();
        let found = records.read_byte_record(&mut record).unwrap_or(false);
        let end = usize::try_from(records.position().byte()).unwrap_or(usize::MAX);
        let skipped = piece
            .bytes
            .iter()
            .take_while(|b| matches!(b, b'\r' | b'\n'))
            .count();
        let line = piece.first_line + lines(&piece.bytes[..skipped]);
        if !found {
            return Ok(None);
        }
        if piece.broken.is_some() {
            return Err((line, ProblemKind::OpenQuote));
        }
        let mut names = Vec::with_capacity(record.len());
        let mut seen = HashSet::new();
        for name in &record {
            let name = std::str::from_utf8(name).map_err(|error| {
                (
                    line,
                    ProblemKind::NotUtf8 {
                        column: error.valid_up_to() + 1,
                    },
                )
            })?;
            if !seen.insert(name) {
                return Err((line, ProblemKind::DuplicateColumn(name.to_owned())));
            }
            names.push(name.to_owned());
        }
        piece.first_line += lines(&piece.bytes[..end]);
        piece.bytes.drain(..end);
        Ok(Some(Self(names)))
    }

    pub(super) fn names(&self) -> &[String] {
        &self.0
    }

    /// Whether a column has the name that stands for all of them.
    pub(super) fn hides_row(&self) -> bool {
        self.place(ROW).is_some()
    }

    fn place(&self, column: &str) -> Option<usize> {
        self.0.iter().position(|name| name == column)
    }

    /// The place of the key column.
    pub(super) fn key(&self, column: &str) -> Result<usize, ProblemKind> {
        self.place(column).ok_or_else(|| ProblemKind::MissingKey {
            column: column.to_owned(),
            columns: self.0.clone(),
            empty: false,
        })
    }
}

fn records(bytes: &[u8]) -> csv::Reader<&[u8]> {
    let mut builder = csv::ReaderBuilder::new();
    // The whole piece is in memory, so nothing is gained by a second large buffer.
    builder
        .has_headers(false)
        .flexible(true)
        .buffer_capacity(64 << 10)
        .from_reader(bytes)
}

/// Calls `each` with every record of a piece.
pub(super) fn each_record(bytes: &[u8], mut each: impl FnMut(&csv::ByteRecord)) {
    let mut records = records(bytes);
    let mut record = csv::ByteRecord::new();
    while records.read_byte_record(&mut record).unwrap_or(false) {
        each(&record);
    }
}

fn lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// Parses the rows of a piece of JSONL.
pub(super) fn parse_jsonl<'a>(
    checker: &mut Checker<'a>,
    shape: &'a Shape,
    renderer: &Renderer<'_>,
    key_column: &str,
    mut rows: Rows,
) -> Rows {
    let piece = std::mem::take(&mut rows.piece);
    let mut maker = Maker::new(checker, shape);
    for_each_line(&piece, |line, span| {
        let row = match span {
            Ok(span) => {
                let text = &piece.bytes[span];
                let mut row = Row {
                    line,
                    key: None,
                    content: Err(ProblemKind::EmptyMessage),
                };
                row.content = jsonl_row(
                    &mut maker,
                    renderer,
                    key_column,
                    text,
                    &mut rows,
                    &mut row.key,
                );
                row
            }
            Err(bytes) => too_long(maker.checker, line, bytes),
        };
        rows.rows.push(row);
    });
    rows.piece = piece;
    rows
}

fn jsonl_row(
    maker: &mut Maker<'_, '_>,
    renderer: &Renderer<'_>,
    key_column: &str,
    text: &[u8],
    rows: &mut Rows,
    key: &mut Option<Range<usize>>,
) -> Result<Content, ProblemKind> {
    // A view reads any JSON object: it checks it in one pass and says where the members are.
    let view = RequestView::parse(text).map_err(|error| match error.kind {
        RowErrorKind::WrongType {
            member: "a request",
            ..
        } => {
            let error = offpeak_wire::request::RowError {
                kind: RowErrorKind::WrongType {
                    member: "a row",
                    wanted: "an object",
                },
                ..error
            };
            row_problem(text, &error)
        }
        _ => row_problem(text, &error),
    })?;
    let columns = || view.members().map(|(name, _)| name.to_owned()).collect();
    let raw = view
        .member(key_column)
        .ok_or_else(|| ProblemKind::MissingKey {
            column: key_column.to_owned(),
            columns: columns(),
            empty: false,
        })?;
    let empty = || ProblemKind::MissingKey {
        column: key_column.to_owned(),
        columns: Vec::new(),
        empty: true,
    };
    let (kind, unescaped) = match raw.first() {
        Some(b'"') => {
            let text: String = serde_json::from_slice(raw).map_err(|_| empty())?;
            (KeyKind::Text, text.into_bytes())
        }
        Some(b'-' | b'0'..=b'9') => (KeyKind::Number, raw.to_vec()),
        Some(b'n') => return Err(empty()),
        _ => {
            let column = format!("the key column `{key_column}`");
            return Err(wrong_type(&column, "a string or a number"));
        }
    };
    *key = Some(rows.keep(|out| out.extend_from_slice(raw)));
    if unescaped.is_empty() {
        return Err(empty());
    }
    let values = renderer
        .variables()
        .iter()
        .map(|name| view.member(name).map(value))
        .collect();
    let cells = || {
        let members = view.members();
        members
            .map(|(name, span)| (name, Cell::Json(&text[span])))
            .collect()
    };
    let start = rows.made.len();
    let written = renderer.render(values, cells, &mut rows.made)?;
    let made = &rows.made;
    maker.content((kind, &unescaped), written, start..made.len(), made)
}

/// A column as the template sees it: with its type.
pub(super) fn value(raw: &[u8]) -> Value {
    // What was checked as JSON can still not be held: an integer beyond 128 bits, say. The template
    // then gets its text.
    serde_json::from_slice(raw).unwrap_or_else(|_| Value::from(&*String::from_utf8_lossy(raw)))
}

/// Which CSV columns are used for what.
#[derive(Debug)]
pub(super) struct CsvColumns<'a> {
    header: &'a Header,
    key: usize,
    /// The place of each variable of the template, if it is a column.
    variables: Vec<Option<usize>>,
}

impl<'a> CsvColumns<'a> {
    pub(super) fn new(header: &'a Header, key: usize, variables: &[String]) -> Self {
        let variables = variables.iter().map(|name| header.place(name)).collect();
        Self {
            header,
            key,
            variables,
        }
    }
}

/// Parses the rows of a piece of CSV.
pub(super) fn parse_csv<'a>(
    checker: &mut Checker<'a>,
    shape: &'a Shape,
    renderer: &Renderer<'_>,
    columns: &CsvColumns<'_>,
    mut rows: Rows,
) -> Rows {
    let piece = std::mem::take(&mut rows.piece);
    let mut maker = Maker::new(checker, shape);
    match piece.broken {
        Some(Broken::TooLong { bytes }) => {
            rows.rows
                .push(too_long(maker.checker, piece.first_line, bytes));
        }
        Some(Broken::OpenQuote) => {
            let content = Err(ProblemKind::OpenQuote);
            let line = piece.first_line + open_quote_line(&piece.bytes);
            rows.rows.push(Row {
                line,
                key: None,
                content,
            });
        }
        None => {
            let mut records = records(&piece.bytes);
            let mut record = csv::ByteRecord::new();
            // Lines are counted here: the parser's own count is one behind after CRLF.
            let (mut counted, mut line) = (0, piece.first_line);
            while records.read_byte_record(&mut record).unwrap_or(false) {
                let start = record.position().map_or(0, csv::Position::byte);
                let mut start = usize::try_from(start).unwrap_or(usize::MAX);
                while matches!(piece.bytes.get(start), Some(b'\r' | b'\n')) {
                    start += 1;
                }
                line += lines(&piece.bytes[counted..start]);
                counted = start;
                let mut row = Row {
                    line,
                    key: None,
                    content: Err(ProblemKind::OpenQuote),
                };
                row.content = csv_row(
                    &mut maker,
                    renderer,
                    columns,
                    &record,
                    &mut rows,
                    &mut row.key,
                );
                rows.rows.push(row);
            }
        }
    }
    rows.piece = piece;
    rows
}

fn csv_row(
    maker: &mut Maker<'_, '_>,
    renderer: &Renderer<'_>,
    columns: &CsvColumns<'_>,
    record: &csv::ByteRecord,
    rows: &mut Rows,
    key: &mut Option<Range<usize>>,
) -> Result<Content, ProblemKind> {
    let header = columns.header;
    if record.len() != header.0.len() {
        return Err(ProblemKind::Ragged {
            fields: record.len(),
            header: header.0.len(),
        });
    }
    let mut before = 0;
    let mut texts = Vec::with_capacity(record.len());
    for field in record {
        match std::str::from_utf8(field) {
            Ok(text) => texts.push(text),
            Err(error) => {
                return Err(ProblemKind::NotUtf8 {
                    column: before + error.valid_up_to() + 1,
                });
            }
        }
        before += field.len() + 1;
    }
    let name = texts[columns.key];
    if name.is_empty() {
        let (column, columns) = (header.0[columns.key].clone(), Vec::new());
        return Err(ProblemKind::MissingKey {
            column,
            columns,
            empty: true,
        });
    }
    *key = Some(rows.keep(|out| write_string(name, out)));
    let value = |place: &Option<usize>| place.map(|place| Value::from(texts[place]));
    let values = columns.variables.iter().map(value).collect();
    let cells = || {
        let names = header.0.iter().map(String::as_str);
        names
            .zip(texts.iter().map(|text| Cell::Text(text)))
            .collect()
    };
    let start = rows.made.len();
    let written = renderer.render(values, cells, &mut rows.made)?;
    let key = (KeyKind::Text, name.as_bytes());
    let made = &rows.made;
    maker.content(key, written, start..made.len(), made)
}

/// Lines between the beginning of an unfinished record and the quote that is still open.
fn open_quote_line(bytes: &[u8]) -> u64 {
    let mut ends = super::csv_ends::RecordEnds::default();
    ends.open_quote(bytes).map_or(0, |at| lines(&bytes[..at]))
}
