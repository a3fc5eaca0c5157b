//! From an input file to checked requests in the spool, in one streaming pass.
//!
//! One thread reads pieces of whole rows, two parse and check them, and the caller's thread takes
//! them in their order: numbers, groups, sums, spool. Memory does not depend on the number of rows.
//! Leaves out the plan that follows from the sums (`offpeak_core::plan`) and the cut into shards
//! (`cut`).

mod again;
mod batch;
mod check;
mod csv_ends;
mod doorkeeper;
mod duplicates;
mod error;
mod fields;
mod groups;
mod hint;
mod keys;
mod levels;
mod maker;
mod opening;
mod parser;
mod pipeline;
mod reader;
mod render;
mod row_text;
mod rows;
mod sample;
mod sink;
mod table;
#[cfg(test)]
mod tests;
mod unsent;
mod ways;

use std::io;

use offpeak_core::plan::fields::Shares;
use offpeak_core::price::Book;
use offpeak_core::units::{Timestamp, Usd};

use crate::reuse::{Again, EarlierRun};
use crate::spec::{FieldsIn, InputShape, JobSpec, OnInvalid, Reuse};
use crate::spool::{IndexEntry, IndexWriter, SpoolDir};
use again::Deciding;
use check::Rules;
use duplicates::Duplicates;
use fields::FieldPlan;
use groups::Groups;
use opening::Opening;
use parser::{Parser, TableJob};
use pipeline::Tuning;
use render::Shape;
use sink::{Disk, Problems, Sink};
use table::Header;
use unsent::Found;
use ways::Ways;

pub use again::AskedAgain;
pub use error::{IngestError, LooksLike, ProblemKind, RowProblem};
pub(crate) use render::BLOCK_FRAMING;

pub use groups::{Group, GroupLevel, RowSums};
pub use sample::SampledRow;
pub use unsent::Unsent;

/// What an input came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingested {
    /// Rows of the input, invalid ones included. They are numbered from 0 to this.
    pub rows: u64,
    /// Rows that cannot be sent.
    pub invalid: u64,
    /// Bytes of the input.
    pub input_bytes: u64,
    /// BLAKE3 of the input.
    pub input_digest: [u8; 32],
    /// BLAKE3 over the digests of the requests, in order; later rows of a duplicate key included.
    pub params_digest: [u8; 32],
    /// The models that requests name, in the order of their first row.
    pub models: Vec<String>,
    /// The prefix groups that save most, at most 10,000 of them; depth first.
    pub groups: Vec<Group>,
    /// Sums over the rows of no reported group.
    pub ungrouped: RowSums,
    /// The first row whose input tokens are not bounded by its length: its line, and why.
    pub first_unbounded: Option<(u64, &'static str)>,
    /// Rows whose request an earlier row makes that needs a call, whether or not they share its answer.
    pub identical: Unsent,
    /// Rows that the given earlier runs have answered, whether or not that is taken over.
    pub earlier: Unsent,
    /// Which of these are not sent.
    pub reuse: Reuse,
    /// The rows that are sent of a run whose cut-off answers are asked for again.
    pub again: Option<AskedAgain>,
    /// BLAKE3 over the numbers of the rows that are not sent; `None` if all are that can be.
    pub unsent: Option<[u8; 32]>,
    /// The row to be sent that can cost most on the sync lane: its line, and how much.
    pub dearest: Option<(u64, Usd)>,
    /// The first rows that cannot be sent, at most 20.
    pub invalid_examples: Vec<RowProblem>,
    /// Bytes that the spool takes on disk.
    pub disk_bytes: u64,
    /// A few rows that can be sent, from all over the input.
    pub sample: Vec<SampledRow>,
    /// How the template uses the fields of a row.
    pub fields: FieldUse,
}

impl Ingested {
    /// Rows that share the answer of an identical row.
    #[must_use]
    pub fn shared(&self) -> u64 {
        if self.reuse.identical {
            self.identical.rows
        } else {
            0
        }
    }

    /// Rows whose answer is taken over from an earlier run.
    #[must_use]
    pub fn taken_over(&self) -> u64 {
        if self.reuse.earlier_runs {
            self.earlier.rows
        } else {
            0
        }
    }

    /// Rows to be sent.
    #[must_use]
    pub fn to_send(&self) -> u64 {
        self.rows - self.invalid - self.shared() - self.taken_over()
    }
}

/// How a template uses the fields of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldUse {
    /// It names those that it writes, or there is none.
    Named,
    /// It writes all, in the order of the columns.
    GivenOrder,
    /// It writes all, in an order per row: what rows share then.
    SharedOrder(Shares),
}

