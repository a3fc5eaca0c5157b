//! A streamed answer put together: the message that the same call would have been answered with, had it not
//! been streamed (Anthropic docs, streaming).
//!
//! Texts grow by the bytes that were sent, escapes and all; members that we do not know are kept. Counters in
//! `usage` are cumulative: the last word on each holds. Leaves out the framing (`sse`) and what an answer means
//! (`message`).

use std::ops::Range;

use crate::decode::DecodeError;
use crate::error::ErrorBody;
use crate::json::{JsonError, Scanner};

const WHAT: &str = "stream";

/// Why a stream that began well gives no message. What it cost is then not known: usage comes at its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// An `error` event.
    #[error("the stream ended with an error: {}", .0.message)]
    Failed(ErrorBody),
    /// It ended before the message did.
    #[error("the stream ended before the message did")]
    Incomplete,
    /// An event that is not what the API documents.
    #[error(transparent)]
    Unreadable(#[from] DecodeError),
}

impl From<JsonError> for StreamError {
    fn from(error: JsonError) -> Self {
        DecodeError::new(WHAT, error).into()
    }
}

/// A request that asks for its answer as a stream; nothing else in it changes.
///
/// ```
/// use offpeak_wire::stream::asked;
///
/// assert_eq!(asked(br#"{"max_tokens":9}"#).unwrap(), br#"{"stream":true,"max_tokens":9}"#);
/// assert_eq!(asked(br#"{"a":1, "stream": false}"#).unwrap(), br#"{"a":1, "stream": true}"#);
/// ```
///
/// # Errors
///
/// When the request is no object.
pub fn asked(request: &[u8]) -> Result<Vec<u8>, JsonError> {
    let mut scanner = Scanner::new(request)?;
    scanner.peek();
    let start = scanner.pos() + 1;
    let (mut stated, mut empty) = (None, true);
    scanner.object::<JsonError>(|scanner, key| {
        let value = scanner.skip_value()?;
        empty = false;
        if *key.unescaped() == *b"stream" {
            stated = Some(value);
        }
        Ok(())
    })?;
    let (place, text) = match stated {
        Some(value) => (value, "true"),
        None if empty => (start..start, "\"stream\":true"),
        None => (start..start, "\"stream\":true,"),
    };
    let mut asked = request[..place.start].to_vec();
    asked.extend_from_slice(text.as_bytes());
    asked.extend_from_slice(&request[place.end..]);
    Ok(asked)
}

/// The members of an object: keys and values as they were spelt, in their order.
#[derive(Debug, Clone, Default)]
struct Members(Vec<(Vec<u8>, Vec<u8>)>);

impl Members {
    fn parse(object: &[u8]) -> Result<Self, StreamError> {
        let mut members = Vec::new();
        let mut scanner = Scanner::new(object)?;
        scanner.object::<StreamError>(|scanner, key| {
            let value: Range<usize> = scanner.skip_value()?;
            let value = scanner.slice(value).to_vec();
            members.push((key.unescaped().into_owned(), value));
            Ok(())
        })?;
        scanner.end()?;
        Ok(Self(members))
    }

    fn get(&self, key: &str) -> Option<&[u8]> {
        let found = self.0.iter().find(|(name, _)| name == key.as_bytes());
        found.map(|(_, value)| value.as_slice())
    }

    fn object(&self, key: &str) -> Result<Self, StreamError> {
        let value = self.get(key);
        let value = value.ok_or_else(|| DecodeError::new(WHAT, format!("no `{key}`")))?;
        Self::parse(value)
    }

    /// A string's text, without its quotes and still escaped.
    fn raw_text(&self, key: &str) -> Result<&[u8], StreamError> {
        let value = self.get(key);
        let text = value.and_then(|value| value.strip_prefix(b"\"")?.strip_suffix(b"\""));
        text.ok_or_else(|| DecodeError::new(WHAT, format!("no text `{key}`")).into())
    }

    fn text(&self, key: &str) -> Result<String, StreamError> {
        let mut scanner = Scanner::new(self.get(key).unwrap_or_default())?;
        let text = scanner.string_value()?;
        let text = text.map(|text| text.text().into_owned());
        text.ok_or_else(|| DecodeError::new(WHAT, format!("no text `{key}`")).into())
    }

    fn set(&mut self, key: &[u8], value: Vec<u8>) {
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key.to_vec(), value)),
        }
    }

    /// Makes a text longer; one that is not there, or is null, begins so.
    fn grow(&mut self, key: &str, more: &[u8]) {
        let mut text = match self.get(key) {
            Some(old) if old.starts_with(b"\"") => old[..old.len() - 1].to_vec(),
            _ => b"\"".to_vec(),
        };
        text.extend_from_slice(more);
        text.push(b'"');
        self.set(key.as_bytes(), text);
    }

    /// Appends to an array; one that is not there, or is null, begins so.
    fn append(&mut self, key: &str, element: &[u8]) {
        let mut array = match self.get(key) {
            Some(old) if old.starts_with(b"[") => old[..old.len() - 1].to_vec(),
            _ => b"[".to_vec(),
        };
        if array.iter().skip(1).any(|byte| !byte.is_ascii_whitespace()) {
            array.push(b',');
        }
        array.extend_from_slice(element);
        array.push(b']');
        self.set(key.as_bytes(), array);
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (at, (key, value)) in self.0.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            let key = String::from_utf8_lossy(key);
            serde_json::to_writer(&mut *out, &key).expect("a text can be written to memory");
            out.push(b':');
            out.extend_from_slice(value);
        }
        out.push(b'}');
    }
}

