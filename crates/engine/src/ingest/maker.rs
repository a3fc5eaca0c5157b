//! From the rendered message of a table's row to a request that is checked.
//!
//! Leaves out how a message is rendered (`render`) and how rows are read (`table`).

use std::ops::Range;

use offpeak_wire::request::RequestView;

use super::batch::row_problem;
use super::check::Checker;
use super::error::ProblemKind;
use super::levels::Path;
use super::render::{BLOCK_FRAMING, Shape, Written};
use super::rows::{Bytes, Content, KeyKind, key_digest};

/// Makes the content of a row from its rendered message.
pub(super) struct Maker<'m, 'a> {
    pub(super) checker: &'m mut Checker<'a>,
    shape: &'a Shape,
    /// A whole request.
    request: Vec<u8>,
}

/// Counts the text of a prompt whose message was cut into blocks as it is counted for one in one piece.
pub(super) fn leave_framing_out(path: &mut Path) {
    let (levels, end) = (&mut path.levels, &mut path.end);
    let levels = levels.iter_mut().filter(|level| !level.preamble);
    let lengths = levels.map(|level| &mut level.bytes);
    for (blocks, bytes) in (1..).zip(lengths.chain(end.as_mut().map(|end| &mut end.bytes))) {
        *bytes -= blocks * BLOCK_FRAMING;
    }
}

impl<'m, 'a> Maker<'m, 'a> {
    pub(super) fn new(checker: &'m mut Checker<'a>, shape: &'a Shape) -> Self {
        Self {
            checker,
            shape,
            request: Vec::new(),
        }
    }

    pub(super) fn content(
        &mut self,
        (kind, key): (KeyKind, &[u8]),
        written: Written,
        middle: Range<usize>,
        made: &[u8],
    ) -> Result<Content, ProblemKind> {
        match written {
            Written::Text => self.text(kind, key, middle, made),
            Written::Blocks { framing } => self.blocks((kind, key), framing, middle, made),
        }
    }

    /// Of a message in blocks, each of which may end what rows share: unlike a text it is looked at as
    /// closely as a request that comes as one.
    fn blocks(
        &mut self,
        (kind, key): (KeyKind, &[u8]),
        framing: u16,
        middle: Range<usize>,
        made: &[u8],
    ) -> Result<Content, ProblemKind> {
        let request_len = self.shape.request_len(middle.len());
        self.checker.rules().fits(request_len)?;
        self.request.clear();
        self.request.extend_from_slice(&self.shape.head);
        self.request.extend_from_slice(&made[middle.clone()]);
        self.request.extend_from_slice(&self.shape.tail);
        let view = RequestView::parse(&self.request)
            .map_err(|error| row_problem(&self.request, &error))?;
        let mut facts = self.checker.check(&view)?;
        leave_framing_out(&mut facts.path);
        Ok(Content {
            key_digest: key_digest(kind, key),
            digest: self.shape.digest(&made[middle.clone()]),
            bytes: Bytes::Middle(middle),
            request_len: u32::try_from(request_len).expect("a row that fits is below 4 GiB"),
            framing,
            worst: facts.worst,
            facts: Some(facts),
        })
    }

    fn text(
        &self,
        kind: KeyKind,
        key: &[u8],
        middle: Range<usize>,
        made: &[u8],
    ) -> Result<Content, ProblemKind> {
        let rules = self.checker.rules();
        let request_len = self.shape.request_len(middle.len());
        rules.fits(request_len)?;
        let mut ceiling = self.shape.ceiling;
        ceiling.input_bytes += request_len;
        Ok(Content {
            key_digest: key_digest(kind, key),
            digest: self.shape.digest(&made[middle.clone()]),
            bytes: Bytes::Middle(middle),
            request_len: u32::try_from(request_len).expect("a row that fits is below 4 GiB"),
            framing: 0,
            worst: rules.worst(&self.shape.facts.model, &ceiling)?,
            facts: None,
        })
    }
}
