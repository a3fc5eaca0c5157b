//! A row in a segment: a fixed header, the user's key, the places where cache marks may stand, and
//! those bytes of the request that no frame holds.
//!
//! Leaves out reading and writing of segments (`read`, `write`), which frame a row has (`frames`) and
//! which places are marked (`marks`).

use offpeak_wire::request::{Shape, Ttl};
use offpeak_wire::splice::MarkPoint;

use super::frames::FrameId;
use super::marks::RowMarks;

/// Bytes of a record before its key.
pub(super) const HEADER_LEN: usize = 64;

/// Bytes of the place of a mark.
pub(super) const POINT_LEN: usize = 9;

/// Where a row is: segment number in the upper half, offset within it in the lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
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
    /// Its model, as an index into the job's models.
    pub model: u16,
    /// `max_tokens` of the request.
    pub max_tokens: u32,
    /// Bytes of the request, unmarked.
    pub request_len: u32,
    /// Of these, what cutting the message into blocks has added: no text, and so no tokens.
    pub framing: u16,
    /// The first 128 bits of the BLAKE3 of the request bytes, unmarked.
    pub digest: [u8; 16],
    /// Whether its length bounds its input tokens.
    pub bounded: bool,
    /// Whether it gives tools.
    pub has_tools: bool,
    /// Whether it says itself where inference may take place.
    pub geo_pinned: bool,
}

impl RowMeta {
    /// Bytes that tokens are estimated from.
    #[must_use]
    pub fn prompt_bytes(&self) -> u64 {
        u64::from(self.request_len).saturating_sub(self.framing.into())
    }
}

#[cfg(test)]
impl RowMeta {
    /// Of a request that says nothing special, in a test.
    pub(crate) fn of(row: u64, request: &[u8]) -> Self {
        Self {
            row,
            line: row + 1,
            model: 0,
            max_tokens: 1,
            request_len: u32::try_from(request.len()).unwrap(),
            framing: 0,
            digest: *blake3::hash(request).as_bytes().first_chunk().unwrap(),
            bounded: true,
            has_tools: false,
            geo_pinned: false,
        }
    }
}

const BOUNDED: u16 = 1;
const TOOLS: u16 = 2;
const GEO_PINNED: u16 = 4;

/// Lengths that follow the header, and which frame is around the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) frame: Option<FrameId>,
    pub(super) key_len: u32,
    pub(super) points: u16,
    pub(super) middle_len: u32,
}

impl Extent {
    /// Bytes of the whole record.
    pub(super) fn record_len(self) -> u64 {
        HEADER_LEN as u64 + self.points_len() + u64::from(self.key_len) + u64::from(self.middle_len)
    }

    /// Bytes of the places of marks, which follow the header.
    pub(super) fn points_len(self) -> u64 {
        u64::from(self.points) * POINT_LEN as u64
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
    put(&meta.max_tokens.to_le_bytes());
    put(&meta.request_len.to_le_bytes());
    put(&extent.frame.map_or(u32::MAX, |frame| frame.0).to_le_bytes());
    put(&extent.key_len.to_le_bytes());
    put(&extent.middle_len.to_le_bytes());
    put(&meta.model.to_le_bytes());
    put(&flags.to_le_bytes());
    put(&extent.points.to_le_bytes());
    put(&meta.framing.to_le_bytes());
    put(&MAGIC);
    out.extend_from_slice(&header);
}

/// Ends every header, so that a wrong offset is noticed.
const MAGIC: [u8; 4] = *b"row\x02";

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
    let (max_tokens, request_len) = (take!(u32), take!(u32));
    let (frame, key_len, middle_len) = (take!(u32), take!(u32), take!(u32));
    let (model, flags, points, framing) = (take!(u16), take!(u16), take!(u16), take!(u16));
    if rest != MAGIC {
        return Err("no row begins here");
    }
    let meta = RowMeta {
        row,
        line,
        model,
        max_tokens,
        request_len,
        framing,
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
            points,
            middle_len,
        },
    ))
}

