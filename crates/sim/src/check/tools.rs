//! Owns tools and how they are to be chosen (Anthropic docs, define tools). What a strict tool's
//! schema may say is `schemas`' matter.

use std::borrow::Cow;

use offpeak_wire::request::RequestView;

use super::shape::{At, Kind, Values, invalid, may, must, object, one_of, tag, unknown_tag};
use super::{Verdict, marks};
use crate::http::Problem;
use crate::pick;

/// Types of tools that the API defines. What they hold is not checked.
const DEFINED: &[&str] = &[
    "advisor_20260301",
    "bash_20241022",
    "bash_20250124",
    "browser_toolset_20260801",
    "code_execution_20250522",
    "code_execution_20250825",
    "code_execution_20260120",
    "code_execution_20260521",
    "computer_20241022",
    "computer_20250124",
    "computer_20251124",
    "computer_toolset_20260801",
    "custom",
    "mcp_toolset",
    "memory_20250818",
    "text_editor_20241022",
    "text_editor_20250124",
    "text_editor_20250429",
    "text_editor_20250728",
    "tool_search_tool_bm25",
    "tool_search_tool_bm25_20251119",
    "tool_search_tool_regex",
    "tool_search_tool_regex_20251119",
    "web_fetch_20250910",
    "web_fetch_20260209",
    "web_fetch_20260309",
    "web_fetch_20260318",
    "web_search_20250305",
    "web_search_20260209",
    "web_search_20260318",
];

/// Characters of a tool's name.
const NAME_MAX: usize = 64;

pub(super) fn check(view: &RequestView<'_>) -> Verdict {
    let list = view.member("tools").filter(|raw| *raw != b"null");
    if list.is_some_and(|raw| raw.first() != Some(&b'[')) {
        return Err(Problem::invalid("tools: Input should be a valid list"));
    }
    let mut names: Vec<Cow<'_, str>> = Vec::new();
    for (nth, raw) in pick::elements(list.unwrap_or_default()).enumerate() {
        one(nth, raw)?;
        if let Some(name) = pick::member(raw, "name").and_then(pick::text) {
            if names.contains(&name) {
                return Err(Problem::invalid("tools: Tool names must be unique."));
            }
            names.push(name);
        }
    }
    match view.member("tool_choice").filter(|raw| *raw != b"null") {
        None => Ok(()),
        Some(choice) => chosen(choice, &names),
    }
}

fn one(nth: usize, raw: &[u8]) -> Verdict {
    let path = At(&"tools", nth);
    let kind = match pick::member(raw, "type") {
        None | Some(b"null") => "custom",
        Some(_) => tag(raw, &path)?,
    };
    if kind != "custom" {
        if !DEFINED.contains(&kind) {
            return Err(unknown_tag(&path, kind, DEFINED));
        }
        return Ok(());
    }
    let path = At(&path, "custom");
    let fields = [
        must("name", Kind::String),
        must("input_schema", Kind::Object),
        may("cache_control", Kind::Any),
        may("description", Kind::String),
        may("strict", Kind::Boolean),
        may("defer_loading", Kind::Boolean),
        may("eager_input_streaming", Kind::Boolean),
        may("allowed_callers", Kind::List),
        may("input_examples", Kind::List),
    ];
    let [name, schema, mark, ..]: Values<'_> = object(raw, &path, &fields)?;
    let name = name.and_then(pick::text).unwrap_or_default();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(plain) {
        return Err(invalid(
            &At(&path, "name"),
            "String should match pattern '^[a-zA-Z0-9_-]{1,64}$'",
        ));
    }
    let kind = At(&path, "input_schema.type");
    match pick::member(schema.unwrap_or_default(), "type") {
        Some(b"\"object\"") => {}
        None => return Err(invalid(&kind, "Field required")),
        Some(_) => return Err(invalid(&kind, &one_of(&["object"]))),
    }
    match mark {
        Some(mark) => marks::shape(mark, &At(&path, "cache_control")),
        None => Ok(()),
    }
}

fn chosen(choice: &[u8], names: &[Cow<'_, str>]) -> Verdict {
    let known = ["any", "auto", "none", "tool"];
    let kind = tag(choice, &"tool_choice")?;
    if !known.contains(&kind) {
        return Err(unknown_tag(&"tool_choice", kind, &known));
    }
    let path = At(&"tool_choice", kind);
    let parallel = may("disable_parallel_tool_use", Kind::Boolean);
    let values = match kind {
        "tool" => object(choice, &path, &[must("name", Kind::String), parallel])?,
        "none" => object(choice, &path, &[])?,
        _ => object(choice, &path, &[parallel])?,
    };
    match values[0].and_then(pick::text) {
        Some(name) if kind == "tool" && !names.is_empty() && !names.contains(&name) => Err(
            Problem::invalid(format!("Tool '{name}' not found in provided tools")),
        ),
        _ => Ok(()),
    }
}

/// A choice between no tools.
pub(super) fn choice_of_none(view: &RequestView<'_>) -> Verdict {
    let given = |key| {
        view.member(key)
            .filter(|raw| !matches!(*raw, b"null" | b"[]"))
    };
    let choice = given("tool_choice").and_then(|choice| pick::member(choice, "type"));
    if given("tools").is_none() && choice.is_some_and(|kind| kind != b"\"none\"") {
        return Err(Problem::invalid(
            "tool_choice: may only be specified while providing tools.",
        ));
    }
    Ok(())
}
