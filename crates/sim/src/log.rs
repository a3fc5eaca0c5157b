//! Owns what is remembered of the requests that arrived: the latest of them, without their bodies
//! and with no more of a key than its last four characters.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::fault::Endpoint;
use crate::stamp;

/// Requests remembered; older ones are forgotten.
const KEPT: usize = 10_000;
/// Requests on a page, unless asked for otherwise.
pub(crate) const PAGE: usize = 1_000;

/// One request that was answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Its running number, from 1.
    pub(crate) number: u64,
    pub(crate) at: i64,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) endpoint: Option<Endpoint>,
    /// The last four characters of its key.
    pub(crate) key: Option<String>,
    /// 0 if the connection broke instead of an answer.
    pub(crate) status: u16,
    pub(crate) body_bytes: u64,
    /// Of a create: its rows.
    pub(crate) rows: Option<u32>,
    pub(crate) model: Option<String>,
    pub(crate) fault: Option<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Log {
    entries: VecDeque<Entry>,
    forgotten: u64,
}

impl Log {
    pub(crate) fn push(&mut self, entry: Entry) {
        if self.entries.len() == KEPT {
            self.entries.pop_front();
            self.forgotten += 1;
        }
        self.entries.push_back(entry);
    }

    /// The requests after that number, at most `limit` of them.
    pub(crate) fn page(&self, after: u64, limit: usize) -> impl Serialize {
        #[derive(Serialize)]
        struct Page {
            requests: Vec<Shown>,
            has_more: bool,
            forgotten: u64,
        }
        #[derive(Serialize)]
        struct Shown {
            number: u64,
            at: String,
            method: String,
            path: String,
            endpoint: Option<&'static str>,
            key: Option<String>,
            status: u16,
            body_bytes: u64,
            rows: Option<u32>,
            model: Option<String>,
            fault: Option<String>,
        }
        // Answers may overtake each other, so numbers are only nearly in order.
        let mut entries: Vec<&Entry> = self.entries.iter().filter(|e| e.number > after).collect();
        entries.sort_by_key(|entry| entry.number);
        Page {
            has_more: entries.len() > limit,
            forgotten: self.forgotten,
            requests: entries
                .into_iter()
                .take(limit)
                .cloned()
                .map(|entry| Shown {
                    number: entry.number,
                    at: stamp::rfc3339(entry.at),
                    method: entry.method,
                    path: entry.path,
                    endpoint: entry.endpoint.map(Endpoint::name),
                    key: entry.key,
                    status: entry.status,
                    body_bytes: entry.body_bytes,
                    rows: entry.rows,
                    model: entry.model,
                    fault: entry.fault,
                })
                .collect(),
        }
    }
}

/// The last four characters of a key; of a short one nothing.
pub(crate) fn key_end(key: &str) -> String {
    let count = key.chars().count();
    key.chars().skip(count.max(8) - 4).collect()
}
