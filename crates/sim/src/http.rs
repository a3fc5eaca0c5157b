//! Owns the shapes of a request and a reply between a world and whoever carries them, and the
//! API's error answers. No sockets, and nothing of what an endpoint says.

use std::borrow::Cow;

use offpeak_wire::error::ErrorKind;
use serde::{Deserialize, Serialize};

use crate::batch::Lines;
use crate::stream::Events;

/// An HTTP request, as far as the API looks at it.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `GET`, `POST` or `DELETE`.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// What follows the `?`, without it.
    pub query: String,
    /// Names in any case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Request {
    /// A request for `target` (path and query) without headers or body.
    #[must_use]
    pub fn new(method: &str, target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            ..Self::default()
        }
    }

    /// The same request with one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same request with this key, the API version 2023-06-01 and a JSON content type.
    #[must_use]
    pub fn signed(self, key: &str) -> Self {
        self.with("x-api-key", key)
            .with("anthropic-version", offpeak_wire::limits::DEFAULT_VERSION)
            .with("content-type", "application/json")
    }

    /// The same request with this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// What a world answers, and when.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Header names are lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Body,
    /// When the head leaves, µs since the Unix epoch.
    pub at: i64,
    /// Whether it arrives.
    pub fate: Fate,
}

impl Reply {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }
}

/// What becomes of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The reply arrives.
    Answer,
    /// The connection breaks before the request was accepted: nothing happened.
    ResetBeforeAccept,
    /// The request took effect, and the connection breaks instead of the reply.
    ResetAfterAccept,
}

/// The body of a reply.
#[derive(Debug)]
pub enum Body {
    /// Bytes.
    Full(Vec<u8>),
    /// Result lines, made one by one.
    Lines(Lines),
    /// Server-sent events, paced.
    Events(Events),
}

impl Body {
    /// The whole body, and whether it is complete: a download or a stream may break off.
    #[must_use]
    pub fn collect(self) -> (Vec<u8>, bool) {
        match self {
            Self::Full(bytes) => (bytes, true),
            Self::Events(events) => events.collect(),
            Self::Lines(mut lines) => {
                let mut out = Vec::new();
                loop {
                    match lines.write_next(&mut out) {
                        Some(Ok(())) => {}
                        Some(Err(_)) => return (out, false),
                        None => return (out, true),
                    }
                }
            }
        }
    }
}

/// An answer before it has its common headers.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) retry_after: Option<u64>,
    pub(crate) body: Body,
    /// How long it takes, µs.
    pub(crate) takes: i64,
}

impl Answer {
    pub(crate) fn json(body: Vec<u8>, takes: i64) -> Self {
        Self {
            status: 200,
            content_type: "application/json",
            retry_after: None,
            body: Body::Full(body),
            takes,
        }
    }

    /// Events whose first ones leave after `first` µs.
    pub(crate) fn events(events: Events, first: i64) -> Self {
        let mut answer = Self::json(Vec::new(), first);
        answer.content_type = "text/event-stream; charset=utf-8";
        answer.body = Body::Events(events);
        answer
    }

    pub(crate) fn object<T: Serialize>(value: &T, takes: i64) -> Self {
        let body = serde_json::to_vec(value).expect("plain structs serialise");
        Self::json(body, takes)
    }
}

/// Why a request, or a row of a batch, is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Problem {
    #[serde(with = "crate::save::kind")]
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
    pub(crate) retry_after: Option<u64>,
    /// The HTTP status, unless it is the kind's own.
    pub(crate) status: Option<u16>,
    /// `error.details.error_code`, which clients act on.
    pub(crate) code: Option<Cow<'static, str>>,
}

impl Problem {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            retry_after: None,
            status: None,
            code: (kind == ErrorKind::SpendLimit)
                .then_some(Cow::Borrowed("enforced_spend_limit_reached")),
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidRequest, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    pub(crate) fn after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    pub(crate) fn answer(&self, request_id: &str, takes: i64) -> Answer {
        let mut answer = Answer::json(Vec::new(), takes);
        answer.status = self.status.unwrap_or_else(|| self.kind.status());
        answer.retry_after = self.retry_after;
        if self.kind == ErrorKind::RequestTooLarge {
            // The proxy in front of the API refuses these, in its own words.
            answer.content_type = "text/html";
            answer.body = Body::Full(
                b"<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n<body>\r\n\
                <center><h1>413 Request Entity Too Large</h1></center>\r\n</body>\r\n</html>\r\n"
                    .to_vec(),
            );
            return answer;
        }
        let mut body = Vec::new();
        self.write(Some(request_id), &mut body);
        answer.body = Body::Full(body);
        answer
    }

    /// The error object, also as an errored batch row holds it.
    pub(crate) fn write(&self, request_id: Option<&str>, out: &mut Vec<u8>) {
        #[derive(Serialize)]
        struct Outer<'a> {
            r#type: &'static str,
            error: Inner<'a>,
            request_id: Option<&'a str>,
        }
        #[derive(Serialize)]
        struct Inner<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            details: Option<Details<'a>>,
            r#type: &'static str,
            message: &'a str,
        }
        #[derive(Serialize)]
        struct Details<'a> {
            error_code: &'a str,
        }
        let error_code = self.code.as_deref();
        let details = error_code.map(|error_code| Details { error_code });
        let outer = Outer {
            r#type: "error",
            error: Inner {
                details,
                r#type: self.kind.as_str(),
                message: &self.message,
            },
            request_id,
        };
        serde_json::to_writer(out, &outer).expect("writing to memory");
    }
}
