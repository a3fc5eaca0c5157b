//! What a set of calls costs at the very least, whoever decides: the yardstick that is printed beside
//! every bill.
//!
//! A token of a segment is charged at each of its uses as read, written or plain, and as read only
//! while an entry at or below it lives; so the calls' policy is also one for that segment alone, and
//! costs no less than the best one (`clairvoyant`). Calls that can wait travel at batch prices at
//! whatever times suit best. Everything that only takes possibilities away is left out: the delay
//! before an entry can be read, the number of marks, the look-back, several caches. Exact integers,
//! no rounding.

use crate::price::Rates;
use crate::units::{Span, Timestamp, Tokens, Usd};

use super::clairvoyant::{PrefixRates, offline_optimum, timeless_optimum};
use super::trie::{Segment, Trie};

/// What the bound has to know of a call besides its prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// It may travel in a batch.
    pub deferrable: bool,
    /// Generated tokens.
    pub output: u64,
    /// Its prompt is above the model's prompt-size step.
    pub long_prompt: bool,
}

/// The rates of both lanes; without batches, the synchronous ones twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneRates {
    /// Of calls answered at once.
    pub sync: Rates,
    /// Of rows of batches.
    pub batch: Rates,
}

/// What is taken for granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Prompts of ordinary size.
    pub standard: LaneRates,
    /// Prompts above the model's prompt-size step.
    pub long_prompt: LaneRates,
    /// The shortest prefix that is cached.
    pub minimum: u64,
    /// How long a call that somebody waits for may be held back.
    pub held: Span,
    /// Batches and synchronous calls read each other's entries.
    pub shared_caches: bool,
}

/// Lower bounds of a bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bound {
    /// With the calls at the times they have.
    pub timed: Usd,
    /// With the calls at whatever times suit best.
    pub timeless: Usd,
}

/// The least that the calls of a trie cost; `demands` are in the order of [`Trie::calls`].
#[must_use]
pub fn lower_bound(trie: &Trie, demands: &[Demand], terms: &Terms) -> Bound {
    assert_eq!(
        trie.calls().len(),
        demands.len(),
        "one demand for each call"
    );
    let mut bound = Bound::default();
    let mut add = |timed: Usd, timeless: Usd| {
        bound.timed += timed;
        bound.timeless += timeless;
    };
    let segments = trie.contracted(terms.minimum);
    for segment in &segments.list {
        let (timed, timeless) = of_segment(trie, segment, demands, terms);
        add(
            times(timed, segment.tokens),
            times(timeless, segment.tokens),
        );
    }
    for &(call, tokens) in &segments.short {
        let input = Tokens::new(tokens).at_rate(terms.of(&demands[call as usize]).input);
        add(input, input);
    }
    for demand in demands {
        let output = Tokens::new(demand.output).at_rate(terms.of(demand).output);
        add(output, output);
    }
    bound
}

fn times(pico: u128, tokens: u64) -> Usd {
    let pico = i128::try_from(pico).expect("the price of one token over all calls fits");
    Usd::from_pico(pico).times(tokens)
}

impl Terms {
    fn lanes(&self, long_prompt: bool) -> &LaneRates {
        if long_prompt {
            &self.long_prompt
        } else {
            &self.standard
        }
    }

    /// The rates of the cheaper lane that a call may take.
    fn of(&self, demand: &Demand) -> Rates {
        let lanes = self.lanes(demand.long_prompt);
        if demand.deferrable {
            lower(&lanes.sync, &lanes.batch)
        } else {
            lanes.sync
        }
    }
}

fn lower(a: &Rates, b: &Rates) -> Rates {
    Rates {
        input: a.input.min(b.input),
        write_5m: a.write_5m.min(b.write_5m),
        write_1h: a.write_1h.min(b.write_1h),
        read: a.read.min(b.read),
        output: a.output.min(b.output),
    }
}

/// The least that one token of a segment costs over all its uses, timed and timeless.
fn of_segment(trie: &Trie, segment: &Segment, demands: &[Demand], terms: &Terms) -> (u128, u128) {
    let users = segment.users.iter().map(|&call| call as usize);
    let (mut awaited, mut patient) = (Vec::new(), 0u64);
    let mut lanes: Option<LaneRates> = None;
    for call in users {
        let own = terms.lanes(demands[call].long_prompt);
        lanes = Some(lanes.map_or(*own, |least| LaneRates {
            sync: lower(&least.sync, &own.sync),
            batch: lower(&least.batch, &own.batch),
        }));
        if demands[call].deferrable {
            patient += 1;
        } else {
            awaited.push(trie.calls()[call].0);
        }
    }
    let Some(lanes) = lanes else {
        return (0, 0);
    };
    if terms.shared_caches {
        shared(&awaited, patient, &lanes, terms.held)
    } else {
        apart(&awaited, patient, &lanes, terms.held)
    }
}

/// Each lane pays for its own entries. So many of the patient calls as suit best travel on the
/// synchronous lane, where they cost what that many more uses cost and may replace its pings.
fn apart(awaited: &[Timestamp], patient: u64, lanes: &LaneRates, held: Span) -> (u128, u128) {
    let (sync, batch) = (PrefixRates::of(&lanes.sync), PrefixRates::of(&lanes.batch));
    let waiting = u64::try_from(awaited.len()).unwrap_or(u64::MAX);
    let timed = offline_optimum(awaited, held, &sync);
    let split = |moved: u64, least: u128| {
        let on_sync = timeless_optimum(waiting + moved, &sync).max(least);
        on_sync + timeless_optimum(patient - moved, &batch)
    };
    // Both parts are concave in the number moved, apart from the floor under the first; the floor
    // ends where the timeless cost reaches it, which is one of at most `patient` places.
    let best = |least: u128| {
        let mut best = split(0, least).min(split(patient, least));
        if patient > 1 && least > 0 {
            let reaches = |moved: u64| timeless_optimum(waiting + moved, &sync) >= least;
            let (mut below, mut above) = (0, patient);
            while below + 1 < above {
                let middle = below + (above - below) / 2;
                if reaches(middle) {
                    above = middle;
                } else {
                    below = middle;
                }
            }
            best = best.min(split(below, least)).min(split(above, least));
        }
        best
    };
    (best(timed), best(0))
}

/// One cache for both lanes: a row may write for a call, and a ping may be a row.
fn shared(awaited: &[Timestamp], patient: u64, lanes: &LaneRates, held: Span) -> (u128, u128) {
    let ahead = |write: u64, row: u64| write.min(row.saturating_add(lanes.sync.read));
    let mixed = PrefixRates {
        write_5m: ahead(lanes.sync.write_5m, lanes.batch.write_5m),
        write_1h: ahead(lanes.sync.write_1h, lanes.batch.write_1h),
        ping: lanes.sync.read.min(lanes.batch.read),
        ..PrefixRates::of(&lanes.sync)
    };
    let waiting = u64::try_from(awaited.len()).unwrap_or(u64::MAX);
    let timeless = if patient == 0 {
        timeless_optimum(waiting, &mixed)
    } else {
        let total = |a: u64, b: u64| {
            u128::from(waiting) * u128::from(a) + u128::from(patient) * u128::from(b)
        };
        let batch = PrefixRates::of(&lanes.batch);
        let premium = batch.least_write().saturating_sub(batch.read);
        let cached = total(lanes.sync.read, batch.read) + u128::from(premium);
        let plain = total(lanes.sync.input, batch.input);
        plain.min(cached)
    };
    (
        offline_optimum(awaited, held, &mixed).max(timeless),
        timeless,
    )
}
