//! Finding what is worth changing, in sampled rows of a workload.
//!
//! Each model by itself, as caches are. Rows are compared with the first of their model; a finding needs
//! at least three rows, and what is said to change must be different in three of four of them, so that
//! a handful of tenants or documents is not taken for noise. False alarms are as bad as misses.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use crate::price::Rates;

use super::super::tokens::Tokenizer;
use super::{Looks, Part, Place, Warning};

/// Fewer rows of a model say nothing.
const ROWS_MIN: usize = 3;
/// Less than this behind a change isn't worth a word, in tokens.
const STABLE_MIN: u64 = 200;
/// How far above a price step a prompt may be to be called just above it, in hundredths.
const OVER_STEP: u64 = 115;
/// Bytes of an excerpt on either side of what differs.
const AROUND: usize = 24;

/// A row of the sample.
#[derive(Debug, Clone)]
pub struct SampleRow<'a> {
    /// The line of the input where it begins, from 1.
    pub line: u64,
    /// Its model.
    pub model: &'a str,
    /// Its blocks, in prompt order.
    pub blocks: Vec<SampleBlock<'a>>,
}

/// A block of a prompt.
#[derive(Debug, Clone, Copy)]
pub struct SampleBlock<'a> {
    /// The part it belongs to.
    pub part: Part,
    /// Its JSON.
    pub bytes: &'a [u8],
    /// The caller marked its end for the cache.
    pub marked: bool,
}

/// What a model's calls are charged, and how many there are.
#[derive(Debug, Clone, Copy)]
pub struct LintRates {
    /// The rates of the lane that the calls will travel.
    pub rates: Rates,
    /// Shorter beginnings are not cached, in tokens.
    pub minimum: u64,
    /// Prompt tokens above which the model's dearer rates hold.
    pub step: Option<u64>,
    /// Rows of the whole workload.
    pub rows: u64,
}

/// What is worth changing, dearest first. `of` gives what is known of a model.
#[must_use]
pub fn lint<'a>(rows: &[SampleRow<'a>], of: impl Fn(&str) -> Option<LintRates>) -> Vec<Warning> {
    let mut by_model: BTreeMap<&str, Vec<&SampleRow<'a>>> = BTreeMap::new();
    for row in rows {
        by_model.entry(row.model).or_default().push(row);
    }
    let mut found = Vec::new();
    for (model, rows) in by_model {
        let Some(known) = of(model) else { continue };
        let sample = Sample { model, rows, known };
        if sample.rows.len() >= ROWS_MIN {
            found.extend(sample.same_but_written_otherwise());
            found.extend(sample.changing_before_stable());
            found.extend(sample.mark_on_changing());
        }
        found.extend(sample.just_over_step());
    }
    found.sort_by(|a, b| b.cost().total_cmp(&a.cost()));
    found
}

/// The sampled rows of one model.
struct Sample<'s, 'a> {
    model: &'s str,
    rows: Vec<&'s SampleRow<'a>>,
    known: LintRates,
}

/// Where two rows differ first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Difference {
    block: usize,
    byte: usize,
    /// Bytes before it, and bytes behind it that are the same.
    before: usize,
    stable: usize,
}

