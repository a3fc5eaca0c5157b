//! The reasons of a decision, in the order of the questions.
//!
//! Leaves out their wording (`because`) and what would change them (`sensitivity`).

use offpeak_wire::request::Ttl;

use crate::price::Lane;

use super::because::{Because, Padding};
use super::cost::{hit_threshold, write_rate};
use super::decide::{Case, Way};
use super::group::{Group, usual_ttl};
use super::reason::{Answer, Question, Reason};
use super::route::{Barred, Route};
use super::timing::Patience;
use super::variant::Variant;
use super::warm::Warming;

impl Case<'_> {
    pub(super) fn reasons(&self, chosen: &Way) -> Vec<Reason> {
        let mut reasons = self.lane_reasons();
        reasons.extend(self.cache_reasons(chosen));
        reasons.extend(self.budget_reason(chosen));
        reasons
    }

    /// The first question.
    fn lane_reasons(&self) -> Vec<Reason> {
        let (answer, because) = match self.patience {
            Patience::None => (Answer::Yes, Because::Awaited),
            Patience::Endless => (Answer::No, Because::NoDeadline),
            Patience::Until(timing) if timing.allows_batch() => {
                (Answer::No, Because::TimeForBatch(timing))
            }
            Patience::Until(timing) => (Answer::Yes, Because::NoTimeForBatch(timing)),
        };
        let mut facts = vec![because];
        match self.batch_barred(self.patience) {
            Some(Barred::NotBatchable { model }) => facts.push(Because::NotBatchable { model }),
            Some(Barred::ZeroDataRetention) => facts.push(Because::ZeroDataRetention),
            _ => {}
        }
        if let Patience::Until(timing) = self.patience
            && timing.is_late_anyway()
        {
            facts.push(Because::DeadlineAtRisk(timing));
        }
        reasons(Question::NeededWithinSeconds, answer, facts)
    }

    /// The second question, told by the group that matters most.
    fn cache_reasons(&self, chosen: &Way) -> Vec<Reason> {
        let question = Question::PreambleStable;
        let shared = |place| self.calls(place) > 1;
        let cached = |place| self.is_cached(chosen, place);
        let Some(place) = self
            .heaviest(|place| shared(place) && cached(place))
            .or_else(|| self.heaviest(shared))
        else {
            return reasons(question, Answer::No, vec![Because::NothingShared]);
        };
        let lane = chosen.variant.route.lane();
        let ttl = chosen.placement.marks[place].unwrap_or_else(|| usual_ttl(lane));
        let (answer, because) = self.verdict(place, lane, ttl);
        let mut facts = vec![because];
        let count = |fulfils: &dyn Fn(usize) -> bool| {
            let places = (0..self.groups.len()).filter(|&place| fulfils(place));
            u64::try_from(places.count()).unwrap_or(u64::MAX)
        };
        let preambles = count(&shared);
        let cached_preambles = count(&cached);
        if preambles > 1 {
            facts.push(Because::OfAll {
                preambles,
                cached: cached_preambles,
                cached_calls: self.cached_calls(chosen),
            });
        }
        if self.models.len() > 1 {
            let models = u64::try_from(self.models.len()).unwrap_or(u64::MAX);
            facts.push(Because::SeveralModels { models });
        }
        facts.extend(self.no_canary(chosen));
        let leads = chosen
            .placement
            .leads
            .iter()
            .filter(|leads| **leads)
            .count();
        let leads = u64::try_from(leads).unwrap_or(u64::MAX);
        match chosen.variant.warming {
            Warming::FirstCall if cached_preambles > 0 => facts.push(Because::FirstCallAlone {
                preambles: cached_preambles,
            }),
            Warming::Canary => facts.push(Because::Canary {
                preambles: leads.max(1),
            }),
            Warming::Cold if !self.caller_marks => {
                facts.extend(self.learnt_hits(place, ttl));
            }
            _ => {}
        }
        reasons(question, answer, facts)
    }

    /// Calls that read or write a cache.
    fn cached_calls(&self, chosen: &Way) -> u64 {
        let mut covered = vec![false; self.groups.len()];
        let mut calls = 0u64;
        for (place, group) in self.groups.iter().enumerate() {
            let above = self
                .forest
                .parent(place)
                .is_some_and(|above| covered[above]);
            let marked = chosen.placement.marks[place].is_some();
            covered[place] = marked || (above && !group.profile.caller_marked);
            if covered[place] || group.profile.caller_marked {
                calls = calls.saturating_add(group.profile.sums.rows);
            }
        }
        calls
    }

    /// Why no canary goes ahead where one would pay, and what is done instead.
    fn no_canary(&self, chosen: &Way) -> Vec<Because> {
        let Patience::Until(timing) = self.patience else {
            return Vec::new();
        };
        let barred = self.batch_barred(self.patience).is_some() || timing.allows_canary();
        if barred || !self.canary_would_pay() {
            return Vec::new();
        }
        let mut facts = vec![Because::NoTimeForCanary(timing)];
        let batch = if self.caller_marks {
            Variant::ALL.into_iter().find(|variant| {
                variant.route == Route::BatchCache && variant.warming == Warming::Cold
            })
        } else {
            Some(Variant::plain(Lane::Batch))
        };
        if chosen.variant.route == Route::SyncCache
            && let (Some(sync_cache), Some(batch)) =
                (chosen.cost, batch.and_then(|batch| self.expected(batch)))
        {
            facts.push(Because::SyncCacheCheaper {
                sync_cache_usd_estimate: sync_cache.mid,
                batch_usd_estimate: batch,
            });
        }
        facts
    }

    fn learnt_hits(&self, place: usize, ttl: Ttl) -> Option<Because> {
        let group = &self.groups[place];
        Some(Because::LearntHits {
            hit_rate: group.hits(ttl).mean(),
            threshold: hit_threshold(group.priced.rates(Lane::Batch)?, ttl),
        })
    }

    /// Whether a group's preamble is worth a mark, and why.
    fn verdict(&self, place: usize, lane: Lane, ttl: Ttl) -> (Answer, Because) {
        let group = &self.groups[place];
        let calls = self.calls(place);
        let preamble = group.preamble(calls, ttl);
        let (minimum, tokens) = (group.priced.minimum, group.tokens);
        if group.profile.caller_marked {
            (Answer::Yes, Because::CallerMarks(preamble))
        } else if tokens.mid < minimum {
            let answer = if tokens.high < minimum {
                Answer::No
            } else {
                Answer::ProbablyNot
            };
            let because = Because::TooShort {
                preamble,
                missing_tokens: minimum - tokens.mid,
                padding: padding(group, calls, lane, ttl),
            };
            (answer, because)
        } else if !group.pays(calls, ttl) {
            (Answer::No, Because::TooFewCalls(preamble))
        } else if tokens.low < minimum {
            (Answer::Probably, Because::WorthCaching(preamble))
        } else {
            (Answer::Yes, Because::WorthCaching(preamble))
        }
    }

    /// The question that follows where there is a budget.
    fn budget_reason(&self, chosen: &Way) -> Vec<Reason> {
        let (Some(budget), Some(cost)) = (self.limits.budget, chosen.cost) else {
            return Vec::new();
        };
        let answer = if budget >= self.sums.worst {
            Answer::Yes
        } else if budget.approx() >= cost.mid {
            Answer::Probably
        } else {
            Answer::No
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of the rows"
        )]
        let covered = (self.rows as f64 * (budget.approx() / cost.mid.max(1e-12)).min(1.0)) as u64;
        let because = Because::Budget {
            budget,
            expected_usd_estimate: cost.mid,
            worst: self.sums.worst,
            covered_rows: covered.min(self.rows),
        };
        reasons(Question::BudgetEnough, answer, vec![because])
    }
}

fn reasons(question: Question, answer: Answer, facts: Vec<Because>) -> Vec<Reason> {
    let reason = |because| Reason {
        question,
        answer,
        because,
    };
    facts.into_iter().map(reason).collect()
}

/// What a preamble that is too short would save as long as the model's minimum: written once and
/// then read, against paid in full by every call.
fn padding(group: &Group<'_>, calls: u64, lane: Lane, ttl: Ttl) -> Option<Padding> {
    let rates = group.priced.rates(lane)?;
    let (minimum, tokens) = (group.priced.minimum, group.tokens.mid);
    let token = write_rate(rates, ttl) as f64 + calls.saturating_sub(1) as f64 * rates.read as f64;
    let plain = tokens as f64 * calls as f64 * rates.input as f64;
    let saved = (plain - minimum as f64 * token) * 1e-12;
    (saved > 0.0).then(|| Padding {
        tokens: minimum.saturating_sub(tokens),
        saves_usd_estimate: saved,
    })
}
