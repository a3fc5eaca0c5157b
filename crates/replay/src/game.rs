//! One replay: the trace's calls come, a policy says what to do, the referee bills it.
//!
//! A policy sees what a client sees: prompts, limits, deadlines, the answers' usage, and that a batch
//! has ended. It sees no call before it comes, but for those of a job, which are known when the first
//! of them comes; no length of an answer before it is there; and nothing of a batch under way. That a
//! batch has ended is known at once: the poll's delay is left out.

use std::collections::BTreeMap;
use std::sync::Arc;

use offpeak_core::gate::{Block, HELD, Marks, Refusal};
use offpeak_core::job::speed::{Allowance, Limits};
use offpeak_core::units::{Span, Timestamp};
use offpeak_sim::{
    Called, Foul, Lane, Play, Played, RateLeft, Referee, RefereeRules, RowEnd, Tally,
};
use thiserror::Error;

use crate::moves::{Action, Event, Item, RowFate, Visible};
use crate::policy::Policy;
use crate::trace::Trace;

/// Tokens of a ping behind the prefix that it reads: a prompt has to end in a message.
pub(crate) const PING_TOKENS: u32 = 4;
/// What policies do after the last answer is no longer looked at.
const EPILOGUE: Span = Span::from_secs(2 * 86_400);

/// Why a replay can't go on: a policy did what it must not.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GameError {
    /// The API would have refused it.
    #[error(transparent)]
    Foul(#[from] Foul),
    /// A call that was never answered.
    #[error("call {0} was never answered")]
    Unanswered(usize),
    /// A call that is not there yet, or was answered before.
    #[error("call {0} was sent before it came, or again after its answer")]
    OutOfTurn(usize),
}

/// One line of the bill.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Billed {
    pub(crate) item: Item,
    pub(crate) lane: Lane,
    pub(crate) tally: Tally,
    /// It was in a batch before, which was given up or expired.
    pub(crate) hedged: bool,
}

/// A finished replay.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    /// The bill, in the order in which things were sent or known.
    pub(crate) bill: Vec<Billed>,
    pub(crate) total: i128,
    pub(crate) attempts: u64,
    /// Of those, the ones that were not taken.
    pub(crate) refused: u64,
    /// Calls given up.
    pub(crate) declined: u64,
    pub(crate) deadline_misses: u64,
    /// When the last answer was complete.
    pub(crate) last_answer: Timestamp,
}

#[derive(Debug)]
enum Pending {
    Job(usize),
    Arrival(usize),
    Begun {
        call: usize,
        read: u64,
    },
    Pinged {
        ping: u64,
        read: u64,
    },
    Done {
        item: Item,
        tally: Tally,
        limits: Limits,
    },
    Refused {
        item: Item,
        why: Refusal,
    },
    Wake,
}

/// A replay under way.
#[derive(Debug)]
pub(crate) struct Game<'t> {
    trace: &'t Trace,
    visible: Vec<Arc<Visible>>,
    referee: Referee,
    queue: BTreeMap<(i64, u8, u64), Pending>,
    queued: u64,
    /// The referee's number of each of the policy's batches, with their calls.
    shards: BTreeMap<u32, (u32, Vec<usize>)>,
    calls: Vec<State>,
    /// Calls without an answer.
    open: usize,
    last_answer: i64,
    pings: u64,
    /// Limits, an outage or a budget keep calls back, which is then no fault.
    pressed: bool,
    record: Record,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    arrived: bool,
    answered: Option<i64>,
    declined: bool,
    sent: Option<i64>,
    in_batch: bool,
    was_in_batch: bool,
}

impl<'t> Game<'t> {
    pub(crate) fn new(trace: &'t Trace, rules: RefereeRules, pressed: bool) -> Self {
        let visible = trace.calls.iter().enumerate().map(|(number, call)| {
            Arc::new(Visible {
                number,
                at: call.at,
                model: call.model.clone(),
                blocks: call.blocks.clone(),
                max_tokens: call.max_tokens,
                deferrable: call.deferrable,
                deadline: call.deadline,
                job: call.job,
            })
        });
        let mut game = Self {
            trace,
            visible: visible.collect(),
            referee: Referee::new(rules),
            queue: BTreeMap::new(),
            queued: 0,
            shards: BTreeMap::new(),
            calls: vec![State::default(); trace.calls.len()],
            open: trace.calls.len(),
            last_answer: 0,
            pings: 0,
            pressed,
            record: Record {
                bill: Vec::new(),
                total: 0,
                attempts: 0,
                refused: 0,
                declined: 0,
                deadline_misses: 0,
                last_answer: Timestamp::EPOCH,
            },
        };
        let mut announced = vec![false; trace.jobs.len()];
        for (number, call) in trace.calls.iter().enumerate() {
            let at = call.at.as_micros();
            if let Some(job) = call.job.filter(|&job| !announced[job]) {
                announced[job] = true;
                game.later(at, Pending::Job(job));
            }
            game.later(at, Pending::Arrival(number));
        }
        game
    }

