//! Owns synchronous calls: `POST /v1/messages` and `POST /v1/messages/count_tokens`.

use serde::Serialize;

use crate::answer::{Ask, Composed, Message, compose};
use crate::bill::{self, Lane, Tally};
use crate::book::Book;
use crate::cache::{Moment, Split};
use crate::check::{self, Betas, Terms};
use crate::config::Config;
use crate::fault::Fault;
use crate::http::{Answer, Problem};
use crate::prompt::{Prompt, Realm};
use crate::world::{Visit, World};

use super::view;

impl World {
    pub(crate) fn messages(&mut self, visit: &Visit<'_>) -> Result<Answer, Problem> {
        let Visit {
            now,
            workspace,
            ticket,
            ..
        } = *visit;
        let view = view(&visit.request.body)?;
        let checked = check::request(&view, visit.terms(Some(Lane::Sync), &self.config)?)?;
        self.meter(now, checked.model)?;
        let model = Book::embedded().model(checked.model);
        let prompt = Prompt::read(&view, self.realm(workspace, Lane::Sync, checked.model));
        check::window(&prompt, &checked, model)?;
        let ask = Ask {
            view: &view,
            checked: &checked,
            model,
            prompt: &prompt,
        };
        let Composed { plan, pace } = compose(ask, &self.config)?;
        let seed = self.config.seed;
        let (first, whole) = pace.answer(seed, ticket.number, plan.tokens);
        let moment = Moment {
            start: now,
            begins: now + first,
            batch: None,
        };
        let split = match plan.is_free() {
            true => Split::default(),
            false => self.cache.pass(&prompt.spots, prompt.tokens, moment),
        };
        let tally = Tally {
            input: split.input,
            write_5m: split.write_5m,
            write_1h: split.write_1h,
            read: split.read,
            output: plan.tokens,
            us: checked.us,
            fast: checked.fast,
        };
        let streamed = view.stream() == Some(true);
        // Assumed: the answer is generated to its end whatever becomes of the connection, and
        // billed; what an interrupted stream costs is documented nowhere.
        let fault = match ticket.fault {
            Some(Fault::Stream(fault)) if streamed => Some(fault),
            _ => None,
        };
        let lost = ticket.fault == Some(Fault::ResetAfterAccept) || fault.is_some();
        self.charge(visit, checked.model, tally, lost);
        let message = Message {
            id: bill::message_id(seed, Lane::Sync, ticket.number, 0),
            model,
            lane: Lane::Sync,
            plan: &plan,
            tally,
        };
        if streamed {
            return Ok(Answer::events(message.events(pace, fault), first));
        }
        let mut body = Vec::with_capacity(1_024);
        message.write(&mut body);
        Ok(Answer::json(body, whole))
    }

    pub(crate) fn count_tokens(&mut self, visit: &Visit<'_>) -> Result<Answer, Problem> {
        #[derive(Serialize)]
        struct Count {
            input_tokens: u32,
        }
        let view = view(&visit.request.body)?;
        let checked = check::request(&view, visit.terms(None, &self.config)?)?;
        self.note.model = Some(checked.model);
        let realm = self.realm(visit.workspace, Lane::Sync, checked.model);
        let count = Count {
            input_tokens: Prompt::read(&view, realm).tokens,
        };
        Ok(Answer::object(&count, 0))
    }

    fn realm(&self, workspace: u64, lane: Lane, model: u16) -> Realm<'static> {
        Realm {
            seed: self.config.seed,
            workspace,
            lane,
            model: Book::embedded().model(model),
            rules: self.config.cache,
        }
    }
}

impl<'a> Visit<'a> {
    /// Refuses beta names that nobody knows.
    pub(super) fn terms(&self, lane: Option<Lane>, config: &Config) -> Result<Terms<'a>, Problem> {
        Ok(Terms {
            now: self.now,
            lane,
            version: self.version,
            betas: Betas::of(self.request)?,
            verify_thinking: config.answers.verify_thinking,
        })
    }
}
