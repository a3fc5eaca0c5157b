//! The text of `offpeak reconcile`: our books beside the upstream's reports, and what explains each
//! difference.

use offpeak_core::reconcile::{
    Cell, Charge, Class, Compared, Comparison, Finding, Held, Money, Verdict, Window,
};
use offpeak_core::units::{Timestamp, Usd};

use crate::figures::{count, counted, decimals, dollars, minute};
use crate::layout::{Align, listed, paragraph, table};

/// Books and reports, compared.
#[derive(Debug, Clone)]
pub struct ReconcileView {
    /// What was looked at: `nightly (job k3x7q2mzab), run 2`, or `November 2026`.
    pub what: String,
    /// Our jobs there.
    pub jobs: u64,
    /// What agrees and what does not.
    pub comparison: Comparison,
}

/// The comparison at most `width` columns wide.
#[must_use]
pub fn reconcile_text(view: &ReconcileView, width: usize) -> String {
    let mut out = paragraph(&heading(view), 0, width);
    if !view.comparison.tokens.is_empty() {
        out.push('\n');
        out.push_str(&tokens_table(&view.comparison.tokens, width));
    }
    match &view.comparison.money {
        Some(money) if !money.is_empty() => {
            out.push('\n');
            let title = format!("US dollars of whole days, {}:", days(view.comparison.days));
            out.push_str(&paragraph(&title, 0, width));
            out.push_str(&money_table(money, width));
        }
        Some(_) => {}
        None => {
            out.push('\n');
            let why = "Money is not compared: the cost report cannot be narrowed to a key.";
            out.push_str(&paragraph(why, 0, width));
        }
    }
    out.push('\n');
    let unread = view
        .comparison
        .unread
        .iter()
        .map(|line| format!("Not read: {line}."));
    let remarks: Vec<String> = unread.chain(explanations(view)).collect();
    for remark in &remarks {
        out.push_str(&listed("- ", remark, 0, width));
    }
    if !remarks.is_empty() {
        out.push('\n');
    }
    out.push_str(&paragraph(&verdict(view), 0, width));
    out
}

fn heading(view: &ReconcileView) -> String {
    let found = &view.comparison;
    let (from, to) = (minute(found.window.from), minute(found.window.to));
    format!(
        "{}: {from} to {to} (UTC), by the reports of {}. Our books have {} of {} {}.",
        view.what,
        minute(found.asked_at),
        counted(found.answers, "answer"),
        counted(view.jobs, "job"),
        days(found.days),
    )
}

fn days(days: Window) -> String {
    let last = Timestamp::from_micros(days.to.as_micros() - 1).day();
    match days.from.day() {
        first if first == last => format!("on {first}"),
        first => format!("from {first} to {last}"),
    }
}

fn tokens_table(lines: &[Compared], width: usize) -> String {
    let columns = [
        ("Model", Align::Left),
        ("Tier", Align::Left),
        ("Tokens", Align::Left),
        ("Ours", Align::Right),
        ("Upstream", Align::Right),
        ("Residual", Align::Right),
    ];
    let mut rows = Vec::new();
    for line in lines {
        let mut name = vec![line.cell.model.clone(), line.cell.tier.to_string()];
        for class in Class::ALL {
            let (ours, upstream) = (line.ours.get(class), line.upstream.get(class));
            if ours == 0 && upstream == 0 {
                continue;
            }
            let mut row = std::mem::replace(&mut name, vec![String::new(); 2]);
            let figures = [count(ours), count(upstream), signed(line.residual(class))];
            row.push(class_name(class).to_owned());
            row.extend(figures);
            rows.push(row);
        }
    }
    table(&columns, rows, width)
}

fn class_name(class: Class) -> &'static str {
    match class {
        Class::Input => "input",
        Class::Write5m => "write 5m",
        Class::Write1h => "write 1h",
        Class::Read => "read",
        Class::Output => "output",
    }
}

/// `0`, `+1,234` or `-1,234`.
fn signed(number: i128) -> String {
    let size = count(u64::try_from(number.unsigned_abs()).unwrap_or(u64::MAX));
    match number {
        0 => size,
        number if number < 0 => format!("-{size}"),
        _ => format!("+{size}"),
    }
}

fn money_table(lines: &[Money], width: usize) -> String {
    let columns = [
        ("Model", Align::Left),
        ("Tier", Align::Left),
        ("Ours", Align::Right),
        ("Upstream", Align::Right),
        ("Residual", Align::Right),
    ];
    let amounts = lines
        .iter()
        .flat_map(|line| [line.ours, line.upstream.amount]);
    let digits = decimals(amounts.max().unwrap_or_default());
    let rows = lines.iter().map(|line| {
        let (model, tier) = match &line.charge {
            Charge::Tokens(cell) => (cell.model.clone(), cell.tier.to_string()),
            Charge::Fee(name) => (name.replace('_', " "), String::new()),
        };
        let (ours, upstream) = (line.ours, line.upstream.amount);
        let figures = [
            dollars(ours, digits),
            dollars(upstream, digits),
            exact(line.residual()),
        ];
        [model, tier].into_iter().chain(figures).collect()
    });
    table(&columns, rows.collect(), width)
}