/// Reads, checks and spools the rows of a job; without a place for them (`into`), it only says what
/// they come to. Blocking: run it where that does no harm. `progress` is called with the bytes read.
///
/// What an earlier attempt left in `into` is replaced; after an error what is there is of no use.
///
/// # Errors
///
/// When the input cannot be read, the requests cannot be written, or a row cannot be sent and the
/// job does not skip such rows.
pub fn ingest(
    spec: &JobSpec,
    book: &Book,
    now: Timestamp,
    earlier: &[EarlierRun],
    into: Option<&SpoolDir>,
    progress: &dyn Fn(u64),
) -> Result<Ingested, IngestError> {
    ingest_after(spec, book, now, Before::Runs(earlier), into, progress)
}

/// The same, whatever was answered before.
pub(crate) fn ingest_after(
    spec: &JobSpec,
    book: &Book,
    now: Timestamp,
    before: Before<'_>,
    into: Option<&SpoolDir>,
    progress: &dyn Fn(u64),
) -> Result<Ingested, IngestError> {
    let tuning = Tuning::default();
    ingest_tuned(spec, book, now, before, into, progress, tuning)
}

/// Most tokens that a request of a job can ask a model for; `None` if the model cannot be used.
pub(crate) fn output_max(spec: &JobSpec, book: &Book, now: Timestamp, model: &str) -> Option<u64> {
    let model = book.model(model).ok()?;
    Some(Rules::of(spec, book, now).output_max(model.max_output))
}

