//! The picture: on a quiet day, what each policy paid over the bound, workload by workload.

use std::fmt::Write as _;

use offpeak_replay::PolicyName;

use crate::cases::{Result, cases};
use crate::tables::{median_and_worst, name, of as figures};

const LEFT: f64 = 170.0;
const WIDTH: f64 = 620.0;
const TOP: f64 = 64.0;
const ROW: f64 = 30.0;
/// The axis: multiples of the bound, logarithmic.
const MOST: f64 = 20.0;
const TICKS: [f64; 6] = [1.0, 1.5, 2.0, 4.0, 8.0, 16.0];

const STYLE: &str = "
  text { font: 13px system-ui, sans-serif; fill: #1f2328; }
  .quiet { fill: #59636e; }
  .grid { stroke: #d1d9e0; }
  .lane { stroke: #eff2f5; stroke-width: 14; }
  .auto { fill: #0969da; }
  .other { fill: none; stroke: #9a6700; stroke-width: 1.8; }
  .batch { stroke: #1a7f37; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .quiet { fill: #9198a1; }
    .grid { stroke: #3d444d; }
    .lane { stroke: #1c2128; }
    .auto { fill: #4493f8; }
    .other { stroke: #d29922; }
    .batch { stroke: #3fb950; }
  }
";

fn x(ratio: f64) -> f64 {
    LEFT + WIDTH * ratio.clamp(1.0, MOST).ln() / MOST.ln()
}

/// A policy's mark at a place: filled for offpeak, an outline of its own for each of the others.
fn mark(policy: PolicyName, cx: f64, cy: f64) -> String {
    let class = match policy {
        PolicyName::Auto => "auto",
        PolicyName::Batch | PolicyName::Batch1h => "other batch",
        _ => "other",
    };
    let r = 5.0;
    match policy {
        PolicyName::Auto => format!("<circle class='{class}' cx='{cx:.1}' cy='{cy:.1}' r='6'/>"),
        PolicyName::Sync => format!(
            "<path class='{class}' d='M{:.1} {:.1}l10 10m0 -10l-10 10'/>",
            cx - r,
            cy - r
        ),
        PolicyName::LastBlock5m => {
            format!("<circle class='{class}' cx='{cx:.1}' cy='{cy:.1}' r='{r}'/>")
        }
        PolicyName::LastBlock1h => format!(
            "<rect class='{class}' x='{:.1}' y='{:.1}' width='10' height='10'/>",
            cx - r,
            cy - r
        ),
        PolicyName::Second5m => format!(
            "<path class='{class}' d='M{cx:.1} {:.1}l6 10h-12z'/>",
            cy - 6.0
        ),
        PolicyName::Batch => format!(
            "<path class='{class}' d='M{:.1} {:.1}l10 10m0 -10l-10 10'/>",
            cx - r,
            cy - r
        ),
        PolicyName::Batch1h => format!(
            "<rect class='{class}' x='{:.1}' y='{:.1}' width='10' height='10'/>",
            cx - r,
            cy - r
        ),
    }
}

/// The whole picture.
pub(crate) fn of(results: &[Result]) -> String {
    let quiet: Vec<_> = cases()
        .into_iter()
        .filter(|case| case.domains == 1 && case.gap.is_none())
        .filter(|case| case.profile == offpeak_sim::Profile::Fast)
        .collect();
    let bottom = TOP + ROW * quiet.len() as f64;
    let (width, height) = (LEFT + WIDTH + 40.0, bottom + 92.0);
    let mut out = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' role='img' \
         aria-label='What each policy pays, as a multiple of the least possible'>\n<style>{STYLE}</style>\n"
    );
    let _ = writeln!(
        out,
        "<text x='20' y='26' font-weight='600'>What each policy pays, as a multiple of the least \
         possible</text>\n<text class='quiet' x='20' y='46'>Sonnet-class prices, median of 20 seeds, \
         logarithmic; nobody can be left of 1</text>"
    );
    for tick in TICKS {
        let _ = writeln!(
            out,
            "<line class='grid' x1='{0:.1}' x2='{0:.1}' y1='{TOP}' y2='{bottom}'/>\
             <text class='quiet' x='{0:.1}' y='{1}' text-anchor='middle'>{tick}</text>",
            x(tick),
            bottom + 18.0
        );
    }
    for (place, case) in quiet.iter().enumerate() {
        let y = TOP + ROW * (place as f64 + 0.5);
        let _ = writeln!(
            out,
            "<line class='lane' x1='{LEFT}' x2='{:.1}' y1='{y}' y2='{y}'/>\
             <text x='{:.1}' y='{:.1}' text-anchor='end'>{}</text>",
            LEFT + WIDTH,
            LEFT - 14.0,
            y + 4.5,
            name(*case, true)
        );
        // offpeak's own mark lies on top.
        for policy in PolicyName::ALL {
            let ratios = figures(results, *case, Some(0), policy, |score| {
                score.realised_to_bound
            });
            let (median, _) = median_and_worst(ratios);
            out.push_str(&mark(policy, x(median), y));
            out.push('\n');
        }
    }
    let mut at = 30.0;
    for policy in PolicyName::ALL.into_iter().rev() {
        let label = match policy {
            PolicyName::Auto => "offpeak (auto)",
            other => other.as_str(),
        };
        out.push_str(&mark(policy, at, bottom + 52.0));
        let _ = writeln!(
            out,
            "<text x='{:.1}' y='{:.1}'>{label}</text>",
            at + 12.0,
            bottom + 56.5
        );
        at += 34.0 + 7.2 * label.len() as f64;
    }
    out.push_str("</svg>\n");
    out
}
