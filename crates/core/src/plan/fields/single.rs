//! One order of fields for all rows: what it shares, and a few that are worth trying.

use std::collections::HashMap;

use super::table::SampleTable;

/// Bytes that rows share with earlier ones if all are written in this order: of each row the cells at its
/// beginning that an earlier row begins with too.
pub(super) fn shared(table: &SampleTable<'_>, rows: &[u32], order: &[usize]) -> u64 {
    let mut classes = Classes::one(rows);
    let mut bytes = 0;
    for field in order {
        if classes.rows.is_empty() {
            break;
        }
        bytes += classes.split(table, *field);
    }
    bytes
}

/// Rows that begin alike so far. Rows that begin like no other are left out.
struct Classes {
    rows: Vec<(u32, u32)>,
}

impl Classes {
    fn one(rows: &[u32]) -> Self {
        let rows = rows.iter().map(|row| (0, *row)).collect();
        Self { rows }
    }

    /// What the next cell adds to the bytes that are shared, and the classes after it.
    fn split(&mut self, table: &SampleTable<'_>, field: usize) -> u64 {
        let mut found: HashMap<(u32, u32), (u32, u32)> = HashMap::new();
        let mut next = 0;
        let mut bytes = 0;
        for (class, row) in &mut self.rows {
            let id = table.id(*row as usize, field);
            let (number, count) = found.entry((*class, id)).or_insert_with(|| {
                next += 1;
                (next - 1, 0)
            });
            if *count > 0 {
                bytes += u64::from(table.len(field, id));
            }
            *count += 1;
            *class = *number;
        }
        let mut counts = vec![0; next as usize];
        for (number, count) in found.values() {
            counts[*number as usize] = *count;
        }
        self.rows.retain(|(class, _)| counts[*class as usize] > 1);
        bytes
    }

    /// What [`Classes::split`] would add.
    fn gain(&self, table: &SampleTable<'_>, field: usize) -> u64 {
        let rows = self.rows.clone();
        Self { rows }.split(table, field)
    }
}

/// The given order, the one by ascending number of values, and the greedy one; the one that shares most,
/// with the bytes that it shares.
pub(super) fn best(table: &SampleTable<'_>, rows: &[u32]) -> (Vec<usize>, u64) {
    let given: Vec<usize> = (0..table.fields()).collect();
    let mut few_values = given.clone();
    few_values.sort_by_key(|field| table.distinct(*field));
    let mut best = (shared(table, rows, &given), given);
    for order in [few_values, greedy(table, rows)] {
        let bytes = shared(table, rows, &order);
        if bytes > best.0 {
            best = (bytes, order);
        }
    }
    (best.1, best.0)
}

/// Takes the field next that adds most to what is shared.
fn greedy(table: &SampleTable<'_>, rows: &[u32]) -> Vec<usize> {
    let mut left: Vec<usize> = (0..table.fields()).collect();
    let mut order = Vec::with_capacity(left.len());
    let mut classes = Classes::one(rows);
    while !classes.rows.is_empty() && !left.is_empty() {
        let gain = |place: &usize| classes.gain(table, left[*place]);
        // The first of equals, so that the given order decides.
        let place = (0..left.len()).rev().max_by_key(gain).unwrap_or(0);
        let field = left.remove(place);
        classes.split(table, field);
        order.push(field);
    }
    order.extend(left);
    order
}
