//! The output file: the outcome segments of a job merged by row, their lines made, written beside its
//! place and moved there when it is whole. Every row comes out exactly once and in input order, or no
//! file appears.
//!
//! Leaves out what a line says (`settle::line`) and when all shards are settled (the driver).

mod compose;
mod leaders;
mod merge;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use crate::behind::Behind;
use crate::reuse::Reused;
use crate::spool::{SpoolDir, SpoolError};
pub(crate) use compose::read_at;
use compose::{Composer, Lines};
use merge::{Batch, Merge, Trouble};

/// Buffer of an existing file that is compared, in bytes.
const READ_BUFFER: usize = 1024 * 1024;

/// Batches of rows, and of lines, that wait for the next who works on them.
const WAITING_MAX: usize = 2;

/// An output file that is in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Lines.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// BLAKE3 of the bytes.
    pub digest: [u8; 32],
    /// What the rows came to that were not sent.
    pub reused: Reused,
}

/// An output that could not be written. What was paid for is still in the spool.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// Another file has the name.
    #[error("{}: the file exists already", path.display())]
    Exists {
        /// The output.
        path: PathBuf,
    },
    /// The segments do not hold every row exactly once. A bug, or a damaged spool.
    #[error("the outcomes cannot be proved complete: {}", describe(*wanted, *found, *rows))]
    Count {
        /// The row that had to come next; `rows` when all had come.
        wanted: u64,
        /// The row that came instead; `None` for the end.
        found: Option<u64>,
        /// Rows of the job.
        rows: u64,
    },
    /// No space left.
    #[error("{}: no space left after {written} bytes", path.display())]
    DiskFull {
        /// The output.
        path: PathBuf,
        /// Bytes of it that had found a place; they are removed again.
        written: u64,
    },
    /// The rows cannot be read.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The file system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// The output, or the file of outcomes or answers that could not be read.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl OutputError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Exists { .. } => "name another output with `-o`, or add `--overwrite`",
            Self::Count { .. } | Self::Spool(_) => {
                "the spool is damaged or this is a bug: keep the job's directory and report it"
            }
            Self::DiskFull { .. } => {
                "nothing is lost: free some space or name an output on another disk with `-o`, \
                 and run the same command again; no call is paid twice"
            }
            Self::Io { .. } => "repair what the message names and run the same command again",
        }
    }
}

fn describe(wanted: u64, found: Option<u64>, rows: u64) -> String {
    match found {
        Some(row) if row < wanted => format!("row {row} has two outcomes"),
        Some(row) if row >= rows => {
            format!("row {row} has an outcome, but the job has {rows} rows")
        }
        _ => format!("row {wanted} of {rows} has no outcome"),
    }
}

/// Merges all outcome segments of a job of `rows` rows into `out`.
///
/// An existing file is left alone unless `overwrite`. There is one exception: if it already holds
/// exactly this output, as after a crash between the two last steps of a job, that is success.
///
/// # Errors
///
/// When the outcomes are not complete, or the file cannot be written. Then `out` is as it was.
pub fn write_output(
    spool: &SpoolDir,
    rows: u64,
    out: &Path,
    overwrite: bool,
) -> Result<Output, OutputError> {
    let work = Work::open(spool, rows).map_err(|error| error.for_user(out, rows, 0))?;
    if !overwrite && fs::symlink_metadata(out).is_ok() {
        return already_there(work, out);
    }
    let io_error = |source| OutputError::Io {
        path: out.to_owned(),
        source,
    };
    let temporary = Temporary {
        path: temporary_beside(out, spool).map_err(io_error)?,
    };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&temporary.path)
        .map_err(io_error)?;
    let disk = spool.disk();
    let file = Behind::new(file, temporary.path.clone(), disk.clone()).map_err(io_error)?;
    let (output, file) = fill(work, out, file)?;
    file.finish()
        .map_err(|source| Trouble::Write(source).for_user(out, rows, output.bytes))?;
    temporary.place(out, overwrite)?;
    disk.name_of(out).map_err(io_error)?;
    Ok(output)
}

/// Makes the output of a job again, and only says what it would be.
///
/// # Errors
///
/// When the outcomes are not complete or cannot be read.
pub(crate) fn compose_again(spool: &SpoolDir, rows: u64) -> Result<Output, OutputError> {
    let work = Work::open(spool, rows).map_err(|error| error.for_user(spool.root(), rows, 0))?;
    fill(work, spool.root(), io::sink()).map(|(output, _)| output)
}

/// The BLAKE3 of a file.
pub(crate) fn digest_of(path: &Path) -> io::Result<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize().into())
}

/// The one place where lines meet the output: any writer, so that a full disk can be had in a test.
fn fill<W: Write>(work: Work, path: &Path, out: W) -> Result<(Output, W), OutputError> {
    let rows = work.merge.rows();
    let mut hashed = Hashed {
        out,
        hasher: blake3::Hasher::new(),
        bytes: 0,
    };
    match work.run(&mut hashed) {
        Ok(reused) => {
            let digest = hashed.hasher.finalize().into();
            let bytes = hashed.bytes;
            let output = Output {
                rows,
                bytes,
                digest,
                reused,
            };
            Ok((output, hashed.out))
        }
        Err(error) => Err(error.for_user(path, rows, hashed.bytes)),
    }
}

/// Those who make an output: rows are put into order, lines are made of them, and lines are written,
/// at the same time. Batch k goes to maker k of n, k + n, k + 2n, …, which keeps their order.
#[derive(Debug)]
struct Work {
    merge: Merge,
    makers: Vec<Composer>,
}

/// One maker is slower than a good disk, two are not.
const MAKERS: usize = 2;

