//! The output line of one row: one JSON object, its members in a fixed order. What the upstream
//! said is copied, never written anew.
//!
//! Leaves out what the members' values are (`batch`, `sync`) and where the line is kept (`segment`).

use std::borrow::Cow;
use std::io::Write;

use offpeak_core::job::outcome::OutcomeClass;
use offpeak_core::price::Lane;
use offpeak_core::units::Usd;
use offpeak_wire::error::ErrorBody;
use serde::Deserialize;

use super::answer::Shown;

/// One row's outcome, as the user gets it.
#[derive(Debug, Clone)]
pub(crate) struct Line<'a> {
    /// The user's key: a raw JSON scalar.
    pub(crate) key: &'a [u8],
    pub(crate) class: OutcomeClass,
    /// What was answered, if anything that can be read was.
    pub(crate) answer: Option<Shown<'a>>,
    /// What the row cost; `None` when nobody can say.
    pub(crate) cost: Option<Usd>,
    /// The way it went; `None` when it was never sent.
    pub(crate) route: Option<Route>,
    /// Tries that reached the upstream.
    pub(crate) attempts: u32,
    /// Why there is no answer.
    pub(crate) error: Option<Reason<'a>>,
    /// Whose answer it is, if the row was not sent itself.
    pub(crate) reused: Option<Reused<'a>>,
}

/// The row that was sent, and whose answer this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reused<'a> {
    /// A row of the same job: its number, counted from 0, and its key.
    Row { row: u64, key: &'a [u8] },
    /// A row of an earlier run.
    Run { run: u32, row: u64 },
}

/// A finished line without an answer, read for a row that shares it.
#[derive(Debug, Deserialize)]
pub(crate) struct WrittenLine<'a> {
    status: OutcomeClass,
    #[serde(borrow)]
    error: WrittenReason<'a>,
}

#[derive(Debug, Deserialize)]
struct WrittenReason<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(borrow)]
    request_id: Option<Cow<'a, str>>,
}

impl<'a> WrittenLine<'a> {
    /// Reads a line that was written by [`write_line`].
    pub(crate) fn read(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    pub(crate) fn class(&self) -> OutcomeClass {
        self.status
    }

    /// The line of a row that ended in the same way, and was not sent.
    pub(crate) fn again<'l>(&'l self, key: &'l [u8], reused: Reused<'l>) -> Line<'l> {
        Line {
            key,
            class: self.status,
            answer: None,
            cost: Some(Usd::ZERO),
            route: None,
            attempts: 0,
            error: Some(Reason {
                kind: &self.error.kind,
                message: &self.error.message,
                request_id: self.error.request_id.as_deref(),
            }),
            reused: Some(reused),
        }
    }
}

/// Lane and whether the cache was in play.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) lane: Lane,
    pub(crate) cache: bool,
}

impl Route {
    fn as_str(self) -> &'static str {
        match (self.lane, self.cache) {
            (Lane::Sync, false) => "sync",
            (Lane::Sync, true) => "sync+cache",
            (Lane::Batch, false) => "batch",
            (Lane::Batch, true) => "batch+cache",
        }
    }
}

/// Why a row has no answer: the upstream's error, or ours under the name of the outcome class.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reason<'a> {
    pub(crate) kind: &'a str,
    pub(crate) message: &'a str,
    pub(crate) request_id: Option<&'a str>,
}

impl<'a> Reason<'a> {
    /// The upstream's own error.
    pub(crate) fn of_error(error: &'a ErrorBody) -> Self {
        Self {
            kind: error.kind.as_str(),
            message: &error.message,
            request_id: error.request_id.as_deref(),
        }
    }

    /// A reason that the upstream did not word.
    pub(crate) fn of_class(class: OutcomeClass, message: &'a str) -> Self {
        Self {
            kind: class.as_str(),
            message,
            request_id: None,
        }
    }
}

/// Appends the line, newline included.
pub(crate) fn write_line(line: &Line<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"key\":");
    out.extend_from_slice(line.key);
    out.extend_from_slice(b",\"status\":\"");
    out.extend_from_slice(line.class.as_str().as_bytes());
    out.extend_from_slice(b"\",\"text\":");
    if let Some(answer) = &line.answer {
        answer.text.write(out);
        out.extend_from_slice(b",\"message\":");
        one_line(answer.message, out);
        out.extend_from_slice(b",\"usage\":");
        one_line(answer.usage, out);
    } else {
        out.extend_from_slice(b"null,\"message\":null,\"usage\":null");
    }
    if let Some(cost) = line.cost {
        number_as_string(b",\"cost_picousd\":\"", cost.pico(), out);
        out.extend_from_slice(b",\"cost_usd\":\"");
        out.extend_from_slice(cost.to_decimal().as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(b",\"cost_picousd\":null,\"cost_usd\":null");
    }
    out.extend_from_slice(b",\"route\":");
    match line.route {
        Some(route) => string(route.as_str(), out),
        None => out.extend_from_slice(b"null"),
    }
    write!(out, ",\"attempts\":{}", line.attempts).expect("a Vec takes every write");
    out.extend_from_slice(b",\"error\":");
    match line.error {
        Some(reason) => write_reason(reason, out),
        None => out.extend_from_slice(b"null"),
    }
    match line.reused {
        None => {}
        Some(Reused::Row { row, key }) => {
            write!(out, ",\"reused\":{{\"row\":{row},\"key\":").expect("a Vec takes every write");
            out.extend_from_slice(key);
            out.push(b'}');
        }
        Some(Reused::Run { run, row }) => {
            write!(out, ",\"reused\":{{\"run\":{run},\"row\":{row}}}")
                .expect("a Vec takes every write");
        }
    }
    out.extend_from_slice(b"}\n");
}

