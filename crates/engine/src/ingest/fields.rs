//! The order of a row's fields, learnt from the input before its rows are read for good.
//!
//! Small tables are learnt from whole, of longer ones a sample from all over: the rows with the least
//! hashes of their numbers, so that the same input always gives the same order. Leaves out how an order is
//! found (`offpeak_core::plan::fields`) and how a row is written (`row_text`).

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use offpeak_core::plan::fields::{FIELDS_MAX, FieldOrder, SampleTable, Shares, learn, sample_rows};
use offpeak_wire::request::RequestView;

use super::batch::{for_each_line, write_string};
use super::error::IngestError;
use super::opening::Opening;
use super::row_text::Cell;
use super::sample::hash;
use super::table::{Header, each_record};
use crate::spec::InputShape;

/// Bytes of all rows of the sample.
const BYTES_MAX: usize = 64 << 20;

/// The order of each row's fields.
#[derive(Debug)]
pub(super) struct FieldPlan {
    /// The number of each field, by its name.
    fields: HashMap<String, usize>,
    order: FieldOrder,
    pub(super) shares: Shares,
}

impl FieldPlan {
    /// Reads the whole input once.
    pub(super) fn learn(
        input: &Path,
        shape: &InputShape,
        piece_len: usize,
    ) -> Result<Self, IngestError> {
        let Opening {
            mut pieces, header, ..
        } = Opening::new(input, shape, piece_len)?;
        let mut sample = Sampling::default();
        let (header, mut next) = match header {
            Some((header, piece)) => (Some(header), Some(piece)),
            None => (None, None),
        };
        loop {
            let piece = match next.take() {
                Some(piece) => Some(piece),
                None => pieces
                    .next(Vec::new())
                    .map_err(|source| IngestError::Read {
                        path: input.to_owned(),
                        source,
                    })?,
            };
            let Some(piece) = piece.filter(|piece| !piece.bytes.is_empty()) else {
                break;
            };
            match &header {
                Some(header) => each_record(&piece.bytes, |record| sample.record(header, record)),
                None => for_each_line(&piece, |_, span| {
                    if let Ok(span) = span {
                        sample.line(&piece.bytes[span]);
                    }
                }),
            }
        }
        Ok(sample.finish())
    }

    /// The order of the columns of a row, as places among them; and after how many of them a beginning
    /// ends that rows share. Columns that were not learnt about come last.
    pub(super) fn layout(&self, columns: &[(&str, Cell<'_>)]) -> (Vec<usize>, Vec<usize>) {
        let mut cells = vec![None; self.fields.len()];
        let mut places = vec![0; self.fields.len()];
        let mut unknown = Vec::new();
        for (place, (name, cell)) in columns.iter().enumerate() {
            match self.fields.get(*name) {
                Some(field) => {
                    cells[*field] = Some(cell.bytes());
                    places[*field] = place;
                }
                None => unknown.push(place),
            }
        }
        let layout = self.order.layout(&cells);
        let mut order: Vec<_> = layout.order.iter().map(|field| places[*field]).collect();
        order.append(&mut unknown);
        (order, layout.cuts)
    }
}

/// The cells of a row, one after the other.
#[derive(Debug, Default)]
struct Cells {
    bytes: Vec<u8>,
    /// The field of each, and where it ends.
    ends: Vec<(usize, usize)>,
}

impl Cells {
    fn iter(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let mut start = 0;
        self.ends.iter().map(move |(field, end)| {
            let cell = &self.bytes[start..*end];
            start = *end;
            (*field, cell)
        })
    }
}

/// The sample in the making.
#[derive(Debug, Default)]
struct Sampling {
    fields: HashMap<String, usize>,
    /// Bytes around the value of each field.
    overheads: Vec<u32>,
    /// By hash and number.
    rows: BTreeMap<(u64, u64), Cells>,
    bytes: usize,
    /// Rows so far.
    seen: u64,
}

impl Sampling {
    /// The place of the next row in the sample, if it has one.
    fn place(&mut self, len: usize) -> Option<(u64, u64)> {
        let key = (hash(self.seen), self.seen);
        self.seen += 1;
        let full =
            self.rows.len() >= sample_rows(self.fields.len()) || self.bytes + len > BYTES_MAX;
        let last = self.rows.last_key_value().map(|(last, _)| *last);
        (len <= BYTES_MAX && !(full && last.is_some_and(|last| key > last))).then_some(key)
    }

    fn record(&mut self, header: &Header, record: &csv::ByteRecord) {
        let Some(key) = self.place(record.as_slice().len()) else {
            return;
        };
        if record.len() == header.names().len() {
            let cells = header.names().iter().map(String::as_str).zip(record);
            // A name that JSON would write with escapes is longer; that is of no weight here.
            self.keep(key, cells, 2);
        }
    }

    fn line(&mut self, text: &[u8]) {
        let Some(key) = self.place(text.len()) else {
            return;
        };
        if let Ok(view) = RequestView::parse(text) {
            let cells = view.members().map(|(name, span)| (name, &text[span]));
            self.keep(key, cells, 0);
        }
    }

    /// Keeps a row. `quotes` are the bytes that are written around its values.
    fn keep<'a>(
        &mut self,
        key: (u64, u64),
        cells: impl Iterator<Item = (&'a str, &'a [u8])>,
        quotes: u32,
    ) {
        let mut row = Cells::default();
        for (name, cell) in cells {
            let field = match self.fields.get(name) {
                Some(field) => *field,
                None if self.fields.len() == FIELDS_MAX => continue,
                None => {
                    let mut written = Vec::new();
                    write_string(name, &mut written);
                    // Colon and comma.
                    let around = u32::try_from(written.len() + 2).unwrap_or(u32::MAX);
                    self.overheads.push(around.saturating_add(quotes));
                    let field = self.fields.len();
                    self.fields.insert(name.to_owned(), field);
                    field
                }
            };
            row.bytes.extend_from_slice(cell);
            row.ends.push((field, row.bytes.len()));
        }
        row.bytes.shrink_to_fit();
        row.ends.shrink_to_fit();
        self.bytes += row.bytes.len();
        self.rows.insert(key, row);
        while self.rows.len() > sample_rows(self.fields.len()) || self.bytes > BYTES_MAX {
            let Some((_, row)) = self.rows.pop_last() else {
                return;
            };
            self.bytes -= row.bytes.len();
        }
    }

    fn finish(self) -> FieldPlan {
        let mut table = SampleTable::new(self.overheads);
        // In input order: it decides between orders that are equally good.
        let mut rows: Vec<_> = self
            .rows
            .iter()
            .map(|((_, row), cells)| (row, cells))
            .collect();
        rows.sort_unstable_by_key(|(row, _)| **row);
        let mut cells = Vec::new();
        for (_, row) in rows {
            cells.clear();
            cells.resize(self.fields.len(), None);
            for (field, cell) in row.iter() {
                cells[field] = Some(cell);
            }
            table.push(&cells);
        }
        let learnt = learn(&table);
        FieldPlan {
            fields: self.fields,
            shares: learnt.shares,
            order: learnt.order,
        }
    }
}
