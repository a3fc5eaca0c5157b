//! A row as one JSON object, `{{ row }}` in a template: all its columns, in their order or in one that
//! makes rows begin alike.
//!
//! Cells of JSONL keep their bytes; those of CSV are strings. Leaves out which order that is (`fields`).

use std::fmt;
use std::sync::Arc;

use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectRepr};
use offpeak_wire::request::RequestView;

use super::batch::write_string;
use super::fields::FieldPlan;
use super::table::value;

/// The variable of a template that stands for all columns, unless a column has that name.
pub(super) const ROW: &str = "row";

/// A cell in the form it has in the input.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cell<'a> {
    /// Of a CSV record.
    Text(&'a str),
    /// Of a JSON object.
    Json(&'a [u8]),
}

impl<'a> Cell<'a> {
    /// What it is told apart by.
    pub(super) fn bytes(self) -> &'a [u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Json(json) => json,
        }
    }
}

/// A row as it is written into a message.
#[derive(Debug)]
pub(super) struct RowText {
    pub(super) json: String,
    /// Bytes at its beginning that other rows may begin with too, ascending.
    pub(super) cuts: Vec<usize>,
}

impl RowText {
    /// Writes a row; in the order of its columns, unless there is a plan for them.
    pub(super) fn write(columns: &[(&str, Cell<'_>)], plan: Option<&FieldPlan>) -> Arc<Self> {
        let (order, shared) = match plan {
            Some(plan) => plan.layout(columns),
            None => ((0..columns.len()).collect(), Vec::new()),
        };
        let mut out = b"{".to_vec();
        let mut shared = shared.into_iter().peekable();
        let mut cuts = Vec::new();
        for (written, column) in (1..).zip(order) {
            let (name, cell) = &columns[column];
            if written > 1 {
                out.push(b',');
            }
            write_string(name, &mut out);
            out.push(b':');
            match cell {
                Cell::Text(text) => write_string(text, &mut out),
                Cell::Json(json) => out.extend_from_slice(json),
            }
            if shared.next_if_eq(&written).is_some() {
                cuts.push(out.len());
            }
        }
        out.push(b'}');
        Arc::new(Self {
            json: String::from_utf8(out).expect("names and cells were checked to be UTF-8"),
            cuts,
        })
    }
}

/// In a template it is a map, so that `row.name` and `row["a name"]` are cells.
impl Object for RowText {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let view = RequestView::parse(self.json.as_bytes()).ok()?;
        view.member(key).map(value)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let names = RequestView::parse(self.json.as_bytes()).map(|view| {
            let names = view.members().map(|(name, _)| Value::from(name));
            names.collect()
        });
        names.map_or(Enumerator::NonEnumerable, Enumerator::Values)
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.json)
    }
}
