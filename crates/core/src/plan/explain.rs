//! The reasons of a decision, in the order of the two questions.
//!
//! Leaves out their wording (`reason`).

use offpeak_wire::request::Ttl;

use crate::price::Lane;

use super::decide::Case;
use super::group::{Group, ttl_of};
use super::reason::{Answer, Because, Question, Reason};
use super::route::{Barred, Route};
use super::timing::Patience;

impl Case<'_> {
    pub(super) fn reasons(&self, route: Route) -> Vec<Reason> {
        let mut reasons = self.lane_reasons();
        reasons.extend(self.cache_reasons(route));
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
        if let Some(Barred::NotBatchable { model }) = self.batch_barred() {
            facts.push(Because::NotBatchable { model });
        }
        if let Patience::Until(timing) = self.patience
            && timing.is_late_anyway()
        {
            facts.push(Because::DeadlineAtRisk(timing));
        }
        let question = Question::NeededWithinSeconds;
        facts
            .into_iter()
            .map(|because| Reason {
                question,
                answer,
                because,
            })
            .collect()
    }

    /// The second question, told by the group that matters most.
    fn cache_reasons(&self, route: Route) -> Vec<Reason> {
        let lane = self.batch_barred().map_or(Lane::Batch, |_| Lane::Sync);
        let ttl = ttl_of(route.lane());
        let shared = || {
            self.groups
                .iter()
                .filter(|group| group.profile.sums.rows > 1)
        };
        let largest = shared().max_by_key(|group| {
            (
                group.pays(ttl) || group.profile.caller_marked,
                group.weight(),
            )
        });
        let Some(largest) = largest else {
            return vec![Reason {
                question: Question::PreambleStable,
                answer: Answer::No,
                because: Because::NothingShared,
            }];
        };
        let (answer, because) = verdict(largest, ttl);
        let mut facts = vec![because];
        let preambles = u64::try_from(shared().count()).unwrap_or(u64::MAX);
        let cached = || {
            self.groups
                .iter()
                .filter(|group| self.is_cached(group, route))
        };
        let cached_preambles = u64::try_from(cached().count()).unwrap_or(u64::MAX);
        if preambles > 1 {
            let cached_calls = cached().map(|group| group.profile.sums.rows).sum();
            facts.push(Because::OfAll {
                preambles,
                cached: cached_preambles,
                cached_calls,
            });
        }
        if let (Lane::Batch, Patience::Until(timing)) = (lane, self.patience)
            && !timing.allows_canary()
            && self.cacheable(Lane::Batch)
        {
            facts.push(Because::NoTimeForCanary(timing));
            facts.extend(self.sync_cache_cheaper(route));
        }
        match route {
            Route::SyncCache => {
                facts.push(Because::FirstCallAlone {
                    preambles: cached_preambles,
                });
            }
            Route::BatchCache if self.patience.allows_canary() => {
                facts.push(Because::Canary {
                    preambles: cached_preambles,
                });
            }
            Route::Sync | Route::Batch | Route::BatchCache => {}
        }
        let question = Question::PreambleStable;
        facts
            .into_iter()
            .map(|because| Reason {
                question,
                answer,
                because,
            })
            .collect()
    }

    fn sync_cache_cheaper(&self, route: Route) -> Option<Because> {
        let sync_cache = self.cost(Route::SyncCache)?;
        let batch = self.cost(Route::of(Lane::Batch, self.caller_marks))?;
        (route == Route::SyncCache).then_some(Because::SyncCacheCheaper {
            sync_cache_usd_estimate: sync_cache.mid,
            batch_usd_estimate: batch.mid,
        })
    }
}

/// Whether a group's preamble is worth a mark, and why.
fn verdict(group: &Group<'_>, ttl: Ttl) -> (Answer, Because) {
    let preamble = group.preamble(ttl);
    let (minimum, tokens) = (group.priced.minimum, group.tokens);
    if group.profile.caller_marked {
        (Answer::Yes, Because::CallerMarks(preamble))
    } else if tokens.mid < minimum {
        let missing_tokens = minimum - tokens.mid;
        let answer = if tokens.high < minimum {
            Answer::No
        } else {
            Answer::ProbablyNot
        };
        (
            answer,
            Because::TooShort {
                preamble,
                missing_tokens,
            },
        )
    } else if !group.pays(ttl) {
        (Answer::No, Because::TooFewCalls(preamble))
    } else if tokens.low < minimum {
        (Answer::Probably, Because::WorthCaching(preamble))
    } else {
        (Answer::Yes, Because::WorthCaching(preamble))
    }
}
