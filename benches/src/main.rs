//! The Rust half of the benchmarks: makes their inputs, runs the product's side and the bare loops
//! beside it, and proves that all sides made the same. Every run prints one line of JSON.
//!
//! Leaves out the Python peers, the order of the runs and the medians (`run.py`).

mod answers;
mod bare_results;
mod bare_rows;
mod bare_server;
mod bodies;
mod calls;
mod inputs;
mod load;
mod plan;
mod product;
mod proof;
mod prose;
mod sample;

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail};
use offpeak_core::job::shard::RowRange;

const USAGE: &str = "offpeak-bench COMMAND
  make-batch ROWS BYTES FILE       rows of the API's batch shape, of about so many bytes
  make-csv ROWS BYTES FILE         a table of as many
  make-results INPUT DIR           a job of that input whose answers were downloaded
  ingest-batch INPUT DIR           offpeak: check, digest, cut, spool
  ingest-batch-unsynced INPUT DIR  the same, with nothing that waits for the disk
  ingest-csv INPUT DIR             the same of a table
  bare-batch INPUT DIR             a bare loop: splice rows into bodies
  bare-csv INPUT DIR               a bare loop: render rows into bodies
  answer-calls SPOOL SHARD FILE FROM TO
                                   the journal of a synchronous shard, as if nearly all its calls had been answered
  results DIR OUT                  offpeak: census, settle, write
  bare-results DIR OUT             a bare loop: parse, join, price, write
  capture HOST KEY FILE            one small call; its answer is kept
  bare-server FILE BYTES           repeats that answer to every POST, gives so many bytes to every GET
  load HOST KEY SECONDS CONNECTIONS [RATE]
                                   small calls, as many as can be or RATE a second
  upload HOST KEY INPUT            that input as one batch
  download HOST KEY PATH           a download, counted
  plan GROUPS DEPTH                a plan of so many groups that stand on each other so deep
  prove-spool DIR | prove-bodies DIR | prove-output FILE
                                   rows and a digest of what they mean";

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let line = match arguments[..] {
        ["make-batch", rows, bytes, file] => {
            inputs::batch(number(rows)?, number(bytes)?, Path::new(file))?;
            "{}".to_owned()
        }
        ["make-csv", rows, bytes, file] => {
            inputs::csv(number(rows)?, number(bytes)?, Path::new(file))?;
            "{}".to_owned()
        }
        ["make-results", input, dir] => {
            answers::make(Path::new(input), Path::new(dir))?;
            "{}".to_owned()
        }
        ["plan", groups, depth] => {
            let workload = plan::workload(number(groups)?, number(depth)?);
            timed(|| plan::decided(&workload))?
        }
        ["ingest-batch", input, dir] => timed(|| product::ingest_batch(Path::new(input), dir))?,
        ["ingest-batch-unsynced", input, dir] => {
            timed(|| product::ingest_batch_unsynced(Path::new(input), dir))?
        }
        ["ingest-csv", input, dir] => timed(|| product::ingest_csv(Path::new(input), dir))?,
        ["bare-batch", input, dir] => timed(|| bare_rows::batch(Path::new(input), dir))?,
        ["bare-csv", input, dir] => timed(|| bare_rows::csv(Path::new(input), dir))?,
        ["answer-calls", spool, shard, file, from, to] => {
            let (file, from, to) = (number(file)?, number(from)?, number(to)?);
            let rows = RowRange { file, from, to };
            timed(|| calls::answer(Path::new(spool), number(shard)?, rows))?
        }
        ["results", dir, out] => {
            let job = sample::Job::load(Path::new(dir))?;
            product::forget_outcomes(&job)?;
            timed(|| product::results(&job, Path::new(out)))?
        }
        ["bare-results", dir, out] => timed(|| bare_results::run(Path::new(dir), Path::new(out)))?,
        ["capture", host, key, file] => load::capture(host, key, Path::new(file))?,
        ["bare-server", file, bytes] => {
            bare_server::serve(Path::new(file), number(bytes)?)?;
            "{}".to_owned()
        }
        ["load", host, key, seconds, connections] => {
            load::small(host, key, number(seconds)?, number(connections)?, None)?
        }
        ["load", host, key, seconds, connections, rate] => load::small(
            host,
            key,
            number(seconds)?,
            number(connections)?,
            Some(number(rate)?),
        )?,
        ["upload", host, key, input] => load::upload(host, key, Path::new(input))?,
        ["download", host, key, path] => load::download(host, key, path)?,
        ["prove-spool", dir] => proof::spool(Path::new(dir))?,
        ["prove-bodies", dir] => proof::bodies(Path::new(dir))?,
        ["prove-output", file] => proof::output(Path::new(file))?,
        _ => bail!("{USAGE}"),
    };
    std::io::stdout().write_all(format!("{line}\n").as_bytes())?;
    Ok(())
}

fn number<N: std::str::FromStr>(text: &str) -> anyhow::Result<N> {
    text.parse()
        .ok()
        .with_context(|| format!("`{text}` is not a number"))
}

/// Rows and bytes of what `run` did, and how long it took.
fn timed(run: impl FnOnce() -> anyhow::Result<(u64, u64)>) -> anyhow::Result<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "measuring time is what this program is for"
    )]
    let begun = Instant::now();
    let (rows, written) = run()?;
    let seconds = begun.elapsed().as_secs_f64();
    Ok(format!(
        "{{\"seconds\":{seconds:.4},\"rows\":{rows},\"written\":{written}}}"
    ))
}
