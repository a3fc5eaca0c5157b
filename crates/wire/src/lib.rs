//! What the Claude API says: bytes, and views that borrow them.
//!
//! Owns the forms that cross the wire: requests, batch envelopes, result lines, usage, reports,
//! errors and the documented limits. Leaves out prices, clocks, sockets and every decision.

pub mod batch;
pub mod count;
pub mod decode;
pub mod error;
pub mod json;
pub mod limits;
pub mod message;
pub mod rate_limits;
pub mod report;
pub mod request;
pub mod result;
pub mod splice;
pub mod sse;
pub mod stream;
pub mod usage;
pub mod usual;

pub use decode::DecodeError;
