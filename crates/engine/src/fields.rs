//! What the order of the rows' fields comes to in a job whose template writes all of them.
//!
//! Leaves out how an order is found and how the effect is told (`offpeak_core::plan::fields`).

use offpeak_core::plan::fields::{FieldCosts, FieldsEffect, Reach};
use offpeak_core::plan::{Evidence, Plan};
use offpeak_core::price::Book;
use offpeak_core::units::Timestamp;
use offpeak_wire::request::{Block, RequestView, Section};

use crate::error::EngineError;
use crate::ingest::{BLOCK_FRAMING, FieldUse, IngestError, Ingested};
use crate::planned::{Planned, plan_only};
use crate::progress::Report;
use crate::reuse::EarlierRun;
use crate::spec::{FieldsIn, InputShape, JobSpec};

/// What an order per row brings where it is in use. `None` where it is not.
#[must_use]
pub fn effect(ingested: &Ingested, evidence: &Evidence, book: &Book) -> Option<FieldsEffect> {
    let FieldUse::SharedOrder(shares) = ingested.fields else {
        return None;
    };
    let id = ingested.models.first()?;
    let longest = ingested.sample.iter().map(|row| shared(&row.request)).max();
    Some(FieldsEffect {
        ordered: true,
        shares,
        reach: Reach {
            tokens: evidence.tokens(id, longest.unwrap_or(0)).mid,
            minimum: book.model(id).ok()?.min_cacheable_tokens.into(),
            model: id.clone(),
        },
        costs: None,
    })
}

/// Bytes of the blocks of a request that other rows may begin with: all but the last.
fn shared(request: &[u8]) -> u64 {
    let Ok(view) = RequestView::parse(request) else {
        return 0;
    };
    let blocks = view.blocks();
    let in_message = |block: &Block| matches!(block.section, Section::Message { .. });
    let last = blocks.iter().rposition(in_message);
    let len = |block: &Block| {
        let framing = if in_message(block) { BLOCK_FRAMING } else { 0 };
        block.span.len() as u64 - framing
    };
    blocks[..last.unwrap_or(blocks.len())].iter().map(len).sum()
}

/// Compares the plan of a job with that in the other order of fields, for which the input is read again.
/// `None` where the template does not write all fields, or where the rows could not all be sent in the other
/// order: it is an offer, and nothing fails for it.
///
/// # Errors
/// If the input cannot be read again.
pub fn compare(
    spec: &JobSpec,
    planned: &Planned,
    book: &Book,
    earlier: &[EarlierRun],
    evidence: &Evidence,
    now: Timestamp,
    report: &Report,
) -> Result<Option<FieldsEffect>, EngineError> {
    let (ordered, other) = match planned.ingested.fields {
        FieldUse::Named => return Ok(None),
        FieldUse::GivenOrder => (false, FieldsIn::SharedOrder),
        FieldUse::SharedOrder(_) => (true, FieldsIn::GivenOrder),
    };
    let mut spec = spec.clone();
    if let InputShape::Table { template, .. } = &mut spec.source.shape {
        template.fields = other;
    }
    let other = match plan_only(&spec, book, earlier, evidence.clone(), now, report) {
        Ok(other) => other,
        Err(error @ EngineError::Ingest(IngestError::Read { .. })) => return Err(error),
        Err(_) => return Ok(None),
    };
    if other.ingested.invalid != planned.ingested.invalid {
        return Ok(None);
    }
    let (in_order, given) = if ordered {
        (planned, &other)
    } else {
        (&other, planned)
    };
    let costs = mid(&given.plan)
        .zip(mid(&in_order.plan))
        .map(|(given, ordered)| FieldCosts { given, ordered });
    let effect = effect(&in_order.ingested, evidence, book);
    Ok(effect.map(|effect| FieldsEffect {
        ordered,
        costs,
        ..effect
    }))
}

fn mid(plan: &Plan) -> Option<f64> {
    let way = plan.costs.iter().find(|way| way.variant == plan.variant)?;
    Some(way.cost?.mid)
}
