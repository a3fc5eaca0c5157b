//! The batch lane of the machine: intent, submission without an idempotency key, doubt and its
//! resolution, polling, collecting.
//!
//! Leaves out what the end of a shard means for the job (`machine`).

use offpeak_wire::batch::{BatchId, BatchStatus};
use offpeak_wire::error::ErrorKind;

use crate::job::event::{
    Act, CollectAnswer, Event, LedgerEntry, LedgerKind, Listing, Owner, PollAnswer, Sent, Stop,
    SubmitAnswer, Write,
};
use crate::job::machine::{Machine, Step, is_fatal, not_ours};
use crate::job::pace::Dice;
use crate::job::queue::Phase;
use crate::job::retry::{backoff, share};
use crate::job::shard::{Collection, Doubt, Intent, Proof, ShardNo, ShardState, Upstream};
use crate::price::Lane;
use crate::units::{Span, Timestamp, Usd};

/// Two listings this far apart in server time that do not show a batch prove that there is none.
const ABSENCE_GAP: Span = Span::from_secs(300);

/// A batch may be unknown to the upstream for a moment after its creation.
const VISIBLE_AFTER: Span = Span::from_secs(600);

/// Shards that are measured or sent at the same time.
const SUBMITTED_AT_ONCE: usize = 2;

/// Shards whose results are downloaded, and shards that are settled, at the same time. One of each
/// keeps network and processors busy, and memory the same for a job of any size.
const COLLECTED_AT_ONCE: usize = 1;
const SETTLED_AT_ONCE: usize = 1;

/// Failures in a row to find the results of an ended batch after which this is taken for the wrong
/// key rather than for a moment's delay: half an hour of them.
const LOOKS_FOR_RESULTS: u32 = 30;

/// First and longest time between two looks at a batch.
const POLL_FIRST: Span = Span::from_secs(10);
const POLL_MAX: Span = Span::from_secs(60);

/// Before the deadline.
const LAST_MINUTES: Span = Span::from_secs(300);

/// Downloads of flawed results before the missing rows are called unreadable.
const DOWNLOADS_MAX: u32 = 3;

impl Machine {
    pub(crate) fn on_batch_event(
        &mut self,
        now: Timestamp,
        event: Event,
        dice: Dice<'_>,
        out: &mut Step,
    ) {
        match event {
            Event::Prepared {
                shard,
                body_digest,
                bytes,
                server_not_before,
            } => {
                let intent = Intent {
                    at: now,
                    server_not_before,
                    body_digest,
                };
                self.on_prepared(shard, intent, bytes, out);
            }
            Event::Submitted { shard, answer } => self.on_submitted(now, shard, answer, dice, out),
            Event::Listed { shard, listing } => {
                self.live_mut(shard).busy = false;
                match listing {
                    Ok(listing) => self.on_listed(now, shard, &listing, out),
                    Err((kind, message)) if is_fatal(kind) => {
                        let kind = kind.unwrap_or(ErrorKind::Unknown);
                        self.stop_for(Stop::Upstream { kind, message });
                    }
                    Err(_) => self.try_later(now, shard, None, dice),
                }
            }
            Event::Polled { shard, answer } => self.on_polled(now, shard, answer, dice, out),
            Event::CancelAnswered { shard, accepted } => {
                let live = self.live_mut(shard);
                live.busy = false;
                live.due = now
                    + if accepted {
                        POLL_FIRST
                    } else {
                        Span::from_secs(2)
                    };
            }
            Event::Collected { shard, answer } => self.on_collected(now, shard, answer, dice, out),
            _ => {}
        }
    }

