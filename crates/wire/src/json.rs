//! A validating JSON scanner that neither allocates nor changes anything.
//!
//! Requests are forwarded byte for byte, so they are checked and looked into here without ever
//! becoming a value tree. Leaves out values: numbers are checked, not computed.

mod keys;
mod scan;

pub(crate) use scan::Scanner;

/// The deepest nesting of arrays and objects that is taken.
pub const MAX_DEPTH: usize = 128;

/// Why bytes are not JSON that we take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} (at byte {offset})")]
pub struct JsonError {
    /// Where, in bytes from the start of the slice that was given.
    pub offset: usize,
    /// What is wrong there.
    pub kind: JsonErrorKind,
}

/// The kinds of [`JsonError`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonErrorKind {
    /// Against the grammar.
    #[error("invalid JSON: {0}")]
    Syntax(&'static str),
    /// Not UTF-8.
    #[error("invalid UTF-8")]
    NotUtf8,
    /// A key twice in one object, compared unescaped: readers disagree about which one counts.
    #[error("duplicate key {0:?}")]
    DuplicateKey(String),
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
}

/// Checks that `bytes` are one JSON text: the whole RFC 8259 grammar, UTF-8, paired surrogates,
/// numbers within the range of a double, at most [`MAX_DEPTH`] levels, no key twice in an object.
///
/// # Errors
///
/// The first violation; for UTF-8, the first of the whole slice.
pub fn validate(bytes: &[u8]) -> Result<(), JsonError> {
    let mut scanner = Scanner::new(bytes)?;
    scanner.skip_value()?;
    scanner.end()
}
