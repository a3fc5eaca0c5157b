//! A learnt order, and how a row finds its own in it.

use std::collections::HashMap;

/// Rows from which on a beginning is worth a block of its own: fewer calls than these don't pay for an
/// entry that is kept an hour.
pub const CUT_ROWS: usize = 3;

/// The order of a row's fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// The fields that the row has, each once.
    pub order: Vec<usize>,
    /// After how many fields of the order a beginning ends that rows of the sample share, [`CUT_ROWS`] of
    /// them at least; ascending. Rows that begin with the same cells have the same cuts among them.
    pub cuts: Vec<usize>,
}

/// An order of fields that differs from row to row: a tree of groups of rows. A row belongs to the first
/// group of a node whose cell it has, and to none if it has none of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldOrder {
    /// Numbers of the values that groups are known by, by field.
    pub(super) values: Vec<HashMap<Box<[u8]>, u32>>,
    /// The first is the root: all rows.
    pub(super) nodes: Vec<Node>,
    /// All fields, in the order of what no group says anything about.
    pub(super) rest: Vec<usize>,
}

/// A group of rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Node {
    /// Fields that its rows have in common, beyond those of the group that it is part of.
    pub(super) prefix: Vec<usize>,
    /// Rows of the sample in it.
    pub(super) rows: usize,
    /// The groups in it, by field and value. One of a lower number comes first.
    pub(super) children: HashMap<(usize, u32), usize>,
}

impl FieldOrder {
    /// The order in which a row's fields are best written: a value per field, `None` where the row does
    /// not have it. The row need not be one of those that were learnt from.
    ///
    /// # Panics
    /// If the row has not one entry per field.
    #[must_use]
    pub fn layout(&self, row: &[Option<&[u8]>]) -> Layout {
        assert_eq!(row.len(), self.values.len(), "an entry per field");
        let number = |field: usize| self.values[field].get(row[field]?).copied();
        let numbers: Vec<_> = (0..row.len()).map(number).collect();
        let mut layout = Layout::default();
        let mut left: Vec<_> = row.iter().map(Option::is_some).collect();
        let mut node = &self.nodes[0];
        loop {
            let shared = layout.order.len();
            take(&node.prefix, &mut left, &mut layout.order);
            if layout.order.len() > shared && node.rows >= CUT_ROWS {
                layout.cuts.push(layout.order.len());
            }
            let groups = numbers.iter().enumerate().filter_map(|(field, number)| {
                let key = (field, (*number).filter(|_| left[field])?);
                node.children.get(&key)
            });
            match groups.min() {
                Some(group) => node = &self.nodes[*group],
                None => break,
            }
        }
        take(&self.rest, &mut left, &mut layout.order);
        layout
    }

    /// Fields that rows are expected to have.
    #[must_use]
    pub fn fields(&self) -> usize {
        self.values.len()
    }
}

fn take(fields: &[usize], left: &mut [bool], order: &mut Vec<usize>) {
    for field in fields {
        if std::mem::take(&mut left[*field]) {
            order.push(*field);
        }
    }
}
