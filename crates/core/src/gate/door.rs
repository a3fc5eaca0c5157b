//! One door for the calls of all clients of a class of models: out go as many at once as the upstream takes
//! (a window that grows by addition and shrinks by multiplication), as fast as its limits allow
//! (buckets, from the headers of answers), and what was refused goes again, after a wait with full
//! jitter and at most a tenth of all calls.
//!
//! When half of the last twenty calls met an overloaded upstream, the door closes, and one call at a
//! time asks whether it is back (Google SRE book, handling overload: circuit breaker). What waits in
//! front costs the upstream nothing, so an outage ends without a stampede.
//!
//! Leaves out which calls come first (in order of their coming) and single rows' failures, which say
//! nothing about the lane (`job`, retry). Shares pauses, windows and buckets with the lane of jobs.

use std::collections::{BTreeMap, VecDeque};

use crate::job::pace::{Dice, Pause, RetryBudget, Window};
use crate::job::retry::{backoff, share};
use crate::job::speed::{Limits, Speed};
use crate::units::{Span, Timestamp};

/// The last calls that the door looks at.
const RECENT: u32 = 20;

/// Refusals among them for which it closes.
const REFUSED: u32 = 10;

/// Between two calls that ask whether the upstream is back, at the most.
const PROBE_EVERY: Span = Span::from_secs(10);

/// Why a call was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A limit was reached (429).
    Limited {
        /// What the header said.
        retry_after: Option<Span>,
    },
    /// The upstream is overloaded, or failed (529, 5xx).
    Overloaded {
        /// What the header said, if anything.
        retry_after: Option<Span>,
    },
}

/// What an answer took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Prompt tokens that were not read from the cache.
    pub uncached_tokens: u64,
    /// Generated tokens.
    pub output_tokens: u64,
}

/// What the door says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// This call goes out.
    Pass(u64),
    /// None does before that moment.
    At(Timestamp),
    /// None does before an answer comes, or another call.
    Later,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    call: u64,
    failures: u32,
}

#[derive(Debug, Clone, Copy)]
struct Flight {
    sent_at: Timestamp,
    failures: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Nothing goes out until then; so often the upstream was asked and was not back.
    Closed {
        until: Timestamp,
        asked: u32,
    },
    /// One call is asking.
    Asking {
        call: u64,
        asked: u32,
    },
}

/// The door.
#[derive(Debug)]
pub struct Door {
    ready: VecDeque<Waiting>,
    /// Calls that were refused by themselves, and when each goes again.
    apart: Vec<(Timestamp, Waiting)>,
    flying: BTreeMap<u64, Flight>,
    state: State,
    /// The last calls, the newest in the lowest bit: whether each met an overloaded upstream.
    recent: u32,
    pause: Pause,
    window: Window,
    speed: Speed,
    /// When the call was sent whose answer told the limits last.
    told_by: Option<Timestamp>,
    retries: RetryBudget,
}

impl Default for Door {
    fn default() -> Self {
        Self {
            ready: VecDeque::new(),
            apart: Vec::new(),
            flying: BTreeMap::new(),
            state: State::Open,
            recent: 0,
            pause: Pause::default(),
            window: Window::default(),
            speed: Speed::default(),
            told_by: None,
            retries: RetryBudget::default(),
        }
    }
}

impl Door {
    /// A call wants out.
    pub fn knock(&mut self, call: u64) {
        let failures = 0;
        self.ready.push_back(Waiting { call, failures });
    }

    /// What happens now; to be asked until it no longer says [`Next::Pass`].
    pub fn next(&mut self, now: Timestamp) -> Next {
        while let Some(due) = self.apart.iter().position(|(at, _)| *at <= now) {
            let (_, waiting) = self.apart.swap_remove(due);
            self.ready.push_front(waiting);
        }
        if self.ready.is_empty() {
            let due = self.apart.iter().map(|(at, _)| *at).min();
            return due.map_or(Next::Later, Next::At);
        }
        let asked = match self.state {
            State::Asking { .. } => return Next::Later,
            State::Closed { until, .. } if now < until => return Next::At(until),
            State::Closed { asked, .. } => Some(asked),
            State::Open => None,
        };
        if let Some(until) = self.pause.ends(now) {
            return Next::At(until);
        }
        if asked.is_none() && self.flying.len() >= self.window.size() {
            return Next::Later;
        }
        let ready_at = self.speed.ready_at(now);
        if ready_at > now {
            return Next::At(ready_at);
        }
        let first = match self.take(now) {
            Ok(first) => first,
            Err(at) => return Next::At(at),
        };
        self.speed.sent(now);
        if let Some(asked) = asked {
            let call = first.call;
            self.state = State::Asking { call, asked };
        }
        let flight = Flight {
            sent_at: now,
            failures: first.failures,
        };
        let before = self.flying.insert(first.call, flight);
        assert!(before.is_none(), "a call goes out once at a time");
        Next::Pass(first.call)
    }

