//! What happens to a job (events), what is to be remembered (writes) and what is to be done (acts).
//! The list of acts is the list of side effects that a job can have.

use offpeak_wire::batch::{BatchId, BatchStatus};
use offpeak_wire::error::ErrorKind;
use offpeak_wire::message::StopReason;

use crate::job::account::Account;
use crate::job::outcome::Tally;
use crate::job::queue::{QueueSeen, Waiter};
use crate::job::retry::Blame;
use crate::job::shard::{RowRange, Shard, ShardNo, Upstream};
use crate::job::speed::Limits;
use crate::plan::evidence::Observed;
use crate::price::Lane;
use crate::units::{Span, Timestamp, Usd};

/// How much of a request body was handed to the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Nothing: the upstream cannot have acted.
    Nothing,
    /// A part: the upstream cannot have the whole request, so it cannot have acted.
    Part,
    /// All of it: the upstream may have acted.
    Whole,
}

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// Nothing but time passed.
    Woke,
    /// The upstream was searched for batches that carry this job's mark.
    Scouted(Scouted),
    /// The upstream's queue was looked at, for a shard that wants to go.
    QueueSeen {
        /// The shard.
        shard: ShardNo,
        /// What was seen.
        seen: QueueSeen,
    },
    /// The body of a shard was measured.
    Prepared {
        /// The shard.
        shard: ShardNo,
        /// BLAKE3 of the body, in hex.
        body_digest: String,
        /// Bytes of the body.
        bytes: u64,
        /// A time on the server's clock that is certainly not later than now.
        server_not_before: Timestamp,
    },
    /// A create came back, or did not.
    Submitted {
        /// The shard.
        shard: ShardNo,
        /// What came back.
        answer: SubmitAnswer,
    },
    /// Recent batches were listed for a shard in doubt.
    Listed {
        /// The shard.
        shard: ShardNo,
        /// The listing, or why there is none: the error, if it was one of the API's, and its words.
        listing: Result<Listing, (Option<ErrorKind>, String)>,
    },
    /// A batch was looked at.
    Polled {
        /// The shard.
        shard: ShardNo,
        /// What was seen.
        answer: PollAnswer,
    },
    /// A cancel came back.
    CancelAnswered {
        /// The shard.
        shard: ShardNo,
        /// Whether the upstream took it.
        accepted: bool,
    },
    /// The results of a batch that no shard needs were read.
    Weighed {
        /// The batch.
        batch: OurBatch,
        /// What its answers cost; `None` if they could not be read.
        cost: Option<Usd>,
    },
    /// The results of a collected shard are not on the disk, or not as they were received.
    ResultsLost {
        /// The shard.
        shard: ShardNo,
    },
    /// A batch that was to be deleted upstream was, or was not.
    Deleted {
        /// The shard.
        shard: ShardNo,
        /// What came back.
        answer: DeleteAnswer,
    },
    /// A results download ended.
    Collected {
        /// The shard.
        shard: ShardNo,
        /// How.
        answer: CollectAnswer,
    },
    /// A shard's outcomes are durable in the spool.
    Settled {
        /// The shard.
        shard: ShardNo,
        /// What it came to.
        settlement: Box<Settlement>,
    },
    /// A planned shard was measured for a split.
    Measured {
        /// The shard.
        shard: ShardNo,
        /// How many of its first rows fit; 0 if none does.
        rows: u32,
        /// Most that those rows cost on the shard's lane.
        worst: Usd,
        /// Bytes of those rows.
        bytes: u64,
    },
    /// Rows of a sync shard were read from the spool.
    Fetched {
        /// The shard.
        shard: ShardNo,
        /// The rows that still need an answer.
        rows: Vec<SyncRow>,
        /// Where to go on; `None` at the end of the shard.
        next: Option<u32>,
    },
    /// A synchronous call came back, or did not. It is in the journal already.
    RowAnswered {
        /// The shard.
        shard: ShardNo,
        /// The row, in input order.
        row: u64,
        /// What came back.
        answer: RowAnswer,
        /// The limits that it told.
        limits: Limits,
    },
    /// The user wants the run to stop here.
    StopAsked,
}