fn write_reason(reason: Reason<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":");
    string(reason.kind, out);
    out.extend_from_slice(b",\"message\":");
    string(reason.message, out);
    out.extend_from_slice(b",\"request_id\":");
    match reason.request_id {
        Some(id) => string(id, out),
        None => out.extend_from_slice(b"null"),
    }
    out.push(b'}');
}

fn string(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a Vec takes every write and text is always JSON");
}

fn number_as_string(head: &[u8], number: i128, out: &mut Vec<u8>) {
    out.extend_from_slice(head);
    write!(out, "{number}\"").expect("a Vec takes every write");
}

/// Copies JSON so that it stays on one line. In valid JSON a line break can only stand between two
/// tokens, so a blank in its place changes nothing; upstream JSON without one is copied as it is.
fn one_line(json: &[u8], out: &mut Vec<u8>) {
    let json = json.trim_ascii();
    let start = out.len();
    out.extend_from_slice(json);
    if memchr::memchr2(b'\n', b'\r', json).is_some() {
        for byte in &mut out[start..] {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settle::answer::Text;

    const MESSAGE: &[u8] = br#"{"id":"msg_1","model":"m","content":[{"type":"text","text":"a \u00e9"}],"usage":{"input_tokens":1,"output_tokens":2}}"#;
    const USAGE: &[u8] = br#"{"input_tokens":1,"output_tokens":2}"#;

    fn succeeded() -> Line<'static> {
        Line {
            key: b"\"a1\"",
            class: OutcomeClass::Succeeded,
            answer: Some(Shown {
                text: Text::Escaped(br#""a \u00e9""#),
                message: MESSAGE,
                usage: USAGE,
            }),
            cost: Some(Usd::from_pico(123_000_000)),
            route: Some(Route {
                lane: Lane::Batch,
                cache: true,
            }),
            attempts: 1,
            error: None,
            reused: None,
        }
    }

    fn failed<'a>(class: OutcomeClass, attempts: u32, error: Reason<'a>) -> Line<'a> {
        let cost = (class != OutcomeClass::ResultUnreadable).then_some(Usd::ZERO);
        let route = Some(Route {
            lane: Lane::Batch,
            cache: false,
        });
        Line {
            key: b"17",
            class,
            answer: None,
            cost,
            route,
            attempts,
            error: Some(error),
            reused: None,
        }
    }

    /// What a row shows of the line of another.
    fn again(line: Line<'static>, reused: Reused<'static>) -> Line<'static> {
        Line {
            key: b"\"b2\"",
            cost: Some(Usd::ZERO),
            route: None,
            attempts: 0,
            reused: Some(reused),
            ..line
        }
    }

    fn written(line: &Line<'_>) -> String {
        let mut out = Vec::new();
        write_line(line, &mut out);
        serde_json::from_slice::<serde_json::Value>(&out).expect("a line is JSON");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_look_like_this() {
        let refused_before_it_ran = ErrorBody::parse_statusless(
            br#"{"type":"error","error":{"type":"invalid_request_error","message":"messages: \"x\""},"request_id":null}"#,
        );
        let overloaded = ErrorBody::parse_statusless(
            br#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"workerreq_1"}"#,
        );
        let ours = Reason::of_class;
        let lines = [
            succeeded(),
            Line {
                class: OutcomeClass::Truncated,
                ..succeeded()
            },
            Line {
                class: OutcomeClass::Refused,
                ..succeeded()
            },
            failed(
                OutcomeClass::Errored,
                1,
                Reason::of_error(&refused_before_it_ran),
            ),
            failed(OutcomeClass::Exhausted, 3, Reason::of_error(&overloaded)),
            failed(
                OutcomeClass::Expired,
                2,
                ours(OutcomeClass::Expired, "not run in time"),
            ),
            failed(
                OutcomeClass::ResultUnreadable,
                1,
                ours(OutcomeClass::ResultUnreadable, "its result line is missing"),
            ),
            again(
                succeeded(),
                Reused::Row {
                    row: 0,
                    key: b"\"a1\"",
                },
            ),
            again(succeeded(), Reused::Run { run: 3, row: 70 }),
        ];
        insta::assert_snapshot!(lines.iter().map(written).collect::<String>());
    }

    #[test]
    fn line_breaks_between_tokens_do_not_break_the_line() {
        let message = b"{\r\n  \"id\": \"a\\nb\"\n}\n";
        let answer = Some(Shown {
            text: Text::Plain(String::new()),
            message,
            usage: b"{\n}",
        });
        let line = written(&Line {
            answer,
            ..succeeded()
        });
        assert_eq!(line.matches('\n').count(), 1);
        assert!(
            line.contains(r#""message":{    "id": "a\nb" },"usage":{ },"#),
            "{line}"
        );
    }
}
