//! Owns fault rules: whom a rule is aimed at, when it applies, and what happens then. They are
//! read by `rule::read`; rates and appointments are `fault`'s.
//!
//! A rule about requests counts the requests that it is aimed at; one about rows or result lines
//! goes by their number within the batch. Chance depends on the seed, the rule's number and that
//! count, on nothing else.

mod given;
mod read;

use offpeak_wire::error::ErrorKind;
use serde::{Deserialize, Serialize};

use crate::dice::{self, Purpose};
use crate::fault::{Endpoint, Fault, Faults, LineFault, RowFault};
use crate::stamp::SECOND;

pub use given::BadRules;
pub(crate) use given::closest;

/// One rule of a fault plan, as [`Faults::parse`] reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// As it was written, for whoever asks which rules hold.
    source: serde_json::Value,
    endpoint: Option<Endpoint>,
    model: Option<String>,
    /// The last characters of the key.
    key: Option<String>,
    /// A pattern with `*`.
    custom_id: Option<String>,
    occasion: Occasion,
    after: Option<Mark>,
    until: Option<Mark>,
    effect: Effect,
}

/// Which of the requests, rows or lines that a rule is aimed at it meets. They count from 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Occasion {
    Always,
    Chance(f64),
    Nth(u64),
    Every(u64),
    First(u64),
}

impl Occasion {
    pub(crate) fn meets(self, n: u64, roll: u64) -> bool {
        match self {
            Self::Always => true,
            Self::Chance(p) => dice::happens(roll, p),
            Self::Nth(nth) => n == nth,
            Self::Every(every) => n.is_multiple_of(every),
            Self::First(first) => n <= first,
        }
    }
}

/// An instant, or seconds since the world's first request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mark {
    At(i64),
    Since(i64),
}

impl Mark {
    fn instant(self, began: i64) -> i64 {
        match self {
            Self::At(at) => at,
            Self::Since(seconds) => began.saturating_add(seconds.saturating_mul(SECOND)),
        }
    }
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq)]
enum Effect {
    /// One of the faults that decide what becomes of a request.
    Decides(Fault),
    /// A created batch is neither found nor listed for so long, µs.
    Hidden(i64),
    /// The answer's first byte is late, µs.
    Slow(i64),
    ContentType(String),
    /// The `date` header is off by so much, µs.
    ClockSkew(i64),
    Truncated(CutAt),
    Reordered,
    Row(RowFault),
    Line(LineFault),
}

/// Where a download of results breaks off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CutAt {
    /// In the middle of this line, from 0.
    Line(usize),
    /// After this many bytes.
    Byte(usize),
    /// In the middle of any line, by the seed.
    Anywhere,
}

/// How often a rule was looked at and came true.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Count {
    seen: u64,
    applied: u64,
}

/// A request as rules see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) now: i64,
    /// The instant of the world's first request.
    pub(crate) began: i64,
    pub(crate) endpoint: Endpoint,
    pub(crate) key: &'a str,
    /// Known once the body has arrived; rules about models wait until then, the others do not.
    pub(crate) model: Option<&'a str>,
}

/// What rules do to a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Effects {
    pub(crate) fault: Option<Fault>,
    pub(crate) slow: i64,
    pub(crate) skew: i64,
    pub(crate) hidden: i64,
    pub(crate) content_type: Option<String>,
    pub(crate) cut: Option<CutAt>,
    pub(crate) reordered: bool,
    /// What came true besides the fault that decides.
    pub(crate) names: Vec<&'static str>,
}

impl Rule {
    pub(crate) fn occasion(&self) -> Occasion {
        self.occasion
    }

    pub(crate) fn on_row(&self) -> Option<RowFault> {
        match self.effect {
            Effect::Row(fault) => Some(fault),
            _ => None,
        }
    }

    pub(crate) fn on_line(&self) -> Option<LineFault> {
        match self.effect {
            Effect::Line(fault) => Some(fault),
            _ => None,
        }
    }

    /// Whether the rule is aimed at this `custom_id`.
    pub(crate) fn names(&self, custom_id: &str) -> bool {
        let pattern = self.custom_id.as_deref();
        pattern.is_none_or(|pattern| matches(pattern, custom_id))
    }

