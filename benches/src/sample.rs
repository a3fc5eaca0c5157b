//! What all sides of a benchmark have in common: the model, the prompt, the template, and the job
//! whose results are settled.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use offpeak_core::job::shard::{JobId, Shard};
use offpeak_core::price::{Book, Lane, Mode, Rates};
use offpeak_core::units::Timestamp;
use offpeak_engine::spool::SpoolDir;
use serde::{Deserialize, Serialize};

use crate::prose::{self, Dice};

pub(crate) const MODEL: &str = "claude-haiku-5-5";
pub(crate) const MAX_TOKENS: u32 = 400;

/// The user message of a table job. The bare loop renders the same by concatenation.
pub(crate) const TEMPLATE: &str = "Topic: {{ topic }}\n\n{{ text }}";

/// Most rows of a batch, and most bytes of its body (Anthropic docs, batch processing).
pub(crate) const ROWS_MAX: u32 = 100_000;
pub(crate) const BYTES_MAX: u64 = 256_000_000;

/// A system prompt of about 580 bytes, or of a quarter of small rows.
pub(crate) fn system(row_bytes: usize) -> String {
    let mut out = String::new();
    prose::write(&mut Dice::new(3), 580.min(row_bytes / 4), &mut out);
    out
}

pub(crate) fn job_id() -> JobId {
    JobId::of_digest(&[7; 32])
}

/// When the job is created, in the time of the benchmark.
pub(crate) fn now() -> anyhow::Result<Timestamp> {
    Ok(Timestamp::of_day("2026-11-20")?)
}

/// A job whose results were downloaded and are to be settled, as far as it is not in its spool.
#[derive(Serialize, Deserialize)]
pub(crate) struct Job {
    /// Where it was made.
    #[serde(skip)]
    pub(crate) dir: PathBuf,
    pub(crate) rows: u64,
    pub(crate) models: Vec<String>,
    pub(crate) shards: Vec<Shard>,
    pub(crate) rates: BatchRates,
}

/// Picodollars per token on the batch lane.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct BatchRates {
    pub(crate) input: u64,
    pub(crate) write_5m: u64,
    pub(crate) write_1h: u64,
    pub(crate) read: u64,
    pub(crate) output: u64,
}

impl BatchRates {
    pub(crate) fn of_model() -> anyhow::Result<Self> {
        let mode = Mode {
            lane: Lane::Batch,
            us: false,
            fast: false,
            long_prompt: false,
        };
        let Rates {
            input,
            write_5m,
            write_1h,
            read,
            output,
        } = Book::embedded().model(MODEL)?.rates(now()?, mode)?;
        Ok(Self {
            input,
            write_5m,
            write_1h,
            read,
            output,
        })
    }
}

impl Job {
    pub(crate) fn load(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join("job.json");
        let text = fs::read(&path).with_context(|| format!("{}", path.display()))?;
        Ok(Self {
            dir: dir.to_owned(),
            ..serde_json::from_slice(&text)?
        })
    }

    pub(crate) fn save(&self) -> anyhow::Result<()> {
        Ok(fs::write(
            self.dir.join("job.json"),
            serde_json::to_vec(self)?,
        )?)
    }

    pub(crate) fn spool(&self) -> SpoolDir {
        SpoolDir::new(self.dir.join("spool"))
    }
}

/// The `custom_id` of every row in input order, and the user's key: one line each. What a loop that
/// has no spool needs for its join.
pub(crate) fn ids_path(dir: &Path) -> PathBuf {
    dir.join("ids.txt")
}
