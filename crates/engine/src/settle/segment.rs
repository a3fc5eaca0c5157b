//! Outcome segments: the finished output lines of one shard, sorted by row. They are what survives
//! between settling a shard and writing the output.
//!
//! A segment is a magic number, then records of row (u64), length (u32) and that many bytes of line,
//! its newline included; integers are little-endian. The first row therefore stands at a fixed
//! place, so that a merge can order thousands of segments before it opens them. Leaves out what a
//! line says (`line`) and the merge (`output`).

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use crate::spool::{create_file, sync_dir};

const MAGIC: &[u8; 8] = b"opseg\0\0\x01";

/// Row and length before each line.
const FRAME_LEN: usize = 12;

/// Buffer of a writer, in bytes: for those who append single lines. Whole chunks pass it by.
const WRITE_BUFFER: usize = 64 * 1024;

/// Buffer of a reader, in bytes; a merge holds one per segment whose rows overlap.
const READ_BUFFER: usize = 256 * 1024;

/// Appends one record; `line` appends the line's bytes, newline included.
pub(crate) fn frame(row: u64, out: &mut Vec<u8>, line: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&row.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    line(out);
    let len = out.len() - start - FRAME_LEN;
    let len = u32::try_from(len).expect("the API caps an answer far below 4 GiB");
    out[start + 8..start + FRAME_LEN].copy_from_slice(&len.to_le_bytes());
}

/// Writes a segment beside its place and moves it there when it is whole and on the disk.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    out: BufWriter<File>,
    temporary: PathBuf,
    path: PathBuf,
}

impl SegmentWriter {
    /// Begins the segment that will be at `path`, replacing what is there.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let temporary = path.with_extension("seg.tmp");
        let file = create_file(&temporary)?;
        let mut out = BufWriter::with_capacity(WRITE_BUFFER, file);
        out.write_all(MAGIC)?;
        Ok(Self {
            out,
            temporary,
            path: path.to_owned(),
        })
    }

    /// Appends records made by [`frame`]; rows ascend over the whole segment.
    pub(crate) fn append(&mut self, framed: &[u8]) -> io::Result<()> {
        self.out.write_all(framed)
    }

    /// Makes the segment durable and gives it its name.
    pub(crate) fn finish(self) -> io::Result<()> {
        let file = self
            .out
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(&self.temporary, &self.path)?;
        sync_dir(self.path.parent().unwrap_or(&self.path))
    }
}

/// Reads a segment in the order of its rows.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    input: BufReader<File>,
    next: Option<(u64, u32)>,
}

impl SegmentReader {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::buffered(path, READ_BUFFER)
    }

    /// The first row of a segment; `None` when it has no rows.
    pub(crate) fn first_row(path: &Path) -> io::Result<Option<u64>> {
        Self::buffered(path, MAGIC.len() + FRAME_LEN).map(|reader| reader.row())
    }

    fn buffered(path: &Path, capacity: usize) -> io::Result<Self> {
        let mut input = BufReader::with_capacity(capacity, File::open(path)?);
        let mut magic = [0; MAGIC.len()];
        input.read_exact(&mut magic)?;
        if magic != *MAGIC {
            return Err(damaged("not an outcome segment of this version"));
        }
        let mut reader = Self { input, next: None };
        reader.read_frame()?;
        Ok(reader)
    }

    /// The row whose line comes next; `None` at the end.
    pub(crate) fn row(&self) -> Option<u64> {
        self.next.map(|(row, _)| row)
    }

    /// Replaces `line` by the next line and moves on.
    pub(crate) fn read_line(&mut self, line: &mut Vec<u8>) -> io::Result<()> {
        let (row, len) = self.next.ok_or_else(|| damaged("read past its last row"))?;
        line.clear();
        line.resize(len as usize, 0);
        self.input.read_exact(line)?;
        self.read_frame()?;
        if self.row().is_some_and(|next| next <= row) {
            return Err(damaged("its rows do not ascend"));
        }
        Ok(())
    }

    fn read_frame(&mut self) -> io::Result<()> {
        let mut frame = [0; FRAME_LEN];
        let mut filled = 0;
        while filled < FRAME_LEN {
            match self.input.read(&mut frame[filled..])? {
                0 if filled == 0 => {
                    self.next = None;
                    return Ok(());
                }
                0 => return Err(damaged("it ends within a record")),
                read => filled += read,
            }
        }
        let (row, len) = frame.split_at(8);
        let row = row.try_into().map(u64::from_le_bytes);
        let len = len.try_into().map(u32::from_le_bytes);
        self.next = row.ok().zip(len.ok());
        Ok(())
    }
}

fn damaged(problem: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("damaged outcome segment: {problem}"),
    )
}