    /// The next call in line. While the budget of retries is spent, those that go for the first time pass
    /// the others; if there are none, when there will be budget again.
    fn take(&mut self, now: Timestamp) -> Result<Waiting, Timestamp> {
        let fresh = |waiting: &Waiting| waiting.failures == 0;
        let mut place = 0;
        if !self.ready.front().is_some_and(fresh)
            && let Err(at) = self.retries.spend(now)
        {
            place = self.ready.iter().position(fresh).ok_or(at)?;
        }
        let first = self.ready.remove(place).expect("somebody waits");
        if fresh(&first) {
            self.retries.earn();
        }
        Ok(first)
    }

    /// A call was answered, and its headers told the limits.
    ///
    /// # Panics
    ///
    /// When it was not let out.
    pub fn answered(&mut self, now: Timestamp, call: u64, used: Used, limits: &Limits) {
        let flight = self.land(call);
        let newest = self.told_by.is_none_or(|told| told <= flight.sent_at);
        if newest {
            self.told_by = Some(flight.sent_at);
            let later = self.flying.values();
            let later = later
                .filter(|other| other.sent_at >= flight.sent_at)
                .count();
            self.speed.told(now, limits, later);
        }
        self.speed
            .answered(now, used.uncached_tokens, used.output_tokens);
        self.pause.succeeded();
        self.recent <<= 1;
        if matches!(self.state, State::Asking { call: asking, .. } if asking == call) {
            // An outage says nothing about how much the upstream takes when it is back.
            self.state = State::Open;
            self.recent = 0;
            self.window = Window::default();
        } else {
            self.window.succeeded();
        }
    }

    /// A call was refused, and waits to go again.
    ///
    /// # Panics
    ///
    /// When it was not let out.
    pub fn refused(&mut self, now: Timestamp, call: u64, why: Refusal, dice: Dice<'_>) {
        let Flight { failures, .. } = self.land(call);
        let failures = failures + 1;
        let waiting = Waiting { call, failures };
        self.window.refused(now);
        let retry_after = match why {
            Refusal::Limited { retry_after } => {
                self.recent <<= 1;
                self.pause.failed(now, retry_after, dice);
                self.ready.push_front(waiting);
                if matches!(self.state, State::Asking { call: asking, .. } if asking == call) {
                    // It is back, only busy.
                    self.state = State::Open;
                }
                return;
            }
            Refusal::Overloaded { retry_after } => retry_after,
        };
        self.recent = self.recent << 1 | 1;
        match self.state {
            State::Asking {
                call: asking,
                asked,
            } if asking == call => {
                self.close(now, asked + 1, retry_after, dice);
                self.ready.push_front(waiting);
            }
            State::Open => {
                let refused = (self.recent & ((1 << RECENT) - 1)).count_ones();
                if refused >= REFUSED {
                    self.close(now, 0, retry_after, dice);
                    self.ready.push_front(waiting);
                } else {
                    let at = now + backoff(retry_after, failures, dice());
                    self.apart.push((at, waiting));
                }
            }
            State::Closed { .. } | State::Asking { .. } => self.ready.push_front(waiting),
        }
    }

    /// A call that was let out is not sent after all, and won't be.
    ///
    /// # Panics
    ///
    /// When it was not let out.
    pub fn withdrawn(&mut self, now: Timestamp, call: u64) {
        self.land(call);
        if let State::Asking {
            call: asking,
            asked,
        } = self.state
            && asking == call
        {
            // The next one asks instead.
            self.state = State::Closed { until: now, asked };
        }
    }

    /// Whether a call that nobody waits for takes nobody's place: no other is kept back here.
    #[must_use]
    pub fn is_clear(&self, now: Timestamp) -> bool {
        let nobody = self.ready.is_empty() && self.apart.is_empty();
        nobody && self.state == State::Open && self.pause.is_over(now)
    }

    fn close(&mut self, now: Timestamp, asked: u32, retry_after: Option<Span>, dice: Dice<'_>) {
        let step = Span::from_secs(1 << asked.min(8)).min(PROBE_EVERY);
        let half = Span::from_micros(step.as_micros() / 2);
        let wait = retry_after.unwrap_or(Span::ZERO) + half + share(half, dice());
        let until = now + wait;
        self.state = State::Closed { until, asked };
    }

    fn land(&mut self, call: u64) -> Flight {
        let flight = self.flying.remove(&call);
        flight.expect("answers are for calls that were let out")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::speed::Allowance;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(0) + Span::from_millis(millis)
    }

