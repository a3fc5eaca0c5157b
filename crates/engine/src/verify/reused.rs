//! The proof of rows that were not sent: whose answer they show has made the same request.
//!
//! Leaves out their lines, which are made again with all others.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::path::{Path, PathBuf};

use offpeak_store::{JobRecord, Store};

use super::{Doubt, Verdict};
use crate::error::EngineError;
use crate::facts::JobFacts;
use crate::purge::purged;
use crate::settle::segment::{EarlierLine, Origin, Outcome, SegmentReader, Shared};
use crate::spool::{RowAt, SpoolDir, SpoolError, SpoolReader};

/// What earlier runs have asked, as far as their files are there.
pub(super) struct EarlierRequests {
    spools: BTreeMap<u32, SpoolDir>,
    open: BTreeMap<u32, SpoolReader>,
}

impl EarlierRequests {
    /// Those of the runs of the same name.
    pub(super) fn of(
        store: &Store,
        record: &JobRecord,
        spool: &SpoolDir,
    ) -> Result<Self, EngineError> {
        let jobs = spool.root().parent().unwrap_or_else(|| Path::new("."));
        let runs = store.jobs()?.into_iter();
        let runs = runs.filter(|run| run.name == record.name && run.run < record.run);
        let spool = |run: JobRecord| (run.run, SpoolDir::new(jobs.join(run.id.as_str())));
        Ok(Self {
            spools: runs.map(spool).collect(),
            open: BTreeMap::new(),
        })
    }

    /// Whether a row of an earlier run has made the request of this digest; `None` if its files are gone.
    fn has_made(&mut self, digest: [u8; 16], origin: &Origin) -> Result<Option<bool>, SpoolError> {
        let Some(spool) = self.spools.get(&origin.run) else {
            return Ok(None);
        };
        if !spool.frames().is_file() || purged(spool).is_ok_and(|purged| purged.is_some()) {
            return Ok(None);
        }
        let rows = match self.open.entry(origin.run) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(place) => place.insert(SpoolReader::open(spool)?),
        };
        let row = rows.read(origin.at)?;
        let same = row.meta.row == origin.row && row.meta.digest == digest && row.is_intact();
        Ok(Some(same))
    }
}

/// Proves the rows that share an answer and those whose answer was taken over.
pub(super) fn reused(
    spool: &SpoolDir,
    facts: &JobFacts,
    mut earlier: EarlierRequests,
    verdict: &mut Verdict,
) {
    let (mut shared, mut taken_over) = (0, 0);
    for (path, wanted) in [
        (spool.shared_outcomes(), facts.shared),
        (spool.earlier_outcomes(), facts.taken_over),
    ] {
        if wanted == 0 {
            continue;
        }
        let proved = each(spool, &path, |rows, row, outcome| {
            let same = match outcome {
                Outcome::Shared(Shared { at, of, of_at }) => {
                    shared += 1;
                    let digest = intact(rows, row, at)?;
                    digest.is_some() && digest == intact(rows, of, of_at)?
                }
                Outcome::Earlier(kept, origin) => {
                    taken_over += 1;
                    match intact(rows, row, kept.at)? {
                        // What is gone cannot be asked; the answer was copied when it was there.
                        Some(digest) => earlier.has_made(digest, &origin)?.unwrap_or(true),
                        None => false,
                    }
                }
                Outcome::EarlierLine(EarlierLine { at, origin, .. }) => {
                    taken_over += 1;
                    match intact(rows, row, at)? {
                        Some(digest) => earlier.has_made(digest, &origin)?.unwrap_or(true),
                        None => false,
                    }
                }
                Outcome::Line(_) | Outcome::Kept(_) => false,
            };
            if same {
                verdict.proved.reused += 1;
            } else {
                verdict.doubt(Doubt::Reused { row });
            }
            Ok(())
        });
        if let Err((path, error)) = proved {
            verdict.doubt(Doubt::unreadable(&path)(error));
        }
    }
    verdict.count("rows that share an answer", shared, facts.shared);
    verdict.count("rows taken over", taken_over, facts.taken_over);
}

fn each(
    spool: &SpoolDir,
    path: &Path,
    mut prove: impl FnMut(&mut SpoolReader, u64, Outcome) -> Result<(), SpoolError>,
) -> Result<(), (PathBuf, io::Error)> {
    let of = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| (path.clone(), error)
    };
    let in_spool = |error: SpoolError| (spool.root().to_owned(), error.into());
    let mut rows = SpoolReader::open(spool).map_err(in_spool)?;
    let mut segment = SegmentReader::open(path).map_err(of(path))?;
    while let Some(row) = segment.row() {
        let outcome = segment.read().map_err(of(path))?;
        prove(&mut rows, row, outcome).map_err(in_spool)?;
    }
    Ok(())
}

/// The digest of a row's request, if its bytes are those that were read.
fn intact(rows: &mut SpoolReader, row: u64, at: RowAt) -> Result<Option<[u8; 16]>, SpoolError> {
    let found = rows.read(at)?;
    let is_intact = found.meta.row == row && found.is_intact();
    Ok(is_intact.then_some(found.meta.digest))
}
