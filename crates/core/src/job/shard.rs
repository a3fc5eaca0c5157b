//! What the store remembers of a shard: its rows by reference, its lane, and a state that carries
//! exactly the facts that exist in that state.
//!
//! Leaves out how a state follows from another (`machine`) and where the rows are kept (the
//! spool, in `offpeak-engine`).

use offpeak_wire::batch::BatchId;
use offpeak_wire::limits::RESULTS_RETENTION_DAYS;
use offpeak_wire::request::Ttl;
use serde::{Deserialize, Serialize};

use crate::job::account::Account;
use crate::job::outcome::Tally;
use crate::job::unmark::Unmarked;
use crate::price::Lane;
use crate::units::{Span, Timestamp, Usd};

/// Identifies a job: ten lower-case base-32 characters of the digest of its name and content.
/// It is the mark inside every `custom_id`, so it must not depend on anything but the job.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct JobId(String);

impl JobId {
    /// Characters of a job id.
    pub const LEN: usize = 10;

    /// The id of a job whose identity hashes to `digest`.
    #[must_use]
    pub fn of_digest(digest: &[u8; 32]) -> Self {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let id = digest
            .iter()
            .take(Self::LEN)
            .map(|b| char::from(ALPHABET[usize::from(b & 31)]));
        Self(id.collect())
    }

    /// The id of the same job when it sends only a part of its rows, which `digest` tells: its shards are cut
    /// otherwise, so the marks of the one must not be taken for those of the other. It differs in its end.
    #[must_use]
    pub fn of_part(&self, digest: &[u8; 32]) -> Self {
        let end = Self::of_digest(digest);
        Self(self.0[..Self::OF_WHOLE].to_owned() + &end.0[Self::OF_WHOLE..])
    }

    /// Whether both are ids of the same job, and the rows that it sends differ.
    #[must_use]
    pub fn sends_other_rows_than(&self, other: &Self) -> bool {
        self != other && self.0[..Self::OF_WHOLE] == other.0[..Self::OF_WHOLE]
    }

    /// Characters that all ids of a job have in common, whatever part of its rows it sends: enough to tell
    /// jobs apart. The others tell the parts apart.
    const OF_WHOLE: usize = 7;

    /// Reads an id that a user or the store wrote; `None` if it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let ok = text.len() == Self::LEN
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b));
        ok.then(|| Self(text.to_owned()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for JobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Number of a shard within its job, counted from 0 in the order of their making.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default,
)]
pub struct ShardNo(pub u32);

impl ShardNo {
    /// Below this are the numbers of shards that rows travel in for the first time; above it the number of
    /// the shard that left them over, and in which round.
    const ROUND: u32 = 1 << 24;

    /// The number of the shard that takes what this one leaves over. It depends on nothing else, so that
    /// a job which has lost its memory finds what it had made of them before.
    ///
    /// # Panics
    /// After 63 rounds: rows are not left over so often.
    #[must_use]
    pub fn leftovers(self) -> Self {
        let next = Self(self.0 + Self::ROUND);
        // The next bit is that of the probe, the one above it that of files.
        assert_eq!(self.0 & 1 << 30, next.0 & 1 << 30, "too many rounds");
        next
    }

    /// A number for the second part of this shard, if it is cut in two: of the same round, and of none of
    /// `others`.
    pub(crate) fn second_part<'a>(self, others: impl Iterator<Item = &'a Self>) -> Self {
        let within = |no: &Self| no.0 % Self::ROUND;
        let next = others.map(within).max().map_or(0, |last| last + 1);
        assert!(next < Self::ROUND, "too many shards");
        Self(self.0 - within(&self) + next)
    }

    /// Whether it is the number of leftovers.
    #[must_use]
    pub fn is_of_leftovers(self) -> bool {
        self.0 & !(1 << 30) >= Self::ROUND
    }
}

impl std::fmt::Display for ShardNo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The rows of a shard: a range of one file of row references in the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowRange {
    /// Number of the reference file.
    pub file: u32,
    /// First reference, counted from 0.
    pub from: u32,
    /// One past the last reference.
    pub to: u32,
}

