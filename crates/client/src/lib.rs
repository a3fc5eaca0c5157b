//! One HTTP attempt, and proof of what was sent.
//!
//! Owns: the connection pool, authentication headers, time-outs, the account of how much of a request body was handed
//! to the connection ([`Sent`]), and the product's only operating-system clock ([`clock`]).
//!
//! Leaves out on purpose: retries (a batch create has no idempotency key, so a blind second attempt can be paid twice;
//! whoever retries must first know what may have been billed), redirects, proxies, prices and every other decision.

mod answer;
mod auth;
mod base_url;
mod call;
pub mod clock;
mod dial;
mod error;
mod send;
mod sent;

pub use answer::{Answer, AnswerBody};
pub use auth::Auth;
pub use base_url::BaseUrl;
pub use bytes::Bytes;
pub use call::{Body, Call};
pub use dial::{BoxFuture, Connector, Io};
pub use error::{CallError, ClientError, SendError, SendErrorKind};
pub use http::{HeaderMap, Method};
pub use secrecy::SecretString;
pub use send::{Client, Options};
pub use sent::Sent;
