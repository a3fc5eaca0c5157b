//! Owns the way of a request through the frame: who may ask, what goes wrong first, which limits
//! hold, and which endpoint answers.

use std::borrow::Cow;

use offpeak_wire::error::ErrorKind;

use crate::bill::Tally;
use crate::book::Book;
use crate::fault::{Endpoint, Fault, RetryAfter};
use crate::gate::{self, Caller};
use crate::http::{Answer, Body, Problem, Request};
use crate::rate::Pool;
use crate::route::Route;
use crate::stamp::SECOND;
use crate::world::{Ticket, Visit, World, body_limit};

/// Picodollars of a dollar.
const USD: i128 = 1_000_000_000_000;

impl World {
    pub(crate) fn dispatch(
        &mut self,
        now: i64,
        ticket: &Ticket,
        route: &Route<'_>,
        caller: Caller,
        request: &Request,
    ) -> Result<Answer, Problem> {
        let overhead = self.config.latency.overhead();
        if ticket.resets_before_accept() {
            let mut nothing = Answer::json(Vec::new(), 0);
            nothing.body = Body::Full(Vec::new());
            return Ok(nothing);
        }
        if let Route::WrongMethod(_) = route {
            return Err(Problem::invalid("Method Not Allowed"));
        }
        let (endpoint, nth) = ticket.nth.ok_or_else(|| Problem::not_found("Not found"))?;
        if request.body.len() > body_limit(&request.path) {
            return Err(too_large());
        }
        let workspace = caller.enter(endpoint)?;
        let version = gate::version(request)?;
        self.fault(ticket, endpoint, nth)?;
        if let Some(pool) = pool(endpoint) {
            self.take_turn(pool, now)?;
        }
        let visit = Visit {
            now,
            workspace,
            version,
            ticket,
            request,
        };
        match *route {
            Route::Messages => self.messages(&visit),
            Route::CountTokens => self.count_tokens(&visit),
            Route::Batches => self.create(&visit),
            Route::BatchList => self.list(&visit),
            Route::Batch(id) => self.retrieve(&visit, id),
            Route::Cancel(id) => self.cancel(&visit, id),
            Route::Delete(id) => self.delete(&visit, id),
            Route::Results(id) => self.results(&visit, id),
            Route::ModelList => self.models(&visit),
            Route::Model(id) => self.model(&visit, id),
            Route::UsageReport => self.usage_report(&visit),
            Route::CostReport => self.cost_report(&visit),
            Route::RateLimits => self.rate_limits(&visit),
            Route::WorkspaceLimits(_) => Ok(self.workspace_limits()),
            Route::WrongMethod(_) | Route::Nowhere => Err(Problem::not_found("Not found")),
        }
        .map(|mut answer| {
            answer.takes = answer.takes.max(overhead);
            answer
        })
    }

    fn fault(&self, ticket: &Ticket, endpoint: Endpoint, nth: u64) -> Result<(), Problem> {
        let seconds = self.config.faults.retry_after(endpoint, nth);
        Err(match ticket.fault {
            Some(Fault::RateLimited) => rate_limited().after(seconds),
            Some(Fault::SpendCap) => spend_cap(),
            Some(Fault::Overloaded) => Problem::new(ErrorKind::Overloaded, "Overloaded"),
            Some(Fault::Internal) => Problem::new(ErrorKind::Api, "Internal server error"),
            Some(Fault::Refused(refusal)) => {
                let problem = Problem::new(refusal.kind, words(refusal.kind));
                match refusal.retry_after {
                    RetryAfter::Unsaid => problem,
                    RetryAfter::Seeded => problem.after(seconds),
                    RetryAfter::Seconds(n) => problem.after(u64::from(n)),
                }
            }
            Some(Fault::ResetBeforeAccept | Fault::ResetAfterAccept | Fault::Stream(_)) | None => {
                return Ok(());
            }
        })
    }