/// A residual is not rounded away: `$0` is none at all.
fn exact(amount: Usd) -> String {
    match amount.to_decimal() {
        text if amount < Usd::ZERO => format!("-${}", text.trim_start_matches('-')),
        text if amount > Usd::ZERO => format!("+${text}"),
        _ => "$0".to_owned(),
    }
}

fn explanations(view: &ReconcileView) -> Vec<String> {
    let mut lines = Vec::new();
    for finding in [
        Finding::AtTheEdge,
        Finding::Unknown,
        Finding::OtherTraffic,
        Finding::Short,
    ] {
        let found = found(view, finding);
        if found.is_empty() {
            continue;
        }
        let found = found.join("; ");
        lines.push(match finding {
            Finding::AtTheEdge => format!(
                "Explained by rows of ours that may lie on either side of an edge of the time looked at: {found}."
            ),
            Finding::Unknown => format!(
                "Explained by what calls of ours may have been billed besides ({}): {found}.",
                allowed(view)
            ),
            Finding::OtherTraffic => format!("More than ours, without an explanation: {found}."),
            Finding::Short => format!("Less than ours: {found}."),
            Finding::Equal => unreachable!("it is not asked for"),
        });
    }
    let rounding = view
        .comparison
        .money
        .iter()
        .flatten()
        .map(|line| line.upstream.rounding)
        .max();
    if let Some(rounding) = rounding.filter(|rounding| *rounding > Usd::ZERO) {
        lines.push(format!(
            "The cost report is rounded; each of its sums may be off by up to ${}, which is no difference.",
            rounding.to_decimal()
        ));
    }
    for (day, money) in &view.comparison.days_off {
        let off = money
            .iter()
            .map(|line| format!("{} {}", charge(&line.charge), exact(line.residual())));
        lines.push(format!(
            "On {}: {}.",
            day.day(),
            Vec::from_iter(off).join("; ")
        ));
    }
    lines
}

/// The lines with this finding, by name.
fn found(view: &ReconcileView, finding: Finding) -> Vec<String> {
    let tokens = view
        .comparison
        .tokens
        .iter()
        .filter(|line| line.finding == finding);
    let tokens = tokens.map(|line| format!("tokens of {}", cell(&line.cell)));
    let money = view
        .comparison
        .money
        .iter()
        .flatten()
        .filter(|line| line.finding == finding);
    let money =
        money.map(|line| format!("{} for {}", exact(line.residual()), charge(&line.charge)));
    tokens.chain(money).collect()
}

fn charge(charge: &Charge) -> String {
    match charge {
        Charge::Tokens(of) => cell(of),
        Charge::Fee(name) => name.replace('_', " "),
    }
}

fn cell(cell: &Cell) -> String {
    format!("{} ({})", cell.model, cell.tier)
}

fn allowed(view: &ReconcileView) -> String {
    let parts = view.comparison.allowed.iter().map(|(why, amount)| {
        let why = match why {
            Held::Unknown => "answers that got lost or cannot be read",
            Held::Wasted => "batches that were billed and answer no row",
            Held::UnderWay => "rows under way",
            Held::Unread => "answers that are no longer in the data directory",
        };
        format!("at most ${} for {why}", amount.to_decimal())
    });
    Vec::from_iter(parts).join(", ")
}

fn verdict(view: &ReconcileView) -> String {
    let narrowed = view.comparison.money.is_none();
    match view.comparison.verdict {
        Verdict::Agrees if view.comparison.tokens.is_empty() => {
            "There is nothing to compare: neither side has anything there.".to_owned()
        }
        Verdict::Agrees => "Books and reports agree.".to_owned(),
        Verdict::Explained => "The differences are explained.".to_owned(),
        Verdict::OtherTraffic if narrowed => {
            "These keys have made calls that no job of this data directory knows: another program or \
             another data directory uses them."
                .to_owned()
        }
        Verdict::OtherTraffic => {
            "The account has calls that no job of this data directory knows: other programs use it. \
             `--api-key-id ID` leaves the keys of others out."
                .to_owned()
        }
        Verdict::NotYet => {
            let from = view.comparison.complete_from.map_or_else(String::new, minute);
            format!("The reports are complete from {from} on: ask again then.")
        }
        Verdict::Defect => defect(view),
    }
}

fn defect(view: &ReconcileView) -> String {
    // Prices are to blame only if the same tokens, of the same time, cost otherwise.
    let tokens_agree = view
        .comparison
        .tokens
        .iter()
        .all(|line| line.finding == Finding::Equal);
    let money = view.comparison.money.iter().flatten();
    let mut short = money.filter(|line| line.finding == Finding::Short);
    let of_tokens = short.all(|line| matches!(line.charge, Charge::Tokens(_)));
    if tokens_agree && of_tokens && view.comparison.window == view.comparison.days {
        return "The tokens agree and the money does not: our prices are not those of the account. \
                `--price-book FILE` lays contract prices over the public ones; if there are none, it is a \
                bug: please report it."
            .to_owned();
    }
    let mut text = "Our books have more than the upstream. Either the admin key belongs to another \
                    organisation than the jobs, or calls went by a key that was left out, or a batch was \
                    taken over from before this data directory, or it is a bug: please report it."
        .to_owned();
    if tokens_agree {
        text.push_str(
            " The tokens of this time agree; money is compared by whole days, in which other jobs may \
             have run: `--month` compares the tokens of all of them.",
        );
    }
    text
}
