//! Where the outcomes are whose answers other rows share: a file without a name that has a place for
//! each row of the job, so that any of them is found in flat memory.
//!
//! Leaves out what is made of an outcome (`merge`).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::merge::{Trouble, damaged, reading};
use crate::settle::kept::KeptIn;
use crate::settle::segment::{Outcome, SegmentReader};
use crate::spool::SpoolDir;

/// Bytes of a place: a segment, counted from 1, and the offset of the record in it.
const PLACE_LEN: usize = 12;

/// Segments that are open at a time.
const OPEN_MAX: usize = 32;

/// Finds outcomes by their rows.
#[derive(Debug)]
pub(super) struct Leaders {
    segments: Vec<PathBuf>,
    places: File,
    open: BTreeMap<usize, SegmentReader>,
}

impl Leaders {
    /// Looks where the outcomes are of all rows that were sent.
    pub(super) fn find(spool: &SpoolDir) -> Result<Self, Trouble> {
        let places = tempfile::tempfile_in(spool.root()).map_err(reading(spool.root()))?;
        let mut out = BufWriter::with_capacity(1 << 18, places);
        let mut segments = Vec::new();
        let mut next = 0;
        for path in sent_segments(spool)? {
            let number = u32::try_from(segments.len() + 1).expect("segments are few");
            let mut segment = SegmentReader::open(&path).map_err(reading(&path))?;
            while let Some(row) = segment.row() {
                let place = (number, segment.at());
                put(&mut out, row, &mut next, place).map_err(reading(spool.root()))?;
                segment.read().map_err(reading(&path))?;
            }
            segments.push(path);
        }
        let places = out.into_inner().map_err(io::IntoInnerError::into_error);
        Ok(Self {
            segments,
            places: places.map_err(reading(spool.root()))?,
            open: BTreeMap::new(),
        })
    }

    /// How a row ended, and the file that its answer is in; `shared` is the segment that wants to know.
    pub(super) fn outcome(
        &mut self,
        row: u64,
        shared: &Path,
    ) -> Result<(Outcome, KeptIn), Trouble> {
        let nowhere = || {
            damaged(
                shared,
                "the row that another shares the answer of has no outcome",
            )
        };
        let mut place = [0; PLACE_LEN];
        self.places
            .seek(SeekFrom::Start(row * PLACE_LEN as u64))
            .and_then(|_| self.places.read_exact(&mut place))
            .map_err(|_| nowhere())?;
        let (number, offset) = place.split_first_chunk().expect("it is longer");
        let number = u32::from_le_bytes(*number) as usize;
        let offset = u64::from_le_bytes(*offset.first_chunk().expect("eight bytes are left"));
        let index = number.checked_sub(1).ok_or_else(nowhere)?;
        let path = &self.segments[index];
        if !self.open.contains_key(&index) {
            if self.open.len() == OPEN_MAX {
                self.open.clear();
            }
            let segment = SegmentReader::glance(path).map_err(reading(path))?;
            self.open.insert(index, segment);
        }
        let segment = self.open.get_mut(&index).expect("it was just opened");
        segment.go_to(offset).map_err(reading(path))?;
        if segment.row() != Some(row) {
            return Err(damaged(path, "an outcome is not where it was"));
        }
        let outcome = segment.read().map_err(reading(path))?;
        Ok((outcome, segment.answers()))
    }
}

/// The segments of shards.
fn sent_segments(spool: &SpoolDir) -> Result<Vec<PathBuf>, Trouble> {
    let others = [
        spool.invalid_outcomes(),
        spool.shared_outcomes(),
        spool.earlier_outcomes(),
    ];
    let dir = spool.outcomes_dir();
    let mut found = Vec::new();
    for entry in fs::read_dir(&dir).map_err(reading(&dir))? {
        let path = entry.map_err(reading(&dir))?.path();
        if path.extension().is_some_and(|extension| extension == "seg") && !others.contains(&path) {
            found.push(path);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Writes the place of a row; `next` is the row that would come without a seek.
fn put(
    out: &mut BufWriter<File>,
    row: u64,
    next: &mut u64,
    (number, offset): (u32, u64),
) -> io::Result<()> {
    if row != *next {
        out.seek(SeekFrom::Start(row * PLACE_LEN as u64))?;
    }
    *next = row + 1;
    out.write_all(&number.to_le_bytes())?;
    out.write_all(&offset.to_le_bytes())
}
