//! Owns what a model takes of the request's settings: thinking, effort, sampling, forced tools,
//! geography and speed (Anthropic docs, thinking, effort, data residency, fast mode).

use offpeak_wire::request::RequestView;

use super::shape::{At, Kind, invalid, is_one_of, may, must, object, one_of, tag, unknown_tag};
use super::{Terms, Verdict, is_forced};
use crate::book::Model;
use crate::capability::{Generation, Thinking};
use crate::http::Problem;
use crate::pick;

const BUDGET_MIN: f64 = 1_024.0;

/// The form of the `thinking` parameter, and its rules.
pub(super) fn thinking(view: &RequestView<'_>, generation: Generation, max_tokens: u64) -> Verdict {
    let config = view.member("output_config").unwrap_or_default();
    let effort = pick::member(config, "effort").filter(|raw| *raw != b"null");
    let highest = matches!(effort, Some(b"\"xhigh\"" | b"\"max\""));
    let Some(thinking) = view.member("thinking").filter(|raw| *raw != b"null") else {
        return Ok(());
    };
    let known = generation.thinking_forms();
    let kind = tag(thinking, &"thinking")?;
    let path = At(&"thinking", kind);
    let display = may("display", Kind::String);
    let refused = |form| !generation.takes(form);
    match kind {
        "enabled" if refused(Thinking::Enabled) => Err(Problem::invalid(
            "\"thinking.type.enabled\" is not supported for this model. Use \
             \"thinking.type.adaptive\" and \"output_config.effort\" to control thinking behavior.",
        )),
        "adaptive" if refused(Thinking::Adaptive) => Err(Problem::invalid(
            "adaptive thinking is not supported on this model",
        )),
        "disabled"
            if refused(Thinking::Disabled) || (highest && generation.ties_thinking_to_effort()) =>
        {
            Err(Problem::invalid(
                "\"thinking.type.disabled\" is not supported for this model.",
            ))
        }
        "enabled" => {
            let values = object(
                thinking,
                &path,
                &[must("budget_tokens", Kind::Integer), display],
            )?;
            shown(values[1], &path)?;
            budget(values[0].unwrap_or_default(), max_tokens)?;
            manual(view)
        }
        "between_tools" if known.contains(&kind) => object(thinking, &path, &[]).map(drop),
        "adaptive" => {
            let values = object(thinking, &path, &[display])?;
            shown(values[0], &path)
        }
        "disabled" => object(thinking, &path, &[]).map(drop),
        other => Err(unknown_tag(&"thinking", other, known)),
    }
}

fn shown(display: Option<&[u8]>, path: &dyn std::fmt::Display) -> Verdict {
    let known = ["summarized", "omitted"];
    match display {
        Some(value) if !is_one_of(value, &known) => {
            Err(invalid(&At(path, "display"), &one_of(&known)))
        }
        _ => Ok(()),
    }
}

fn budget(value: &[u8], max_tokens: u64) -> Verdict {
    let tokens: f64 = std::str::from_utf8(value)
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0.0);
    if tokens < BUDGET_MIN {
        return Err(Problem::invalid(
            "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
        ));
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "an output limit is far below 2^53"
    )]
    if tokens >= max_tokens as f64 {
        return Err(Problem::invalid(
            "`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our \
             documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking",
        ));
    }
    Ok(())
}

/// What manual thinking does not go with.
fn manual(view: &RequestView<'_>) -> Verdict {
    let number = |key| {
        let text = std::str::from_utf8(view.member(key)?).ok()?;
        text.parse::<f64>().ok()
    };
    if is_forced(view) {
        return Err(Problem::invalid(
            "Thinking may not be enabled when tool_choice forces tool use.",
        ));
    }
    if number("temperature").is_some_and(|t| t != 1.0) {
        return Err(Problem::invalid(
            "`temperature` may only be set to 1 when thinking is enabled.",
        ));
    }
    if number("top_p").is_some_and(|p| p < 0.95) {
        return Err(Problem::invalid(
            "`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled.",
        ));
    }
    if number("top_k").is_some() {
        return Err(Problem::invalid(
            "`top_k` must be unset when thinking is enabled.",
        ));
    }
    Ok(())
}

pub(super) fn effort(view: &RequestView<'_>, generation: Generation) -> Verdict {
    const LEVELS: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];
    let config = view.member("output_config").unwrap_or_default();
    let Some(effort) = pick::member(config, "effort").filter(|raw| *raw != b"null") else {
        return Ok(());
    };
    if !is_one_of(effort, &LEVELS) {
        return Err(Problem::invalid(format!(
            "output_config.effort: {}",
            one_of(&LEVELS)
        )));
    }
    let supported = generation.efforts();
    if supported.is_empty() {
        return Err(Problem::invalid(
            "This model does not support the effort parameter.",
        ));
    }
    if !is_one_of(effort, supported) {
        let level = pick::text(effort).unwrap_or_default();
        return Err(Problem::invalid(format!(
            "This model does not support effort level '{level}'. Supported levels: {}.",
            supported.join(", ")
        )));
    }
    Ok(())
}

pub(super) fn settings(view: &RequestView<'_>, generation: Generation) -> Verdict {
    if is_forced(view) && !generation.takes_forced_tools() {
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
                "`{key}` is deprecated for this model."
            )));
        }
    }
    Ok(())
}

/// Whether inference is pinned to the US.
pub(super) fn geography(view: &RequestView<'_>, model: &Model) -> Verdict<bool> {
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
pub(super) fn speed(view: &RequestView<'_>, terms: Terms<'_>, model: &Model) -> Verdict<bool> {
    match view.member("speed") {
        None | Some(b"null" | b"\"standard\"") => Ok(false),
        Some(b"\"fast\"") if model.has_fast(terms.now) => Ok(true),
        Some(b"\"fast\"") => Err(Problem::invalid("speed: not supported for this model.")),
        Some(_) => Err(Problem::invalid(
            "speed: Input should be 'standard' or 'fast'",
        )),
    }
}
