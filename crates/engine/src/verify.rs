//! The proof of a finished job, made again: from the requests in the spool and the answers as they were
//! received to every line of the output and every picodollar of the manifest.
//!
//! Nothing that was summed up before is taken for granted: answers are priced anew from the usage that they
//! report. Changes nothing. Leaves out what only the upstream knows (`reconcile`).

mod reused;

use std::fmt::Display;
use std::path::{Path, PathBuf};

use offpeak_core::job::outcome::{OutcomeClass, Tally};
use offpeak_core::job::shard::{Shard, ShardNo, ShardState};
use offpeak_core::price::Book;
use offpeak_core::units::Usd;
use offpeak_store::{JobRecord, Store};
use serde::Serialize;
use thiserror::Error;

use crate::answers::{Prices, Unreadable, each_answer};
use crate::error::EngineError;
use crate::facts::JobFacts;
use crate::finish::Manifest;
use crate::identity::hex;
use crate::output::{compose_again, digest_of};
use crate::purge::{Purged, purged};
use crate::spool::{RefsReader, SpoolDir, SpoolError, SpoolReader};
use reused::{EarlierRequests, reused};

/// What was proved: so many of each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Proved {
    /// Requests whose bytes are those that were read from the input.
    pub requests: u64,
    /// Rows that were not sent and show the answer to the same request.
    #[serde(skip_serializing_if = "is_zero")]
    pub reused: u64,
    /// Lines of the output that were made again and are the same.
    pub lines: u64,
    /// Answers whose price was found again in the usage that they report.
    pub answers: u64,
    /// Their sum.
    #[serde(rename = "cost_picousd")]
    pub cost: Usd,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Something that cannot be proved.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Doubt {
    /// A file is gone.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// In words.
        reason: String,
    },
    /// The output is not the one that was written.
    #[error("{}: it was changed after it was written", path.display())]
    OutputChanged {
        /// The output.
        path: PathBuf,
    },
    /// The output cannot be made again from the spool.
    #[error("the output cannot be made again from what was received: {reason}")]
    OutputDiffers {
        /// In words.
        reason: String,
    },
    /// A request is not the one that was read.
    #[error("row {row}: the bytes of its request are not those that were read from the input")]
    Request {
        /// The row.
        row: u64,
    },
    /// A row shows an answer that is not one to its request.
    #[error("row {row}: the answer that it shows was given to another request")]
    Reused {
        /// The row.
        row: u64,
    },
    /// A number of rows is not what it should be.
    #[error("{found} {what}, and not {wanted}")]
    Count {
        /// What was counted.
        what: &'static str,
        /// How many there are.
        found: u64,
        /// How many there should be.
        wanted: u64,
    },
    /// An answer has another price.
    #[error("row {row}: its answer costs ${}, and ${} was entered", found.to_decimal(), stated.to_decimal())]
    Price {
        /// The row.
        row: u64,
        /// What its usage comes to.
        found: Usd,
        /// What was entered.
        stated: Usd,
    },
    /// Two sums of money differ.
    #[error("{what}: ${} and ${}", one.to_decimal(), other.to_decimal())]
    Sums {
        /// Which.
        what: String,
        /// The first.
        one: Usd,
        /// The other.
        other: Usd,
    },
}

