//! What a settled shard tells later plans: bytes against billed tokens, lengths of answers, and whether
//! marked rows read their preamble. Of a large shard some rows are looked at, evenly spread, always
//! the same ones.
//!
//! Leaves out where it is kept (`offpeak-store`) and what follows from it (`offpeak_core::plan`).

use std::collections::BTreeMap;
use std::fs::File;

use offpeak_core::job::shard::{Shard, ShardRole};
use offpeak_core::plan::evidence::{HitCount, Observed, Start, size_class};
use offpeak_core::price::{Book, Lane};
use offpeak_wire::usage::Usage;

use super::answer::Answer;
use super::segment::{Outcome, SegmentReader};
use super::{SettleContext, SettleError};
use crate::output::read_at;
use crate::spool::{RefsReader, RowMeta, SpoolReader};

/// Rows of a shard that are looked at: enough for a per cent, and a moment's work.
const ROWS_MAX: u32 = 2_048;

/// What the outcome segment of a shard shows.
///
/// # Errors
///
/// When a file cannot be read. An answer that is not where it was received is left to whoever writes
/// the output: here it only says nothing.
pub(super) fn observe(
    ctx: &SettleContext<'_>,
    shard: &Shard,
) -> Result<Vec<Observed>, SettleError> {
    let path = ctx.spool.outcomes(shard.no);
    let io = SettleError::io(&path);
    let mut segment = SegmentReader::open(&path).map_err(io)?;
    let Some(answers_path) = segment.answers().path(ctx.spool) else {
        return Ok(Vec::new());
    };
    let answers = File::open(&answers_path).map_err(SettleError::io(&answers_path))?;
    let mut spool = SpoolReader::open(ctx.spool)?;
    let stride = shard.rows.len().div_ceil(ROWS_MAX).max(1);
    let mut seen = Seen::new(ctx, shard, stride);
    let mut references = RefsReader::open(ctx.spool, shard.rows)?;
    let mut message = Vec::new();
    for place in 0.. {
        let Some(row) = segment.row() else {
            break;
        };
        let outcome = segment.read().map_err(SettleError::io(&path))?;
        let Outcome::Kept(kept) = outcome else {
            continue;
        };
        if place % stride != 0 {
            continue;
        }
        read_at(&answers, &kept, &mut message).map_err(SettleError::io(&answers_path))?;
        let Ok(answer) = Answer::read(&message) else {
            continue;
        };
        // Both are in the order of the rows.
        let mut reference = references.next().transpose()?;
        while reference.is_some_and(|reference| reference.row < row) {
            reference = references.next().transpose()?;
        }
        let group = reference.and_then(|reference| reference.marks.last_group());
        seen.note(&spool.meta(kept.at)?, group, &answer.usage);
    }
    Ok(seen.finish())
}

/// Rows of a group that read their preamble, and rows that wrote it.
#[derive(Debug, Clone, Copy, Default)]
struct Met {
    hits: u64,
    misses: u64,
}

struct Seen<'a> {
    book: &'a Book,
    models: &'a [String],
    shard: &'a Shard,
    led: bool,
    stride: u32,
    by_model: BTreeMap<String, Observed>,
    groups: BTreeMap<(String, u32), Met>,
}

impl<'a> Seen<'a> {
    fn new(ctx: &SettleContext<'a>, shard: &'a Shard, stride: u32) -> Self {
        Self {
            book: ctx.book,
            models: ctx.models,
            shard,
            led: ctx.led,
            stride,
            by_model: BTreeMap::new(),
            groups: BTreeMap::new(),
        }
    }

    /// `group` is that of the row's last mark.
    fn note(&mut self, meta: &RowMeta, group: Option<u32>, usage: &Usage) {
        let name = self.models.get(usize::from(meta.model));
        let Some(model) = name.and_then(|name| self.book.model(name).ok()) else {
            return;
        };
        let (read, written) = (
            usage.cache_read_input_tokens,
            usage.cache_creation_input_tokens,
        );
        let hidden = if meta.has_tools {
            model.hidden_tool_tokens
        } else {
            0
        };
        let observed = self
            .by_model
            .entry(model.id.clone())
            .or_insert_with(|| Observed {
                model: model.id.clone(),
                ..Observed::default()
            });
        let tokens = usage
            .input_tokens
            .saturating_add(read)
            .saturating_add(written);
        let bytes = meta.prompt_bytes();
        observed.tokens.note(bytes, tokens.saturating_sub(hidden));
        observed
            .outputs
            .note(usage.output_tokens, meta.max_tokens.into());
        // A canary always writes, and synchronous calls read what was written a moment before.
        let tells = self.shard.lane == Lane::Batch && self.shard.role == ShardRole::Bulk;
        if let Some(group) = group.filter(|_| self.shard.mark.is_some())
            && tells
            && read + written > 0
        {
            let met = self.groups.entry((model.id.clone(), group)).or_default();
            if read > written {
                met.hits += 1;
            } else {
                met.misses += 1;
            }
        }
    }

    fn finish(mut self) -> Vec<Observed> {
        let Some(ttl) = self.shard.mark else {
            return self.by_model.into_values().collect();
        };
        let start = if self.led { Start::Led } else { Start::Cold };
        let stride = u64::from(self.stride);
        for ((model, _), met) in self.groups {
            let class = size_class((met.hits + met.misses) * stride);
            let observed = self.by_model.entry(model).or_default();
            match observed.hits.iter_mut().find(|count| count.class == class) {
                Some(count) => {
                    count.groups += 1;
                    count.hits += met.hits * stride;
                    count.misses += met.misses * stride;
                }
                None => observed.hits.push(HitCount {
                    ttl,
                    class,
                    start,
                    groups: 1,
                    hits: met.hits * stride,
                    misses: met.misses * stride,
                }),
            }
        }
        self.by_model.into_values().collect()
    }
}
