//! Answers that were received and are no longer on the disk, or can no longer be read. What was only noted of
//! them is made again from what was received; the results of a batch are downloaded again, for as long as the
//! upstream keeps them.
//!
//! Done when the output is about to be made of them, for shards that are settled; one that is only
//! collected goes back to be collected by the machine. Nothing is sent to be answered again.

use std::fs::File;
use std::path::PathBuf;

use offpeak_core::job::event::Write;
use offpeak_core::job::outcome::{OutcomeClass, Tally};
use offpeak_core::job::shard::{
    Collection, JobId, Origin, Proof, Shard, ShardState, Upstream as Batch, UpstreamCopy,
};
use offpeak_core::units::Timestamp;
use offpeak_store::JobState;
use offpeak_wire::error::ErrorKind;

use crate::blocking::blocking;
use crate::error::EngineError;
use crate::facts::JobFacts;
use crate::output::read_at;
use crate::settle::answer::Answer;
use crate::settle::kept::KeptIn;
use crate::settle::line::{Line, Reason, write_line};
use crate::settle::segment::{Outcome, SegmentReader, SegmentWriter, frame_line};
use crate::settle::{SettleContext, read_results, settle_batch, settle_sync};
use crate::spool::{SpoolDir, SpoolReader};
use crate::start::{Engine, Job};
use crate::transfer::{DownloadError, download};
use crate::upstream::Upstream;

/// Downloads of the same results that are tried: as in a run, each may be flawed.
const DOWNLOADS_MAX: u32 = 3;

/// Brings back the answers of settled batches that are lost, and says how many batches those were. In a
/// job that this process has run from its beginning only files that are gone are looked for; in any
/// other each answer is read.
///
/// # Errors
/// If answers are lost and cannot be had now, or not any more and the job had finished, or the disk
/// fails. In an unfinished job, rows whose answers cannot be had any more end as `result_unreadable`.
pub async fn mend(job: &Job) -> Result<u64, EngineError> {
    let (engine, id, spool) = (job.engine.clone(), job.record.id.clone(), job.spool.clone());
    let thorough = job.resumed;
    let without = blocking(move || {
        let shards = engine.store.shards(&id)?;
        let is_lost = |shard: &Shard| is_lost(&spool, shard, thorough);
        Ok::<_, EngineError>(shards.into_iter().filter(is_lost).collect::<Vec<_>>())
    })
    .await?;
    let mut mended = 0;
    for shard in without {
        let ShardState::Settled(tally) = &shard.state else {
            continue;
        };
        let tally = tally.clone();
        if is_on_the_disk(job, &shard, &tally).await {
            continue;
        }
        let Some(origin) = shard.origin.clone() else {
            // Calls cannot be looked up, and their answers are nowhere else.
            let path = job.spool.journal(shard.no);
            return Err(lost(path, &tally, "the answers to calls are nowhere else"));
        };
        mend_one(job, shard, origin, &tally).await?;
        mended += 1;
    }
    Ok(mended)
}

/// Whether answers of a settled shard cannot be read where they were received.
fn is_lost(spool: &SpoolDir, shard: &Shard, thorough: bool) -> bool {
    let ShardState::Settled(tally) = &shard.state else {
        return false;
    };
    // One whose rows were all answered by another shard may have no outcomes.
    if tally.outcomes.total() == 0 {
        return false;
    }
    let Ok(mut segment) = SegmentReader::open(&spool.outcomes(shard.no)) else {
        return true;
    };
    let Some(path) = segment.answers().path(spool) else {
        return false;
    };
    let Ok(file) = File::open(path) else {
        return true;
    };
    let mut message = Vec::new();
    while thorough && segment.row().is_some() {
        let readable = match segment.read() {
            Ok(Outcome::Kept(kept)) => {
                read_at(&file, &kept, &mut message).is_ok() && Answer::read(&message).is_ok()
            }
            outcome => outcome.is_ok(),
        };
        if !readable {
            return true;
        }
    }
    false
}

/// Settles a shard again from what was received, if that is still here, and says whether the same came of it.
async fn is_on_the_disk(job: &Job, shard: &Shard, tally: &Tally) -> bool {
    for canceled in ways(job) {
        let (engine, facts) = (job.engine.clone(), job.facts.clone());
        let (spool, id, shard) = (job.spool.clone(), job.record.id.clone(), shard.clone());
        let again = blocking(move || {
            let context = context(&engine, &facts, &spool, &id, *canceled);
            match &shard.origin {
                None => settle_sync(&context, &shard),
                Some(origin) => {
                    let collection = collection(origin, engine.now());
                    let results = read_results(&context, &shard, origin.created_at)?;
                    settle_batch(&context, &shard, &collection, results)
                }
            }
        });
        if again.await.is_ok_and(|settled| settled.tally == *tally) {
            return true;
        }
    }
    false
}

/// One that was settled before its job was given up had rows to leave over.
fn ways(job: &Job) -> &'static [bool] {
    if job.facts.cancel.is_some() {
        &[false, true]
    } else {
        &[false]
    }
}