impl Doubt {
    /// What an error says of a file.
    fn unreadable<E: Display>(path: &Path) -> impl Fn(E) -> Self {
        |error| Self::Unreadable {
            path: path.to_owned(),
            reason: error.to_string(),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::OutputChanged { .. } => {
                "what was received is unharmed in the job's directory, but the file is no longer what it \
                 was: put it back from a backup"
            }
            Self::Unreadable { .. } => {
                "put the file back from a backup; the other files of the job are unharmed. The results of a batch \
                 are downloaded again, for 29 days after it was made, when the job is run again and its output \
                 is not in its place"
            }
            _ => "keep the job's directory and report it: this is damage or a bug",
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Requests and answers were purged: only what stays without them was looked at.
    pub purged: Option<Purged>,
    /// What was proved.
    pub proved: Proved,
    /// What could not be: the first of each kind, at most 20.
    pub doubts: Vec<Doubt>,
}

const DOUBTS_MAX: usize = 20;

impl Verdict {
    fn doubt(&mut self, doubt: Doubt) {
        if self.doubts.len() < DOUBTS_MAX {
            self.doubts.push(doubt);
        }
    }

    fn same(&mut self, what: impl Into<String>, one: Usd, other: Usd) {
        if one != other {
            let what = what.into();
            self.doubt(Doubt::Sums { what, one, other });
        }
    }

    fn count(&mut self, what: &'static str, found: u64, wanted: u64) {
        if found != wanted {
            self.doubt(Doubt::Count {
                what,
                found,
                wanted,
            });
        }
    }
}

/// Proves a finished job again. Blocking.
///
/// # Errors
/// If the store or the manifest cannot be read.
pub fn verify(
    store: &Store,
    record: &JobRecord,
    spool: &SpoolDir,
    book: &Book,
) -> Result<Verdict, EngineError> {
    let facts = JobFacts::of(record)?;
    let manifest = Manifest::read(spool)?;
    let mut verdict = Verdict {
        purged: purged(spool)?,
        ..Verdict::default()
    };
    let shards = store.shards(&record.id)?;
    if verdict.purged.is_some() {
        what_stays(store, record, &manifest, &shards, &mut verdict)?;
        return Ok(verdict);
    }
    requests(spool, &shards, facts.sent(), &mut verdict);
    let earlier = EarlierRequests::of(store, record, spool)?;
    reused(spool, &facts, earlier, &mut verdict);
    output(spool, &manifest, &mut verdict);
    let mut tally = Tally::default();
    for shard in &shards {
        let ShardState::Settled(part) = &shard.state else {
            verdict.count("shard is not settled", 1, 0);
            continue;
        };
        tally.add(part);
        let times = [Some(record.created_at), record.finished_at];
        let prices = Prices {
            book,
            models: &facts.models,
            times: times.into_iter().flatten().collect(),
        };
        match answers(spool, (shard.no, part), &prices, &mut verdict) {
            Ok(found) => {
                let what = format!("shard {}: answers and store", shard.no);
                verdict.same(what, found, part.cost);
                verdict.proved.cost += found;
            }
            // What was entered for it stands, and is not proved.
            Err(doubt) => verdict.doubt(doubt),
        }
    }
    verdict.count("rows settled", tally.outcomes.total(), facts.sent());
    sums(store, record, &manifest, &tally, &mut verdict)?;
    Ok(verdict)
}

/// What shards, manifest and ledger say of rows and money is the same.
fn sums(
    store: &Store,
    record: &JobRecord,
    manifest: &Manifest,
    tally: &Tally,
    verdict: &mut Verdict,
) -> Result<(), EngineError> {
    let rows: u64 = manifest.outcomes.values().sum();
    verdict.count("rows with an outcome", rows, manifest.rows_in);
    verdict.count("lines of the output", manifest.rows_out, manifest.rows_in);
    let ledger = store.ledger(&record.id)?;
    verdict.same("shards and manifest", tally.cost, manifest.cost_picousd);
    verdict.same("shards and ledger", tally.cost, ledger.settled);
    verdict.same(
        "calls of unknown outcome in manifest and ledger",
        manifest.unknown_picousd,
        ledger.unknown,
    );
    let waste = store.waste(&record.id)?;
    let waste = waste.iter().map(|batch| batch.cost).sum();
    verdict.same(
        "batches that answer no row, and their sum in the ledger",
        waste,
        ledger.waste,
    );
    verdict.same(
        "batches that answer no row in manifest and ledger",
        manifest.waste_picousd,
        ledger.waste,
    );
    verdict.same("set aside and not given back", ledger.held, Usd::ZERO);
    Ok(())
}

/// What can be proved of a job without its requests and answers: the output is the one that was written, and
/// the sums of shards, manifest and ledger are the same.
fn what_stays(
    store: &Store,
    record: &JobRecord,
    manifest: &Manifest,
    shards: &[Shard],
    verdict: &mut Verdict,
) -> Result<(), EngineError> {
    if output_is_as_written(manifest, verdict) {
        verdict.proved.lines = manifest.rows_out;
    }
    let mut tally = Tally::default();
    for shard in shards {
        if let ShardState::Settled(part) = &shard.state {
            tally.add(part);
        }
    }
    verdict.proved.cost = tally.cost;
    let invalid = manifest.count(OutcomeClass::Invalid);
    let settled = tally.outcomes.total() + invalid + manifest.reused.rows();
    verdict.count("rows settled", settled, manifest.rows_in);
    sums(store, record, manifest, &tally, verdict)
}

/// Every request is the one that was read, by its digest: those of the shards that rows travelled in first.
fn requests(spool: &SpoolDir, shards: &[Shard], wanted: u64, verdict: &mut Verdict) {
    let first = |shard: &&Shard| !shard.no.is_of_leftovers();
    let mut prove = || -> Result<u64, SpoolError> {
        let mut rows = SpoolReader::open(spool)?;
        let mut found = 0;
        for shard in shards.iter().filter(first) {
            for reference in RefsReader::open(spool, shard.rows)? {
                let reference = reference?;
                let row = rows.read(reference.at)?;
                found += 1;
                if row.meta.row == reference.row && row.is_intact() {
                    verdict.proved.requests += 1;
                } else {
                    let row = reference.row;
                    verdict.doubt(Doubt::Request { row });
                }
            }
        }
        Ok(found)
    };
    match prove() {
        Ok(found) => verdict.count("requests in the spool", found, wanted),
        Err(error) => verdict.doubt(Doubt::unreadable(spool.root())(error)),
    }
}

/// Whether the output is as it was written.
fn output_is_as_written(manifest: &Manifest, verdict: &mut Verdict) -> bool {
    let path = &manifest.output;
    let doubt = match digest_of(path) {
        Ok(digest) if hex(&digest) == manifest.output_blake3 => return true,
        Ok(_) => Doubt::OutputChanged { path: path.clone() },
        Err(error) => Doubt::unreadable(path)(error),
    };
    verdict.doubt(doubt);
    false
}

/// The output is as it was written, and what was received makes the same one.
fn output(spool: &SpoolDir, manifest: &Manifest, verdict: &mut Verdict) {
    output_is_as_written(manifest, verdict);
    match compose_again(spool, manifest.rows_in) {
        Ok(again) if hex(&again.digest) == manifest.output_blake3 => {
            verdict.proved.lines = again.rows;
        }
        Ok(_) => verdict.doubt(Doubt::OutputDiffers {
            reason: "other bytes come out".to_owned(),
        }),
        Err(error) => verdict.doubt(Doubt::OutputDiffers {
            reason: error.to_string(),
        }),
    }
}

/// Prices the answers of a shard again; returns their sum, or the file in which they cannot be read.
fn answers(
    spool: &SpoolDir,
    shard: (ShardNo, &Tally),
    prices: &Prices<'_>,
    verdict: &mut Verdict,
) -> Result<Usd, Doubt> {
    let mut sum = Usd::ZERO;
    let read = each_answer(spool, shard, prices, |answer| {
        if answer.cost == answer.kept.cost {
            verdict.proved.answers += 1;
        } else {
            verdict.doubt(Doubt::Price {
                row: answer.row,
                found: answer.cost,
                stated: answer.kept.cost,
            });
        }
        sum += answer.cost;
    });
    match read {
        Ok(()) => Ok(sum),
        Err(Unreadable { path, reason }) => Err(Doubt::Unreadable { path, reason }),
    }
}
