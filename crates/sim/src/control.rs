//! Owns what the simulator says about itself and lets be changed: the paths under `/_sim/`, which
//! need no key and are not part of the API. They neither count as requests nor appear in the log.
//!
//! Whoever owns the clock and the files answers `/_sim/clock` and `/_sim/save` before a world is
//! asked: it has neither.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::bill::Lane;
use crate::book::Book;
use crate::fault::Faults;
use crate::http::{Body, Fate, Reply, Request};
use crate::log;
use crate::query::Query;
use crate::rule::Count;
use crate::stamp;
use crate::world::World;

/// Answers of the control endpoints: an object, or why not.
pub(crate) type Said = Result<Value, (u16, String)>;

/// A reply of the simulator itself: status 200, or what went wrong.
pub(crate) fn control_reply(now: i64, said: Said) -> Reply {
    let (status, value) = match said {
        Ok(value) => (200, value),
        Err((status, text)) => (status, json!({ "error": text })),
    };
    let mut body = value.to_string().into_bytes();
    body.push(b'\n');
    Reply {
        status,
        headers: vec![
            ("date".to_owned(), stamp::http_date(now)),
            ("content-type".to_owned(), "application/json".to_owned()),
        ],
        body: Body::Full(body),
        at: now,
        fate: Fate::Answer,
    }
}

impl World {
    /// Answers a request to the simulator itself, at once.
    pub fn control(&mut self, now: i64, request: &Request) -> Reply {
        self.advance(now);
        let said = self.said(request);
        control_reply(self.now, said)
    }

    fn said(&mut self, request: &Request) -> Said {
        let what = request.path.strip_prefix("/_sim/").unwrap_or_default();
        match (request.method.as_str(), what) {
            ("GET", "bill") => Ok(self.bill_summary()),
            ("GET", "state") => Ok(self.state()),
            ("GET", "requests") => self.received(&Query::read(&request.query)),
            ("GET", "faults") => Ok(self.fault_plan()),
            ("POST", "faults") => self.change_faults(&request.body),
            ("POST", "reset") => {
                self.reset();
                Ok(json!({ "reset": true }))
            }
            ("GET", "clock") => Ok(json!({ "now": stamp::rfc3339(self.now), "mode": "caller" })),
            ("POST", "clock") => Err((409, "this world is on its caller's clock".to_owned())),
            ("POST", "save") => Err((409, "this world is kept in no file".to_owned())),
            (_, "bill" | "state" | "requests" | "faults" | "reset" | "clock" | "save") => {
                Err((405, format!("/_sim/{what} takes no {}", request.method)))
            }
            _ => Err((
                404,
                "the simulator has /_sim/bill, clock, faults, requests, reset, save and state"
                    .to_owned(),
            )),
        }
    }

    /// Everything as it was before the first request, fault plan included.
    fn reset(&mut self) {
        let revision = self.revision + 1;
        let mut config = self.config.clone();
        config.faults = self.first_faults.clone();
        *self = Self::new(config);
        self.revision = revision;
    }

    fn received(&self, query: &Query) -> Said {
        let after = query.one("after").unwrap_or("0");
        let after = after
            .parse()
            .map_err(|_| (400, "`after` must be a number".to_owned()))?;
        let limit = query
            .limit(log::PAGE, log::PAGE)
            .map_err(|p| (400, p.message))?;
        Ok(value(&self.log.page(after, limit)))
    }

    fn fault_plan(&self) -> Value {
        let faults = &self.config.faults;
        json!({ "seed": faults.seed, "rules": value(&faults.shown(&self.counts)) })
    }

    /// Puts another plan in the place of the present one; with `"add": true` its rules go after
    /// those that are there, and the rest stays.
    fn change_faults(&mut self, body: &[u8]) -> Said {
        self.apply_faults(body).map_err(|text| (400, text))?;
        self.revision += 1;
        Ok(self.fault_plan())
    }

