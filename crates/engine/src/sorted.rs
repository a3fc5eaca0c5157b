//! Sorting any number of small records in flat memory: they are sorted in runs, runs beyond the first go
//! to a file without a name, and all are merged as often as they are read.
//!
//! Records are bytes and ascend as such, so numbers in them that order them are big-endian. Leaves out
//! what records mean.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::slice;

/// Records of one run.
const RUN_MAX: usize = 1 << 17;

/// Records read at once from each run.
const MERGE_READ: usize = 1024;

/// Gathers records.
#[derive(Debug)]
pub(crate) struct Sorter<const N: usize> {
    run: Vec<[u8; N]>,
    run_max: usize,
    /// Where runs go; `None` for the system's place for temporary files.
    dir: Option<PathBuf>,
    spilled: Option<Spilled>,
}

#[derive(Debug)]
struct Spilled {
    file: BufWriter<File>,
    /// Records of each run.
    runs: Vec<u64>,
}

impl<const N: usize> Sorter<N> {
    pub(crate) fn new(dir: Option<PathBuf>) -> Self {
        Self::in_runs_of(RUN_MAX, dir)
    }

    pub(crate) fn in_runs_of(run_max: usize, dir: Option<PathBuf>) -> Self {
        Self {
            run: Vec::new(),
            run_max,
            dir,
            spilled: None,
        }
    }

    pub(crate) fn push(&mut self, record: [u8; N]) -> io::Result<()> {
        if self.run.len() == self.run_max {
            self.spill()?;
        }
        self.run.push(record);
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        self.run.sort_unstable();
        let spilled = match &mut self.spilled {
            Some(spilled) => spilled,
            none => {
                let file = match &self.dir {
                    Some(dir) => tempfile::tempfile_in(dir)?,
                    None => tempfile::tempfile()?,
                };
                none.insert(Spilled {
                    file: BufWriter::with_capacity(1 << 18, file),
                    runs: vec![],
                })
            }
        };
        spilled.file.write_all(self.run.as_flattened())?;
        spilled.runs.push(self.run.len() as u64);
        self.run.clear();
        Ok(())
    }

    /// All of them, in order.
    pub(crate) fn finish(mut self) -> io::Result<Sorted<N>> {
        if self.spilled.is_some() {
            self.spill()?;
        }
        let Some(Spilled { file, runs }) = self.spilled else {
            self.run.sort_unstable();
            return Ok(Sorted::InMemory(self.run));
        };
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Sorted::OnDisk { file, runs })
    }
}

/// Records in order.
#[derive(Debug)]
pub(crate) enum Sorted<const N: usize> {
    InMemory(Vec<[u8; N]>),
    /// Runs, one behind the other.
    OnDisk {
        file: File,
        runs: Vec<u64>,
    },
}

impl<const N: usize> Sorted<N> {
    /// Reads all of them, from the first on.
    pub(crate) fn iter(&mut self) -> io::Result<Iter<'_, N>> {
        match self {
            Self::InMemory(records) => Ok(Iter::InMemory(records.iter())),
            Self::OnDisk { file, runs } => Ok(Iter::OnDisk(Merge::new(file, runs)?)),
        }
    }
}

/// Reads records in order.
#[derive(Debug)]
pub(crate) enum Iter<'a, const N: usize> {
    InMemory(slice::Iter<'a, [u8; N]>),
    OnDisk(Merge<'a, N>),
}

impl<const N: usize> Iterator for Iter<'_, N> {
    type Item = io::Result<[u8; N]>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::InMemory(records) => records.next().copied().map(Ok),
            Self::OnDisk(merge) => merge.next().transpose(),
        }
    }
}

/// Runs that are being merged.
#[derive(Debug)]
pub(crate) struct Merge<'a, const N: usize> {
    file: &'a mut File,
    runs: Vec<Run<N>>,
    /// The next record of each run.
    heap: BinaryHeap<Reverse<([u8; N], usize)>>,
}

impl<'a, const N: usize> Merge<'a, N> {
    fn new(file: &'a mut File, runs: &[u64]) -> io::Result<Self> {
        let mut start = 0;
        let run = |records: &u64| {
            let run = Run {
                next: start,
                left: *records,
                buffer: Vec::new(),
                at: 0,
            };
            start += records * N as u64;
            run
        };
        let mut merge = Self {
            file,
            runs: runs.iter().map(run).collect(),
            heap: BinaryHeap::with_capacity(runs.len()),
        };
        for index in 0..merge.runs.len() {
            merge.refill(index)?;
        }
        Ok(merge)
    }

    fn refill(&mut self, index: usize) -> io::Result<()> {
        let record = self.runs[index].pop(self.file)?;
        self.heap
            .extend(record.map(|record| Reverse((record, index))));
        Ok(())
    }

    fn next(&mut self) -> io::Result<Option<[u8; N]>> {
        let Some(Reverse((record, index))) = self.heap.pop() else {
            return Ok(None);
        };
        self.refill(index)?;
        Ok(Some(record))
    }
}

#[derive(Debug)]
struct Run<const N: usize> {
    /// Offset of what is not in the buffer yet.
    next: u64,
    /// Records not in the buffer yet.
    left: u64,
    buffer: Vec<[u8; N]>,
    at: usize,
}

impl<const N: usize> Run<N> {
    fn pop(&mut self, file: &mut File) -> io::Result<Option<[u8; N]>> {
        if self.at == self.buffer.len() {
            let records = self.left.min(MERGE_READ as u64);
            if records == 0 {
                return Ok(None);
            }
            self.left -= records;
            self.at = 0;
            self.buffer
                .resize(usize::try_from(records).unwrap_or(MERGE_READ), [0; N]);
            file.seek(SeekFrom::Start(self.next))?;
            file.read_exact(self.buffer.as_flattened_mut())?;
            self.next += records * N as u64;
        }
        let record = self.buffer[self.at];
        self.at += 1;
        Ok(Some(record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn runs_on_disk_are_read_as_often_as_wanted_and_in_order(
            records in prop::collection::vec(any::<[u8; 3]>(), 0..120), run_max in 1usize..40,
        ) {
            let mut sorter = Sorter::in_runs_of(run_max, None);
            for record in &records {
                sorter.push(*record).unwrap();
            }
            let mut sorted = sorter.finish().unwrap();
            let mut expected = records;
            expected.sort_unstable();
            for _ in 0..2 {
                let found: Vec<_> = sorted.iter().unwrap().map(Result::unwrap).collect();
                prop_assert_eq!(&found, &expected);
            }
        }
    }
}
