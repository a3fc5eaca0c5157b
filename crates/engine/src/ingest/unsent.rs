//! Which rows need no call of their own: an earlier row of the job makes the same request, or an earlier
//! run has answered it.
//!
//! The digests of all requests are sorted together with those of the answers that there are, on the disk
//! beyond a few megabytes, and what is found is sorted by row. What is not sent keeps its place in the
//! spool and gets its outcome (`outcomes`). Leaves out the answers of earlier runs (`reuse`).

mod outcomes;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;

use offpeak_core::units::Usd;

use super::error::IngestError;
use super::keys::Entry;
use super::sink::write_error;
use crate::reuse::{AnswerAt, EarlierRun, Offered};
use crate::settle::segment::Shared;
use crate::sorted::{Iter, Sorted, Sorter};
use crate::spec::Reuse;
use crate::spool::{RowAt, SpoolDir};
use outcomes::Outcomes;

/// Answers to one request that are remembered while its rows are dealt out: only where many identical
/// rows of a run were all sent are there more.
const ANSWERS_MAX: usize = 1 << 16;

/// Rows that need no call of their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unsent {
    /// How many.
    pub rows: u64,
    /// Most they can cost on the sync lane, with an hour's cache write.
    pub worst: Usd,
    /// What their answers cost when they were paid; nothing where they are not paid yet.
    pub paid: Usd,
}

impl Unsent {
    fn count(&mut self, worst: u64, paid: Usd) {
        self.rows += 1;
        self.worst += Usd::from_pico(worst.into());
        self.paid += paid;
    }
}

/// A request or an answer to one: digest, rank, row, then what is known of it. Answers come before the
/// rows that may take them, those of the newest run first.
const REQUEST_LEN: usize = 16 + 4 + 8 + KNOWN_LEN;

/// Of an answer where it is and what it cost, of a row where that is and what it can cost.
const KNOWN_LEN: usize = 32;

/// The rank of the rows of this job.
const OWN: u32 = u32::MAX;

/// Gathers the requests of a job and the answers of earlier runs.
#[derive(Debug)]
pub(super) struct Requests(Sorter<REQUEST_LEN>);

impl Requests {
    /// Runs of the sort go to `dir`; `None` for the system's place for temporary files.
    pub(super) fn new(dir: Option<PathBuf>) -> Self {
        Self(Sorter::new(dir))
    }

    /// Adds a row of this job; `worst` in picodollars.
    pub(super) fn push(
        &mut self,
        digest: &[u8; 16],
        row: u64,
        at: RowAt,
        worst: u64,
    ) -> io::Result<()> {
        let mut known = [0; KNOWN_LEN];
        known[..8].copy_from_slice(&at.0.to_be_bytes());
        known[8..16].copy_from_slice(&worst.to_be_bytes());
        self.put(digest, OWN, row, known)
    }

    /// Adds the answers of earlier runs; an error comes with the run whose files cannot be read.
    pub(super) fn push_answers(&mut self, earlier: &[EarlierRun]) -> Result<(), (u32, io::Error)> {
        for (holder, run) in (0..).zip(earlier) {
            run.for_each_answer(holder, |offered| self.push_answer(offered))
                .map_err(|error| (run.run(), error))?;
        }
        Ok(())
    }

    /// Adds a row whose answer is chosen already, whatever its request.
    pub(super) fn push_taken(
        &mut self,
        row: u64,
        at: RowAt,
        worst: u64,
        (answer, cost): (AnswerAt, Usd),
    ) -> io::Result<()> {
        // No digest of a request begins like this, but by an accident that never happens.
        let mut digest = [u8::MAX; 16];
        digest[8..].copy_from_slice(&row.to_be_bytes());
        self.push_answer(&Offered {
            digest,
            run: 0,
            row,
            cost,
            at: answer,
        })?;
        self.push(&digest, row, at, worst)
    }

    fn push_answer(&mut self, offered: &Offered) -> io::Result<()> {
        let mut known = [0; KNOWN_LEN];
        known[..ANSWER_LEN].copy_from_slice(&encode_answer(offered.at));
        // One answer costs far less than the millions of dollars that this holds.
        let cost = u64::try_from(offered.cost.pico()).unwrap_or(u64::MAX);
        known[ANSWER_LEN..].copy_from_slice(&cost.to_be_bytes());
        self.put(&offered.digest, OWN - 1 - offered.run, offered.row, known)
    }

