//! Warnings about a job's rows, before anything is paid: the sample as the planner takes it.
//!
//! Leaves out what is worth a warning (`offpeak_core::plan::lint`).

use offpeak_core::plan::Plan;
use offpeak_core::plan::lint::{LintRates, Part, SampleBlock, SampleRow, Warning, lint};
use offpeak_core::price::{Book, Mode};
use offpeak_core::units::Timestamp;
use offpeak_wire::request::{RequestView, Section};

use crate::ingest::Ingested;

/// What is worth changing in the rows that were read, dearest first.
#[must_use]
pub fn warnings(ingested: &Ingested, plan: &Plan, book: &Book, now: Timestamp) -> Vec<Warning> {
    let views: Vec<(u64, RequestView<'_>)> = ingested
        .sample
        .iter()
        .filter_map(|row| Some((row.line, RequestView::parse(&row.request).ok()?)))
        .collect();
    let rows: Vec<SampleRow<'_>> = views
        .iter()
        .map(|(line, view)| SampleRow {
            line: *line,
            model: view.model().unwrap_or_default(),
            blocks: blocks(view),
        })
        .collect();
    lint(&rows, |model| {
        let model = book.model(model).ok()?;
        Some(LintRates {
            rates: model.rates(now, Mode::plain(plan.route.lane())).ok()?,
            minimum: model.min_cacheable_tokens.into(),
            step: model.step_above(now).ok()?,
            rows: plan.rows,
        })
    })
}

fn blocks<'a>(view: &RequestView<'a>) -> Vec<SampleBlock<'a>> {
    let last = view.blocks().len().checked_sub(1);
    let block = |(at, block): (usize, &offpeak_wire::request::Block)| SampleBlock {
        part: match block.section {
            Section::Tools => Part::Tools,
            Section::System => Part::System,
            Section::Message { .. } => Part::Messages,
        },
        bytes: &view.bytes()[block.span.clone()],
        // Automatic caching marks the end of the prompt.
        marked: block.mark.is_some() || (view.auto_cache() && Some(at) == last),
    };
    view.blocks().iter().enumerate().map(block).collect()
}
