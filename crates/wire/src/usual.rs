//! Answers of the usual shape, read in one pass and as places in their text: nearly every result of
//! a batch is such a one.
//!
//! [`crate::result::ResultLine`] and [`crate::message::MessageView`] say what a line and a message
//! are; here is a shorter way to the same. Leaves out whatever has anything unusual about it, such
//! as several text blocks, an escape in a name, or a defect: nothing is said of that.

use std::ops::Range;

use crate::json::{JsonError, Scanner};
use crate::message::StopReason;
use crate::usage::{CacheCreation, ServerToolUse, Usage, UsageWire};

/// A result line that holds an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsualLine<'a> {
    /// The id the row was submitted with.
    pub custom_id: &'a str,
    /// The message object's place in the line.
    pub place: Range<usize>,
    /// The message; its places are places in the line.
    pub message: UsualMessage<'a>,
}

/// A message object with at most one text block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsualMessage<'a> {
    /// The model that answered.
    pub model: &'a str,
    /// Why generation ended.
    pub stop_reason: StopReason,
    /// What is billed.
    pub usage: Usage,
    /// Where the `usage` object is.
    pub usage_place: Range<usize>,
    /// Where the JSON string of the text block is, quotes included; `None` without one.
    pub text_place: Option<Range<usize>>,
}

impl<'a> UsualLine<'a> {
    /// Reads a line; `None` if it is not of the usual shape.
    #[must_use]
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        whole(line, |scanner| {
            let (mut custom_id, mut message, mut succeeded) = (None, None, false);
            members(scanner, |scanner, key| {
                match key {
                    b"custom_id" => custom_id = Some(plain(scanner)?),
                    b"result" => members(scanner, |scanner, key| {
                        match key {
                            b"type" => succeeded = plain(scanner)? == "succeeded",
                            b"message" => {
                                let start = scanner.pos();
                                let read = UsualMessage::read(scanner)?;
                                message = Some((start..scanner.pos(), read));
                            }
                            _ => pass(scanner)?,
                        }
                        Ok(())
                    })?,
                    _ => pass(scanner)?,
                }
                Ok(())
            })?;
            let (place, message) = message.filter(|_| succeeded).ok_or(Unusual)?;
            Ok(Self {
                custom_id: custom_id.ok_or(Unusual)?,
                place,
                message,
            })
        })
    }
}

impl<'a> UsualMessage<'a> {
    /// Reads a message object; `None` if it is not of the usual shape.
    #[must_use]
    pub fn parse(message: &'a [u8]) -> Option<Self> {
        whole(message, Self::read)
    }

    fn read(scanner: &mut Scanner<'a>) -> Result<Self, Unusual> {
        let (mut id, mut model, mut stop_reason) = (None, None, None);
        let (mut text, mut usage) = (None, None);
        members(scanner, |scanner, key| {
            match key {
                b"id" => id = Some(plain(scanner)?),
                b"model" => model = Some(plain(scanner)?),
                b"stop_reason" => stop_reason = or_null(scanner, plain)?,
                b"content" => text = Some(text_of(scanner)?),
                b"usage" => {
                    let start = scanner.pos();
                    let read = usage_of(scanner)?;
                    usage = Some((read, start..scanner.pos()));
                }
                _ => pass(scanner)?,
            }
            Ok(())
        })?;
        let (usage, usage_place) = usage.ok_or(Unusual)?;
        id.ok_or(Unusual)?;
        Ok(Self {
            model: model.ok_or(Unusual)?,
            stop_reason: stop_reason.map_or(StopReason::None, StopReason::from_name),
            usage: usage.checked().map_err(|_| Unusual)?,
            usage_place,
            text_place: text.ok_or(Unusual)?,
        })
    }
}

/// The text is not of the usual shape, which says nothing about whether it can be read.
struct Unusual;

impl From<JsonError> for Unusual {
    fn from(_: JsonError) -> Self {
        Self
    }
}

fn whole<'a, T>(
    text: &'a [u8],
    read: impl FnOnce(&mut Scanner<'a>) -> Result<T, Unusual>,
) -> Option<T> {
    let mut scanner = Scanner::new(text).ok()?;
    scanner.peek();
    let found = read(&mut scanner).ok()?;
    scanner.end().ok()?;
    Some(found)
}

/// Reads the object that must begin here.
fn members<'a>(
    scanner: &mut Scanner<'a>,
    mut member: impl FnMut(&mut Scanner<'a>, &[u8]) -> Result<(), Unusual>,
) -> Result<(), Unusual> {
    if scanner.peek() != Some(b'{') {
        return Err(Unusual);
    }
    // An escaped key may be one that is looked for.
    scanner.object(|scanner, key| match key.is_escaped() {
        false => member(scanner, key.raw()),
        true => Err(Unusual),
    })
}

