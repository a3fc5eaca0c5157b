//! Where a seed's files are: in memory, if the system has a place for that. What a seed leaves behind is
//! looked through for the key.

use std::path::{Path, PathBuf};

/// The keys of the campaign, which may stand nowhere.
pub(crate) const KEY: &str = "sk-ant-api03-campaign-0123456789";
pub(crate) const ADMIN_KEY: &str = "sk-ant-admin01-campaign-0123456789";

/// What they have in common.
const SECRET: &str = "campaign-0123456789";

/// A new directory.
pub(crate) fn dir() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = tempfile::tempdir_in(memory);
    made.or_else(|_| tempfile::tempdir()).unwrap()
}

/// The files below a directory that the key stands in.
pub(crate) fn files_with_key(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                let has_key = bytes
                    .windows(SECRET.len())
                    .any(|window| window == SECRET.as_bytes());
                found.extend(has_key.then_some(path));
            }
        }
    }
    found
}