    pub(crate) fn advance_batches(&mut self, now: Timestamp, out: &mut Step) {
        self.leave_line(out);
        let numbers: Vec<ShardNo> = self.shards.keys().copied().collect();
        for no in numbers {
            let live = self.live(no);
            if live.busy || live.due > now || live.shard.lane == Lane::Sync {
                continue;
            }
            let act = match &live.shard.state {
                ShardState::Planned => self.submission(now, no, out),
                ShardState::Collected(_) if !self.is_hard_stop() => {
                    let settling = |s: &ShardState| matches!(s, ShardState::Collected(_));
                    self.fewer_than(SETTLED_AT_ONCE, settling)
                        .then_some(Act::Settle(no))
                }
                _ if self.is_hard_stop() || !self.is_within_reach(&live.shard) => None,
                // Nobody is submitting it: the process that was has died, and nobody knows.
                ShardState::Submitting(intent) => {
                    let doubt = Doubt::about(intent.clone());
                    let since = doubt.intent.server_not_before;
                    self.move_to(no, ShardState::Unknown(doubt), out);
                    Some(Act::List(no, since))
                }
                ShardState::Unknown(doubt) => Some(Act::List(no, doubt.intent.server_not_before)),
                ShardState::InProgress(up) | ShardState::Canceling(up) => {
                    Some(Act::Poll(no, up.batch.clone()))
                }
                ShardState::Ended(up) => {
                    let act = Act::Collect(no, up.clone());
                    self.fewer_than(COLLECTED_AT_ONCE, |s| matches!(s, ShardState::Ended(_)))
                        .then_some(act)
                }
                ShardState::Collected(_)
                | ShardState::GivenUp(_)
                | ShardState::Running
                | ShardState::Settled(_) => None,
            };
            if let Some(act) = act {
                self.live_mut(no).busy = true;
                out.acts.push(act);
            }
        }
    }

    /// The first act towards submitting a planned shard, if it may go now.
    fn submission(&mut self, now: Timestamp, no: ShardNo, out: &mut Step) -> Option<Act> {
        let live = self.live(no);
        let waits = live.shard.after.is_some();
        let submitting =
            |s: &ShardState| matches!(s, ShardState::Planned | ShardState::Submitting(_));
        let free = self.fewer_than(SUBMITTED_AT_ONCE, submitting);
        let first = !self.waits_for_the_first(now, no) && !self.waits_for_hits(now, no);
        if waits || !first || !free || !self.may_submit() || !self.batch_pause.is_over(now) {
            return None;
        }
        // A batch of the same size, made while another is in doubt, could not be told from it.
        let rows = live.shard.rows.len();
        let in_doubt = self
            .shards
            .values()
            .any(|l| l.shard.rows.len() == rows && matches!(l.shard.state, ShardState::Unknown(_)));
        if in_doubt {
            return None;
        }
        let needed = self.reservation(&live.shard);
        match self.room() {
            // Another shard that is being measured for its body will take its share first.
            Some(_)
                if self.shards.values().any(|l| {
                    l.busy && l.shard.lane == Lane::Batch && l.shard.state == ShardState::Planned
                }) =>
            {
                None
            }
            Some(room) if needed > room => {
                if self.may_release() {
                    return None;
                }
                let doubled = self.facts.deadline.is_some();
                let pico = room.pico().max(0) / if doubled { 2 } else { 1 };
                Some(Act::Measure(no, Some(Usd::from_pico(pico))))
            }
            _ if !self.fits_below_soft_line(no) => {
                self.batches_stop_at_soft_line();
                None
            }
            _ => self.look_at_queue(now, no, out),
        }
    }

    fn on_prepared(&mut self, no: ShardNo, intent: Intent, bytes: u64, out: &mut Step) {
        let may_go = self.may_submit();
        let live = self.live_mut(no);
        live.busy = false;
        // In the meantime it may have been hedged, or the job stopped.
        if !may_go || live.shard.lane == Lane::Sync || live.shard.state != ShardState::Planned {
            return;
        }
        live.shard.bytes = bytes;
        // While it was measured, calls of the sync lane may have taken the room.
        if self
            .room()
            .is_some_and(|room| self.reservation(&self.live(no).shard) > room)
        {
            return;
        }
        let account = self.account.clone();
        let live = self.live_mut(no);
        live.busy = true;
        live.shard.account = account;
        self.reserve(no, out);
        self.move_to(no, ShardState::Submitting(intent), out);
        out.acts.push(Act::Submit(no));
    }

