//! Answers that were received and are no longer on the disk, or can no longer be read: the results of a
//! batch are downloaded again, for as long as the upstream keeps them, and settled again.
//!
//! Done when the output is about to be made of them, for shards that are settled; one that is only
//! collected goes back to be collected by the machine. Nothing is sent to be answered again.

use std::fs::File;
use std::path::PathBuf;

use offpeak_core::job::event::Write;
use offpeak_core::job::outcome::{OutcomeClass, Tally};
use offpeak_core::job::shard::{
    Collection, Origin, Proof, Shard, ShardState, Upstream as Batch, UpstreamCopy,
};
use offpeak_core::price::Lane;
use offpeak_store::JobState;
use offpeak_wire::error::ErrorKind;

use crate::blocking::blocking;
use crate::error::EngineError;
use crate::output::read_at;
use crate::settle::answer::Answer;
use crate::settle::kept::KeptIn;
use crate::settle::line::{Line, Reason, write_line};
use crate::settle::segment::{Outcome, SegmentReader, SegmentWriter, frame_line};
use crate::settle::{SettleContext, read_results, settle_batch};
use crate::spool::{SpoolDir, SpoolReader};
use crate::start::Job;
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
    let lost = blocking(move || {
        let shards = engine.store.shards(&id)?;
        let is_lost = |shard: &Shard| shard.lane == Lane::Batch && is_lost(&spool, shard, thorough);
        Ok::<_, EngineError>(shards.into_iter().filter(is_lost).collect::<Vec<_>>())
    })
    .await?;
    let mut mended = 0;
    for shard in lost {
        // Shards that were settled by a version that noted no batch are what they were.
        if let (Some(origin), ShardState::Settled(tally)) = (shard.origin.clone(), &shard.state) {
            let tally = tally.clone();
            mend_one(job, shard, origin, &tally).await?;
            mended += 1;
        }
    }
    Ok(mended)
}

/// Whether answers of a settled shard cannot be read where they were received.
fn is_lost(spool: &SpoolDir, shard: &Shard, thorough: bool) -> bool {
    if shard.origin.is_none() {
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
    for downloads in 1..=DOWNLOADS_MAX {
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
        let collection = Collection {
            upstream: Batch {
                batch: origin.batch.clone(),
                created_at: origin.created_at,
                since: engine.now(),
                proof: Proof::Certain,
            },
            downloads,
        };
        // One that was settled before its job was given up had rows to leave over.
        let ways = if job.facts.cancel.is_some() {
            &[false, true][..]
        } else {
            &[false]
        };
        for canceled in ways {
            let settled = settle_again(job, shard.clone(), collection.clone(), *canceled);
            if settled.await? == *tally {
                return Ok(());
            }
        }
        "other answers came than before".clone_into(&mut problem);
    }
    Err(lost(path, tally, &problem))
}

async fn settle_again(
    job: &Job,
    shard: Shard,
    collection: Collection,
    canceled: bool,
) -> Result<Tally, EngineError> {
    let (engine, spool, id) = (job.engine.clone(), job.spool.clone(), job.record.id.clone());
    let facts = job.facts.clone();
    blocking(move || {
        let context = SettleContext {
            spool: &spool,
            job: &id,
            book: &engine.book,
            models: &facts.models,
            led: facts.groups.canaries > 0,
            canceled,
        };
        let results = read_results(&context, &shard, collection.upstream.created_at)?;
        Ok(settle_batch(&context, &shard, &collection, results)?.tally)
    })
    .await
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
                Outcome::Shared(_) | Outcome::Earlier(..) => {
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
