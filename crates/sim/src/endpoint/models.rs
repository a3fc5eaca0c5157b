//! Owns the Models API: which models can be called, and what each takes. Names, sizes and days
//! come from the price book, capabilities from the generation.

use serde::Serialize;

use crate::book::{Book, Model};
use crate::capability::{Generation, Thinking};
use crate::http::{Answer, Problem};
use crate::query::Query;
use crate::stamp;
use crate::tokens::Tokenizer;
use crate::world::{Visit, World};

use super::Page;

#[derive(Serialize)]
struct Info<'a> {
    id: &'a str,
    r#type: &'static str,
    display_name: String,
    created_at: String,
    max_input_tokens: Option<u64>,
    max_tokens: Option<u64>,
    lifecycle: &'static str,
    line: Option<&'static str>,
    /// When it was deprecated and when it will be retired: the price book does not say.
    deprecated_at: Option<String>,
    retires_at: Option<String>,
    capabilities: Capabilities,
}

#[derive(Clone, Copy, Serialize)]
struct Support {
    supported: bool,
}

const YES: Support = Support { supported: true };

fn when(supported: bool) -> Support {
    Support { supported }
}

#[derive(Serialize)]
struct Capabilities {
    batch: Support,
    citations: Support,
    code_execution: Support,
    context_management: ContextManagement,
    effort: Effort,
    image_input: Support,
    pdf_input: Support,
    server_tools: ServerTools,
    structured_outputs: Support,
    thinking: ThinkingSupport,
}

#[derive(Serialize)]
struct ContextManagement {
    supported: bool,
    clear_thinking_20251015: Support,
    clear_tool_uses_20250919: Support,
    compact_20260112: Support,
}

#[derive(Serialize)]
struct Effort {
    supported: bool,
    low: Support,
    medium: Support,
    high: Support,
    max: Support,
    xhigh: Option<Support>,
}

#[derive(Serialize)]
struct ServerTools {
    supported: bool,
    code_execution: Support,
    web_search: Support,
}

#[derive(Serialize)]
struct ThinkingSupport {
    supported: bool,
    types: ThinkingTypes,
}

#[derive(Serialize)]
struct ThinkingTypes {
    adaptive: Support,
    between_tools: Support,
    disabled: Support,
    enabled: Support,
}

impl World {
    pub(crate) fn models(&self, visit: &Visit<'_>) -> Result<Answer, Problem> {
        let mut all: Vec<&Model> = Book::embedded().callable(visit.now).collect();
        all.sort_by_key(|model| std::cmp::Reverse(model.released()));
        let ids: Vec<&str> = all.iter().map(|model| model.id.as_str()).collect();
        let query = Query::read(&visit.request.query);
        let (range, has_more) = query.page(&ids, "Model")?;
        let ids = &ids[range.clone()];
        let page = Page {
            data: all[range].iter().map(|model| info(model)).collect(),
            has_more,
            first_id: ids.first().copied(),
            last_id: ids.last().copied(),
        };
        Ok(Answer::object(&page, 0))
    }

    pub(crate) fn model(&self, visit: &Visit<'_>, id: &str) -> Result<Answer, Problem> {
        let book = Book::embedded();
        let found = book.find(id, visit.now);
        let index = found.ok_or_else(|| Problem::not_found(format!("model: {id}")))?;
        Ok(Answer::object(&info(book.model(index)), 0))
    }
}

fn info(model: &Model) -> Info<'_> {
    let generation = Generation::of(&model.id);
    let takes = |thinking| generation.takes(thinking);
    let (adaptive, enabled) = (takes(Thinking::Adaptive), takes(Thinking::Enabled));
    let effort = adaptive || model.id.starts_with("claude-opus-4-5");
    let newer = generation.tokenizer() == Tokenizer::Newer;
    Info {
        id: &model.id,
        r#type: "model",
        display_name: display_name(&model.id),
        created_at: stamp::rfc3339_seconds(model.released()),
        max_input_tokens: known(model.context_window),
        max_tokens: known(model.max_output),
        lifecycle: if model.deprecated {
            "deprecated"
        } else {
            "active"
        },
        line: line(&model.id),
        deprecated_at: None,
        retires_at: None,
        capabilities: Capabilities {
            batch: when(model.batch),
            citations: YES,
            code_execution: YES,
            context_management: ContextManagement {
                supported: true,
                clear_thinking_20251015: YES,
                clear_tool_uses_20250919: YES,
                compact_20260112: when(adaptive),
            },
            effort: Effort {
                supported: effort,
                low: when(effort),
                medium: when(effort),
                high: when(effort),
                max: when(adaptive),
                xhigh: newer.then_some(when(effort)),
            },
            image_input: YES,
            pdf_input: YES,
            server_tools: ServerTools {
                supported: true,
                code_execution: YES,
                web_search: YES,
            },
            structured_outputs: YES,
            thinking: ThinkingSupport {
                supported: adaptive || enabled,
                types: ThinkingTypes {
                    adaptive: when(adaptive),
                    between_tools: when(generation.thinking_forms().contains(&"between_tools")),
                    disabled: when(takes(Thinking::Disabled)),
                    enabled: when(enabled),
                },
            },
        },
    }
}

/// The book's figure, unless it has none.
fn known(tokens: u64) -> Option<u64> {
    Some(tokens).filter(|&tokens| tokens != u64::MAX)
}

/// The family that an id names.
fn line(id: &str) -> Option<&'static str> {
    let lines = ["haiku", "sonnet", "opus", "fable", "mythos"];
    lines
        .into_iter()
        .find(|line| id.split('-').any(|part| part == *line))
}

/// `claude-opus-4-5-20251101` is Claude Opus 4.5.
fn display_name(id: &str) -> String {
    let mut name = String::new();
    for part in id
        .split('-')
        .filter(|part| part.len() != 8 || part.parse::<u32>().is_err())
    {
        let number = part.parse::<u8>().is_ok();
        if !name.is_empty() {
            let within = number && name.ends_with(|last: char| last.is_ascii_digit());
            name.push(if within { '.' } else { ' ' });
        }
        let mut letters = part.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.extend(letters);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(display_name("claude-opus-4-5-20251101"), "Claude Opus 4.5");
        assert_eq!(display_name("claude-haiku-5-5"), "Claude Haiku 5.5");
        assert_eq!(
            display_name("claude-mythos-preview"),
            "Claude Mythos Preview"
        );
        assert_eq!(display_name("claude-sonnet-5"), "Claude Sonnet 5");
    }
}
