//! Where the files of a job are, and how they are made: files for their owner only (0600), in
//! directories for their owner only (0700).

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use offpeak_core::job::shard::ShardNo;

use crate::disk::Disk;

/// The directory of one job.
#[derive(Debug, Clone)]
pub struct SpoolDir {
    root: PathBuf,
    disk: Disk,
}

impl SpoolDir {
    /// The spool at `root`, which need not exist yet.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            disk: Disk::default(),
        }
    }

    /// The same on another disk than the system's.
    #[must_use]
    pub fn on(self, disk: &Disk) -> Self {
        let disk = disk.clone();
        Self { disk, ..self }
    }

    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the directories that are missing.
    ///
    /// # Errors
    ///
    /// When the file system refuses.
    pub fn create(&self) -> io::Result<()> {
        for dir in ["rows", "refs", "results", "sync", "outcomes"] {
            let mut builder = DirBuilder::new();
            builder.recursive(true);
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.create(self.root.join(dir))?;
        }
        Ok(())
    }

    /// A segment of rows.
    #[must_use]
    pub fn segment(&self, number: u32) -> PathBuf {
        self.root.join("rows").join(format!("{number:05}.seg"))
    }

    /// The shared heads and tails of the rows.
    #[must_use]
    pub fn frames(&self) -> PathBuf {
        self.root.join("frames.bin")
    }

    /// One fixed-size entry per valid row.
    #[must_use]
    pub fn index(&self) -> PathBuf {
        self.root.join("index.bin")
    }

    /// The sums that the rest of a probed job is planned on.
    #[must_use]
    pub fn workload(&self) -> PathBuf {
        self.root.join("workload.json")
    }

    /// A file of row references.
    #[must_use]
    pub fn refs(&self, file: u32) -> PathBuf {
        self.root.join("refs").join(format!("{file:05}.refs"))
    }

    /// The result lines of a batch shard, as downloaded.
    #[must_use]
    pub fn results(&self, shard: ShardNo) -> PathBuf {
        self.root
            .join("results")
            .join(format!("{:05}.jsonl", shard.0))
    }

    /// The result lines of a batch shard while they are being downloaded.
    #[must_use]
    pub fn results_part(&self, shard: ShardNo) -> PathBuf {
        self.root
            .join("results")
            .join(format!("{:05}.jsonl.part", shard.0))
    }

    /// The attempts of a sync shard.
    #[must_use]
    pub fn journal(&self, shard: ShardNo) -> PathBuf {
        self.root
            .join("sync")
            .join(format!("{:05}.journal", shard.0))
    }

    /// The outcome segment of a settled shard.
    #[must_use]
    pub fn outcomes(&self, shard: ShardNo) -> PathBuf {
        self.outcomes_dir().join(format!("{:05}.seg", shard.0))
    }

    /// The outcome segment of the rows that were never sent.
    #[must_use]
    pub fn invalid_outcomes(&self) -> PathBuf {
        self.outcomes_dir().join("invalid.seg")
    }

    /// The outcome segment of the rows that share the answer of an identical row.
    #[must_use]
    pub fn shared_outcomes(&self) -> PathBuf {
        self.outcomes_dir().join("shared.seg")
    }

    /// The outcome segment of the rows that an earlier run has answered.
    #[must_use]
    pub fn earlier_outcomes(&self) -> PathBuf {
        self.outcomes_dir().join("earlier.seg")
    }

    /// The answers that were taken over from earlier runs, one a line.
    #[must_use]
    pub fn earlier_answers(&self) -> PathBuf {
        self.root.join("results").join("earlier.jsonl")
    }

    /// Where all outcome segments are.
    #[must_use]
    pub fn outcomes_dir(&self) -> PathBuf {
        self.root.join("outcomes")
    }
}

/// Makes an empty file for its owner only. One that exists is removed first instead of being
/// written over, which takes half the time and leaves readers of the old one alone.
pub(crate) fn create_file(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
