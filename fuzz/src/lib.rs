//! What must hold for any bytes. Every function takes whatever a fuzzer makes up and panics where a property breaks.
//!
//! Leaves out the making up: `targets/` hands these functions to libFuzzer, `tests/corpus.rs` replays what is committed.

mod exchange;
mod request;
mod result_line;
mod rules;
mod sse;

pub use exchange::exchange;
pub use request::request;
pub use result_line::result_line;
pub use rules::rules;
pub use sse::sse;