    fn later(&mut self, at: i64, what: Pending) {
        let rank = match what {
            Pending::Job(_) => 0,
            Pending::Arrival(_) => 1,
            Pending::Begun { .. } | Pending::Pinged { .. } => 2,
            Pending::Done { .. } | Pending::Refused { .. } => 3,
            Pending::Wake => 4,
        };
        self.queue.insert((at, rank, self.queued), what);
        self.queued += 1;
    }

    /// Plays to the end.
    pub(crate) fn run(mut self, policy: &mut Policy) -> Result<Record, GameError> {
        loop {
            let next = self.queue.first_key_value().map(|(key, _)| key.0);
            let end = self.referee.next_end();
            let now = match (next, end) {
                (None, None) => break,
                (Some(next), None) => next,
                (None, Some(end)) => end,
                (Some(next), Some(end)) => next.min(end),
            };
            let over = self.open == 0 && self.shards.is_empty();
            if over && now > self.last_answer.saturating_add(EPILOGUE.as_micros()) {
                break;
            }
            let mut events: Vec<Event> = Vec::new();
            for ended in self.referee.advance(now) {
                self.settle(&ended, &mut events);
            }
            if events.is_empty()
                && let Some((_, pending)) = self.queue.pop_first()
            {
                events.push(self.take(pending));
            }
            for event in events {
                let mut actions = Vec::new();
                policy.step(Timestamp::from_micros(now), event, &mut actions);
                for action in actions {
                    self.act(now, action)?;
                }
            }
        }
        self.finish()
    }

    fn take(&mut self, pending: Pending) -> Event {
        match pending {
            Pending::Job(job) => {
                let of = self.visible.iter().filter(|call| call.job == Some(job));
                Event::Job(of.cloned().collect())
            }
            Pending::Arrival(call) => {
                self.calls[call].arrived = true;
                Event::Arrived(Arc::clone(&self.visible[call]))
            }
            Pending::Begun { call, read } => Event::Begun { call, read },
            Pending::Pinged { ping, read } => Event::Pinged { ping, read },
            Pending::Done {
                item,
                tally,
                limits,
            } => Event::Done {
                item,
                lane: Lane::Sync,
                tally,
                limits,
            },
            Pending::Refused { item, why } => Event::Refused { item, why },
            Pending::Wake => Event::Wake,
        }
    }

    fn act(&mut self, now: i64, action: Action) -> Result<(), GameError> {
        match action {
            Action::Send { call, marks } => self.send(now, call, &marks),
            Action::Flush { shard, rows } => self.flush(now, shard, rows),
            Action::Cancel { shard } => {
                if let Some((number, _)) = self.shards.get(&shard) {
                    self.referee.cancel(now, *number);
                }
                Ok(())
            }
            Action::Ping {
                ping,
                like,
                blocks,
                marks,
            } => self.ping(now, ping, (like, blocks), &marks),
            Action::Decline { call } => {
                self.in_turn(call)?;
                self.record.declined += 1;
                self.calls[call].declined = true;
                self.open -= 1;
                Ok(())
            }
            Action::Wake(at) => {
                self.later(at.as_micros().max(now), Pending::Wake);
                Ok(())
            }
        }
    }

    fn in_turn(&mut self, call: usize) -> Result<(), GameError> {
        let state = &self.calls[call];
        let open = state.arrived && !state.declined && !state.in_batch;
        if !open || state.answered.is_some() {
            return Err(GameError::OutOfTurn(call));
        }
        Ok(())
    }

    fn send(&mut self, now: i64, call: usize, marks: &Marks) -> Result<(), GameError> {
        self.in_turn(call)?;
        self.record.attempts += 1;
        let item = Item::Call(call);
        let blocks = pairs(&self.visible[call].blocks);
        let play = Play {
            call: to_u64(call),
            model: &self.trace.calls[call].model,
            blocks: &blocks,
            marks,
            output: self.trace.calls[call].output,
        };
        self.calls[call].sent.get_or_insert(now);
        let Some(played) = self.call(now, &play, item)? else {
            return Ok(());
        };
        let state = &mut self.calls[call];
        state.answered = Some(played.ends);
        self.open -= 1;
        self.last_answer = self.last_answer.max(played.ends);
        self.record.bill.push(Billed {
            item,
            lane: Lane::Sync,
            tally: played.tally,
            hedged: state.was_in_batch,
        });
        let read = u64::from(played.tally.read);
        self.later(played.begins, Pending::Begun { call, read });
        Ok(())
    }

    /// A synchronous call; nothing if it was refused. What comes of it is told later.
    fn call(&mut self, now: i64, play: &Play<'_>, item: Item) -> Result<Option<Played>, GameError> {
        match self.referee.call(now, play)? {
            Called::Played(played) => {
                let (tally, limits) = (played.tally, limits(played.left));
                self.later(
                    played.ends,
                    Pending::Done {
                        item,
                        tally,
                        limits,
                    },
                );
                Ok(Some(played))
            }
            Called::Refused(refused) => {
                let retry_after = refused.retry_after.map(Span::from_micros);
                let why = if refused.overloaded {
                    Refusal::Overloaded { retry_after }
                } else {
                    Refusal::Limited { retry_after }
                };
                self.record.refused += 1;
                self.later(refused.at, Pending::Refused { item, why });
                Ok(None)
            }
        }
    }

