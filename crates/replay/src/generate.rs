//! The benchmark's workloads, made from a seed: integer ticks, geometric gaps, no floating point, so
//! that anybody can make the same ones.

mod talk;

use std::collections::HashMap;
use std::str::FromStr;

use offpeak_core::units::{Span, Timestamp};

use offpeak_core::gate::{Block, Role};

use crate::trace::{Call, Trace};

/// Sonnet class: US$ 3 and 15 per million tokens, cached from 1,024 tokens.
const MODEL: &str = "claude-sonnet-4-6";
const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// A workload of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Workload {
    /// A nightly job: 5,000 rows with a long preamble, due in eight hours.
    W1,
    /// A stampede: 200 calls, 50 of them before the first answer begins.
    W2,
    /// A heartbeat every six minutes.
    W3,
    /// A conversation of twenty turns.
    W4,
    /// Tools, tenants, documents and questions about them.
    W5,
    /// The same in four bursts forty minutes apart, known ahead.
    W5b,
    /// A thousand rows without anything to share, due in two hours.
    W6,
    /// Poisson traffic on prefixes with mean gaps from ten seconds to a day.
    W7,
    /// A gateway's day: 60 % awaited, 40 % due in two to twelve hours.
    W8,
    /// A table whose rows share an instruction and, in part, their first fields.
    W9,
    /// Awaited calls with answers of very different lengths, for a budget that does not pay for all.
    W10,
    /// Conversations as public traces of chat services have them.
    W11,
    /// A storm: 5,000 calls of 200 clients at once, for an upstream with limits and an outage.
    W12,
}

impl Workload {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::W1,
        Self::W2,
        Self::W3,
        Self::W4,
        Self::W5,
        Self::W5b,
        Self::W6,
        Self::W7,
        Self::W8,
        Self::W9,
        Self::W10,
        Self::W11,
        Self::W12,
    ];

    /// Its name: `W1` and so on.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::W1 => "W1",
            Self::W2 => "W2",
            Self::W3 => "W3",
            Self::W4 => "W4",
            Self::W5 => "W5",
            Self::W5b => "W5b",
            Self::W6 => "W6",
            Self::W7 => "W7",
            Self::W8 => "W8",
            Self::W9 => "W9",
            Self::W10 => "W10",
            Self::W11 => "W11",
            Self::W12 => "W12",
        }
    }

    /// The trace of this workload and seed.
    #[must_use]
    pub fn generate(self, seed: u64) -> Trace {
        let mut dice = Dice::new(seed ^ (self as u64) << 56);
        let mut draft = Draft::default();
        match self {
            Self::W1 => nightly(&mut draft),
            Self::W2 => stampede(&mut draft),
            Self::W3 => heartbeat(&mut draft),
            Self::W4 => conversation(&mut draft),
            Self::W5 => tenants(&mut draft, &Tenants::W5),
            Self::W5b => tenants(&mut draft, &Tenants::W5B),
            Self::W6 => pressed(&mut draft),
            Self::W7 => poisson(&mut draft, &mut dice),
            Self::W8 => gateway(&mut draft, &mut dice),
            Self::W9 => table(&mut draft, &mut dice),
            Self::W10 => uneven(&mut draft, &mut dice),
            Self::W11 => talk::conversations(&mut draft, &mut dice),
            Self::W12 => storm(&mut draft),
        }
        draft.finish()
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = |workload: &Self| workload.as_str().eq_ignore_ascii_case(text);
        Self::ALL.into_iter().find(named).ok_or_else(|| {
            let all = Self::ALL.map(Self::as_str).join(", ");
            format!("`{text}` is not a workload; the workloads are {all}")
        })
    }
}

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// A sequence from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number below `n`, which is above zero.
    pub fn below(&mut self, n: u64) -> u64 {
        let wide = u128::from(self.draw()) * u128::from(n);
        u64::try_from(wide >> 64).expect("below n")
    }

    /// A number in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A geometric number of ticks with this mean, in steps of a 64th of it: how often a coin that
    /// shows heads one time in 64 is thrown until it does.
    pub fn geometric(&mut self, mean: i64) -> i64 {
        let mut throws = 1;
        while self.draw() >> 58 != 0 {
            throws += 1;
        }
        throws * mean / 64
    }
}

/// A trace in the making.
#[derive(Default)]
struct Draft {
    trace: Trace,
    ids: HashMap<String, u64>,
}

/// What calls of a workload have in common.
#[derive(Clone, Copy)]
struct Shape {
    output: u32,
    /// The most that may be generated; by default twice the answer.
    max_tokens: Option<u32>,
    deferrable: bool,
    /// Milliseconds after the call came.
    due: Option<i64>,
    job: bool,
}

const AWAITED: Shape = Shape {
    output: 0,
    max_tokens: None,
    deferrable: false,
    due: None,
    job: false,
};

