//! Prefix groups: which rows share tools and system prompt, and their sums.
//!
//! Leaves out what the common prefix is (`check`) and whether it is worth a cache mark
//! (`offpeak_core::plan`).

use std::collections::HashMap;

use offpeak_core::units::Usd;

use super::check::Prefix;
use crate::spool::NO_GROUP;

/// Groups that are told apart; later ones count as ungrouped.
const GROUPS_MAX: usize = 65_536;

/// Groups that are reported.
const REPORTED_MAX: usize = 4096;

/// Sums over rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowSums {
    /// Rows.
    pub rows: u64,
    /// Bytes of their requests, unmarked.
    pub request_bytes: u64,
    /// Their `max_tokens`.
    pub max_tokens: u64,
    /// Most they can cost on the sync lane, with an hour's cache write.
    pub worst: Usd,
}

impl RowSums {
    /// The sums of a single row; `worst` in picodollars.
    pub(super) fn of(request_len: u32, max_tokens: u32, worst: u64) -> Self {
        Self {
            rows: 1,
            request_bytes: request_len.into(),
            max_tokens: max_tokens.into(),
            worst: Usd::from_pico(worst.into()),
        }
    }

    fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.request_bytes += other.request_bytes;
        self.max_tokens += other.max_tokens;
        self.worst += other.worst;
    }

    fn remove(&mut self, other: &Self) {
        self.rows -= other.rows;
        self.request_bytes -= other.request_bytes;
        self.max_tokens -= other.max_tokens;
        self.worst -= other.worst;
    }
}

/// The rows of a job that share model, tools and system prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The number that its rows carry.
    pub id: u32,
    /// Its model, as an index into the job's models.
    pub model: u16,
    /// Bytes of the contents of tools and system prompt.
    pub prefix_bytes: u64,
    /// Sums over its rows.
    pub sums: RowSums,
    /// The caller placed cache marks of his own, which are kept.
    pub caller_marked: bool,
    /// Its requests give tools.
    pub has_tools: bool,
}

impl Group {
    /// Bytes that need not be sent anew after the first row: what a cache can save.
    fn saved_bytes(&self) -> u64 {
        self.prefix_bytes
            .saturating_mul(self.sums.rows.saturating_sub(1))
    }
}

/// The groups of a job in the making.
#[derive(Debug, Default)]
pub(super) struct Groups {
    ids: HashMap<u128, u32>,
    groups: Vec<Group>,
    ungrouped: RowSums,
}

impl Groups {
    /// The group of a row.
    pub(super) fn id(&mut self, prefix: Option<Prefix>, model: u16) -> u32 {
        let Some(prefix) = prefix else {
            return NO_GROUP;
        };
        if let Some(id) = self.ids.get(&prefix.digest) {
            return *id;
        }
        if self.groups.len() == GROUPS_MAX {
            return NO_GROUP;
        }
        let id = u32::try_from(self.groups.len()).expect("groups are few");
        self.ids.insert(prefix.digest, id);
        self.groups.push(Group {
            id,
            model,
            prefix_bytes: prefix.bytes,
            sums: RowSums::default(),
            caller_marked: prefix.caller_marked,
            has_tools: prefix.has_tools,
        });
        id
    }

    pub(super) fn add(&mut self, id: u32, row: &RowSums) {
        self.sums(id).add(row);
    }

    /// Takes a row out again.
    pub(super) fn remove(&mut self, id: u32, row: &RowSums) {
        self.sums(id).remove(row);
    }

    fn sums(&mut self, id: u32) -> &mut RowSums {
        match self.groups.get_mut(id as usize) {
            Some(group) => &mut group.sums,
            None => &mut self.ungrouped,
        }
    }

    /// The groups that save most, by that; and the sums of all other rows.
    pub(super) fn finish(self) -> (Vec<Group>, RowSums) {
        let Self {
            mut groups,
            mut ungrouped,
            ..
        } = self;
        groups.retain(|group| group.sums.rows > 0);
        groups.sort_unstable_by_key(|group| (std::cmp::Reverse(group.saved_bytes()), group.id));
        for group in groups.iter().skip(REPORTED_MAX) {
            ungrouped.add(&group.sums);
        }
        groups.truncate(REPORTED_MAX);
        (groups, ungrouped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(digest: u128) -> Option<Prefix> {
        Some(Prefix {
            digest,
            bytes: 100,
            caller_marked: false,
            has_tools: false,
        })
    }

    #[test]
    fn what_is_not_reported_is_in_the_ungrouped_sums() {
        let mut groups = Groups::default();
        for digest in 0..70_000u128 {
            let id = groups.id(prefix(digest), 0);
            assert_eq!(id == NO_GROUP, digest >= 65_536);
            groups.add(id, &RowSums::of(10, 5, 7));
        }
        let large = groups.id(prefix(60_000), 0);
        groups.add(large, &RowSums::of(10, 5, 7));
        groups.add(NO_GROUP, &RowSums::of(1, 1, 1));
        groups.remove(NO_GROUP, &RowSums::of(1, 1, 1));
        let (groups, ungrouped) = groups.finish();
        assert_eq!(groups[0].id, large);
        assert_eq!(groups.len(), REPORTED_MAX);
        let rows: u64 = groups.iter().map(|group| group.sums.rows).sum();
        assert_eq!(rows + ungrouped.rows, 70_001);
        assert_eq!(
            ungrouped.worst,
            Usd::from_pico(i128::from(ungrouped.rows) * 7)
        );
    }
}
