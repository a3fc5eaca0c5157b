//! Rows to learn an order from: which cells are equal, and how long each is.
//!
//! Leaves out what cells mean and how they are written.

use std::collections::HashMap;

/// A field that a row does not have.
pub(super) const ABSENT: u32 = 0;

/// Fields that an order is learnt for; a table's further ones are best left behind them.
pub const FIELDS_MAX: usize = 256;

/// Work that learning may take, in cells compared: rows × fields².
const WORK_MAX: usize = 40_000_000;

/// Rows that say enough about a table, however narrow it is.
const ROWS_MAX: usize = 100_000;

/// Rows that are looked at however wide the table is.
const ROWS_MIN: usize = 500;

/// How many rows of a table with so many fields an order should be learnt from. Time grows with rows ×
/// fields² and memory with rows × fields, so wide tables get fewer.
#[must_use]
pub fn sample_rows(fields: usize) -> usize {
    let square = fields.saturating_mul(fields).max(1);
    (WORK_MAX / square).clamp(ROWS_MIN, ROWS_MAX)
}

/// Rows of a table. Cells are equal if their bytes are.
#[derive(Debug, Clone)]
pub struct SampleTable<'a> {
    overheads: Vec<u32>,
    ids: Vec<HashMap<&'a [u8], u32>>,
    /// Bytes of each value as it is written, by field and id.
    lens: Vec<Vec<u32>>,
    values: Vec<Vec<&'a [u8]>>,
    /// Ids, row by row.
    cells: Vec<u32>,
}

impl<'a> SampleTable<'a> {
    /// An empty table. `overheads` has an entry per field: the bytes that are written around its value,
    /// such as the field's name and punctuation.
    ///
    /// # Panics
    /// With more than [`FIELDS_MAX`] fields.
    #[must_use]
    pub fn new(overheads: Vec<u32>) -> Self {
        let fields = overheads.len();
        assert!(fields <= FIELDS_MAX, "{fields} fields");
        Self {
            overheads,
            ids: vec![HashMap::new(); fields],
            lens: vec![vec![0]; fields],
            values: vec![vec![&[]]; fields],
            cells: Vec::new(),
        }
    }

    /// Adds a row: a value per field, `None` where the row does not have it.
    ///
    /// # Panics
    /// If the row has not one entry per field.
    pub fn push(&mut self, row: &[Option<&'a [u8]>]) {
        assert_eq!(row.len(), self.fields(), "an entry per field");
        for (field, value) in row.iter().enumerate() {
            let id = match value {
                None => ABSENT,
                Some(value) => self.intern(field, value),
            };
            self.cells.push(id);
        }
    }

    fn intern(&mut self, field: usize, value: &'a [u8]) -> u32 {
        *self.ids[field].entry(value).or_insert_with(|| {
            let values = &mut self.values[field];
            values.push(value);
            let len = u32::try_from(value.len()).unwrap_or(u32::MAX);
            self.lens[field].push(len.saturating_add(self.overheads[field]));
            u32::try_from(values.len() - 1).expect("fewer than 2^32 values")
        })
    }

    /// Fields of the table.
    #[must_use]
    pub fn fields(&self) -> usize {
        self.overheads.len()
    }

    /// Rows of the table.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.cells.len().checked_div(self.fields()).unwrap_or(0)
    }

    /// Bytes of all cells as they are written.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let rows = 0..self.rows();
        rows.flat_map(|row| (0..self.fields()).map(move |field| (row, field)))
            .map(|(row, field)| u64::from(self.len(field, self.id(row, field))))
            .sum()
    }

    pub(super) fn id(&self, row: usize, field: usize) -> u32 {
        self.cells[row * self.fields() + field]
    }

    pub(super) fn row(&self, row: usize) -> &[u32] {
        &self.cells[row * self.fields()..][..self.fields()]
    }

    /// Bytes of a value as it is written; none for an absent one.
    pub(super) fn len(&self, field: usize, id: u32) -> u32 {
        self.lens[field][id as usize]
    }

    pub(super) fn value(&self, field: usize, id: u32) -> &'a [u8] {
        self.values[field][id as usize]
    }

    /// Different values of a field.
    pub(super) fn distinct(&self, field: usize) -> usize {
        self.values[field].len() - 1
    }
}
