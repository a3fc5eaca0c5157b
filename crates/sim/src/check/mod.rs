//! Owns the API's verdict on one request: what is refused, in which words (Anthropic docs, errors;
//! live captures). The same rules hold for a batch row, plus the batch's own; the caller decides
//! whether a refusal is a 400 or an errored row. Each topic has a module of its own; here is the
//! order in which they are looked at, which decides what the first complaint is.

mod betas;
mod blocks;
mod fields;
mod marks;
mod messages;
mod model;
mod schemas;
mod shape;
mod tools;

use offpeak_wire::request::{MaxTokens, RequestView};

use crate::bill::Lane;
use crate::book::{Book, Model};
use crate::capability::Generation;
use crate::http::Problem;
use crate::pick;
use crate::prompt::Prompt;

pub(crate) use betas::Betas;

/// How a request was sent, which some rules depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms<'a> {
    pub(crate) now: i64,
    /// `None`: a token count, which takes no `max_tokens`.
    pub(crate) lane: Option<Lane>,
    pub(crate) version: &'a str,
    pub(crate) betas: Betas<'a>,
    /// Whether thinking that comes back must be ours.
    pub(crate) verify_thinking: bool,
}

impl Terms<'_> {
    /// API version 2026-10-21, which took some things away (Anthropic docs, versioning).
    fn is_newest(self) -> bool {
        self.version >= "2026-10-21"
    }
}

/// What a request that is taken asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checked {
    pub(crate) model: u16,
    pub(crate) max_tokens: u64,
    pub(crate) us: bool,
    pub(crate) fast: bool,
}

/// Output cap with the beta `output-300k-2026-03-24`, in batches only.
const LONG_OUTPUT: u64 = 300_000;

type Verdict<T = ()> = Result<T, Problem>;

pub(crate) fn request(view: &RequestView<'_>, terms: Terms<'_>) -> Verdict<Checked> {
    fields::check(view, terms)?;
    let name = view.model().ok_or_else(|| match view.member("model") {
        None => Problem::invalid("model: Field required"),
        Some(_) => Problem::invalid("model: Input should be a valid string"),
    })?;
    messages::check(view, terms)?;
    messages::system(view)?;
    tools::check(view)?;
    let max_tokens = max_tokens(view, terms)?;
    let book = Book::embedded();
    let index = book.find(name, terms.now);
    let index = index.ok_or_else(|| Problem::not_found(format!("model: {name}")))?;
    let model = book.model(index);
    let generation = Generation::of(&model.id);
    if terms.lane == Some(Lane::Batch) {
        batch_row(view, model, max_tokens)?;
    }
    length(view, terms, model, max_tokens)?;
    marks::check(view)?;
    model::thinking(view, generation, max_tokens_for_budget(terms, max_tokens))?;
    model::effort(view, generation)?;
    messages::capabilities(view, terms, generation)?;
    model::settings(view, generation)?;
    tools::choice_of_none(view)?;
    schemas::check(view)?;
    Ok(Checked {
        model: index,
        max_tokens,
        us: model::geography(view, model)?,
        fast: model::speed(view, terms, model)?,
    })
}

/// Whether a prompt that was counted leaves room: never if it is longer than the window itself.
/// From 4.5 on, `max_tokens` may reach beyond the window (Anthropic docs, thinking).
pub(crate) fn window(prompt: &Prompt, checked: &Checked, model: &Model) -> Verdict {
    let (input, window) = (u64::from(prompt.tokens), model.context_window);
    if input > window {
        return Err(Problem::invalid(format!(
            "prompt is too long: {input} tokens > {window} maximum"
        )));
    }
    let beyond = input.saturating_add(checked.max_tokens) > window;
    if beyond && !Generation::of(&model.id).takes_overlong() {
        return Err(Problem::invalid(format!(
            "input length and `max_tokens` exceed context limit: {input} + {} > {window}, decrease \
             input length or `max_tokens` and try again",
            checked.max_tokens
        )));
    }
    Ok(())
}

fn max_tokens(view: &RequestView<'_>, terms: Terms<'_>) -> Verdict<u64> {
    match (view.max_tokens(), terms.lane) {
        (MaxTokens::Missing, None) => Ok(1),
        (MaxTokens::Value(n), _) => Ok(n),
        (MaxTokens::Missing, _) => Err(Problem::invalid("max_tokens: Field required")),
        (MaxTokens::NotAnInteger, _) => {
            let raw = view.member("max_tokens").unwrap_or_default();
            let digits = raw
                .strip_prefix(b"-")
                .is_some_and(|n| n.iter().all(u8::is_ascii_digit));
            Err(Problem::invalid(if digits {
                "max_tokens: Input should be greater than or equal to 0"
            } else {
                "max_tokens: Input should be a valid integer"
            }))
        }
    }
}

/// A token count has no `max_tokens` that a thinking budget would have to fit into.
fn max_tokens_for_budget(terms: Terms<'_>, max_tokens: u64) -> u64 {
    terms.lane.map_or(u64::MAX, |_| max_tokens)
}

/// What a batch row may not have (Anthropic docs, batch processing).
fn batch_row(view: &RequestView<'_>, model: &Model, max_tokens: u64) -> Verdict {
    let unsupported = |what: &str| {
        Problem::invalid(format!(
            "{what} is not supported in the Message Batches API"
        ))
    };
    if !model.batch {
        return Err(unsupported(&format!("\"{}\"", model.id)));
    }
    if view.stream() == Some(true) {
        return Err(unsupported("\"stream=True\""));
    }
    for field in ["speed", "fallbacks"] {
        if view.member(field).is_some_and(|value| value != b"null") {
            return Err(unsupported(&format!("\"{field}\"")));
        }
    }
    if max_tokens == 0 {
        return Err(Problem::invalid(
            "max_tokens: must be greater than or equal to 1",
        ));
    }
    Ok(())
}

fn length(view: &RequestView<'_>, terms: Terms<'_>, model: &Model, max_tokens: u64) -> Verdict {
    let long = terms.lane == Some(Lane::Batch) && terms.betas.has("output-300k-2026-03-24");
    let most = if long {
        model.max_output.max(LONG_OUTPUT)
    } else {
        model.max_output
    };
    if max_tokens > most {
        return Err(Problem::invalid(format!(
            "max_tokens: {max_tokens} > {most}, which is the maximum allowed number of output \
             tokens for {}",
            model.id
        )));
    }
    if max_tokens > 0 {
        return Ok(());
    }
    // A pre-warm generates nothing, so it cannot be asked for anything about the answer.
    let thinking = member_type(view, "thinking");
    let format = view
        .member("output_config")
        .and_then(|c| pick::member(c, "format"));
    for (wrong, what) in [
        (view.stream() == Some(true), "stream"),
        (thinking == Some(b"\"enabled\""), "thinking.type"),
        (format.is_some_and(|f| f != b"null"), "output_config.format"),
        (is_forced(view), "tool_choice.type"),
    ] {
        if wrong {
            return Err(Problem::invalid(format!(
                "{what}: not supported with max_tokens: 0"
            )));
        }
    }
    Ok(())
}

/// Whether `tool_choice` demands a call.
fn is_forced(view: &RequestView<'_>) -> bool {
    matches!(
        member_type(view, "tool_choice"),
        Some(b"\"any\"" | b"\"tool\"")
    )
}

fn member_type<'a>(view: &RequestView<'a>, key: &str) -> Option<&'a [u8]> {
    pick::member(view.member(key)?, "type")
}
