//! The files of a job: the exact bytes of its requests, references to them, and what came back.
//!
//! Owns where the files are and the formats of rows, frames, references and index. Leaves out the
//! formats of outcome segments (`settle`) and journals (`journal`), and any decision.
//!
//! Integers are little-endian. A file that is not what was written is `SpoolError::Damaged`, never
//! a panic: disks lie.

mod error;
mod frames;
mod index;
mod layout;
mod marks;
mod read;
mod refs;
mod row;
mod write;

pub use error::SpoolError;
pub use frames::FrameId;
pub use index::{IndexEntry, IndexReader, IndexWriter};
pub use layout::SpoolDir;
pub(crate) use layout::create_file;
pub use marks::{RowMark, RowMarks};
pub use read::SpoolReader;
pub use refs::{NO_GROUP, RefsReader, RefsWriter, RowRef, leftovers_file};
pub use row::{RowAt, RowMeta, SpooledRow};
pub use write::{RowHead, SpoolWriter};
