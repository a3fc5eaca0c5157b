//! What the marks of a plan need to pay, and whether earlier jobs have shown that they do: what the
//! machine judges the first answers by.
//!
//! Leaves out the judgement (`offpeak_core::job::unmark`).

use offpeak_core::job::unmark::MarkFacts;
use offpeak_core::plan::{Plan, Workload, hit_threshold};
use offpeak_core::price::{Book, Lane, Mode, PriceError};
use offpeak_core::units::Timestamp;

/// The facts about the marks of a plan, by the prices of `now`.
///
/// # Errors
/// If a price is missing.
pub(crate) fn mark_facts(
    workload: &Workload,
    plan: &Plan,
    book: &Book,
    now: Timestamp,
) -> Result<MarkFacts, PriceError> {
    let mut facts = MarkFacts::default();
    if plan.route.lane() != Lane::Batch {
        return Ok(facts);
    }
    let mut proven = true;
    for (group, planned) in workload.groups.iter().zip(&plan.groups) {
        let Some(ttl) = planned.mark else {
            continue;
        };
        let model = book.model(&group.model)?;
        let rates = model.rates(now, Mode::plain(Lane::Batch))?;
        let needed = hit_threshold(&rates, ttl);
        // The least demanding group: where even its marks lose, all do.
        facts.needed = match facts.needed {
            Some(least) if least.share() <= needed.share() => Some(least),
            _ => Some(needed),
        };
        let evidence = &workload.evidence;
        let belief = evidence.hit_rate_behind_canary(&model.id, ttl, group.sums.rows);
        proven &= belief.is_some_and(|belief| belief.pays(&rates, ttl));
    }
    facts.proven = proven && facts.needed.is_some();
    Ok(facts)
}
