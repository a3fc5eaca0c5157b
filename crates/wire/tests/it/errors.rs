//! What error responses mean.

use offpeak_wire::error::{Billing, ErrorBody, ErrorKind};

const KINDS: [ErrorKind; 14] = [
    ErrorKind::InvalidRequest,
    ErrorKind::Authentication,
    ErrorKind::Billing,
    ErrorKind::Permission,
    ErrorKind::NotFound,
    ErrorKind::RequestTooLarge,
    ErrorKind::RateLimit,
    ErrorKind::SpendLimit,
    ErrorKind::OwnSpendLimit,
    ErrorKind::Conflict,
    ErrorKind::Timeout,
    ErrorKind::Api,
    ErrorKind::Overloaded,
    ErrorKind::Unknown,
];

#[test]
fn kinds_survive_their_own_names_and_statuses() {
    for kind in KINDS {
        let body = format!(
            r#"{{"type":"error","error":{{"type":"{}","message":"{}","details":{{"error_code":"{}"}}}},"request_id":"req_1"}}"#,
            kind.as_str(),
            if kind == ErrorKind::OwnSpendLimit {
                "You have reached your specified workspace API usage limits. You will regain access on \
                 2026-12-01 at 00:00 UTC."
            } else {
                "m"
            },
            if kind == ErrorKind::SpendLimit {
                "enforced_spend_limit_reached"
            } else {
                "x"
            },
        );
        let row = ErrorBody::parse_statusless(body.as_bytes());
        assert_eq!(row.kind, kind);
        assert_eq!(row.request_id.as_deref(), Some("req_1"));
        if kind != ErrorKind::Unknown {
            assert_eq!(
                ErrorKind::from_response(kind.status(), body.as_bytes()),
                kind
            );
        }
        let possible = matches!(kind, ErrorKind::Timeout | ErrorKind::Unknown);
        assert_eq!(kind.billing() == Billing::Possible, possible, "{kind}");
    }
    let retryable: Vec<&str> = KINDS
        .into_iter()
        .filter(|kind| kind.is_retryable())
        .map(ErrorKind::as_str)
        .collect();
    assert_eq!(
        retryable,
        [
            "rate_limit_error",
            "conflict_error",
            "timeout_error",
            "api_error",
            "overloaded_error",
            "unknown_error"
        ]
    );
    for spend_limit in [ErrorKind::SpendLimit, ErrorKind::OwnSpendLimit] {
        assert!(!spend_limit.is_retryable());
    }
}

#[test]
fn the_status_comes_first() {
    let body = br#"{"type":"error","error":{"type":"api_error","message":"m"}}"#;
    for (status, kind) in [
        (400, ErrorKind::InvalidRequest),
        (408, ErrorKind::Timeout),
        (429, ErrorKind::RateLimit),
        (504, ErrorKind::Timeout),
        (524, ErrorKind::Timeout),
        (529, ErrorKind::Overloaded),
        // Unlisted statuses, and errors within a 200 stream, go by the body.
        (200, ErrorKind::Api),
        (502, ErrorKind::Api),
        (418, ErrorKind::Api),
    ] {
        assert_eq!(ErrorKind::from_response(status, body), kind, "{status}");
    }
    assert_eq!(
        ErrorKind::from_response(422, b""),
        ErrorKind::InvalidRequest
    );
    assert_eq!(ErrorKind::from_response(502, b"<html>"), ErrorKind::Unknown);
    assert_eq!(ErrorKind::from_response(302, b""), ErrorKind::Unknown);
}

#[test]
fn bodies_that_are_not_the_documented_ones() {
    let html = format!("<html>{}</html>", "é".repeat(500));
    let body = ErrorBody::parse(413, html.as_bytes());
    assert_eq!(body.kind, ErrorKind::RequestTooLarge);
    assert!(body.message.starts_with("status 413: <html>éé"));
    assert!(body.message.chars().count() < 220);
    assert_eq!(
        ErrorBody::parse(500, b"").message,
        "status 500 without a body"
    );
    assert!(!ErrorBody::parse(500, b"\xff\xfe").message.is_empty());

    // An odd member hides none of the others.
    let odd = ErrorBody::parse(
        429,
        br#"{"error":{"type":7,"message":"slow","details":[]},"request_id":{}}"#,
    );
    assert_eq!(
        (odd.kind, &*odd.message, odd.request_id),
        (ErrorKind::RateLimit, "slow", None)
    );
    let null = ErrorBody::parse_statusless(br#"{"type":"error","error":null}"#);
    assert_eq!(null.kind, ErrorKind::Unknown);
    let flat = ErrorBody::parse_statusless(br#"{"type":"api_error","message":"m"}"#);
    assert_eq!((flat.kind, &*flat.message), (ErrorKind::Api, "m"));
}
