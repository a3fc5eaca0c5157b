//! The product's side: the same calls that a run makes, without the network between them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use offpeak_core::job::machine::OnUnknown;
use offpeak_core::job::shard::{Shard, ShardState};
use offpeak_core::price::{Book, Lane};
use offpeak_engine::cut::{CutPlan, cut};
use offpeak_engine::disk::{Disk, Durable};
use offpeak_engine::ingest::{Ingested, ingest};
use offpeak_engine::output::write_output;
use offpeak_engine::settle::{SettleContext, read_results, settle_batch};
use offpeak_engine::spec::{
    FieldsIn, InputShape, JobSpec, Need, OnInvalid, Reuse, Source, TableFormat, Template,
};
use offpeak_engine::spool::SpoolDir;

use crate::sample::{BYTES_MAX, Job, MAX_TOKENS, MODEL, ROWS_MAX, TEMPLATE, job_id, now, system};

/// From rows of the batch shape to shards of a durable spool.
pub(crate) fn ingest_batch(input: &Path, dir: &str) -> anyhow::Result<(u64, u64)> {
    let (ingested, _) = spool_batch(input, &SpoolDir::new(dir))?;
    Ok((ingested.rows, ingested.disk_bytes))
}

/// The same on a disk that is never waited for.
pub(crate) fn ingest_batch_unsynced(input: &Path, dir: &str) -> anyhow::Result<(u64, u64)> {
    let spool = SpoolDir::new(dir).on(&Disk::new(Arc::new(Unsynced)));
    let (ingested, _) = spool_batch(input, &spool)?;
    Ok((ingested.rows, ingested.disk_bytes))
}

/// Asks for nothing.
#[derive(Debug)]
struct Unsynced;

impl Durable for Unsynced {
    fn content(&self, _: &File, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn growth(&self, _: &File, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn names(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn spool_batch(
    input: &Path,
    spool: &SpoolDir,
) -> anyhow::Result<(Ingested, Vec<Shard>)> {
    into_spool(&spec(input, InputShape::Batch), spool)
}

/// From a table to shards of a durable spool.
pub(crate) fn ingest_csv(input: &Path, dir: &str) -> anyhow::Result<(u64, u64)> {
    let template = Template {
        key: "id".to_owned(),
        model: MODEL.to_owned(),
        max_tokens: MAX_TOKENS,
        system: Some(system(usize::MAX)),
        user: TEMPLATE.to_owned(),
        user_origin: (PathBuf::from("job.toml"), 1),
        fields: FieldsIn::GivenOrder,
        params: Vec::new(),
    };
    let shape = InputShape::Table {
        format: TableFormat::Csv,
        template,
    };
    let (ingested, _) = into_spool(&spec(input, shape), &SpoolDir::new(dir))?;
    Ok((ingested.rows, ingested.disk_bytes))
}

fn into_spool(spec: &JobSpec, spool: &SpoolDir) -> anyhow::Result<(Ingested, Vec<Shard>)> {
    spool.create()?;
    let ingested = ingest(spec, Book::embedded(), now()?, &[], Some(spool), &|_| {})?;
    if ingested.invalid > 0 {
        bail!(
            "{} rows are invalid, such as {:?}",
            ingested.invalid,
            ingested.invalid_examples
        );
    }
    let plan = CutPlan {
        lane: Lane::Batch,
        groups: BTreeMap::new(),
        rows_max: ROWS_MAX,
        bytes_max: BYTES_MAX,
        worst_max: None,
    };
    let shards = cut(spool, &job_id(), &plan)?;
    Ok((ingested, shards))
}

fn spec(input: &Path, shape: InputShape) -> JobSpec {
    JobSpec {
        name: "benchmark".to_owned(),
        source: Source {
            input: input.to_owned(),
            shape,
            files: Vec::new(),
        },
        need: Need::Whenever,
        budget: None,
        soft_budget: None,
        zero_data_retention: false,
        delete_upstream: false,
        priority: 0,
        kept_for: None,
        betas: Vec::new(),
        output: PathBuf::from("unused.jsonl"),
        overwrite: false,
        on_invalid: OnInvalid::Stop,
        on_unknown: OnUnknown::Wait,
        reuse: Reuse::default(),
    }
}

/// From downloaded result lines to the output. The outcomes of an earlier run must be gone.
pub(crate) fn results(job: &Job, out: &Path) -> anyhow::Result<(u64, u64)> {
    let (spool, id) = (job.spool(), job_id());
    let ctx = SettleContext {
        spool: &spool,
        job: &id,
        book: Book::embedded(),
        models: &job.models,
        led: false,
        canceled: false,
    };
    for shard in &job.shards {
        let ShardState::Collected(collection) = &shard.state else {
            bail!("a shard whose results were not downloaded");
        };
        let results = read_results(&ctx, shard, collection.upstream.created_at)?;
        if !results.census().is_complete() {
            bail!("{:?}", results.census());
        }
        let settlement = settle_batch(&ctx, shard, collection, results)?;
        if settlement.leftovers.is_some() {
            bail!("rows were left over");
        }
    }
    let output = write_output(&spool, job.rows, out, false)?;
    Ok((output.rows, output.bytes))
}

/// Forgets what an earlier run settled.
pub(crate) fn forget_outcomes(job: &Job) -> anyhow::Result<()> {
    let dir = job.spool().outcomes_dir();
    for entry in fs::read_dir(&dir).with_context(|| format!("{}", dir.display()))? {
        fs::remove_file(entry?.path())?;
    }
    Ok(())
}