    fn put(
        &mut self,
        digest: &[u8; 16],
        rank: u32,
        row: u64,
        known: [u8; KNOWN_LEN],
    ) -> io::Result<()> {
        let mut record = [0; REQUEST_LEN];
        record[..16].copy_from_slice(digest);
        record[16..20].copy_from_slice(&rank.to_be_bytes());
        record[20..28].copy_from_slice(&row.to_be_bytes());
        record[28..].copy_from_slice(&known);
        self.0.push(record)
    }

    /// Deals the answers out. Rows in `invalid` are not sent and answer for nobody; they ascend.
    pub(super) fn finish(
        self,
        reuse: Reuse,
        invalid: &[(Entry, u64)],
        dir: Option<PathBuf>,
    ) -> io::Result<Found> {
        let mut found = Dealing {
            reuse,
            identical: Unsent::default(),
            earlier: Unsent::default(),
            unsent: Sorter::new(dir),
        };
        let mut one = One::default();
        for record in self.0.finish()?.iter()? {
            let (digest, rank, row, known) = split(&record?);
            if one.digest != digest {
                one = One {
                    digest,
                    ..One::default()
                };
            }
            if rank < OWN {
                one.offer((rank, row), &known, reuse);
            } else if invalid
                .binary_search_by_key(&row, |(entry, _)| entry.row)
                .is_err()
            {
                found.deal(row, &known, &mut one)?;
            }
        }
        Ok(Found {
            identical: found.identical,
            earlier: found.earlier,
            unsent: found.unsent.finish()?,
        })
    }
}

fn split(record: &[u8; REQUEST_LEN]) -> ([u8; 16], u32, u64, [u8; KNOWN_LEN]) {
    let word = |at: usize| u32::from_be_bytes(*record[at..].first_chunk().expect("it is longer"));
    (
        *record.first_chunk().expect("it is longer"),
        word(16),
        long(&record[20..]),
        *record.last_chunk().expect("it is longer"),
    )
}

fn long(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(*bytes.first_chunk().expect("it is longer"))
}

/// One request, while its rows pass.
#[derive(Debug, Default)]
struct One {
    digest: [u8; 16],
    /// Answers that are there, and what they cost.
    answers: VecDeque<(AnswerAt, Usd)>,
    /// The run and row of the last one: its copies are no further answers.
    last: Option<(u32, u64)>,
    /// The first row that is sent.
    leader: Option<(u64, RowAt)>,
}

impl One {
    fn offer(&mut self, origin: (u32, u64), known: &[u8; KNOWN_LEN], reuse: Reuse) {
        let most = if reuse.identical { 1 } else { ANSWERS_MAX };
        if self.last.replace(origin) == Some(origin) || self.answers.len() == most {
            return;
        }
        let cost = Usd::from_pico(long(&known[ANSWER_LEN..]).into());
        self.answers.push_back((decode_answer(known), cost));
    }

    /// The answer for one more row. Identical rows are there on purpose unless somebody says
    /// otherwise: then each takes an answer of its own.
    fn take(&mut self, reuse: Reuse) -> Option<(AnswerAt, Usd)> {
        if reuse.identical {
            return self.answers.front().copied();
        }
        self.answers.pop_front()
    }
}

struct Dealing {
    reuse: Reuse,
    identical: Unsent,
    earlier: Unsent,
    unsent: Sorter<UNSENT_LEN>,
}

impl Dealing {
    fn deal(&mut self, row: u64, known: &[u8; KNOWN_LEN], one: &mut One) -> io::Result<()> {
        let (at, worst) = (RowAt(long(known)), long(&known[8..]));
        if let Some((answer, paid)) = one.take(self.reuse) {
            self.earlier.count(worst, paid);
            if self.reuse.earlier_runs {
                return self.put(row, at, Why::Earlier(answer));
            }
        }
        let Some((of, of_at)) = one.leader else {
            one.leader = Some((row, at));
            return Ok(());
        };
        self.identical.count(worst, Usd::ZERO);
        if self.reuse.identical {
            return self.put(row, at, Why::Shared { of, of_at });
        }
        Ok(())
    }

    fn put(&mut self, row: u64, at: RowAt, why: Why) -> io::Result<()> {
        self.unsent.push(encode(row, at, why))
    }
}

/// Bytes of a row that is not sent: its number, its place, and why.
const UNSENT_LEN: usize = 8 + 8 + 1 + ANSWER_LEN;

/// Bytes of where an answer is.
const ANSWER_LEN: usize = 24;