/// A content block that is being sent.
#[derive(Debug, Clone, Default)]
struct Block {
    members: Members,
    /// The JSON text of a tool's input so far.
    input: String,
}

impl Block {
    fn grow(&mut self, delta: &Members) -> Result<(), StreamError> {
        match delta.text("type")?.as_str() {
            "text_delta" => self.members.grow("text", delta.raw_text("text")?),
            "thinking_delta" => self.members.grow("thinking", delta.raw_text("thinking")?),
            "signature_delta" => self.members.grow("signature", delta.raw_text("signature")?),
            "input_json_delta" => self.input.push_str(&delta.text("partial_json")?),
            "citations_delta" => {
                let citation = delta.get("citation").unwrap_or(b"null");
                self.members.append("citations", citation);
            }
            // What a later version may send beside these.
            _ => {}
        }
        Ok(())
    }

    fn write(mut self, out: &mut Vec<u8>) {
        // An input that `max_tokens` cut short is no JSON: the block keeps the empty one that it began with.
        if crate::json::validate(self.input.as_bytes()).is_ok() {
            self.members.set(b"input", self.input.into_bytes());
        }
        self.members.write(out);
    }
}

/// A message that is being put together.
///
/// ```
/// use offpeak_wire::stream::Assembly;
///
/// let mut assembly = Assembly::default();
/// for event in [
///     r#"{"type":"message_start","message":{"id":"msg_1","content":[],"usage":{"output_tokens":1}}}"#,
///     r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
///     r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}"#,
///     r#"{"type":"content_block_stop","index":0}"#,
///     r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}"#,
///     r#"{"type":"message_stop"}"#,
/// ] {
///     assembly.push(event.as_bytes()).unwrap();
/// }
/// let whole = r#"{"id":"msg_1","content":[{"type":"text","text":"Hi"}],"usage":{"output_tokens":2},"stop_reason":"end_turn"}"#;
/// assert_eq!(assembly.finish().unwrap(), whole.as_bytes());
/// ```
#[derive(Debug, Clone, Default)]
pub struct Assembly {
    message: Option<Members>,
    blocks: Vec<Block>,
    stopped: bool,
}

impl Assembly {
    /// Takes the data of the next event.
    ///
    /// # Errors
    ///
    /// When it is an error, or not what the API documents; nothing comes of the stream then.
    pub fn push(&mut self, data: &[u8]) -> Result<(), StreamError> {
        let event = Members::parse(data)?;
        match event.text("type")?.as_str() {
            "message_start" => self.message = Some(event.object("message")?),
            "content_block_start" => {
                let members = event.object("content_block")?;
                let input = String::new();
                self.blocks.push(Block { members, input });
            }
            "content_block_delta" => {
                let index = event.get("index").unwrap_or_default();
                let index = std::str::from_utf8(index).ok().and_then(|n| n.parse().ok());
                let block = index.and_then(|index: usize| self.blocks.get_mut(index));
                let no_block = || DecodeError::new(WHAT, "a piece of a block that did not begin");
                block.ok_or_else(no_block)?.grow(&event.object("delta")?)?;
            }
            "message_delta" => {
                let Some(message) = &mut self.message else {
                    return Err(DecodeError::new(WHAT, "it does not begin with a message").into());
                };
                for (key, value) in event.object("delta")?.0 {
                    message.set(&key, value);
                }
                let mut usage = message.object("usage")?;
                // A counter that is null here was told before, or not at all.
                let told = event.object("usage")?.0.into_iter();
                for (key, value) in told.filter(|(_, value)| value != b"null") {
                    usage.set(&key, value);
                }
                let mut merged = Vec::new();
                usage.write(&mut merged);
                message.set(b"usage", merged);
            }
            "message_stop" => self.stopped = true,
            "error" => return Err(StreamError::Failed(ErrorBody::parse_statusless(data))),
            // A `ping`, the end of a block, and what a later version may send.
            _ => {}
        }
        Ok(())
    }

    /// Whether the message has come to its end.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.stopped
    }

    /// The message.
    ///
    /// # Errors
    ///
    /// When its end did not come.
    pub fn finish(self) -> Result<Vec<u8>, StreamError> {
        let (Some(mut message), true) = (self.message, self.stopped) else {
            return Err(StreamError::Incomplete);
        };
        let mut content = b"[".to_vec();
        for (at, block) in self.blocks.into_iter().enumerate() {
            if at > 0 {
                content.push(b',');
            }
            block.write(&mut content);
        }
        content.push(b']');
        message.set(b"content", content);
        let mut whole = Vec::new();
        message.write(&mut whole);
        Ok(whole)
    }
}