/// What a search for our own batches found.
#[derive(Debug, Default)]
pub struct Scouted {
    /// The account of the key that searched, if the upstream was reached.
    pub account: Option<Account>,
    /// Why it could not be finished: the error, if it was one of the API's, and its words.
    pub failed: Option<(Option<ErrorKind>, String)>,
    /// Batches whose results carry this job's mark and that no shard of the store owns.
    pub ours: Vec<OurBatch>,
    /// A batch of this job that an earlier life made when it sent other rows than this one does.
    pub other_rows: Option<BatchId>,
    /// Batches that still run and have the row count of one of our shards, or whose results cannot
    /// be read now.
    pub suspects: Vec<BatchId>,
}

/// How far a search for our own batches goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// Nowhere: the upstream is asked for its time and our account only.
    Knock,
    /// Over batches made since the job was, which have ended and have the row count of one of its shards.
    /// Others that run are not waited for: this process or its store made whatever ours there are.
    Ended,
    /// Over all that the upstream keeps: the memory of the job may be lost, and every batch in question
    /// with it.
    All,
}

/// A batch that carries this job's mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OurBatch {
    /// The shard that its mark names.
    pub shard: ShardNo,
    /// Its id.
    pub batch: BatchId,
    /// Rows in it.
    pub rows: u64,
    /// Server time of its creation.
    pub created_at: Timestamp,
}

/// The answer to a create.
#[derive(Debug)]
pub enum SubmitAnswer {
    /// The batch exists.
    Accepted {
        /// Its id.
        batch: BatchId,
        /// Server time of its creation.
        created_at: Timestamp,
    },
    /// The upstream certainly made no batch.
    Refused {
        /// Why.
        kind: ErrorKind,
        /// In its words.
        message: String,
        /// When to try again, if it said so.
        retry_after: Option<Span>,
    },
    /// No answer, or one that does not say whether a batch was made.
    Lost {
        /// How much was handed to the socket.
        sent: Sent,
    },
}

/// Recent batches as the upstream lists them.
#[derive(Debug)]
pub struct Listing {
    /// The server's clock.
    pub server_now: Timestamp,
    /// Batches created since the intent that no shard of the store owns.
    pub seen: Vec<SeenBatch>,
}

/// A batch in a listing.
#[derive(Debug, Clone)]
pub struct SeenBatch {
    /// Its id.
    pub batch: BatchId,
    /// Server time of its creation.
    pub created_at: Timestamp,
    /// Rows in it.
    pub rows: u64,
    /// What its results say, once it has ended.
    pub owner: Owner,
}

/// Whose batch it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// It runs, or its results cannot be read.
    Untold,
    /// Its results carry the mark of this shard.
    Ours,
    /// Its results carry another mark, or none.
    Other,
}

/// The answer to a poll.
#[derive(Debug)]
pub enum PollAnswer {
    /// The batch, as it stands.
    Status {
        /// Where it stands.
        status: BatchStatus,
        /// When to look again at the earliest, if the server said so.
        retry_after: Option<Span>,
    },
    /// The upstream does not know it.
    NotFound,
    /// No use: try again later, or stop.
    Failed {
        /// The error, if it was one of the API's.
        kind: Option<ErrorKind>,
        /// In words.
        message: String,
        /// When to try again, if the server said so.
        retry_after: Option<Span>,
    },
}

/// The answer to a results download.
#[derive(Debug)]
pub enum CollectAnswer {
    /// All lines are durable in the spool.
    Complete,
    /// The file is whole, but lines are missing or unreadable.
    Flawed {
        /// Rows without a readable line.
        rows: u64,
    },
    /// The results belong to somebody else.
    Foreign,
    /// The upstream has no results for it any more.
    Gone,
    /// The download failed; try again.
    Failed {
        /// The error, if it was one of the API's.
        kind: Option<ErrorKind>,
        /// In words.
        message: String,
        /// When to try again, if the server said so.
        retry_after: Option<Span>,
    },
}

