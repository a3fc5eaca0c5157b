//! A file that is written to the disk while it grows, so that little is left to wait for at its end.
//!
//! Leaves out what is written.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};

use crate::disk::Disk;

/// The disk is asked for more whenever so many bytes came together.
const STEP: usize = 16 * 1024 * 1024;

/// A growing file.
#[derive(Debug)]
pub(crate) struct Behind {
    file: File,
    path: PathBuf,
    disk: Disk,
    waiting: usize,
    nudge: SyncSender<()>,
    syncing: JoinHandle<io::Result<()>>,
}

impl Behind {
    /// `file` is at `path`.
    pub(crate) fn new(file: File, path: PathBuf, disk: Disk) -> io::Result<Self> {
        let same = (file.try_clone()?, path.clone(), disk.clone());
        let (nudge, nudges) = mpsc::sync_channel(1);
        let sync = move || {
            let (file, path, disk) = same;
            nudges.iter().try_for_each(|()| disk.growth(&file, &path))
        };
        Ok(Self {
            file,
            path,
            disk,
            waiting: 0,
            nudge,
            syncing: thread::Builder::new().spawn(sync)?,
        })
    }

    /// Returns when everything is on the disk.
    pub(crate) fn finish(self) -> io::Result<()> {
        drop(self.nudge);
        // The system tells a failed write-back only once, so what was told there counts here.
        self.syncing.join().expect("syncing does not panic")?;
        self.disk.content(&self.file, &self.path)
    }
}

impl Write for Behind {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.waiting += written;
        if self.waiting >= STEP {
            self.waiting = 0;
            // If the disk is still busy with the step before, it is nudged enough.
            let _ = self.nudge.try_send(());
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
