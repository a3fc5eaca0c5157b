//! A gate against upstreams of any kind: whatever is found or not found in the cache, no prefix costs
//! more than it may.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use offpeak_wire::request::Ttl;
use proptest::prelude::*;

use crate::price::Rates;
use crate::units::Timestamp;

use super::stake::PING_TOKENS;
use super::{Act, Block, CacheGate, Call, Marks, Role};

const SECOND: i64 = 1_000_000;
const FIRST_BYTE: i64 = 800_000;
const REFUSED_AFTER: i64 = 200_000;

/// What an upstream makes of a prompt: how many of its blocks are read, given how deep it is marked.
#[derive(Debug, Clone)]
enum Upstream {
    /// Nothing is ever read.
    Blind,
    /// Anything is, in turn.
    Whimsical(Vec<usize>),
    /// So many caches, met by these numbers in turn. Generous ones renew everything on a hit's path, and
    /// for an hour where that is marked; the others only what was read, for as long as was paid.
    Caches {
        caches: u64,
        met: Vec<u64>,
        generous: bool,
    },
}

fn upstreams() -> impl Strategy<Value = Upstream> {
    prop_oneof![
        Just(Upstream::Blind),
        prop::collection::vec(0usize..4, 1..40).prop_map(Upstream::Whimsical),
        (
            1u64..=16,
            prop::collection::vec(any::<u64>(), 40),
            any::<bool>()
        )
            .prop_map(|(caches, met, generous)| Upstream::Caches {
                caches,
                met,
                generous
            }),
    ]
}

fn rows() -> impl Strategy<Value = Rates> {
    let row = |read| Rates {
        input: 1_000,
        write_5m: 1_250,
        write_1h: 2_000,
        read,
        output: 5_000,
    };
    prop_oneof![Just(row(100)), Just(row(50)), Just(row(25))]
}

/// Prompts on a small tree, at any times.
fn calls() -> impl Strategy<Value = Vec<(i64, Vec<Block>)>> {
    let gap = prop_oneof![
        0i64..SECOND,
        SECOND..400 * SECOND,
        300 * SECOND..5_000 * SECOND
    ];
    let call = (gap, 0u64..2, 0u64..3, any::<bool>());
    (any::<bool>(), prop::collection::vec(call, 1..60)).prop_map(|(named, calls)| {
        let mut at = 0;
        let block = |id: u64, tokens: u32, role: Role| Block {
            id,
            tokens,
            role: named.then_some(role),
        };
        let prompts = (1_000..)
            .zip(calls)
            .map(|(own, (gap, system, context, talks))| {
                at += gap;
                let middle = if talks { Role::Turn } else { Role::Context };
                let last = if talks { Role::Turn } else { Role::Suffix };
                let prompt = vec![
                    block(system, 1_500, Role::System),
                    block(10 + context, 3_000, middle),
                    block(own, 700, last),
                ];
                (at, prompt)
            });
        prompts.collect()
    })
}

/// What happens when, of one play.
enum Event {
    Arrival(usize),
    Begun(usize, u64),
    Pinged(u64, u64),
    Refused(usize),
    PingRefused(u64),
    Wake,
}

struct Play {
    rates: Rates,
    upstream: Upstream,
    answers: usize,
    /// When each entry of each cache can be read, and its end.
    entries: HashMap<(u64, Vec<u64>), (i64, i64, Ttl)>,
    /// What each beginning's last block cost above plain, and its tokens.
    accounts: HashMap<Vec<u64>, (i128, u64)>,
    queue: BTreeMap<(i64, usize), Event>,
    queued: usize,
}

impl Play {
    fn later(&mut self, at: i64, event: Event) {
        self.queue.insert((at, self.queued), event);
        self.queued += 1;
    }

