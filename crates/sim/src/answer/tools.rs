//! Owns calling tools: which tools of a request a client has to run, and what a call says. Server
//! tools and toolsets are never called, as nothing here could run them.

use offpeak_wire::request::RequestView;

use super::schema;
use super::{Block, ToolUse, limit};
use crate::dice::{self, Purpose, Sequence};
use crate::pick;
use crate::tokens::Tokenizer;

/// What a call costs beyond its name and input.
const CALL_TOKENS: u32 = 12;

/// What `tool_choice` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Auto,
    Any,
    Tool(String),
    None,
}

/// A tool that can be called.
#[derive(Clone, Copy, Debug)]
struct Callable<'a> {
    name: &'a [u8],
    input: Input<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Input<'a> {
    Schema(&'a [u8]),
    Fixed(&'static str),
}

/// The tools of a request and how they are to be used.
#[derive(Debug)]
pub(super) struct Tools<'a> {
    callable: Vec<Callable<'a>>,
    pub(super) choice: Choice,
    parallel: bool,
}

impl<'a> Tools<'a> {
    pub(super) fn of(view: &RequestView<'a>) -> Self {
        let list = view.member("tools").unwrap_or_default();
        let wish = view.member("tool_choice").unwrap_or_default();
        let kind = pick::member(wish, "type").and_then(pick::text);
        let name = pick::member(wish, "name").and_then(pick::text);
        Self {
            callable: pick::elements(list).filter_map(Callable::of).collect(),
            choice: match (kind.as_deref(), name) {
                (Some("any"), _) => Choice::Any,
                (Some("tool"), Some(name)) => Choice::Tool(name.into_owned()),
                (Some("none"), _) => Choice::None,
                _ => Choice::Auto,
            },
            parallel: pick::member(wish, "disable_parallel_tool_use") != Some(b"true"),
        }
    }

    pub(super) fn none_can_be_called(&self) -> bool {
        self.callable.is_empty()
    }

    /// The calls of one answer: mostly one, sometimes two.
    pub(super) fn calls(&self, seed: u64, digest: u64) -> Vec<Call<'a>> {
        let mut sequence = Sequence::new(dice::roll(seed, Purpose::Text, digest, 1));
        let wanted: Vec<&Callable<'a>> = match &self.choice {
            Choice::Tool(name) => {
                let same = |tool: &&Callable<'_>| pick::text(tool.name).is_some_and(|n| n == *name);
                self.callable.iter().filter(same).collect()
            }
            Choice::Any | Choice::Auto | Choice::None => self.callable.iter().collect(),
        };
        if wanted.is_empty() {
            return Vec::new();
        }
        let two = self.parallel && sequence.below(4) == 0;
        let count = if two { 2 } else { 1 };
        (0..count)
            .map(|_| Call(*wanted[sequence.below(wanted.len())]))
            .collect()
    }
}

/// One tool to be called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a>(Callable<'a>);

impl Call<'_> {
    pub(super) fn part(
        self,
        seed: u64,
        digest: u64,
        nth: u64,
        tokenizer: Tokenizer,
    ) -> limit::Part {
        let name = pick::text(self.0.name).unwrap_or_default().into_owned();
        let input = match self.0.input {
            Input::Fixed(text) => text.to_owned(),
            Input::Schema(schema) => {
                schema::object(schema, dice::roll(seed, Purpose::Text, digest, 16 + nth))
            }
        };
        part(name, input, seed, digest, nth, tokenizer)
    }
}

/// A call of this tool with this input.
pub(super) fn part(
    name: String,
    input: String,
    seed: u64,
    digest: u64,
    nth: u64,
    tokenizer: Tokenizer,
) -> limit::Part {
    let roll = |b| dice::roll(seed, Purpose::Text, digest, 32 + 2 * nth + b);
    let count = |text: &str| limit::count(text, tokenizer);
    limit::Part {
        tokens: CALL_TOKENS
            .saturating_add(count(&name))
            .saturating_add(count(&input)),
        block: Block::ToolUse(Box::new(ToolUse {
            id: dice::id("toolu_01", roll(0), roll(1)),
            name: name.into(),
            input: input.into(),
        })),
    }
}

impl<'a> Callable<'a> {
    fn of(tool: &'a [u8]) -> Option<Self> {
        let name = pick::member(tool, "name")?;
        let kind = pick::member(tool, "type").and_then(pick::text);
        let input = match kind.as_deref() {
            None | Some("custom") => Input::Schema(pick::member(tool, "input_schema")?),
            Some(kind) => Input::Fixed(built_in(kind)?),
        };
        Some(Self { name, input })
    }
}

/// What a call of a tool that the API defines and the client runs could say.
fn built_in(kind: &str) -> Option<&'static str> {
    Some(match kind {
        kind if kind.starts_with("bash_") => r#"{"command":"ls -la"}"#,
        kind if kind.starts_with("text_editor_") => r#"{"command":"view","path":"."}"#,
        kind if kind.starts_with("memory_") => r#"{"command":"view","path":"/memories"}"#,
        _ => return None,
    })
}