fn encode_answer(at: AnswerAt) -> [u8; ANSWER_LEN] {
    let halves = u64::from(at.holder) << 32 | u64::from(at.segment);
    let mut bytes = [0; ANSWER_LEN];
    for (place, number) in bytes.chunks_exact_mut(8).zip([halves, at.offset, at.row.0]) {
        place.copy_from_slice(&number.to_be_bytes());
    }
    bytes
}

fn decode_answer(bytes: &[u8]) -> AnswerAt {
    let halves = long(bytes);
    AnswerAt {
        holder: u32::try_from(halves >> 32).expect("the upper half"),
        segment: u32::try_from(halves & u64::from(u32::MAX)).expect("the lower half"),
        offset: long(&bytes[8..]),
        row: RowAt(long(&bytes[16..])),
    }
}

/// Why a row is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Shared { of: u64, of_at: RowAt },
    Earlier(AnswerAt),
}

fn encode(row: u64, at: RowAt, why: Why) -> [u8; UNSENT_LEN] {
    let mut record = [0; UNSENT_LEN];
    record[..8].copy_from_slice(&row.to_be_bytes());
    record[8..16].copy_from_slice(&at.0.to_be_bytes());
    match why {
        Why::Shared { of, of_at } => {
            record[17..25].copy_from_slice(&of.to_be_bytes());
            record[25..33].copy_from_slice(&of_at.0.to_be_bytes());
        }
        Why::Earlier(answer) => {
            record[16] = 1;
            record[17..].copy_from_slice(&encode_answer(answer));
        }
    }
    record
}

fn decode(record: &[u8; UNSENT_LEN]) -> (u64, RowAt, Why) {
    let why = match record[16] {
        0 => Why::Shared {
            of: long(&record[17..]),
            of_at: RowAt(long(&record[25..])),
        },
        _ => Why::Earlier(decode_answer(&record[17..])),
    };
    (long(record), RowAt(long(&record[8..])), why)
}

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    /// Rows that an earlier row of the job would answer for, whether or not that is wanted.
    pub(super) identical: Unsent,
    /// Rows that an earlier run has answered, whether or not that is wanted.
    pub(super) earlier: Unsent,
    /// Those that are not sent, by row.
    unsent: Sorted<UNSENT_LEN>,
}

impl Found {
    /// Asks of ascending rows whether they are sent.
    pub(super) fn rows(&mut self) -> io::Result<UnsentRows<'_>> {
        let mut unsent = self.unsent.iter()?;
        let next = next_row(&mut unsent)?;
        Ok(UnsentRows { unsent, next })
    }

    /// Tells one choice of rows from another; `None` if all are sent.
    pub(super) fn digest(&mut self) -> io::Result<Option<[u8; 32]>> {
        let mut unsent = self.unsent.iter()?;
        let mut row = next_row(&mut unsent)?;
        if row.is_none() {
            return Ok(None);
        }
        let mut hasher = blake3::Hasher::new();
        while let Some(number) = row {
            hasher.update(&number.to_le_bytes());
            row = next_row(&mut unsent)?;
        }
        Ok(Some(*hasher.finalize().as_bytes()))
    }

    /// Writes the outcomes of the rows that are not sent, and copies the answers that are taken over;
    /// returns the bytes that takes.
    pub(super) fn write(
        &mut self,
        dir: &SpoolDir,
        earlier: &[EarlierRun],
    ) -> Result<u64, IngestError> {
        let write = || write_error(dir, None);
        let mut outcomes = Outcomes::new(dir, earlier);
        for record in self.unsent.iter().map_err(|source| write()(source))? {
            let (row, at, why) = decode(&record.map_err(|source| write()(source))?);
            match why {
                Why::Shared { of, of_at } => outcomes.shared(row, Shared { at, of, of_at }),
                Why::Earlier(answer) => outcomes.earlier(row, at, answer),
            }?;
        }
        outcomes.finish()
    }
}

/// The rows that are not sent, in order.
pub(super) struct UnsentRows<'a> {
    unsent: Iter<'a, UNSENT_LEN>,
    next: Option<u64>,
}

impl UnsentRows<'_> {
    /// Whether a row is one of them; rows must ascend.
    pub(super) fn has(&mut self, row: u64) -> io::Result<bool> {
        while self.next.is_some_and(|next| next < row) {
            self.next = next_row(&mut self.unsent)?;
        }
        Ok(self.next == Some(row))
    }
}

fn next_row(unsent: &mut Iter<'_, UNSENT_LEN>) -> io::Result<Option<u64>> {
    Ok(unsent.next().transpose()?.map(|record| decode(&record).0))
}

#[cfg(test)]
mod tests;
