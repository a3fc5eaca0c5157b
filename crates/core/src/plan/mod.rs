//! The routing decision: which lane a workload takes and where its cache marks go, with the reasons
//! and the expected cost of every route.
//!
//! Two questions decide. Is an answer needed within seconds? Then the calls go out one by one. Is
//! the preamble (tools and system prompt) the same across many calls? Then it is cached. Everything
//! here is a pure function of the workload, the price book and `now`. Leaves out how rows are
//! grouped and cut into shards, and when a running batch is given up (`job`).

mod cost;
mod decide;
mod explain;
mod group;
mod reason;
mod route;
pub(crate) mod timing;
mod tokens;
mod workload;

#[cfg(test)]
mod laws;

pub use cost::{Caching, Expense, HitRate, Load, break_even_calls, hit_threshold, route_cost};
pub use decide::{PlanError, decide};
pub use reason::{Answer, Because, Preamble, Question, Reason};
pub use route::{Assumptions, Barred, GroupPlan, Plan, Route, RouteCost, Saving, Sensitivity};
pub use timing::Timing;
pub use tokens::{TokenRange, Tokenizer};
pub use workload::{GroupProfile, Need, Sums, Workload};
