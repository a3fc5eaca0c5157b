//! Which levels of a row's prompt carry a cache mark.
//!
//! A level is a place of the prompt where a mark may stand, counted from 0. Leaves out where that is in
//! the bytes (`row`) and which levels are worth a mark (`offpeak_core::plan`).

use offpeak_wire::limits::MAX_BREAKPOINTS;
use offpeak_wire::request::Ttl;

/// A mark of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowMark {
    /// The prefix group that it is the mark of: rows of that group find the same cache.
    pub group: u32,
    /// The level of the row where it stands.
    pub level: u8,
    /// How long what it writes lives.
    pub ttl: Ttl,
}

/// The marks of a row, from the beginning of its prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RowMarks([Option<RowMark>; Self::MAX]);

const HOUR: u8 = 0x80;

impl RowMarks {
    /// Marks of a request (Anthropic docs, prompt caching).
    pub const MAX: usize = MAX_BREAKPOINTS;

    /// Levels that can be marked; deeper ones cannot.
    pub const LEVELS: u8 = 126;

    /// No marks.
    pub const NONE: Self = Self([None; Self::MAX]);

    /// Bytes of marks on disk.
    pub(super) const LEN: usize = 5 * Self::MAX;

    /// These marks.
    ///
    /// # Panics
    ///
    /// With more than [`RowMarks::MAX`] marks, or one of a level beyond [`RowMarks::LEVELS`].
    #[must_use]
    pub fn new(marks: &[RowMark]) -> Self {
        assert!(
            marks.len() <= Self::MAX,
            "more marks than a request may have"
        );
        let mut all = Self::NONE;
        for (place, mark) in all.0.iter_mut().zip(marks) {
            assert!(mark.level < Self::LEVELS, "no level that can be marked");
            *place = Some(*mark);
        }
        all
    }

    /// The marks, outermost first.
    pub fn iter(self) -> impl Iterator<Item = RowMark> {
        self.0.into_iter().flatten()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    /// The group of the last mark.
    #[must_use]
    pub fn last_group(self) -> Option<u32> {
        self.iter().last().map(|mark| mark.group)
    }

    /// The longest lifetime among them.
    #[must_use]
    pub fn longest(self) -> Option<Ttl> {
        self.iter().map(|mark| mark.ttl).max()
    }

    /// The same marks with lifetimes up to that of their shard, or none in a shard without marks.
    #[must_use]
    pub fn within(self, most: Option<Ttl>) -> Self {
        let Some(most) = most else {
            return Self::NONE;
        };
        let cut = |mark: RowMark| RowMark {
            ttl: mark.ttl.min(most),
            ..mark
        };
        Self(self.0.map(|mark| mark.map(cut)))
    }

    /// For each the group, then nothing (0) or the level and one, and in the highest bit whether it is
    /// for an hour.
    pub(super) fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let (places, _) = bytes.as_chunks_mut::<5>();
        for (place, mark) in places.iter_mut().zip(self.iter()) {
            place[..4].copy_from_slice(&mark.group.to_le_bytes());
            let hour = if mark.ttl == Ttl::OneHour { HOUR } else { 0 };
            place[4] = (mark.level + 1) | hour;
        }
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let (places, _) = bytes.as_chunks::<5>();
        let mut all = Self::NONE;
        for (mark, [a, b, c, d, level]) in all.0.iter_mut().zip(places) {
            *mark = (level & !HOUR).checked_sub(1).map(|place| RowMark {
                group: u32::from_le_bytes([*a, *b, *c, *d]),
                level: place,
                ttl: if level & HOUR == 0 {
                    Ttl::FiveMinutes
                } else {
                    Ttl::OneHour
                },
            });
        }
        all
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn marks() -> impl Strategy<Value = RowMarks> {
        let ttl = prop::sample::select(vec![Ttl::FiveMinutes, Ttl::OneHour]);
        let mark = (any::<u32>(), 0..RowMarks::LEVELS, ttl)
            .prop_map(|(group, level, ttl)| RowMark { group, level, ttl });
        prop::collection::vec(mark, 0..=4).prop_map(|marks| RowMarks::new(&marks))
    }

    proptest! {
        #[test]
        fn marks_survive_and_are_cut_to_the_lifetime_of_their_shard(marks in marks()) {
            prop_assert_eq!(RowMarks::from_bytes(&marks.to_bytes()), marks);
            prop_assert_eq!(marks.is_empty(), marks.iter().next().is_none());
            prop_assert_eq!(marks.within(None), RowMarks::NONE);
            prop_assert_eq!(marks.within(Some(Ttl::OneHour)), marks);
            let short: Vec<_> =
                marks.iter().map(|mark| RowMark { ttl: Ttl::FiveMinutes, ..mark }).collect();
            prop_assert_eq!(marks.within(Some(Ttl::FiveMinutes)), RowMarks::new(&short));
        }
    }
}
