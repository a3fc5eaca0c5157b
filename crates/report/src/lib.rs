//! Numbers to text: what people read on the terminal and in the log of a CI run.
//!
//! Plain structs come in, text of a given width goes out, ending in a line break. Nothing is
//! printed, priced or decided here, and no colour is used: every text means the same in a file.
//! Leaves out JSON, which is the serialised data itself.

mod figures;
mod jobs;
mod layout;
mod lint;
mod plan;
mod prices;
mod purge;
mod reconcile;
mod replay;
mod status;
mod summary;

pub use jobs::{JobLine, jobs_text};
pub use plan::{PlanContext, plan_text};
pub use prices::prices_text;
pub use purge::{PurgeLine, purge_text};
pub use reconcile::{ReconcileView, reconcile_text};
pub use replay::{CAUSES, ReplayLine, ReplayView, replay_text};
pub use status::{ShardCount, StatusView, Waits, status_text};
pub use summary::{ReusedRows, Summary, summary_text};
