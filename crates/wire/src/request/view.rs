//! A view of one request: what can be read off its bytes, next to the bytes themselves.
//!
//! Leaves out the reading itself (`collect`).

use std::borrow::Cow;
use std::ops::Range;

use super::collect::Collector;
use super::{Block, RowError, Ttl};
use crate::json::Scanner;

/// A checked request and what the planner needs to know of it. All spans are relative to
/// [`RequestView::bytes`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestView<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) members: Vec<(Cow<'a, str>, Range<usize>)>,
    pub(super) blocks: Vec<Block>,
    pub(super) model: Option<Cow<'a, str>>,
    pub(super) inference_geo: Option<Cow<'a, str>>,
    pub(super) max_tokens: MaxTokens,
    pub(super) stream: Option<bool>,
    pub(super) auto_mark: Option<Ttl>,
    pub(super) marks: usize,
    pub(super) images: usize,
    pub(super) unbounded: Option<&'static str>,
}

/// The `max_tokens` of a request, in tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum MaxTokens {
    /// Not there.
    #[default]
    Missing,
    /// The limit.
    Value(u64),
    /// There, but null, negative, fractional, beyond 64 bits or no number.
    NotAnInteger,
}

impl<'a> RequestView<'a> {
    /// Reads a request: one JSON object, checked as a whole, in one pass.
    ///
    /// # Errors
    ///
    /// When the bytes are not one JSON object, or repeat a key.
    pub fn parse(params: &'a [u8]) -> Result<Self, RowError> {
        let mut scanner = Scanner::new(params)?;
        if scanner.peek() != Some(b'{') {
            let start = scanner.pos();
            scanner.skip_value()?;
            return Err(RowError::wrong_type(start, "a request", "an object"));
        }
        let mut view = Collector::new(0).read(&mut scanner)?;
        scanner.end()?;
        view.bytes = params;
        Ok(view)
    }

    /// Reads the request object that begins at the scanner's position.
    pub(super) fn scan(scanner: &mut Scanner<'a>) -> Result<Self, RowError> {
        let start = scanner.pos();
        let mut view = Collector::new(start).read(scanner)?;
        view.bytes = scanner.slice(start..scanner.pos());
        Ok(view)
    }

    /// The exact bytes the view was read from.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The model id or alias; `None` if absent or no string.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// The limit on generated tokens.
    #[must_use]
    pub fn max_tokens(&self) -> MaxTokens {
        self.max_tokens
    }

    /// `stream`; `None` if absent or no boolean.
    #[must_use]
    pub fn stream(&self) -> Option<bool> {
        self.stream
    }

    /// The blocks in prompt order: tools, system, messages, whatever the order in the bytes.
    #[must_use]
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Whether automatic caching is asked for by a top-level `cache_control`.
    #[must_use]
    pub fn auto_cache(&self) -> bool {
        self.auto_mark.is_some()
    }

    /// The lifetime that a top-level `cache_control` asks for.
    #[must_use]
    pub fn auto_mark(&self) -> Option<Ttl> {
        self.auto_mark
    }

    /// The number of explicit `cache_control` marks, those on blocks within blocks (such as the
    /// content of a tool result) included.
    #[must_use]
    pub fn marks(&self) -> usize {
        self.marks
    }

    /// The number of images, those within other blocks included. An image's tokens follow its
    /// pixels, not its bytes.
    #[must_use]
    pub fn images(&self) -> usize {
        self.images
    }

    /// The bytes of a top-level member's value.
    #[must_use]
    pub fn member(&self, key: &str) -> Option<&'a [u8]> {
        self.members
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, span)| &self.bytes[span.clone()])
    }

    /// The top-level members in their order in the bytes: unescaped key, span of the value.
    pub fn members(&self) -> impl Iterator<Item = (&str, Range<usize>)> {
        self.members
            .iter()
            .map(|(name, span)| (&**name, span.clone()))
    }

    /// The request with another `max_tokens`, and no other byte changed; `None` if it has none.
    #[must_use]
    pub fn with_max_tokens(&self, max_tokens: u32) -> Option<Vec<u8>> {
        let mut members = self.members.iter();
        let (_, span) = members.find(|(name, _)| name == "max_tokens")?;
        let (before, after) = (&self.bytes[..span.start], &self.bytes[span.end..]);
        Some([before, max_tokens.to_string().as_bytes(), after].concat())
    }

    /// Why the length in UTF-8 bytes does not bound the input tokens, if so: `server tool`, `built-in
    /// tool` (its definition is longer than its bytes), `url source`, `file source` or `pdf source`
    /// (compressed, and every page is also read as an image).
    #[must_use]
    pub fn unbounded_input(&self) -> Option<&'static str> {
        self.unbounded
    }

    /// The requested inference geography; `None` if absent, null or no string.
    #[must_use]
    pub fn inference_geo(&self) -> Option<&str> {
        self.inference_geo.as_deref()
    }
}
