//! A job whose batches have ended and whose results were downloaded: the spool that ingest and cut
//! make, and result lines for it, in no order.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use offpeak_core::job::mark::Mark;
use offpeak_core::job::shard::{Collection, Proof, Shard, ShardState, Upstream};
use offpeak_engine::spool::{RefsReader, SpoolReader};
use offpeak_wire::batch::BatchId;

use crate::product;
use crate::prose::{self, Dice};
use crate::sample::{BatchRates, Job, MAX_TOKENS, MODEL, ids_path, job_id, now};

/// Bytes of an answer's text, about.
const TEXT: usize = 700;

/// Makes the job of `input` in `dir`.
pub(crate) fn make(input: &Path, dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir)?;
    let mut job = Job {
        dir: dir.to_owned(),
        rows: 0,
        models: Vec::new(),
        shards: Vec::new(),
        rates: BatchRates::of_model()?,
    };
    let (ingested, shards) = product::spool_batch(input, &job.spool())?;
    (job.rows, job.models) = (ingested.rows, ingested.models);
    let mut ids = BufWriter::new(File::create(ids_path(dir))?);
    let mut dice = Dice::new(4);
    for shard in shards {
        write_results(&job, &shard, &mut dice, &mut ids)?;
        let upstream = Upstream {
            batch: BatchId::new("msgbatch_0001")?,
            created_at: now()?,
            since: now()?,
            proof: Proof::Certain,
        };
        let state = ShardState::Collected(Collection {
            upstream,
            downloads: 1,
        });
        job.shards.push(Shard { state, ..shard });
    }
    ids.flush()?;
    job.save()
}

fn write_results(
    job: &Job,
    shard: &Shard,
    dice: &mut Dice,
    ids: &mut impl Write,
) -> anyhow::Result<()> {
    let spool = job.spool();
    let mut rows = SpoolReader::open(&spool)?;
    let mut custom_ids = Vec::new();
    for reference in RefsReader::open(&spool, shard.rows)? {
        let reference = reference?;
        let mark = Mark {
            job: job_id(),
            shard: shard.no,
            row: reference.row,
        };
        let row = rows.read(reference.at)?;
        let key: String = serde_json::from_slice(row.key)?;
        let id = mark.custom_id();
        writeln!(ids, "{} {key}", id.as_str())?;
        custom_ids.push(id);
    }
    // Fisher and Yates.
    for last in (1..custom_ids.len()).rev() {
        custom_ids.swap(last, dice.below(last + 1));
    }
    let mut out = BufWriter::with_capacity(1 << 20, File::create(spool.results(shard.no))?);
    let mut text = String::new();
    for id in custom_ids {
        text.clear();
        let bytes = TEXT / 2 + dice.below(TEXT);
        prose::write(dice, bytes, &mut text);
        let stop = if dice.below(50) == 0 {
            "max_tokens"
        } else {
            "end_turn"
        };
        let output = if stop == "end_turn" {
            bytes as u64 / 4
        } else {
            MAX_TOKENS.into()
        };
        write!(
            out,
            r#"{{"custom_id":"{}","result":{{"type":"succeeded","message":{{"id":"msg_{:016x}","type":"message","role":"assistant","model":"{MODEL}","content":[{{"type":"text","text":"#,
            id.as_str(),
            dice.roll(),
        )?;
        serde_json::to_writer(&mut out, &text)?;
        let (input, read) = (
            300 + dice.below(200),
            if dice.below(2) == 0 { 1024 } else { 0 },
        );
        writeln!(
            out,
            r#","citations":null}}],"stop_reason":"{stop}","stop_sequence":null,"stop_details":null,"usage":{{"input_tokens":{input},"cache_creation_input_tokens":0,"cache_read_input_tokens":{read},"cache_creation":{{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0}},"output_tokens":{output},"server_tool_use":null,"service_tier":"batch","inference_geo":"global"}}}}}}}}"#,
        )?;
    }
    Ok(out.into_inner()?.sync_all()?)
}
