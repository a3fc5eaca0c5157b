//! What the API's errors mean: their kind, whether trying again can help, and whether the failed
//! call may have been billed.
//!
//! Leaves out when to try again, which is the caller's policy.

use std::fmt;

use serde::Deserialize;

/// The longest stretch of a non-JSON error body that is quoted, in characters.
const QUOTED_BODY_CHARS: usize = 200;

/// `error.details.error_code` of a reached monthly spend cap (Anthropic docs, rate limits).
const SPEND_LIMIT_CODE: &str = "enforced_spend_limit_reached";

/// What the message says of a spend limit that the user set, for the organisation or a workspace (Anthropic
/// docs, rate limits). It has no error code, so the words must do; if they change, it is an invalid request.
const OWN_SPEND_LIMIT: [&str; 2] = ["reached your specified", "API usage limits"];

/// The kinds of API error (Anthropic docs, errors).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// 400 `invalid_request_error`.
    InvalidRequest,
    /// 401 `authentication_error`.
    Authentication,
    /// 402 `billing_error`.
    Billing,
    /// 403 `permission_error`.
    Permission,
    /// 404 `not_found_error`.
    NotFound,
    /// 413 `request_too_large`.
    RequestTooLarge,
    /// 429 `rate_limit_error`.
    RateLimit,
    /// 429 `rate_limit_error` with the error code of a reached monthly spend cap; it lasts until
    /// the first of the next month.
    SpendLimit,
    /// 400 `invalid_request_error` of a reached spend limit that the user set; it lasts until the date that
    /// the message names, or until the limit is raised.
    OwnSpendLimit,
    /// 409 `conflict_error`.
    Conflict,
    /// 408 or 504 `timeout_error`.
    Timeout,
    /// 500 `api_error`.
    Api,
    /// 529 `overloaded_error`.
    Overloaded,
    /// Anything else.
    Unknown,
}

/// Whether a call that failed this way may still be billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Billing {
    /// It was refused or failed before anything was charged.
    None,
    /// The work may have been done although no answer came.
    Possible,
}

impl ErrorKind {
    /// The kind of an error response. The status decides; the body only refines it, because error
    /// types may grow and a 413 may come from a proxy with an HTML body (Anthropic docs, errors).
    ///
    /// An unlisted status takes its kind from the body's type if that is known; else 4xx counts as
    /// [`ErrorKind::InvalidRequest`] and the rest as [`ErrorKind::Unknown`].
    #[must_use]
    pub fn from_response(status: u16, body: &[u8]) -> Self {
        ErrorBody::parse(status, body).kind
    }

    /// The kind by the API's `error.type`.
    #[must_use]
    pub fn from_type(name: &str) -> Self {
        match name {
            "invalid_request_error" => Self::InvalidRequest,
            "authentication_error" => Self::Authentication,
            "billing_error" => Self::Billing,
            "permission_error" => Self::Permission,
            "not_found_error" => Self::NotFound,
            "request_too_large" => Self::RequestTooLarge,
            "rate_limit_error" => Self::RateLimit,
            "conflict_error" => Self::Conflict,
            "timeout_error" => Self::Timeout,
            "api_error" => Self::Api,
            "overloaded_error" => Self::Overloaded,
            _ => Self::Unknown,
        }
    }

    fn from_status(status: u16) -> Option<Self> {
        Some(match status {
            400 => Self::InvalidRequest,
            401 => Self::Authentication,
            402 => Self::Billing,
            403 => Self::Permission,
            404 => Self::NotFound,
            // 522 to 524: the proxy in front of the API gave up waiting for it.
            408 | 504 | 522..=524 => Self::Timeout,
            409 => Self::Conflict,
            413 => Self::RequestTooLarge,
            429 => Self::RateLimit,
            500 => Self::Api,
            503 | 529 => Self::Overloaded,
            _ => return None,
        })
    }

