//! The scanner: a cursor over JSON text that checks everything it passes.
//!
//! Leaves out what members mean; readers pass closures that consume exactly one value each.

use std::borrow::Cow;
use std::ops::Range;

use super::keys::Keys;
use super::{JsonError, JsonErrorKind, MAX_DEPTH};

/// How many string bytes are looked at together; a whole number of vector registers.
const CHUNK: usize = 32;

/// A JSON string within the text, still escaped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JsonStr<'a> {
    raw: &'a [u8],
    start: usize,
    escaped: bool,
}

impl<'a> JsonStr<'a> {
    /// The bytes between the quotes.
    pub(crate) fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Where its opening quote is.
    pub(crate) fn offset(&self) -> usize {
        self.start
    }

    pub(crate) fn is_escaped(&self) -> bool {
        self.escaped
    }

    /// The UTF-8 bytes it stands for.
    pub(crate) fn unescaped(&self) -> Cow<'a, [u8]> {
        if self.escaped {
            Cow::Owned(unescape(self.raw))
        } else {
            Cow::Borrowed(self.raw)
        }
    }

    /// The text it stands for. Lossless, because a scanner made by [`Scanner::new`] has checked
    /// the encoding.
    pub(crate) fn text(&self) -> Cow<'a, str> {
        match self.unescaped() {
            Cow::Borrowed(raw) => match simdutf8::basic::from_utf8(raw) {
                Ok(text) => Cow::Borrowed(text),
                Err(_) => String::from_utf8_lossy(raw),
            },
            Cow::Owned(raw) => Cow::Owned(String::from_utf8_lossy(&raw).into_owned()),
        }
    }
}

/// Resolves the escapes of a string body that the scanner has passed.
fn unescape(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let escape = rest[at + 1];
        rest = &rest[at + 2..];
        match escape {
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => {
                let mut code = hex4(rest).unwrap_or(0);
                rest = &rest[4..];
                if (0xD800..0xDC00).contains(&code) {
                    // The scanner only passes a high surrogate that a low one follows.
                    let low = hex4(&rest[2..]).unwrap_or(0xDC00);
                    code = 0x1_0000 + ((code - 0xD800) << 10) + (low - 0xDC00);
                    rest = &rest[6..];
                }
                let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            other => out.push(other),
        }
    }
    out.extend_from_slice(rest);
    out
}

fn hex4(bytes: &[u8]) -> Option<u32> {
    bytes.get(..4)?.iter().try_fold(0, |code, byte| {
        let digit = char::from(*byte).to_digit(16)?;
        Some((code << 4) | digit)
    })
}

/// A cursor over JSON text.
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    pos: usize,
    depth: usize,
}

impl<'a> Scanner<'a> {
    /// A scanner over text whose encoding is checked here, once for all strings.
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, JsonError> {
        // The fast check only says whether; the standard one says where.
        if simdutf8::basic::from_utf8(bytes).is_ok() {
            return Ok(Self::unchecked(bytes));
        }
        match std::str::from_utf8(bytes) {
            Ok(_) => Ok(Self::unchecked(bytes)),
            Err(error) => Err(JsonError {
                offset: error.valid_up_to(),
                kind: JsonErrorKind::NotUtf8,
            }),
        }
    }