    /// Lets a Messages call to this model in, if its class's limits and the spend cap do.
    pub(crate) fn meter(&mut self, now: i64, model: u16) -> Result<(), Problem> {
        self.note.model = Some(model);
        self.within_spend_cap(now)?;
        self.take_turn(Pool::Models(Book::embedded().model(model).class), now)
    }

    fn take_turn(&mut self, pool: Pool, now: i64) -> Result<(), Problem> {
        if let Some(wait) = self.buckets.wait(pool, now) {
            let mut problem = Problem::new(ErrorKind::RateLimit, wait.message);
            problem.code = wait.code.map(Cow::Borrowed);
            return Err(problem.after(seconds_up(wait.micros)));
        }
        self.buckets.take_request(pool, now);
        Ok(())
    }

    pub(crate) fn within_spend_cap(&self, now: i64) -> Result<(), Problem> {
        let cap = self.config.limits.spend_cap_usd;
        let spent = self.ledger.this_month(now);
        match cap {
            Some(cap) if spent >= i128::from(cap) * USD => Err(spend_cap()),
            _ => Ok(()),
        }
    }

    /// Bills an answered Messages call and takes its tokens out of the limits.
    /// `lost`: the client never sees the whole of it.
    pub(crate) fn charge(&mut self, visit: &Visit<'_>, model: u16, tally: Tally, lost: bool) {
        let Visit {
            now,
            workspace,
            ticket,
            ..
        } = *visit;
        self.ledger
            .call(now, ticket.number, workspace, model, tally, lost);
        // Cache reads do not count against the input limit (Anthropic docs, rate limits).
        let input = tally.prompt() - u64::from(tally.read);
        let class = Book::embedded().model(model).class;
        self.buckets
            .take_tokens(class, input, u64::from(tally.output), now);
    }
}

/// Whose buckets the requests to an endpoint come out of, unless that depends on the model.
pub(crate) fn pool(endpoint: Endpoint) -> Option<Pool> {
    match endpoint {
        Endpoint::CountTokens => Some(Pool::CountTokens),
        Endpoint::Create
        | Endpoint::Retrieve
        | Endpoint::List
        | Endpoint::Cancel
        | Endpoint::Delete
        | Endpoint::Results => Some(Pool::Batches),
        Endpoint::Messages | Endpoint::Models | Endpoint::Admin => None,
    }
}

pub(crate) fn too_large() -> Problem {
    Problem::new(ErrorKind::RequestTooLarge, "")
}

fn rate_limited() -> Problem {
    Problem::new(ErrorKind::RateLimit, words(ErrorKind::RateLimit))
}

fn spend_cap() -> Problem {
    Problem::new(
        ErrorKind::SpendLimit,
        "You have reached the spend limit of your tier for this month.",
    )
}

/// What an error says that a request did not cause.
fn words(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidRequest => "Invalid request",
        ErrorKind::OwnSpendLimit => {
            "You have reached your specified API usage limits. You will regain access on the first of next \
             month at 00:00 UTC."
        }
        ErrorKind::Authentication => "invalid x-api-key",
        ErrorKind::Billing => {
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & \
             Billing to upgrade or purchase credits."
        }
        ErrorKind::Permission => {
            "Your API key does not have permission to use the specified resource."
        }
        ErrorKind::NotFound => "Not found",
        ErrorKind::Conflict => "Conflict",
        ErrorKind::RateLimit | ErrorKind::SpendLimit => {
            "This request would exceed your organization's rate limit."
        }
        ErrorKind::Timeout => "Request timed out",
        ErrorKind::Overloaded => "Overloaded",
        ErrorKind::RequestTooLarge | ErrorKind::Api | ErrorKind::Unknown => "Internal server error",
    }
}

fn seconds_up(micros: i64) -> u64 {
    u64::try_from((micros + SECOND - 1) / SECOND).unwrap_or(0)
}