    /// Answers a prompt, and takes down what each of its blocks cost.
    fn answer(&mut self, now: i64, prompt: &[Block], marks: &Marks, ping: bool) -> u64 {
        self.answers += 1;
        let ids: Vec<u64> = prompt.iter().map(|block| block.id).collect();
        let last = marks.last().map_or(0, |&(at, _)| at + 1);
        let hour = marks.iter().rfind(|(_, ttl)| *ttl == Ttl::OneHour);
        let hour = hour.map_or(0, |&(at, _)| at + 1);
        let read = match &self.upstream {
            Upstream::Blind => 0,
            Upstream::Whimsical(depths) => depths[self.answers % depths.len()].min(last),
            Upstream::Caches {
                caches,
                met,
                generous,
            } => {
                let (cache, generous) = (met[self.answers % met.len()] % caches, *generous);
                self.pass(now, cache, generous, &ids, marks)
            }
        };
        let mut tokens_read = 0;
        for (at, block) in prompt.iter().enumerate() {
            let tokens = u64::from(block.tokens);
            let rate = if at < read {
                tokens_read += tokens;
                self.rates.read
            } else if at < hour {
                self.rates.write_1h
            } else if at < last {
                self.rates.write_5m
            } else {
                self.rates.input
            };
            let plain = if ping { 0 } else { self.rates.input };
            let rest = if ping && at + 1 == prompt.len() {
                i128::from(PING_TOKENS * self.rates.input)
            } else {
                0
            };
            let cost = (i128::from(rate) - i128::from(plain)) * i128::from(tokens) + rest;
            let account = self.accounts.entry(ids[..=at].to_vec());
            account.or_insert((0, tokens)).0 += cost;
        }
        tokens_read
    }

    /// Blocks read from one cache; what is marked is written there.
    fn pass(&mut self, now: i64, cache: u64, generous: bool, ids: &[u64], marks: &Marks) -> usize {
        let life = |ttl: Ttl| i64::try_from(ttl.seconds()).unwrap() * SECOND;
        let last = marks.last().map_or(0, |&(at, _)| at + 1);
        let key = |blocks: usize| (cache, ids[..blocks].to_vec());
        let live = |entry: &&(i64, i64, Ttl)| entry.0 <= now && now < entry.1;
        let found = |blocks: &usize| self.entries.get(&key(*blocks)).filter(live).is_some();
        let read = (1..=last).rev().find(found).unwrap_or(0);
        for blocks in 1..=read {
            let entry = self.entries.get_mut(&key(blocks));
            let renewed = entry.filter(|entry| now < entry.1 && (generous || blocks == read));
            if let Some(entry) = renewed {
                entry.1 = entry.1.max(now + life(entry.2));
            }
        }
        for &(at, ttl) in marks.iter().filter(|&&(at, _)| generous || at >= read) {
            let fresh = (now + FIRST_BYTE, now + life(ttl), ttl);
            let entry = self.entries.entry(key(at + 1)).or_insert(fresh);
            if entry.1 <= now {
                *entry = fresh;
            } else if entry.1 < fresh.1 {
                (entry.1, entry.2) = (fresh.1, ttl);
            }
        }
        read
    }
}

/// Which of the calls and pings that are sent are refused, in turn; not all of them.
fn refusals() -> impl Strategy<Value = Vec<bool>> {
    let some = prop::collection::vec(any::<bool>(), 0..12);
    some.prop_map(|mut refused| {
        refused.push(false);
        refused
    })
}