    pub(crate) fn apply_faults(&mut self, body: &[u8]) -> Result<(), String> {
        let mut plan: Value =
            serde_json::from_slice(body).map_err(|e| format!("not valid JSON: {e}"))?;
        let add = plan.as_object_mut().and_then(|plan| plan.remove("add"));
        let add = match add {
            None => false,
            Some(Value::Bool(add)) => add,
            Some(_) => return Err("`add` must be true or false".to_owned()),
        };
        let text = plan.to_string();
        let faults = Faults::from_json(text.as_bytes()).map_err(|error| error.to_string())?;
        if add {
            self.config.faults.rules.extend(faults.rules);
        } else {
            self.config.faults = faults;
            self.counts.clear();
            self.replaced_faults.clear();
        }
        self.counts
            .resize(self.config.faults.rules.len(), Count::default());
        let kept = String::from_utf8_lossy(body).into_owned();
        self.replaced_faults.push(kept);
        Ok(())
    }

    fn state(&self) -> Value {
        let mut batches = BTreeMap::from([("in_progress", 0), ("canceling", 0), ("ended", 0)]);
        let mut queued = 0;
        for batch in &self.batches {
            let status = match (batch.has_ended(), batch.is_canceling()) {
                (true, _) => "ended",
                (false, true) => "canceling",
                (false, false) => "in_progress",
            };
            *batches.entry(status).or_default() += 1;
            queued += u64::from(batch.queued());
        }
        json!({
            "now": self.now().map(stamp::rfc3339),
            "seed": self.config.seed,
            "requests": self.requests,
            "batches": batches,
            "queued_rows": queued,
            "cache_entries": self.cache.len(),
            "buckets": self.buckets.len(),
            "fault_rules": self.config.faults.rules.len(),
        })
    }

    /// What was billed, in picodollars as text, because JSON readers round large numbers.
    fn bill_summary(&self) -> Value {
        #[derive(Clone, Copy, Default)]
        struct Share {
            calls: u64,
            rows: u64,
            sync: i128,
            batch: i128,
        }
        let bill = self.bill();
        let book = Book::embedded();
        let mut shares: BTreeMap<&str, Share> = BTreeMap::new();
        for entry in bill.entries() {
            let share = shares.entry(&book.model(entry.model).id).or_default();
            let pico = book.cost(entry.priced_at, entry.lane, entry.model, &entry.tally);
            match entry.lane {
                Lane::Sync => (share.calls, share.sync) = (share.calls + 1, share.sync + pico),
                Lane::Batch => (share.rows, share.batch) = (share.rows + 1, share.batch + pico),
            }
        }
        let models: BTreeMap<&str, Value> = shares
            .into_iter()
            .map(|(id, share)| {
                let value = json!({
                    "picousd": (share.sync + share.batch).to_string(),
                    "sync_picousd": share.sync.to_string(),
                    "batch_picousd": share.batch.to_string(),
                    "calls": share.calls,
                    "rows": share.rows,
                });
                (id, value)
            })
            .collect();
        let count = |of: fn(&crate::batch::Counts) -> u32| -> u64 {
            self.batches
                .iter()
                .map(|batch| u64::from(of(&batch.counts())))
                .sum()
        };
        let class = |rows: u64, pico: i128| json!({ "rows": rows, "picousd": pico.to_string() });
        let batch = bill.of(Lane::Batch);
        json!({
            "total_picousd": bill.total().to_string(),
            "sync_picousd": bill.of(Lane::Sync).to_string(),
            "batch_picousd": batch.to_string(),
            "calls": bill.calls(),
            "lost_calls": bill.lost(),
            "rows": bill.rows(),
            "batches": bill.batches(),
            "duplicates": bill.duplicates(),
            "lanes": {
                "sync": { "calls": bill.calls(), "picousd": bill.of(Lane::Sync).to_string() },
                "batch": { "rows": bill.rows(), "picousd": batch.to_string() },
            },
            "row_classes": {
                "succeeded": class(count(|c| c.succeeded), batch),
                "errored": class(count(|c| c.errored), 0),
                "canceled": class(count(|c| c.canceled), 0),
                "expired": class(count(|c| c.expired), 0),
            },
            "models": models,
        })
    }
}

fn value<T: Serialize>(shown: &T) -> Value {
    serde_json::to_value(shown).expect("plain structs serialise")
}
