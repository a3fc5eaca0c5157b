//! A plan of many prefix groups.
//!
//! Leaves out reading the rows (`product`).

use offpeak_core::plan::{Evidence, GroupProfile, Limits, Need, Sums, Workload, decide};
use offpeak_core::price::Book;
use offpeak_core::units::{Span, Timestamp, Usd};

const MODEL: &str = "claude-haiku-5-5";

/// Groups in chains of `depth`, each a few kilobytes longer than the one it stands on.
pub(crate) fn workload(groups: u64, depth: u64) -> Workload {
    let depth = depth.max(1);
    let mut profiles: Vec<GroupProfile> = Vec::new();
    for n in 0..groups {
        let above = profiles.last().filter(|_| n % depth > 0);
        let more = 2_000 + n * 7_919 % 50_000;
        let rows = 1 + n * 31 % 40;
        let prefix_bytes = above.map_or(0, |above| above.prefix_bytes) + more;
        profiles.push(GroupProfile {
            id: u32::try_from(n).unwrap_or(u32::MAX),
            parent: above.map(|above| above.id),
            model: MODEL.to_owned(),
            prefix_bytes,
            caller_marked: false,
            has_tools: false,
            sums: Sums {
                rows,
                request_bytes: rows * (prefix_bytes + 1_000),
                max_tokens: rows * 400,
                worst: Usd::from_pico(10_000_000_000).times(rows),
            },
        });
    }
    Workload {
        rows: profiles.iter().map(|group| group.sums.rows).sum(),
        ungrouped: Sums::default(),
        groups: profiles,
        need: Need::By {
            slack: Span::from_secs(86_400),
        },
        models: vec![MODEL.to_owned()],
        limits: Limits::default(),
        evidence: Evidence::default(),
    }
}

/// Plans it; the rows, and the groups that are marked.
pub(crate) fn decided(workload: &Workload) -> anyhow::Result<(u64, u64)> {
    let plan = decide(workload, Book::embedded(), Timestamp::of_day("2026-11-22")?)?;
    let marked = plan.groups.iter().filter(|group| group.mark.is_some());
    Ok((plan.rows, u64::try_from(marked.count())?))
}
