//! Server-sent events, decoded from bytes that arrive in any pieces (WHATWG HTML, server-sent
//! events; Anthropic docs, streaming).
//!
//! Owns the framing and nothing of what events say: the data of an event is handed out byte for
//! byte. Leaves out the reconnection fields `id` and `retry`, which the API does not send, and any
//! check of the text's encoding.

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// The event's name; empty if it has none.
    pub name: Vec<u8>,
    /// Its data, lines joined by a line feed.
    pub data: Vec<u8>,
}

/// More bytes without the end of an event than we take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of more than {limit} bytes")]
pub struct EventTooLong {
    /// The most bytes of one event.
    pub limit: usize,
}

/// The most bytes of one event, unless told otherwise.
pub const MAX_EVENT_BYTES: usize = 64 * 1024 * 1024;

/// A decoder: bytes in, events out, whatever the pieces.
///
/// ```
/// use offpeak_wire::sse::Decoder;
///
/// let mut decoder = Decoder::default();
/// let mut events = Vec::new();
/// for piece in [&b"event: pi"[..], b"ng\r", b"\ndata: {}\n\r\n"] {
///     decoder.push(piece, &mut events).unwrap();
/// }
/// assert_eq!((&events[0].name[..], &events[0].data[..]), (&b"ping"[..], &b"{}"[..]));
/// assert!(decoder.is_between_events());
/// ```
#[derive(Debug, Clone)]
pub struct Decoder {
    /// Of the line that has not ended.
    line: Vec<u8>,
    event: Event,
    /// Whether the event has any data line, which may be empty.
    has_data: bool,
    /// The last byte was a CR: an LF right after it belongs to the same line break.
    after_cr: bool,
    /// Whether the first line has ended: a byte order mark may stand before it.
    started: bool,
    limit: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::with_limit(MAX_EVENT_BYTES)
    }
}

impl Decoder {
    /// A decoder that takes events of at most this many bytes.
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        Self {
            line: Vec::new(),
            event: Event::default(),
            has_data: false,
            after_cr: false,
            started: false,
            limit,
        }
    }

    /// Takes the next bytes and appends the events that they complete. An event that the stream's
    /// end cuts short is none.
    ///
    /// # Errors
    ///
    /// When an event is too long; the decoder is of no use after that.
    pub fn push(&mut self, mut bytes: &[u8], events: &mut Vec<Event>) -> Result<(), EventTooLong> {
        while let Some(&first) = bytes.first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = memchr::memchr2(b'\n', b'\r', bytes);
            let (text, rest) = match end {
                None => (bytes, &bytes[bytes.len()..]),
                Some(end) => (&bytes[..end], &bytes[end + 1..]),
            };
            let held = self.line.len() + self.event.data.len() + self.event.name.len();
            if held + text.len() > self.limit {
                return Err(EventTooLong { limit: self.limit });
            }
            self.line.extend_from_slice(text);
            if let Some(end) = end {
                self.after_cr = bytes[end] == b'\r';
                events.extend(self.end_line());
            }
            bytes = rest;
        }
        Ok(())
    }

    /// Whether the stream may end here without cutting an event short.
    #[must_use]
    pub fn is_between_events(&self) -> bool {
        self.line.is_empty() && !self.has_data && self.event.name.is_empty()
    }

    fn end_line(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        let mut line_text = &line[..];
        if !std::mem::replace(&mut self.started, true) {
            line_text = line_text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line_text);
        }
        if line_text.is_empty() {
            let event = std::mem::take(&mut self.event);
            // An event without data is dropped.
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = match memchr::memchr(b':', line_text) {
            None => (line_text, &b""[..]),
            Some(at) => {
                let value = &line_text[at + 1..];
                (&line_text[..at], value.strip_prefix(b" ").unwrap_or(value))
            }
        };
        match field {
            b"event" => self.event.name = value.to_vec(),
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push(b'\n');
                }
                self.event.data.extend_from_slice(value);
            }
            // A comment (no field name), or a field that means nothing here.
            _ => {}
        }
        // The next line may be as long.
        self.line = line;
        self.line.clear();
        None
    }
}