    fn is_aimed_at(&self, arrival: &Arrival<'_>) -> bool {
        let about_requests = self.on_row().is_none() && self.on_line().is_none();
        let model = match (&self.model, arrival.model) {
            (Some(wanted), Some(model)) => wanted == model,
            (None, None) => true,
            _ => false,
        };
        let after = self
            .after
            .map_or(i64::MIN, |mark| mark.instant(arrival.began));
        let until = self
            .until
            .map_or(i64::MAX, |mark| mark.instant(arrival.began));
        about_requests
            && model
            && self.endpoint.is_none_or(|e| e == arrival.endpoint)
            && self
                .key
                .as_deref()
                .is_none_or(|end| arrival.key.ends_with(end))
            && (after..until).contains(&arrival.now)
    }
}

impl Faults {
    /// Whether any rule asks for a request's model.
    pub(crate) fn ask_for_models(&self) -> bool {
        self.rules.iter().any(|rule| rule.model.is_some())
    }

    /// Looks at a request by every rule that is aimed at it. The first fault that decides wins.
    pub(crate) fn meddle(
        &self,
        counts: &mut [Count],
        arrival: &Arrival<'_>,
        effects: &mut Effects,
    ) {
        for (index, (rule, count)) in self.rules.iter().zip(counts).enumerate() {
            if !rule.is_aimed_at(arrival) {
                continue;
            }
            count.seen += 1;
            let number = u64::try_from(index).unwrap_or(u64::MAX);
            let roll = dice::roll(self.seed, Purpose::Rule, number, count.seen);
            if !rule.occasion.meets(count.seen, roll) {
                continue;
            }
            count.applied += 1;
            match &rule.effect {
                Effect::Decides(fault) => {
                    effects.fault.get_or_insert(*fault);
                }
                Effect::Hidden(micros) => {
                    effects.hidden = *micros;
                    effects.names.push("hidden");
                }
                Effect::Slow(micros) => {
                    effects.slow = *micros;
                    effects.names.push("slow");
                }
                Effect::ClockSkew(micros) => {
                    effects.skew = *micros;
                    effects.names.push("clock_skew");
                }
                Effect::ContentType(value) => {
                    effects.content_type = Some(value.clone());
                    effects.names.push("content_type");
                }
                Effect::Truncated(cut) => {
                    effects.cut = Some(*cut);
                    effects.names.push("truncated");
                }
                Effect::Reordered => {
                    effects.reordered = true;
                    effects.names.push("reordered_lines");
                }
                Effect::Row(_) | Effect::Line(_) => {}
            }
        }
    }

    /// The rules as they were written, each with how often it was looked at and came true.
    pub(crate) fn shown<'a>(&'a self, counts: &'a [Count]) -> impl Serialize + use<'a> {
        #[derive(Serialize)]
        struct Shown<'a> {
            rule: &'a serde_json::Value,
            seen: u64,
            applied: u64,
        }
        let shown = self.rules.iter().zip(counts).map(|(rule, count)| Shown {
            rule: &rule.source,
            seen: count.seen,
            applied: count.applied,
        });
        shown.collect::<Vec<_>>()
    }
}

/// Whether a text has the form of a pattern, in which `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    if first.len() == pattern.len() {
        return rest.is_empty();
    }
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

/// The error kind of a status that a rule may ask for.
fn kind(status: u64) -> Option<ErrorKind> {
    Some(match status {
        400 => ErrorKind::InvalidRequest,
        401 => ErrorKind::Authentication,
        402 => ErrorKind::Billing,
        403 => ErrorKind::Permission,
        404 => ErrorKind::NotFound,
        409 => ErrorKind::Conflict,
        413 => ErrorKind::RequestTooLarge,
        429 => ErrorKind::RateLimit,
        500 => ErrorKind::Api,
        504 => ErrorKind::Timeout,
        529 => ErrorKind::Overloaded,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, wanted) in [
            ("row-1", "row-1", true),
            ("row-1", "row-12", false),
            ("row-*", "row-12", true),
            ("*-12", "row-12", true),
            ("r*w*2", "row-12", true),
            ("r*x*2", "row-12", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern, text), wanted, "{pattern} {text}");
        }
    }
}