fn pass(scanner: &mut Scanner<'_>) -> Result<(), Unusual> {
    scanner.skip_value()?;
    Ok(())
}

/// A string that stands for itself.
fn plain<'a>(scanner: &mut Scanner<'a>) -> Result<&'a str, Unusual> {
    let string = scanner.string_value()?.ok_or(Unusual)?;
    if string.is_escaped() {
        return Err(Unusual);
    }
    std::str::from_utf8(string.raw()).map_err(|_| Unusual)
}

fn or_null<'a, T>(
    scanner: &mut Scanner<'a>,
    read: impl FnOnce(&mut Scanner<'a>) -> Result<T, Unusual>,
) -> Result<Option<T>, Unusual> {
    if scanner.peek() == Some(b'n') {
        pass(scanner)?;
        return Ok(None);
    }
    read(scanner).map(Some)
}

/// A whole number without sign, point or exponent.
fn count(scanner: &mut Scanner<'_>) -> Result<u64, Unusual> {
    let place = scanner.skip_value()?;
    let digits = scanner.slice(place).iter();
    digits
        .map(|byte| Some(u64::from(byte.checked_sub(b'0')?)).filter(|digit| *digit < 10))
        .try_fold(0u64, |count, digit| {
            count.checked_mul(10)?.checked_add(digit?)
        })
        .ok_or(Unusual)
}

/// Where the string of the only text block is.
fn text_of(scanner: &mut Scanner<'_>) -> Result<Option<Range<usize>>, Unusual> {
    if scanner.peek() != Some(b'[') {
        return Err(Unusual);
    }
    let mut found = None;
    scanner.array(|scanner, _| {
        let (mut kind, mut text) = (None, None);
        members(scanner, |scanner, key| {
            match key {
                b"type" => kind = Some(plain(scanner)?),
                b"text" => {
                    let start = scanner.pos();
                    let string = scanner.string_value()?;
                    text = string.map(|_| start..scanner.pos());
                }
                _ => pass(scanner)?,
            }
            Ok(())
        })?;
        match (kind, text) {
            (None, _) | (Some("text"), None) => Err(Unusual),
            (Some("text"), Some(_)) if found.is_some() => Err(Unusual),
            (Some("text"), text) => {
                found = text;
                Ok(())
            }
            (Some(_), _) => Ok(()),
        }
    })?;
    Ok(found)
}

fn usage_of(scanner: &mut Scanner<'_>) -> Result<UsageWire, Unusual> {
    let owned = |scanner: &mut Scanner<'_>| plain(scanner).map(str::to_owned);
    let (mut input, mut output, mut wire) = (None, None, UsageWire::default());
    members(scanner, |scanner, key| {
        match key {
            b"input_tokens" => input = Some(count(scanner)?),
            b"output_tokens" => output = Some(count(scanner)?),
            b"cache_creation_input_tokens" => {
                wire.cache_creation_input_tokens = or_null(scanner, count)?;
            }
            b"cache_read_input_tokens" => wire.cache_read_input_tokens = or_null(scanner, count)?,
            b"cache_creation" => wire.cache_creation = or_null(scanner, writes_of)?,
            b"server_tool_use" => wire.server_tool_use = or_null(scanner, tools_of)?,
            b"service_tier" => wire.service_tier = or_null(scanner, owned)?,
            b"inference_geo" => wire.inference_geo = or_null(scanner, owned)?,
            b"speed" => wire.speed = or_null(scanner, owned)?,
            _ => pass(scanner)?,
        }
        Ok(())
    })?;
    wire.input_tokens = input.ok_or(Unusual)?;
    wire.output_tokens = output.ok_or(Unusual)?;
    Ok(wire)
}

fn writes_of(scanner: &mut Scanner<'_>) -> Result<CacheCreation, Unusual> {
    let mut writes = CacheCreation::default();
    members(scanner, |scanner, key| {
        match key {
            b"ephemeral_5m_input_tokens" => {
                writes.ephemeral_5m_input_tokens = or_null(scanner, count)?;
            }
            b"ephemeral_1h_input_tokens" => {
                writes.ephemeral_1h_input_tokens = or_null(scanner, count)?;
            }
            _ => pass(scanner)?,
        }
        Ok(())
    })?;
    Ok(writes)
}

fn tools_of(scanner: &mut Scanner<'_>) -> Result<ServerToolUse, Unusual> {
    let mut tools = ServerToolUse::default();
    members(scanner, |scanner, key| {
        match key {
            b"web_search_requests" => tools.web_search_requests = or_null(scanner, count)?,
            _ => pass(scanner)?,
        }
        Ok(())
    })?;
    Ok(tools)
}
