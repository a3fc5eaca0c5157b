//! Owns the content blocks: which there are, what they hold, and where (Anthropic docs, create a
//! message). How blocks refer to each other is `messages`' matter.

use std::fmt::Display;

use super::marks;
use super::shape::{
    At, Field, Kind, Values, invalid, is_one_of, may, must, object, one_of, tag, unknown_tag,
};
use super::{Terms, Verdict};
use crate::answer::is_ours;
use crate::pick;

const IMAGES: &[&str] = &["image/jpeg", "image/png", "image/gif", "image/webp"];

/// Where a block stands, which decides what it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    User,
    Assistant,
    /// Within a `tool_result`.
    Result,
    /// A system message within the conversation.
    System,
    /// Within a `search_result`: text only.
    Text,
}

const MARK: Field = may("cache_control", Kind::Any);
const CALLER: Field = may("caller", Kind::Object);
const TOOLSET: Field = may("toolset_name", Kind::String);

/// What a block of a type holds. A mark, if it takes one, stands first.
const TYPES: &[(&str, &[Field])] = &[
    ("advisor_tool_result", RESULT),
    ("bash_code_execution_tool_result", RESULT),
    (
        "browser_state",
        &[
            MARK,
            must("tabs", Kind::List),
            may("state_changes", Kind::List),
        ],
    ),
    ("code_execution_tool_result", RESULT),
    (
        "compaction",
        &[
            MARK,
            may("content", Kind::String),
            may("encrypted_content", Kind::String),
            may("signature", Kind::String),
            may("tool_changes", Kind::List),
        ],
    ),
    ("container_upload", &[MARK, must("file_id", Kind::String)]),
    (
        "document",
        &[
            MARK,
            must("source", Kind::Object),
            may("title", Kind::String),
            may("context", Kind::String),
            may("citations", Kind::Object),
        ],
    ),
    (
        "fallback",
        &[must("to", Kind::Object), may("trigger", Kind::Any)],
    ),
    (
        "image",
        &[
            MARK,
            must("source", Kind::Object),
            may("transformations", Kind::Object),
        ],
    ),
    (
        "mcp_tool_listing",
        &[
            must("mcp_server_name", Kind::String),
            must("tools", Kind::List),
        ],
    ),
    (
        "mcp_tool_result",
        &[
            MARK,
            must("tool_use_id", Kind::String),
            may("content", Kind::Text),
            may("is_error", Kind::Boolean),
        ],
    ),
    (
        "mcp_tool_use",
        &[
            MARK,
            must("id", Kind::String),
            must("name", Kind::String),
            must("server_name", Kind::String),
            must("input", Kind::Object),
        ],
    ),
    ("redacted_thinking", &[must("data", Kind::String)]),
    (
        "search_result",
        &[
            MARK,
            must("content", Kind::List),
            must("source", Kind::String),
            must("title", Kind::String),
            may("citations", Kind::Object),
        ],
    ),
    (
        "server_tool_use",
        &[
            MARK,
            must("id", Kind::String),
            must("name", Kind::String),
            must("input", Kind::Object),
            CALLER,
        ],
    ),
    (
        "text",
        &[
            MARK,
            must("text", Kind::String),
            may("citations", Kind::List),
        ],
    ),
    ("text_editor_code_execution_tool_result", RESULT),
    (
        "thinking",
        &[
            must("signature", Kind::String),
            must("thinking", Kind::String),
        ],
    ),
    ("tool_addition", &[MARK, must("tool", Kind::Object)]),
    ("tool_reference", &[MARK, must("tool_name", Kind::String)]),
    ("tool_removal", &[MARK, must("tool", Kind::Object)]),
    (
        "tool_result",
        &[
            MARK,
            must("tool_use_id", Kind::String),
            may("content", Kind::Text),
            may("is_error", Kind::Boolean),
            TOOLSET,
        ],
    ),
    ("tool_search_tool_result", RESULT),
    (
        "tool_use",
        &[
            MARK,
            must("id", Kind::String),
            must("name", Kind::String),
            must("input", Kind::Object),
            CALLER,
            TOOLSET,
        ],
    ),
    ("web_fetch_tool_result", RESULT),
    ("web_search_tool_result", RESULT),
];

const RESULT: &[Field] = &[
    MARK,
    must("tool_use_id", Kind::String),
    must("content", Kind::Any),
    CALLER,
];

/// The types that a place takes, in the order in which the API lists them.
fn taken(place: Place, terms: Terms<'_>) -> Vec<&'static str> {
    let of = |tag: &&str| match place {
        Place::Text => *tag == "text",
        Place::System => matches!(*tag, "text" | "tool_addition" | "tool_removal"),
        Place::Result => matches!(
            *tag,
            "browser_state" | "document" | "image" | "search_result" | "text" | "tool_reference"
        ),
        Place::User => !matches!(*tag, "browser_state" | "tool_reference"),
        // A document of the assistant is gone since 2026-10-21 (Anthropic docs, versioning).
        Place::Assistant => {
            !matches!(*tag, "browser_state" | "tool_reference")
                && (*tag != "document" || !terms.is_newest())
        }
    };
    TYPES.iter().map(|(tag, _)| *tag).filter(of).collect()
}

/// A checked block.
pub(super) struct Seen<'a> {
    pub(super) tag: &'static str,
    pub(super) values: Values<'a>,
}

