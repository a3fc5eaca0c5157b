//! The rows of a prefix group, priced on each lane, and whether a mark would pay for them alone.
//!
//! Leaves out groups that stand on each other (`placement`) and the choice of a lane (`decide`).

use offpeak_wire::request::Ttl;

use crate::price::{Lane, Mode, Model, PriceError, Rates};
use crate::units::{Estimate, Timestamp, Usd};

use super::because::Preamble;
use super::cost::{Caching, Load, break_even_calls, hit_threshold, route_cost};
use super::evidence::{Evidence, prefix_tokens};
use super::posterior::HitPosterior;
use super::tokens::TokenRange;
use super::warm::Warming;
use super::workload::{GroupProfile, Sums};

/// Calls of one model with one load, priced on both lanes.
pub(super) struct Priced {
    /// Mean tokens of a call: low, expected, high.
    pub(super) loads: [Load; 3],
    pub(super) sync: Rates,
    /// `None` if the model cannot be batched.
    pub(super) batch: Option<Rates>,
    pub(super) minimum: u64,
}

impl Priced {
    pub(super) fn new(
        model: &Model,
        evidence: &Evidence,
        sums: &Sums,
        prefix_bytes: u64,
        has_tools: bool,
        now: Timestamp,
    ) -> Result<Self, PriceError> {
        let token_shares = evidence.token_shares(&model.id);
        let output_shares = evidence.output_shares(&model.id);
        let per_call = |total: u64| total as f64 / sums.rows.max(1) as f64;
        let own_bytes = sums
            .request_bytes
            .saturating_sub(prefix_bytes.saturating_mul(sums.rows));
        let own_tokens = per_call(own_bytes) * evidence.tokens_per_byte(&model.id);
        let prefix = prefix_tokens(evidence, model, prefix_bytes, has_tools);
        let prefix = [prefix.low, prefix.mid, prefix.high];
        let loads = std::array::from_fn(|k| Load {
            calls: sums.rows,
            prefix: prefix[k] as f64,
            suffix: own_tokens * token_shares[k],
            output: per_call(sums.max_tokens) * output_shares[k],
        });
        let [_, expected, _] = &loads;
        let prompt = expected.prefix + expected.suffix;
        let long_prompt = model
            .step_above(now)?
            .is_some_and(|above| prompt > above as f64);
        let rates = |lane| {
            model.rates(
                now,
                Mode {
                    long_prompt,
                    ..Mode::plain(lane)
                },
            )
        };
        Ok(Self {
            loads,
            sync: rates(Lane::Sync)?,
            batch: if model.batch {
                Some(rates(Lane::Batch)?)
            } else {
                None
            },
            minimum: u64::from(model.min_cacheable_tokens),
        })
    }

    pub(super) fn rates(&self, lane: Lane) -> Option<&Rates> {
        match lane {
            Lane::Sync => Some(&self.sync),
            Lane::Batch => self.batch.as_ref(),
        }
    }

    /// Most that rows cost in a batch which cost at most `worst` on the sync lane: the share of the
    /// token class that a batch discounts least. Without batch prices, the same.
    pub(super) fn worst_in_batch(&self, worst: Usd) -> Usd {
        let classes = |rates: &Rates| {
            [
                rates.input,
                rates.write_5m,
                rates.write_1h,
                rates.read,
                rates.output,
            ]
            .map(i128::from)
        };
        let Some(batch) = &self.batch else {
            return worst;
        };
        let priced = classes(batch).into_iter().zip(classes(&self.sync));
        let scaled = priced.filter(|(_, sync)| *sync > 0).map(|(batch, sync)| {
            let part = worst.pico().checked_mul(batch)?;
            Some(Usd::from_pico(part / sync + i128::from(part % sync > 0)))
        });
        scaled
            .collect::<Option<Vec<_>>>()
            .and_then(|all| all.into_iter().max())
            .unwrap_or(worst)
    }

    /// The expected cost on a lane. A preamble below the minimum is not cached, whatever its marks.
    pub(super) fn cost(&self, lane: Lane, caching: [Caching; 3]) -> Option<Estimate> {
        let rates = self.rates(lane)?;
        let expenses: [_; 3] = std::array::from_fn(|k| {
            let cacheable = self.loads[k].prefix >= self.minimum as f64;
            let caching = if cacheable { caching[k] } else { Caching::None };
            route_cost(&self.loads[k], rates, caching)
        });
        let prompts = expenses.map(|expense| expense.prefix + expense.suffix);
        Some(spread(prompts, expenses.map(|expense| expense.output)))
    }
}

