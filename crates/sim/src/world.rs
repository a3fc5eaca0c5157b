//! Owns the simulated upstream as a whole: its state, the passing of time, and the frame of every
//! exchange (authentication, limits, faults, headers). What the endpoints say is in `endpoint`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use offpeak_wire::error::ErrorKind;
use offpeak_wire::limits::{MAX_BATCH_BYTES, MAX_MESSAGES_BYTES};

use crate::batch::Batch;
use crate::bill::{BillView, Ledger};
use crate::cache::Cache;
use crate::config::Config;
use crate::dice::{self, Purpose};
use crate::fault::{Endpoint, Fault};
use crate::http::{Answer, Body, Fate, Problem, Reply, Request};
use crate::rate::{Buckets, Meter};
use crate::route::Route;
use crate::stamp::{self, SECOND};

/// The Claude API, simulated: pure, deterministic, and with its own bill.
///
/// Time only comes in through the calls and never runs backwards: an earlier `now` counts as the
/// latest one seen.
#[derive(Debug)]
pub struct World {
    pub(crate) config: Config,
    now: i64,
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
    seen: [u64; Endpoint::ALL.len()],
    requests: u64,
}

/// A request that has arrived but was not answered yet: its place in the order of arrivals, and
/// with it its fault.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    /// The running number of the request, from 0.
    pub(crate) number: u64,
    /// Its endpoint and its running number there.
    nth: Option<(Endpoint, u64)>,
    pub(crate) fault: Option<Fault>,
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
    pub(crate) ticket: Ticket,
    pub(crate) request: &'a Request,
}

impl World {
    /// A world in which nothing has happened yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            now: i64::MIN,
            batches: Vec::new(),
            by_id: BTreeMap::new(),
            running: Vec::new(),
            due: BinaryHeap::new(),
            cache: Cache::new(config.cache),
            ledger: Ledger::default(),
            buckets: Buckets::new(config.limits),
            seen: [0; Endpoint::ALL.len()],
            requests: 0,
            config,
        }
    }

    /// Answers a request that arrives at `now` (µs since the Unix epoch).
    pub fn handle(&mut self, now: i64, request: &Request) -> Reply {
        let ticket = self.admit(&request.method, &request.path);
        self.answer(now, ticket, request)
    }

    /// Notes the arrival of a request's head. Its body may take a while to arrive.
    pub fn admit(&mut self, method: &str, path: &str) -> Ticket {
        let number = self.requests;
        self.requests += 1;
        let nth = Route::of(method, path).endpoint().map(|endpoint| {
            let seen = &mut self.seen[endpoint as usize];
            *seen += 1;
            (endpoint, *seen - 1)
        });
        let fault = nth.and_then(|(endpoint, n)| self.config.faults.of_request(endpoint, n));
        Ticket { number, nth, fault }
    }

    /// Answers an admitted request whose body has arrived by `now`.
    pub fn answer(&mut self, now: i64, ticket: Ticket, request: &Request) -> Reply {
        self.advance(now);
        let now = self.now;
        let mut headers = Vec::with_capacity(12);
        let mut put = |name: &str, value: String| headers.push((name.to_owned(), value));
        let request_id = self.id(Purpose::RequestId, "req_01", ticket.number);
        put("date", stamp::http_date(now));
        put("request-id", request_id.clone());
        put("anthropic-organization-id", self.organization());
        let route = Route::of(&request.method, &request.path);
        let workspace = workspace(request);
        if let Some(workspace) = workspace {
            put(
                "anthropic-workspace-id",
                dice::id("wrkspc_01", workspace, !workspace),
            );
        }
        let answer = self.dispatch(now, ticket, &route, workspace, request);
        let answer = answer
            .unwrap_or_else(|problem| problem.answer(&request_id, self.config.latency.overhead()));
        if let (Some(workspace), Some(endpoint)) = (workspace, route.endpoint()) {
            self.buckets
                .headers(workspace, meters(endpoint), now, &mut headers);
        }
        headers.push(("content-type".to_owned(), answer.content_type.to_owned()));
        if let Some(seconds) = answer.retry_after {
            headers.push(("retry-after".to_owned(), seconds.to_string()));
        }
        Reply {
            status: answer.status,
            headers,
            body: answer.body,
            at: now + answer.takes,
            fate: match ticket.fault {
                Some(Fault::ResetBeforeAccept) => Fate::ResetBeforeAccept,
                Some(Fault::ResetAfterAccept) => Fate::ResetAfterAccept,
                _ => Fate::Answer,
            },
        }
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
                self.schedule(number);
            }
        }
        for &number in &self.running {
            self.batches[index(number)].settle(self.now, &mut self.ledger);
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

    fn dispatch(
        &mut self,
        now: i64,
        ticket: Ticket,
        route: &Route<'_>,
        workspace: Option<u64>,
        request: &Request,
    ) -> Result<Answer, Problem> {
        let overhead = self.config.latency.overhead();
        if ticket.resets_before_accept() {
            let mut nothing = Answer::json(Vec::new(), 0);
            nothing.body = Body::Full(Vec::new());
            return Ok(nothing);
        }
        if *route == Route::Bill {
            return Ok(Answer::object(&self.bill().summary(), 0));
        }
        if request.body.len() > body_limit(&request.path) {
            return Err(Problem::new(ErrorKind::RequestTooLarge, ""));
        }
        let workspace = workspace
            .ok_or_else(|| Problem::new(ErrorKind::Authentication, "API key is invalid."))?;
        let version = version(request)?;
        let (endpoint, nth) = ticket.nth.ok_or_else(|| Problem::not_found("Not found"))?;
        self.fault(ticket, endpoint, nth)?;
        let meters = meters(endpoint);
        if let Some(wait) = self.buckets.wait(workspace, meters, now) {
            return Err(rate_limited().after(seconds_up(wait)));
        }
        self.buckets.take(workspace, meters[0], 1, now);
        let visit = Visit {
            now,
            workspace,
            version,
            ticket,
            request,
        };
        match *route {
            Route::Messages => self.messages(visit),
            Route::CountTokens => self.count_tokens(visit),
            Route::Batches => self.create(visit),
            Route::BatchList => self.list(visit),
            Route::Batch(id) => self.retrieve(visit, id),
            Route::Cancel(id) => self.cancel(visit, id),
            Route::Delete(id) => self.delete(visit, id),
            Route::Results(id) => self.results(visit, id),
            Route::Bill | Route::Nowhere => Err(Problem::not_found("Not found")),
        }
        .map(|mut answer| {
            answer.takes = answer.takes.max(overhead);
            answer
        })
    }

    fn fault(&self, ticket: Ticket, endpoint: Endpoint, nth: u64) -> Result<(), Problem> {
        Err(match ticket.fault {
            Some(Fault::RateLimited) => {
                rate_limited().after(self.config.faults.retry_after(endpoint, nth))
            }
            Some(Fault::SpendCap) => Problem::new(
                ErrorKind::SpendLimit,
                "You have reached the spend limit of your tier for this month.",
            ),
            Some(Fault::Overloaded) => Problem::new(ErrorKind::Overloaded, "Overloaded"),
            Some(Fault::Internal) => Problem::new(ErrorKind::Api, "Internal server error"),
            Some(Fault::ResetBeforeAccept | Fault::ResetAfterAccept | Fault::Stream(_)) | None => {
                return Ok(());
            }
        })
    }

    fn id(&self, purpose: Purpose, prefix: &str, n: u64) -> String {
        let roll = |b| dice::roll(self.config.seed, purpose, n, b);
        dice::id(prefix, roll(0), roll(1))
    }

    fn organization(&self) -> String {
        let roll = |a| dice::roll(self.config.seed, Purpose::Organization, a, 0);
        let (a, b) = (roll(0), roll(1));
        format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xffff,
            a & 0xfff,
            b >> 52,
            b & 0xffff_ffff_ffff
        )
    }
}

