//! The Claude API, honestly simulated.
//!
//! A [`World`] answers Messages and Message Batches requests as the API would, in virtual time
//! and from a seed: answers, prompt cache, batch schedules, rate limits and faults are pure
//! functions of the configuration, the requests and the instants they arrive at. It keeps its own
//! bill, in picodollars, with its own arithmetic over the price book: whoever claims to know what
//! a run cost is compared with that.
//!
//! The feature `server` adds an HTTP server and an in-process connection around a world.
//!
//! Left out: server tools, which are taken and never called, and files.
//!
//! ```
//! use offpeak_sim::{Config, Request, World};
//!
//! const MINUTE: i64 = 60_000_000; // instants are microseconds
//! let now = 1_795_341_600_000_000; // 2026-11-22 10:00 UTC
//! let mut world = World::new(Config::default());
//!
//! let row = r#"{"custom_id":"a","params":{"model":"claude-haiku-4-5","max_tokens":50,
//!     "messages":[{"role":"user","content":"Say something."}]}}"#;
//! let create = Request::new("POST", "/v1/messages/batches")
//!     .signed("sk-test")
//!     .body(format!(r#"{{"requests":[{row}]}}"#));
//! let reply = world.handle(now, &create);
//! assert_eq!(reply.status, 200);
//! let (body, _) = reply.body.collect();
//! let id = offpeak_wire::batch::BatchObject::parse(&body).unwrap().id;
//!
//! let results = Request::new("GET", &format!("/v1/messages/batches/{id}/results"));
//! let results = results.signed("sk-test");
//! assert_eq!(world.handle(now + MINUTE, &results).status, 404); // still running
//! let reply = world.handle(now + 60 * MINUTE, &results);
//! let (lines, complete) = reply.body.collect();
//! assert!(complete && lines.starts_with(br#"{"custom_id":"a","result":{"type":"succeeded""#));
//!
//! // 4 input tokens at $0.50 and 50 output tokens at $2.50 per million.
//! assert_eq!(world.bill().total(), 4 * 500_000 + 50 * 2_500_000);
//! ```

mod answer;
mod assume;
mod batch;
mod bill;
mod book;
mod cache;
mod capability;
mod check;
mod config;
mod control;
mod dice;
mod dispatch;
mod endpoint;
mod fault;
mod foul;
mod gate;
mod http;
mod line;
mod log;
mod pick;
mod profile;
mod prompt;
mod query;
mod rate;
mod referee;
mod reply;
mod route;
mod rule;
mod save;
#[cfg(feature = "server")]
pub mod server;
mod stamp;
mod stream;
mod text;
mod tokens;
mod world;

pub use answer::rules::{AnswerRules, AnswerRulesError};
pub use assume::{ASSUMPTIONS, Assumption, BadAssumption};
pub use batch::{Cut, Lines};
pub use bill::{BillLine, BillView, Lane, Tally};
pub use cache::CacheRules;
pub use config::{AnswerMode, Answers, Config, Latency, OutputModel};
pub use fault::{
    Endpoint, EndpointFaults, Fault, Faults, Refusal, ResultFaults, RetryAfter, RowFaults,
};
pub use foul::Foul;
pub use http::{Body, Fate, Reply, Request};
pub use line::Line;
pub use profile::Profile;
pub use rate::{Limits, RateLeft};
pub use referee::{Called, Ended, Outage, Play, Played, Referee, RefereeRules, Refused, RowEnd};
pub use rule::{BadRules, Rule};
pub use save::BadState;
pub use stream::{Ending, Events, StreamFault};
pub use tokens::Tokenizer;
pub use world::{Ticket, Unread, World, body_limit};
