//! Owns the API's verdict on one request: what is refused, in which words (Anthropic docs, errors;
//! live captures). The same rules hold for a batch row, plus the batch's own; the caller decides
//! whether a refusal is a 400 or an errored row.

use offpeak_wire::limits::MAX_BREAKPOINTS;
use offpeak_wire::request::{Block, BlockKind, MaxTokens, RequestView, Role, Section, Shape, Ttl};

use crate::bill::Lane;
use crate::book::{Book, Model};
use crate::capability::{Generation, Thinking};
use crate::http::Problem;
use crate::pick;
use crate::prompt;

/// How a request was sent, which some rules depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms<'a> {
    pub(crate) now: i64,
    /// `None`: a token count, which takes no `max_tokens`.
    pub(crate) lane: Option<Lane>,
    pub(crate) version: &'a str,
    pub(crate) betas: &'a str,
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
    fields(view, terms)?;
    let name = view.model().ok_or_else(|| match view.member("model") {
        None => Problem::invalid("model: Field required"),
        Some(_) => Problem::invalid("model: Input should be a valid string"),
    })?;
    messages(view)?;
    let max_tokens = match (view.max_tokens(), terms.lane) {
        (MaxTokens::Missing, None) => 1,
        (MaxTokens::Value(n), _) => n,
        (MaxTokens::Missing, _) => return Err(Problem::invalid("max_tokens: Field required")),
        (MaxTokens::NotAnInteger, _) => {
            return Err(Problem::invalid(
                "max_tokens: Input should be a valid integer",
            ));
        }
    };
    let book = Book::embedded();
    let index = book.find(name, terms.now);
    let index = index.ok_or_else(|| Problem::not_found(format!("model: {name}")))?;
    let model = book.model(index);
    if terms.lane == Some(Lane::Batch) {
        batch_row(view, model, max_tokens)?;
    }
    length(view, terms, model, max_tokens)?;
    marks(view)?;
    capabilities(view, terms, model)?;
    Ok(Checked {
        model: index,
        max_tokens,
        us: geography(view, model)?,
        fast: speed(view, terms, model)?,
    })
}

const FIELDS: [&str; 24] = [
    "model",
    "max_tokens",
    "messages",
    "system",
    "cache_control",
    "container",
    "context_management",
    "diagnostics",
    "fallback_credit_token",
    "fallbacks",
    "inference_geo",
    "mcp_servers",
    "metadata",
    "output_config",
    "output_format",
    "service_tier",
    "speed",
    "stop_sequences",
    "stream",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
];

fn fields(view: &RequestView<'_>, terms: Terms<'_>) -> Verdict {
    let counting = terms.lane.is_none();
    for (key, _) in view.members() {
        let sampling = matches!(key, "temperature" | "top_p" | "top_k");
        let known = FIELDS.contains(&key) || key == "top_p";
        if !known
            || (sampling && terms.version >= "2026-10-21")
            || (counting && key == "max_tokens")
        {
            return Err(Problem::invalid(format!(
                "{key}: Extra inputs are not permitted"
            )));
        }
    }
    Ok(())
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

fn messages(view: &RequestView<'_>) -> Verdict {
    let raw = view.member("messages");
    let raw = raw.ok_or_else(|| Problem::invalid("messages: Field required"))?;
    if raw.first() != Some(&b'[') {
        return Err(Problem::invalid("messages: Input should be a valid list"));
    }
    let mut any = false;
    for (index, message) in pick::elements(raw).enumerate() {
        any = true;
        for field in ["role", "content"] {
            if pick::member(message, field).is_none() {
                return Err(Problem::invalid(format!(
                    "messages.{index}.{field}: Field required"
                )));
            }
        }
        let role = pick::member(message, "role").and_then(pick::text);
        if !matches!(role.as_deref(), Some("user" | "assistant" | "system")) {
            return Err(Problem::invalid(format!(
                "messages.{index}.role: Input should be 'user' or 'assistant'"
            )));
        }
    }
    if !any {
        return Err(Problem::invalid(
            "messages: at least one message is required",
        ));
    }
    let empty = |block: &&Block| {
        let raw = &view.bytes()[block.span.clone()];
        block.kind == BlockKind::Text
            && matches!(block.section, Section::Message { .. })
            && match block.shape {
                Shape::BareString => raw == b"\"\"",
                Shape::Object => pick::member(raw, "text") == Some(b"\"\""),
            }
    };
    match view.blocks().iter().find(empty) {
        None => Ok(()),
        Some(_) => Err(Problem::invalid(
            "messages: text content blocks must be non-empty",
        )),
    }
}

fn length(view: &RequestView<'_>, terms: Terms<'_>, model: &Model, max_tokens: u64) -> Verdict {
    let long = terms.lane == Some(Lane::Batch) && terms.betas.contains("output-300k-2026-03-24");
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
    let forced = matches!(
        member_type(view, "tool_choice"),
        Some(b"\"any\"" | b"\"tool\"")
    );
    let format = view
        .member("output_config")
        .and_then(|c| pick::member(c, "format"));
    for (wrong, what) in [
        (view.stream() == Some(true), "stream"),
        (thinking == Some(b"\"enabled\""), "thinking.type"),
        (format.is_some_and(|f| f != b"null"), "output_config.format"),
        (forced, "tool_choice.type"),
    ] {
        if wrong {
            return Err(Problem::invalid(format!(
                "{what}: not supported with max_tokens: 0"
            )));
        }
    }
    Ok(())
}

fn member_type<'a>(view: &RequestView<'a>, key: &str) -> Option<&'a [u8]> {
    pick::member(view.member(key)?, "type")
}

