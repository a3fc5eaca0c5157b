//! How much of a table's rows is shared with earlier rows, in the order of its columns, in the best single
//! order and in an order per row: `cargo run --release -p offpeak-core --example fields -- TABLE.csv [ROWS]`.
//!
//! Cells are written `"column": "value", `. A row shares the cells at its beginning that an earlier row
//! begins with too, whatever the time between them: an upper limit of what a cache can hold. A long table is
//! learnt from a sample, as in a job. Reads plain comma-separated values, without quoted commas or line
//! breaks.

use std::collections::HashSet;
use std::error::Error;
use std::time::Instant;

use offpeak_core::plan::fields::{SampleTable, learn, sample_rows};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("name a CSV file")?;
    let rows: usize = args.next().map_or(Ok(5_000), |rows| rows.parse())?;
    let text = std::fs::read_to_string(&path)?;
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().ok_or("no header")?.split(',').collect();
    let rows: Vec<Vec<_>> = lines
        .take(rows)
        .map(|line| line.split(',').map(|cell| Some(cell.as_bytes())).collect())
        .collect();
    // Quotes of name and value, colon and space, comma and space.
    let overheads: Vec<u32> = header
        .iter()
        .map(|name| u32::try_from(name.len() + 8))
        .collect::<Result<_, _>>()?;
    let mut table = SampleTable::new(overheads.clone());
    let step = rows.len().div_ceil(sample_rows(header.len())).max(1);
    for row in rows.iter().step_by(step) {
        table.push(row);
    }
    let begun = now();
    let learnt = learn(&table);
    let took = begun.elapsed();
    let shares = learnt.shares;

    let len = |field: usize, value: &[u8]| value.len() as u64 + u64::from(overheads[field]);
    let (mut seen, mut bytes, mut shared) = (HashSet::new(), 0, 0);
    for row in &rows {
        let mut beginning = Vec::new();
        for field in learnt.order.layout(row).order {
            let value = row[field].unwrap_or_default();
            bytes += len(field, value);
            beginning.extend_from_slice(&(field as u64).to_le_bytes());
            beginning.extend_from_slice(&(value.len() as u64).to_le_bytes());
            beginning.extend_from_slice(value);
            if !seen.insert(beginning.clone()) {
                shared += len(field, value);
            }
        }
    }

    let share = |bytes: u64, of: u64| {
        let thousandths = (bytes * 1_000 + of / 2) / of.max(1);
        format!("{:>3}.{} %", thousandths / 10, thousandths % 10)
    };
    let (all, fields, sample) = (rows.len(), header.len(), table.rows());
    #[expect(clippy::print_stdout, reason = "this is its answer")]
    {
        println!("{sample} of {all} rows of {fields} fields, learnt in {took:.2?}");
        println!(
            "  order of the columns  {}",
            share(shares.given, shares.bytes)
        );
        println!(
            "  best single order     {}",
            share(shares.single, shares.bytes)
        );
        println!(
            "  order per row         {}",
            share(shares.shared, shares.bytes)
        );
        println!("all rows, order per row {}", share(shared, bytes));
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "it measures itself")]
fn now() -> Instant {
    Instant::now()
}
