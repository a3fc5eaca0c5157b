//! The price book as a table.

use offpeak_core::price::{ListedRates, ListingRow};
use offpeak_core::units::Usd;

use crate::figures::count;
use crate::layout::{Align, listed, paragraph, table};

/// Listings of at most so many models show all that is known of each.
const DETAILED: usize = 8;

/// The listing at most `width` columns wide.
#[must_use]
pub fn prices_text(rows: &[ListingRow], width: usize) -> String {
    let (priced, unpriced): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.standard.is_some());
    let mut out = String::new();
    if !priced.is_empty() {
        let halved = priced.iter().all(|row| is_halved(row));
        let batch = if halved {
            " In a batch, every price is half."
        } else {
            ""
        };
        let intro = format!(
            "US dollars per million tokens, for calls answered at once.{batch} A shared beginning \
             of the prompt can be written to the cache for 5 minutes or 1 hour, and read from it, \
             if it has at least as many tokens as the last column says."
        );
        out.push_str(&paragraph(&intro, 0, width));
        out.push('\n');
        out.push_str(&price_table(&priced, !halved, width));
    }
    let blocks = if rows.len() <= DETAILED {
        rows.iter().map(|row| details(row, width)).collect()
    } else {
        vec![remarks(&priced, width), without_price(&unpriced, width)]
    };
    for block in blocks.iter().filter(|block| !block.is_empty()) {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(block);
    }
    out
}

fn price_table(rows: &[&ListingRow], batch: bool, width: usize) -> String {
    let mut columns = vec![
        ("Model", Align::Left),
        ("Input", Align::Right),
        ("Write 5m", Align::Right),
        ("Write 1h", Align::Right),
        ("Read", Align::Right),
        ("Output", Align::Right),
    ];
    if batch {
        columns.extend([("Batch in", Align::Right), ("Batch out", Align::Right)]);
    }
    columns.push(("Cache from", Align::Right));
    let cells = |row: &ListingRow| {
        let mut cells = vec![row.id.clone()];
        let amounts = |rates: Option<&ListedRates>, of: &[fn(&ListedRates) -> &String]| {
            let dash = || "–".to_owned();
            of.iter()
                .map(|pick| rates.map_or_else(dash, |rates| cents(pick(rates))))
                .collect::<Vec<_>>()
        };
        cells.extend(amounts(
            row.standard.as_ref(),
            &[
                |r| &r.input,
                |r| &r.write_5m,
                |r| &r.write_1h,
                |r| &r.read,
                |r| &r.output,
            ],
        ));
        if batch {
            cells.extend(amounts(row.batch.as_ref(), &[|r| &r.input, |r| &r.output]));
        }
        let minimum = row
            .min_cacheable_tokens
            .map(|tokens| count(u64::from(tokens)));
        cells.push(minimum.unwrap_or_else(|| "unknown".to_owned()));
        cells
    };
    let rows = rows.iter().map(|row| cells(row)).collect();
    table(&columns, rows, width)
}

/// At least two decimals, as prices are read.
fn cents(decimal: &str) -> String {
    match decimal.split_once('.') {
        None => format!("{decimal}.00"),
        Some((_, fraction)) if fraction.len() < 2 => format!("{decimal}0"),
        Some(_) => decimal.to_owned(),
    }
}

fn is_halved(row: &ListingRow) -> bool {
    let (Some(sync), Some(batch)) = (&row.standard, &row.batch) else {
        return false;
    };
    let classes = |rates: &ListedRates| {
        [
            &rates.input,
            &rates.write_5m,
            &rates.write_1h,
            &rates.read,
            &rates.output,
        ]
        .map(|price| price.parse::<Usd>().ok())
    };
    let pairs = classes(sync).into_iter().zip(classes(batch));
    pairs
        .into_iter()
        .all(|pair| matches!(pair, (Some(s), Some(b)) if b.times(2) == s))
}

/// All that is known of a model besides its prices.
fn details(row: &ListingRow, width: usize) -> String {
    let mut notes = row.notes.clone();
    if !row.aliases.is_empty() {
        notes.push(format!("also called {}", row.aliases.join(", ")));
    }
    notes.extend(limits(row));
    notes.push(format!(
        "as of {}, from {}",
        row.as_of,
        row.source.join(" ")
    ));
    let mut out = format!("{}\n", row.id);
    for note in notes {
        out.push_str(&listed("- ", &note, 2, width));
    }
    out
}

/// What the columns cannot say, once for all models that it holds for.
fn remarks(rows: &[&ListingRow], width: usize) -> String {
    let mut remarks: Vec<(&str, Vec<&str>)> = Vec::new();
    for row in rows {
        for note in &row.notes {
            match remarks.iter_mut().find(|(text, _)| text == note) {
                Some((_, models)) => models.push(&row.id),
                None => remarks.push((note, vec![&row.id])),
            }
        }
    }
    remarks
        .iter()
        .map(|(text, models)| listed("- ", &format!("{text}: {}", models.join(", ")), 0, width))
        .collect()
}

fn without_price(rows: &[&ListingRow], width: usize) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let text = format!(
        "Without a price today, retired or not public: {}.",
        ids.join(", ")
    );
    paragraph(&text, 0, width)
}

fn limits(row: &ListingRow) -> Option<String> {
    let tokens = |tokens: u64| format!("{} tokens", count(tokens));
    match (row.context_window.map(tokens), row.max_output.map(tokens)) {
        (Some(window), Some(output)) => {
            Some(format!("context of {window}, answers up to {output}"))
        }
        (Some(window), None) => Some(format!("context of {window}")),
        (None, Some(output)) => Some(format!("answers up to {output}")),
        (None, None) => None,
    }
}
