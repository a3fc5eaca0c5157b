//! Owns what every reply has in common, whatever the endpoint said: the usual headers, the limits'
//! headers, what faults do to a reply, and its line in the log.

use offpeak_wire::request::RequestView;

use crate::book::Book;
use crate::dice::{self, Purpose};
use crate::dispatch;
use crate::fault::{Endpoint, Fault};
use crate::gate::{self, Caller};
use crate::http::{Answer, Fate, Problem, Reply, Request};
use crate::log;
use crate::rate::Pool;
use crate::route::Route;
use crate::stamp;
use crate::world::{Ticket, World, workspace_id};

impl World {
    pub(crate) fn reply(
        &mut self,
        now: i64,
        ticket: &Ticket,
        request: &Request,
        (route, caller): (&Route<'_>, Caller),
        answer: Result<Answer, Problem>,
    ) -> Reply {
        let request_id = self.id(Purpose::RequestId, "req_01", ticket.number);
        let mut headers = Vec::with_capacity(20);
        let mut put = |name: &str, value: String| headers.push((name.to_owned(), value));
        put(
            "date",
            stamp::http_date(now.saturating_add(ticket.effects.skew)),
        );
        put("request-id", request_id.clone());
        put("anthropic-organization-id", self.organization());
        let workspace = caller.workspace();
        if let Some(workspace) = workspace {
            put("anthropic-workspace-id", workspace_id(workspace));
        }
        let refused = answer.is_err();
        let mut answer = answer
            .unwrap_or_else(|problem| problem.answer(&request_id, self.config.latency.overhead()));
        if let Route::WrongMethod(allowed) = route {
            answer.status = 405;
            put("allow", (*allowed).to_owned());
        }
        if let (Some(_), Some(endpoint)) = (workspace, route.endpoint())
            && let Some(pool) = self.pool_of(endpoint, request)
        {
            self.buckets.headers(pool, now, &mut headers);
        }
        let content_type = ticket.effects.content_type.clone();
        let content_type = content_type.unwrap_or_else(|| answer.content_type.to_owned());
        headers.push(("content-type".to_owned(), content_type));
        if let Some(seconds) = answer.retry_after {
            headers.push(("retry-after".to_owned(), seconds.to_string()));
        }
        if let Some(Fault::Refused(refusal)) = ticket.fault
            && let Some(retry) = refusal.should_retry.filter(|_| refused)
        {
            headers.push(("x-should-retry".to_owned(), retry.to_string()));
        }
        let fate = match ticket.fault {
            Some(Fault::ResetBeforeAccept) => Fate::ResetBeforeAccept,
            Some(Fault::ResetAfterAccept) => Fate::ResetAfterAccept,
            _ => Fate::Answer,
        };
        let status = if fate == Fate::Answer {
            answer.status
        } else {
            0
        };
        self.remember(now, ticket, request, status);
        Reply {
            status: answer.status,
            headers,
            body: answer.body,
            at: (now + answer.takes).saturating_add(ticket.effects.slow),
            fate,
        }
    }

    /// Whose buckets a request came out of. The model of a call that was refused early is read only
    /// here.
    fn pool_of(&self, endpoint: Endpoint, request: &Request) -> Option<Pool> {
        if endpoint != Endpoint::Messages {
            return dispatch::pool(endpoint);
        }
        let book = Book::embedded();
        let early = || {
            let view = RequestView::parse(&request.body).ok()?;
            book.find(view.model()?, self.now)
        };
        let model = self.note.model.or_else(early)?;
        Some(Pool::Models(book.model(model).class))
    }

    fn remember(&mut self, now: i64, ticket: &Ticket, request: &Request, status: u16) {
        let model = self
            .note
            .model
            .map(|model| Book::embedded().model(model).id.clone());
        let decisive = ticket.fault.map(Fault::name).into_iter();
        let faults: Vec<&str> = decisive
            .chain(ticket.effects.names.iter().copied())
            .collect();
        self.log.push(log::Entry {
            number: ticket.number + 1,
            at: now,
            method: request.method.clone(),
            path: request.path.clone(),
            endpoint: ticket.nth.map(|(endpoint, _)| endpoint),
            key: gate::key(request).map(log::key_end),
            status,
            body_bytes: u64::try_from(request.body.len()).unwrap_or(u64::MAX),
            rows: self.note.rows,
            model,
            fault: (!faults.is_empty()).then(|| faults.join(", ")),
        });
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
