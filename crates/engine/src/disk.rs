//! What is on the disk for certain: the one place that asks the system to bring files and names there. What
//! was not asked for may be gone after a power cut, whatever the process saw before it.
//!
//! A file needs two requests: one for its content, and one for the names of the directory it is in. In
//! between, it can be empty or have no name. Leaves out when to ask (docs/durability.md says what has to be
//! there before what), and SQLite, which asks by itself.

use std::fmt::Debug;
use std::fs::{DirBuilder, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// How content and names are made to last. A seam, so that a test can know what a power cut would leave, and
/// a measurement what all this costs.
pub trait Durable: Debug + Send + Sync {
    /// Returns when the content of the file at `path` is on the disk, and all that is known of it.
    ///
    /// # Errors
    /// If the disk does not take it. What then is there is not known.
    fn content(&self, file: &File, path: &Path) -> io::Result<()>;

    /// The same for a file that only grew: its bytes and its length.
    ///
    /// # Errors
    /// As [`Durable::content`].
    fn growth(&self, file: &File, path: &Path) -> io::Result<()>;

    /// Returns when the names within a directory are on the disk: new ones, and that old ones are gone.
    ///
    /// # Errors
    /// As [`Durable::content`].
    fn names(&self, dir: &Path) -> io::Result<()>;
}

/// The disk that files are kept on.
#[derive(Debug, Clone)]
pub struct Disk(Arc<dyn Durable>);

impl Default for Disk {
    /// That of the system.
    fn default() -> Self {
        Self(Arc::new(System))
    }
}

impl Disk {
    /// Another one than the system's.
    #[must_use]
    pub fn new(durable: Arc<dyn Durable>) -> Self {
        Self(durable)
    }

    pub(crate) fn content(&self, file: &File, path: &Path) -> io::Result<()> {
        self.0.content(file, path)
    }

    pub(crate) fn growth(&self, file: &File, path: &Path) -> io::Result<()> {
        self.0.growth(file, path)
    }

    pub(crate) fn names(&self, dir: &Path) -> io::Result<()> {
        self.0.names(dir)
    }

    /// The names within the directory that a path is in.
    pub(crate) fn name_of(&self, path: &Path) -> io::Result<()> {
        self.names(parent_of(path))
    }

    /// Makes a directory and those above it that are missing, each with its name on the disk. New ones are for
    /// their owner only (0700) if `private`.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn make_dir(&self, dir: &Path, private: bool) -> io::Result<()> {
        if dir.as_os_str().is_empty() || dir.is_dir() {
            return Ok(());
        }
        self.make_dir(parent_of(dir), private)?;
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        if private {
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        }
        #[cfg(not(unix))]
        let _ = private;
        match builder.create(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !dir.is_dir() => {
                Err(error)
            }
            _ => self.name_of(dir),
        }
    }
}

/// The directory that a path is in.
fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

/// The system's own disk.
#[derive(Debug)]
struct System;

impl Durable for System {
    fn content(&self, file: &File, _path: &Path) -> io::Result<()> {
        file.sync_all()
    }

    fn growth(&self, file: &File, _path: &Path) -> io::Result<()> {
        file.sync_data()
    }

    fn names(&self, dir: &Path) -> io::Result<()> {
        #[cfg(unix)]
        File::open(dir)?.sync_all()?;
        #[cfg(not(unix))]
        let _ = dir;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Debug, Default)]
    struct Asked(Mutex<Vec<String>>);

    impl Durable for Asked {
        fn content(&self, _: &File, _: &Path) -> io::Result<()> {
            unreachable!("a directory has no content")
        }

        fn growth(&self, _: &File, _: &Path) -> io::Result<()> {
            unreachable!("a directory does not grow")
        }

        fn names(&self, dir: &Path) -> io::Result<()> {
            let name = dir.file_name().unwrap().to_string_lossy().into_owned();
            self.0.lock().unwrap().push(name);
            Ok(())
        }
    }

    #[test]
    fn every_new_directory_gets_a_name_that_lasts() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let asked = Arc::new(Asked::default());
        let disk = Disk::new(asked.clone());
        disk.make_dir(&root.join("a/b/c"), true).unwrap();
        assert!(root.join("a/b/c").is_dir());
        assert_eq!(*asked.0.lock().unwrap(), ["root", "a", "b"]);
        disk.make_dir(&root.join("a/b/c"), true).unwrap();
        assert_eq!(asked.0.lock().unwrap().len(), 3, "they are there");
        std::fs::write(root.join("file"), "").unwrap();
        assert!(disk.make_dir(&root.join("file"), true).is_err());
        assert!(disk.make_dir(&root.join("file/d"), true).is_err());
    }
}