/// Plays all calls; returns what each beginning cost above plain, with its tokens.
fn play(
    calls: &[(i64, Vec<Block>)],
    rates: Rates,
    upstream: Upstream,
    refusals: &[bool],
) -> HashMap<Vec<u64>, (i128, u64)> {
    let mut gate = CacheGate::new(rates, 1_024);
    let mut play = Play {
        rates,
        upstream,
        answers: 0,
        entries: HashMap::new(),
        accounts: HashMap::new(),
        queue: BTreeMap::new(),
        queued: 0,
    };
    for (number, (at, _)) in calls.iter().enumerate() {
        play.later(*at, Event::Arrival(number));
    }
    let end = calls.last().unwrap().0 + 100_000 * SECOND;
    let mut open: Vec<usize> = (0..calls.len()).collect();
    let mut since: Vec<i64> = calls.iter().map(|(at, _)| *at).collect();
    let mut lots = refusals.iter().cycle();
    let call = |number: usize, at: Timestamp| {
        let blocks = calls[number].1.clone();
        let awaited = true;
        Arc::new(Call {
            number,
            at,
            blocks,
            awaited,
        })
    };
    while let Some(((now, _), event)) = play.queue.pop_first().filter(|((at, _), _)| *at <= end) {
        let at = Timestamp::from_micros(now);
        let mut acts = Vec::new();
        match event {
            Event::Arrival(number) => gate.arrived(at, call(number, at), &mut acts),
            Event::Refused(number) => {
                gate.refused(at, number, &mut acts);
                since[number] = now;
                open.push(number);
                gate.again(at, call(number, at), &mut acts);
            }
            Event::PingRefused(ping) => gate.ping_refused(ping),
            Event::Begun(call, read) => gate.begun(at, call, read, &mut acts),
            Event::Pinged(ping, read) => gate.pinged(at, ping, read, &mut acts),
            Event::Wake => gate.wake(at, &mut acts),
        }
        for act in acts {
            match act {
                Act::Send { call, marks } => {
                    assert!(open.contains(&call), "sent twice");
                    open.retain(|&other| other != call);
                    assert!(now <= since[call] + 2 * SECOND, "held too long");
                    if lots.next() == Some(&true) {
                        play.later(now + REFUSED_AFTER, Event::Refused(call));
                        continue;
                    }
                    let read = play.answer(now, &calls[call].1, &marks, false);
                    play.later(now + FIRST_BYTE, Event::Begun(call, read));
                }
                Act::Ping { ping, .. } if lots.next() == Some(&true) => {
                    play.later(now + REFUSED_AFTER, Event::PingRefused(ping));
                }
                Act::Ping {
                    ping,
                    like,
                    blocks,
                    marks,
                } => {
                    let prompt = &calls[like].1[..blocks];
                    let read = play.answer(now, prompt, &marks, true);
                    play.later(now + FIRST_BYTE, Event::Pinged(ping, read));
                }
                Act::Wake(at) => play.later(at.as_micros().max(now), Event::Wake),
            }
        }
    }
    assert!(open.is_empty(), "never sent: {open:?}");
    play.accounts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn no_prefix_loses_more_than_twice_its_price(
        calls in calls(), rates in rows(), upstream in upstreams(), refusals in refusals(),
    ) {
        // Where answers did read, one more that was trusted to may cost a write on top.
        let surprise = match &upstream {
            Upstream::Blind => 0,
            Upstream::Whimsical(_) | Upstream::Caches { .. } => 2,
        };
        for (prefix, (lost, tokens)) in play(&calls, rates, upstream, &refusals) {
            let plain = i128::from(rates.input) * i128::from(tokens);
            let ping = i128::from(PING_TOKENS * rates.input);
            prop_assert!(lost <= (2 + surprise) * plain + ping * surprise, "{prefix:?}: {lost}");
        }
    }

    #[test]
    fn one_cache_never_surprises(
        calls in calls(), rates in rows(), refusals in refusals(),
    ) {
        let upstream = Upstream::Caches {
            caches: 1,
            met: vec![0],
            generous: true,
        };
        for (prefix, (lost, tokens)) in play(&calls, rates, upstream, &refusals) {
            let plain = i128::from(rates.input) * i128::from(tokens);
            prop_assert!(lost <= 2 * plain, "{prefix:?}: {lost}");
        }
    }
}

#[test]
fn a_refused_call_leaves_nothing_behind() {
    let rates = Rates {
        input: 1_000,
        write_5m: 1_250,
        write_1h: 2_000,
        read: 100,
        output: 5_000,
    };
    let mut gate = CacheGate::new(rates, 1_024);
    let call = |number: usize| {
        let prompt = [(1, 2_000, Role::System), (9, 50, Role::Suffix)];
        let blocks = prompt.map(|(id, tokens, role)| Block {
            id,
            tokens,
            role: Some(role),
        });
        Arc::new(Call {
            number,
            at: Timestamp::EPOCH,
            blocks: blocks.to_vec(),
            awaited: true,
        })
    };
    let sent = |acts: &[Act]| -> Vec<(usize, Marks)> {
        let sends = acts.iter().filter_map(|act| match act {
            Act::Send { call, marks } => Some((*call, marks.clone())),
            _ => None,
        });
        sends.collect()
    };
    let written = vec![(0, Ttl::FiveMinutes)];
    let mut acts = Vec::new();
    gate.arrived(Timestamp::EPOCH, call(0), &mut acts);
    assert_eq!(sent(&acts), [(0, written.clone())]);
    // The second waits for what the first writes, and writes it itself when there is nothing to wait for.
    acts.clear();
    gate.arrived(Timestamp::EPOCH, call(1), &mut acts);
    assert_eq!(sent(&acts), []);
    gate.refused(Timestamp::EPOCH, 0, &mut acts);
    assert_eq!(sent(&acts), [(1, written)]);
    acts.clear();
    gate.again(Timestamp::EPOCH, call(0), &mut acts);
    assert_eq!(sent(&acts), [], "now it is the other way round");
}
