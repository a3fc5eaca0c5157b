//! The routing decision: which lane a workload takes and where its cache marks go, with the reasons
//! and the expected cost of every route.
//!
//! Two questions decide. Is an answer needed within seconds? Then the calls go out one by one. Is
//! the preamble (tools, system, document) the same across many calls? Then it is cached. Everything
//! here is a pure function of the workload, the price book and `now`. Leaves out how rows are
//! grouped and cut into shards, and when a running batch is given up (`job`).
//!
//! `decide` prices every variant of the four routes (`variant`), each with the best marks on the
//! forest of groups (`placement`), takes the cheapest that is allowed, and says why (`explain`,
//! `because`) and what would change it (`sensitivity`).
//!
//! How the rows of a table come to begin alike is found before any of that (`fields`).
//!
//! Beside the decision stands the arithmetic of the cache: which prompts share what (`trie`), where
//! marks go (`marks`, `conversation`), how long entries are kept (`ttl`, `survival`), what is sent
//! ahead of a batch (`warm`, `posterior`), and what all of it costs at the very least (`bound`).

mod because;
mod bound;
mod clairvoyant;
mod conversation;
pub(crate) mod cost;
mod decide;
pub mod evidence;
mod explain;
pub mod fields;
mod group;
pub mod lint;
mod marks;
mod placement;
mod posterior;
mod reason;
mod reuse;
mod route;
mod sensitivity;
mod survival;
pub(crate) mod timing;
mod tokens;
mod trie;
mod ttl;
mod variant;
mod warm;
mod workload;

#[cfg(test)]
mod cache_laws;
#[cfg(test)]
mod forest_laws;
#[cfg(test)]
mod laws;

pub use because::{Because, Padding, Preamble, ceiling};
pub use bound::{Bound, Demand, LaneRates, Terms, lower_bound};
pub use clairvoyant::{PrefixRates, offline_optimum, timeless_optimum};
pub use conversation::{Turn, conversation_marks, within_look_back};
pub use cost::{Caching, Expense, HitRate, Load, break_even_calls, hit_threshold, route_cost};
pub use decide::{PlanError, decide, of_nothing};
pub use evidence::Evidence;
pub use marks::{
    Crossing, Marking, best_marks, expected_crossings, marked_cost, timed_crossings,
    warmed_crossings,
};
pub use posterior::HitPosterior;
pub use reason::{Answer, Question, Reason};
pub use reuse::{AskedAgain, ReuseEffect, Spared};
pub use route::{Assumptions, Barred, GroupPlan, Plan, Route};
pub use sensitivity::{BreakEven, Sensitivity};
pub use survival::{Gap, Survival};
pub use timing::Timing;
pub use tokens::{TokenRange, Tokenizer};
pub use trie::{Node, NodeId, PromptBlock, Segment, Segments, Trie, cold_arrivals};
pub use ttl::{Habit, best_habit, ping_limit, ping_pays, write_on_sighting};
pub use variant::{Marks, Saving, Variant, VariantCost};
pub use warm::{ColdGroup, Warming};
pub use workload::{GroupProfile, Limits, Need, Sums, Workload};