    /// The HTTP status the API sends with this kind; 500 for [`ErrorKind::Unknown`].
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidRequest | Self::OwnSpendLimit => 400,
            Self::Authentication => 401,
            Self::Billing => 402,
            Self::Permission => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::RequestTooLarge => 413,
            Self::RateLimit | Self::SpendLimit => 429,
            Self::Api | Self::Unknown => 500,
            Self::Timeout => 504,
            Self::Overloaded => 529,
        }
    }

    /// The API's `error.type`, which the spend limits share with other errors.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest | Self::OwnSpendLimit => "invalid_request_error",
            Self::Authentication => "authentication_error",
            Self::Billing => "billing_error",
            Self::Permission => "permission_error",
            Self::NotFound => "not_found_error",
            Self::RequestTooLarge => "request_too_large",
            Self::RateLimit | Self::SpendLimit => "rate_limit_error",
            Self::Conflict => "conflict_error",
            Self::Timeout => "timeout_error",
            Self::Api => "api_error",
            Self::Overloaded => "overloaded_error",
            Self::Unknown => "unknown_error",
        }
    }

    /// Whether the same request can succeed later without anybody changing anything.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        match self {
            Self::RateLimit
            | Self::Conflict
            | Self::Timeout
            | Self::Api
            | Self::Overloaded
            | Self::Unknown => true,
            Self::InvalidRequest
            | Self::Authentication
            | Self::Billing
            | Self::Permission
            | Self::NotFound
            | Self::RequestTooLarge
            | Self::SpendLimit
            | Self::OwnSpendLimit => false,
        }
    }

    /// Whether the failed call may have been billed.
    #[must_use]
    pub fn billing(self) -> Billing {
        match self {
            Self::Timeout | Self::Unknown => Billing::Possible,
            Self::InvalidRequest
            | Self::Authentication
            | Self::Billing
            | Self::Permission
            | Self::NotFound
            | Self::RequestTooLarge
            | Self::RateLimit
            | Self::SpendLimit
            | Self::OwnSpendLimit
            | Self::Conflict
            | Self::Api
            | Self::Overloaded => Billing::None,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `{"type":"error","error":{"type","message","details"?},"request_id"}`, of a response or of an
/// errored batch row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorBody {
    /// What kind of error it is.
    pub kind: ErrorKind,
    /// The API's text; for people, never for logic.
    pub message: String,
    /// `req_…` or `workerreq_…`; null for rows refused before they ran.
    pub request_id: Option<String>,
    /// `error.details.error_code`.
    pub error_code: Option<String>,
}

/// Members are read one by one: an odd one must not hide the others.
#[derive(Deserialize, Default)]
struct Outer {
    error: Option<serde_json::Value>,
    request_id: Option<serde_json::Value>,
    #[serde(rename = "type")]
    kind: Option<serde_json::Value>,
    message: Option<serde_json::Value>,
}

struct Parts {
    kind: Option<String>,
    message: Option<String>,
    request_id: Option<String>,
    error_code: Option<String>,
}

impl ErrorBody {
    /// Reads the body of an error response; anything unreadable is quoted as the message.
    #[must_use]
    pub fn parse(status: u16, body: &[u8]) -> Self {
        let parts = Parts::read(body);
        let kind = match ErrorKind::from_status(status) {
            Some(kind) => parts.refined(kind),
            None => match parts.kind() {
                ErrorKind::Unknown if (400..500).contains(&status) => ErrorKind::InvalidRequest,
                kind => kind,
            },
        };
        parts.into_body(kind, || quoted(status, body))
    }

    /// Reads the `error` of an errored batch row or of a stream's `error` event, which have no
    /// status of their own: the type decides. The kind of a row sits in `error.error.type`; the
    /// flat form that some of the docs' samples show is read as well.
    #[must_use]
    pub fn parse_statusless(raw: &[u8]) -> Self {
        let parts = Parts::read(raw);
        let kind = parts.kind();
        parts.into_body(kind, || quoted_text(raw))
    }
}

impl Parts {
    fn read(body: &[u8]) -> Self {
        let outer: Outer = serde_json::from_slice(body).unwrap_or_default();
        let string = |value: Option<&serde_json::Value>| {
            value
                .and_then(serde_json::Value::as_str)
                .map(ToOwned::to_owned)
        };
        let (kind, message, details) = match &outer.error {
            Some(inner @ serde_json::Value::Object(_)) => (
                inner.get("type"),
                inner.get("message"),
                inner.get("details"),
            ),
            _ => (outer.kind.as_ref(), outer.message.as_ref(), None),
        };
        Self {
            kind: string(kind),
            message: string(message),
            request_id: string(outer.request_id.as_ref()),
            error_code: string(details.and_then(|details| details.get("error_code"))),
        }
    }

    /// Tells the spend limits from the errors whose status and type they share.
    fn refined(&self, kind: ErrorKind) -> ErrorKind {
        let message = self.message.as_deref().unwrap_or_default();
        match kind {
            ErrorKind::RateLimit if self.error_code.as_deref() == Some(SPEND_LIMIT_CODE) => {
                ErrorKind::SpendLimit
            }
            ErrorKind::InvalidRequest
                if OWN_SPEND_LIMIT.iter().all(|said| message.contains(said)) =>
            {
                ErrorKind::OwnSpendLimit
            }
            kind => kind,
        }
    }

    fn kind(&self) -> ErrorKind {
        let kind = self.kind.as_deref().map(ErrorKind::from_type);
        self.refined(kind.unwrap_or(ErrorKind::Unknown))
    }

    fn into_body(self, kind: ErrorKind, fallback: impl FnOnce() -> String) -> ErrorBody {
        ErrorBody {
            kind,
            message: self.message.unwrap_or_else(fallback),
            request_id: self.request_id,
            error_code: self.error_code,
        }
    }
}

fn quoted(status: u16, body: &[u8]) -> String {
    let text = quoted_text(body);
    if text.is_empty() {
        format!("status {status} without a body")
    } else {
        format!("status {status}: {text}")
    }
}

fn quoted_text(body: &[u8]) -> String {
    // A character takes at most four bytes, so this prefix always holds enough of them.
    let head = &body[..body.len().min(QUOTED_BODY_CHARS * 4)];
    let text = String::from_utf8_lossy(head);
    text.trim().chars().take(QUOTED_BODY_CHARS).collect()
}