/// Appends the place of a mark.
pub(super) fn encode_point(point: MarkPoint, out: &mut Vec<u8>) {
    out.extend_from_slice(&point.start.to_le_bytes());
    out.extend_from_slice(&point.end.to_le_bytes());
    out.push(u8::from(point.shape == Shape::BareString));
}

/// Reads it; `None` if it is not within a request of that length.
fn decode_point(bytes: &[u8; POINT_LEN], request_len: u32) -> Option<MarkPoint> {
    let word = |at: usize| bytes[at..].first_chunk().copied().map(u32::from_le_bytes);
    let (start, end) = (word(0)?, word(4)?);
    let shape = match bytes[8] {
        0 => Shape::Object,
        1 => Shape::BareString,
        _ => return None,
    };
    (start < end && end <= request_len).then_some(MarkPoint { start, end, shape })
}

/// Whether the places of marks, as stored, are places within the request.
pub(super) fn are_points(bytes: &[u8], request_len: u32) -> bool {
    let (points, rest) = bytes.as_chunks();
    let each = |point| decode_point(point, request_len).is_some();
    rest.is_empty() && points.iter().all(each)
}

/// A row as read from the spool.
#[derive(Debug, Clone)]
pub struct SpooledRow<'a> {
    /// What is known of it.
    pub meta: RowMeta,
    /// The user's key: a raw JSON scalar, e.g. `"a1"` with its quotes, or `17`.
    pub key: &'a [u8],
    /// Where cache marks may stand, checked.
    pub(super) points: &'a [u8],
    /// The request: shared head, own bytes, shared tail.
    pub(super) parts: [&'a [u8]; 3],
}

