//! The Rate Limits API: of an organisation's limits, the one that the Messages API does not tell in its
//! headers, which is how many rows of batches may wait at once (Anthropic docs, rate limits API).
//!
//! It takes an admin key. Leaves out all other limits: their headers say more, and say it with each answer.

use serde::Deserialize;

use crate::decode::DecodeError;

/// Where the limits of batches are, of the organisation or, beside those, of one of its workspaces.
#[must_use]
pub fn batch_limits_path(workspace: Option<&str>) -> String {
    let of = workspace.map_or_else(String::new, |id| format!("workspaces/{id}/"));
    format!("/v1/organizations/{of}rate_limits?group_type=batch")
}

#[derive(Deserialize)]
struct Page {
    data: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    group_type: String,
    limits: Vec<Limit>,
}

#[derive(Deserialize)]
struct Limit {
    r#type: String,
    value: Option<u64>,
}

/// Most rows of batches that may wait at once; `None` if no such limit is named.
///
/// # Errors
/// When the bytes are no such page.
pub fn queue_limit(raw: &[u8]) -> Result<Option<u64>, DecodeError> {
    let page: Page =
        serde_json::from_slice(raw).map_err(|error| DecodeError::new("rate limits", error))?;
    let groups = page
        .data
        .into_iter()
        .filter(|group| group.group_type == "batch");
    let mut limits = groups.flat_map(|group| group.limits);
    let queued = limits.find(|limit| limit.r#type == "enqueued_batch_requests");
    Ok(queued.and_then(|limit| limit.value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_limit_is_read_from_among_the_others() {
        let page = br#"{"data":[
            {"type":"rate_limit","group_type":"token_count","models":null,
             "limits":[{"type":"enqueued_batch_requests","value":1}]},
            {"type":"rate_limit","group_type":"batch","models":null,"new":true,
             "limits":[{"type":"requests_per_minute","value":1000},
                       {"type":"enqueued_batch_requests","value":200000,"org_limit":300000}]}],
            "next_page":null}"#;
        assert_eq!(queue_limit(page).unwrap(), Some(200_000));
        let none = br#"{"data":[{"group_type":"batch","limits":[{"type":"x","value":null}]}]}"#;
        assert_eq!(queue_limit(none).unwrap(), None);
        assert_eq!(queue_limit(br#"{"data":[]}"#).unwrap(), None);
        assert!(queue_limit(b"<html>").is_err());
    }

    #[test]
    fn a_workspace_has_limits_of_its_own() {
        let path = "/v1/organizations/rate_limits?group_type=batch";
        assert_eq!(batch_limits_path(None), path);
        let path = "/v1/organizations/workspaces/wrkspc_1/rate_limits?group_type=batch";
        assert_eq!(batch_limits_path(Some("wrkspc_1")), path);
    }
}
