//! Decisions about calls that are answered at once and are not known before they come: which blocks
//! they mark and for how long, which of them wait a moment for an entry that is being written, and
//! which entries are kept alive.
//!
//! The promise: whatever the cache does, no beginning of prompts costs more than twice its input price
//! beyond what it would have cost without any marks (`account`). Within that, `cache_gate` keeps a
//! belief of the cache from what it sent and checks it against the usage of every answer; `belief` says
//! what a prefix is worth. Pure: the clock is an argument, and what is to be done comes out as acts.
//! Leaves out what waits for a batch (`plan`) and the pace of the lane (`job`).

mod account;
mod belief;
mod cache_gate;
mod call;

pub use cache_gate::CacheGate;
pub use call::{Act, Block, Call, HELD, Marks, Role};
