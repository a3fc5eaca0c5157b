//! Rows of a table split into groups that have a cell in common.
//!
//! Both ways to split give a list of groups. A row is in the first of the list whose cell it has: that is
//! how rows find their group later on, so it is how they are given one here.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::table::{ABSENT, SampleTable};

/// Rows with the same value of a field.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) field: usize,
    pub(super) id: u32,
    pub(super) rows: Vec<u32>,
}

/// The fields that are the same in all rows, of those given, in their order; and their bytes.
pub(super) fn constant(
    table: &SampleTable<'_>,
    rows: &[u32],
    fields: &[usize],
) -> (Vec<usize>, u64) {
    let Some((first, others)) = rows.split_first() else {
        return (Vec::new(), 0);
    };
    let first = table.row(*first as usize);
    let mut constant = fields.to_vec();
    for row in others {
        if constant.is_empty() {
            break;
        }
        let row = table.row(*row as usize);
        constant.retain(|field| row[*field] == first[*field]);
    }
    let len = |field: &usize| u64::from(table.len(*field, first[*field]));
    let bytes = constant.iter().map(len).sum();
    (constant, bytes)
}

/// Groups by the first of the fields whose value another row has too.
pub(super) fn in_order(table: &SampleTable<'_>, rows: &[u32], fields: &[usize]) -> Vec<Group> {
    let mut groups = Vec::new();
    let mut left = rows.to_vec();
    for field in fields {
        if left.len() < 2 {
            break;
        }
        let mut counts: HashMap<u32, usize> = HashMap::new();
        for row in &left {
            *counts.entry(table.id(*row as usize, *field)).or_default() += 1;
        }
        let mut places: HashMap<u32, usize> = HashMap::new();
        left.retain(|row| {
            let id = table.id(*row as usize, *field);
            if id == ABSENT || counts[&id] < 2 {
                return true;
            }
            let place = *places.entry(id).or_insert_with(|| {
                groups.push(Group {
                    field: *field,
                    id,
                    rows: Vec::new(),
                });
                groups.len() - 1
            });
            groups[place].rows.push(*row);
            false
        });
    }
    groups
}

/// Rows with the same cell that are in no group yet.
#[derive(Debug, Default)]
struct Candidate {
    rows: Vec<u32>,
    /// How often its saving was reckoned.
    reckoned: u32,
}

/// How often the saving of a candidate is reckoned for every row that it loses. After that it is reckoned
/// when it has lost an eighth of them: else a large one could be reckoned for each small one that is taken.
const RECKONED_MAX: u32 = 16;

/// Groups by what each saves: again and again the rows are taken out that share most, which is the bytes
/// of all fields that are constant in them, for each row but the first.
/// `taken` has an entry per row of the table; all are false before and after.
pub(super) fn by_saving(
    table: &SampleTable<'_>,
    rows: &[u32],
    fields: &[usize],
    taken: &mut [bool],
) -> Vec<Group> {
    let mut candidates: HashMap<(usize, u32), Candidate> = HashMap::new();
    for field in fields {
        // By field, so that no more than one field's values that occur once are held.
        let mut of_field: HashMap<u32, Candidate> = HashMap::new();
        for row in rows {
            let id = table.id(*row as usize, *field);
            if id != ABSENT {
                of_field.entry(id).or_default().rows.push(*row);
            }
        }
        of_field.retain(|_, candidate| candidate.rows.len() > 1);
        candidates.extend(
            of_field
                .into_iter()
                .map(|(id, candidate)| ((*field, id), candidate)),
        );
    }
    let saving = |rows: &[u32]| {
        let (_, bytes) = constant(table, rows, fields);
        bytes * (rows.len() as u64).saturating_sub(1)
    };
    let mut heap: BinaryHeap<_> = candidates
        .iter()
        .map(|(cell, candidate)| (saving(&candidate.rows), Reverse(*cell)))
        .collect();
    let mut groups = Vec::new();
    while let Some((stated, Reverse(cell))) = heap.pop() {
        let Some(mut candidate) = candidates.remove(&cell) else {
            continue;
        };
        let before = candidate.rows.len();
        candidate.rows.retain(|row| !taken[*row as usize]);
        let left = candidate.rows.len();
        if left < 2 {
            continue;
        }
        if left < before && (candidate.reckoned < RECKONED_MAX || left * 8 < before * 7) {
            candidate.reckoned += 1;
            let now = saving(&candidate.rows);
            if now < stated {
                heap.push((now, Reverse(cell)));
                candidates.insert(cell, candidate);
                continue;
            }
        }
        for row in &candidate.rows {
            taken[*row as usize] = true;
        }
        let (field, id) = cell;
        groups.push(Group {
            field,
            id,
            rows: candidate.rows,
        });
    }
    for row in rows {
        taken[*row as usize] = false;
    }
    groups
}
