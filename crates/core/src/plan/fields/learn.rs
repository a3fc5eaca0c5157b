//! Learning an order of fields from rows.
//!
//! With n rows of m fields it takes time in O(n·m²·log n) for each level of groups within groups, of which
//! there are at most m and mostly few, and memory in O(n·m). 100,000 rows of 19 fields take a second and a half.

use std::collections::HashMap;

use super::effect::Shares;
use super::groups::{Group, by_saving, constant, in_order};
use super::order::{FieldOrder, Node};
use super::single;
use super::table::SampleTable;

/// What was learnt from the rows of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learnt {
    /// The order that shares most.
    pub order: FieldOrder,
    /// How much rows share in it and in others: of each row the cells at its beginning that an earlier
    /// row of the table begins with too.
    pub shares: Shares,
}

/// Learns the order that the rows of a table share most in. The same rows always give the same order.
#[must_use]
pub fn learn(table: &SampleTable<'_>) -> Learnt {
    let rows: Vec<u32> = (0..table.rows())
        .map(|row| u32::try_from(row).expect("fewer than 2^32 rows"))
        .collect();
    let given: Vec<usize> = (0..table.fields()).collect();
    let given = single::shared(table, &rows, &given);
    let (order, single) = single::best(table, &rows);
    let mut learner = Learner {
        table,
        order: &order,
        taken: vec![false; rows.len()],
    };
    let (tree, shared) = learner.best(&rows, &order);
    Learnt {
        order: learner.plant(tree),
        shares: Shares {
            rows: table.rows() as u64,
            bytes: table.bytes(),
            given,
            single,
            shared,
        },
    }
}

/// A group with the groups in it.
struct Tree {
    prefix: Vec<usize>,
    rows: usize,
    groups: Vec<Branch>,
}

/// A group with the field and the value that it is known by.
type Branch = ((usize, u32), Tree);

struct Learner<'a> {
    table: &'a SampleTable<'a>,
    /// The best single order.
    order: &'a [usize],
    /// Scratch of [`by_saving`].
    taken: Vec<bool>,
}

impl Learner<'_> {
    /// The better of two ways to split rows, group by group, with the bytes that are shared. `fields` are
    /// those that are not written yet, in the single order.
    fn best(&mut self, rows: &[u32], fields: &[usize]) -> (Tree, u64) {
        let (prefix, rest, shared) = self.begin(rows, fields);
        let split = by_saving(self.table, rows, &rest, &mut self.taken);
        let (groups, saved) = self.grow(split, &rest, Self::best);
        // A single order is no better than what is made of it, but mostly worse than the other.
        let (groups, saved) = if single::shared(self.table, rows, &rest) > saved {
            let split = in_order(self.table, rows, &rest);
            self.grow(split, &rest, Self::plain)
        } else {
            (groups, saved)
        };
        let tree = Tree {
            prefix,
            rows: rows.len(),
            groups,
        };
        (tree, shared + saved)
    }

    /// Rows split by the single order all the way.
    fn plain(&mut self, rows: &[u32], fields: &[usize]) -> (Tree, u64) {
        let (prefix, rest, shared) = self.begin(rows, fields);
        let split = in_order(self.table, rows, &rest);
        let (groups, saved) = self.grow(split, &rest, Self::plain);
        let tree = Tree {
            prefix,
            rows: rows.len(),
            groups,
        };
        (tree, shared + saved)
    }

    /// What rows begin with, the fields that are left, and the bytes that all but the first share.
    fn begin(&self, rows: &[u32], fields: &[usize]) -> (Vec<usize>, Vec<usize>, u64) {
        let (prefix, bytes) = constant(self.table, rows, fields);
        let rest = fields.iter().filter(|field| !prefix.contains(field));
        let rest = rest.copied().collect();
        let others = (rows.len() as u64).saturating_sub(1);
        (prefix, rest, bytes * others)
    }

    fn grow(
        &mut self,
        split: Vec<Group>,
        fields: &[usize],
        split_on: impl Fn(&mut Self, &[u32], &[usize]) -> (Tree, u64),
    ) -> (Vec<Branch>, u64) {
        let mut saved = 0;
        let mut groups = Vec::with_capacity(split.len());
        for Group { field, id, rows } in split {
            let (mut tree, shared) = split_on(self, &rows, fields);
            // A row that was not learnt from may be in the group for this cell alone.
            tree.prefix.retain(|other| *other != field);
            tree.prefix.insert(0, field);
            saved += shared;
            groups.push(((field, id), tree));
        }
        (groups, saved)
    }

    /// The tree in the form that rows are taken through.
    fn plant(&self, tree: Tree) -> FieldOrder {
        let mut order = FieldOrder {
            values: vec![HashMap::new(); self.table.fields()],
            nodes: Vec::new(),
            rest: self.order.to_vec(),
        };
        self.put(tree, &mut order);
        order
    }

    fn put(&self, tree: Tree, into: &mut FieldOrder) -> usize {
        let place = into.nodes.len();
        into.nodes.push(Node {
            prefix: tree.prefix,
            rows: tree.rows,
            children: HashMap::with_capacity(tree.groups.len()),
        });
        for ((field, id), tree) in tree.groups {
            let values = &mut into.values[field];
            let next = u32::try_from(values.len()).expect("no more than there are values");
            let value: Box<[u8]> = self.table.value(field, id).into();
            let number = *values.entry(value).or_insert(next);
            let child = self.put(tree, into);
            into.nodes[place].children.insert((field, number), child);
        }
        place
    }
}
