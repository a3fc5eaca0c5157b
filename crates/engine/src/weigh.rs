//! The price of a batch that answers no row: its results are streamed and priced, and not kept.
//!
//! Leaves out how such a batch is found and what is done about it (`job::waste`, in `offpeak-core`).

use std::collections::BTreeSet;

use offpeak_core::job::event::OurBatch;
use offpeak_core::job::mark::Mark;
use offpeak_core::price::{Book, Lane};
use offpeak_core::units::{Timestamp, Usd};
use offpeak_wire::result::{ResultLine, RowResult};

use crate::settle::{answer::Answer, priced::priced};
use crate::upstream::Upstream;

/// Most bytes of one line: the documented limit of a request, and then some.
const LINE_MAX: usize = 64 << 20;

/// What the answers of a batch cost, by the prices of its creation; `None` if it cannot be told now: a line
/// of the results is missing, cannot be read or has no price.
pub(crate) async fn weigh(
    upstream: &Upstream,
    batch: &OurBatch,
    book: &Book,
    models: &[String],
) -> Option<Usd> {
    let mut results = upstream.results(&batch.batch).await.ok()?;
    let mut scales = Scales {
        book,
        at: batch.created_at,
        // An answer may name a model that is younger than the book; then it is the one that was asked for.
        asked: match models {
            [only] => only,
            _ => "",
        },
        rows: BTreeSet::new(),
        sum: Usd::ZERO,
    };
    let mut line = Vec::new();
    while let Some(chunk) = results.body.next().await {
        let chunk = chunk.ok()?;
        let mut pieces = chunk.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            line.extend_from_slice(piece);
            if line.len() > LINE_MAX {
                return None;
            }
            if pieces.peek().is_some() {
                scales.add(&line)?;
                line.clear();
            }
        }
    }
    scales.add(&line)?;
    // A file that ends at a line break too early looks whole.
    (scales.rows.len() as u64 == batch.rows).then_some(scales.sum)
}

struct Scales<'a> {
    book: &'a Book,
    at: Timestamp,
    asked: &'a str,
    /// A line that comes twice is billed once.
    rows: BTreeSet<u64>,
    sum: Usd,
}

impl Scales<'_> {
    fn add(&mut self, line: &[u8]) -> Option<()> {
        if line.trim_ascii().is_empty() {
            return Some(());
        }
        let line = ResultLine::parse(line).ok()?;
        let is_new = self.rows.insert(Mark::parse(&line.custom_id)?.row);
        // Only an answer is billed (Anthropic docs, batch processing).
        if let (true, RowResult::Succeeded { message }) = (is_new, line.result) {
            let answer = Answer::read(message).ok()?;
            let models = [&*answer.model, self.asked];
            let priced = priced(self.book, Lane::Batch, self.at, models, &answer.usage);
            self.sum += priced.ok()?.cost;
        }
        Some(())
    }
}
