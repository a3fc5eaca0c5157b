//! Made-up sequences of requests, for laws about whole worlds. No test cases.

use offpeak_sim::{Config, Faults, Limits, Reply, Request, World};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::harness::{BATCHES, HOUR, MINUTE, SECOND, START, envelope, marked, params, row};

/// One thing that a client does.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    Wait(i64),
    Message(u8),
    Count,
    Create {
        rows: u8,
        text: u8,
    },
    /// The batches by the order in which they were made.
    Batch(&'static str, u8),
    List(u8),
    Models,
    Usage,
    Rules(u8),
    Garbage,
}

pub(crate) fn deed() -> impl Strategy<Value = Deed> {
    let waits = [SECOND / 3, 7 * SECOND, MINUTE, 12 * MINUTE, HOUR, 25 * HOUR];
    prop_oneof![
        4 => prop::sample::select(waits.to_vec()).prop_map(Deed::Wait),
        3 => (0u8..6).prop_map(Deed::Message),
        1 => Just(Deed::Count),
        3 => (1u8..40, 0u8..3).prop_map(|(rows, text)| Deed::Create { rows, text }),
        4 => (prop::sample::select(vec!["get", "cancel", "results", "delete"]), 0u8..6)
            .prop_map(|(what, which)| Deed::Batch(what, which)),
        1 => (1u8..4).prop_map(Deed::List),
        1 => Just(Deed::Models),
        1 => Just(Deed::Usage),
        1 => (0u8..3).prop_map(Deed::Rules),
        1 => Just(Deed::Garbage),
    ]
}

pub(crate) fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    prop::collection::vec(deed(), 1..40)
}

/// A world in which much goes wrong and limits hold.
pub(crate) fn config(seed: u64) -> Config {
    let mut faults = Faults::rough(seed);
    let rules = "[[rule]]\nendpoint = 'results'\nevery = 3\neffect = 'truncated'\n\
        [[rule]]\np = 0.1\neffect = 'slow'\nms = 300\n\
        [[rule]]\nmodel = 'claude-sonnet-4-6'\nnth = 3\nstatus = 529\n";
    faults.rules = Faults::parse(rules).unwrap().rules;
    Config {
        seed,
        faults,
        workers: 7,
        limits: Limits {
            messages: 20,
            batches: 60,
            acceleration: true,
            ..Limits::start()
        },
        ..Config::default()
    }
}

/// A client that remembers the batches it made.
#[derive(Clone, Default)]
pub(crate) struct Player {
    pub(crate) now: i64,
    batches: Vec<String>,
}

impl Player {
    pub(crate) fn new() -> Self {
        Self {
            now: START,
            batches: Vec::new(),
        }
    }

    /// Does one thing, and returns everything that it was told.
    pub(crate) fn play(&mut self, world: &mut World, deed: &Deed) -> String {
        let key = "sk-ant-api03-play";
        let request = |method: &str, target: &str| Request::new(method, target).signed(key);
        let request = match deed {
            Deed::Wait(micros) => {
                self.now += micros;
                return String::new();
            }
            Deed::Message(which) => {
                let body = match which {
                    0 => params("Hello.").to_string(),
                    1 => marked(1_200, "5m", "One").to_string(),
                    2 => marked(1_200, "1h", "Two").to_string(),
                    3 => {
                        let mut params = params("Hi.");
                        params["model"] = json!("claude-haiku-5-5");
                        params.to_string()
                    }
                    4 => {
                        let mut params = params("Hi.");
                        params["model"] = json!("claude-nobody");
                        params.to_string()
                    }
                    _ => "{".to_owned(),
                };
                request("POST", "/v1/messages").body(body)
            }
            Deed::Count => {
                request("POST", "/v1/messages/count_tokens").body(params("Count.").to_string())
            }
            Deed::Create { rows, text } => {
                let one = |i: u8| {
                    let params = match (text, i % 7) {
                        (_, 6) => json!({ "model": "x" }),
                        (0, _) => params(&format!("Row {i}")),
                        _ => marked(1_100, if *text == 1 { "5m" } else { "1h" }, &format!("Row {i}")),
                    };
                    row(&format!("r{i}"), &params)
                };
                let rows: Vec<Value> = (0..*rows).map(one).collect();
                request("POST", BATCHES).body(envelope(&rows))
            }
            Deed::Batch(what, which) => {
                let unknown = "msgbatch_01unknown".to_owned();
                let id = self.batches.get(usize::from(*which)).unwrap_or(&unknown);
                match *what {
                    "get" => request("GET", &format!("{BATCHES}/{id}")),
                    "delete" => request("DELETE", &format!("{BATCHES}/{id}")),
                    "cancel" => request("POST", &format!("{BATCHES}/{id}/cancel")),
                    _ => request("GET", &format!("{BATCHES}/{id}/results")),
                }
            }
            Deed::List(limit) => request("GET", &format!("{BATCHES}?limit={limit}")),
            Deed::Models => request("GET", "/v1/models?limit=3"),
            Deed::Usage => Request::new(
                "GET",
                "/v1/organizations/usage_report/messages?starting_at=2026-11-22T00:00:00Z&group_by[]=model",
            )
            .signed("sk-ant-admin01-x"),
            Deed::Rules(which) => Request::new("POST", "/_sim/faults").body(match which {
                0 => r#"{"preset":"rough","seed":4,"rule":[{"every":2,"status":429}]}"#,
                1 => r#"{"add":true,"rule":[{"p":0.3,"effect":"clock_skew","seconds":-90}]}"#,
                _ => r#"{"rule":[]}"#,
            }),
            Deed::Garbage => request("PATCH", "/v1/models").body("?"),
        };
        let reply = world.handle(self.now, &request);
        let told = told(reply);
        if let (Deed::Create { .. }, Some((_, body))) = (deed, told.split_once("\n\n")) {
            let body: Value = serde_json::from_str(body).unwrap_or_default();
            self.batches.extend(body["id"].as_str().map(str::to_owned));
        }
        told
    }
}

/// A reply as text, down to its last byte.
pub(crate) fn told(reply: Reply) -> String {
    let head = format!(
        "{} {} {:?} {:?}",
        reply.status, reply.at, reply.fate, reply.headers
    );
    let (body, complete) = reply.body.collect();
    format!("{head} {complete}\n\n{}", String::from_utf8_lossy(&body))
}

/// What a world says of itself: its bill, its log and where it stands.
pub(crate) fn account(world: &mut World, now: i64) -> String {
    ["bill", "requests", "state", "faults"]
        .map(|what| told(world.handle(now, &Request::new("GET", &format!("/_sim/{what}")))))
        .concat()
}