impl Draft {
    fn call(&mut self, at: i64, shape: Shape, blocks: &[(&str, u32, Role)]) {
        let block = |&(name, tokens, role): &(&str, u32, Role)| {
            let next = u64::try_from(self.trace.blocks.len()).expect("a count fits u64");
            let id = *self.ids.entry(name.to_owned()).or_insert_with(|| {
                self.trace.blocks.push(name.to_owned());
                next
            });
            Block {
                id,
                tokens,
                role: Some(role),
            }
        };
        let blocks = blocks.iter().map(block).collect();
        if shape.job && self.trace.jobs.is_empty() {
            self.trace.jobs.push("job".to_owned());
        }
        let moment = |millis: i64| Timestamp::EPOCH + Span::from_millis(millis);
        self.trace.calls.push(Call {
            at: moment(at),
            model: MODEL.to_owned(),
            blocks,
            output: shape.output,
            max_tokens: shape
                .max_tokens
                .unwrap_or_else(|| (shape.output * 2).max(16)),
            deferrable: shape.deferrable,
            deadline: shape.due.map(|due| moment(at + due)),
            job: shape.job.then_some(0),
        });
    }

    fn finish(mut self) -> Trace {
        self.trace.calls.sort_by_key(|call| call.at);
        self.trace
    }
}

fn nightly(draft: &mut Draft) {
    let shape = Shape {
        output: 400,
        max_tokens: None,
        deferrable: true,
        due: Some(8 * HOUR),
        job: true,
    };
    for row in 0..5_000 {
        let own = format!("row {row}");
        let blocks = [
            ("preamble", 4_500, Role::System),
            (&own, 1_500, Role::Suffix),
        ];
        draft.call(0, shape, &blocks);
    }
}

fn stampede(draft: &mut Draft) {
    let shape = Shape {
        output: 200,
        ..AWAITED
    };
    for call in 0..200 {
        let at = if call < 50 {
            call * 16
        } else {
            (call - 49) * SECOND
        };
        let own = format!("question {call}");
        let blocks = [
            ("preamble", 20_000, Role::System),
            (&own, 300, Role::Suffix),
        ];
        draft.call(at, shape, &blocks);
    }
}

fn heartbeat(draft: &mut Draft) {
    let shape = Shape {
        output: 100,
        ..AWAITED
    };
    for beat in 0..240 {
        let own = format!("beat {beat}");
        let blocks = [
            ("preamble", 30_000, Role::System),
            (&own, 200, Role::Suffix),
        ];
        draft.call(beat * 6 * MINUTE, shape, &blocks);
    }
}

fn conversation(draft: &mut Draft) {
    let shape = Shape {
        output: 400,
        ..AWAITED
    };
    let names: Vec<[String; 2]> = (0..20)
        .map(|turn| [format!("user {turn}"), format!("answer {turn}")])
        .collect();
    for (turn, at) in (0..20).zip((0..).step_by(60_000)) {
        let mut blocks = vec![("system", 5_000, Role::System)];
        for [user, answer] in &names[..turn] {
            blocks.extend([(user.as_str(), 200, Role::Turn), (answer, 400, Role::Turn)]);
        }
        blocks.push((&names[turn][0], 200, Role::Turn));
        draft.call(at, shape, &blocks);
    }
}

struct Tenants {
    bursts: i64,
    /// Tokens of tools, tenant, document and question.
    sizes: [u32; 4],
    documents: i64,
    job: bool,
}

impl Tenants {
    const W5: Self = Self {
        bursts: 1,
        sizes: [3_000, 2_500, 8_000, 150],
        documents: 3,
        job: false,
    };
    const W5B: Self = Self {
        bursts: 4,
        sizes: [6_000, 3_000, 9_000, 200],
        documents: 1,
        job: true,
    };
}

fn tenants(draft: &mut Draft, of: &Tenants) {
    let shape = Shape {
        job: of.job,
        ..AWAITED
    };
    let [tools, system, context, suffix] = of.sizes;
    for burst in 0..of.bursts {
        let mut at = burst * 40 * MINUTE;
        for tenant in 0..3 {
            for document in 0..of.documents {
                for question in 0..4 {
                    let names = [
                        format!("tenant {tenant}"),
                        format!("document {burst}.{tenant}.{document}"),
                        format!("question {burst}.{tenant}.{document}.{question}"),
                    ];
                    let blocks = [
                        ("tools", tools, Role::Tools),
                        (&names[0], system, Role::System),
                        (&names[1], context, Role::Context),
                        (&names[2], suffix, Role::Suffix),
                    ];
                    draft.call(at, shape, &blocks);
                    at += 10 * SECOND;
                }
            }
        }
    }
}

fn pressed(draft: &mut Draft) {
    let shape = Shape {
        output: 100,
        max_tokens: None,
        deferrable: true,
        due: Some(2 * HOUR),
        job: true,
    };
    for row in 0..1_000 {
        let own = format!("row {row}");
        draft.call(0, shape, &[(&own, 500, Role::Suffix)]);
    }
}