/// The answer to the deletion of a batch.
#[derive(Debug)]
pub enum DeleteAnswer {
    /// The upstream has deleted it.
    Deleted,
    /// The upstream does not know it.
    NotFound,
    /// It is not deleted, or nobody knows.
    Failed {
        /// The error, if it was one of the API's; `None` if there was no answer.
        kind: Option<ErrorKind>,
        /// In words.
        message: String,
        /// When to try again, if the server said so.
        retry_after: Option<Span>,
    },
}

/// What a shard came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settlement {
    /// Its sums.
    pub tally: Tally,
    /// Rows that go on.
    pub leftovers: Option<Leftovers>,
    /// The account cannot go on, and what the upstream says about it; the rows that met this are
    /// among the leftovers.
    pub stop: Option<(ErrorKind, String)>,
    /// At most three short messages of what failed, each for another reason.
    pub examples: Vec<String>,
    /// What later plans learn of it, by model.
    pub observed: Vec<Observed>,
}

/// Rows of a settled shard that have no terminal outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leftovers {
    /// Their references.
    pub rows: RowRange,
    /// Bytes of their requests.
    pub bytes: u64,
    /// Most that they cost on the sync lane.
    pub worst: Usd,
    /// How many of them expired.
    pub expired: u32,
    /// The most rounds that one of them has expired in.
    pub round_max: u16,
}

/// A row of the sync lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncRow {
    /// The row, in input order.
    pub row: u64,
    /// Most that one call can cost.
    pub worst: Usd,
    /// The prefixes that it shares and marks, each standing on the one before.
    pub prefixes: Vec<u32>,
    /// Attempts it has used up.
    pub attempts: u16,
    /// Failures of which it is not clear whose they are.
    pub blame: Blame,
}

/// The answer to a synchronous call.
#[derive(Debug)]
pub enum RowAnswer {
    /// A message.
    Message {
        /// Why it stopped.
        stop: StopReason,
        /// What it cost, and would have cost by other routes.
        sums: Box<Tally>,
    },
    /// A success that cannot be read; it was billed, nobody knows how much.
    Unreadable,
    /// An error of the API.
    Error {
        /// Which.
        kind: ErrorKind,
        /// In its words.
        message: String,
        /// When to try again, if it said so.
        retry_after: Option<Span>,
    },
    /// No answer.
    Lost {
        /// How much was handed to the socket.
        sent: Sent,
    },
}

/// Something to remember, before any act of the same step is performed.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// A shard as it now is; `expect` is the state that it must have in the store, `None` for a
    /// new one.
    Shard {
        /// The tag of the state before.
        expect: Option<&'static str>,
        /// The shard.
        shard: Box<Shard>,
    },
    /// A movement of money.
    Ledger(LedgerEntry),
    /// The job stands in line for room in the upstream's queue, or no longer: for the other jobs.
    InLine(Option<Waiter>),
    /// A batch of ours that answers no row, so that it is not found again.
    Waste {
        /// The batch.
        batch: OurBatch,
        /// What its answers cost.
        cost: Usd,
    },
    /// What a shard that is settled in the same step showed of the calls to a model.
    Observed {
        /// The shard.
        shard: ShardNo,
        /// What it showed.
        observed: Box<Observed>,
    },
}

/// One entry of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerEntry {
    /// What kind of movement.
    pub kind: LedgerKind,
    /// For which shard.
    pub shard: ShardNo,
    /// On which lane.
    pub lane: Lane,
    /// How much.
    pub amount: Usd,
}

/// Kinds of ledger entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerKind {
    /// The worst case is set aside before anything is sent.
    Reserve,
    /// What was billed, from reported usage.
    Settle,
    /// What was set aside and not needed.
    Release,
    /// Held for calls whose outcome nobody knows.
    Unknown,
    /// Billed for a batch that answers no row.
    Waste,
}

impl LedgerKind {
    /// The name in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reserve => "reserve",
            Self::Settle => "settle",
            Self::Release => "release",
            Self::Unknown => "unknown",
            Self::Waste => "waste",
        }
    }
}

