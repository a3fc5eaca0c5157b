//! Owns the file that a served world is kept in, so that it survives its process: read once,
//! written whole and atomically. What stands in it is `save`'s.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// A state file. Copies are the same file, and write one at a time.
#[derive(Clone, Debug)]
pub struct Keeper {
    path: Arc<Path>,
    writing: Arc<Mutex<()>>,
}

impl Keeper {
    /// A file that need not exist yet.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self {
            path: path.into(),
            writing: Arc::default(),
        }
    }

    /// The file's name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was kept; `None` if the file does not exist.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn read(&self) -> io::Result<Option<Vec<u8>>> {
        match fs::read(&self.path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts new content in the place of the old, durably: after a crash at any moment the file is
    /// the old one or the new one. The content is asked for when it is this writer's turn, so that
    /// of two writers the later one has the later content.
    ///
    /// # Errors
    ///
    /// When it cannot be written; the old file is then still there.
    pub fn write(&self, content: impl FnOnce() -> Vec<u8>) -> io::Result<()> {
        let _alone = self.writing.lock();
        let bytes = content();
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let new = self.path.with_file_name(name);
        let mut file = File::create(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&new, &self.path)?;
        let folder = self
            .path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
    }
}