    fn on_submitted(
        &mut self,
        now: Timestamp,
        no: ShardNo,
        answer: SubmitAnswer,
        dice: Dice<'_>,
        out: &mut Step,
    ) {
        let live = self.live_mut(no);
        live.busy = false;
        let ShardState::Submitting(intent) = &live.shard.state else {
            unreachable!("only a shard with an intent is submitted");
        };
        let intent = intent.clone();
        match answer {
            SubmitAnswer::Accepted { batch, created_at } => {
                self.batch_pause.succeeded();
                let up = Upstream {
                    batch,
                    created_at,
                    since: now,
                    proof: Proof::Certain,
                };
                self.live_mut(no).due = now + POLL_FIRST;
                self.move_to(no, ShardState::InProgress(up), out);
            }
            SubmitAnswer::Lost { sent: Sent::Whole } => {
                self.batch_pause.failed(now, None, dice);
                let doubt = Doubt::about(intent);
                self.live_mut(no).due = now;
                self.move_to(no, ShardState::Unknown(doubt), out);
            }
            SubmitAnswer::Lost {
                sent: Sent::Nothing | Sent::Part,
            } => {
                self.batch_pause.failed(now, None, dice);
                self.withdraw(no, out);
            }
            SubmitAnswer::Refused {
                kind,
                message,
                retry_after,
            } => {
                self.withdraw(no, out);
                match kind {
                    // The queue may be full; then those behind this job are not to go before it.
                    ErrorKind::RateLimit => {
                        self.batch_pause.failed(now, retry_after, dice);
                        self.stand_in_line(no, Phase::Waiting, out);
                    }
                    ErrorKind::Conflict => self.batch_pause.failed(now, retry_after, dice),
                    ErrorKind::RequestTooLarge if self.live(no).shard.rows.len() > 1 => {
                        self.live_mut(no).busy = true;
                        out.acts.push(Act::Measure(no, None));
                    }
                    _ => self.stop_for(Stop::Upstream { kind, message }),
                }
            }
        }
    }

    /// Takes a submission back that certainly made no batch.
    fn withdraw(&mut self, no: ShardNo, out: &mut Step) {
        let shard = &mut self.live_mut(no).shard;
        let amount = std::mem::take(&mut shard.reserved);
        shard.account = None;
        self.move_to(no, ShardState::Planned, out);
        let (kind, lane) = (LedgerKind::Release, Lane::Batch);
        out.writes.push(Write::Ledger(LedgerEntry {
            kind,
            shard: no,
            lane,
            amount,
        }));
    }