/// A group and what is known of its preamble.
pub(super) struct Group<'a> {
    pub(super) profile: &'a GroupProfile,
    pub(super) model: &'a Model,
    pub(super) priced: Priced,
    pub(super) tokens: TokenRange,
    /// What is believed of the hits of a batch with a cold start, for five minutes and an hour.
    pub(super) hits: [HitPosterior; 2],
    /// The same of a batch behind a canary, if anything was learnt of such ones.
    pub(super) hits_behind_canary: [Option<HitPosterior>; 2],
}

impl Group<'_> {
    pub(super) fn is_long_enough(&self) -> bool {
        self.tokens.mid >= self.priced.minimum
    }

    pub(super) fn hits(&self, ttl: Ttl) -> &HitPosterior {
        let [five, hour] = &self.hits;
        match ttl {
            Ttl::FiveMinutes => five,
            Ttl::OneHour => hour,
        }
    }

    /// What was learnt of batches behind a canary.
    pub(super) fn hits_behind_canary(&self, ttl: Ttl) -> Option<&HitPosterior> {
        let [five, hour] = &self.hits_behind_canary;
        match ttl {
            Ttl::FiveMinutes => five.as_ref(),
            Ttl::OneHour => hour.as_ref(),
        }
    }

    /// The hit rate that is expected of a cold start, in millionths.
    pub(super) fn expected_hits(&self, ttl: Ttl) -> u32 {
        millionths(self.hits(ttl))
    }

    /// The hit rate that was learnt of batches behind a canary, in millionths.
    pub(super) fn learnt_hits_behind_canary(&self, ttl: Ttl) -> Option<u32> {
        self.hits_behind_canary(ttl).map(millionths)
    }

    /// Whether what was learnt speaks for a mark, or at least not against it.
    pub(super) fn is_learnt(&self, warming: Warming, rates: &Rates, ttl: Ttl) -> bool {
        match warming {
            Warming::Cold => self.hits(ttl).pays(rates, ttl),
            Warming::Canary => self
                .hits_behind_canary(ttl)
                .is_none_or(|belief| !belief.loses(hit_threshold(rates, ttl))),
            _ => true,
        }
    }

    /// Whether a mark of ours pays for so many calls, by the expected length.
    pub(super) fn pays(&self, users: u64, ttl: Ttl) -> bool {
        let enough = break_even_calls(&self.priced.sync, ttl).is_some_and(|least| users >= least);
        !self.profile.caller_marked && self.is_long_enough() && enough
    }

    /// What the marks of the caller do, if one row goes ahead of the others (`warm`) or none.
    pub(super) fn caller_caching(&self, warm: bool) -> [Caching; 3] {
        // The lifetime of the caller's marks is not in the profile: the default, or at worst the
        // dear one.
        let writes = if warm { 1 } else { self.profile.sums.rows };
        let dear = if warm { Ttl::FiveMinutes } else { Ttl::OneHour };
        [Ttl::FiveMinutes, Ttl::FiveMinutes, dear].map(|ttl| Caching::Marked { ttl, writes })
    }

    /// The answers, in US dollars.
    pub(super) fn answers(&self, lane: Lane) -> Option<[f64; 3]> {
        let rates = self.priced.rates(lane)?;
        let answers = |load: &Load| load.calls as f64 * load.output * rates.output as f64 * 1e-12;
        Some(self.priced.loads.each_ref().map(answers))
    }

    pub(super) fn preamble(&self, calls: u64, ttl: Ttl) -> Preamble {
        Preamble {
            group: self.profile.id,
            model: self.model.id.clone(),
            calls,
            tokens: self.tokens,
            minimum_tokens: self.model.min_cacheable_tokens,
            ttl,
            pays_from_calls: break_even_calls(&self.priced.sync, ttl),
            pays_from_hit_rate: hit_threshold(&self.priced.sync, ttl),
        }
    }
}

fn millionths(belief: &HitPosterior) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a million"
    )]
    let millionths = (belief.mean() * 1e6).round() as u32;
    millionths
}

/// The lifetime that is spoken of where no mark is set: synchronous calls follow each other, the
/// entry of a canary must outlive the wait for the others.
pub(super) fn usual_ttl(lane: Lane) -> Ttl {
    match lane {
        Lane::Sync => Ttl::FiveMinutes,
        Lane::Batch => Ttl::OneHour,
    }
}

/// The least of what a group's prompts may come to, the expected, and the most, and the answers.
pub(super) fn spread(prompts: [f64; 3], answers: [f64; 3]) -> Estimate {
    // A longer preamble can be the cheaper one, if only it can be cached.
    let [low, mid, high] = answers;
    Estimate {
        low: prompts.into_iter().fold(f64::INFINITY, f64::min) + low,
        mid: prompts[1] + mid,
        high: prompts.into_iter().fold(0.0, f64::max) + high,
    }
}