impl RowRange {
    /// Number of rows.
    #[must_use]
    pub fn len(self) -> u32 {
        self.to - self.from
    }

    /// Whether the range has no rows.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.to == self.from
    }
}

/// Why a shard exists, which decides what its end means for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShardRole {
    /// Rows on their first try.
    Bulk,
    /// The first rows of prefix groups, sent ahead so that the rest finds the cache warm.
    Canary,
    /// Rows that an earlier shard left over; `round` counts how often they were left over.
    Leftovers {
        /// 1 for the first time.
        round: u16,
        /// The most rounds that one of them has expired in.
        expired: u16,
    },
}

/// One shard of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Its number.
    pub no: ShardNo,
    /// The lane it travels.
    pub lane: Lane,
    /// Why it exists.
    pub role: ShardRole,
    /// Its rows.
    pub rows: RowRange,
    /// Bytes of all its requests, cache marks included; on the batch lane, of the whole body.
    pub bytes: u64,
    /// Most that its rows can cost on its lane.
    pub worst: Usd,
    /// What the ledger has set aside for it and not given back, while its batch is not settled.
    pub reserved: Usd,
    /// The cache mark spliced into its rows, if any.
    pub mark: Option<Ttl>,
    /// Why it goes without the mark that it was planned with, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmarked: Option<Unmarked>,
    /// The canary it waits for.
    pub after: Option<ShardNo>,
    /// Its batch was made by an earlier life of the job, whose memory was lost.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub found: bool,
    /// The account that its batch is, or may be, in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Account>,
    /// The batch that its outcomes came from, once it is settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Where it stands.
    pub state: ShardState,
}

impl Shard {
    /// Sends a planned batch shard to the sync lane instead.
    pub(crate) fn go_sync(&mut self) {
        assert_eq!(self.state, ShardState::Planned, "nothing of it was sent");
        self.lane = Lane::Sync;
        self.worst = self.worst + self.worst;
        let pays = self.rows.len() > 1;
        self.mark = self.mark.filter(|_| pays).map(|_| Ttl::FiveMinutes);
        self.after = None;
    }
}

/// Where a shard stands. Stored as JSON; the tag is also a column, for compare-and-set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShardState {
    /// Nothing was sent.
    Planned,
    /// Batch lane: the intent is durable; from now on bytes may have left.
    Submitting(Intent),
    /// Batch lane: nobody knows whether the upstream made the batch.
    Unknown(Doubt),
    /// Batch lane: the batch exists and has not ended.
    InProgress(Upstream),
    /// Batch lane: a cancel was asked for; finished rows will still come.
    Canceling(Upstream),
    /// Batch lane: ended; its results are still only upstream.
    Ended(Upstream),
    /// Batch lane: its result lines are durable in the spool.
    Collected(Collection),
    /// Batch lane: nobody knows whether the upstream made the batch, or whether one that it made is ours,
    /// and the deadline did not wait for it: the rows are those of a later shard.
    GivenUp(Doubt),
    /// Sync lane: rows are being sent; the journal in the spool knows which.
    Running,
    /// Every row has its outcome or is part of a later shard.
    Settled(Box<Tally>),
}

impl ShardState {
    /// The name of the state, as the store keeps it.
    #[must_use]
    pub fn tag(&self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Submitting(_) => "submitting",
            Self::Unknown(_) => "unknown",
            Self::InProgress(_) => "in_progress",
            Self::Canceling(_) => "canceling",
            Self::Ended(_) => "ended",
            Self::Collected(_) => "collected",
            Self::GivenUp(_) => "given_up",
            Self::Running => "running",
            Self::Settled(_) => "settled",
        }
    }

    /// The upstream batch of this state, if it has one.
    #[must_use]
    pub fn upstream(&self) -> Option<&Upstream> {
        match self {
            Self::InProgress(up) | Self::Canceling(up) | Self::Ended(up) => Some(up),
            Self::Collected(collection) => Some(&collection.upstream),
            Self::Planned
            | Self::Submitting(_)
            | Self::Unknown(_)
            | Self::GivenUp(_)
            | Self::Running
            | Self::Settled(_) => None,
        }
    }
}

