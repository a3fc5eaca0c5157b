//! A line of results, read in three ways that must agree, and the message or error within it.

use offpeak_wire::batch::BatchObject;
use offpeak_wire::error::ErrorBody;
use offpeak_wire::message::MessageView;
use offpeak_wire::result::{ResultLine, RowResult};
use offpeak_wire::usage::Usage;
use serde_json::Value;

/// `ResultLine` and all that is read from what it finds, over any bytes.
///
/// # Panics
///
/// Where it disagrees with `serde_json` or with itself.
pub fn result_line(data: &[u8]) {
    let id = ResultLine::custom_id_of(data);
    let Ok(line) = ResultLine::parse(data) else {
        // The other documents an upstream sends; they may be refused, they may not panic.
        let _ = (BatchObject::parse(data), Usage::parse(data));
        let _ = (
            MessageView::parse(data).map(|message| message.text()),
            ErrorBody::parse(529, data),
        );
        return;
    };
    assert_eq!(
        id.as_deref(),
        Some(&*line.custom_id),
        "the quick look agrees"
    );
    // Lone surrogates in what is kept as bytes are not looked at here, and refused by a tree.
    if let Ok(tree) = serde_json::from_slice::<Value>(data) {
        assert_eq!(tree["custom_id"], *line.custom_id);
    }
    match line.result {
        RowResult::Succeeded { message } => {
            if let Ok(message) = MessageView::parse(message) {
                let usage = &message.usage;
                assert!(usage.prompt_tokens() >= usage.input_tokens);
                let _ = message.text();
            }
        }
        RowResult::Errored { error, raw } => {
            assert!(!raw.is_empty());
            let _ = (error.kind.is_retryable(), error.kind.billing());
        }
        RowResult::Unknown { kind, raw } => {
            assert!(!["succeeded", "errored", "canceled", "expired"].contains(&kind.as_str()));
            assert!(!raw.is_empty());
        }
        RowResult::Canceled | RowResult::Expired => {}
    }
}
