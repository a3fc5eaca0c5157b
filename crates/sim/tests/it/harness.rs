//! A client for tests: builds requests, moves time, reads answers. No test cases.

use offpeak_sim::{Config, Reply, Request, World};
use serde_json::{Value, json};

pub(crate) const SECOND: i64 = 1_000_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;
/// 2026-11-22 10:00:00 UTC.
pub(crate) const START: i64 = 1_795_341_600 * SECOND;

/// An older tokenizer, a minimum of 1,024 cacheable tokens, $3/$15.
pub(crate) const SONNET: &str = "claude-sonnet-4-6";

pub(crate) const BATCHES: &str = "/v1/messages/batches";

pub(crate) struct Client {
    pub(crate) world: World,
    pub(crate) now: i64,
}

impl Client {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            world: World::new(config),
            now: START,
        }
    }

    pub(crate) fn wait(&mut self, micros: i64) -> &mut Self {
        self.now += micros;
        self
    }

    pub(crate) fn send(&mut self, request: &Request) -> Reply {
        self.world.handle(self.now, request)
    }

    pub(crate) fn get(&mut self, target: &str) -> (u16, Value) {
        let reply = self.send(&Request::new("GET", target).signed("key"));
        (reply.status, value(reply))
    }

    pub(crate) fn post(&mut self, target: &str, body: impl Into<Vec<u8>>) -> (u16, Value) {
        let reply = self.send(&Request::new("POST", target).signed("key").body(body));
        (reply.status, value(reply))
    }

    pub(crate) fn message(&mut self, params: &Value) -> Value {
        let (status, body) = self.post("/v1/messages", params.to_string());
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Creates a batch and returns its id.
    pub(crate) fn create(&mut self, rows: &[Value]) -> String {
        let (status, body) = self.post(BATCHES, envelope(rows));
        assert_eq!(status, 200, "{body}");
        body["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn batch(&mut self, id: &str) -> Value {
        let (status, body) = self.get(&format!("{BATCHES}/{id}"));
        assert_eq!(status, 200, "{body}");
        body
    }

    /// The result lines of an ended batch, in the order they come.
    pub(crate) fn results(&mut self, id: &str) -> Vec<Value> {
        let target = format!("{BATCHES}/{id}/results");
        let reply = self.send(&Request::new("GET", &target).signed("key"));
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-type"), Some("application/x-jsonl"));
        let (bytes, complete) = reply.body.collect();
        assert!(complete);
        let text = String::from_utf8(bytes).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Creates a batch, waits for its end, and returns its result lines.
    pub(crate) fn run(&mut self, rows: &[Value]) -> Vec<Value> {
        let id = self.create(rows);
        self.wait(30 * MINUTE);
        self.results(&id)
    }
}

pub(crate) fn value(reply: Reply) -> Value {
    let (bytes, _) = reply.body.collect();
    serde_json::from_slice(&bytes).unwrap_or(Value::Null)
}

pub(crate) fn envelope(rows: &[Value]) -> String {
    json!({ "requests": rows }).to_string()
}

/// A client of a quiet world.
pub(crate) fn client() -> Client {
    Client::new(Config::default())
}

/// The same as [`params`], with these members changed or added.
pub(crate) fn params_with(text: &str, changes: Value) -> Value {
    let mut params = params(text);
    for (key, value) in changes.as_object().unwrap() {
        params[key] = value.clone();
    }
    params
}

pub(crate) fn params(text: &str) -> Value {
    json!({
        "model": SONNET,
        "max_tokens": 1_000,
        "messages": [{ "role": "user", "content": text }],
    })
}

pub(crate) fn row(custom_id: &str, params: &Value) -> Value {
    json!({ "custom_id": custom_id, "params": params })
}

/// `n` plain rows, of different texts.
pub(crate) fn rows(n: usize) -> Vec<Value> {
    let one = |i| {
        row(
            &format!("row-{i}"),
            &params(&format!("Question number {i}.")),
        )
    };
    (0..n).map(one).collect()
}

/// A text of exactly `n` tokens for the older tokenizer.
pub(crate) fn words(n: usize) -> String {
    "a ".repeat(n)
}

/// A request with a marked system prompt of `prefix` tokens and its own text.
pub(crate) fn marked(prefix: usize, ttl: &str, text: &str) -> Value {
    let mut params = params(text);
    params["system"] = json!([{
        "type": "text",
        "text": words(prefix),
        "cache_control": { "type": "ephemeral", "ttl": ttl },
    }]);
    params
}

/// (plain, written 5m, written 1h, read) of a message or of a result line.
pub(crate) fn usage(answer: &Value) -> (u64, u64, u64, u64) {
    let usage = match answer.get("result") {
        Some(result) => &result["message"]["usage"],
        None => &answer["usage"],
    };
    let created = &usage["cache_creation"];
    let n = |value: &Value| value.as_u64().unwrap();
    let (w5, w1) = (
        n(&created["ephemeral_5m_input_tokens"]),
        n(&created["ephemeral_1h_input_tokens"]),
    );
    assert_eq!(n(&usage["cache_creation_input_tokens"]), w5 + w1);
    (
        n(&usage["input_tokens"]),
        w5,
        w1,
        n(&usage["cache_read_input_tokens"]),
    )
}