fn context<'a>(
    engine: &'a Engine,
    facts: &'a JobFacts,
    spool: &'a SpoolDir,
    job: &'a JobId,
    canceled: bool,
) -> SettleContext<'a> {
    SettleContext {
        spool,
        job,
        book: &engine.book,
        models: &facts.models,
        led: facts.groups.canaries > 0,
        canceled,
    }
}

fn collection(origin: &Origin, since: Timestamp) -> Collection {
    Collection {
        upstream: Batch {
            batch: origin.batch.clone(),
            created_at: origin.created_at,
            since,
            proof: Proof::Certain,
        },
        downloads: 1,
    }
}

async fn mend_one(
    job: &Job,
    shard: Shard,
    origin: Origin,
    tally: &Tally,
) -> Result<(), EngineError> {
    let path = job.spool.results(shard.no);
    if origin.copy == UpstreamCopy::Deleted {
        return report(job, shard, tally, "its batch was deleted upstream").await;
    }
    // With the files their directory may be gone.
    let root = job.spool.root();
    job.spool
        .create()
        .map_err(EngineError::io("create", root))?;
    let (engine, betas) = (&job.engine, job.settings.betas.clone());
    let upstream = Upstream::new(engine.client.clone(), betas, engine.clock);
    let mut problem = String::new();
    for _ in 0..DOWNLOADS_MAX {
        match download(&upstream, &job.spool, shard.no, &origin.batch).await {
            Ok(_) => {}
            Err(DownloadError::Io(source)) => return Err(EngineError::io("write", &path)(source)),
            Err(DownloadError::Upstream(failure)) => {
                let gone = engine.now() >= origin.kept_until()
                    || upstream.is_archived(&origin.batch).await;
                if failure.kind == Some(ErrorKind::NotFound) && gone {
                    let why = "the upstream keeps results for 29 days, which are over";
                    return report(job, shard, tally, why).await;
                }
                problem = failure.message;
                continue;
            }
        }
        if is_on_the_disk(job, &shard, tally).await {
            return Ok(());
        }
        "other answers came than before".clone_into(&mut problem);
    }
    Err(lost(path, tally, &problem))
}

/// Says of every answer of a shard that it is lost: its row was billed, and ends as `result_unreadable`. The
/// ledger stays as it is.
async fn report(job: &Job, shard: Shard, tally: &Tally, why: &str) -> Result<(), EngineError> {
    let path = job.spool.results(shard.no);
    if job.record.state != JobState::Open {
        // Its manifest says otherwise, and its output was there once.
        return Err(lost(path, tally, why));
    }
    let message = format!(
        "its answer was in {}, which is lost or damaged, and cannot be downloaded again: {why}",
        path.display()
    );
    let (engine, id, spool) = (job.engine.clone(), job.record.id.clone(), job.spool.clone());
    let tally = Box::new(Tally {
        outcomes: tally.outcomes.without_answers(),
        ..tally.clone()
    });
    blocking(move || {
        let outcomes = spool.outcomes(shard.no);
        let mut segment =
            SegmentReader::open(&outcomes).map_err(EngineError::io("read", &outcomes))?;
        // The store first: what it says then is the same however often this is begun.
        let settled = Write::Shard {
            expect: Some(shard.state.tag()),
            shard: Box::new(Shard {
                state: ShardState::Settled(tally),
                ..shard
            }),
        };
        engine.store.commit(&id, engine.now(), &[settled])?;
        let io = |source| EngineError::io("write", &outcomes)(source);
        let mut writer =
            SegmentWriter::create(&outcomes, KeptIn::Nowhere, spool.disk()).map_err(io)?;
        let mut rows = SpoolReader::open(&spool)?;
        while let Some(row) = segment.row() {
            let mut framed = Vec::new();
            match segment.read().map_err(io)? {
                Outcome::Shared(_) | Outcome::Earlier(..) | Outcome::EarlierLine(_) => {
                    return Err(EngineError::Damaged {
                        path: outcomes.clone(),
                        detail: "a row of a batch that was not sent".to_owned(),
                    });
                }
                Outcome::Line(line) => frame_line(row, &mut framed, |out| out.extend(line)),
                Outcome::Kept(kept) => {
                    let class = OutcomeClass::ResultUnreadable;
                    let line = Line {
                        key: rows.read(kept.at)?.key,
                        class,
                        answer: None,
                        cost: Some(kept.cost),
                        route: Some(kept.route),
                        attempts: kept.attempts,
                        error: Some(Reason::of_class(class, &message)),
                        reused: None,
                    };
                    frame_line(row, &mut framed, |out| write_line(&line, out));
                }
            }
            writer.append(&framed).map_err(io)?;
        }
        writer.finish().map_err(io)
    })
    .await
}

fn lost(path: PathBuf, tally: &Tally, problem: &str) -> EngineError {
    EngineError::AnswersLost {
        path,
        rows: tally.outcomes.total(),
        problem: problem.to_owned(),
    }
}
