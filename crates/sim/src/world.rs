//! Owns the simulated upstream as a whole: its state, the arrival of requests and their faults, and
//! the passing of time. The way of a request to its endpoint is `dispatch`'s, what the endpoints say
//! is in `endpoint`, and what all replies have in common is `reply`'s.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use offpeak_wire::limits::{MAX_BATCH_BYTES, MAX_MESSAGES_BYTES};
use offpeak_wire::request::RequestView;

use crate::batch::Batch;
use crate::bill::{BillView, Ledger};
use crate::cache::Cache;
use crate::config::Config;
use crate::dice;
use crate::dispatch;
use crate::fault::{Endpoint, Fault, Faults};
use crate::gate::{self, Caller};
use crate::http::{Problem, Reply, Request};
use crate::log::Log;
use crate::rate::Buckets;
use crate::route::{self, Route};
use crate::rule::{Arrival, Count, Effects};

/// The Claude API, simulated: pure, deterministic, and with its own bill.
///
/// Time only comes in through the calls and never runs backwards: an earlier `now` counts as the
/// latest one seen.
#[derive(Debug)]
pub struct World {
    pub(crate) config: Config,
    pub(crate) now: i64,
    /// The instant of the first request.
    pub(crate) began: Option<i64>,
    /// By number, in order of creation; never removed, as the bill refers to them.
    pub(crate) batches: Vec<Batch>,
    pub(crate) by_id: BTreeMap<String, u32>,
    /// Numbers of the batches that have not ended.
    pub(crate) running: Vec<u32>,
    /// When the next row of a batch starts.
    pub(crate) due: BinaryHeap<Reverse<(i64, u32)>>,
    pub(crate) cache: Cache,
    pub(crate) ledger: Ledger,
    pub(crate) buckets: Buckets,
    /// Requests seen so far, by endpoint and in all.
    pub(crate) seen: [u64; Endpoint::ALL.len()],
    pub(crate) requests: u64,
    /// Of each fault rule.
    pub(crate) counts: Vec<Count>,
    /// The plan that the world began with.
    pub(crate) first_faults: Faults,
    /// Fault plans that have taken the place of the configuration's since, as JSON.
    pub(crate) replaced_faults: Vec<String>,
    pub(crate) log: Log,
    pub(crate) note: Note,
    /// Goes up with every change.
    pub(crate) revision: u64,
}

/// What an endpoint notes about the request at hand.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Note {
    pub(crate) model: Option<u16>,
    pub(crate) rows: Option<u32>,
}

/// A request that has arrived but was not answered yet: its place in the order of arrivals, and
/// with it its fault.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// The running number of the request, from 0.
    pub(crate) number: u64,
    /// Its endpoint and its running number there.
    pub(crate) nth: Option<(Endpoint, u64)>,
    pub(crate) fault: Option<Fault>,
    /// Whether the fault, or that there is none, was an appointment.
    appointed: bool,
    pub(crate) effects: Effects,
}

impl Ticket {
    /// Whether the connection breaks before the request is accepted: its body need not be read.
    #[must_use]
    pub fn resets_before_accept(&self) -> bool {
        self.fault == Some(Fault::ResetBeforeAccept)
    }
}

/// Who asks, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visit<'a> {
    pub(crate) now: i64,
    pub(crate) workspace: u64,
    pub(crate) version: &'a str,
    pub(crate) ticket: &'a Ticket,
    pub(crate) request: &'a Request,
}

/// Why the body of a request never came to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It is larger than the API takes.
    TooLarge,
    /// It broke off, or was not sent as HTTP asks for.
    Broken,
}

