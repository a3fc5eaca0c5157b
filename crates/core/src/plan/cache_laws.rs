//! The laws of the cache's arithmetic, held against a small cache that knows nothing of it: the marks
//! are the best of all markings, and no policy at all is cheaper than the bound.

use std::collections::BTreeMap;

use offpeak_wire::request::Ttl;
use proptest::prelude::*;

use crate::price::Rates;
use crate::units::{Span, Timestamp, Usd};

use super::bound::{Bound, Demand, LaneRates, Terms, lower_bound};
use super::marks::{Crossing, best_marks, expected_crossings, marked_cost, timed_crossings};
use super::trie::{NodeId, PromptBlock, Trie};

/// Sonnet class, US$ 3 per million tokens and its multiples.
const RATES: Rates = Rates {
    input: 3_000_000,
    write_5m: 3_750_000,
    write_1h: 6_000_000,
    read: 300_000,
    output: 15_000_000,
};
const HALF: Rates = Rates {
    input: 1_500_000,
    write_5m: 1_875_000,
    write_1h: 3_000_000,
    read: 150_000,
    output: 7_500_000,
};

fn second(n: i64) -> Timestamp {
    Timestamp::EPOCH + Span::from_secs(n)
}

/// A cache of beginnings, each by its blocks.
#[derive(Clone, Default)]
struct Shelf(BTreeMap<Vec<u64>, (Timestamp, Timestamp, i64)>);

impl Shelf {
    /// The price of one prompt, block by block with its marks: read up to the deepest live entry,
    /// written up to the last mark of each lifetime, plain behind it.
    fn pass(
        &mut self,
        at: Timestamp,
        blocks: &[PromptBlock],
        marks: &[Option<Ttl>],
        delay: Span,
    ) -> u128 {
        let key = |n: usize| blocks[..=n].iter().map(|b| b.id).collect::<Vec<_>>();
        let depth = |n: usize| {
            blocks[..=n]
                .iter()
                .map(|b| u128::from(b.tokens))
                .sum::<u128>()
        };
        let live = |n: &usize| {
            let entry = self.0.get(&key(*n));
            entry.is_some_and(|&(ready, dead, _)| ready <= at && at < dead)
        };
        let last = |wanted: &[Ttl]| {
            let index = marks
                .iter()
                .rposition(|m| m.is_some_and(|ttl| wanted.contains(&ttl)));
            index.map_or(0, depth)
        };
        // Without a mark nothing is looked up.
        let deepest = marks.iter().rposition(Option::is_some);
        let hit = deepest.and_then(|deepest| (0..=deepest).rev().find(live));
        let a = hit.map_or(0, depth);
        let b = last(&[Ttl::OneHour]).max(a);
        let c = last(&[Ttl::OneHour, Ttl::FiveMinutes]).max(b);
        for (n, mark) in marks.iter().enumerate() {
            let inside = hit.is_some_and(|hit| n <= hit);
            if let Some((_, dead, seconds)) = self.0.get_mut(&key(n)).filter(|_| inside)
                && at < *dead
            {
                *dead = (*dead).max(at + Span::from_secs(*seconds));
            }
            if let Some(ttl) = mark {
                let seconds = i64::try_from(ttl.seconds()).unwrap();
                let fresh = (at + delay, at + Span::from_secs(seconds), seconds);
                let entry = self.0.entry(key(n)).or_insert(fresh);
                *entry = if entry.1 <= at {
                    fresh
                } else {
                    (
                        entry.0.min(fresh.0),
                        entry.1.max(fresh.1),
                        entry.2.max(seconds),
                    )
                };
            }
        }
        let total = depth(blocks.len() - 1);
        a * u128::from(RATES.read)
            + (b - a) * u128::from(RATES.write_1h)
            + (c - b) * u128::from(RATES.write_5m)
            + (total - c) * u128::from(RATES.input)
    }
}

/// Calls on a tree given by each node's parent; each arrives at some second and ends at some node.
#[derive(Debug, Clone)]
struct Scene {
    parents: Vec<usize>,
    tokens: Vec<u32>,
    calls: Vec<(i64, usize)>,
}

