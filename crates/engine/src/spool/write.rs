//! Writing the rows of a job, once and in their order.
//!
//! Leaves out checking them (`ingest`) and their index (`index`).

use std::io::{self, Write};
use std::thread::JoinHandle;

use offpeak_wire::splice::MarkPoint;

use super::frames::{FrameId, Learner};
use super::layout::{SpoolDir, create_file};
use super::row::{Extent, RowAt, RowMeta, encode, encode_point};
use crate::behind::Behind;

/// A segment is closed before it grows beyond this, unless a single row is larger. Small enough for
/// one to be made durable while the next is written.
const SEGMENT_MAX: u64 = 64 << 20;

/// Bytes written at once.
const BUFFER: usize = 1 << 20;

/// Writes rows into segments.
#[derive(Debug)]
pub struct SpoolWriter {
    dir: SpoolDir,
    learner: Learner,
    buffer: Vec<u8>,
    segment: Option<Segment>,
    next_segment: u32,
    syncing: Option<JoinHandle<io::Result<()>>>,
    written: u64,
    segment_max: u64,
}

/// A row to be written, but for its request.
#[derive(Debug, Clone, Copy)]
pub struct RowHead<'a> {
    /// What is known of it.
    pub meta: &'a RowMeta,
    /// The user's key as a raw JSON scalar.
    pub key: &'a [u8],
    /// The places where cache marks may stand, in the order of the prompt.
    pub points: &'a [MarkPoint],
}

#[derive(Debug)]
struct Segment {
    file: Behind,
    number: u32,
    len: u64,
}

impl SpoolWriter {
    /// Begins the rows of a job. The directories must exist ([`SpoolDir::create`]); rows of an
    /// earlier, unfinished attempt are replaced.
    ///
    /// # Errors
    ///
    /// Never yet; files are made when there is something to write.
    pub fn create(dir: &SpoolDir) -> io::Result<Self> {
        Ok(Self::with_segments(dir, SEGMENT_MAX))
    }

    pub(super) fn with_segments(dir: &SpoolDir, segment_max: u64) -> Self {
        Self {
            dir: dir.clone(),
            learner: Learner::default(),
            buffer: Vec::with_capacity(BUFFER),
            segment: None,
            next_segment: 0,
            syncing: None,
            written: 0,
            segment_max,
        }
    }

    /// Makes a frame that is known beforehand; `None` when it would not save enough.
    pub fn define_frame(&mut self, head: &[u8], tail: &[u8]) -> Option<FrameId> {
        self.learner.define(head, tail)
    }

    /// Appends a row; `request` is the exact bytes, of the length and digest that its head says. Rows
    /// with one `kin` are first looked at for what they share.
    ///
    /// # Errors
    ///
    /// When the disk does not take it.
    pub fn append(&mut self, row: RowHead<'_>, kin: u64, request: &[u8]) -> io::Result<RowAt> {
        debug_assert_eq!(request.len(), row.meta.request_len as usize);
        let frame = self.learner.fit(kin, request);
        let middle = match frame.and_then(|id| self.learner.frames.get(id)) {
            Some(frame) => {
                let head = frame.head.len();
                head..head + frame.middle(request).len()
            }
            None => 0..request.len(),
        };
        self.put(row, frame, &request[middle])
    }

    /// Appends a row whose request is `middle` between head and tail of a frame.
    ///
    /// # Errors
    ///
    /// As [`SpoolWriter::append`].
    pub fn append_framed(
        &mut self,
        row: RowHead<'_>,
        frame: FrameId,
        middle: &[u8],
    ) -> io::Result<RowAt> {
        self.put(row, Some(frame), middle)
    }

    /// Bytes written so far, frames not counted.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Makes everything durable; returns the bytes on disk.
    ///
    /// # Errors
    ///
    /// When the disk does not take it.
    pub fn finish(mut self) -> io::Result<u64> {
        self.close_segment()?;
        self.join_sync()?;
        let frames = self.learner.frames.save(&self.dir)?;
        let disk = self.dir.disk();
        disk.names(&self.dir.root().join("rows"))?;
        disk.names(self.dir.root())?;
        Ok(self.written + frames)
    }

    fn put(
        &mut self,
        row: RowHead<'_>,
        frame: Option<FrameId>,
        middle: &[u8],
    ) -> io::Result<RowAt> {
        let RowHead { meta, key, points } = row;
        let len = |bytes: &[u8]| {
            u32::try_from(bytes.len()).map_err(|_| io::Error::other("a row is beyond 4 GiB"))
        };
        let extent = Extent {
            frame,
            key_len: len(key)?,
            points: u16::try_from(points.len()).expect("levels of a prompt are few"),
            middle_len: len(middle)?,
        };
        let record = extent.record_len();
        if self
            .segment
            .as_ref()
            .is_some_and(|s| s.len + record > self.segment_max)
        {
            self.close_segment()?;
        }
        let segment = match &mut self.segment {
            Some(segment) => segment,
            none => {
                let number = self.next_segment;
                self.next_segment += 1;
                let path = self.dir.segment(number);
                let file = Behind::new(create_file(&path)?, path, self.dir.disk().clone())?;
                none.insert(Segment {
                    file,
                    number,
                    len: 0,
                })
            }
        };
        let offset = u32::try_from(segment.len).expect("a segment is closed long before 4 GiB");
        let at = RowAt::new(segment.number, offset);
        encode(meta, extent, &mut self.buffer);
        self.buffer.extend_from_slice(key);
        for point in points {
            encode_point(*point, &mut self.buffer);
        }
        self.buffer.extend_from_slice(middle);
        segment.len += record;
        self.written += record;
        if self.buffer.len() >= BUFFER {
            segment.file.write_all(&self.buffer)?;
            self.buffer.clear();
            self.buffer.shrink_to(4 * BUFFER);
        }
        Ok(at)
    }

    fn close_segment(&mut self) -> io::Result<()> {
        let Some(mut segment) = self.segment.take() else {
            return Ok(());
        };
        segment.file.write_all(&self.buffer)?;
        self.buffer.clear();
        self.join_sync()?;
        self.syncing = Some(std::thread::spawn(move || segment.file.finish()));
        Ok(())
    }

    fn join_sync(&mut self) -> io::Result<()> {
        match self.syncing.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(synced)) => synced,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}