/// Checks one block and what lies within it.
pub(super) fn block<'a>(
    raw: &'a [u8],
    path: &dyn Display,
    place: Place,
    terms: Terms<'_>,
) -> Verdict<Seen<'a>> {
    let found = tag(raw, path)?;
    let known = TYPES.iter().find(|(tag, _)| *tag == found);
    let excluded = match (place, found) {
        (Place::User, "text" | "image" | "tool_result")
        | (Place::Assistant, "text" | "tool_use") => false,
        _ => !taken(place, terms).contains(&found),
    };
    let Some(&(tag, fields)) = known.filter(|_| !excluded) else {
        return Err(unknown_tag(path, found, &taken(place, terms)));
    };
    let here = At(path, tag);
    let values = object(raw, &here, fields)?;
    if let Some(mark) = values[0].filter(|_| fields[0].0 == "cache_control") {
        marks::shape(mark, &At(&here, "cache_control"))?;
    }
    match tag {
        // Citations belong to what the assistant said since 2026-10-21 (Anthropic docs, versioning).
        "text"
            if place != Place::Assistant
                && terms.is_newest()
                && pick::elements(values[2].unwrap_or_default())
                    .next()
                    .is_some() =>
        {
            return Err(invalid(
                &At(&here, "citations"),
                "Extra inputs are not permitted",
            ));
        }
        "image" => image(values[1].unwrap_or_default(), &At(&here, "source"))?,
        "document" => document(values[1].unwrap_or_default(), &At(&here, "source"), terms)?,
        "search_result" => {
            let list = values[1].unwrap_or_default();
            inner(list, &At(&here, "content"), Place::Text, terms)?;
        }
        "tool_result" => {
            let content = values[2].unwrap_or_default();
            inner(content, &At(&here, "content"), Place::Result, terms)?;
        }
        "thinking" if terms.verify_thinking => thinking(&values, path)?,
        "tool_use" => {
            let id = values[1].unwrap_or_default();
            let id = id.get(1..id.len().saturating_sub(1)).unwrap_or_default();
            let plain = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_' || *b == b'-';
            if id.is_empty() || !id.iter().all(plain) {
                let words = "String should match pattern '^[a-zA-Z0-9_-]+$'";
                return Err(invalid(&At(&here, "id"), words));
            }
        }
        _ => {}
    }
    Ok(Seen { tag, values })
}

fn inner(list: &[u8], path: &dyn Display, place: Place, terms: Terms<'_>) -> Verdict {
    for (index, raw) in pick::elements(list).enumerate() {
        block(raw, &At(path, index), place, terms)?;
    }
    Ok(())
}

/// A thinking block comes back as it was handed out, or not at all.
fn thinking(values: &Values<'_>, path: &dyn Display) -> Verdict {
    let text = |index: usize| values[index].and_then(pick::text).unwrap_or_default();
    if is_ours(&text(0), &text(1)) {
        return Ok(());
    }
    Err(invalid(path, "Invalid `signature` in `thinking` block"))
}

fn image(source: &[u8], path: &dyn Display) -> Verdict {
    match tag(source, path)? {
        "base64" => {
            let here = At(path, "base64");
            let fields = [must("data", Kind::String), must("media_type", Kind::String)];
            let values = object(source, &here, &fields)?;
            media_type(values[1], IMAGES, &here)
        }
        other => reference(source, path, other, &["base64", "file", "url"]),
    }
}

fn document(source: &[u8], path: &dyn Display, terms: Terms<'_>) -> Verdict {
    let encoded = [must("data", Kind::String), must("media_type", Kind::String)];
    match tag(source, path)? {
        "base64" => {
            let here = At(path, "base64");
            let values = object(source, &here, &encoded)?;
            media_type(values[1], &["application/pdf"], &here)
        }
        "text" => {
            let here = At(path, "text");
            let values = object(source, &here, &encoded)?;
            media_type(values[1], &["text/plain"], &here)
        }
        "content" => {
            let here = At(path, "content");
            let values = object(source, &here, &[must("content", Kind::Text)])?;
            let list = values[0].unwrap_or_default();
            inner(list, &At(&here, "content"), Place::Result, terms)
        }
        other => reference(
            source,
            path,
            other,
            &["base64", "content", "file", "text", "url"],
        ),
    }
}

/// Data that is not in the request.
fn reference(source: &[u8], path: &dyn Display, kind: &str, known: &[&str]) -> Verdict {
    let field = match kind {
        "url" => must("url", Kind::String),
        "file" => must("file_id", Kind::String),
        other => return Err(unknown_tag(path, other, known)),
    };
    object(source, &At(path, kind), &[field]).map(drop)
}

fn media_type(value: Option<&[u8]>, known: &[&str], path: &dyn Display) -> Verdict {
    if is_one_of(value.unwrap_or_default(), known) {
        return Ok(());
    }
    Err(invalid(&At(path, "media_type"), &one_of(known)))
}
