//! How soon anybody could be done with a trace: what limits a minute and an outage let through at most,
//! and the time that answers take.
//!
//! Each limit is a bucket by itself, emptied as early as calls come; whatever a policy does cannot be
//! faster than the slowest of them. A call is let in as soon as a bucket has anything left, so one of
//! tokens may be overdrawn by a whole call: the bound gives it so much more to begin with. Of the prompts,
//! every block counts once behind each beginning, as the rest could be read from a cache. Models are
//! taken apart, and calls that could travel in a batch are free of limits: both make the bound lower, and
//! it stays a bound.

use std::collections::BTreeMap;

use offpeak_core::plan::Trie;
use offpeak_core::units::Span;
use offpeak_sim::{Outage, RefereeRules};

use crate::trace::{Call, Trace};

const MINUTE: i64 = 60_000_000;

/// From the trace's beginning to the last answer, at least.
pub(crate) fn least(trace: &Trace, rules: &RefereeRules) -> Span {
    let mut by_model: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    let mut last = 0;
    for call in &trace.calls {
        let at = call.at.as_micros();
        let earliest = if call.deferrable {
            at
        } else {
            by_model.entry(&call.model).or_default().push(call);
            let up = rules
                .outage
                .filter(|down| (down.from..down.to).contains(&at));
            up.map_or(at, |down| down.to) + rules.answer_takes(call.output)
        };
        last = last.max(earliest);
    }
    for (model, calls) in by_model {
        let Some(limits) = rules.limits_of(model) else {
            continue;
        };
        let shortest = calls
            .iter()
            .map(|call| rules.answer_takes(call.output))
            .min();
        for (taken, limit) in taken(&calls).into_iter().zip(limits) {
            let through = through(&taken, limit, rules.outage);
            last = last.max(through + shortest.unwrap_or(0));
        }
    }
    Span::from_micros(last)
}

/// What calls take out of one limit, each at its time, and by how much they may overdraw it.
#[derive(Default)]
struct Taken {
    amounts: Vec<(i64, u64)>,
    overdraft: u64,
}

/// Of requests, input tokens and output tokens.
fn taken(calls: &[&Call]) -> [Taken; 3] {
    let mut taken: [Taken; 3] = Default::default();
    let mut trie = Trie::new();
    for call in calls {
        let mut at = Trie::ROOT;
        let mut uncached = 0;
        for block in &call.blocks {
            let known = trie.len();
            at = trie.extend(at, [block.prompt()]);
            if trie.len() > known {
                uncached += u64::from(block.tokens);
            }
        }
        let came = call.at.as_micros();
        let [requests, input, output] = &mut taken;
        requests.amounts.push((came, 1));
        for (tokens, meter, most) in [
            (uncached, input, call.prompt_tokens()),
            (call.output.into(), output, call.output.into()),
        ] {
            meter.amounts.push((came, tokens));
            meter.overdraft = meter.overdraft.max(most);
        }
    }
    taken
}

/// When all of it has gone through a bucket that is full at first and refills evenly, at the earliest.
fn through(taken: &Taken, limit: u64, outage: Option<Outage>) -> i64 {
    let per_micro = i128::from(limit.max(1));
    let full = i128::from(limit.max(1) + taken.overdraft) * i128::from(MINUTE);
    let mut now = taken.amounts.first().map_or(0, |&(at, _)| at);
    let mut level = full;
    let refill = |level: i128, passed: i64| (level + per_micro * i128::from(passed)).min(full);
    for &(at, amount) in &taken.amounts {
        if at > now {
            level = refill(level, at - now);
            now = at;
        }
        let mut missing = i128::from(amount) * i128::from(MINUTE);
        while missing > 0 {
            if let Some(down) = outage.filter(|down| (down.from..down.to).contains(&now)) {
                level = refill(level, down.to - now);
                now = down.to;
            }
            let took = level.min(missing);
            (level, missing) = (level - took, missing - took);
            let wait = (missing + per_micro - 1) / per_micro;
            let wait = i64::try_from(wait).unwrap_or(i64::MAX / 4);
            let until = match outage {
                Some(down) if now < down.from => (now + wait).min(down.from),
                _ => now + wait,
            };
            level = refill(level, until - now);
            now = until;
        }
    }
    now
}

#[cfg(test)]
mod tests {
    use offpeak_core::price::Book;
    use offpeak_sim::Limits;

    use crate::generate::Workload;
    use crate::score::{Options, Pressure};

    use super::*;

    const SECOND: i64 = 1_000_000;

    fn at_once(calls: usize, amount: u64, overdraft: u64) -> Taken {
        Taken {
            amounts: vec![(0, amount); calls],
            overdraft,
        }
    }

    #[test]
    fn what_is_beyond_the_bucket_waits_for_it_to_refill() {
        // 1,000 at once, and 4,000 at 1,000 a minute.
        assert_eq!(through(&at_once(5_000, 1, 0), 1_000, None), 240 * SECOND);
        // The last of them may overdraw it.
        let tokens = at_once(5_000, 600, 600);
        assert_eq!(through(&tokens, 1_000_000, None), 119_964 * SECOND / 1_000);
    }

    #[test]
    fn an_outage_costs_what_cannot_be_stored() {
        let down = |from: i64, to: i64| {
            Some(Outage {
                from: from * SECOND,
                to: to * SECOND,
            })
        };
        let calls = at_once(5_000, 1, 0);
        // Two minutes, of which the bucket keeps one; the call that was next comes too late for it.
        assert_eq!(through(&calls, 1_000, down(60, 180)), 300_060_000);
        // At the beginning the bucket is full already.
        assert_eq!(through(&calls, 1_000, down(0, 120)), 360 * SECOND);
        assert_eq!(through(&calls, 1_000, down(241, 361)), 240 * SECOND);
        assert_eq!(through(&calls, 1_000, down(239, 240)), 240 * SECOND);
    }

    #[test]
    fn calls_that_come_slowly_wait_for_nothing() {
        let taken = Taken {
            amounts: (0..100).map(|n| (n * SECOND, 1)).collect(),
            overdraft: 0,
        };
        assert_eq!(through(&taken, 60, None), 99 * SECOND);
        let slow = through(&taken, 30, None);
        assert_eq!(
            slow,
            140 * SECOND,
            "thirty at once, and seventy at two seconds"
        );
    }

    #[test]
    fn a_trace_is_done_when_its_slowest_limit_lets_the_last_call_through() {
        let rules = |limits: Limits| {
            let pressure = Pressure {
                limits: Some(limits),
                ..Pressure::default()
            };
            let quiet = Options::quiet(Book::embedded());
            Options { pressure, ..quiet }.rules()
        };
        let mut trace = Workload::W12.generate(0);
        let answer = 2_050_000;
        let soonest = |trace: &Trace, limits| least(trace, &rules(limits)).as_micros();
        assert_eq!(soonest(&trace, Limits::default()), answer);
        assert_eq!(soonest(&trace, Limits::start()), 240 * SECOND + answer);
        // 500 tokens each: 2.5 million, of which one and an overdraft of 500 are there at once.
        let few = Limits {
            input_tokens: 250_000,
            ..Limits::start()
        };
        let expected = 539_880 * SECOND / 1_000 + answer;
        assert_eq!(soonest(&trace, few), expected);
        // What may travel in a batch is free of them.
        for call in &mut trace.calls[1..] {
            call.deferrable = true;
        }
        assert_eq!(soonest(&trace, few), answer);
    }
}
