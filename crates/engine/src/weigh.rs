//! The price of a batch that answers no row: its results are streamed and priced, and not kept.
//!
//! Leaves out how such a batch is found and what is done about it (`job::waste`, in `offpeak-core`).

use std::collections::BTreeSet;

use offpeak_core::job::mark::Mark;
use offpeak_core::price::{Book, Lane};
use offpeak_core::units::{Timestamp, Usd};
use offpeak_wire::batch::BatchId;
use offpeak_wire::result::{ResultLine, RowResult};

use crate::settle::{answer::Answer, priced::priced};
use crate::upstream::Upstream;

/// Most bytes of one line: the documented limit of a request, and then some.
const LINE_MAX: usize = 64 << 20;

/// What the answers of a batch cost, by the prices of its creation; `None` if it cannot be told now: the
/// results do not come whole, or a line of them cannot be read or priced.
pub(crate) async fn weigh(
    upstream: &Upstream,
    batch: &BatchId,
    book: &Book,
    created_at: Timestamp,
    models: &[String],
) -> Option<Usd> {
    let mut results = upstream.results(batch).await.ok()?;
    let asked = models.first().map_or("", String::as_str);
    let mut seen = BTreeSet::new();
    let mut price = |line: &[u8]| price(line, book, created_at, asked, &mut seen);
    let (mut sum, mut line) = (Usd::ZERO, Vec::new());
    while let Some(chunk) = results.body.next().await {
        let chunk = chunk.ok()?;
        let mut pieces = chunk.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            line.extend_from_slice(piece);
            if line.len() > LINE_MAX {
                return None;
            }
            if pieces.peek().is_some() {
                sum += price(&line)?;
                line.clear();
            }
        }
    }
    Some(sum + price(&line)?)
}

/// A line that comes twice is billed once; `seen` has the rows of those before.
fn price(
    line: &[u8],
    book: &Book,
    at: Timestamp,
    asked: &str,
    seen: &mut BTreeSet<u64>,
) -> Option<Usd> {
    if line.trim_ascii().is_empty() {
        return Some(Usd::ZERO);
    }
    let line = ResultLine::parse(line).ok()?;
    if Mark::parse(&line.custom_id).is_some_and(|mark| !seen.insert(mark.row)) {
        return Some(Usd::ZERO);
    }
    let RowResult::Succeeded { message } = line.result else {
        // Only an answer is billed (Anthropic docs, batch processing).
        return Some(Usd::ZERO);
    };
    let answer = Answer::read(message).ok()?;
    let priced = priced(
        book,
        Lane::Batch,
        at,
        [&*answer.model, asked],
        &answer.usage,
    );
    Some(priced.ok()?.cost)
}