    fn flush(&mut self, now: i64, shard: u32, rows: Vec<(usize, Marks)>) -> Result<(), GameError> {
        for &(call, _) in &rows {
            self.in_turn(call)?;
            self.record.attempts += 1;
            self.calls[call].in_batch = true;
        }
        let blocks: Vec<_> = rows
            .iter()
            .map(|(call, _)| pairs(&self.visible[*call].blocks))
            .collect();
        let plays: Vec<Play<'_>> = rows
            .iter()
            .zip(&blocks)
            .map(|((call, marks), blocks)| Play {
                call: to_u64(*call),
                model: &self.trace.calls[*call].model,
                blocks,
                marks,
                output: self.trace.calls[*call].output,
            })
            .collect();
        let number = self.referee.submit(now, &plays)?;
        let calls = rows.into_iter().map(|(call, _)| call).collect();
        self.shards.insert(shard, (number, calls));
        Ok(())
    }

    fn ping(
        &mut self,
        now: i64,
        ping: u64,
        (like, blocks): (usize, usize),
        marks: &Marks,
    ) -> Result<(), GameError> {
        if !self.calls[like].arrived {
            return Err(GameError::OutOfTurn(like));
        }
        let mut prompt = pairs(&self.visible[like].blocks[..blocks]);
        prompt.push((u64::MAX, PING_TOKENS));
        self.pings += 1;
        let play = Play {
            call: u64::MAX - self.pings,
            model: &self.trace.calls[like].model,
            blocks: &prompt,
            marks,
            output: 0,
        };
        let item = Item::Ping { ping, like, blocks };
        let Some(played) = self.call(now, &play, item)? else {
            return Ok(());
        };
        self.record.bill.push(Billed {
            item,
            lane: Lane::Sync,
            tally: played.tally,
            hedged: false,
        });
        let read = u64::from(played.tally.read);
        self.later(played.begins, Pending::Pinged { ping, read });
        Ok(())
    }

    /// Takes up the rows of an ended batch.
    fn settle(&mut self, ended: &offpeak_sim::Ended, events: &mut Vec<Event>) {
        let found = self
            .shards
            .iter()
            .find(|(_, (number, _))| *number == ended.batch);
        let shard = found
            .map(|(&shard, _)| shard)
            .expect("a batch that was submitted");
        let (_, calls) = self.shards.remove(&shard).expect("it was just found");
        let mut rows = Vec::with_capacity(calls.len());
        for (call, row) in calls.into_iter().zip(&ended.rows) {
            let state = &mut self.calls[call];
            state.in_batch = false;
            let fate = match row {
                RowEnd::Succeeded { tally, .. } => {
                    state.answered = Some(ended.at);
                    self.open -= 1;
                    self.last_answer = self.last_answer.max(ended.at);
                    self.record.bill.push(Billed {
                        item: Item::Call(call),
                        lane: Lane::Batch,
                        tally: *tally,
                        hedged: false,
                    });
                    events.push(Event::Done {
                        item: Item::Call(call),
                        lane: Lane::Batch,
                        tally: *tally,
                        limits: Limits::default(),
                    });
                    RowFate::Answered
                }
                RowEnd::Canceled => RowFate::Canceled,
                RowEnd::Expired => RowFate::Expired,
            };
            state.was_in_batch |= fate != RowFate::Answered;
            rows.push((call, fate));
        }
        events.push(Event::Ended { shard, rows });
    }

    fn finish(mut self) -> Result<Record, GameError> {
        for (number, state) in self.calls.iter().enumerate() {
            if state.declined {
                continue;
            }
            let answered = state.answered.ok_or(GameError::Unanswered(number))?;
            let call = &self.trace.calls[number];
            let late = call.deadline.is_some_and(|at| answered > at.as_micros());
            let latest = (call.at + HELD).as_micros();
            let held =
                !self.pressed && !call.deferrable && state.sent.is_none_or(|sent| sent > latest);
            self.record.deadline_misses += u64::from(late || held);
        }
        self.record.total = self.referee.total();
        self.record.last_answer = Timestamp::from_micros(self.last_answer);
        Ok(self.record)
    }
}

fn pairs(blocks: &[Block]) -> Vec<(u64, u32)> {
    blocks
        .iter()
        .map(|block| (block.id, block.tokens))
        .collect()
}

fn to_u64(number: usize) -> u64 {
    u64::try_from(number).expect("a number of calls fits u64")
}

fn limits(left: Option<[RateLeft; 3]>) -> Limits {
    let Some([requests, input, output]) = left else {
        return Limits::default();
    };
    let allowance = |RateLeft { limit, left }| Some(Allowance { limit, left });
    Limits {
        requests: allowance(requests),
        input_tokens: allowance(input),
        output_tokens: allowance(output),
    }
}