    /// A scanner that does not check the encoding, to look into the beginning of a long text.
    pub(crate) fn unchecked(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            pos: 0,
            depth: 0,
        }
    }

    /// The next byte to be read.
    pub(crate) fn pos(&self) -> usize {
        self.pos
    }

    /// The bytes of a span of this text.
    pub(crate) fn slice(&self, span: Range<usize>) -> &'a [u8] {
        &self.bytes[span]
    }

    /// Moves to the next byte that is no white space, and shows it.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.bytes.get(self.pos)?;
            if byte > b' ' || !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.pos += 1;
        }
    }

    /// Checks that nothing but white space is left.
    pub(crate) fn end(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.syntax("trailing characters")),
        }
    }

    /// Passes one value of any type and returns its span.
    pub(crate) fn skip_value(&mut self) -> Result<Range<usize>, JsonError> {
        let first = self.peek();
        let start = self.pos;
        match first {
            Some(b'"') => {
                self.string()?;
            }
            Some(b'{') => self.object(|scanner, _| scanner.skip_value().map(drop))?,
            Some(b'[') => self.array(|scanner, _| scanner.skip_value().map(drop))?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.literal(b"true")?,
            Some(b'f') => self.literal(b"false")?,
            Some(b'n') => self.literal(b"null")?,
            Some(_) => return Err(self.syntax("expected a value")),
            None => return Err(self.syntax("unexpected end")),
        }
        Ok(start..self.pos)
    }

    /// Passes one value; shows it if it is a string.
    pub(crate) fn string_value(&mut self) -> Result<Option<JsonStr<'a>>, JsonError> {
        if self.peek() == Some(b'"') {
            self.string().map(Some)
        } else {
            self.skip_value().map(|_| None)
        }
    }

    /// Reads an object that begins here; `member` gets each key and must consume its value.
    pub(crate) fn object<E: From<JsonError>>(
        &mut self,
        mut member: impl FnMut(&mut Self, &JsonStr<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.enter()?;
        if self.peek() == Some(b'}') {
            self.leave();
            return Ok(());
        }
        let mut keys = Keys::new();
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.syntax("expected a key").into());
            }
            let key = self.string()?;
            if !keys.insert(&key) {
                return Err(JsonError {
                    offset: key.offset(),
                    kind: JsonErrorKind::DuplicateKey(key.text().into_owned()),
                }
                .into());
            }
            if self.peek() != Some(b':') {
                return Err(self.syntax("expected `:`").into());
            }
            self.pos += 1;
            self.peek();
            member(self, &key)?;
            match self.peek() {
                Some(b',') => {
                    self.pos += 1;
                }
                Some(b'}') => {
                    self.leave();
                    return Ok(());
                }
                _ => return Err(self.syntax("expected `,` or `}`").into()),
            }
        }
    }

    /// Reads an array that begins here; `element` gets each index and must consume its value.
    pub(crate) fn array<E: From<JsonError>>(
        &mut self,
        mut element: impl FnMut(&mut Self, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        self.enter()?;
        if self.peek() == Some(b']') {
            self.leave();
            return Ok(());
        }
        for index in 0.. {
            self.peek();
            element(self, index)?;
            match self.peek() {
                Some(b',') => {
                    self.pos += 1;
                }
                Some(b']') => break,
                _ => return Err(self.syntax("expected `,` or `]`").into()),
            }
        }
        self.leave();
        Ok(())
    }

    /// Looks for a string member of the object that begins here, and reads no further than it.
    pub(crate) fn first_string(mut self, wanted: &[u8]) -> Option<Cow<'a, str>> {
        if self.peek() != Some(b'{') {
            return None;
        }
        self.pos += 1;
        while self.peek() == Some(b'"') {
            let key = self.string().ok()?;
            if self.peek() != Some(b':') {
                return None;
            }
            self.pos += 1;
            if *key.unescaped() == *wanted {
                let value = self.string_value().ok()??;
                // The encoding is unchecked so far: a replaced character would be another id.
                std::str::from_utf8(value.raw()).ok()?;
                return Some(value.text());
            }
            self.skip_value().ok()?;
            if self.peek() != Some(b',') {
                return None;
            }
            self.pos += 1;
            self.peek();
        }
        None
    }

    fn enter(&mut self) -> Result<(), JsonError> {
        if self.depth == MAX_DEPTH {
            return Err(JsonError {
                offset: self.pos,
                kind: JsonErrorKind::TooDeep,
            });
        }
        self.depth += 1;
        self.pos += 1;
        Ok(())
    }

    fn leave(&mut self) {
        self.depth -= 1;
        self.pos += 1;
    }

    #[cold]
    fn syntax(&self, what: &'static str) -> JsonError {
        JsonError {
            offset: self.pos,
            kind: JsonErrorKind::Syntax(what),
        }
    }

    /// Reads the string whose opening quote is here.
    #[inline]
    fn string(&mut self) -> Result<JsonStr<'a>, JsonError> {
        let start = self.pos;
        self.pos += 1;
        let mut escaped = false;
        loop {
            self.skip_plain();
            match self.bytes.get(self.pos) {
                Some(b'"') => {
                    let raw = &self.bytes[start + 1..self.pos];
                    self.pos += 1;
                    return Ok(JsonStr {
                        raw,
                        start,
                        escaped,
                    });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.syntax("control character in a string")),
                None => return Err(self.syntax("unterminated string")),
            }
        }
    }

    /// Moves to the next quote, backslash or control byte, or to the end.
    #[inline]
    fn skip_plain(&mut self) {
        let mut rest = &self.bytes[self.pos..];
        // A word at a time finds the exact place and is enough for most keys; a text that is
        // plain for a word is likely plain for long, so then whole chunks are tried.
        while let Some((word, _)) = rest.split_first_chunk::<8>() {
            let stops = stop_bits(u64::from_le_bytes(*word));
            if stops != 0 {
                self.pos = self.bytes.len() - rest.len() + (stops.trailing_zeros() / 8) as usize;
                return;
            }
            rest = &rest[8..];
            while let Some((chunk, after)) = rest.split_first_chunk::<CHUNK>() {
                let stops = chunk
                    .iter()
                    .fold(0, |stops, &b| stops | u8::from(is_stop(b)));
                if stops != 0 {
                    break;
                }
                rest = after;
            }
        }
        let plain = rest.iter().take_while(|b| !is_stop(**b)).count();
        self.pos = self.bytes.len() - rest.len() + plain;
    }

    /// Reads the escape whose backslash is here.
    fn escape(&mut self) -> Result<(), JsonError> {
        match self.bytes.get(self.pos + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.pos += 2;
                Ok(())
            }
            Some(b'u') => match self.hex_escape()? {
                0xD800..0xDC00 => {
                    let paired = self.bytes[self.pos..].starts_with(b"\\u")
                        && matches!(self.hex_escape()?, 0xDC00..0xE000);
                    if paired {
                        Ok(())
                    } else {
                        Err(self.syntax("unpaired surrogate"))
                    }
                }
                0xDC00..0xE000 => Err(self.syntax("unpaired surrogate")),
                _ => Ok(()),
            },
            Some(_) => Err(self.syntax("unknown escape")),
            None => Err(self.syntax("unterminated string")),
        }
    }

    /// Reads `\uXXXX`.
    fn hex_escape(&mut self) -> Result<u32, JsonError> {
        match self.bytes.get(self.pos + 2..).and_then(hex4) {
            Some(code) => {
                self.pos += 6;
                Ok(code)
            }
            None => Err(self.syntax("expected four hexadecimal digits")),
        }
    }

    fn literal(&mut self, literal: &'static [u8]) -> Result<(), JsonError> {
        if !self.bytes[self.pos..].starts_with(literal) {
            return Err(self.syntax("expected a value"));
        }
        self.pos += literal.len();
        Ok(())
    }

    fn digits(&mut self) -> usize {
        let digits = self.bytes[self.pos..]
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count();
        self.pos += digits;
        digits
    }

    fn number(&mut self) -> Result<(), JsonError> {
        let start = self.pos;
        if self.bytes[self.pos] == b'-' {
            self.pos += 1;
        }
        let zero = self.bytes.get(self.pos) == Some(&b'0');
        let mut whole = self.digits();
        if whole == 0 || (zero && whole > 1) {
            return Err(self.syntax("malformed number"));
        }
        if self.bytes.get(self.pos) == Some(&b'.') {
            self.pos += 1;
            if self.digits() == 0 {
                return Err(self.syntax("malformed number"));
            }
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.pos) {
            self.pos += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.pos) {
                self.pos += 1;
            }
            match self.digits() {
                0 => return Err(self.syntax("malformed number")),
                1 | 2 => whole += 100,
                _ => whole = usize::MAX,
            }
        }
        // Below 10^308 a number cannot be out of range; longer ones are rare enough to be asked
        // of serde_json, whose verdict is the one to agree with.
        if whole > 300 && serde_json::from_slice::<f64>(&self.bytes[start..self.pos]).is_err() {
            self.pos = start;
            return Err(self.syntax("number out of range"));
        }
        Ok(())
    }
}

fn is_stop(byte: u8) -> bool {
    // One `|`-ed expression without short cuts, so that the fold over a chunk becomes vectors.
    (byte == b'"') | (byte == b'\\') | (byte < 0x20)
}

/// The high bit of each byte of `word` that is a stop; exact up to the lowest one set.
#[inline]
fn stop_bits(word: u64) -> u64 {
    const LOW: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    let zero_bytes = |word: u64| word.wrapping_sub(LOW) & !word;
    let quotes = zero_bytes(word ^ (LOW * 0x22));
    let backslashes = zero_bytes(word ^ (LOW * 0x5C));
    let controls = word.wrapping_sub(LOW * 0x20) & !word;
    (quotes | backslashes | controls) & HIGH
}
