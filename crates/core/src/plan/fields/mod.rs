//! The order of a row's fields, chosen row by row so that rows begin alike.
//!
//! A prompt that shows a row of a table shows its cells one after the other, and an upstream's cache holds
//! beginnings. Which field comes first is therefore money: rows of one carrier begin alike if the carrier
//! comes first, rows of one aircraft if the aircraft does, and no single order serves both. The order is
//! found by recursion over groups (after Liu et al., "Optimizing LLM Queries in Relational Data Analytics
//! Workloads", arXiv:2403.05821): the cell whose rows can share most goes first in these rows, fields that
//! are constant in them follow it, and the rest of their fields and the rest of the rows are ordered in the
//! same way.
//!
//! What was learnt on a sample of rows ([`SampleTable`], [`learn`]) is a tree that any row can be taken
//! through ([`FieldOrder`]), so a table of any length is read in a stream. Leaves out how cells are written
//! and where a prompt is cut into blocks, and whether a shared beginning is long enough to be cached.

mod effect;
mod groups;
mod learn;
mod order;
mod single;
mod table;

#[cfg(test)]
mod laws;

pub use effect::{FieldCosts, FieldsEffect, Reach, Shares};
pub use learn::{Learnt, learn};
pub use order::{CUT_ROWS, FieldOrder, Layout};
pub use table::{FIELDS_MAX, SampleTable, sample_rows};
