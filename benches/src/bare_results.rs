//! What settling would be if nothing had to be proved or survive a crash: a bare loop that parses
//! result lines with serde_json, joins them by id, prices them and writes them in input order, on
//! one thread. The lines of a batch wait in memory for their turn.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::sample::{BatchRates, Job, ids_path};

#[derive(Deserialize)]
struct Line<'a> {
    custom_id: &'a str,
    #[serde(borrow)]
    result: Outcome<'a>,
}

#[derive(Deserialize)]
struct Outcome<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Vec<Block<'a>>,
    stop_reason: &'a str,
    #[serde(borrow)]
    usage: &'a RawValue,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Usage {
    input_tokens: u64,
    cache_read_input_tokens: u64,
    cache_creation: Created,
    output_tokens: u64,
}

#[derive(Deserialize)]
struct Created {
    ephemeral_5m_input_tokens: u64,
    ephemeral_1h_input_tokens: u64,
}

pub(crate) fn run(dir: &Path, out: &Path) -> anyhow::Result<(u64, u64)> {
    let job = Job::load(dir)?;
    let ids = fs::read_to_string(ids_path(dir))?;
    let ids: Vec<_> = ids
        .lines()
        .filter_map(|line| line.split_once(' '))
        .collect();
    let mut out = BufWriter::with_capacity(1 << 20, File::create_new(out)?);
    let mut done = 0;
    for shard in &job.shards {
        let rows = &ids[done..done + shard.rows.len() as usize];
        let results = fs::read(job.spool().results(shard.no))?;
        settle(rows, &results, &job.rates, &mut out)?;
        done += rows.len();
    }
    let file = out.into_inner()?;
    file.sync_all()?;
    Ok((done as u64, file.metadata()?.len()))
}

/// Settles the rows of one batch; ids and keys in input order.
fn settle(
    rows: &[(&str, &str)],
    results: &[u8],
    rates: &BatchRates,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let positions: HashMap<_, _> = (0..).zip(rows).map(|(at, (id, _))| (*id, at)).collect();
    let mut spans: Vec<Range<usize>> = vec![0..0; rows.len()];
    let mut lines = Vec::with_capacity(results.len() * 2);
    for line in results
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let line: Line<'_> = serde_json::from_slice(line)?;
        let position: usize = *positions.get(line.custom_id).context("a foreign line")?;
        if line.result.kind != "succeeded" {
            bail!("a row that did not succeed");
        }
        let start = lines.len();
        write_row(
            rows[position].1,
            line.result.message.context("a message")?,
            rates,
            &mut lines,
        )?;
        spans[position] = start..lines.len();
    }
    for span in spans {
        if span.is_empty() {
            bail!("a row without an answer");
        }
        out.write_all(&lines[span])?;
    }
    Ok(())
}

fn write_row(
    key: &str,
    raw: &RawValue,
    rates: &BatchRates,
    out: &mut Vec<u8>,
) -> anyhow::Result<()> {
    let message: Message<'_> = serde_json::from_str(raw.get())?;
    let usage: Usage = serde_json::from_str(message.usage.get())?;
    let created = &usage.cache_creation;
    let cost = usage.input_tokens * rates.input
        + created.ephemeral_5m_input_tokens * rates.write_5m
        + created.ephemeral_1h_input_tokens * rates.write_1h
        + usage.cache_read_input_tokens * rates.read
        + usage.output_tokens * rates.output;
    let cached = usage.cache_read_input_tokens
        + created.ephemeral_5m_input_tokens
        + created.ephemeral_1h_input_tokens
        > 0;
    let status = match message.stop_reason {
        "max_tokens" => "truncated",
        _ => "succeeded",
    };
    write!(out, "{{\"key\":\"{key}\",\"status\":\"{status}\",\"text\":")?;
    let texts: Vec<_> = message
        .content
        .iter()
        .filter_map(|block| block.text.as_deref())
        .collect();
    match texts[..] {
        [text] => serde_json::to_writer(&mut *out, text)?,
        _ => serde_json::to_writer(&mut *out, &texts.concat())?,
    }
    write!(
        out,
        ",\"message\":{},\"usage\":{}",
        raw.get(),
        message.usage.get()
    )?;
    let (dollars, rest) = (cost / 1_000_000_000_000, cost % 1_000_000_000_000);
    let dollars = format!("{dollars}.{rest:012}");
    let dollars = dollars.trim_end_matches('0').trim_end_matches('.');
    let route = if cached { "batch+cache" } else { "batch" };
    writeln!(
        out,
        ",\"cost_picousd\":\"{cost}\",\"cost_usd\":\"{dollars}\",\"route\":\"{route}\",\"attempts\":1,\"error\":null}}"
    )?;
    Ok(())
}
