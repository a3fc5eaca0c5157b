//! The input opened: its pieces, from behind the header of a CSV table.
//!
//! A table whose fields are ordered is read twice, so this is done twice. Leaves out what becomes of the
//! pieces.

use std::fs::File;
use std::path::Path;

use super::csv_ends::RecordEnds;
use super::error::{IngestError, RowProblem};
use super::reader::{Ends, Piece, Pieces};
use super::table::Header;
use crate::spec::{InputShape, TableFormat};

/// An input at the beginning of its first row.
pub(super) struct Opening {
    pub(super) pieces: Pieces<File>,
    /// Bytes of the input.
    pub(super) len: u64,
    /// The names of CSV columns, and what follows them in the first piece.
    pub(super) header: Option<(Header, Piece)>,
}

impl Opening {
    pub(super) fn new(
        input: &Path,
        shape: &InputShape,
        piece_len: usize,
    ) -> Result<Self, IngestError> {
        let csv = matches!(
            shape,
            InputShape::Table {
                format: TableFormat::Csv,
                ..
            }
        );
        let ends = if csv {
            Ends::Records(RecordEnds::default())
        } else {
            Ends::Lines
        };
        let (mut pieces, len) = Pieces::open(input, ends, piece_len)?;
        let header = if csv {
            Some(header(input, &mut pieces)?)
        } else {
            None
        };
        Ok(Self {
            pieces,
            len,
            header,
        })
    }
}

fn header(input: &Path, pieces: &mut Pieces<File>) -> Result<(Header, Piece), IngestError> {
    loop {
        let next = pieces.next(Vec::new());
        let next = next.map_err(|source| IngestError::Read {
            path: input.to_owned(),
            source,
        })?;
        let Some(mut piece) = next else {
            return Err(IngestError::Empty {
                path: input.to_owned(),
            });
        };
        let taken = Header::take(&mut piece).map_err(|(line, problem)| {
            let problem = RowProblem::new(input.to_owned(), line, None, problem);
            IngestError::Job(Box::new(problem))
        })?;
        if let Some(header) = taken {
            return Ok((header, piece));
        }
    }
}
