//! The mark inside every `custom_id`: which job, which shard, which row. It is what lets a result
//! line be matched without a table, and a lost batch be recognised as ours.

use offpeak_wire::batch::CustomId;

use crate::job::shard::{JobId, ShardNo};

/// What a `custom_id` of ours says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The job.
    pub job: JobId,
    /// The shard that sent the row.
    pub shard: ShardNo,
    /// The row, counted from 0 in input order.
    pub row: u64,
}

impl Mark {
    /// The `custom_id` that carries this mark: `op-<job>-<shard>-<row>`, at most 46 characters.
    ///
    /// # Panics
    /// Never: the longest mark is shorter than the 64 characters that an id may have.
    #[must_use]
    pub fn custom_id(&self) -> CustomId {
        let id = format!("op-{}-{}-{}", self.job, self.shard, self.row);
        CustomId::new(&id).expect("the characters of a mark are legal and few")
    }

    /// Reads a `custom_id`; `None` if it is not one of ours.
    #[must_use]
    pub fn parse(custom_id: &str) -> Option<Self> {
        let mut parts = custom_id.split('-');
        let (prefix, job, shard, row) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if prefix != "op" || parts.next().is_some() {
            return None;
        }
        Some(Self {
            job: JobId::parse(job)?,
            shard: ShardNo(plain_number(shard)?.try_into().ok()?),
            row: plain_number(row)?,
        })
    }
}

/// What the marks of one shard have in common, to read many of them.
#[derive(Debug, Clone)]
pub struct ShardMark(String);

impl ShardMark {
    /// The marks of this shard.
    #[must_use]
    pub fn new(job: &JobId, shard: ShardNo) -> Self {
        Self(format!("op-{job}-{shard}-"))
    }

    /// The row of a `custom_id`; `None` if it is not one of this shard's.
    #[must_use]
    pub fn row(&self, custom_id: &str) -> Option<u64> {
        plain_number(custom_id.strip_prefix(&self.0)?)
    }
}

/// Digits only, no sign and no leading zero, so that every mark has one spelling.
fn plain_number(text: &str) -> Option<u64> {
    let canonical =
        text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if canonical { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_mark_survives_its_custom_id(digest in any::<[u8; 32]>(), shard in any::<u32>(), row in any::<u64>()) {
            let mark = Mark { job: JobId::of_digest(&digest), shard: ShardNo(shard), row };
            let id = mark.custom_id();
            let of_shard = ShardMark::new(&mark.job, mark.shard);
            prop_assert_eq!(of_shard.row(id.as_str()), Some(row));
            let of_another = ShardMark::new(&mark.job, ShardNo(shard ^ 1));
            prop_assert_eq!(of_another.row(id.as_str()), None);
            prop_assert_eq!(Mark::parse(id.as_str()), Some(mark));
        }

        #[test]
        fn nothing_else_reads_as_a_mark(text in "[a-z0-9_-]{0,40}", row in "[0-9+ -]{0,21}") {
            let of_shard = ShardMark::new(&JobId::of_digest(&[7; 32]), ShardNo(3));
            let marked = format!("{}{row}", of_shard.0);
            prop_assert_eq!(of_shard.row(&marked), Mark::parse(&marked).map(|mark| mark.row));
            if let Some(mark) = Mark::parse(&text) {
                let id = mark.custom_id();
                prop_assert_eq!(id.as_str(), text.as_str());
                prop_assert_eq!(ShardMark::new(&mark.job, mark.shard).row(&text), Some(mark.row));
            }
        }
    }
}
