//! Owns the conversation: its roles, its blocks' order, and that calls of tools and their results
//! belong together (Anthropic docs, handling stop reasons).

use std::borrow::Cow;

use offpeak_wire::request::RequestView;

use super::blocks::{self, Place, Seen};
use super::shape::{At, Field, Kind, invalid, may, must, object};
use super::{Terms, Verdict, marks};
use crate::capability::Generation;
use crate::http::Problem;
use crate::pick;

/// Messages in one request.
const MOST: usize = 100_000;

pub(super) fn check(view: &RequestView<'_>, terms: Terms<'_>) -> Verdict {
    let raw = view.member("messages");
    let raw = raw.ok_or_else(|| Problem::invalid("messages: Field required"))?;
    if raw.first() != Some(&b'[') {
        return Err(Problem::invalid("messages: Input should be a valid list"));
    }
    let mut calls = Calls::default();
    let mut count = 0;
    for (index, message) in pick::elements(raw).enumerate() {
        count = index + 1;
        one(index, message, terms, &mut calls)?;
    }
    if count == 0 {
        return Err(Problem::invalid(
            "messages: at least one message is required",
        ));
    }
    if count > MOST {
        return Err(Problem::invalid(format!(
            "messages: List should have at most {MOST} items after validation, not {count}"
        )));
    }
    calls.end()
}

fn one<'a>(index: usize, message: &'a [u8], terms: Terms<'_>, calls: &mut Calls<'a>) -> Verdict {
    let path = At(&"messages", index);
    let of_system = [
        must("role", Kind::Any),
        may("content", Kind::Any),
        may("clear_at", Kind::String),
        may("output_config", Kind::Object),
    ];
    let fields = [must("role", Kind::Any), must("content", Kind::Any)];
    let system = pick::member(message, "role") == Some(b"\"system\"");
    let fields: &[Field] = if system { &of_system } else { &fields };
    let [role, content, ..] = object(message, &path, fields)?;
    let role = role.and_then(pick::text).unwrap_or_default();
    let place = match &*role {
        "user" => Place::User,
        "assistant" => Place::Assistant,
        "system" if index == 0 => {
            return Err(invalid(
                &path,
                "use the top-level 'system' parameter for the initial system prompt",
            ));
        }
        "system" => Place::System,
        _ => {
            return Err(invalid(
                &At(&path, "role"),
                "Input should be 'user' or 'assistant'",
            ));
        }
    };
    calls.turn(place)?;
    let content = content.unwrap_or_default();
    if content == b"\"\"" {
        return Err(empty_text());
    }
    match content.first() {
        Some(b'"') => return Ok(()),
        Some(b'[') => {}
        None if system => return Ok(()),
        _ => {
            return Err(invalid(
                &At(&path, "content"),
                "Input should be a valid list",
            ));
        }
    }
    let path = At(&path, "content");
    for (nth, raw) in pick::elements(content).enumerate() {
        let seen = blocks::block(raw, &At(&path, nth), place, terms)?;
        if seen.tag == "text" && seen.values[1] == Some(b"\"\"") {
            return Err(empty_text());
        }
        calls.see(index, nth, &seen)?;
    }
    Ok(())
}

fn empty_text() -> Problem {
    Problem::invalid("messages: text content blocks must be non-empty")
}

/// Tool calls that wait for their results. Turns of one role in a row count as one.
#[derive(Default)]
struct Calls<'a> {
    turn: Option<Place>,
    /// Of the assistant's latest turn: where it stands, and the ids.
    asked: Option<(usize, Vec<Cow<'a, str>>)>,
    answered: Vec<Cow<'a, str>>,
    /// Every id so far.
    all: Vec<Cow<'a, str>>,
}

impl<'a> Calls<'a> {
    fn turn(&mut self, place: Place) -> Verdict {
        if self.turn == Some(place) || place == Place::System {
            return Ok(());
        }
        if place == Place::Assistant {
            self.end()?;
            self.asked = None;
            self.answered.clear();
        }
        self.turn = Some(place);
        Ok(())
    }

