//! Batch bodies in files: what the bare loops make. A new file begins where a batch would be full;
//! every file is durable when it is closed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::sample::{BYTES_MAX, ROWS_MAX};

const HEAD: &[u8] = b"{\"requests\":[";
const TAIL: &[u8] = b"]}";

/// Writes bodies into a directory.
pub(crate) struct Bodies {
    dir: PathBuf,
    open: Option<BufWriter<File>>,
    files: u32,
    rows: u32,
    bytes: u64,
    written: u64,
    total: u64,
}

impl Bodies {
    pub(crate) fn create(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let (files, rows, bytes, written, total) = (0, 0, 0, 0, 0);
        Ok(Self {
            dir: dir.to_owned(),
            open: None,
            files,
            rows,
            bytes,
            written,
            total,
        })
    }

    /// Appends a row that is given in parts.
    pub(crate) fn push(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let len = parts.iter().map(|part| part.len() as u64).sum::<u64>() + 1;
        if self.rows == ROWS_MAX || self.bytes + len + TAIL.len() as u64 > BYTES_MAX {
            self.close()?;
        }
        let out = match &mut self.open {
            Some(out) => {
                out.write_all(b",")?;
                out
            }
            none => {
                let file = File::create_new(self.dir.join(format!("{:05}.json", self.files)))?;
                self.files += 1;
                self.bytes = HEAD.len() as u64;
                let out = none.insert(BufWriter::with_capacity(1 << 20, file));
                out.write_all(HEAD)?;
                out
            }
        };
        for part in parts {
            out.write_all(part)?;
        }
        self.rows += 1;
        self.total += 1;
        self.bytes += len;
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        if let Some(mut out) = self.open.take() {
            out.write_all(TAIL)?;
            let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
            self.written += file.metadata()?.len();
        }
        self.rows = 0;
        self.bytes = 0;
        Ok(())
    }

    /// Rows and bytes written.
    pub(crate) fn finish(mut self) -> io::Result<(u64, u64)> {
        self.close()?;
        File::open(&self.dir)?.sync_all()?;
        Ok((self.total, self.written))
    }
}