    fn out(door: &mut Door, now: Timestamp) -> Vec<u64> {
        let pass = |_| match door.next(now) {
            Next::Pass(call) => Some(call),
            _ => None,
        };
        (0..).map_while(pass).collect()
    }

    fn limits(left: u64) -> Limits {
        Limits {
            requests: Some(Allowance { limit: 600, left }),
            ..Limits::default()
        }
    }

    const DOWN: Refusal = Refusal::Overloaded { retry_after: None };

    #[test]
    fn a_window_goes_out_and_an_answer_lets_the_next_ones_out_as_fast_as_limits_allow() {
        let mut door = Door::default();
        (0..1_000).for_each(|call| door.knock(call));
        assert_eq!(out(&mut door, at(0)), (0..8).collect::<Vec<_>>());
        assert_eq!(door.next(at(0)), Next::Later);
        for call in 0..8 {
            door.answered(at(1_000), call, Used::default(), &limits(4));
        }
        // Four are left, and ten come in a second.
        assert_eq!(out(&mut door, at(1_000)).len(), 4);
        assert_eq!(door.next(at(1_000)), Next::At(at(1_100)));
        assert_eq!(out(&mut door, at(1_100)).len(), 1);
    }

    #[test]
    fn a_limit_holds_everybody_back_for_as_long_as_the_upstream_says() {
        let mut door = Door::default();
        (0..20).for_each(|call| door.knock(call));
        out(&mut door, at(0));
        let retry_after = Some(Span::from_secs(3));
        door.refused(at(100), 0, Refusal::Limited { retry_after }, &mut || 0.5);
        assert_eq!(door.next(at(100)), Next::At(at(3_600)));
        (1..8).for_each(|call| door.answered(at(200), call, Used::default(), &Limits::default()));
        assert_eq!(door.next(at(3_600)), Next::Pass(0), "it was the first");
    }

    #[test]
    fn a_call_that_fails_alone_goes_again_by_itself() {
        let mut door = Door::default();
        (0..3).for_each(|call| door.knock(call));
        out(&mut door, at(0));
        door.refused(at(100), 1, DOWN, &mut || 0.5);
        door.knock(3);
        assert_eq!(
            out(&mut door, at(100)),
            [3],
            "the others do not wait for it"
        );
        assert_eq!(door.next(at(100)), Next::At(at(600)));
        assert_eq!(out(&mut door, at(600)), [1]);
    }

    #[test]
    fn whoever_gives_up_makes_room_and_somebody_else_asks() {
        let mut door = Door::default();
        (0..40).for_each(|call| door.knock(call));
        assert_eq!(out(&mut door, at(0)).len(), 8);
        door.withdrawn(at(0), 3);
        assert_eq!(out(&mut door, at(0)), [8]);
        assert!(!door.is_clear(at(0)), "others wait");
        // Ten refusals close it.
        let mut now = 0;
        while !matches!(door.state, State::Closed { .. }) {
            now += 60_000;
            out(&mut door, at(now));
            let flying: Vec<u64> = door.flying.keys().copied().collect();
            for call in flying {
                door.refused(at(now), call, DOWN, &mut || 0.5);
            }
        }
        let asking = out(&mut door, at(now + 60_000));
        assert_eq!(asking.len(), 1);
        door.withdrawn(at(now + 60_000), asking[0]);
        assert_eq!(out(&mut door, at(now + 60_000)).len(), 1, "another asks");
    }

    #[test]
    fn in_an_outage_one_call_at_a_time_asks_and_then_all_go_on() {
        let mut door = Door::default();
        (0..3_000).for_each(|call| door.knock(call));
        let mut now = 0;
        let mut sent = 0;
        // An answer takes a second; after ten the upstream is gone for two minutes.
        let (down, up) = (10_000, 130_000);
        let mut flying: Vec<(i64, u64)> = Vec::new();
        let mut answered = 0;
        let mut in_outage = 0;
        while answered < 3_000 {
            flying.retain(|&(due, call)| {
                if due > now {
                    return true;
                }
                if (down..up).contains(&(due - 50)) {
                    door.refused(at(now), call, DOWN, &mut || 0.5);
                } else {
                    answered += 1;
                    door.answered(at(now), call, Used::default(), &Limits::default());
                }
                false
            });
            for call in out(&mut door, at(now)) {
                sent += 1;
                in_outage += u32::from((down..up).contains(&now));
                flying.push((
                    now + 50 + if (down..up).contains(&now) { 0 } else { 950 },
                    call,
                ));
            }
            now += 50;
            assert!(now < 200_000, "{answered} answered");
        }
        // What was let out before the first refusal came, and the calls that asked.
        assert!(in_outage <= 128 + 20, "{in_outage} calls into the outage");
        assert!(sent <= 3_000 + in_outage, "{sent}");
        assert!(now < up + 30_000, "{now} ms");
    }
}
