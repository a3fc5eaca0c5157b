//! Frames: what many requests begin and end with, kept once.
//!
//! A request of a batch usually repeats kilobytes of tools and system prompt; a row that fits a
//! frame keeps only the bytes between. Frames are learned from the rows alone, in their order, so the
//! same input always makes the same spool. Leaves out which rows are kin, because they share tools and
//! system prompt (`ingest`): here that is only the place to look first.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io::{self, Write};

use super::SpoolError;
use super::layout::{SpoolDir, create_file};

/// A shared head and tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameId(pub(super) u32);

/// Fewer shared bytes are not worth a frame.
pub(super) const SHARED_MIN: usize = 256;

/// Frames of one job.
const FRAMES_MAX: usize = 4096;

/// Bytes of all frames of one job; readers hold them in memory.
const FRAMES_BYTES_MAX: usize = 24 << 20;

/// Rows without a frame that are remembered, to be compared with the next of their kin.
const SAMPLES_MAX: usize = 16;

/// Bytes of all remembered rows.
const SAMPLES_BYTES_MAX: usize = 8 << 20;

const MAGIC: &[u8; 8] = b"opframe\x01";

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) head: Box<[u8]>,
    pub(super) tail: Box<[u8]>,
}

impl Frame {
    fn shared(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    fn fits(&self, request: &[u8]) -> bool {
        self.shared() <= request.len()
            && request.starts_with(&self.head)
            && request.ends_with(&self.tail)
    }

    /// What remains of `request` between head and tail.
    pub(super) fn middle<'a>(&self, request: &'a [u8]) -> &'a [u8] {
        &request[self.head.len()..request.len() - self.tail.len()]
    }

    /// What two requests share.
    fn between(one: &[u8], other: &[u8]) -> Self {
        let head = common_prefix(one, other);
        let tail = common_suffix(&one[head..], &other[head..]);
        Self {
            head: one[..head].into(),
            tail: one[one.len() - tail..].into(),
        }
    }

    /// What this frame shares with a request.
    fn shrunk_to(&self, request: &[u8]) -> Self {
        let head = common_prefix(&self.head, request);
        let tail = common_suffix(&self.tail, &request[head..]);
        Self {
            head: self.head[..head].into(),
            tail: self.tail[self.tail.len() - tail..].into(),
        }
    }
}

/// Equal bytes at the beginning. Blocks first: comparing byte by byte is many times slower.
fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    const BLOCK: usize = 64;
    let blocks = one.chunks_exact(BLOCK).zip(other.chunks_exact(BLOCK));
    let whole = BLOCK * blocks.take_while(|(a, b)| a == b).count();
    whole
        + one[whole..]
            .iter()
            .zip(&other[whole..])
            .take_while(|(a, b)| a == b)
            .count()
}

/// Equal bytes at the end.
fn common_suffix(one: &[u8], other: &[u8]) -> usize {
    const BLOCK: usize = 64;
    let blocks = one.rchunks_exact(BLOCK).zip(other.rchunks_exact(BLOCK));
    let whole = BLOCK * blocks.take_while(|(a, b)| a == b).count();
    let (one, other) = (&one[..one.len() - whole], &other[..other.len() - whole]);
    whole
        + one
            .iter()
            .rev()
            .zip(other.iter().rev())
            .take_while(|(a, b)| a == b)
            .count()
}

/// The frames of a spool.
#[derive(Debug, Default)]
pub(super) struct Frames(Vec<Frame>);

impl Frames {
    pub(super) fn get(&self, id: FrameId) -> Option<&Frame> {
        self.0.get(id.0 as usize)
    }

    /// Writes all frames and makes them durable; returns their bytes.
    pub(super) fn save(&self, dir: &SpoolDir) -> io::Result<u64> {
        let mut bytes = MAGIC.to_vec();
        for frame in &self.0 {
            for part in [&frame.head, &frame.tail] {
                let len = u32::try_from(part.len()).expect("frames are few megabytes together");
                bytes.extend_from_slice(&len.to_le_bytes());
                bytes.extend_from_slice(part);
            }
        }
        let path = dir.frames();
        let mut file = create_file(&path)?;
        file.write_all(&bytes)?;
        dir.disk().content(&file, &path)?;
        Ok(bytes.len() as u64)
    }

    pub(super) fn load(dir: &SpoolDir) -> Result<Self, SpoolError> {
        let path = dir.frames();
        let bytes = fs::read(&path).map_err(SpoolError::io(&path))?;
        let mut rest = bytes.strip_prefix(MAGIC).ok_or_else(|| {
            SpoolError::damaged(&path, 0, "not the frames of a spool of this version")
        })?;
        let mut frames = Vec::new();
        while !rest.is_empty() {
            let mut part = || {
                let (len, after) = rest.split_first_chunk()?;
                let (part, after) = after.split_at_checked(u32::from_le_bytes(*len) as usize)?;
                rest = after;
                Some(part.into())
            };
            match part().zip(part()) {
                Some((head, tail)) => frames.push(Frame { head, tail }),
                None => {
                    let offset = (bytes.len() - rest.len()) as u64;
                    return Err(SpoolError::damaged(&path, offset, "a frame is cut off"));
                }
            }
        }
        Ok(Self(frames))
    }
}

/// Finds the frame of each row, and makes new ones from what kindred rows share.
#[derive(Debug, Default)]
pub(super) struct Learner {
    pub(super) frames: Frames,
    bytes: usize,
    /// The frames that rows of a kind have fitted; the last one that did comes first.
    of_kin: HashMap<u64, Vec<FrameId>>,
    samples: VecDeque<(u64, Box<[u8]>)>,
    sample_bytes: usize,
}