/// Something that a mark adds to a request, and before which byte.
type Insertion = (usize, &'static [u8]);

impl SpooledRow<'_> {
    /// Where a mark of a level would stand, counted from 0 from the beginning of the prompt; `None` if
    /// the prompt has no such level.
    #[must_use]
    pub fn point(&self, level: usize) -> Option<MarkPoint> {
        let (points, _) = self.points.as_chunks();
        decode_point(points.get(level)?, self.meta.request_len)
    }

    /// Bytes of the request with these marks.
    #[must_use]
    pub fn request_len(&self, marks: RowMarks) -> u64 {
        let points = marks
            .iter()
            .filter_map(|mark| Some((self.point(mark.level.into())?, mark.ttl)));
        let added: usize = points.map(|(point, ttl)| point.added_len(ttl)).sum();
        u64::from(self.meta.request_len) + added as u64
    }

    /// Appends the request's exact bytes with these marks.
    pub fn write_request(&self, marks: RowMarks, out: &mut Vec<u8>) {
        let mut cursor = Cursor {
            parts: self.parts,
            done: 0,
        };
        let mut inserted: [Insertion; 3 * RowMarks::MAX] = [(usize::MAX, &[]); 3 * RowMarks::MAX];
        let mut len = 0;
        for mark in marks.iter() {
            let Some(point) = self.point(mark.level.into()) else {
                continue;
            };
            inserted[len..len + 3].copy_from_slice(&insertions(point, mark.ttl));
            len += 3;
        }
        // The order of the bytes need not be that of the prompt: `messages` may come first.
        inserted[..len].sort_by_key(|(at, _)| *at);
        for (at, bytes) in &inserted[..len] {
            cursor.copy_until(*at, out);
            out.extend_from_slice(bytes);
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
fn insertions(point: MarkPoint, ttl: Ttl) -> [Insertion; 3] {
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
    use super::super::RowMark;
    use super::*;
    use proptest::prelude::*;

    fn meta() -> impl Strategy<Value = RowMeta> {
        (
            any::<(u64, u64, u16, u32, u32, u16)>(),
            (any::<[u8; 16]>(), any::<[bool; 3]>()),
        )
            .prop_map(
                |((row, line, model, max_tokens, request_len, framing), (digest, is))| RowMeta {
                    row,
                    line,
                    model,
                    max_tokens,
                    request_len,
                    framing,
                    digest,
                    bounded: is[0],
                    has_tools: is[1],
                    geo_pinned: is[2],
                },
            )
    }

    fn shape() -> impl Strategy<Value = Shape> {
        prop::sample::select(vec![Shape::BareString, Shape::Object])
    }

    proptest! {
        #[test]
        fn a_header_survives(
            meta in meta(), frame in prop::option::of(0..u32::MAX), lens in any::<(u32, u16, u32)>(),
        ) {
            let (key_len, points, middle_len) = lens;
            let extent = Extent { frame: frame.map(FrameId), key_len, points, middle_len };
            let mut bytes = Vec::new();
            encode(&meta, extent, &mut bytes);
            prop_assert_eq!(decode(bytes.as_slice().try_into().unwrap()), Ok((meta, extent)));
        }

        #[test]
        fn the_place_of_a_mark_survives(start in 0u32..50, len in 1u32..50, shape in shape()) {
            let point = MarkPoint { start, end: start + len, shape };
            let mut bytes = Vec::new();
            encode_point(point, &mut bytes);
            prop_assert!(are_points(&bytes, 100));
            prop_assert!(!are_points(&bytes, start + len - 1));
            prop_assert_eq!(decode_point(bytes[..].try_into().unwrap(), 100), Some(point));
        }

        #[test]
        fn a_marked_request_is_the_same_whole_and_in_parts(
            blocks in prop::collection::vec((0usize..9, shape(), any::<bool>(), any::<bool>()), 1..=4),
            turned in any::<bool>(),
            cuts in any::<[prop::sample::Index; 2]>(),
        ) {
            // Blocks of at least two bytes with something in front of each.
            let mut request = Vec::new();
            let mut points = Vec::new();
            for (number, (len, shape, ..)) in blocks.iter().enumerate() {
                request.extend_from_slice(b"<<");
                let start = u32::try_from(request.len()).unwrap();
                request.extend(std::iter::repeat_n(b'a' + u8::try_from(number).unwrap(), len + 2));
                let end = u32::try_from(request.len()).unwrap();
                points.push(MarkPoint { start, end, shape: *shape });
            }
            request.push(b'>');
            let ttl = |hour: bool| if hour { Ttl::OneHour } else { Ttl::FiveMinutes };
            let mut expected = request.clone();
            // From the end, so that the places in front of a mark stay what they are.
            for (point, (_, _, marked, hour)) in points.iter().zip(&blocks).rev() {
                if *marked {
                    expected = point.apply(&expected, ttl(*hour));
                }
            }
            let (a, b) = (cuts[0].index(request.len()), cuts[1].index(request.len()));
            let (a, b) = (a.min(b), a.max(b));
            // Levels in the order of the prompt, which can be another than that of the bytes.
            let mut order: Vec<usize> = (0..points.len()).collect();
            if turned {
                order.reverse();
            }
            let mut stored = Vec::new();
            order.iter().for_each(|place| encode_point(points[*place], &mut stored));
            let marks: Vec<_> = order
                .iter()
                .enumerate()
                .filter(|(_, place)| blocks[**place].2)
                .map(|(level, place)| RowMark {
                    group: 0,
                    level: u8::try_from(level).unwrap(),
                    ttl: ttl(blocks[*place].3),
                })
                .collect();
            let row = SpooledRow {
                meta: RowMeta::of(0, &request),
                key: b"1",
                points: &stored,
                parts: [&request[..a], &request[a..b], &request[b..]],
            };
            let marks = RowMarks::new(&marks);
            let mut out = Vec::new();
            row.write_request(marks, &mut out);
            prop_assert_eq!(&out, &expected);
            prop_assert_eq!(out.len() as u64, row.request_len(marks));
            out.clear();
            row.write_request(RowMarks::NONE, &mut out);
            prop_assert_eq!(&out, &request);
        }
    }
}
