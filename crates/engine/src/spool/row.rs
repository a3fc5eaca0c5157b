//! A row in a segment: a fixed header, the user's key, and those bytes of the request that no
//! frame holds.
//!
//! Leaves out reading and writing of segments (`read`, `write`) and which frame a row has
//! (`frames`).

use offpeak_wire::request::{Shape, Ttl};
use offpeak_wire::splice::MarkPoint;

use super::frames::FrameId;

/// The prefix group of rows that have none.
pub const NO_GROUP: u32 = u32::MAX;

/// Bytes of a record before its key.
pub(super) const HEADER_LEN: usize = 72;

/// Where a row is: segment number in the upper half, offset within it in the lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowAt(pub u64);

impl RowAt {
    pub(super) fn new(segment: u32, offset: u32) -> Self {
        Self(u64::from(segment) << 32 | u64::from(offset))
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the two halves of the number"
    )]
    pub(super) fn parts(self) -> (u32, u32) {
        ((self.0 >> 32) as u32, self.0 as u32)
    }
}

/// What is known of a row besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowMeta {
    /// Its number, counted from 0 over all rows of the input.
    pub row: u64,
    /// The line of the input where it begins, counted from 1.
    pub line: u64,
    /// Its prefix group; [`NO_GROUP`] for none.
    pub group: u32,
    /// Its model, as an index into the job's models.
    pub model: u16,
    /// `max_tokens` of the request.
    pub max_tokens: u32,
    /// Bytes of the request, unmarked.
    pub request_len: u32,
    /// Where the group's cache mark would go; `None` when the caller marked the row himself or
    /// nothing in it can carry one.
    pub mark: Option<MarkPoint>,
    /// The first 128 bits of the BLAKE3 of the request bytes, unmarked.
    pub digest: [u8; 16],
    /// Whether its length bounds its input tokens.
    pub bounded: bool,
    /// Whether it gives tools.
    pub has_tools: bool,
    /// Whether it says itself where inference may take place.
    pub geo_pinned: bool,
}

const BOUNDED: u16 = 1;
const TOOLS: u16 = 2;
const GEO_PINNED: u16 = 4;
const MARK: u16 = 8;
const MARK_IS_STRING: u16 = 16;

/// Lengths that follow the header, and which frame is around the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) frame: Option<FrameId>,
    pub(super) key_len: u32,
    pub(super) middle_len: u32,
}

impl Extent {
    /// Bytes of the whole record.
    pub(super) fn record_len(self) -> u64 {
        HEADER_LEN as u64 + u64::from(self.key_len) + u64::from(self.middle_len)
    }
}

/// Appends a record's header.
pub(super) fn encode(meta: &RowMeta, extent: Extent, out: &mut Vec<u8>) {
    let mut flags = 0;
    for (flag, set) in [
        (BOUNDED, meta.bounded),
        (TOOLS, meta.has_tools),
        (GEO_PINNED, meta.geo_pinned),
    ] {
        flags |= if set { flag } else { 0 };
    }
    let (mut mark_start, mut mark_end) = (0, 0);
    if let Some(mark) = meta.mark {
        flags |= MARK
            | if mark.shape == Shape::BareString {
                MARK_IS_STRING
            } else {
                0
            };
        (mark_start, mark_end) = (mark.start, mark.end);
    }
    let mut header = [0; HEADER_LEN];
    let mut rest = &mut header[..];
    let mut put = |bytes: &[u8]| {
        let (now, later) = std::mem::take(&mut rest).split_at_mut(bytes.len());
        now.copy_from_slice(bytes);
        rest = later;
    };
    put(&meta.row.to_le_bytes());
    put(&meta.line.to_le_bytes());
    put(&meta.digest);
    put(&meta.group.to_le_bytes());
    put(&meta.max_tokens.to_le_bytes());
    put(&meta.request_len.to_le_bytes());
    put(&mark_start.to_le_bytes());
    put(&mark_end.to_le_bytes());
    put(&extent.frame.map_or(u32::MAX, |frame| frame.0).to_le_bytes());
    put(&extent.key_len.to_le_bytes());
    put(&extent.middle_len.to_le_bytes());
    put(&meta.model.to_le_bytes());
    put(&flags.to_le_bytes());
    put(&MAGIC);
    out.extend_from_slice(&header);
}

