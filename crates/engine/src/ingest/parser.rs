//! The parser of a job's rows: one of three, each worker with its own.

use super::batch;
use super::check::{Checker, Rules};
use super::error::ProblemKind;
use super::fields::FieldPlan;
use super::render::{Renderer, Shape};
use super::rows::Rows;
use super::table::{self, CsvColumns, Header};
use crate::spec::Template;

/// Parses the rows of pieces.
#[derive(Debug)]
pub(super) struct Parser<'a> {
    checker: Checker<'a>,
    /// `None` for rows in the API's own shape.
    table: Option<Table<'a>>,
}

#[derive(Debug)]
struct Table<'a> {
    shape: &'a Shape,
    renderer: Renderer<'a>,
    format: Format<'a>,
}

#[derive(Debug)]
enum Format<'a> {
    Jsonl { key: &'a str },
    Csv(CsvColumns<'a>),
}

/// What the requests of a table job are made with.
#[derive(Debug, Clone, Copy)]
pub(super) struct TableJob<'a> {
    pub(super) template: &'a Template,
    pub(super) shape: &'a Shape,
    /// The order of each row's fields, if it is not that of the columns.
    pub(super) fields: Option<&'a FieldPlan>,
    /// Names of CSV columns and the place of the key; `None` for JSONL.
    pub(super) header: Option<(&'a Header, usize)>,
}

impl<'a> Parser<'a> {
    pub(super) fn new(rules: Rules<'a>, table: Option<TableJob<'a>>) -> Result<Self, ProblemKind> {
        let Some(TableJob {
            template,
            shape,
            fields,
            header,
        }) = table
        else {
            return Ok(Self {
                checker: Checker::new(rules),
                table: None,
            });
        };
        let renderer = Renderer::new(template, shape, fields)?;
        let format = match header {
            Some((header, key)) => Format::Csv(CsvColumns::new(header, key, renderer.variables())),
            None => Format::Jsonl { key: &template.key },
        };
        let table = Some(Table {
            shape,
            renderer,
            format,
        });
        Ok(Self {
            checker: Checker::new(rules),
            table,
        })
    }

    pub(super) fn is_csv(&self) -> bool {
        self.table
            .as_ref()
            .is_some_and(|table| matches!(table.format, Format::Csv(_)))
    }

    pub(super) fn parse(&mut self, rows: Rows) -> Rows {
        let checker = &mut self.checker;
        let Some(Table {
            shape,
            renderer,
            format,
        }) = &self.table
        else {
            return batch::parse(checker, rows);
        };
        match format {
            Format::Jsonl { key } => table::parse_jsonl(checker, shape, renderer, key, rows),
            Format::Csv(columns) => table::parse_csv(checker, shape, renderer, columns, rows),
        }
    }
}
