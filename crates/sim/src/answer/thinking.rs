//! Owns whether a request has the model think, and what is handed out of it.

use offpeak_wire::request::RequestView;

use super::turn::Turn;
use crate::capability::Generation;
use crate::pick;

/// The thinking that a request asks for, by saying so or by saying nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Thoughts {
    /// The most tokens of it.
    pub(super) budget: u64,
    /// Whether its text is handed out.
    pub(super) shown: bool,
}

impl Thoughts {
    pub(super) fn of(
        view: &RequestView<'_>,
        generation: Generation,
        turn: Turn<'_, '_>,
    ) -> Option<Self> {
        let asked = view.member("thinking").unwrap_or_default();
        let on = match pick::member(asked, "type") {
            Some(b"\"disabled\"") => false,
            Some(b"\"between_tools\"") => turn.brings_result(),
            Some(_) => true,
            None => generation.thinks_by_default(),
        };
        let budget = pick::member(asked, "budget_tokens")
            .and_then(|raw| std::str::from_utf8(raw).ok()?.parse().ok());
        on.then(|| Self {
            budget: budget.unwrap_or(u64::MAX),
            shown: match pick::member(asked, "display") {
                Some(b"\"omitted\"") => false,
                Some(b"\"summarized\"") => true,
                _ => generation.shows_thinking(),
            },
        })
    }
}
