//! Counting tokens: what of a request is sent to be counted, and the answer.
//!
//! `POST /v1/messages/count_tokens` takes fewer members than `POST /v1/messages`: not `max_tokens`, and
//! nothing that shapes the sampling (Anthropic docs, count_tokens). Leaves out the sending.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::decode::DecodeError;

/// The members that are counted, as their own bytes.
#[derive(Serialize, Deserialize)]
struct Counted<'a> {
    #[serde(borrow)]
    model: &'a RawValue,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    system: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    tools: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    tool_choice: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    thinking: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    output_config: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    cache_control: Option<&'a RawValue>,
    #[serde(borrow)]
    messages: &'a RawValue,
}

/// The body that asks for the tokens of a request.
///
/// # Errors
/// If the request is no object with a model and messages.
pub fn count_body(request: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let unreadable = |error| DecodeError::new("request", error);
    let counted: Counted<'_> = serde_json::from_slice(request).map_err(unreadable)?;
    serde_json::to_vec(&counted).map_err(unreadable)
}

/// The tokens that an answer to such a body says.
///
/// # Errors
/// If it says none.
pub fn counted_tokens(answer: &[u8]) -> Result<u64, DecodeError> {
    #[derive(Deserialize)]
    struct Answer {
        input_tokens: u64,
    }
    let answer: Result<Answer, _> = serde_json::from_slice(answer);
    answer
        .map(|answer| answer.input_tokens)
        .map_err(|error| DecodeError::new("token count", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_keeps_its_bytes_and_the_rest_stays_away() {
        let request = br#"{"model":"m","max_tokens":9,"temperature":1.0,"metadata":{"user_id":"u"},"messages":[{"role":"user","content":"\u00e9 1.00"}],"system":[ {"type":"text","text":"s"} ],"thinking":null}"#;
        let body = count_body(request).unwrap();
        assert_eq!(
            String::from_utf8(body).unwrap(),
            r#"{"model":"m","system":[ {"type":"text","text":"s"} ],"messages":[{"role":"user","content":"\u00e9 1.00"}]}"#
        );
        assert!(count_body(br#"{"model":"m"}"#).is_err());
        assert!(count_body(b"[]").is_err());
    }

    #[test]
    fn an_answer_says_a_number_or_is_unreadable() {
        let answer = br#"{"input_tokens":2095,"context_management":{"x":1}}"#;
        assert_eq!(counted_tokens(answer), Ok(2_095));
        for wrong in [&b"{}"[..], b"", br#"{"input_tokens":-1}"#, b"7"] {
            assert!(counted_tokens(wrong).is_err());
        }
    }
}
