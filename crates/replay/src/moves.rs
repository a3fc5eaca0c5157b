//! What a policy sees and what it does: the calls and events it is told of, and its actions.
//!
//! It is told what a client would know, no more (`game`). Leaves out who decides (`policy`).

use std::sync::Arc;

use offpeak_core::gate::{Block, Marks, Refusal};
use offpeak_core::job::speed::Limits;
use offpeak_core::units::Timestamp;
use offpeak_sim::{Lane, Tally};

/// A call as a policy sees it.
#[derive(Debug, Clone)]
pub(crate) struct Visible {
    /// Its number.
    pub(crate) number: usize,
    /// When it comes.
    pub(crate) at: Timestamp,
    /// Its model.
    pub(crate) model: String,
    /// Its prompt.
    pub(crate) blocks: Vec<Block>,
    /// The most that may be generated.
    pub(crate) max_tokens: u32,
    /// It may wait for a batch.
    pub(crate) deferrable: bool,
    /// When its answer is needed at the latest.
    pub(crate) deadline: Option<Timestamp>,
    /// The job it belongs to.
    pub(crate) job: Option<usize>,
}

/// What a policy is told.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// The calls of a job, which will come at the times they say.
    Job(Vec<Arc<Visible>>),
    /// A call came.
    Arrived(Arc<Visible>),
    /// A synchronous call's answer began, and with it its usage is known.
    Begun {
        /// The call.
        call: usize,
        /// Prompt tokens it read from the cache.
        read: u64,
    },
    /// A ping's answer came.
    Pinged {
        /// The policy's number for it.
        ping: u64,
        /// Prompt tokens it read from the cache.
        read: u64,
    },
    /// An answer is complete, and with it everything that it was billed for.
    Done {
        /// What was answered.
        item: Item,
        /// The lane it came on.
        lane: Lane,
        /// What it took.
        tally: Tally,
        /// What its headers said of the limits.
        limits: Limits,
    },
    /// A call was not taken.
    Refused {
        /// What was refused.
        item: Item,
        /// Why.
        why: Refusal,
    },
    /// A batch has ended.
    Ended {
        /// The policy's number for it.
        shard: u32,
        /// Its calls, and what became of them.
        rows: Vec<(usize, RowFate)>,
    },
    /// A moment that was asked for.
    Wake,
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowFate {
    /// It was answered.
    Answered,
    /// It was given up with its batch.
    Canceled,
    /// It was not answered within a day.
    Expired,
}

/// What a policy does.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// Sends a call.
    Send {
        /// The call.
        call: usize,
        /// Its marks.
        marks: Marks,
    },
    /// Submits a batch.
    Flush {
        /// The policy's number for it.
        shard: u32,
        /// Its calls with their marks.
        rows: Vec<(usize, Marks)>,
    },
    /// Cancels a batch.
    Cancel {
        /// The policy's number for it.
        shard: u32,
    },
    /// Reads a beginning of a call's prompt and asks for nothing.
    Ping {
        /// The policy's number for it.
        ping: u64,
        /// The call.
        like: usize,
        /// How many of its blocks.
        blocks: usize,
        /// The marks.
        marks: Marks,
    },
    /// Gives a call up: the budget is spent.
    Decline {
        /// The call.
        call: usize,
    },
    /// Wants to be told when it is that late.
    Wake(Timestamp),
}

/// What was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Item {
    /// A call of the trace.
    Call(usize),
    /// A ping.
    Ping {
        /// The policy's number for it.
        ping: u64,
        /// The call whose prompt it begins like.
        like: usize,
        /// How many of its blocks.
        blocks: usize,
    },
}
