//! The machine, driven by hand: what it does in each of the situations that cost money when done
//! wrongly. No runtime, no clock: `now` is a number.

mod account;
mod batch;
mod cancel;
mod deadline;
mod deletion;
mod queue;
mod scouting;
mod soft_line;
mod sync;
mod unmark;
mod waste;

use std::collections::BTreeMap;

use offpeak_wire::batch::BatchId;
use offpeak_wire::request::Ttl;

use crate::job::event::{
    Act, Event, Leftovers, Listing, Owner, Scouted, SeenBatch, Sent, Settlement, SubmitAnswer,
    Write,
};
use crate::job::machine::OnUnknown;
use crate::job::outcome::{OutcomeClass, Tally};
use crate::job::queue::{QueueSeen, Waiter};
use crate::job::shard::{JobId, RowRange, Shard, ShardNo, ShardRole, ShardState};
use crate::job::unmark::MarkFacts;
use crate::job::{Facts, Machine, Status, Step};
use crate::price::Lane;
use crate::units::{Span, Timestamp, Usd};

/// A machine and its time.
struct Bench {
    machine: Machine,
    now: Timestamp,
    /// What the store would have, by number.
    stored: BTreeMap<ShardNo, Shard>,
    /// What whoever looks at the upstream's queue sees.
    queue: QueueSeen,
    looks: u32,
    /// That the job waits for room, as the store would have it.
    in_line: Option<Waiter>,
}

fn facts() -> Facts {
    Facts {
        id: JobId::of_digest(&[7; 32]),
        created_at: Timestamp::from_micros(0),
        deadline: None,
        budget: None,
        soft_budget: None,
        expected_share: 0.1,
        dearest: dollars(2),
        scout: false,
        past_guard: false,
        expired_to_sync: false,
        answer: Span::from_secs(10),
        marks: MarkFacts::default(),
        on_unknown: OnUnknown::Wait,
        resumed: false,
        wasted: Usd::ZERO,
        cancel: None,
        probing: false,
        delete_upstream: false,
        priority: 0,
    }
}

/// A planned shard of `rows` rows that cost at most a dollar each on its lane.
fn shard(no: u32, lane: Lane, rows: u32) -> Shard {
    Shard {
        no: ShardNo(no),
        lane,
        role: ShardRole::Bulk,
        rows: RowRange {
            file: no,
            from: 0,
            to: rows,
        },
        bytes: 1_000 * u64::from(rows),
        worst: dollars(i128::from(rows)),
        reserved: Usd::ZERO,
        mark: None,
        unmarked: None,
        found: false,
        account: None,
        origin: None,
        after: None,
        state: ShardState::Planned,
    }
}

fn canary(no: u32) -> Shard {
    Shard {
        role: ShardRole::Canary,
        mark: Some(Ttl::OneHour),
        ..shard(no, Lane::Batch, 1)
    }
}

fn dollars(amount: i128) -> Usd {
    Usd::from_pico(amount * 1_000_000_000_000)
}

fn batch_id(name: &str) -> BatchId {
    BatchId::new(&format!("msgbatch_{name}")).unwrap()
}

fn lost(sent: Sent) -> SubmitAnswer {
    SubmitAnswer::Lost { sent }
}

fn submitted(no: u32, answer: SubmitAnswer) -> Event {
    Event::Submitted {
        shard: ShardNo(no),
        answer,
    }
}

fn listed(bench: &Bench, no: u32, seen: &[(&str, u64, Owner)]) -> Event {
    let seen = seen.iter().map(|(name, rows, owner)| SeenBatch {
        batch: batch_id(name),
        created_at: bench.now,
        rows: *rows,
        owner: *owner,
    });
    let listing = Listing {
        server_now: bench.now,
        seen: seen.collect(),
    };
    Event::Listed {
        shard: ShardNo(no),
        listing: Ok(listing),
    }
}

impl Bench {
    fn new(facts: Facts, shards: Vec<Shard>) -> Self {
        let now = Timestamp::from_micros(0);
        let stored = shards.iter().map(|s| (s.no, s.clone())).collect();
        Self {
            machine: Machine::new(facts, shards, BTreeMap::new(), now),
            now,
            stored,
            queue: QueueSeen::default(),
            looks: 0,
            in_line: None,
        }
    }

    /// A crash: what is not in the store is gone.
    fn restart(&mut self) {
        let facts = self.machine.facts.clone();
        let shards = self.stored.values().cloned().collect();
        self.machine = Machine::new(facts, shards, BTreeMap::new(), self.now);
    }

