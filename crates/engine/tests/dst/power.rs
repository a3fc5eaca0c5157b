//! A disk that knows what a power cut would leave of it: of each file the content it had when it was last
//! made to last, of each directory the names it then had. Everything else is gone.
//!
//! Files and directories are told apart by what the system calls them, not by their names, so that one that
//! was renamed keeps what it has and is found where its name lasts. The store is taken as it is: SQLite makes
//! its own files last, at the setting that the store's tests hold.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use offpeak_engine::disk::{Disk, Durable};
use tokio::sync::Notify;

/// Files of the store.
const STORE: &str = "jobs.db";

/// A file or directory, whatever its name. Numbers may be used again, moments are not.
type Node = (u64, Option<SystemTime>);

fn node(of: &Metadata) -> Node {
    (of.ino(), of.created().ok())
}

/// What lasts.
#[derive(Debug, Clone, Default)]
struct Image {
    contents: BTreeMap<Node, Vec<u8>>,
    names: BTreeMap<Node, BTreeMap<PathBuf, Node>>,
}

/// What a power cut leaves: the image, and the files of the store.
#[derive(Debug)]
struct Left {
    image: Image,
    store: Vec<(PathBuf, Vec<u8>)>,
}

/// Requests that the disk forgets: bugs that a change of the engine could bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forgets {
    /// The content of files whose path has this in it.
    Content(&'static str),
    /// The names in a directory, or in all those of a kind.
    Names(&'static str),
}

#[derive(Debug, Default)]
struct State {
    image: Image,
    asked: u64,
    cut_at: Option<u64>,
    left: Option<Left>,
}

/// The disk of one course.
#[derive(Debug)]
pub(crate) struct Power {
    root: PathBuf,
    forgets: Option<Forgets>,
    state: Mutex<State>,
    went_out: Notify,
}

impl Power {
    /// The disk below a directory. What is there lasts.
    pub(crate) fn on(root: &Path, forgets: Option<Forgets>) -> Arc<Self> {
        let power = Self {
            root: root.to_owned(),
            forgets,
            state: Mutex::default(),
            went_out: Notify::new(),
        };
        power.adopt();
        Arc::new(power)
    }

    pub(crate) fn disk(self: &Arc<Self>) -> Disk {
        Disk::new(self.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// From now on, the power goes out when the disk is asked for the n-th time, before it does it.
    pub(crate) fn cut_at(&self, nth: Option<u64>) {
        let mut state = self.state();
        (state.asked, state.cut_at, state.left) = (0, nth, None);
    }

    /// Returns when the power went out.
    pub(crate) async fn went_out(&self) {
        while self.state().left.is_none() {
            self.went_out.notified().await;
        }
    }

    /// Takes what is there now for lasting.
    pub(crate) fn adopt(&self) {
        let mut image = Image::default();
        image.adopt(&self.root);
        self.state().image = image;
    }

    /// Puts the disk back to what the power cut left: of the moment when the power went out, or, if it did
    /// not, of now.
    pub(crate) fn restore(&self) {
        let mut state = self.state();
        let left = state.left.take();
        let Left { image, store } = left.unwrap_or_else(|| self.left(&state.image));
        for entry in fs::read_dir(&self.root).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                fs::remove_dir_all(path).unwrap();
            } else {
                fs::remove_file(path).unwrap();
            }
        }
        let top = node(&fs::metadata(&self.root).unwrap());
        image.write(top, &self.root);
        for (path, bytes) in store {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        drop(state);
        self.adopt();
    }

    fn left(&self, image: &Image) -> Left {
        let mut store = Vec::new();
        for entry in fs::read_dir(self.root.join("data")).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy();
            if name.starts_with(STORE) {
                store.push((path.clone(), fs::read(&path).unwrap()));
            }
        }
        Left {
            image: image.clone(),
            store,
        }
    }

    fn ask(&self, forgotten: bool, keep: impl FnOnce(&mut Image)) {
        let mut state = self.state();
        if state.cut_at == Some(state.asked) {
            state.left = Some(self.left(&state.image));
            self.went_out.notify_one();
        }
        state.asked += 1;
        if !forgotten {
            keep(&mut state.image);
        }
    }
}

impl Image {
    /// Takes what is in a directory, and in those below it, for lasting.
    fn adopt(&mut self, dir: &Path) {
        self.keep_names(dir);
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.adopt(&path);
            } else {
                self.keep_content(&path);
            }
        }
    }

    fn keep_content(&mut self, path: &Path) {
        let of = node(&fs::metadata(path).unwrap());
        self.contents.insert(of, fs::read(path).unwrap());
    }

    fn keep_names(&mut self, dir: &Path) {
        let mut names = BTreeMap::new();
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let name = PathBuf::from(entry.file_name());
            // The store's files come and go by themselves.
            if !name.to_string_lossy().starts_with(STORE) {
                names.insert(name, node(&entry.metadata().unwrap()));
            }
            if entry.path().is_dir() {
                let made = node(&entry.metadata().unwrap());
                self.names.entry(made).or_default();
            }
        }
        self.names.insert(node(&fs::metadata(dir).unwrap()), names);
    }

    /// Makes what lasts of a directory.
    fn write(&self, of: Node, dir: &Path) {
        for (name, node) in self.names.get(&of).into_iter().flatten() {
            let path = dir.join(name);
            if self.names.contains_key(node) {
                fs::create_dir(&path).unwrap();
                self.write(*node, &path);
            } else {
                // A name whose content was never asked for is that of an empty file.
                let content = self.contents.get(node);
                fs::write(path, content.map_or(&[][..], Vec::as_slice)).unwrap();
            }
        }
    }
}

/// Whether a directory is the one that is called so, from the root or by its own name; is in it, if that ends
/// with a slash; or is a hidden one whose name begins so.
fn is_meant(own: &Path, of: &str) -> bool {
    let name = own.file_name().unwrap_or_default().to_string_lossy();
    let within = own
        .parent()
        .unwrap_or_else(|| Path::new(""))
        .to_string_lossy();
    let is_in = |dir| within == dir && !name.starts_with('.');
    let is_hidden = of.starts_with('.') && name.starts_with(of);
    own == Path::new(of) || name == of || is_hidden || of.strip_suffix('/').is_some_and(is_in)
}

impl Durable for Power {
    fn content(&self, file: &File, path: &Path) -> io::Result<()> {
        self.growth(file, path)
    }

    fn growth(&self, _: &File, path: &Path) -> io::Result<()> {
        let own = path.strip_prefix(&self.root).unwrap().to_string_lossy();
        let forgotten = matches!(self.forgets, Some(Forgets::Content(part)) if own.contains(part));
        self.ask(forgotten, |image| image.keep_content(path));
        Ok(())
    }

    fn names(&self, dir: &Path) -> io::Result<()> {
        let own = dir.strip_prefix(&self.root).unwrap();
        let forgotten = matches!(self.forgets, Some(Forgets::Names(of)) if is_meant(own, of));
        self.ask(forgotten, |image| image.keep_names(dir));
        Ok(())
    }
}