/// Number and order of cache marks (Anthropic docs, prompt caching).
fn marks(view: &RequestView<'_>) -> Verdict {
    let automatic = prompt::automatic(view);
    let on_top = automatic.filter(|&(last, _)| view.blocks()[last].mark.is_none());
    let found = view.marks() + usize::from(on_top.is_some());
    if found > MAX_BREAKPOINTS {
        return Err(Problem::invalid(format!(
            "A maximum of {MAX_BREAKPOINTS} blocks with cache_control may be provided. Found {found}."
        )));
    }
    if let Some((last, ttl)) = automatic
        && view.blocks()[last].mark.is_some_and(|mark| mark != ttl)
    {
        return Err(Problem::invalid(
            "cache_control.ttl: the last cacheable block already has a cache_control with another ttl.",
        ));
    }
    let mut short_seen = false;
    for (index, block) in view.blocks().iter().enumerate() {
        let own = on_top
            .filter(|&(last, _)| last == index)
            .map(|(_, ttl)| ttl);
        match block.mark.or(own) {
            Some(Ttl::OneHour) if short_seen => {
                let path = path(view.blocks(), index);
                return Err(Problem::invalid(format!(
                    "{path}.cache_control.ttl: a ttl='1h' cache_control block must not come after \
                     a ttl='5m' cache_control block."
                )));
            }
            Some(ttl) => short_seen |= ttl == Ttl::FiveMinutes,
            None => {}
        }
    }
    Ok(())
}

/// Where a block stands in the body, e.g. `messages.10.content.0`.
fn path(blocks: &[Block], index: usize) -> String {
    let same = |block: &&Block| match (block.section, blocks[index].section) {
        (Section::Message { index: a, .. }, Section::Message { index: b, .. }) => a == b,
        (a, b) => a == b,
    };
    let nth = blocks[..index].iter().filter(same).count();
    match blocks[index].section {
        Section::Tools => format!("tools.{nth}"),
        Section::System => format!("system.{nth}"),
        Section::Message { index, .. } => format!("messages.{index}.content.{nth}"),
    }
}

fn capabilities(view: &RequestView<'_>, terms: Terms<'_>, model: &Model) -> Verdict {
    let generation = Generation::of(&model.id);
    thinking(view, generation)?;
    let last = view.blocks().last().map(|block| block.section);
    if let Some(Section::Message {
        role: Role::Assistant,
        ..
    }) = last
        && !generation.takes_prefill()
        && terms.lane.is_some()
    {
        return Err(Problem::invalid(
            "This model does not support assistant message prefill. The conversation must end with \
             a user message.",
        ));
    }
    let forced = matches!(
        member_type(view, "tool_choice"),
        Some(b"\"any\"" | b"\"tool\"")
    );
    if forced && !generation.takes_forced_tools() {
        return Err(Problem::invalid(
            "tool_choice: type \"tool\" and \"any\" are not supported for this model.",
        ));
    }
    let default = |key: &str| match key {
        "temperature" => [&b"1"[..], b"1.0", b"null"],
        _ => [&b"null"[..]; 3],
    };
    for key in ["temperature", "top_p", "top_k"] {
        if let Some(value) = view.member(key)
            && !default(key).contains(&value)
            && !generation.takes_sampling()
        {
            return Err(Problem::invalid(format!(
                "{key}: not supported for this model."
            )));
        }
    }
    Ok(())
}

fn thinking(view: &RequestView<'_>, generation: Generation) -> Verdict {
    let effort = view
        .member("output_config")
        .and_then(|c| pick::member(c, "effort"));
    let highest = matches!(effort, Some(b"\"xhigh\"" | b"\"max\""));
    let refused = |thinking| !generation.takes(thinking);
    match member_type(view, "thinking") {
        Some(b"\"enabled\"") if refused(Thinking::Enabled) => Err(Problem::invalid(
            "\"thinking.type.enabled\" is not supported for this model. Use \
             \"thinking.type.adaptive\" and \"output_config.effort\" to control thinking behavior.",
        )),
        Some(b"\"adaptive\"") if refused(Thinking::Adaptive) => Err(Problem::invalid(
            "adaptive thinking is not supported on this model",
        )),
        Some(b"\"disabled\"")
            if refused(Thinking::Disabled) || (highest && generation.ties_thinking_to_effort()) =>
        {
            Err(Problem::invalid(
                "\"thinking.type.disabled\" is not supported for this model.",
            ))
        }
        _ => Ok(()),
    }
}

/// Whether inference is pinned to the US.
fn geography(view: &RequestView<'_>, model: &Model) -> Verdict<bool> {
    match view.inference_geo() {
        None => Ok(false),
        Some(_) if !model.us_geo => Err(Problem::invalid(
            "inference_geo: not supported for this model.",
        )),
        Some("global") => Ok(false),
        Some("us") => Ok(true),
        Some(_) => Err(Problem::invalid(
            "inference_geo: Input should be 'global' or 'us'",
        )),
    }
}

/// Whether fast mode is asked for and sold.
fn speed(view: &RequestView<'_>, terms: Terms<'_>, model: &Model) -> Verdict<bool> {
    match view.member("speed") {
        None | Some(b"null" | b"\"standard\"") => Ok(false),
        Some(b"\"fast\"") if model.has_fast(terms.now) => Ok(true),
        Some(b"\"fast\"") => Err(Problem::invalid("speed: not supported for this model.")),
        Some(_) => Err(Problem::invalid(
            "speed: Input should be 'standard' or 'fast'",
        )),
    }
}
