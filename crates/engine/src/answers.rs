//! The answers of a settled shard, read again as they were received and priced anew, one after the
//! other in the order of the rows.
//!
//! Leaves out what they prove (`verify`) and what they add up to (`books`).

use std::fmt::Display;
use std::fs::File;
use std::path::{Path, PathBuf};

use offpeak_core::job::outcome::Tally;
use offpeak_core::job::shard::ShardNo;
use offpeak_core::price::Book;
use offpeak_core::units::{Timestamp, Usd};

use crate::journal::sent_at;
use crate::output::read_at;
use crate::settle::answer::Answer;
use crate::settle::kept::{Kept, KeptIn};
use crate::settle::priced::priced;
use crate::settle::segment::{Outcome, SegmentReader};
use crate::spool::{SpoolDir, SpoolReader};

/// What answers are priced with.
#[derive(Debug)]
pub(crate) struct Prices<'a> {
    pub(crate) book: &'a Book,
    /// The models that rows name by number.
    pub(crate) models: &'a [String],
    /// Moments that a batch may have been created at, whose prices it has: which it was is no longer
    /// known once it is settled. Where prices have changed between them, the one counts by which the
    /// answer costs what was entered.
    pub(crate) times: Vec<Timestamp>,
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    pub(crate) row: u64,
    /// What was settled.
    pub(crate) kept: &'a Kept,
    pub(crate) answer: &'a Answer<'a>,
    /// When its request was sent, on our clock, if it was a call of its own.
    pub(crate) sent_at: Option<Timestamp>,
    /// What its usage comes to.
    pub(crate) cost: Usd,
}

/// A file that is gone, or not what was written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub(crate) struct Unreadable {
    pub(crate) path: PathBuf,
    pub(crate) reason: String,
}

impl Unreadable {
    /// What an error says of a file.
    fn at<E: Display>(path: &Path) -> impl Fn(E) -> Self {
        |error| Self {
            path: path.to_owned(),
            reason: error.to_string(),
        }
    }
}

/// Hands every answer of a shard that was settled so to `each`. Memory holds one.
///
/// # Errors
/// If a file cannot be read, answers were lost since they were billed, or one has no price any more.
pub(crate) fn each_answer(
    spool: &SpoolDir,
    (shard, tally): (ShardNo, &Tally),
    prices: &Prices<'_>,
    mut each: impl FnMut(&Found<'_>),
) -> Result<(), Unreadable> {
    if tally.outcomes.total() == 0 {
        // All its rows were answered by another shard.
        return Ok(());
    }
    let outcomes = spool.outcomes(shard);
    let mut segment = SegmentReader::open(&outcomes).map_err(Unreadable::at(&outcomes))?;
    let kept_in = segment.answers();
    let Some(path) = kept_in.path(spool) else {
        if tally.cost == Usd::ZERO {
            return Ok(());
        }
        let lost = "its answers were billed and are lost";
        return Err(Unreadable::at(&outcomes)(lost));
    };
    let file = File::open(&path).map_err(Unreadable::at(&path))?;
    let rows = spool.root();
    let mut spooled = SpoolReader::open(spool).map_err(Unreadable::at(rows))?;
    let mut message = Vec::new();
    while let Some(row) = segment.row() {
        let Outcome::Kept(kept) = segment.read().map_err(Unreadable::at(&outcomes))? else {
            continue;
        };
        read_at(&file, &kept, &mut message).map_err(Unreadable::at(&path))?;
        let answer = Answer::read(&message).map_err(Unreadable::at(&path))?;
        let sent_at = match kept_in {
            KeptIn::Journal(_) => Some(sent_at(&file, kept.offset).map_err(Unreadable::at(&path))?),
            KeptIn::Results(_) | KeptIn::Earlier | KeptIn::Nowhere => None,
        };
        let meta = spooled.meta(kept.at).map_err(Unreadable::at(rows))?;
        let asked = prices.models.get(usize::from(meta.model));
        let asked = asked.map_or("", String::as_str);
        let mut cost = None;
        for at in sent_at.iter().chain(&prices.times) {
            let models = [&*answer.model, asked];
            let priced = priced(prices.book, kept.route.lane, *at, models, &answer.usage);
            let priced = priced.map_err(Unreadable::at(&path))?.cost;
            if priced == kept.cost || cost.is_none() {
                cost = Some(priced);
            }
        }
        each(&Found {
            row,
            kept: &kept,
            answer: &answer,
            sent_at,
            cost: cost.unwrap_or_default(),
        });
    }
    Ok(())
}
