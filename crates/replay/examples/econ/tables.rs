//! The tables of the page: medians and worsts of seeds.

use std::fmt::Write as _;

use offpeak_replay::{PolicyName, Score, Workload};

use crate::cases::{Case, GAPS, ROWS, Result, cases};

/// Median and worst of some numbers.
pub(crate) fn median_and_worst(mut of: Vec<f64>) -> (f64, f64) {
    of.sort_by(f64::total_cmp);
    let worst = of.last().copied().unwrap_or(f64::NAN);
    let (low, high) = (of[(of.len() - 1) / 2], of[of.len() / 2]);
    (f64::midpoint(low, high), worst)
}

pub(crate) fn of(
    results: &[Result],
    case: Case,
    row: Option<usize>,
    policy: PolicyName,
    figure: impl Fn(&Score) -> f64,
) -> Vec<f64> {
    let matching = results
        .iter()
        .filter(|result| result.case == case && row.is_none_or(|row| result.row == row));
    let scores = matching.flat_map(|result| &result.scores);
    scores
        .filter(|score| score.policy == policy)
        .map(figure)
        .collect()
}

/// What a workload is, in two words.
fn gist(workload: Workload) -> &'static str {
    match workload {
        Workload::W1 => "nightly job",
        Workload::W2 => "stampede",
        Workload::W3 => "heartbeat",
        Workload::W4 => "conversation",
        Workload::W5 => "tenants",
        Workload::W5b => "bursts",
        Workload::W6 => "deadline",
        Workload::W7 => "Poisson",
        Workload::W8 => "gateway",
        Workload::W9 => "table",
    }
}

pub(crate) fn name(case: Case, with_gist: bool) -> String {
    let mut name = case.workload.as_str().to_owned();
    if with_gist {
        let _ = write!(name, " {}", gist(case.workload));
    }
    if let Some(gap) = case.gap {
        let _ = write!(name, ", every {}", GAPS[gap]);
    }
    if case.profile != offpeak_sim::Profile::Fast {
        let _ = write!(
            name,
            ", {} batches",
            format!("{:?}", case.profile).to_lowercase()
        );
    }
    if case.domains > 1 {
        let _ = write!(name, ", {} caches", case.domains);
    }
    name
}

pub(crate) fn all(results: &[Result]) -> Vec<(&'static str, String)> {
    vec![("rows", by_row(results)), ("policies", by_policy(results))]
}

/// offpeak's realised cost over the bound at each price row.
fn by_row(results: &[Result]) -> String {
    let rows = results.iter().map(|result| result.row).max().unwrap_or(0) + 1;
    let mut out = "| workload |".to_owned();
    for (row, _) in &ROWS[..rows] {
        let _ = write!(out, " {row} |");
    }
    out.push_str(" of naive | missed |\n|---|");
    out.push_str(&"--:|".repeat(rows + 2));
    for case in cases() {
        let _ = write!(
            out,
            "\n| {} |",
            name(case, case.domains == 1 && case.gap.is_none())
        );
        for row in 0..rows {
            let ratios = of(results, case, Some(row), PolicyName::Auto, |s| {
                s.realised_to_bound
            });
            let (median, worst) = median_and_worst(ratios);
            let _ = write!(out, " {median:.3} ({worst:.3}) |");
        }
        let naive = of(results, case, None, PolicyName::Auto, |s| {
            s.realised_to_naive
        });
        let missed: f64 = of(results, case, None, PolicyName::Auto, |s| {
            s.deadline_misses as f64
        })
        .iter()
        .sum();
        let (_, worst) = median_and_worst(naive);
        let _ = write!(out, " {worst:.3} | {missed} |");
    }
    out
}

/// Every policy over the bound, at the first price row.
fn by_policy(results: &[Result]) -> String {
    let mut out = "| workload |".to_owned();
    for policy in PolicyName::ALL {
        let _ = write!(out, " {policy} |");
    }
    out.push_str("\n|---|");
    out.push_str(&"--:|".repeat(PolicyName::ALL.len()));
    for case in cases() {
        let _ = write!(
            out,
            "\n| {} |",
            name(case, case.domains == 1 && case.gap.is_none())
        );
        for policy in PolicyName::ALL {
            let ratios = of(results, case, Some(0), policy, |s| s.realised_to_bound);
            let (median, _) = median_and_worst(ratios);
            let _ = write!(out, " {median:.3} |");
        }
    }
    out
}

/// The page with new tables between its marks.
pub(crate) fn filled_in(prose: &str, sections: &[(&'static str, String)]) -> String {
    let mut page = prose.to_owned();
    for (name, text) in sections {
        let (begin, end) = (
            format!("<!-- {name} -->\n"),
            format!("<!-- end of {name} -->"),
        );
        let Some(from) = page.find(&begin).map(|at| at + begin.len()) else {
            continue;
        };
        let Some(to) = page[from..].find(&end).map(|at| from + at) else {
            continue;
        };
        page.replace_range(from..to, &format!("\n{text}\n\n"));
    }
    page
}