impl<'a> Sample<'_, 'a> {
    fn tokens(&self, bytes: usize) -> u64 {
        Tokenizer::of(self.model)
            .estimate(u64::try_from(bytes).unwrap_or(u64::MAX))
            .mid
    }

    fn usd(&self, tokens: u64, rate: u64) -> f64 {
        tokens as f64 * self.known.rows as f64 * rate as f64 * 1e-12
    }

    /// Whether something differs in three of four rows at least.
    fn changes(&self, of: impl Fn(&SampleRow<'a>) -> Option<Vec<&'a [u8]>>) -> bool {
        let all: Vec<_> = self.rows.iter().filter_map(|row| of(row)).collect();
        let different: HashSet<_> = all.iter().collect();
        all.len() >= ROWS_MIN && different.len() * 4 >= all.len() * 3
    }

    fn changing_before_stable(&self) -> Option<Warning> {
        let first = self.rows.first()?;
        let others = &self.rows[1..];
        let differences: Vec<Difference> = others
            .iter()
            .filter_map(|row| difference(first, row))
            .collect();
        // All rows differ at the same block, or there is no order in it.
        let block = differences.first()?.block;
        let alike = differences.len() == others.len()
            && differences
                .iter()
                .all(|difference| difference.block == block);
        let whole = |row: &SampleRow<'a>| row.blocks.get(block).map(|block| vec![block.bytes]);
        if !alike || !self.changes(whole) {
            return None;
        }
        let stable = self.tokens(differences.iter().map(|d| d.stable).min()?);
        let before = self.tokens(differences.iter().map(|d| d.before).min()?);
        if stable < STABLE_MIN || before + stable < self.known.minimum {
            return None;
        }
        let (at, other) = (*differences.first()?, others.first()?);
        let block_of = |row: &SampleRow<'a>| row.blocks[block].bytes;
        let rates = self.known.rates;
        Some(Warning::ChangingBeforeStable {
            part: first.blocks[block].part,
            looks: Looks::of(word_at(block_of(first), at.byte)),
            at: [
                place(first, block_of(first), at.byte),
                place(other, block_of(other), at.byte),
            ],
            stable_tokens: stable,
            saves: self.usd(stable, rates.input.saturating_sub(rates.read)),
        })
    }

    /// Tools in another order, or the same JSON in other bytes.
    fn same_but_written_otherwise(&self) -> Vec<Warning> {
        let mut found = Vec::new();
        let Some(first) = self.rows.first() else {
            return found;
        };
        let tools = |row: &SampleRow<'a>| -> Vec<&'a [u8]> {
            let of = row.blocks.iter().filter(|block| block.part == Part::Tools);
            of.map(|block| block.bytes).collect()
        };
        for other in &self.rows[1..] {
            let (mut a, mut b) = (tools(first), tools(other));
            if a == b {
                continue;
            }
            a.sort_unstable();
            b.sort_unstable();
            if a == b {
                found.push(Warning::ToolOrder {
                    lines: [first.line, other.line],
                    tools: u64::try_from(a.len()).unwrap_or(u64::MAX),
                });
                break;
            }
        }
        for part in [Part::Tools, Part::System] {
            let pairs = self.rows[1..].iter().flat_map(|other| {
                let pairs = first.blocks.iter().zip(&other.blocks);
                pairs.map(move |pair| (other, pair))
            });
            let same = pairs.into_iter().find(|(_, (a, b))| {
                (a.part, b.part) == (part, part)
                    && a.bytes != b.bytes
                    && is_same_json(a.bytes, b.bytes)
            });
            if let Some((other, (a, b))) = same {
                let byte = common_prefix(a.bytes, b.bytes);
                found.push(Warning::JsonWrittenOtherwise {
                    part,
                    at: [place(first, a.bytes, byte), place(other, b.bytes, byte)],
                });
            }
        }
        found
    }

    /// Caller's marks whose beginnings are all different.
    fn mark_on_changing(&self) -> Option<Warning> {
        // The first mark of each row: if even its beginning isn't shared, none is.
        let first_mark = |row: &SampleRow<'a>| row.blocks.iter().position(|block| block.marked);
        let marked: Vec<_> = self
            .rows
            .iter()
            .filter_map(|row| Some((*row, first_mark(row)?)))
            .collect();
        let beginning = |row: &SampleRow<'a>| {
            let mark = first_mark(row)?;
            Some(
                row.blocks[..=mark]
                    .iter()
                    .map(|block| block.bytes)
                    .collect(),
            )
        };
        if !self.changes(beginning) {
            return None;
        }
        let [(one, mark), (two, _), ..] = marked[..] else {
            return None;
        };
        let bytes = |(row, mark): &(&SampleRow<'a>, usize)| -> usize {
            row.blocks[..=*mark]
                .iter()
                .map(|block| block.bytes.len())
                .sum()
        };
        let mean = marked.iter().map(bytes).sum::<usize>() / marked.len();
        let tokens = self.tokens(mean);
        if tokens < self.known.minimum {
            return None;
        }
        let rates = self.known.rates;
        Some(Warning::MarkOnChanging {
            part: one.blocks[mark].part,
            lines: [one.line, two.line],
            costs: self.usd(tokens, rates.write_5m.saturating_sub(rates.input)),
        })
    }

    fn just_over_step(&self) -> Option<Warning> {
        let step = self.known.step?;
        let over = |row: &&&SampleRow<'a>| {
            let tokens = self.tokens(row.blocks.iter().map(|block| block.bytes.len()).sum());
            tokens > step && tokens <= step.saturating_mul(OVER_STEP) / 100
        };
        let rows = self.rows.iter().filter(over).count();
        let example = self.rows.iter().find(over)?;
        Some(Warning::JustOverStep {
            model: self.model.to_owned(),
            step,
            rows: u64::try_from(rows).unwrap_or(u64::MAX),
            sampled: u64::try_from(self.rows.len()).unwrap_or(u64::MAX),
            line: example.line,
        })
    }
}