    fn see(&mut self, index: usize, nth: usize, seen: &Seen<'a>) -> Verdict {
        let id = || seen.values[1].and_then(pick::text).unwrap_or_default();
        match seen.tag {
            "tool_use" => {
                let id = id();
                if self.all.contains(&id) {
                    return Err(Problem::invalid("messages: `tool_use` ids must be unique"));
                }
                self.all.push(id.clone());
                let (at, asked) = self.asked.get_or_insert((index, Vec::new()));
                *at = index;
                asked.push(id);
            }
            "tool_result" => {
                let (path, id) = (format!("messages.{index}.content.{nth}"), id());
                let asked = self
                    .asked
                    .as_ref()
                    .filter(|_| self.turn == Some(Place::User));
                if !asked.is_some_and(|(_, asked)| asked.contains(&id)) {
                    return Err(invalid(
                        &path,
                        &format!(
                            "unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each \
                             `tool_result` block must have a corresponding `tool_use` block in the \
                             previous message."
                        ),
                    ));
                }
                if self.answered.contains(&id) {
                    return Err(invalid(
                        &path,
                        &format!(
                            "each tool_use must have a single result. Found multiple `tool_result` \
                             blocks with id: {id}"
                        ),
                    ));
                }
                self.answered.push(id);
            }
            _ => {}
        }
        Ok(())
    }

    /// Refuses calls that were not answered in the turn after them.
    fn end(&self) -> Verdict {
        let Some((index, asked)) = &self.asked else {
            return Ok(());
        };
        let open: Vec<&str> = asked
            .iter()
            .filter(|id| !self.answered.contains(id))
            .map(|id| &**id)
            .collect();
        if open.is_empty() {
            return Ok(());
        }
        Err(Problem::invalid(format!(
            "messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately \
             after: {}. Each `tool_use` block must have a corresponding `tool_result` block in the \
             next message.",
            open.join(", ")
        )))
    }
}

/// The top-level system prompt: a string, or text blocks.
pub(super) fn system(view: &RequestView<'_>) -> Verdict {
    let Some(system) = view.member("system").filter(|raw| *raw != b"null") else {
        return Ok(());
    };
    match system.first() {
        Some(b'"') => return Ok(()),
        Some(b'[') => {}
        _ => return Err(Problem::invalid("system: Input should be a valid list")),
    }
    for (nth, raw) in pick::elements(system).enumerate() {
        let path = At(&"system", nth);
        let fields = [
            must("text", Kind::String),
            may("cache_control", Kind::Any),
            may("citations", Kind::List),
        ];
        let [text, mark, ..] = object(raw, &path, &fields)?;
        if pick::member(raw, "type") != Some(b"\"text\"") {
            return Err(invalid(&At(&path, "type"), "Input should be 'text'"));
        }
        if text == Some(b"\"\"") {
            return Err(Problem::invalid(
                "system: text content blocks must be non-empty",
            ));
        }
        if let Some(mark) = mark {
            marks::shape(mark, &At(&path, "cache_control"))?;
        }
    }
    Ok(())
}

/// What a model does not take of a conversation.
pub(super) fn capabilities(
    view: &RequestView<'_>,
    terms: Terms<'_>,
    generation: Generation,
) -> Verdict {
    let messages = view.member("messages").unwrap_or_default();
    if !generation.takes_system_messages() && view.blocks().iter().any(is_system_message) {
        return Err(Problem::invalid(
            "role 'system' is not supported on this model",
        ));
    }
    let last = pick::elements(messages).last();
    let last = last.and_then(|message| pick::member(message, "role"));
    if last == Some(b"\"assistant\"") && !generation.takes_prefill() && terms.lane.is_some() {
        return Err(Problem::invalid(
            "This model does not support assistant message prefill. The conversation must end with \
             a user message.",
        ));
    }
    Ok(())
}

fn is_system_message(block: &offpeak_wire::request::Block) -> bool {
    use offpeak_wire::request::{Role, Section};
    matches!(
        block.section,
        Section::Message {
            role: Role::System,
            ..
        }
    )
}
