//! Batch objects, ids, the envelope, and rate-limit headers.

use offpeak_wire::batch::{
    BatchId, BatchObject, BatchPage, BatchStatus, CustomId, CustomIdError, ENVELOPE_HEAD,
    ENVELOPE_TAIL, ROW_SEPARATOR, ROW_TAIL, row_head,
};
use offpeak_wire::limits::{LimitTriple, RateLimitHeaders};
use offpeak_wire::request::RowLine;

const ENDED: &str = r#"{"id":"msgbatch_01","type":"message_batch","processing_status":"ended","request_counts":{"processing":0,"succeeded":90,"errored":4,"canceled":3,"expired":3},"created_at":"2026-11-22T10:00:00.000000Z","expires_at":"2026-11-23T10:00:00.000000Z","ended_at":"2026-11-22T10:40:00Z","cancel_initiated_at":null,"archived_at":null,"results_url":"https://api.anthropic.com/v1/messages/batches/msgbatch_01/results"}"#;

#[test]
fn a_batch_and_its_older_and_newer_forms() {
    let batch = BatchObject::parse(ENDED.as_bytes()).unwrap();
    assert_eq!(batch.id.as_str(), "msgbatch_01");
    assert_eq!(batch.status, BatchStatus::Ended);
    assert_eq!((batch.counts.total(), batch.counts.errored), (100, 4));
    assert_eq!((batch.cancel_initiated_at, batch.archived_at), (None, None));
    assert!(batch.results_url.unwrap().ends_with("/results"));

    let short = r#"{"id":"b","processing_status":"dreaming","request_counts":{"processing":2,"new":1},"created_at":"c","expires_at":"e","new":{}}"#;
    let batch = BatchObject::parse(short.as_bytes()).unwrap();
    assert_eq!(batch.status, BatchStatus::Unknown("dreaming".into()));
    assert_eq!((batch.counts.total(), batch.ended_at), (2, None));
    for broken in [
        "{}",
        "[]",
        &ENDED.replace("msgbatch_01", "a/b"),
        &ENDED[..ENDED.len() - 1],
    ] {
        assert!(BatchObject::parse(broken.as_bytes()).is_err(), "{broken}");
    }
}

#[test]
fn pages_of_batches() {
    let page = format!(
        r#"{{"data":[{ENDED}],"has_more":true,"first_id":"msgbatch_01","last_id":"msgbatch_01"}}"#
    );
    let page = BatchPage::parse(page.as_bytes()).unwrap();
    assert_eq!((page.data.len(), page.has_more), (1, true));
    assert_eq!(page.last_id, BatchId::new("msgbatch_01").ok());
    let empty = BatchPage::parse(br#"{"data":[],"has_more":false,"first_id":null,"last_id":null}"#);
    assert_eq!(empty.map(|page| page.first_id), Ok(None));
}

#[test]
fn ids_hold_what_the_api_takes() {
    assert!(CustomId::new(&"a".repeat(64)).is_ok());
    assert_eq!(
        CustomId::new(&"a".repeat(65)),
        Err(CustomIdError::TooLong(65))
    );
    assert_eq!(CustomId::new(""), Err(CustomIdError::Empty));
    assert_eq!(CustomId::new("a b"), Err(CustomIdError::BadCharacter(' ')));
    assert_eq!(CustomId::new("é"), Err(CustomIdError::BadCharacter('é')));
    assert!(BatchId::new("").is_err() && BatchId::new("../x").is_err());
    assert!(serde_json::from_str::<BatchId>("\"a/b\"").is_err());
}

#[test]
fn an_envelope_is_rows_in_order() {
    let mut body = ENVELOPE_HEAD.to_vec();
    for (index, id) in ["a-1", "b_2"].into_iter().enumerate() {
        if index > 0 {
            body.extend_from_slice(ROW_SEPARATOR);
        }
        let start = body.len();
        row_head(&CustomId::new(id).unwrap(), &mut body);
        body.extend_from_slice(br#"{"max_tokens":1}"#);
        body.extend_from_slice(ROW_TAIL);
        let row = RowLine::parse(&body[start..]).unwrap();
        assert_eq!(row.custom_id.as_deref(), Some(id));
    }
    body.extend_from_slice(ENVELOPE_TAIL);
    assert_eq!(
        String::from_utf8(body).unwrap(),
        r#"{"requests":[{"custom_id":"a-1","params":{"max_tokens":1}},{"custom_id":"b_2","params":{"max_tokens":1}}]}"#
    );
}

#[test]
fn rate_limit_headers() {
    let headers = RateLimitHeaders::from_pairs(
        [
            ("Anthropic-RateLimit-Input-Tokens-Limit", "2000000"),
            ("anthropic-ratelimit-input-tokens-remaining", "1999000"),
            (
                "anthropic-ratelimit-input-tokens-reset",
                "2026-11-22T10:00:00Z",
            ),
            ("anthropic-ratelimit-requests-limit", "1000"),
            ("anthropic-ratelimit-requests-remaining", "many"),
            ("anthropic-ratelimit-requests-reset", "2026-11-22T10:00:00Z"),
            ("anthropic-ratelimit-tokens-limit", "5"),
            ("Retry-After", "12"),
        ]
        .into_iter(),
    );
    assert_eq!(
        headers.input_tokens,
        Some(LimitTriple {
            limit: 2_000_000,
            remaining: 1_999_000,
            reset: "2026-11-22T10:00:00Z".into()
        })
    );
    assert_eq!((headers.requests, headers.output_tokens), (None, None));
    assert_eq!(headers.retry_after, Some(12.0));

    let wait =
        |pairs: &[(&str, &str)]| RateLimitHeaders::from_pairs(pairs.iter().copied()).retry_after;
    assert_eq!(
        wait(&[("retry-after", "9"), ("retry-after-ms", "1500")]),
        Some(1.5)
    );
    assert_eq!(
        wait(&[("retry-after", "Sun, 22 Nov 2026 10:00:00 GMT")]),
        None
    );
    for nonsense in ["-1", "inf", "NaN", ""] {
        assert_eq!(wait(&[("retry-after", nonsense)]), None, "{nonsense}");
    }
}
