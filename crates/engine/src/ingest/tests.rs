//! The laws of ingest, and what a newcomer reads when an input is not what it should be.

mod fields;
mod laws;
mod messages;

use std::fs;
use std::path::Path;

use offpeak_core::job::machine::OnUnknown;
use offpeak_core::price::Book;
use offpeak_core::units::Timestamp;

use super::pipeline::Tuning;
use super::{Before, IngestError, Ingested, ingest_tuned};
use crate::spec::{
    FieldsIn, InputShape, JobSpec, Need, OnInvalid, Reuse, Source, TableFormat, Template,
};
use crate::spool::{IndexReader, RowMarks, SpoolDir, SpoolReader};

const TINY: Tuning = Tuning {
    piece_len: 5,
    workers: 2,
};

fn now() -> Timestamp {
    Timestamp::of_day("2026-11-20").unwrap()
}

fn template(user: &str) -> Template {
    Template {
        key: "id".to_owned(),
        model: "claude-haiku-5-5".to_owned(),
        max_tokens: 100,
        system: None,
        user: user.to_owned(),
        user_origin: ("job.toml".into(), 9),
        fields: FieldsIn::GivenOrder,
        params: Vec::new(),
    }
}

fn table(format: TableFormat, user: &str) -> InputShape {
    InputShape::Table {
        format,
        template: template(user),
    }
}

/// A job over a file with these bytes.
fn job(dir: &Path, name: &str, input: &[u8], shape: InputShape) -> JobSpec {
    let path = dir.join(name);
    fs::write(&path, input).unwrap();
    JobSpec {
        name: "test".to_owned(),
        source: Source {
            input: path,
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
        output: dir.join("out.jsonl"),
        overwrite: false,
        on_invalid: OnInvalid::Stop,
        on_unknown: OnUnknown::Wait,
        reuse: Reuse::default(),
    }
}

fn run(spec: &JobSpec, into: Option<&SpoolDir>, tuning: Tuning) -> Result<Ingested, IngestError> {
    let before = Before::Runs(&[]);
    ingest_tuned(spec, Book::embedded(), now(), before, into, &|_| {}, tuning)
}

/// Row number, line, key and request of every spooled row.
type Spooled = Vec<(u64, u64, String, String)>;

fn spooled(dir: &SpoolDir) -> Spooled {
    let mut reader = SpoolReader::open(dir).unwrap();
    IndexReader::open(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let row = reader.read(entry.at).unwrap();
            assert!(row.is_intact());
            assert_eq!(row.meta.row, entry.row);
            let mut request = Vec::new();
            row.write_request(RowMarks::NONE, &mut request);
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            (entry.row, row.meta.line, text(row.key), text(&request))
        })
        .collect()
}
