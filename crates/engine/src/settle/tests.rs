//! Laws and cases of settling, over a spool on the disk.

mod batch;
mod sync;

use std::path::PathBuf;

use offpeak_core::job::mark::Mark;
use offpeak_core::job::outcome::{OutcomeClass, Tally};
use offpeak_core::job::shard::{
    Collection, JobId, Proof, RowRange, Shard, ShardNo, ShardRole, ShardState, Upstream,
};
use offpeak_core::price::{Book, Lane};
use offpeak_core::units::{Timestamp, Usd};
use offpeak_wire::batch::BatchId;
use serde_json::Value;

use super::*;
use crate::output::write_output;
use crate::spool::{RefsReader, RefsWriter, RowHead, RowMarks, RowMeta, RowRef, SpoolWriter};

/// Worst case of every test row on the sync lane: odd, so that half of it is rounded.
const WORST: u64 = 1001;

/// A job of some rows in the spool, keys `"k0"`, `"k1"`, …
struct Job {
    dir: tempfile::TempDir,
    spool: SpoolDir,
    id: JobId,
    models: Vec<String>,
    refs: Vec<RowRef>,
    canceled: bool,
}

impl Job {
    fn of(rows: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let spool = SpoolDir::new(dir.path().join("job"));
        spool.create().unwrap();
        let mut writer = SpoolWriter::create(&spool).unwrap();
        let refs = (0..rows).map(|row| spooled(&mut writer, row)).collect();
        writer.finish().unwrap();
        let models = vec!["claude-haiku-5-5".to_owned()];
        Self {
            dir,
            spool,
            id: JobId::of_digest(&[7; 32]),
            models,
            refs,
            canceled: false,
        }
    }

    fn ctx(&self) -> SettleContext<'_> {
        SettleContext {
            spool: &self.spool,
            job: &self.id,
            book: Book::embedded(),
            models: &self.models,
            led: false,
            canceled: self.canceled,
        }
    }

    /// A shard of these rows, in a reference file of the same number.
    fn shard(&self, no: u32, lane: Lane, rows: std::ops::Range<usize>) -> Shard {
        let mut refs = RefsWriter::create(&self.spool, no).unwrap();
        for row in &self.refs[rows] {
            refs.push(row).unwrap();
        }
        Shard {
            no: ShardNo(no),
            lane,
            role: ShardRole::Bulk,
            rows: refs.finish().unwrap(),
            bytes: 0,
            worst: Usd::ZERO,
            mark: None,
            unmarked: None,
            found: false,
            account: None,
            origin: None,
            after: None,
            reserved: Usd::ZERO,
            state: ShardState::Running,
        }
    }

    fn custom_id(&self, shard: u32, row: u64) -> String {
        let mark = Mark {
            job: self.id.clone(),
            shard: ShardNo(shard),
            row,
        };
        mark.custom_id().as_str().to_owned()
    }

    fn leftovers(&self, settlement: &Settlement) -> Vec<RowRef> {
        let Some(leftovers) = settlement.leftovers else {
            return Vec::new();
        };
        RefsReader::open(&self.spool, leftovers.rows)
            .unwrap()
            .map(Result::unwrap)
            .collect()
    }

    /// The merged output, parsed.
    fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.output()).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn output(&self) -> PathBuf {
        let out = self.dir.path().join("out.jsonl");
        write_output(&self.spool, self.refs.len() as u64, &out, true).unwrap();
        out
    }
}

fn spooled(writer: &mut SpoolWriter, row: u64) -> RowRef {
    let request = format!(r#"{{"model":"claude-haiku-5-5","n":{row}}}"#);
    let meta = RowMeta {
        max_tokens: 100,
        ..RowMeta::of(row, request.as_bytes())
    };
    let key = format!("\"k{row}\"");
    let at = writer
        .append(
            RowHead {
                meta: &meta,
                key: key.as_bytes(),
                points: &[],
            },
            0,
            request.as_bytes(),
        )
        .unwrap();
    RowRef {
        row,
        at,
        worst: WORST,
        attempts: 0,
        round: 0,
        request_len: meta.request_len,
        marks: RowMarks::NONE,
    }
}

fn at() -> Timestamp {
    "2026-11-20T10:00:00Z".parse().unwrap()
}

fn collection() -> Collection {
    Collection {
        upstream: Upstream {
            batch: "msgbatch_1".parse::<BatchId>().unwrap(),
            created_at: at(),
            since: at(),
            proof: Proof::Certain,
        },
        downloads: 1,
    }
}

/// A message with this much in and out; 10 tokens in cost a millionth of a dollar on the sync lane.
fn message(stop_reason: &str, input: u64, output: u64) -> String {
    format!(
        r#"{{"id":"msg_1","type":"message","role":"assistant","model":"claude-haiku-5-5","content":[{{"type":"text","text":"a \"b\" \u00e9\n"}}],"stop_reason":"{stop_reason}","usage":{{"input_tokens":{input},"output_tokens":{output}}}}}"#
    )
}

fn error(kind: &str) -> String {
    format!(
        r#"{{"type":"error","error":{{"type":"{kind}","message":"because of {kind}"}},"request_id":"req_1"}}"#
    )
}

/// What the lines' costs come to: the tally must say the same.
fn sum_of_costs(lines: &[Value]) -> Usd {
    let costs = lines
        .iter()
        .filter_map(|line| line["cost_picousd"].as_str());
    Usd::from_pico(costs.map(|cost| cost.parse::<i128>().unwrap()).sum())
}