    fn on_listed(&mut self, now: Timestamp, no: ShardNo, listing: &Listing, out: &mut Step) {
        let live = self.live(no);
        let ShardState::Unknown(doubt) = &live.shard.state else {
            return;
        };
        let mut doubt = doubt.clone();
        let rows = live.shard.rows.len();
        let owned: Vec<_> = self
            .shards
            .values()
            .filter_map(|l| l.shard.state.upstream())
            .map(|u| &u.batch)
            .collect();
        let candidates: Vec<_> = listing
            .seen
            .iter()
            .filter(|s| s.rows == u64::from(rows) && s.owner != Owner::Other)
            .filter(|s| !doubt.not_ours.contains(&s.batch) && !owned.contains(&&s.batch))
            .collect();
        if let Some(ours) = candidates.iter().find(|s| s.owner == Owner::Ours) {
            let (batch, created_at) = (ours.batch.clone(), ours.created_at);
            let up = Upstream {
                batch,
                created_at,
                since: now,
                proof: Proof::Certain,
            };
            self.live_mut(no).due = now;
            self.move_to(no, ShardState::InProgress(up), out);
            return;
        }
        let twins = self.shards.values().any(|l| {
            l.shard.no != no
                && l.shard.rows.len() == rows
                && matches!(
                    l.shard.state,
                    ShardState::Unknown(_) | ShardState::Submitting(_)
                )
        });
        match candidates.as_slice() {
            [] => {
                let proved = doubt
                    .absent_since
                    .is_some_and(|first| listing.server_now - first >= ABSENCE_GAP);
                if proved {
                    self.live_mut(no).due = now;
                    self.withdraw(no, out);
                    return;
                }
                if doubt.absent_since.is_none() {
                    doubt.absent_since = Some(listing.server_now);
                    self.move_to(no, ShardState::Unknown(doubt), out);
                }
                // The proof is in the server's time; looking often finds a late arrival early.
                let live = self.live_mut(no);
                live.failures += 1;
                live.due = now + relook_interval(live.failures);
            }
            [only] if !twins => {
                let proof = Proof::Likely(doubt);
                let (batch, created_at) = (only.batch.clone(), only.created_at);
                let up = Upstream {
                    batch,
                    created_at,
                    since: now,
                    proof,
                };
                self.live_mut(no).due = now;
                self.move_to(no, ShardState::InProgress(up), out);
            }
            // Several fit, or two shards of ours do: their results will say, so wait for those.
            _ => self.live_mut(no).due = now + POLL_MAX,
        }
    }

    fn on_polled(
        &mut self,
        now: Timestamp,
        no: ShardNo,
        answer: PollAnswer,
        dice: Dice<'_>,
        out: &mut Step,
    ) {
        let live = self.live_mut(no);
        live.busy = false;
        let Some(up) = live.shard.state.upstream().cloned() else {
            return;
        };
        match answer {
            PollAnswer::Status {
                status: BatchStatus::Ended,
                ..
            } => {
                live.due = now;
                self.move_to(no, ShardState::Ended(up), out);
            }
            PollAnswer::Status {
                status,
                retry_after,
            } => {
                live.failures = 0;
                let canceling = matches!(live.shard.state, ShardState::Canceling(_));
                // One that is being canceled ends soon, however old it is, and its rows are waited for.
                let age = if canceling {
                    Span::ZERO
                } else {
                    now - up.since
                };
                live.due = now + poll_interval(age, retry_after, dice());
                if canceling && status == BatchStatus::InProgress {
                    live.busy = true;
                    out.acts.push(Act::Cancel(no, up.batch));
                }
            }
            PollAnswer::NotFound if now - up.since < VISIBLE_AFTER => {
                self.try_later(now, no, None, dice);
            }
            PollAnswer::NotFound => match up.proof {
                Proof::Likely(doubt) => self.doubt_again(now, no, (up.batch, doubt), out),
                Proof::Certain => {
                    let batch = &up.batch;
                    let message = format!(
                        "the upstream does not know batch {batch}; is this the key that made it?"
                    );
                    self.stop_for(Stop::Upstream {
                        kind: ErrorKind::NotFound,
                        message,
                    });
                }
            },
            PollAnswer::Failed { kind, message, .. } if is_fatal(kind) => {
                let kind = kind.unwrap_or(ErrorKind::Unknown);
                self.stop_for(Stop::Upstream { kind, message });
            }
            PollAnswer::Failed { retry_after, .. } => self.try_later(now, no, retry_after, dice),
        }
    }

