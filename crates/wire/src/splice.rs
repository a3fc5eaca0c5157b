//! Adding a cache mark to a request without touching another byte.
//!
//! Leaves out which block deserves one.

use serde::{Deserialize, Serialize};

use crate::request::{Block, Shape, Ttl};

/// Where one mark goes: the span of a block within the request bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MarkPoint {
    /// First byte of the block.
    pub start: u32,
    /// One past the block's last byte.
    pub end: u32,
    /// How the block is written.
    pub shape: Shape,
}

const TEXT_BLOCK_HEAD: &[u8] = b"[{\"type\":\"text\",\"text\":";
const MEMBER_5M: &[u8] = b",\"cache_control\":{\"type\":\"ephemeral\",\"ttl\":\"5m\"}";
const MEMBER_1H: &[u8] = b",\"cache_control\":{\"type\":\"ephemeral\",\"ttl\":\"1h\"}";
const TEXT_BLOCK_TAIL: &[u8] = b"}]";

impl MarkPoint {
    /// The point for marking `block`; `None` when it cannot take another mark: thinking, empty
    /// text, a deferred tool, an object without members, a block that has a `cache_control`
    /// already (even null, which a second one would duplicate), or one beyond 4 GiB.
    #[must_use]
    pub fn of(block: &Block) -> Option<Self> {
        if !block.markable || block.mark.is_some() {
            return None;
        }
        Some(Self {
            start: u32::try_from(block.span.start).ok()?,
            end: u32::try_from(block.span.end).ok()?,
            shape: block.shape,
        })
    }

    /// How many bytes the mark adds.
    #[must_use]
    pub fn added_len(self, ttl: Ttl) -> usize {
        member(ttl).len()
            + match self.shape {
                Shape::Object => 0,
                Shape::BareString => TEXT_BLOCK_HEAD.len() + TEXT_BLOCK_TAIL.len(),
            }
    }

    /// The marked request in pieces to be written one after the other; some may be empty. Pieces
    /// of the request are borrowed, not copied.
    ///
    /// # Panics
    ///
    /// When the point does not lie within `request`, i.e. belongs to another one.
    #[must_use]
    pub fn pieces(self, request: &[u8], ttl: Ttl) -> [&[u8]; 6] {
        let (start, end) = (self.start as usize, self.end as usize);
        let member = member(ttl);
        match self.shape {
            Shape::Object => {
                let (head, tail) = request.split_at(end - 1);
                [head, member, tail, &[], &[], &[]]
            }
            Shape::BareString => [
                &request[..start],
                TEXT_BLOCK_HEAD,
                &request[start..end],
                member,
                TEXT_BLOCK_TAIL,
                &request[end..],
            ],
        }
    }

    /// The marked request as one buffer.
    ///
    /// # Panics
    ///
    /// As [`MarkPoint::pieces`].
    #[must_use]
    pub fn apply(self, request: &[u8], ttl: Ttl) -> Vec<u8> {
        self.pieces(request, ttl).concat()
    }
}

fn member(ttl: Ttl) -> &'static [u8] {
    match ttl {
        Ttl::FiveMinutes => MEMBER_5M,
        Ttl::OneHour => MEMBER_1H,
    }
}