/// The first difference of two rows; `None` if one is the other's beginning. What stands behind it
/// counts as the same as far as the two agree from the end of the block, and in whole blocks after it.
fn difference(a: &SampleRow<'_>, b: &SampleRow<'_>) -> Option<Difference> {
    let pairs = || a.blocks.iter().zip(&b.blocks);
    let block = pairs().position(|(a, b)| a.bytes != b.bytes)?;
    let (own, other) = (a.blocks[block].bytes, b.blocks[block].bytes);
    let byte = common_prefix(own, other);
    let (a_rest, b_rest) = (&own[byte..], &other[byte..]);
    let tail = a_rest.iter().rev().zip(b_rest.iter().rev());
    let tail = tail.take_while(|(a, b)| a == b).count();
    let after = pairs().skip(block + 1).filter(|(a, b)| a.bytes == b.bytes);
    let after: usize = after.map(|(a, _)| a.bytes.len()).sum();
    let above: usize = a.blocks[..block]
        .iter()
        .map(|block| block.bytes.len())
        .sum();
    Some(Difference {
        block,
        byte,
        before: above + byte,
        stable: tail + after,
    })
}

fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn is_same_json(a: &[u8], b: &[u8]) -> bool {
    let read = |bytes| serde_json::from_slice::<Value>(bytes).ok();
    read(a).is_some_and(|a| read(b) == Some(a))
}

/// The word around a byte, up to spaces or quotes on both sides.
fn word_at(bytes: &[u8], at: usize) -> &str {
    let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'<' | b'>');
    let at = at.min(bytes.len());
    let from = bytes[..at].iter().rposition(ends).map_or(0, |end| end + 1);
    let to = bytes[at..]
        .iter()
        .position(ends)
        .map_or(bytes.len(), |end| at + end);
    std::str::from_utf8(&bytes[from..to]).unwrap_or_default()
}

fn place(row: &SampleRow<'_>, bytes: &[u8], at: usize) -> Place {
    let (from, to) = (at.saturating_sub(AROUND), (at + AROUND).min(bytes.len()));
    let text = String::from_utf8_lossy(&bytes[from..to]);
    // Half a character at an edge, and what would break the line.
    let text = text.trim_matches(char::REPLACEMENT_CHARACTER);
    Place {
        line: row.line,
        byte: u64::try_from(at).unwrap_or(u64::MAX),
        excerpt: text.replace(['\n', '\r', '\t'], " "),
    }
}