impl World {
    /// A world in which nothing has happened yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            now: i64::MIN,
            began: None,
            batches: Vec::new(),
            by_id: BTreeMap::new(),
            running: Vec::new(),
            due: BinaryHeap::new(),
            cache: Cache::new(config.cache),
            ledger: Ledger::default(),
            buckets: Buckets::new(config.limits),
            seen: [0; Endpoint::ALL.len()],
            requests: 0,
            counts: vec![Count::default(); config.faults.rules.len()],
            first_faults: config.faults.clone(),
            replaced_faults: Vec::new(),
            log: Log::default(),
            note: Note::default(),
            revision: 0,
            config,
        }
    }

    /// Answers a request that arrives at `now` (µs since the Unix epoch).
    pub fn handle(&mut self, now: i64, request: &Request) -> Reply {
        if route::is_control(&request.path) {
            return self.control(now, request);
        }
        let ticket = self.admit(now, request);
        self.answer(now, ticket, request)
    }

    /// The latest instant seen; `None` before the first.
    #[must_use]
    pub fn now(&self) -> Option<i64> {
        (self.now != i64::MIN).then_some(self.now)
    }

    /// A number that goes up whenever anything has changed.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Notes the arrival of a request's head at `now`. Its body may take a while to arrive, and is
    /// not looked at.
    pub fn admit(&mut self, now: i64, head: &Request) -> Ticket {
        let now = self.now.max(now);
        self.began.get_or_insert(now);
        self.revision += 1;
        let number = self.requests;
        self.requests += 1;
        let nth = Route::of(&head.method, &head.path)
            .endpoint()
            .map(|endpoint| {
                let seen = &mut self.seen[endpoint as usize];
                *seen += 1;
                (endpoint, *seen - 1)
            });
        let faults = &self.config.faults;
        let appointment = nth.and_then(|(endpoint, n)| faults.appointment(endpoint, n));
        let by_rate = nth.and_then(|(endpoint, n)| faults.by_rate(endpoint, n));
        let mut ticket = Ticket {
            number,
            nth,
            fault: appointment.unwrap_or(by_rate),
            appointed: appointment.is_some(),
            effects: Effects::default(),
        };
        self.meddle(now, &mut ticket, head, None);
        ticket
    }

    /// Lets the fault rules at a request: without a model those that do not ask for one, else the
    /// others.
    fn meddle(&mut self, now: i64, ticket: &mut Ticket, request: &Request, model: Option<&str>) {
        let Some((endpoint, _)) = ticket.nth else {
            return;
        };
        if self.config.faults.rules.is_empty() {
            return;
        }
        let arrival = Arrival {
            now,
            began: self.began.unwrap_or(now),
            endpoint,
            key: gate::key(request).unwrap_or_default(),
            model,
        };
        let faults = &self.config.faults;
        faults.meddle(&mut self.counts, &arrival, &mut ticket.effects);
        if let Some(fault) = ticket.effects.fault.filter(|_| !ticket.appointed) {
            ticket.fault = Some(fault);
        }
    }

    /// Answers an admitted request whose body has arrived by `now`.
    pub fn answer(&mut self, now: i64, mut ticket: Ticket, request: &Request) -> Reply {
        self.advance(now);
        let now = self.now;
        self.note = Note::default();
        if self.config.faults.ask_for_models()
            && let Ok(view) = RequestView::parse(&request.body)
            && let Some(model) = view.model()
        {
            self.meddle(now, &mut ticket, request, Some(model));
        }
        let route = Route::of(&request.method, &request.path);
        let caller = Caller::of(request);
        let answer = self.dispatch(now, &ticket, &route, caller, request);
        self.reply(now, &ticket, request, (&route, caller), answer)
    }

    /// Answers an admitted request whose body could not be read, or is too large to be.
    pub fn refuse(&mut self, now: i64, ticket: Ticket, head: &Request, why: Unread) -> Reply {
        self.advance(now);
        self.note = Note::default();
        let problem = match why {
            Unread::TooLarge => dispatch::too_large(),
            Unread::Broken => Problem::invalid("The request body could not be read."),
        };
        let route = Route::of(&head.method, &head.path);
        let caller = Caller::of(head);
        self.reply(self.now, &ticket, head, (&route, caller), Err(problem))
    }

    /// Lets everything happen that happens up to `now`. Every request does this first.
    pub fn advance(&mut self, now: i64) {
        self.now = self.now.max(now);
        while let Some(&Reverse((at, number))) = self.due.peek()
            && at <= self.now
        {
            self.due.pop();
            let batch = &mut self.batches[index(number)];
            // A cancellation may have come between.
            if batch.next_start() == Some(at) {
                batch.start_next(at, &mut self.cache);
                self.revision += 1;
                self.schedule(number);
            }
        }
        for &number in &self.running {
            let ended = self.batches[index(number)].settle(self.now, &mut self.ledger);
            self.revision += u64::from(ended);
        }
        let batches = &self.batches;
        self.running
            .retain(|&number| !batches[index(number)].has_ended());
    }

    pub(crate) fn schedule(&mut self, number: u32) {
        if let Some(at) = self.batches[index(number)].next_start() {
            self.due.push(Reverse((at, number)));
        }
    }

    /// The account of what was billed, as of the latest instant seen.
    #[must_use]
    pub fn bill(&self) -> BillView<'_> {
        BillView {
            ledger: &self.ledger,
            batches: &self.batches,
            seed: self.config.seed,
        }
    }
}

pub(crate) fn index(number: u32) -> usize {
    usize::try_from(number).expect("the simulator needs 32 bits")
}

pub(crate) fn workspace_id(workspace: u64) -> String {
    dice::id("wrkspc_01", workspace, !workspace)
}

/// The largest body that is taken at a path, bytes (Anthropic docs, errors).
#[must_use]
pub fn body_limit(path: &str) -> usize {
    let bytes = match Route::of("POST", path) {
        Route::Batches => MAX_BATCH_BYTES,
        _ => MAX_MESSAGES_BYTES,
    };
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