/// Ends every header, so that a wrong offset is noticed.
const MAGIC: [u8; 4] = *b"row\x01";

/// Reads a record's header; an error says what is wrong with it.
pub(super) fn decode(header: &[u8; HEADER_LEN]) -> Result<(RowMeta, Extent), &'static str> {
    let mut rest = &header[..];
    macro_rules! take {
        ($type:ty) => {{
            let (now, later) = rest.split_at(size_of::<$type>());
            rest = later;
            <$type>::from_le_bytes(now.try_into().expect("split to that length"))
        }};
    }
    let (row, line) = (take!(u64), take!(u64));
    let digest = take!(u128).to_le_bytes();
    let (group, max_tokens, request_len) = (take!(u32), take!(u32), take!(u32));
    let (start, end) = (take!(u32), take!(u32));
    let (frame, key_len, middle_len) = (take!(u32), take!(u32), take!(u32));
    let (model, flags) = (take!(u16), take!(u16));
    if rest != MAGIC {
        return Err("no row begins here");
    }
    let mark = (flags & MARK != 0).then_some(MarkPoint {
        start,
        end,
        shape: if flags & MARK_IS_STRING == 0 {
            Shape::Object
        } else {
            Shape::BareString
        },
    });
    if mark.is_some_and(|mark| mark.start >= mark.end || mark.end > request_len) {
        return Err("the place of its cache mark is outside the request");
    }
    let meta = RowMeta {
        row,
        line,
        group,
        model,
        max_tokens,
        request_len,
        mark,
        digest,
        bounded: flags & BOUNDED != 0,
        has_tools: flags & TOOLS != 0,
        geo_pinned: flags & GEO_PINNED != 0,
    };
    let frame = (frame != u32::MAX).then_some(FrameId(frame));
    Ok((
        meta,
        Extent {
            frame,
            key_len,
            middle_len,
        },
    ))
}

/// A row as read from the spool.
#[derive(Debug, Clone)]
pub struct SpooledRow<'a> {
    /// What is known of it.
    pub meta: RowMeta,
    /// The user's key: a raw JSON scalar, e.g. `"a1"` with its quotes, or `17`.
    pub key: &'a [u8],
    /// The request: shared head, own bytes, shared tail.
    pub(super) parts: [&'a [u8]; 3],
}

impl SpooledRow<'_> {
    /// Bytes of the request, with a mark if one is asked for and the row can carry it.
    #[must_use]
    pub fn request_len(&self, mark: Option<Ttl>) -> u64 {
        let added = self
            .meta
            .mark
            .zip(mark)
            .map_or(0, |(point, ttl)| point.added_len(ttl));
        u64::from(self.meta.request_len) + added as u64
    }

    /// Appends the request's exact bytes, with a mark if one is asked for and the row can carry it.
    pub fn write_request(&self, mark: Option<Ttl>, out: &mut Vec<u8>) {
        let mut cursor = Cursor {
            parts: self.parts,
            done: 0,
        };
        if let Some((point, ttl)) = self.meta.mark.zip(mark) {
            for (at, bytes) in insertions(point, ttl) {
                cursor.copy_until(at, out);
                out.extend_from_slice(bytes);
            }
        }
        cursor.copy_until(usize::MAX, out);
    }

    /// Whether the bytes are those that were written, by their digest.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        let mut hasher = blake3::Hasher::new();
        for part in self.parts {
            hasher.update(part);
        }
        hasher.finalize().as_bytes().starts_with(&self.meta.digest)
    }
}

