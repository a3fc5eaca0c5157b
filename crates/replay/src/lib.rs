//! Recorded traffic, replayed under several policies: what each would have paid, beside what nobody
//! can go below.
//!
//! A trace says which prompts came when. A policy sees calls as they come and says what to send, with
//! which cache marks; the simulator's referee bills it. The bound is the planner's, the bill is not:
//! neither can flatter the other. Time is the trace's own; a seed always gives the same result.
//!
//! Leaves out files, and how results look (`offpeak-report`).

mod error;
mod game;
mod generate;
mod makespan;
mod moves;
mod policy;
mod regret;
mod score;
mod trace;

pub use error::{TraceError, TraceErrorKind};
pub use game::GameError;
pub use generate::{Dice, Workload};
pub use offpeak_core::gate::{Block, Role};
pub use policy::PolicyName;
pub use regret::Regret;
pub use score::{Options, Pressure, Score, replay};
pub use trace::{Call, Trace};
