//! What earlier runs showed, as evidence for the next plan: token counts and lengths of answers of the
//! same job, hits of any job in the same data directory, which one account pays for.
//!
//! Leaves out how it is kept (`offpeak-store`) and how it fades (`offpeak_core::plan::evidence`).

use offpeak_core::plan::Evidence;
use offpeak_core::units::{Span, Timestamp};
use offpeak_store::{Store, StoreError};

/// What is older has faded away: by a sixty-fourth in half a year.
const REMEMBERED: Span = Span::from_secs(180 * 86_400);

/// The evidence that the store has for a job of this name.
///
/// # Errors
/// If the store fails.
pub fn recall(store: &Store, name: &str, now: Timestamp) -> Result<Evidence, StoreError> {
    let mut evidence = Evidence::default();
    for seen in store.observations(now - REMEMBERED)? {
        let age = now - seen.at;
        evidence.learn_hits(&seen.observed, age);
        if seen.job_name == name {
            evidence.learn(&seen.observed, age);
        }
    }
    Ok(evidence)
}