/// What a mark adds, and before which byte of the request. Taken from the marking of a two-byte
/// request of the same shape, so that the splice has one definition.
fn insertions(point: MarkPoint, ttl: Ttl) -> [(usize, &'static [u8]); 3] {
    let (start, end) = (point.start as usize, point.end as usize);
    let tiny = MarkPoint {
        start: 0,
        end: 2,
        shape: point.shape,
    };
    match point.shape {
        Shape::Object => {
            let [_, member, ..] = tiny.pieces(b"{}", ttl);
            [(end - 1, member), (end, &[]), (end, &[])]
        }
        Shape::BareString => {
            let [_, head, _, member, tail, _] = tiny.pieces(b"\"\"", ttl);
            [(start, head), (end, member), (end, tail)]
        }
    }
}

/// Copies the parts one after the other, up to given offsets of their concatenation.
struct Cursor<'a> {
    parts: [&'a [u8]; 3],
    done: usize,
}

impl Cursor<'_> {
    fn copy_until(&mut self, until: usize, out: &mut Vec<u8>) {
        for part in &mut self.parts {
            let now = part.len().min(until.saturating_sub(self.done));
            let (copied, rest) = part.split_at(now);
            out.extend_from_slice(copied);
            self.done += now;
            *part = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn meta() -> impl Strategy<Value = RowMeta> {
        let mark = (0u32..50, 2u32..50, any::<bool>()).prop_map(|(start, len, string)| MarkPoint {
            start,
            end: start + len,
            shape: if string {
                Shape::BareString
            } else {
                Shape::Object
            },
        });
        (
            (
                any::<u64>(),
                any::<u64>(),
                any::<u32>(),
                any::<u16>(),
                any::<u32>(),
            ),
            (
                100..u32::MAX,
                prop::option::of(mark),
                any::<[u8; 16]>(),
                any::<[bool; 3]>(),
            ),
        )
            .prop_map(
                |((row, line, group, model, max_tokens), (request_len, mark, digest, is))| {
                    RowMeta {
                        row,
                        line,
                        group,
                        model,
                        max_tokens,
                        request_len,
                        mark,
                        digest,
                        bounded: is[0],
                        has_tools: is[1],
                        geo_pinned: is[2],
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn a_header_survives(meta in meta(), frame in prop::option::of(0..u32::MAX), lens in any::<(u32, u32)>()) {
            let extent = Extent { frame: frame.map(FrameId), key_len: lens.0, middle_len: lens.1 };
            let mut bytes = Vec::new();
            encode(&meta, extent, &mut bytes);
            prop_assert_eq!(decode(bytes.as_slice().try_into().unwrap()), Ok((meta, extent)));
        }

        #[test]
        fn a_marked_request_is_the_same_whole_and_in_parts(
            request in prop::collection::vec(any::<u8>(), 4..80),
            cuts in any::<[prop::sample::Index; 4]>(),
            string in any::<bool>(),
            hour in any::<bool>(),
        ) {
            let at = |index: &prop::sample::Index| index.index(request.len() + 1);
            let (a, b) = (at(&cuts[0]).min(at(&cuts[1])), at(&cuts[0]).max(at(&cuts[1])));
            let start = cuts[2].index(request.len() - 1);
            let end = start + 2 + cuts[3].index(request.len() - start - 1);
            let shape = if string { Shape::BareString } else { Shape::Object };
            let ttl = if hour { Ttl::OneHour } else { Ttl::FiveMinutes };
            let point = MarkPoint {
                start: u32::try_from(start).unwrap(),
                end: u32::try_from(end).unwrap(),
                shape,
            };
            let row = SpooledRow {
                meta: RowMeta {
                    row: 0, line: 1, group: 0, model: 0, max_tokens: 1,
                    request_len: u32::try_from(request.len()).unwrap(),
                    mark: Some(point),
                    digest: [0; 16], bounded: true, has_tools: false, geo_pinned: false,
                },
                key: b"1",
                parts: [&request[..a], &request[a..b], &request[b..]],
            };
            let mut out = Vec::new();
            row.write_request(Some(ttl), &mut out);
            prop_assert_eq!(&out, &point.apply(&request, ttl));
            prop_assert_eq!(out.len() as u64, row.request_len(Some(ttl)));
            out.clear();
            row.write_request(None, &mut out);
            prop_assert_eq!(&out, &request);
        }
    }
}
