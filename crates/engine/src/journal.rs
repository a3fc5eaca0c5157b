//! The journal of a synchronous shard: what was sent, what came back, what nobody knows. Records are
//! appended in groups; a group is on the disk before its `append` returns, so a call is recorded
//! before its first byte leaves.
//!
//! Law: any prefix of the file's bytes replays to a prefix of its records. Leaves out what a record
//! means for a row (`settle::sync`) and when to write one (the driver).

mod codec;

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use offpeak_core::job::shard::ShardNo;
use offpeak_core::units::{Timestamp, Usd};

use crate::disk::Disk;
use crate::spool::SpoolDir;
pub(crate) use codec::BODY_AT;
use codec::{HEADER_LEN, Header, TIME_BEFORE_BODY};

/// Read buffer of a replay, in bytes.
const READ_BUFFER: usize = 256 * 1024;

/// One fact about one try of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The row is about to be sent: from here on bytes may have left.
    Sent {
        /// The row.
        row: u64,
        /// Tries used before this one.
        attempt: u16,
        /// Our time of the send.
        at: Timestamp,
        /// Most that this try can cost.
        held: Usd,
    },
    /// An answer came, whatever its status.
    Answered {
        /// The row.
        row: u64,
        /// Our time of the *send*: the prices of that moment hold.
        at: Timestamp,
        /// The HTTP status.
        status: u16,
        /// The answer's body, byte for byte.
        body: Vec<u8>,
    },
    /// It was sent, and the process died before it knew more: it may have been billed.
    Unknown {
        /// The row.
        row: u64,
        /// Most that this try can have cost.
        held: Usd,
    },
    /// It was sent, and its answer was lost on the way: it may have been billed.
    Lost {
        /// The row.
        row: u64,
        /// Most that this try can have cost.
        held: Usd,
    },
    /// It is proved that the request did not leave whole, so it cannot have been billed.
    NotSent {
        /// The row.
        row: u64,
    },
}

impl Record {
    /// The row it is about.
    #[must_use]
    pub fn row(&self) -> u64 {
        match self {
            Self::Sent { row, .. }
            | Self::Answered { row, .. }
            | Self::Unknown { row, .. }
            | Self::Lost { row, .. }
            | Self::NotSent { row } => *row,
        }
    }
}

/// A journal that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// The journal.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A record before the end is not what was written. A torn last record is no error.
    #[error("{}, byte {offset}: the journal is damaged ({problem})", path.display())]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// Where the record starts.
        offset: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl JournalError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Io { .. } => "free some space or repair the permissions, then run the job again",
            Self::Damaged { .. } => {
                "restore the file from a backup; without it nobody can say which calls were paid"
            }
        }
    }
}

/// An open journal, to append to.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    disk: Disk,
    len: u64,
    group: Vec<u8>,
    broken: bool,
}

impl Journal {
    /// Opens the journal of a shard, making it if need be; a torn last record is cut off.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened, or is damaged before its end.
    pub fn open(dir: &SpoolDir, shard: ShardNo) -> Result<Self, JournalError> {
        Self::open_at(dir.journal(shard), dir.disk())
    }

    fn open_at(path: PathBuf, disk: &Disk) -> Result<Self, JournalError> {
        let len = replay_at(&path, |_, _| {})?;
        Self::open_after(path, len, disk)
    }

    /// Opens a journal that was just read, with what comes after so many bytes cut off.
    fn open_after(path: PathBuf, len: u64, disk: &Disk) -> Result<Self, JournalError> {
        let failed = |source| JournalError::Io {
            path: path.clone(),
            source,
        };
        let file = private(OpenOptions::new().append(true).create(true))
            .open(&path)
            .map_err(failed)?;
        if len < file.metadata().map_err(failed)?.len() {
            file.set_len(len).map_err(failed)?;
        }
        disk.content(&file, &path).map_err(failed)?;
        disk.name_of(&path).map_err(failed)?;
        Ok(Self {
            path,
            file,
            disk: disk.clone(),
            len,
            group: Vec::new(),
            broken: false,
        })
    }

    /// [`Journal::open`] of a journal whose whole records a [`replay`] found to end there.
    pub(crate) fn go_on(dir: &SpoolDir, shard: ShardNo, end: u64) -> Result<Self, JournalError> {
        Self::open_after(dir.journal(shard), end, dir.disk())
    }

    /// Appends records with one write, and returns when they are on the disk.
    ///
    /// # Errors
    ///
    /// When they could not be made durable. What then is on the disk is a prefix of them, and this
    /// journal takes no more: it must be opened again, which finds out.
    pub fn append(&mut self, records: &[Record]) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other(format!(
                "{}: an earlier write failed; the journal must be opened again",
                self.path.display()
            )));
        }
        self.group.clear();
        for record in records {
            codec::encode(record, &mut self.group)?;
        }
        let done = self
            .file
            .write_all(&self.group)
            .and_then(|()| self.disk.growth(&self.file, &self.path));
        match done {
            Ok(()) => self.len += self.group.len() as u64,
            Err(_) => self.broken = true,
        }
        done
    }

    /// Bytes of all records.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was recorded yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Hands every whole record of a shard's journal to `each`, in the order of writing, and returns where the