/// What was about to be sent, recorded before its first byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// When, on our clock.
    pub at: Timestamp,
    /// A time on the *server's* clock that is certainly not later than the send.
    pub server_not_before: Timestamp,
    /// BLAKE3 of the exact body, in hex.
    pub body_digest: String,
}

/// A submission whose outcome is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// What was sent.
    pub intent: Intent,
    /// Server time of the first listing that did not show the batch.
    pub absent_since: Option<Timestamp>,
    /// Batches that turned out not to be ours.
    pub not_ours: Vec<BatchId>,
}

impl Doubt {
    /// Nothing is known yet.
    #[must_use]
    pub fn about(intent: Intent) -> Self {
        Self {
            intent,
            absent_since: None,
            not_ours: Vec::new(),
        }
    }
}

/// How long the upstream keeps the results of a batch, from its creation (Anthropic docs, batch processing).
pub const RESULTS_KEPT: Span = Span::from_secs(RESULTS_RETENTION_DAYS.cast_signed() * 86_400);

/// A batch on the other side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Its id.
    pub batch: BatchId,
    /// Server time of its creation: the moment whose prices hold.
    pub created_at: Timestamp,
    /// Our time of the first poll; the poll interval grows from here.
    pub since: Timestamp,
    /// How we know that it is ours.
    pub proof: Proof,
}

/// How we know that a batch is ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proof {
    /// The answer to our create named it, or its results carry our mark.
    Certain,
    /// Time and row count fit. It is not canceled, and what its results say decides; if they say
    /// no, the doubt comes back.
    Likely(Doubt),
}

/// The batch that a settled shard came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Its id.
    pub batch: BatchId,
    /// Server time of its creation: the upstream keeps the results for 29 days from here.
    pub created_at: Timestamp,
    /// What became of the upstream's own copy of requests and results.
    pub copy: UpstreamCopy,
}

/// What became of the upstream's copy of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpstreamCopy {
    /// It is there, for as long as the upstream keeps it.
    There,
    /// It was deleted at our request.
    Deleted,
    /// When it was to be deleted, the upstream did not know it: it was deleted before, or this was
    /// not the key that made it.
    Missing,
}

/// Result lines that are durable in the spool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collection {
    /// Where they came from.
    pub upstream: Upstream,
    /// How often they were downloaded.
    pub downloads: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_sends_a_part_is_known_as_the_same_job() {
        let whole = JobId::of_digest(&[7; 32]);
        let (one, other) = (whole.of_part(&[1; 32]), whole.of_part(&[2; 32]));
        assert_eq!(JobId::parse(one.as_str()), Some(one.clone()));
        for (this, that) in [(&whole, &one), (&one, &whole), (&one, &other)] {
            assert!(this.sends_other_rows_than(that));
        }
        assert!(!one.sends_other_rows_than(&whole.of_part(&[1; 32])));
        assert!(!one.sends_other_rows_than(&JobId::of_digest(&[8; 32])));
    }

    #[test]
    fn a_part_of_a_shard_stays_in_its_round() {
        let others = [
            ShardNo(0),
            ShardNo(1),
            ShardNo(4).leftovers(),
            ShardNo(1 << 30),
        ];
        assert_eq!(ShardNo(1).second_part(others.iter()), ShardNo(5));
        let left = ShardNo(1).leftovers();
        assert_eq!(left.second_part(others.iter()), ShardNo(5).leftovers());
    }

    #[test]
    fn every_shard_has_a_number_for_what_it_leaves_over() {
        let probe = 1 << 30;
        let mut seen = std::collections::BTreeSet::new();
        for first in [0, 1, 2, (1 << 24) - 1, probe] {
            let mut shard = ShardNo(first);
            assert!(!shard.is_of_leftovers() && seen.insert(shard));
            for _ in 0..63 {
                shard = shard.leftovers();
                assert!(shard.is_of_leftovers() && seen.insert(shard));
                assert!(shard.0 < 1 << 31, "the highest bit is that of its file");
            }
        }
    }
}
