//! Owns the Rate Limits API: the organisation's limits as its tier has them (Anthropic docs, rate
//! limits API). No workspace has limits of its own.

use serde::Serialize;

use crate::book::Book;
use crate::http::{Answer, Problem};
use crate::query::Query;
use crate::rate::{Meter, Pool};
use crate::world::{Visit, World};

#[derive(Serialize)]
struct Listing {
    data: Vec<Group>,
    next_page: Option<String>,
}

#[derive(Serialize)]
struct Group {
    r#type: &'static str,
    group_type: &'static str,
    models: Option<Vec<&'static str>>,
    limits: Vec<Limit>,
}

#[derive(Serialize)]
struct Limit {
    r#type: &'static str,
    value: u32,
}

impl World {
    pub(crate) fn rate_limits(&self, visit: &Visit<'_>) -> Result<Answer, Problem> {
        let query = Query::read(&visit.request.query);
        let book = Book::embedded();
        let mut data = self.groups(visit.now);
        if let Some(name) = query.one("model") {
            let found = book.find(name, visit.now);
            let found = found.ok_or_else(|| Problem::not_found(format!("model: {name}")))?;
            let id = book.model(found).id.as_str();
            let has = |group: &Group| group.models.as_ref().is_some_and(|ids| ids.contains(&id));
            data.retain(has);
        }
        if let Some(kind) = query.one("group_type") {
            const KINDS: [&str; 6] = [
                "model_group",
                "batch",
                "token_count",
                "files",
                "skills",
                "web_search",
            ];
            if !KINDS.contains(&kind) {
                return Err(Problem::invalid(format!(
                    "group_type: Input should be one of {}",
                    KINDS.map(|kind| format!("'{kind}'")).join(", ")
                )));
            }
            data.retain(|group| group.group_type == kind);
        }
        let listing = Listing {
            data,
            next_page: None,
        };
        Ok(Answer::object(&listing, 0))
    }

    /// The limits that a workspace has beside the organisation's: none.
    pub(crate) fn workspace_limits(&self) -> Answer {
        let listing = Listing {
            data: Vec::new(),
            next_page: None,
        };
        Answer::object(&listing, 0)
    }

    fn groups(&self, now: i64) -> Vec<Group> {
        let limits = self.config.limits;
        let book = Book::embedded();
        let group = |group_type, models, limits| Group {
            r#type: "rate_limit",
            group_type,
            models,
            limits,
        };
        let limit = |r#type, value| Limit { r#type, value };
        let mut groups = Vec::new();
        for (index, class) in (0..).zip(book.classes()) {
            let models = class
                .models
                .iter()
                .map(|&model| book.model(model).id.as_str());
            let models: Vec<_> = models.filter(|id| book.find(id, now).is_some()).collect();
            let of = |meter| limits.of(Pool::Models(index), meter);
            if !models.is_empty() {
                groups.push(group(
                    "model_group",
                    Some(models),
                    vec![
                        limit("requests_per_minute", of(Meter::Requests)),
                        limit("input_tokens_per_minute", of(Meter::InputTokens)),
                        limit("output_tokens_per_minute", of(Meter::OutputTokens)),
                    ],
                ));
            }
        }
        groups.push(group(
            "batch",
            None,
            vec![
                limit("requests_per_minute", limits.batches),
                limit("enqueued_batch_requests", limits.queued_rows),
            ],
        ));
        groups.push(group(
            "token_count",
            None,
            vec![limit("requests_per_minute", limits.count_tokens)],
        ));
        groups
    }
}