impl Learner {
    /// The frame to keep a request in, if any.
    pub(super) fn fit(&mut self, kin: u64, request: &[u8]) -> Option<FrameId> {
        if request.len() < SHARED_MIN {
            return None;
        }
        if let Some(candidates) = self.of_kin.get_mut(&kin) {
            let fits = |id: &FrameId| self.frames.get(*id).is_some_and(|f| f.fits(request));
            if let Some(found) = candidates.iter().position(fits) {
                candidates[..=found].rotate_right(1);
                return candidates.first().copied();
            }
        }
        self.shrink(kin, request)
            .or_else(|| self.learn(kin, request))
    }

    /// Adds a frame that is known beforehand, if it saves enough.
    pub(super) fn define(&mut self, head: &[u8], tail: &[u8]) -> Option<FrameId> {
        self.add(Frame {
            head: head.into(),
            tail: tail.into(),
        })
    }

    /// The two rows a frame was made of may share more than all their kin. A row that shares most
    /// of it makes a better one; a row that shares little is of another kind.
    fn shrink(&mut self, kin: u64, request: &[u8]) -> Option<FrameId> {
        let newest = *self.of_kin.get(&kin)?.first()?;
        let old = self.frames.get(newest)?;
        let shrunk = old.shrunk_to(request);
        if shrunk.shared() < old.shared() / 4 * 3 {
            return None;
        }
        self.add_for(kin, shrunk)
    }

    fn learn(&mut self, kin: u64, request: &[u8]) -> Option<FrameId> {
        let shared = self
            .samples
            .iter()
            .enumerate()
            .filter(|(_, (of, _))| *of == kin)
            .map(|(index, (_, sample))| (index, Frame::between(sample, request)))
            .max_by_key(|(_, frame)| frame.shared());
        if let Some((index, frame)) = shared
            && let Some(id) = self.add_for(kin, frame)
        {
            self.forget(index);
            return Some(id);
        }
        self.remember(kin, request);
        None
    }

    fn add_for(&mut self, kin: u64, frame: Frame) -> Option<FrameId> {
        let id = self.add(frame)?;
        self.of_kin.entry(kin).or_default().insert(0, id);
        Some(id)
    }

    fn add(&mut self, frame: Frame) -> Option<FrameId> {
        let bytes = frame.shared();
        if bytes < SHARED_MIN
            || self.bytes + bytes > FRAMES_BYTES_MAX
            || self.frames.0.len() == FRAMES_MAX
        {
            return None;
        }
        self.bytes += bytes;
        let id = u32::try_from(self.frames.0.len()).ok().map(FrameId)?;
        self.frames.0.push(frame);
        Some(id)
    }

    fn remember(&mut self, kin: u64, request: &[u8]) {
        if request.len() > SAMPLES_BYTES_MAX || self.frames.0.len() == FRAMES_MAX {
            return;
        }
        while self.samples.len() >= SAMPLES_MAX
            || self.sample_bytes + request.len() > SAMPLES_BYTES_MAX
        {
            self.forget(0);
        }
        self.sample_bytes += request.len();
        self.samples.push_back((kin, request.into()));
    }

    fn forget(&mut self, index: usize) {
        if let Some((_, sample)) = self.samples.remove(index) {
            self.sample_bytes -= sample.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kept(requests: &[(u64, Vec<u8>)]) -> (Learner, Vec<usize>) {
        let mut learner = Learner::default();
        let kept = requests
            .iter()
            .map(|(kin, request)| match learner.fit(*kin, request) {
                Some(id) => learner.frames.get(id).unwrap().middle(request).len(),
                None => request.len(),
            });
        let kept = kept.collect();
        (learner, kept)
    }

    #[test]
    fn a_long_preamble_is_kept_once_even_when_the_first_rows_share_more() {
        let preamble = "p".repeat(1000);
        let texts = ["The cat", "The cow", "A dog", "Birds", "Two fish"];
        let requests: Vec<_> = texts
            .iter()
            .map(|text| (0, format!("{preamble}{text}\"}}").into_bytes()))
            .collect();
        let (learner, kept) = kept(&requests);
        assert_eq!(kept, [1009, 2, 5, 5, 8]);
        assert_eq!(learner.frames.0.len(), 2);
    }

    #[test]
    fn kinds_that_take_turns_keep_their_own_frames() {
        let request = |kin: u64, row: usize| {
            let letter = char::from(b'a' + u8::try_from(kin).unwrap());
            (
                kin,
                format!("{}{row}", String::from(letter).repeat(600)).into_bytes(),
            )
        };
        let requests: Vec<_> = (0..20)
            .flat_map(|row| (0..8).map(move |kin| request(kin, row)))
            .collect();
        let (_, kept) = kept(&requests);
        assert!(kept[..8].iter().all(|len| *len > 600));
        assert!(kept[8..].iter().all(|len| *len < 600));
    }

    proptest! {
        #[test]
        fn equal_ends_are_found_to_the_byte(
            head in prop::collection::vec(0u8..2, 0..200),
            tail in prop::collection::vec(0u8..2, 0..200),
            one in prop::collection::vec(0u8..2, 0..5),
            other in prop::collection::vec(0u8..2, 0..5),
        ) {
            let one = [&head[..], &one, &tail].concat();
            let other = [&head[..], &other, &tail].concat();
            let slow = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
            prop_assert_eq!(common_prefix(&one, &other), slow);
            let slow = one.iter().rev().zip(other.iter().rev()).take_while(|(a, b)| a == b).count();
            prop_assert_eq!(common_suffix(&one, &other), slow);
            let frame = Frame::between(&one, &other);
            prop_assert!(frame.fits(&one) && frame.fits(&other));
        }
    }
}
