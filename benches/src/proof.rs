//! That all sides made the same: a digest of what rows mean, not of how they are spelled, since some
//! peers write JSON anew.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;

use offpeak_engine::spool::{IndexReader, RowMarks, SpoolDir, SpoolReader};
use serde_json::Value;

/// Collects rows. Members are sorted, because `serde_json` keeps them in a sorted map.
#[derive(Default)]
struct Digest {
    rows: u64,
    hasher: blake3::Hasher,
}

impl Digest {
    fn add(&mut self, row: &Value) -> anyhow::Result<()> {
        self.rows += 1;
        serde_json::to_writer(&mut self.hasher, row)?;
        Ok(())
    }

    fn finish(self) -> String {
        let digest = self.hasher.finalize().to_hex();
        format!("{{\"rows\":{},\"digest\":\"{digest}\"}}", self.rows)
    }
}

/// The rows of a spool, as they would be sent under the user's keys.
pub(crate) fn spool(dir: &Path) -> anyhow::Result<String> {
    let spool = SpoolDir::new(dir);
    let mut reader = SpoolReader::open(&spool)?;
    let mut digest = Digest::default();
    let mut request = Vec::new();
    for entry in IndexReader::open(&spool)? {
        let row = reader.read(entry?.at)?;
        request.clear();
        row.write_request(RowMarks::NONE, &mut request);
        let key: Value = serde_json::from_slice(row.key)?;
        let params: Value = serde_json::from_slice(&request)?;
        digest.add(&serde_json::json!({"custom_id": key, "params": params}))?;
    }
    Ok(digest.finish())
}

/// The rows of all bodies in a directory.
pub(crate) fn bodies(dir: &Path) -> anyhow::Result<String> {
    let mut files: Vec<_> = fs::read_dir(dir)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    let mut digest = Digest::default();
    for file in files {
        let mut body: Value = serde_json::from_slice(&fs::read(&file)?)?;
        if let Value::Array(rows) = body["requests"].take() {
            for row in rows {
                digest.add(&row)?;
            }
        }
    }
    Ok(digest.finish())
}

/// The lines of an output.
pub(crate) fn output(path: &Path) -> anyhow::Result<String> {
    let mut digest = Digest::default();
    for line in BufReader::with_capacity(1 << 20, File::open(path)?).split(b'\n') {
        digest.add(&serde_json::from_slice(&line?)?)?;
    }
    Ok(digest.finish())
}