/// What was answered before.
pub(crate) enum Before<'a> {
    /// Any of these runs may have answered any request.
    Runs(&'a [EarlierRun]),
    /// Each row has ended in one run; those are asked again that were cut off, and every other outcome is taken
    /// over.
    Again(&'a mut Again),
}

fn ingest_tuned(
    spec: &JobSpec,
    book: &Book,
    now: Timestamp,
    before: Before<'_>,
    into: Option<&SpoolDir>,
    progress: &dyn Fn(u64),
    tuning: Tuning,
) -> Result<Ingested, IngestError> {
    let input = spec.source.input.as_path();
    let rules = Rules::of(spec, book, now);
    let template = match &spec.source.shape {
        InputShape::Batch => None,
        InputShape::Table { template, .. } => Some(template),
    };
    let opening = Opening::new(input, &spec.source.shape, tuning.piece_len)?;
    let shape = match template {
        Some(template) => Some(Shape::new(template, rules).map_err(IngestError::Job)?),
        None => None,
    };
    let failed = |line, problem| {
        IngestError::Job(Box::new(RowProblem::new(
            input.to_owned(),
            line,
            None,
            problem,
        )))
    };
    let Opening {
        pieces,
        len: input_len,
        header,
    } = opening;
    let (header, first) = header.unzip();
    let reorder = template.is_some_and(|template| template.fields == FieldsIn::SharedOrder);
    if reorder && header.as_ref().is_some_and(Header::hides_row) {
        return Err(failed(1, ProblemKind::RowHidden));
    }
    let fields = reorder.then(|| FieldPlan::learn(input, &spec.source.shape, tuning.piece_len));
    let fields = fields.transpose()?;
    let table = match (template, &shape) {
        (Some(template), Some(shape)) => {
            let key = |header: &Header| header.key(&template.key);
            let key = header
                .as_ref()
                .map(key)
                .transpose()
                .map_err(|problem| failed(1, problem))?;
            Some(TableJob {
                template,
                shape,
                fields: fields.as_ref(),
                header: header.as_ref().zip(key),
            })
        }
        _ => None,
    };
    let parser = || Parser::new(rules, table).map_err(|problem| failed(0, problem));
    let parsers = (0..tuning.workers)
        .map(|_| parser())
        .collect::<Result<Vec<_>, _>>()?;

    let disk = match into {
        Some(dir) => Some(Disk::create(dir, shape.as_ref(), input_len)?),
        None => None,
    };
    let taken;
    let (earlier, deciding) = match before {
        Before::Runs(earlier) => (earlier, None),
        Before::Again(again) => {
            taken = again.runs.clone();
            (&taken[..], Some(Deciding::of(again, rules)?))
        }
    };
    let mut sink = Sink::new(input, spec.on_invalid, shape.as_ref(), disk, deciding);
    let pieces = pipeline::run(pieces, first, parsers, &mut sink, progress)?;
    let (input_digest, input_bytes) = pieces.finish();
    let digest = (input_digest, input_bytes);
    let mut ingested = finish(sink, &mut parser()?, spec.reuse, earlier, into, digest)?;
    let writes_row = shape.as_ref().is_some_and(Shape::writes_row)
        && !header.as_ref().is_some_and(Header::hides_row);
    ingested.fields = match fields {
        Some(fields) => FieldUse::SharedOrder(fields.shares),
        None if writes_row => FieldUse::GivenOrder,
        None => FieldUse::Named,
    };
    Ok(ingested)
}

/// Deals with duplicate keys, makes the files durable and adds everything up.
fn finish(
    sink: Sink<'_>,
    parser: &mut Parser<'_>,
    reuse: Reuse,
    earlier: &[EarlierRun],
    into: Option<&SpoolDir>,
    (input_digest, input_bytes): ([u8; 32], u64),
) -> Result<Ingested, IngestError> {
    let Sink {
        input,
        on_invalid,
        rows,
        models,
        candidates,
        ways,
        keys,
        mut requests,
        mut problems,
        sample,
        disk,
        deciding,
        ..
    } = sink;
    if rows == 0 {
        return Err(IngestError::Empty {
            path: input.to_owned(),
        });
    }
    let skip = on_invalid == OnInvalid::Skip;
    let duplicates =
        Duplicates::find(keys, skip).map_err(|source| sink::run_error(into, source))?;
    if duplicates.total > 0 {
        problems.total += duplicates.total;
        problems.examples.extend(duplicates.problems(input, parser));
        problems.examples.sort_by_key(|problem| problem.line);
        problems.examples.truncate(error::EXAMPLES_MAX);
    }
    if problems.total > 0 && !(skip && duplicates.can_be_skipped()) {
        let Problems { examples, total } = problems;
        return Err(IngestError::Rows {
            problems: examples,
            total,
            rows,
        });
    }
    let again = deciding.map(|deciding| deciding.asked);
    if again.is_none() {
        requests
            .push_answers(earlier)
            .map_err(|(run, source)| IngestError::Earlier { run, source })?;
    }
    let mut disk_bytes = disk.map_or(Ok(0), Disk::finish)?;
    let mut found = requests
        .finish(
            reuse,
            &duplicates.skipped,
            into.map(|dir| dir.root().to_owned()),
        )
        .map_err(|source| sink::run_error(into, source))?;
    let mut ways = ways
        .finish()
        .map_err(|source| sink::run_error(into, source))?;
    let mut census = candidates.count();
    let mut dearest: Option<(u64, u64)> = None;
    let mut count = || {
        let mut skipped = duplicates.skipped.iter().peekable();
        let mut unsent = found.rows()?;
        ways.for_each(|way| {
            // What is not sent does not count.
            let invalid = skipped.next_if(|(entry, _)| entry.row == way.row);
            if invalid.is_none() && !unsent.has(way.row)? {
                census.add(way);
                if dearest.is_none_or(|(_, worst)| worst < way.worst) {
                    dearest = Some((way.line, way.worst));
                }
            }
            Ok(())
        })
    };
    count().map_err(|source| sink::run_error(into, source))?;
    let groups = census.finish();
    let unsent = found
        .digest()
        .map_err(|source| sink::run_error(into, source))?;
    if let Some(dir) = into {
        let index = write_index(dir, &mut ways, &mut found, &groups);
        disk_bytes += index.map_err(sink::write_error(dir, None))?;
        disk_bytes += found.write(dir, earlier)?;
        if duplicates.total > 0 {
            disk_bytes += duplicates.move_to_invalid(dir, input)?;
        }
    }
    Ok(Ingested {
        rows,
        invalid: problems.total,
        input_bytes,
        input_digest,
        params_digest: *sink.params.finalize().as_bytes(),
        models,
        groups: groups.groups,
        ungrouped: groups.ungrouped,
        first_unbounded: sink.first_unbounded,
        dearest: dearest.map(|(line, worst)| (line, Usd::from_pico(worst.into()))),
        identical: found.identical,
        earlier: found.earlier,
        reuse,
        again,
        unsent,
        invalid_examples: problems.examples,
        disk_bytes,
        sample: sample.finish(),
        fields: FieldUse::Named,
    })
}

/// Writes the index, now that the group of each row is known; returns its bytes. Rows that need no call
/// are not in it: they are never cut into a shard.
fn write_index(
    dir: &SpoolDir,
    ways: &mut Ways,
    found: &mut Found,
    groups: &Groups,
) -> io::Result<u64> {
    let mut index = IndexWriter::create(dir)?;
    let mut unsent = found.rows()?;
    ways.for_each(|way| {
        if unsent.has(way.row)? {
            return Ok(());
        }
        index.push(&IndexEntry {
            row: way.row,
            at: way.at,
            worst: way.worst,
            group: groups.of(way),
            request_len: way.request_len,
        })
    })?;
    index.finish()
}
