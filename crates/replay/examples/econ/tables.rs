//! The tables of the page: medians and worsts of seeds.

use std::fmt::Write as _;

use offpeak_replay::{PolicyName, Score, Workload};

use crate::cases::{Case, GAPS, Load, ROWS, Result, cases, pressed};

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
        Workload::W10 => "budget",
        Workload::W11 => "conversations",
        Workload::W12 => "storm",
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
    vec![
        ("rows", by_row(results)),
        ("policies", by_policy(results)),
        ("storm", by_load(results)),
        ("budget", by_budget(results)),
    ]
}

/// A median and, in brackets, the worst.
fn figures(of: Vec<f64>) -> String {
    let (median, worst) = median_and_worst(of);
    format!("{median:.3} ({worst:.3})")
}

/// Tries and times under limits, at the first price row.
fn by_load(results: &[Result]) -> String {
    let mut out =
        "| upstream | policy | tries a call | last answer, of the soonest |\n|---|---|--:|--:|"
            .to_owned();
    for case in pressed() {
        let upstream = match case.load {
            Load::Limits => "1,000 calls a minute",
            Load::Outage => "the same, and nothing from 60 s to 180 s",
            Load::None | Load::Budget => continue,
        };
        for (policy, called) in [
            (PolicyName::Sync, "each client for itself"),
            (PolicyName::Auto, "offpeak: one door"),
        ] {
            let calls = case.workload.generate(0).calls.len() as f64;
            let tries = of(results, case, Some(0), policy, |s| {
                s.attempts as f64 / calls
            });
            let times = of(results, case, Some(0), policy, |s| {
                s.makespan.as_secs_f64() / s.makespan_bound.as_secs_f64()
            });
            let (tries, times) = (figures(tries), figures(times));
            let _ = write!(out, "\n| {upstream} | {called} | {tries} | {times} |");
        }
    }
    out
}

/// What became of a budget, at the first price row.
fn by_budget(results: &[Result]) -> String {
    let mut out =
        "| policy | calls answered | overshot, of the budget | left over, of the dearest call |\n|---|--:|--:|--:|"
            .to_owned();
    for case in pressed()
        .into_iter()
        .filter(|case| case.load == Load::Budget)
    {
        let trace = case.workload.generate(0);
        let calls = trace.calls.len() as f64;
        let dearest = trace.calls.iter().map(|call| {
            // Sonnet class.
            3e-6 * call.prompt_tokens() as f64 + 15e-6 * f64::from(call.max_tokens)
        });
        let dearest = dearest.fold(0.0, f64::max);
        for (policy, called) in [
            (PolicyName::Sync, "stops when the bill reaches the budget"),
            (PolicyName::Auto, "offpeak: sets worst cases aside"),
        ] {
            let left = |score: &Score| {
                let left = score.budget_left.expect("there is a budget");
                left.pico() as f64 * 1e-12
            };
            let answered = of(results, case, Some(0), policy, |s| {
                1.0 - s.declined as f64 / calls
            });
            let over = of(results, case, Some(0), policy, |s| {
                let budget = left(s) + s.realised.pico() as f64 * 1e-12;
                (-left(s)).max(0.0) / budget
            });
            let rest = of(results, case, Some(0), policy, |s| {
                left(s).max(0.0) / dearest
            });
            let (answered, _) = median_and_worst(answered);
            let (over, rest) = (figures(over), figures(rest));
            let _ = write!(
                out,
                "\n| {called} | {:.1} % | {over} | {rest} |",
                answered * 100.0
            );
        }
    }
    out
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
