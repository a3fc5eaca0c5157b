//! Owns the members of a request's body: which there are and what they hold, as far as that can be
//! said without looking at any other.

use offpeak_wire::request::RequestView;

use super::shape::{Kind, invalid, is_one_of, may, must, object, one_of};
use super::{Terms, Verdict, marks};
use crate::pick;

const FIELDS: &[(&str, Kind)] = &[
    ("billing_policy", Kind::Object),
    ("cache_control", Kind::Object),
    ("compaction", Kind::Object),
    ("container", Kind::Any),
    ("context_management", Kind::Object),
    ("diagnostics", Kind::Object),
    ("fallback_credit_token", Kind::String),
    ("fallbacks", Kind::List),
    ("inference_geo", Kind::String),
    ("max_tokens", Kind::Any),
    ("mcp_servers", Kind::List),
    ("messages", Kind::Any),
    ("metadata", Kind::Object),
    ("model", Kind::Any),
    ("output_config", Kind::Object),
    ("output_format", Kind::Object),
    ("service_tier", Kind::String),
    ("speed", Kind::Any),
    ("stop_sequences", Kind::List),
    ("stream", Kind::Boolean),
    ("system", Kind::Any),
    ("temperature", Kind::Number),
    ("thinking", Kind::Object),
    ("thread", Kind::Object),
    ("tool_choice", Kind::Object),
    ("tools", Kind::List),
    ("top_k", Kind::Integer),
    ("top_p", Kind::Number),
    ("user_profile_id", Kind::String),
];

pub(super) fn check(view: &RequestView<'_>, terms: Terms<'_>) -> Verdict {
    let counting = terms.lane.is_none();
    for (key, span) in view.members() {
        let value = &view.bytes()[span];
        let known = FIELDS.iter().find(|(name, _)| *name == key);
        let sampling = matches!(key, "temperature" | "top_p" | "top_k");
        let Some(&(name, kind)) =
            known.filter(|_| !(sampling && terms.is_newest() || counting && key == "max_tokens"))
        else {
            return Err(invalid(&key, "Extra inputs are not permitted"));
        };
        if value == b"null" {
            continue;
        }
        if let Some(words) = kind.complaint(value) {
            return Err(invalid(&key, words));
        }
        one(name, value)?;
    }
    Ok(())
}

fn one(name: &'static str, value: &[u8]) -> Verdict {
    match name {
        "cache_control" => marks::shape(value, &name),
        "container" => match value.first() {
            Some(b'"') => Ok(()),
            _ => {
                let fields = [may("id", Kind::String), may("skills", Kind::List)];
                object(value, &name, &fields).map(drop)
            }
        },
        "metadata" => object(value, &name, &[may("user_id", Kind::String)]).map(drop),
        "output_config" => {
            let fields = [
                may("effort", Kind::String),
                may("format", Kind::Object),
                may("task_budget", Kind::Object),
            ];
            object(value, &name, &fields).map(drop)
        }
        "diagnostics" => {
            let field = may("previous_message_id", Kind::String);
            object(value, &name, &[field]).map(drop)
        }
        "mcp_servers" => pick::elements(value)
            .enumerate()
            .try_for_each(|(nth, server)| {
                let path = super::shape::At(&name, nth);
                let fields = [
                    must("name", Kind::String),
                    must("url", Kind::String),
                    may("authorization_token", Kind::String),
                    may("tool_configuration", Kind::Object),
                ];
                object(server, &path, &fields).map(drop)
            }),
        "service_tier" => {
            let known = ["auto", "standard_only"];
            if is_one_of(value, &known) {
                return Ok(());
            }
            Err(invalid(&name, &one_of(&known)))
        }
        "stop_sequences" => pick::elements(value)
            .enumerate()
            .try_for_each(|(nth, sequence)| {
                let text = pick::text(sequence);
                let path = super::shape::At(&name, nth);
                let text = text.ok_or_else(|| invalid(&path, "Input should be a valid string"))?;
                if text.trim().is_empty() {
                    return Err(invalid(
                        &name,
                        "each stop sequence must contain non-whitespace",
                    ));
                }
                Ok(())
            }),
        "thread" => {
            // Conversations that the server holds are not simulated. This code has the official
            // clients send the whole history instead.
            let mut problem = invalid(&name, "this request cannot be threaded");
            problem.code = Some("thread_unsupported_request".into());
            Err(problem)
        }
        "temperature" | "top_p" => {
            let number = std::str::from_utf8(value)
                .ok()
                .and_then(|n| n.parse::<f64>().ok());
            match number {
                Some(n) if n < 0.0 => {
                    Err(invalid(&name, "Input should be greater than or equal to 0"))
                }
                Some(n) if n > 1.0 => {
                    Err(invalid(&name, "Input should be less than or equal to 1"))
                }
                _ => Ok(()),
            }
        }
        "top_k" if value.first() == Some(&b'-') => {
            Err(invalid(&name, "Input should be greater than or equal to 0"))
        }
        _ => Ok(()),
    }
}