fn poisson(draft: &mut Draft, dice: &mut Dice) {
    let shape = Shape {
        output: 10,
        ..AWAITED
    };
    let means = [
        10 * SECOND,
        MINUTE,
        5 * MINUTE,
        20 * MINUTE,
        HOUR,
        4 * HOUR,
        12 * HOUR,
        24 * HOUR,
    ];
    for (which, mean) in means.into_iter().enumerate() {
        let prefix = format!("prefix {which}");
        let mut at = 0;
        for call in 0..2_000 {
            let own = format!("call {which}.{call}");
            let blocks = [
                (prefix.as_str(), 10_000, Role::System),
                (&own, 20, Role::Suffix),
            ];
            draft.call(at, shape, &blocks);
            at += dice.geometric(mean);
        }
    }
}

fn gateway(draft: &mut Draft, dice: &mut Dice) {
    for call in 0..14_400 {
        let waits = dice.below(10) >= 6;
        let due = i64::try_from(dice.below(10 * 3_600_000)).expect("ten hours fit i64");
        let shape = Shape {
            output: 250,
            max_tokens: None,
            deferrable: waits,
            due: waits.then_some(2 * HOUR + due),
            job: false,
        };
        let own = format!("call {call}");
        let blocks = [("preamble", 6_000, Role::System), (&own, 500, Role::Suffix)];
        draft.call(call * 2 * SECOND, shape, &blocks);
    }
}

/// Rows about entities, a few of which come up again and again (the k-th of 200 with a weight of 1/k);
/// two more fields follow from the entity. Only an instruction with all three reaches 1,024 tokens.
fn table(draft: &mut Draft, dice: &mut Dice) {
    let shape = Shape {
        output: 50,
        max_tokens: None,
        deferrable: true,
        due: Some(24 * HOUR),
        job: true,
    };
    let weights: Vec<u64> = (1..=200).map(|rank| 1_000_000 / rank).collect();
    let all: u64 = weights.iter().sum();
    for row in 0..2_000 {
        let mut left = dice.below(all);
        let entity = weights.iter().position(|&weight| {
            let found = left < weight;
            left = left.saturating_sub(weight);
            found
        });
        let entity = entity.unwrap_or(0);
        let names = [
            format!("entity {entity}"),
            format!("kind {}", entity % 20),
            format!("place {}", entity % 50),
            format!("row {row}"),
        ];
        let blocks = [
            ("instruction", 900, Role::System),
            (&names[0], 60, Role::Context),
            (&names[1], 50, Role::Context),
            (&names[2], 50, Role::Context),
            (&names[3], 200, Role::Suffix),
        ];
        draft.call(0, shape, &blocks);
    }
}

/// One call in twenty has an answer twenty times as long.
fn uneven(draft: &mut Draft, dice: &mut Dice) {
    for call in 0..2_000 {
        let short = dice.geometric(128);
        let factor = if dice.below(20) == 0 { 20 } else { 1 };
        let output = u32::try_from(short * factor).unwrap_or(u32::MAX);
        let shape = Shape {
            output: output.min(8_000),
            max_tokens: Some(8_000),
            ..AWAITED
        };
        let own = format!("call {call}");
        draft.call(call * 500, shape, &[(&own, 1_000, Role::Suffix)]);
    }
}

fn storm(draft: &mut Draft) {
    let shape = Shape {
        output: 100,
        ..AWAITED
    };
    for call in 0..5_000 {
        let own = format!("client {} call {}", call % 200, call / 200);
        draft.call(0, shape, &[(&own, 500, Role::Suffix)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dice_are_splitmix64() {
        // Published test vector: seed 1234567.
        let mut dice = Dice::new(1_234_567);
        assert_eq!(dice.draw(), 6_457_827_717_110_365_317);
        assert_eq!(dice.draw(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn gaps_have_their_mean() {
        let mut dice = Dice::new(1);
        let sum: i64 = (0..10_000).map(|_| dice.geometric(6_400)).sum();
        assert!((sum / 10_000 - 6_400).abs() < 200, "{}", sum / 10_000);
    }

    #[test]
    fn a_seed_is_a_trace_and_chance_is_only_where_it_belongs() {
        for workload in Workload::ALL {
            let trace = workload.generate(1);
            assert_eq!(trace, workload.generate(1));
            let by_chance = matches!(
                workload,
                Workload::W7 | Workload::W8 | Workload::W9 | Workload::W10 | Workload::W11
            );
            assert_eq!(trace != workload.generate(2), by_chance, "{workload:?}");
            assert_eq!(workload.as_str().to_lowercase().parse(), Ok(workload));
        }
        assert!("W13".parse::<Workload>().is_err());
    }
}