impl Scene {
    fn blocks(&self, end: usize) -> Vec<PromptBlock> {
        let mut path = Vec::new();
        let mut at = end;
        loop {
            let id = u64::try_from(at).unwrap();
            path.push(PromptBlock {
                id,
                tokens: self.tokens[at],
            });
            if at == 0 {
                break;
            }
            at = self.parents[at - 1];
        }
        path.reverse();
        path
    }

    fn trie(&self) -> Trie {
        let mut trie = Trie::new();
        for &(at, end) in &self.calls {
            trie.insert(second(at), self.blocks(end));
        }
        trie
    }

    /// The cheapest of all legal markings, by running each.
    fn cheapest_marking(&self, most: usize, minimum: u64, delay: Span) -> u128 {
        let nodes = self.tokens.len();
        let options = [None, Some(Ttl::FiveMinutes), Some(Ttl::OneHour)];
        let mut best = u128::MAX;
        for number in 0..3usize.pow(u32::try_from(nodes).unwrap()) {
            let marks: Vec<Option<Ttl>> = (0..nodes)
                .map(|n| options[number / 3usize.pow(u32::try_from(n).unwrap()) % 3])
                .collect();
            if let Some(cost) = self.run(&marks, most, minimum, delay) {
                best = best.min(cost);
            }
        }
        best
    }

    fn run(&self, marks: &[Option<Ttl>], most: usize, minimum: u64, delay: Span) -> Option<u128> {
        let mut shelf = Shelf::default();
        let mut cost = 0;
        let mut calls = self.calls.clone();
        calls.sort_unstable();
        for (at, end) in calls {
            let blocks = self.blocks(end);
            let own: Vec<Option<Ttl>> = blocks
                .iter()
                .map(|b| marks[usize::try_from(b.id).unwrap()])
                .collect();
            let mut depth = 0;
            for (block, mark) in blocks.iter().zip(&own) {
                depth += u64::from(block.tokens);
                if mark.is_some() && depth < minimum {
                    return None;
                }
            }
            if !is_legal(&own, most) {
                return None;
            }
            cost += shelf.pass(second(at), &blocks, &own, delay);
        }
        Some(cost)
    }
}

fn is_legal(marks: &[Option<Ttl>], most: usize) -> bool {
    let marked: Vec<Ttl> = marks.iter().copied().flatten().collect();
    let ordered = marked
        .windows(2)
        .all(|pair| pair[0] == Ttl::OneHour || pair[1] == Ttl::FiveMinutes);
    marked.len() <= most && ordered
}

/// Every tree of `nodes` nodes in which a later sibling is a later node: parents never fall.
fn all_trees(nodes: usize) -> Vec<Vec<usize>> {
    let mut all: Vec<Vec<usize>> = vec![Vec::new()];
    for node in 1..nodes {
        all = all
            .into_iter()
            .flat_map(|parents| {
                let from = parents.last().copied().unwrap_or(0);
                (from..node).map(move |parent| [parents.as_slice(), &[parent]].concat())
            })
            .collect();
    }
    all
}

fn dp(scene: &Scene, most: usize, minimum: u64, delay: Span) -> Usd {
    let trie = scene.trie();
    let segments = trie.contracted(minimum);
    let crossings = timed_crossings(&trie, &segments, &RATES, delay);
    let marking = best_marks(&segments, &crossings, most);
    let short = segments
        .short
        .iter()
        .map(|&(_, tokens)| tokens)
        .sum::<u64>();
    marked_cost(&marking) + Usd::from_pico(i128::from(RATES.input)).times(short)
}