    fn on_collected(
        &mut self,
        now: Timestamp,
        no: ShardNo,
        answer: CollectAnswer,
        dice: Dice<'_>,
        out: &mut Step,
    ) {
        let live = self.live_mut(no);
        live.busy = false;
        let ShardState::Ended(up) = &live.shard.state else {
            return;
        };
        let up = up.clone();
        let looked = live.failures >= LOOKS_FOR_RESULTS;
        let downloads = live.downloads + 1;
        match answer {
            CollectAnswer::Flawed { .. } if downloads < DOWNLOADS_MAX => {
                self.live_mut(no).downloads = downloads;
                self.try_later(now, no, None, dice);
            }
            CollectAnswer::Failed {
                kind: Some(ErrorKind::NotFound),
                message,
                ..
            } if looked => match up.proof {
                Proof::Likely(doubt) => self.doubt_again(now, no, (up.batch, doubt), out),
                Proof::Certain => {
                    let kind = ErrorKind::NotFound;
                    self.stop_for(Stop::Upstream { kind, message });
                }
            },
            CollectAnswer::Complete | CollectAnswer::Flawed { .. } | CollectAnswer::Gone => {
                self.live_mut(no).due = now;
                let upstream = Upstream {
                    proof: Proof::Certain,
                    ..up
                };
                let collection = Collection {
                    upstream,
                    downloads,
                };
                self.move_to(no, ShardState::Collected(collection), out);
            }
            CollectAnswer::Foreign => match up.proof {
                Proof::Likely(doubt) => self.doubt_again(now, no, (up.batch, doubt), out),
                Proof::Certain => {
                    let message = not_ours(&up.batch);
                    self.stop_for(Stop::Upstream {
                        kind: ErrorKind::Unknown,
                        message,
                    });
                }
            },
            CollectAnswer::Failed { kind, message, .. } if is_fatal(kind) => {
                let kind = kind.unwrap_or(ErrorKind::Unknown);
                self.stop_for(Stop::Upstream { kind, message });
            }
            CollectAnswer::Failed { retry_after, .. } => self.try_later(now, no, retry_after, dice),
        }
    }

    /// A batch that was taken on trust is not ours: so its results say, or whoever it belongs to has deleted
    /// it.
    fn doubt_again(
        &mut self,
        now: Timestamp,
        no: ShardNo,
        (batch, mut doubt): (BatchId, Doubt),
        out: &mut Step,
    ) {
        doubt.not_ours.push(batch);
        self.live_mut(no).due = now;
        self.move_to(no, ShardState::Unknown(doubt), out);
    }

    /// How long a failed call may wait at the most: in the last minutes before the deadline not long, as
    /// rows may still have to be answered by calls after it.
    fn longest_wait(&self, now: Timestamp) -> Span {
        let left = self.facts.deadline.map(|deadline| deadline - now);
        match left {
            Some(left) if left < LAST_MINUTES => POLL_FIRST,
            _ => Span::from_micros(i64::MAX / 4),
        }
    }

    fn try_later(
        &mut self,
        now: Timestamp,
        no: ShardNo,
        retry_after: Option<Span>,
        dice: Dice<'_>,
    ) {
        let longest = self.longest_wait(now);
        let live = self.live_mut(no);
        live.failures += 1;
        let wait = backoff(retry_after, live.failures, dice()).min(longest);
        live.due = now + wait.max(retry_after.unwrap_or(Span::ZERO)) + Span::from_secs(1);
    }
}

/// Time to the next look at a batch: a tenth of its age between the two limits, a little jitter so
/// that many runs do not poll in step, and never earlier than the server asked.
fn poll_interval(age: Span, retry_after: Option<Span>, dice: f64) -> Span {
    let tenth = Span::from_micros(age.as_micros() / 10).clamp(POLL_FIRST, POLL_MAX);
    let wait = tenth.max(retry_after.unwrap_or(Span::ZERO));
    wait + share(wait, dice / 10.0)
}

/// Time to the next listing after so many that did not show a batch.
fn relook_interval(looks: u32) -> Span {
    Span::from_secs(1 << looks.min(16)).min(POLL_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_poll_interval_grows_with_age_and_obeys_the_server() {
        let seconds = |age, asked: Option<i64>| {
            poll_interval(Span::from_secs(age), asked.map(Span::from_secs), 0.0).as_secs_f64()
        };
        assert_eq!(seconds(0, None), 10.0);
        assert_eq!(seconds(300, None), 30.0);
        assert_eq!(seconds(7200, None), 60.0);
        assert_eq!(seconds(0, Some(45)), 45.0);
    }
}
