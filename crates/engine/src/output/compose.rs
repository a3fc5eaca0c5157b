//! Output lines, made of the answers where they were kept: the message is read, never parsed, and
//! its bytes are copied.
//!
//! Leaves out the order of the rows (`merge`) and where lines go (`output`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use super::merge::{Batch, Due, Trouble, Whose, damaged, reading};
use crate::reuse::Reused;
use crate::settle::answer::Shown;
use crate::settle::kept::{Kept, KeptIn};
use crate::settle::line::{self, Line, write_line};
use crate::spool::SpoolDir;

/// Files of answers that are open at a time. Rows of more shards than a few lie among each other
/// only where many were left over.
const OPEN_MAX: usize = 32;

/// Lines that follow on each other.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) rows: u64,
    pub(super) text: Vec<u8>,
    /// What those came to that were not sent.
    pub(super) reused: Reused,
}

/// Makes lines.
#[derive(Debug)]
pub(super) struct Composer {
    spool: SpoolDir,
    open: BTreeMap<KeptIn, File>,
    message: Vec<u8>,
}

impl Composer {
    pub(super) fn new(spool: &SpoolDir) -> Self {
        Self {
            spool: spool.clone(),
            open: BTreeMap::new(),
            message: Vec::new(),
        }
    }

    /// Replaces `lines` by those of a batch.
    pub(super) fn compose(&mut self, batch: Batch, lines: &mut Lines) -> Result<(), Trouble> {
        lines.text.clear();
        lines.rows = batch.rows.len() as u64;
        lines.reused = batch.reused;
        let mut keys = &batch.keys[..];
        for due in batch.rows {
            match due {
                Due::Line(line) => lines.text.extend_from_slice(&line),
                Due::Answer {
                    kept,
                    kept_in,
                    key_len,
                    whose,
                } => {
                    let mut take = |len| {
                        let (key, later) = keys.split_at(len);
                        keys = later;
                        key
                    };
                    let key = take(key_len);
                    let reused = match whose {
                        Whose::Own => None,
                        Whose::Row { row, key_len } => {
                            let key = take(key_len);
                            Some(line::Reused::Row { row, key })
                        }
                        Whose::Run { run, row } => Some(line::Reused::Run { run, row }),
                    };
                    self.answered(key, (&kept, kept_in), reused, &mut lines.text)?;
                }
            }
        }
        Ok(())
    }

    fn answered(
        &mut self,
        key: &[u8],
        (kept, kept_in): (&Kept, KeptIn),
        reused: Option<line::Reused<'_>>,
        out: &mut Vec<u8>,
    ) -> Result<(), Trouble> {
        let path = || kept_in.path(&self.spool).unwrap_or_default();
        if !self.open.contains_key(&kept_in) {
            if self.open.len() == OPEN_MAX {
                self.open.clear();
            }
            let file = File::open(path()).map_err(|error| reading(&path())(error))?;
            self.open.insert(kept_in, file);
        }
        let read = read_at(&self.open[&kept_in], kept, &mut self.message);
        read.map_err(|error| reading(&path())(error))?;
        let shown = Shown::of(&self.message, kept.places)
            .ok_or_else(|| damaged(&path(), "an answer is not where it was received"))?;
        let line = Line {
            key,
            class: kept.class,
            answer: Some(shown),
            cost: Some(kept.cost),
            route: reused.is_none().then_some(kept.route),
            attempts: kept.attempts,
            error: None,
            reused,
        };
        write_line(&line, out);
        Ok(())
    }
}

/// Reads a message. Files are read by one thread each, so the place to read from may be the file's.
pub(crate) fn read_at(file: &File, kept: &Kept, message: &mut Vec<u8>) -> io::Result<()> {
    message.resize(kept.len as usize, 0);
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_exact_at(file, message, kept.offset);
    #[cfg(not(unix))]
    {
        use std::io::{Read, Seek, SeekFrom};
        let mut file = file;
        file.seek(SeekFrom::Start(kept.offset))?;
        file.read_exact(message)
    }
}