/// Numbers for scenes, the same in every run.
fn roll(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut x = *state;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn scene_on(parents: Vec<usize>, calls: usize, state: &mut u64) -> Scene {
    let nodes = parents.len() + 1;
    let pick = |n: usize, state: &mut u64| {
        usize::try_from(roll(state) % u64::try_from(n).unwrap()).unwrap()
    };
    let gaps = [0, 1, 20, 200, 301, 900, 2_400, 3_601];
    let mut at = 0;
    let tokens = (0..nodes)
        .map(|_| 100 + u32::try_from(roll(state) % 900).unwrap())
        .collect();
    let calls = (0..calls)
        .map(|_| {
            at += gaps[pick(gaps.len(), state)];
            (at, pick(nodes, state))
        })
        .collect();
    Scene {
        parents,
        tokens,
        calls,
    }
}

#[test]
fn marks_are_the_best_of_all_markings_on_every_tree_of_up_to_seven_nodes() {
    let mut state = 7;
    for nodes in 1..=7 {
        for parents in all_trees(nodes) {
            let scene = scene_on(parents, 9, &mut state);
            let most = [1, 2, 4][usize::try_from(roll(&mut state) % 3).unwrap()];
            let minimum = [0, 700][usize::try_from(roll(&mut state) % 2).unwrap()];
            let delay =
                Span::from_millis([0, 1_500][usize::try_from(roll(&mut state) % 2).unwrap()]);
            let brute = i128::try_from(scene.cheapest_marking(most, minimum, delay)).unwrap();
            assert_eq!(
                dp(&scene, most, minimum, delay).pico(),
                brute,
                "{scene:?} with {most} marks from {minimum} tokens"
            );
        }
    }
}

/// The cheapest of all policies: marks chosen anew for each call, and in each gap a ping or two on
/// any call's prompt, just in time.
fn cheapest_policy(scene: &Scene) -> u128 {
    let mut calls = scene.calls.clone();
    calls.sort_unstable();
    let prompts: Vec<Vec<PromptBlock>> = calls.iter().map(|&(_, end)| scene.blocks(end)).collect();
    let times: Vec<Timestamp> = calls.iter().map(|&(at, _)| second(at)).collect();
    explore(&Shelf::default(), &prompts, &times, 0, 2)
}

fn explore(
    shelf: &Shelf,
    prompts: &[Vec<PromptBlock>],
    times: &[Timestamp],
    next: usize,
    pings: usize,
) -> u128 {
    let Some(prompt) = prompts.get(next) else {
        return 0;
    };
    let mut best = u128::MAX;
    for marks in all_marks(prompt.len()) {
        let mut after = shelf.clone();
        let cost = after.pass(times[next], prompt, &marks, Span::ZERO);
        best = best.min(cost + explore(&after, prompts, times, next + 1, pings));
    }
    let Some(before) = next.checked_sub(1).filter(|_| pings > 0) else {
        return best;
    };
    for life in [300, 3_600] {
        let at = times[before] + Span::from_secs(life) - Span::from_micros(1);
        if at >= times[next] {
            continue;
        }
        for marks in all_marks(prompt.len())
            .into_iter()
            .filter(|m| m.iter().any(Option::is_some))
        {
            let mut after = shelf.clone();
            let cost = after.pass(at, prompt, &marks, Span::ZERO);
            best = best.min(cost + explore(&after, prompts, times, next, pings - 1));
        }
    }
    best
}

fn all_marks(blocks: usize) -> Vec<Vec<Option<Ttl>>> {
    let options = [None, Some(Ttl::FiveMinutes), Some(Ttl::OneHour)];
    let mut all: Vec<Vec<Option<Ttl>>> = vec![Vec::new()];
    for _ in 0..blocks {
        let longer =
            |marks: &Vec<Option<Ttl>>| options.map(|mark| [marks.as_slice(), &[mark]].concat());
        all = all.iter().flat_map(longer).collect();
    }
    all.retain(|marks| is_legal(marks, 4));
    all
}

fn terms(minimum: u64) -> Terms {
    let lanes = LaneRates {
        sync: RATES,
        batch: HALF,
    };
    Terms {
        standard: lanes,
        long_prompt: lanes,
        minimum,
        held: Span::ZERO,
        shared_caches: false,
    }
}

fn bound(trie: &Trie, deferrable: bool, output: u64, minimum: u64) -> Bound {
    let demand = Demand {
        deferrable,
        output,
        long_prompt: false,
    };
    lower_bound(trie, &vec![demand; trie.calls().len()], &terms(minimum))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn no_policy_beats_the_bound(
        branches in prop::collection::vec(0usize..2, 3), seed: u64,
        gaps in prop::collection::vec(prop_oneof![0i64..400, 2_000i64..5_000], 3),
    ) {
        // Two levels under a root that all share, three calls.
        let mut state = seed;
        let mut scene = scene_on(vec![0, 0], 0, &mut state);
        let mut at = 0;
        for (branch, gap) in branches.iter().zip(gaps) {
            at += gap;
            scene.calls.push((at, branch + 1));
        }
        let least = i128::try_from(cheapest_policy(&scene)).unwrap();
        let bound = bound(&scene.trie(), false, 0, 0);
        prop_assert!(bound.timed.pico() <= least, "{} > {least}: {scene:?}", bound.timed.pico());
        prop_assert!(bound.timeless <= bound.timed);
    }

    #[test]
    fn marks_never_cost_more_than_fewer_or_none(seed: u64, calls in 1usize..14) {
        let mut state = seed;
        let nodes = 2 + usize::try_from(roll(&mut state) % 12).unwrap();
        let mut parents = Vec::new();
        for node in 1..nodes {
            parents.push(usize::try_from(roll(&mut state)).unwrap() % node);
        }
        let scene = scene_on(parents, calls, &mut state);
        let costs: Vec<Usd> = (0..=4).map(|most| dp(&scene, most, 0, Span::ZERO)).collect();
        prop_assert!(costs.windows(2).all(|pair| pair[1] <= pair[0]), "{costs:?}");
        let plain: u64 = scene.calls.iter().flat_map(|&(_, end)| scene.blocks(end)).map(|b| u64::from(b.tokens)).sum();
        prop_assert_eq!(costs[0].pico(), i128::from(plain) * 3_000_000);
        prop_assert!(bound(&scene.trie(), false, 0, 0).timed <= costs[4]);
    }
}

/// The calls of a burst: tools, then three tenants, a document of each, and questions about it.
fn bursts(bursts: u64, sizes: [u32; 4], tenants: u64, documents: u64, questions: u64) -> Trie {
    let mut trie = Trie::new();
    for burst in 0..bursts {
        let mut at = i64::try_from(burst).unwrap() * 2_400;
        for tenant in 0..tenants {
            for document in 0..documents {
                for question in 0..questions {
                    let place = [burst, tenant, document, question];
                    let id = |depth: usize| {
                        let of = place[..depth].iter().fold(1, |id, n| id * 100 + n + 1);
                        u64::try_from(depth).unwrap() << 48 | of
                    };
                    let ids = [0, 1 << 40 | tenant, id(3), id(4)];
                    let blocks = ids.into_iter().zip(sizes);
                    let blocks = blocks.map(|(id, tokens)| PromptBlock { id, tokens });
                    trie.insert(second(at), blocks);
                    at += 10;
                }
            }
        }
    }
    trie
}

fn usd(text: &str) -> Usd {
    text.parse().unwrap()
}

fn marked(trie: &Trie, minimum: u64) -> (Usd, BTreeMap<NodeId, Ttl>) {
    let segments = trie.contracted(minimum);
    let crossings = timed_crossings(trie, &segments, &RATES, Span::from_millis(800));
    let marking = best_marks(&segments, &crossings, 4);
    (marked_cost(&marking), marking.marks)
}

#[test]
fn tenants_and_their_documents_are_marked_at_the_optimum() {
    // 3000 × 4.75 + 7500 × 2.35 + 72,000 × 1.55 + 5400 tokens' worth of input.
    let trie = bursts(1, [3_000, 2_500, 8_000, 150], 3, 3, 4);
    assert_eq!(trie.calls().len(), 36);
    let (cost, marks) = marked(&trie, 1_024);
    assert_eq!(cost, usd("0.446625"));
    assert_eq!(marks.len(), 1 + 3 + 9);
    assert_eq!(bound(&trie, false, 0, 1_024).timed, usd("0.446625"));
    // Where nothing below 4,096 tokens is cached, tools and tenant are one prefix.
    let opus = bound(&trie, false, 0, 4_096).timed;
    assert_eq!(opus.times(5), usd("0.778875").times(3));
    assert_eq!(marked(&trie, 4_096).0, opus);
}

#[test]
fn bursts_forty_minutes_apart_take_both_lifetimes() {
    let trie = bursts(4, [6_000, 3_000, 9_000, 200], 3, 1, 4);
    let (cost, marks) = marked(&trie, 1_024);
    assert_eq!(cost, usd("0.7461"));
    let hours = marks.values().filter(|ttl| **ttl == Ttl::OneHour).count();
    assert_eq!((hours, marks.len()), (1 + 3, 1 + 3 + 12));
    assert_eq!(bound(&trie, false, 0, 1_024).timed, usd("0.71235"));
}

#[test]
fn a_conversation_and_a_nightly_job_by_hand() {
    // Twenty turns a minute apart: 5,000 fixed tokens, 200 in and 400 out a turn.
    let mut trie = Trie::new();
    for turn in 0..20u64 {
        let fixed = [(0, 5_000), (1, 200)];
        let turns = (0..turn).flat_map(|n| [(100 + n, 400), (200 + n, 200)]);
        let blocks = fixed.into_iter().chain(turns);
        let blocks = blocks.map(|(id, tokens)| PromptBlock { id, tokens });
        trie.insert(second(60 * i64::try_from(turn).unwrap()), blocks);
    }
    let least = bound(&trie, false, 400, 1_024);
    assert_eq!(least.timed, usd("0.24222"));
    assert_eq!(least.timeless, least.timed);

    // 5,000 calls of 4,500 shared and 1,500 own tokens, in a batch.
    let mut trie = Trie::new();
    for call in 0..5_000 {
        let blocks = [(0, 4_500), (1 + call, 1_500)];
        trie.insert(
            second(0),
            blocks.map(|(id, tokens)| PromptBlock { id, tokens }),
        );
    }
    assert_eq!(bound(&trie, true, 400, 4_096).timed, usd("29.6327625"));
}

#[test]
fn patient_calls_may_share_what_others_write() {
    // One call awaited at once and one that can wait, on the same prefix: apart, they pay plain on
    // both lanes, or the second follows the first on the synchronous one.
    let mut trie = Trie::new();
    for _ in 0..2 {
        trie.insert(
            second(0),
            [PromptBlock {
                id: 1,
                tokens: 2_000,
            }],
        );
    }
    let demands = [false, true].map(|deferrable| Demand {
        deferrable,
        output: 0,
        long_prompt: false,
    });
    let apart = lower_bound(&trie, &demands, &terms(1_024)).timed;
    assert_eq!(apart.pico(), 2_000 * (3_750_000 + 300_000));
    let shared = Terms {
        shared_caches: true,
        ..terms(1_024)
    };
    let shared = lower_bound(&trie, &demands, &shared).timed;
    // The row writes at half the price, the call reads.
    assert_eq!(shared.pico(), 2_000 * (1_875_000 + 300_000));
}

#[test]
fn expected_hits_weigh_the_marks() {
    let trie = bursts(1, [3_000, 2_500, 8_000, 150], 3, 3, 4);
    let segments = trie.contracted(1_024);
    let with = |millionths| {
        let crossings = expected_crossings(&segments, &RATES, |_, _| millionths);
        best_marks(&segments, &crossings, 4).marks.len()
    };
    // Five minutes pay from 5/23 on, which is 217,391.3 millionths.
    assert_eq!(with(217_391), 0);
    assert!(with(217_392) > 0);
}

#[test]
fn ten_thousand_nodes_are_planned_at_once() {
    let mut trie = Trie::new();
    let mut state = 3;
    for call in 0..6_000u64 {
        let [a, b, c, d] = [0; 4].map(|_: u64| roll(&mut state));
        let ids = [a % 3, b % 10, c % 40, d % 4, 1_000 + call];
        let at = second(i64::try_from(call).unwrap() * 7);
        let blocks = ids.into_iter().zip([3_000, 900, 2_000, 700, 90]);
        trie.insert(at, blocks.map(|(id, tokens)| PromptBlock { id, tokens }));
    }
    assert!(trie.len() > 10_000, "{}", trie.len());
    let (cost, marks) = marked(&trie, 1_024);
    assert!(!marks.is_empty() && cost >= bound(&trie, false, 0, 1_024).timed);
    let none = Crossing {
        plain: 1,
        marked_5m: None,
        marked_1h: None,
    };
    let segments = trie.contracted(1_024);
    let unmarked = best_marks(&segments, &vec![none; segments.list.len()], 4);
    assert!(unmarked.marks.is_empty());
}