fn rate_limited() -> Problem {
    Problem::new(
        ErrorKind::RateLimit,
        "This request would exceed your organization's rate limit.",
    )
}

pub(crate) fn index(number: u32) -> usize {
    usize::try_from(number).expect("the simulator needs 32 bits")
}

pub(crate) fn seconds_up(micros: i64) -> u64 {
    u64::try_from((micros + SECOND - 1) / SECOND).unwrap_or(0)
}

/// What the requests to an endpoint are metered by; the first is the number of requests.
fn meters(endpoint: Endpoint) -> &'static [Meter] {
    match endpoint {
        Endpoint::Messages => &[Meter::Messages, Meter::InputTokens, Meter::OutputTokens],
        Endpoint::CountTokens => &[Meter::CountTokens],
        Endpoint::Create
        | Endpoint::Retrieve
        | Endpoint::List
        | Endpoint::Cancel
        | Endpoint::Delete
        | Endpoint::Results => &[Meter::Batches],
    }
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

/// The workspace of a request: one per API key, sent either way. `None` without a key.
fn workspace(request: &Request) -> Option<u64> {
    let bearer = request.header("authorization");
    let bearer = bearer.and_then(|value| value.strip_prefix("Bearer "));
    let keys = [request.header("x-api-key"), bearer];
    let key = keys
        .into_iter()
        .flatten()
        .map(str::trim)
        .find(|key| !key.is_empty())?;
    let digest = blake3::hash(key.as_bytes());
    let word = digest
        .as_bytes()
        .first_chunk()
        .expect("a hash has 32 bytes");
    Some(u64::from_le_bytes(*word))
}

fn version(request: &Request) -> Result<&str, Problem> {
    match request.header("anthropic-version") {
        None | Some("") => Err(Problem::invalid("anthropic-version: header is required")),
        Some(known @ ("2023-01-01" | "2023-06-01" | "2026-10-21")) => Ok(known),
        Some(other) => Err(Problem::invalid(format!(
            "anthropic-version: \"{other}\" is not a valid version"
        ))),
    }
}
