//! Owns cache marks: their shape, number and order (Anthropic docs, prompt caching).

use std::fmt::Display;

use offpeak_wire::limits::MAX_BREAKPOINTS;
use offpeak_wire::request::{Block, RequestView, Section, Ttl};

use super::Verdict;
use super::shape::{At, Kind, invalid, is_one_of, may, object, one_of, tag, unknown_tag};
use crate::http::Problem;
use crate::prompt;

/// One `cache_control` value.
pub(super) fn shape(mark: &[u8], path: &dyn Display) -> Verdict {
    if mark == b"null" {
        return Ok(());
    }
    let kind = tag(mark, path)?;
    if kind != "ephemeral" {
        return Err(unknown_tag(path, kind, &["ephemeral"]));
    }
    let here = At(path, "ephemeral");
    let known = ["5m", "1h"];
    match object(mark, &here, &[may("ttl", Kind::String)])?[0] {
        Some(ttl) if !is_one_of(ttl, &known) => Err(invalid(&At(&here, "ttl"), &one_of(&known))),
        _ => Ok(()),
    }
}

/// Number and order of cache marks (Anthropic docs, prompt caching).
pub(super) fn check(view: &RequestView<'_>) -> Verdict {
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