impl Work {
    fn open(spool: &SpoolDir, rows: u64) -> Result<Self, Trouble> {
        Ok(Self {
            merge: Merge::open(spool, rows)?,
            makers: (0..MAKERS).map(|_| Composer::new(spool)).collect(),
        })
    }

    fn run(self, out: &mut impl Write) -> Result<Reused, Trouble> {
        let Self { mut merge, makers } = self;
        let rows = merge.rows();
        thread::scope(|scope| {
            let (mut inboxes, mut made) = (Vec::new(), Vec::new());
            for mut maker in makers {
                let (inbox, batches) = mpsc::sync_channel(WAITING_MAX);
                let (outbox, lines) = mpsc::sync_channel(WAITING_MAX);
                let (used, spare) = mpsc::sync_channel(WAITING_MAX);
                scope.spawn(move || make_lines(&mut maker, &batches, &outbox, &spare));
                inboxes.push(inbox);
                made.push((lines, used));
            }
            scope.spawn(move || {
                let batches = std::iter::from_fn(|| merge.batch().transpose());
                // Nobody listens any more only if something failed.
                let _ = inboxes
                    .iter()
                    .cycle()
                    .zip(batches)
                    .try_for_each(|(inbox, batch)| inbox.send(batch).map_err(drop));
            });
            write_lines(rows, &made, out)
        })
    }
}

fn make_lines(
    maker: &mut Composer,
    batches: &Receiver<Result<Batch, Trouble>>,
    made: &SyncSender<Result<Lines, Trouble>>,
    spare: &Receiver<Lines>,
) {
    for batch in batches {
        let mut lines = spare.try_recv().unwrap_or_default();
        let lines = batch
            .and_then(|batch| maker.compose(batch, &mut lines))
            .map(|()| lines);
        let failed = lines.is_err();
        if made.send(lines).is_err() || failed {
            return;
        }
    }
}

/// The lines of one maker, and the way back for buffers that were used.
type Made = (Receiver<Result<Lines, Trouble>>, SyncSender<Lines>);

fn write_lines(rows: u64, made: &[Made], out: &mut impl Write) -> Result<Reused, Trouble> {
    let (mut written, mut reused) = (0, Reused::default());
    for (made, used) in made.iter().cycle() {
        // The first who has nothing for his turn tells the end.
        let Ok(lines) = made.recv() else { break };
        let lines = lines?;
        out.write_all(&lines.text).map_err(Trouble::Write)?;
        written += lines.rows;
        reused.add(&lines.reused);
        // A buffer that is not needed again may go.
        let _ = used.try_send(lines);
    }
    out.flush().map_err(Trouble::Write)?;
    // Counted at both ends, so that nothing can be lost in between.
    if written == rows {
        return Ok(reused);
    }
    Err(Trouble::Count {
        wanted: written,
        found: None,
    })
}

/// Succeeds if the file at `path` is, byte for byte, what would be written.
fn already_there(work: Work, path: &Path) -> Result<Output, OutputError> {
    let io_error = |source| OutputError::Io {
        path: path.to_owned(),
        source,
    };
    let exists = || OutputError::Exists {
        path: path.to_owned(),
    };
    if !fs::metadata(path).is_ok_and(|meta| meta.is_file()) {
        return Err(exists());
    }
    let existing = BufReader::with_capacity(READ_BUFFER, File::open(path).map_err(io_error)?);
    let (output, mut compared) = fill(
        work,
        path,
        Compare {
            existing,
            theirs: Vec::new(),
        },
    )?;
    match compared.existing.read(&mut [0]).map_err(io_error)? {
        0 => Ok(output),
        _ => Err(exists()),
    }
}

/// A writer that writes nothing: it fails at the first byte that the existing file has otherwise.
struct Compare<R> {
    existing: R,
    theirs: Vec<u8>,
}

impl<R: Read> Write for Compare<R> {
    fn write(&mut self, ours: &[u8]) -> io::Result<usize> {
        self.theirs.clear();
        self.theirs.resize(ours.len(), 0);
        match self.existing.read_exact(&mut self.theirs) {
            Ok(()) if self.theirs == ours => Ok(ours.len()),
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
            _ => Err(io::ErrorKind::AlreadyExists.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Hashed<W> {
    out: W,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The name under which the output grows: in its own directory, since a name can only move within
/// one file system, and with the job in it, since two jobs may want the same output.
fn temporary_beside(out: &Path, spool: &SpoolDir) -> io::Result<PathBuf> {
    let named = |path: &Path| {
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    let name = named(out).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "the output needs a file name")
    })?;
    let job = named(spool.root()).unwrap_or_default();
    Ok(out.with_file_name(format!(".{name}.{job}.part")))
}

/// A file that is removed unless it was given its place.
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    /// Gives the file its name. Renaming would replace whatever appeared there in the meantime, and
    /// std has no rename that refuses; a second hard link does refuse, in one step. File systems
    /// without hard links get a check and a rename, with a moment between them.
    fn place(self, out: &Path, overwrite: bool) -> Result<(), OutputError> {
        let io_error = |source| OutputError::Io {
            path: out.to_owned(),
            source,
        };
        let exists = || OutputError::Exists {
            path: out.to_owned(),
        };
        if !overwrite {
            match fs::hard_link(&self.path, out) {
                // The other name goes when `self` does.
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(exists()),
                Err(_) if fs::symlink_metadata(out).is_ok() => return Err(exists()),
                Err(_) => {}
            }
        }
        fs::rename(&self.path, out).map_err(io_error)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there is nothing to remove; after a failure there is nobody to tell.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests;
