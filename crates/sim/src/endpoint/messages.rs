//! Owns synchronous calls: `POST /v1/messages` and `POST /v1/messages/count_tokens`.

use serde::Serialize;

use crate::answer::{Length, Message, text_seed};
use crate::bill::{self, Lane, Tally};
use crate::book::Book;
use crate::cache::Moment;
use crate::check::{self, Terms};
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
        if view.stream() == Some(true) {
            return Err(Problem::invalid("streaming is not simulated yet"));
        }
        let checked = check::request(&view, visit.terms(Some(Lane::Sync)))?;
        self.meter(now, checked.model)?;
        let model = Book::embedded().model(checked.model);
        let prompt = Prompt::read(&view, self.realm(workspace, Lane::Sync, checked.model));
        let length = Length::of(&self.config, prompt.digest, checked.max_tokens);
        let seed = self.config.seed;
        let (first, whole) = self
            .config
            .latency
            .answer(seed, ticket.number, length.tokens);
        let moment = Moment {
            start: now,
            begins: now + first,
            batch: None,
        };
        let split = self.cache.pass(&prompt.spots, prompt.tokens, moment);
        let tally = Tally {
            input: split.input,
            write_5m: split.write_5m,
            write_1h: split.write_1h,
            read: split.read,
            output: length.tokens,
            us: checked.us,
            fast: checked.fast,
        };
        self.charge(visit, checked.model, tally);
        let message = Message {
            id: bill::message_id(seed, Lane::Sync, ticket.number, 0),
            model,
            lane: Lane::Sync,
            stop: length.stop,
            seed: text_seed(seed, prompt.digest),
            tally,
        };
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
        let checked = check::request(&view, visit.terms(None))?;
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
    pub(super) fn terms(&self, lane: Option<Lane>) -> Terms<'a> {
        Terms {
            now: self.now,
            lane,
            version: self.version,
            betas: self.request.header("anthropic-beta").unwrap_or_default(),
        }
    }
}
