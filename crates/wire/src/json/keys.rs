//! The keys of one object, to find the one that comes twice.
//!
//! Leaves out reading them.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::scan::JsonStr;

const INLINE: usize = 16;

/// Few plain keys are compared one by one; many, or any with escapes, go through an ordered set,
/// which unlike a hash set needs no random seed and has no worst input.
pub(crate) struct Keys<'a> {
    inline: [&'a [u8]; INLINE],
    len: usize,
    more: Option<BTreeSet<Cow<'a, [u8]>>>,
}

impl<'a> Keys<'a> {
    pub(crate) fn new() -> Self {
        Self {
            inline: [&[]; INLINE],
            len: 0,
            more: None,
        }
    }

    /// Whether `key` is new to this object.
    #[inline]
    pub(crate) fn insert(&mut self, key: &JsonStr<'a>) -> bool {
        if self.more.is_none() && self.len < INLINE && !key.is_escaped() {
            if self.inline[..self.len].contains(&key.raw()) {
                return false;
            }
            self.inline[self.len] = key.raw();
            self.len += 1;
            return true;
        }
        self.insert_many(key)
    }

    #[cold]
    #[inline(never)]
    fn insert_many(&mut self, key: &JsonStr<'a>) -> bool {
        let inline = &self.inline[..self.len];
        let more = self
            .more
            .get_or_insert_with(|| inline.iter().map(|key| Cow::Borrowed(*key)).collect());
        more.insert(key.unescaped())
    }
}