/// last one ends. A journal that was never opened has none.
///
/// # Errors
///
/// When the file cannot be read, or is damaged before its end.
pub fn replay(
    dir: &SpoolDir,
    shard: ShardNo,
    mut each: impl FnMut(Record),
) -> Result<u64, JournalError> {
    replay_at(&dir.journal(shard), |_, record| each(record))
}

/// [`replay`] with the offset of each record, for [`RecordReader`].
pub(crate) fn replay_at(path: &Path, each: impl FnMut(u64, Record)) -> Result<u64, JournalError> {
    let failed = |source| JournalError::Io {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(failed(error)),
    };
    let len = file.metadata().map_err(failed)?.len();
    scan(path, &file, len, each)
}

/// Reads single records again, by the offsets that [`replay_at`] gave.
#[derive(Debug)]
pub(crate) struct RecordReader {
    path: PathBuf,
    file: File,
    payload: Vec<u8>,
}

impl RecordReader {
    pub(crate) fn open(path: &Path) -> Result<Self, JournalError> {
        let file = File::open(path).map_err(|source| JournalError::Io {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            file,
            payload: Vec::new(),
        })
    }

    pub(crate) fn read(&mut self, offset: u64) -> Result<Record, JournalError> {
        let failed = |source| JournalError::Io {
            path: self.path.clone(),
            source,
        };
        let mut head = [0; HEADER_LEN];
        self.file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        self.file.read_exact(&mut head).map_err(failed)?;
        if let Some(header) = Header::parse(&head) {
            self.payload.resize(header.len as usize, 0);
            self.file.read_exact(&mut self.payload).map_err(failed)?;
            if header.fits(&self.payload)
                && let Some(record) = codec::decode(&self.payload)
            {
                return Ok(record);
            }
        }
        let path = self.path.clone();
        Err(JournalError::Damaged {
            path,
            offset,
            problem: "it changed while it was read",
        })
    }
}

/// When the answer whose body begins at `body_at` had been asked for, on our clock.
pub(crate) fn sent_at(mut file: &File, body_at: u64) -> io::Result<Timestamp> {
    let mut time = [0; 8];
    file.seek(SeekFrom::Start(body_at.saturating_sub(TIME_BEFORE_BODY)))?;
    file.read_exact(&mut time)?;
    Ok(Timestamp::from_micros(i64::from_le_bytes(time)))
}

/// Walks over all whole records and returns where the last one ends.
///
/// A torn tail is a write that the machine did not survive: the file ends within the record, or what
/// the record and everything after it should hold was never filled in. Anything else that does not
/// check out is damage: behind it may be records that money depends on.
fn scan(
    path: &Path,
    file: &File,
    len: u64,
    mut each: impl FnMut(u64, Record),
) -> Result<u64, JournalError> {
    let failed = |source| JournalError::Io {
        path: path.to_owned(),
        source,
    };
    let damaged = |offset, problem| JournalError::Damaged {
        path: path.to_owned(),
        offset,
        problem,
    };
    let mut file = file;
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let mut bytes = BufReader::with_capacity(READ_BUFFER, file);
    let mut head = [0; HEADER_LEN];
    let mut payload = Vec::new();
    let mut offset = 0;
    while len - offset >= HEADER_LEN as u64 {
        bytes.read_exact(&mut head).map_err(failed)?;
        let Some(header) = Header::parse(&head) else {
            let blank = head.iter().all(|b| *b == 0) && only_zeros(&mut bytes).map_err(failed)?;
            return if blank {
                Ok(offset)
            } else {
                Err(damaged(offset, "bad record head"))
            };
        };
        let end = offset + (HEADER_LEN as u64) + u64::from(header.len);
        if end > len {
            break;
        }
        payload.resize(header.len as usize, 0);
        bytes.read_exact(&mut payload).map_err(failed)?;
        if !header.fits(&payload) {
            let torn = only_zeros(&mut bytes).map_err(failed)?;
            return if torn {
                Ok(offset)
            } else {
                Err(damaged(offset, "bad checksum"))
            };
        }
        let record =
            codec::decode(&payload).ok_or_else(|| damaged(offset, "unknown kind of record"))?;
        each(offset, record);
        offset = end;
    }
    Ok(offset)
}

/// Whether nothing but zeros follows; true at the end of the file.
fn only_zeros(bytes: &mut impl io::BufRead) -> io::Result<bool> {
    loop {
        let some = bytes.fill_buf()?;
        if some.is_empty() {
            return Ok(true);
        }
        if some.iter().any(|b| *b != 0) {
            return Ok(false);
        }
        let read = some.len();
        bytes.consume(read);
    }
}

/// Answers are the user's data: nobody else may read them.
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

#[cfg(test)]
mod tests;