/// Something to do, after the writes of the step are durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Look for batches upstream that carry this job's mark, or may; answer with `Scouted`.
    Scout {
        /// Rows of the shards that an earlier life may have sent: a batch that runs is one of its
        /// only if it has as many as one of them.
        rows: Vec<u64>,
        /// How far to look.
        search: Search,
    },
    /// Look at the upstream's queue and at who waits for room in it; answer with `QueueSeen`.
    LookAtQueue(ShardNo),
    /// Measure the body of a shard; answer with `Prepared`.
    Prepare(ShardNo),
    /// Create the batch, once; answer with `Submitted`.
    Submit(ShardNo),
    /// List batches created since the server time given; answer with `Listed`.
    List(ShardNo, Timestamp),
    /// Look at a batch; answer with `Polled`.
    Poll(ShardNo, BatchId),
    /// Cancel a batch; answer with `CancelAnswered`.
    Cancel(ShardNo, BatchId),
    /// Delete a batch upstream; answer with `Deleted`.
    Delete(ShardNo, BatchId),
    /// Download the results; answer with `Collected`.
    Collect(ShardNo, Upstream),
    /// Turn results or journal into outcomes; answer with `Settled`.
    Settle(ShardNo),
    /// Price the results of a batch that no shard needs; answer with `Weighed`.
    Weigh(OurBatch),
    /// Find out how many first rows of a shard cost at most this, or fill half its bytes if no
    /// amount is given; answer with `Measured`.
    Measure(ShardNo, Option<Usd>),
    /// Read rows of a sync shard from this reference on; answer with `Fetched`.
    Fetch(ShardNo, u32),
    /// Journal and send one synchronous call; answer with `RowAnswered`.
    Send {
        /// The shard.
        shard: ShardNo,
        /// The row.
        row: u64,
        /// Which try this is, from 0.
        attempt: u16,
        /// The most it can cost.
        held: Usd,
    },
}

/// Why a job stopped before its end. Everything done so far is kept and the job can be resumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The next row could cost more than is left of the budget.
    Budget {
        /// What the next rows may cost.
        needed: Usd,
        /// What is left.
        left: Usd,
    },
    /// What comes next would be expected to cross the soft line of the budget.
    SoftBudget {
        /// The line.
        line: Usd,
        /// What was spent.
        spent: Usd,
    },
    /// The upstream refuses the key, the account or the request as such.
    Upstream {
        /// The kind of error.
        kind: ErrorKind,
        /// In its words.
        message: String,
    },
    /// Too many of the first answers are of no use.
    Guard {
        /// Answers that alarm.
        bad: u64,
        /// Of so many.
        of: u64,
        /// Some of them, in words.
        examples: Vec<String>,
    },
    /// Rows expired twice and there is no deadline that would say what they are worth.
    Expired {
        /// How many.
        rows: u32,
    },
    /// Batches of the job are, or may be, in another account than that of the key in use.
    OtherAccount {
        /// So many.
        batches: u64,
        /// Theirs.
        theirs: Account,
        /// That of the key.
        ours: Account,
    },
    /// An earlier life of the job has paid for a batch when it sent other rows than this one does.
    SentOtherRows {
        /// The batch.
        batch: BatchId,
    },
    /// A shard is larger than the upstream's whole queue, so its batch can never be made.
    NeverFits {
        /// Its rows.
        rows: u64,
        /// Most rows in the queue.
        limit: u64,
    },
    /// Call after call may have been billed, and none of them was answered.
    Unanswered {
        /// So many.
        calls: u64,
    },
    /// The user asked.
    Interrupted,
}

impl Stop {
    /// After a hard stop nothing more is asked of the upstream; after a soft one, what is there
    /// already is still brought home.
    #[must_use]
    pub fn is_hard(&self) -> bool {
        matches!(
            self,
            Self::Interrupted
                | Self::Upstream { .. }
                | Self::OtherAccount { .. }
                | Self::SentOtherRows { .. }
                | Self::NeverFits { .. }
        )
    }
}