    /// One step; its writes go to the store, its acts are returned. What it sees of the upstream's queue is
    /// as the bench has it, at once.
    fn step(&mut self, event: Event) -> Vec<Act> {
        let mut step = Step::default();
        self.machine.step(self.now, event, &mut || 0.5, &mut step);
        for write in step.writes {
            match write {
                Write::Shard { expect, shard } => {
                    let before = self.stored.get(&shard.no).map(|s| s.state.tag());
                    assert_eq!(expect, before, "shard {}", shard.no);
                    self.stored.insert(shard.no, *shard);
                }
                Write::InLine(waiter) => self.in_line = waiter,
                _ => {}
            }
        }
        let mut acts = Vec::new();
        for act in step.acts {
            match act {
                Act::LookAtQueue(shard) => {
                    self.looks += 1;
                    let seen = self.queue.clone();
                    acts.extend(self.step(Event::QueueSeen { shard, seen }));
                }
                other => acts.push(other),
            }
        }
        acts
    }

    fn wake(&mut self) -> Vec<Act> {
        self.step(Event::Woke)
    }

    fn pass(&mut self, seconds: i64) -> Vec<Act> {
        self.now = self.now + Span::from_secs(seconds);
        self.wake()
    }

    /// Starts the job up to the first acts after the look upstream.
    fn begin(&mut self) -> Vec<Act> {
        assert!(matches!(self.wake()[..], [Act::Scout { .. }]));
        self.step(Event::Scouted(Scouted::default()))
    }

    fn prepare(&mut self, no: u32) -> Vec<Act> {
        let server_not_before = self.now;
        let body_digest = "d".to_owned();
        self.step(Event::Prepared {
            shard: ShardNo(no),
            body_digest,
            bytes: 99,
            server_not_before,
        })
    }

    fn accept(&mut self, no: u32, batch: &str) -> Vec<Act> {
        let answer = SubmitAnswer::Accepted {
            batch: batch_id(batch),
            created_at: self.now,
        };
        self.step(Event::Submitted {
            shard: ShardNo(no),
            answer,
        })
    }

    fn settle(&mut self, no: u32, classes: &[OutcomeClass], left: u32) -> Vec<Act> {
        self.settle_at(no, classes, left, Usd::ZERO)
    }

    fn settle_at(&mut self, no: u32, classes: &[OutcomeClass], left: u32, cost: Usd) -> Vec<Act> {
        let mut tally = Tally {
            leftovers: u64::from(left),
            cost,
            ..Tally::default()
        };
        for class in classes {
            tally.outcomes.count(*class);
        }
        let leftovers = (left > 0).then(|| Leftovers {
            rows: RowRange {
                file: 1_000_000 + no,
                from: 0,
                to: left,
            },
            bytes: 1_000,
            worst: dollars(2 * i128::from(left)),
            expired: left,
            round_max: 1,
        });
        let settlement = Box::new(Settlement {
            tally,
            leftovers,
            ..Settlement::default()
        });
        self.step(Event::Settled {
            shard: ShardNo(no),
            settlement,
        })
    }

    /// Brings a batch shard from `Prepare` to `Settle`.
    fn run_batch(&mut self, no: u32, name: &str) -> Vec<Act> {
        assert_eq!(self.prepare(no), [Act::Submit(ShardNo(no))]);
        self.accept(no, name);
        let polled = self.pass(10);
        assert_eq!(polled, [Act::Poll(ShardNo(no), batch_id(name))]);
        self.end_batch(no)
    }

    /// Brings a batch shard that is being polled to `Settle`.
    fn end_batch(&mut self, no: u32) -> Vec<Act> {
        use crate::job::event::{CollectAnswer, PollAnswer};
        let status = offpeak_wire::batch::BatchStatus::Ended;
        let answer = PollAnswer::Status {
            status,
            retry_after: None,
        };
        let acts = self.step(Event::Polled {
            shard: ShardNo(no),
            answer,
        });
        assert!(matches!(acts.as_slice(), [Act::Collect(..)]), "{acts:?}");
        let answer = CollectAnswer::Complete;
        self.step(Event::Collected {
            shard: ShardNo(no),
            answer,
        })
    }

    fn state(&self, no: u32) -> &'static str {
        self.stored[&ShardNo(no)].state.tag()
    }

    fn status(&self) -> Status {
        self.machine.status()
    }
}
