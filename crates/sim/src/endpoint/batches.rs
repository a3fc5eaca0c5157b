//! Owns the batch endpoints: create, retrieve, list, cancel, delete, results.

use offpeak_wire::error::ErrorKind;
use serde::Serialize;

use crate::batch::{Batch, Draft, Origin};
use crate::bill::Lane;
use crate::http::{Answer, Body, Problem};
use crate::query::Query;
use crate::world::{Visit, World, index};

use super::Page;

/// Seconds after which a running batch may be looked at again (live captures).
const POLL_AFTER: u64 = 10;
/// A body is read at this many bytes a second.
const UPLOAD_BYTES_PER_SECOND: u64 = 100_000_000;

impl World {
    pub(crate) fn create(&mut self, visit: &Visit<'_>) -> Result<Answer, Problem> {
        let Visit {
            now,
            workspace,
            request,
            ticket,
            ..
        } = *visit;
        self.within_spend_cap(now)?;
        let number = u32::try_from(self.batches.len()).expect("fewer than 2^32 batches");
        let terms = visit.terms(Some(Lane::Batch), &self.config)?;
        let draft = Draft::read(&request.body, &self.config, workspace, number, terms)?;
        self.refuse_overflow(draft.len())?;
        self.note.rows = Some(draft.len());
        let mut batch = Batch::new(&self.config, number, workspace, now, draft);
        batch.hide(ticket.effects.hidden);
        self.by_id.insert(batch.id().to_owned(), number);
        self.running.push(number);
        self.batches.push(batch);
        self.schedule(number);
        let bytes = u64::try_from(request.body.len()).expect("a length fits u64");
        let upload = i64::try_from(bytes * 1_000_000 / UPLOAD_BYTES_PER_SECOND).unwrap_or(i64::MAX);
        let mut answer = self.show(visit, number);
        answer.takes = self.config.latency.overhead().saturating_add(upload);
        Ok(answer)
    }

    /// The response to a full queue is not documented; a rate limit is the likely one.
    fn refuse_overflow(&self, rows: u32) -> Result<(), Problem> {
        let limits = self.config.limits;
        let queued = self
            .running
            .iter()
            .map(|&n| u64::from(self.batches[index(n)].queued()));
        let after = queued.sum::<u64>() + u64::from(rows);
        if limits.enforced && after > u64::from(limits.queued_rows) {
            let text = format!(
                "This request would exceed your organization's limit of {} batch requests in the \
                 processing queue.",
                limits.queued_rows
            );
            return Err(Problem::new(ErrorKind::RateLimit, text).after(60));
        }
        Ok(())
    }

    fn show(&self, visit: &Visit<'_>, number: u32) -> Answer {
        let origin = Origin::of(visit.request);
        let batch = &self.batches[index(number)];
        let object = batch.object(visit.now, &origin, self.config.live_counts);
        Answer::object(&object, 0)
    }

    /// The number of a batch of this id that the asker may see.
    fn find(&self, visit: &Visit<'_>, id: &str) -> Result<u32, Problem> {
        let number = self.by_id.get(id).copied();
        let visible = |&n: &u32| self.batches[index(n)].is_visible(visit.workspace, visit.now);
        number
            .filter(visible)
            .ok_or_else(|| Problem::not_found(format!("Message Batch {id} not found.")))
    }

    pub(crate) fn retrieve(&mut self, visit: &Visit<'_>, id: &str) -> Result<Answer, Problem> {
        let number = self.find(visit, id)?;
        let mut answer = self.show(visit, number);
        let running = !self.batches[index(number)].has_ended();
        answer.retry_after = running.then_some(POLL_AFTER);
        Ok(answer)
    }

    pub(crate) fn cancel(&mut self, visit: &Visit<'_>, id: &str) -> Result<Answer, Problem> {
        let number = self.find(visit, id)?;
        if !self.batches[index(number)].cancel(visit.now) {
            return Err(Problem::invalid(format!(
                "Message Batch {id} has already ended and cannot be canceled."
            )));
        }
        Ok(self.show(visit, number))
    }

    pub(crate) fn delete(&mut self, visit: &Visit<'_>, id: &str) -> Result<Answer, Problem> {
        #[derive(Serialize)]
        struct Deleted<'a> {
            id: &'a str,
            r#type: &'static str,
        }
        let number = self.find(visit, id)?;
        if !self.batches[index(number)].delete() {
            return Err(Problem::invalid(
                "In progress batches cannot be deleted. Consider canceling the batch instead.",
            ));
        }
        Ok(Answer::object(
            &Deleted {
                id,
                r#type: "message_batch_deleted",
            },
            0,
        ))
    }

    pub(crate) fn results(&mut self, visit: &Visit<'_>, id: &str) -> Result<Answer, Problem> {
        let number = self.find(visit, id)?;
        let batch = &mut self.batches[index(number)];
        if !batch.has_ended() || batch.is_archived(visit.now) {
            let text = format!("Message Batch {id} has no available results.");
            return Err(Problem::not_found(text));
        }
        let mut answer = Answer::json(Vec::new(), 0);
        answer.content_type = "application/x-jsonl";
        answer.body = Body::Lines(batch.download(&self.config, &visit.ticket.effects));
        Ok(answer)
    }

    pub(crate) fn list(&mut self, visit: &Visit<'_>) -> Result<Answer, Problem> {
        let Visit { now, request, .. } = *visit;
        let visible = |batch: &&Batch| batch.is_visible(visit.workspace, now);
        let all: Vec<&Batch> = self.batches.iter().rev().filter(visible).collect();
        let ids: Vec<&str> = all.iter().map(|batch| batch.id()).collect();
        let (range, has_more) = Query::read(&request.query).page(&ids, "Message Batch")?;
        let ids = &ids[range.clone()];
        let origin = Origin::of(request);
        let live = self.config.live_counts;
        let page = all[range].iter().map(|b| b.object(now, &origin, live));
        Ok(Answer::object(
            &Page {
                data: page.collect(),
                has_more,
                first_id: ids.first().copied(),
                last_id: ids.last().copied(),
            },
            0,
        ))
    }
}
