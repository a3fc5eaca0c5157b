//! What ingest would be if nothing had to be checked, priced, digested or remembered: bare loops
//! from the input to batch bodies, on one thread.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::Context;

use crate::bodies::Bodies;
use crate::sample::{MAX_TOKENS, MODEL, system};

/// Splices the raw id and the raw `params` of every line into bodies.
pub(crate) fn batch(input: &Path, dir: &str) -> anyhow::Result<(u64, u64)> {
    let mut bodies = Bodies::create(Path::new(dir))?;
    let mut input = BufReader::with_capacity(1 << 20, File::open(input)?);
    let mut carry = Vec::new();
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            break;
        }
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', buffer) {
            if carry.is_empty() {
                splice(&buffer[start..end], &mut bodies)?;
            } else {
                carry.extend_from_slice(&buffer[start..end]);
                splice(&carry, &mut bodies)?;
                carry.clear();
            }
            start = end + 1;
        }
        carry.extend_from_slice(&buffer[start..]);
        let read = buffer.len();
        input.consume(read);
    }
    if !carry.is_empty() {
        splice(&carry, &mut bodies)?;
    }
    Ok(bodies.finish()?)
}

const ID: &[u8] = b"{\"custom_id\":\"";
const PARAMS: &[u8] = b"\",\"params\":";

/// Trusts that a row is written the way that the generator writes it.
fn splice(line: &[u8], bodies: &mut Bodies) -> anyhow::Result<()> {
    let extents = || {
        let rest = line.strip_prefix(ID)?;
        let end = memchr::memchr(b'"', rest)?;
        let params = rest[end..].strip_prefix(PARAMS)?.strip_suffix(b"}")?;
        Some((&rest[..end], params))
    };
    let (id, params) = extents().context("a row of another form")?;
    Ok(bodies.push(&[ID, id, PARAMS, params, b"}"])?)
}

/// Renders the rows of a table by concatenation.
pub(crate) fn csv(input: &Path, dir: &str) -> anyhow::Result<(u64, u64)> {
    let mut bodies = Bodies::create(Path::new(dir))?;
    let mut reader = csv::ReaderBuilder::new()
        .buffer_capacity(1 << 20)
        .from_path(input)?;
    let columns = reader.headers()?;
    let column = |name| {
        columns
            .iter()
            .position(|column| column == name)
            .context("a column")
    };
    let (id, topic, text) = (column("id")?, column("topic")?, column("text")?);
    let system = serde_json::to_string(&system(usize::MAX))?;
    let head = format!(
        "{{\"model\":\"{MODEL}\",\"max_tokens\":{MAX_TOKENS},\"system\":{system},\"messages\":[{{\"role\":\"user\",\"content\":"
    );
    let mut record = csv::StringRecord::new();
    let (mut message, mut content) = (String::new(), Vec::new());
    while reader.read_record(&mut record)? {
        message.clear();
        message.push_str("Topic: ");
        message.push_str(&record[topic]);
        message.push_str("\n\n");
        message.push_str(&record[text]);
        content.clear();
        serde_json::to_writer(&mut content, &message)?;
        let id = record[id].as_bytes();
        bodies.push(&[ID, id, PARAMS, head.as_bytes(), &content, b"}]}}"])?;
    }
    Ok(bodies.finish()?)
}
