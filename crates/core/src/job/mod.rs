//! The job machine: what a bulk job does next. Pure; the driver in `offpeak-engine` feeds it events,
//! commits what it wants remembered, and only then does what it wants done.

pub mod account;
mod batch_lane;
mod budget;
pub mod cancel;
mod damage;
mod deadline;
pub mod deletion;
pub mod event;
pub mod machine;
pub mod mark;
pub mod outcome;
pub mod pace;
pub mod queue;
pub mod retry;
mod scouting;
mod settlement;
pub mod shard;
mod soft_line;
pub mod speed;
mod sync_lane;
mod unanswered;
pub mod unmark;
mod waste;

pub use event::{Act, Event, Stop, Write};
pub use machine::{Facts, Machine, Status, Step};

#[cfg(test)]
mod tests;
