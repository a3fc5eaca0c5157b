//! Outcome segments: how every row of one shard ended, sorted by row. They are what survives between
//! settling a shard and writing the output.
//!
//! A segment is a magic number and where its answers are, then records: row (u64), kind (u8), and
//! either an answer that is kept elsewhere, or length (u32) and bytes of a finished output line, its
//! newline included, or whose answer (or line) the row has as well; integers are little-endian. The first row therefore stands at a fixed place, so
//! that a merge can order thousands of segments before it opens them. Leaves out what a line says
//! (`line`) and the merge (`output`).

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use super::kept::{KEPT_LEN, Kept, KeptIn};
use crate::disk::Disk;
use crate::spool::{RowAt, create_file};

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

/// Buffer of a reader that is sent here and there, in bytes.
const GLANCE: usize = 4 * 1024;

/// Bytes of a row whose answer another has.
const SHARED_LEN: usize = 24;

/// Bytes of what is known of the row that an earlier run has answered.
const ORIGIN_LEN: usize = 20;

const LINE: u8 = 1;
const KEPT: u8 = 2;
const SHARED: u8 = 3;
const EARLIER: u8 = 4;
const EARLIER_LINE: u8 = 5;

/// How a row ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// In an output line, newline included.
    Line(Vec<u8>),
    /// With an answer, of which the line is made when the output is.
    Kept(Kept),
    /// As the row did whose request is the same.
    Shared(Shared),
    /// With the answer of an earlier run.
    Earlier(Kept, Origin),
    /// As it did in an earlier run, without an answer.
    EarlierLine(EarlierLine),
}

/// A row that was not sent, because an earlier row of the job makes the same request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shared {
    /// Where it is.
    pub(crate) at: RowAt,
    /// The row that was sent.
    pub(crate) of: u64,
    /// Where that is.
    pub(crate) of_at: RowAt,
}

/// The row that was answered and paid in an earlier run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The run, of the same name.
    pub(crate) run: u32,
    /// The row in it.
    pub(crate) row: u64,
    /// Where that was in its spool, which may be gone.
    pub(crate) at: RowAt,
}

/// A row that was not sent, because an earlier run has shown that there is no answer to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EarlierLine {
    /// Where it is.
    pub(crate) at: RowAt,
    /// The row that failed.
    pub(crate) origin: Origin,
    /// Its output line, newline included.
    pub(crate) line: Vec<u8>,
}

impl Shared {
    fn decode(bytes: &[u8; SHARED_LEN]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        let [at, of, of_at] = [0, 1, 2].map(|word| u64::from_le_bytes(words[word]));
        Self {
            at: RowAt(at),
            of,
            of_at: RowAt(of_at),
        }
    }
}

impl Origin {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.row.to_le_bytes());
        out.extend_from_slice(&self.at.0.to_le_bytes());
        out.extend_from_slice(&self.run.to_le_bytes());
    }

    fn decode(bytes: &[u8; ORIGIN_LEN]) -> Self {
        let (words, run) = bytes.as_chunks::<8>();
        let run = run.first_chunk().expect("four bytes are left");
        Self {
            run: u32::from_le_bytes(*run),
            row: u64::from_le_bytes(words[0]),
            at: RowAt(u64::from_le_bytes(words[1])),
        }
    }
}

/// Appends the record of a row whose line is finished; `line` appends the line's bytes.
pub(crate) fn frame_line(row: u64, out: &mut Vec<u8>, line: impl FnOnce(&mut Vec<u8>)) {
    frame(row, LINE, out);
    put_line(out, line);
}

fn put_line(out: &mut Vec<u8>, line: impl FnOnce(&mut Vec<u8>)) {
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

/// Appends the record of a row that shares the answer of another.
pub(crate) fn frame_shared(row: u64, shared: &Shared, out: &mut Vec<u8>) {
    frame(row, SHARED, out);
    for number in [shared.at.0, shared.of, shared.of_at.0] {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

/// Appends the record of a row that an earlier run has answered.
pub(crate) fn frame_earlier(row: u64, kept: &Kept, from: &Origin, out: &mut Vec<u8>) {
    frame(row, EARLIER, out);
    kept.encode(out);
    from.encode(out);
}

/// Appends the record of a row that failed in an earlier run for good; `line` appends its line.
pub(crate) fn frame_earlier_line(
    row: u64,
    at: RowAt,
    from: &Origin,
    out: &mut Vec<u8>,
    line: impl FnOnce(&mut Vec<u8>),
) {
    frame(row, EARLIER_LINE, out);
    out.extend_from_slice(&at.0.to_le_bytes());
    from.encode(out);
    put_line(out, line);
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

    /// Appends framed records; rows ascend over the whole segment.
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
    /// Where the next record begins.
    at: u64,
    /// Bytes that were read.
    read: u64,
}

impl SegmentReader {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::buffered(path, READ_BUFFER)
    }

    /// The first row of a segment; `None` when it has no rows.
    pub(crate) fn first_row(path: &Path) -> io::Result<Option<u64>> {
        Self::buffered(path, HEAD_LEN + FRAME_LEN).map(|reader| reader.row())
    }

    /// Opens a segment whose records are read here and there.
    pub(crate) fn glance(path: &Path) -> io::Result<Self> {
        Self::buffered(path, GLANCE)
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
            at: HEAD_LEN as u64,
            read: HEAD_LEN as u64,
        };
        reader.read_frame()?;
        Ok(reader)
    }

    /// Where the record of the next row begins.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Goes to the record that begins there.
    pub(crate) fn go_to(&mut self, at: u64) -> io::Result<()> {
        let by = i128::from(at) - i128::from(self.read);
        let by = i64::try_from(by).map_err(|_| damaged("a record is beyond its end"))?;
        self.input.seek_relative(by)?;
        (self.at, self.read) = (at, at);
        self.read_frame()
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
            LINE => Outcome::Line(self.line()?),
            KEPT => Outcome::Kept(self.kept()?),
            SHARED => Outcome::Shared(Shared::decode(&self.bytes()?)),
            EARLIER => Outcome::Earlier(self.kept()?, Origin::decode(&self.bytes()?)),
            EARLIER_LINE => Outcome::EarlierLine(EarlierLine {
                at: RowAt(u64::from_le_bytes(self.bytes()?)),
                origin: Origin::decode(&self.bytes()?),
                line: self.line()?,
            }),
            _ => return Err(damaged("an unknown kind of record")),
        };
        self.read_frame()?;
        if self.row().is_some_and(|next| next <= row) {
            return Err(damaged("its rows do not ascend"));
        }
        Ok(outcome)
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        let len = u32::from_le_bytes(self.bytes()?);
        let mut line = Vec::new();
        // A damaged length must not make us ask for memory that no file fills.
        let read = (&mut self.input).take(len.into()).read_to_end(&mut line)?;
        if read != len as usize {
            return Err(damaged("it ends within a record"));
        }
        self.read += u64::from(len);
        Ok(line)
    }

    fn kept(&mut self) -> io::Result<Kept> {
        Kept::decode(&self.bytes()?).ok_or_else(|| damaged("an unknown class"))
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        self.read += N as u64;
        Ok(bytes)
    }

    fn read_frame(&mut self) -> io::Result<()> {
        self.at = self.read;
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
        self.read += FRAME_LEN as u64;
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
