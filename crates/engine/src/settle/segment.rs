//! Outcome segments: how every row of one shard ended, sorted by row. They are what survives between
//! settling a shard and writing the output.
//!
//! A segment is a magic number and where its answers are, then records: row (u64), kind (u8), and
//! either an answer that is kept elsewhere, or length (u32) and bytes of a finished output line, its
//! newline included; integers are little-endian. The first row therefore stands at a fixed place, so
//! that a merge can order thousands of segments before it opens them. Leaves out what a line says
//! (`line`) and the merge (`output`).

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use super::kept::{KEPT_LEN, Kept, KeptIn};
use crate::disk::Disk;
use crate::spool::create_file;

const MAGIC: &[u8; 8] = b"opseg\0\0\x02";

/// Magic number, and where the answers are.
const HEAD_LEN: usize = MAGIC.len() + 8;

/// Row and kind before each record.
const FRAME_LEN: usize = 9;

/// Bytes of a record that says where an answer is.
pub(super) const KEPT_FRAME_LEN: usize = FRAME_LEN + KEPT_LEN;

/// Buffer of a writer, in bytes.
const WRITE_BUFFER: usize = 64 * 1024;

/// Buffer of a reader, in bytes; a merge holds one per segment whose rows overlap.
const READ_BUFFER: usize = 64 * 1024;

const LINE: u8 = 1;
const KEPT: u8 = 2;

/// How a row ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// In an output line, newline included.
    Line(Vec<u8>),
    /// With an answer, of which the line is made when the output is.
    Kept(Kept),
}

/// Appends the record of a row whose line is finished; `line` appends the line's bytes.
pub(crate) fn frame_line(row: u64, out: &mut Vec<u8>, line: impl FnOnce(&mut Vec<u8>)) {
    frame(row, LINE, out);
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    line(out);
    let len = u32::try_from(out.len() - start - 4).expect("a line is far below 4 GiB");
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
}

/// Appends the record of a row whose answer is kept elsewhere.
pub(super) fn frame_kept(row: u64, kept: &Kept, out: &mut Vec<u8>) {
    frame(row, KEPT, out);
    kept.encode(out);
}

fn frame(row: u64, kind: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&row.to_le_bytes());
    out.push(kind);
}

/// The row of a record.
pub(super) fn row_of(framed: &[u8]) -> u64 {
    u64::from_le_bytes(*framed.first_chunk().expect("a record begins with its row"))
}

/// Writes a segment beside its place and moves it there when it is whole and on the disk.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    out: BufWriter<File>,
    temporary: PathBuf,
    path: PathBuf,
    disk: Disk,
}

impl SegmentWriter {
    /// Begins the segment that will be at `path`, replacing what is there.
    pub(crate) fn create(path: &Path, answers: KeptIn, disk: &Disk) -> io::Result<Self> {
        let temporary = path.with_extension("seg.tmp");
        let file = create_file(&temporary)?;
        let mut out = BufWriter::with_capacity(WRITE_BUFFER, file);
        out.write_all(MAGIC)?;
        out.write_all(&answers.encode())?;
        Ok(Self {
            out,
            temporary,
            path: path.to_owned(),
            disk: disk.clone(),
        })
    }

    /// Appends records made by `frame_line` or `frame_kept`; rows ascend over the whole segment.
    pub(crate) fn append(&mut self, framed: &[u8]) -> io::Result<()> {
        self.out.write_all(framed)
    }

    /// Makes the segment durable and gives it its name.
    pub(crate) fn finish(self) -> io::Result<()> {
        let file = self
            .out
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        self.disk.content(&file, &self.temporary)?;
        fs::rename(&self.temporary, &self.path)?;
        self.disk.name_of(&self.path)
    }
}

/// Reads a segment in the order of its rows.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    input: BufReader<File>,
    answers: KeptIn,
    next: Option<(u64, u8)>,
}

impl SegmentReader {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::buffered(path, READ_BUFFER)
    }

    /// The first row of a segment; `None` when it has no rows.
    pub(crate) fn first_row(path: &Path) -> io::Result<Option<u64>> {
        Self::buffered(path, HEAD_LEN + FRAME_LEN).map(|reader| reader.row())
    }

    fn buffered(path: &Path, capacity: usize) -> io::Result<Self> {
        let mut input = BufReader::with_capacity(capacity, File::open(path)?);
        let mut magic = [0; MAGIC.len()];
        input.read_exact(&mut magic)?;
        if magic != *MAGIC {
            return Err(damaged("not an outcome segment of this version"));
        }
        let mut answers = [0; 8];
        input.read_exact(&mut answers)?;
        let mut reader = Self {
            input,
            answers: KeptIn::decode(answers)
                .ok_or_else(|| damaged("nobody knows where its answers are"))?,
            next: None,
        };
        reader.read_frame()?;
        Ok(reader)
    }

    /// Where its answers are.
    pub(crate) fn answers(&self) -> KeptIn {
        self.answers
    }

    /// The row that comes next; `None` at the end.
    pub(crate) fn row(&self) -> Option<u64> {
        self.next.map(|(row, _)| row)
    }

    /// How the next row ended; moves on.
    pub(crate) fn read(&mut self) -> io::Result<Outcome> {
        let (row, kind) = self.next.ok_or_else(|| damaged("read past its last row"))?;
        let outcome = match kind {
            LINE => {
                let mut len = [0; 4];
                self.input.read_exact(&mut len)?;
                let len = u32::from_le_bytes(len);
                let mut line = Vec::new();
                // A damaged length must not make us ask for memory that no file fills.
                let read = (&mut self.input).take(len.into()).read_to_end(&mut line)?;
                if read != len as usize {
                    return Err(damaged("it ends within a record"));
                }
                Outcome::Line(line)
            }
            KEPT => {
                let mut kept = [0; KEPT_LEN];
                self.input.read_exact(&mut kept)?;
                Outcome::Kept(Kept::decode(&kept).ok_or_else(|| damaged("an unknown class"))?)
            }
            _ => return Err(damaged("an unknown kind of record")),
        };
        self.read_frame()?;
        if self.row().is_some_and(|next| next <= row) {
            return Err(damaged("its rows do not ascend"));
        }
        Ok(outcome)
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
        self.next = Some((row_of(&frame), frame[FRAME_LEN - 1]));
        Ok(())
    }
}

fn damaged(problem: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("damaged outcome segment: {problem}"),
    )
}
