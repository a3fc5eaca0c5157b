//! What would change the decision: each line is a threshold of one quantity, with what is taken on
//! the other side of it.
//!
//! Leaves out what is certain whatever happens (`because`).

use std::fmt;

use offpeak_wire::request::Ttl;
use serde::{Serialize, Serializer};

use crate::units::{Estimate, Span, Tokens};

use super::cost::{HitRate, break_even_calls, hit_threshold};
use super::decide::{Case, Way};
use super::timing::{Patience, Timing};
use super::variant::{Marks, Variant};
use super::warm::Warming;

/// Breaking even is worth a word while the calls are no more than so many times that.
const NEAR: u64 = 4;

/// When marks of a lifetime pay: for calls that read what one of them wrote, and for calls that all
/// carry the mark and find it now and then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BreakEven {
    /// The lifetime.
    pub ttl: Ttl,
    /// The model whose rates these are.
    pub model: String,
    /// The fewest calls; `None` if no number is enough.
    pub calls: Option<u64>,
    /// The share of calls that must find their preamble in the cache.
    pub hit_rate: HitRate,
}

/// A threshold beyond which something else is cheaper, or all that is possible.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Sensitivity {
    /// The hit rate below which the same lane without marks is cheaper.
    HitRate {
        /// What is taken.
        chosen: &'static str,
        /// The same lane without marks.
        against: &'static str,
        /// The lifetime that is written.
        ttl: Ttl,
        /// The model whose rates these are: that of the preamble that matters most.
        model: String,
        /// Share of the calls that must find their preamble in the cache.
        threshold: HitRate,
    },
    /// The time below which there is none for what is taken.
    LessTime {
        /// Less than so much until the deadline.
        #[serde(rename = "slack_us")]
        slack: Span,
        /// What would be taken then.
        then: Variant,
        /// Its cost, in US dollars.
        then_usd_estimate: f64,
        /// How much more that is.
        more_usd_estimate: f64,
    },
    /// The time from which there is enough for something cheaper.
    MoreTime {
        /// So much until the deadline, or more.
        #[serde(rename = "slack_us")]
        slack: Span,
        /// What would be taken then.
        then: Variant,
        /// Its cost, in US dollars.
        then_usd_estimate: f64,
        /// How much less that is.
        less_usd_estimate: f64,
    },
    /// The number of calls below which marks don't pay for a preamble.
    FewerCalls {
        /// Its group.
        group: u32,
        /// Calls that share it.
        calls: u64,
        /// The lifetime of its mark.
        ttl: Ttl,
        /// The fewest for which that mark pays.
        pays_from_calls: u64,
    },
}

/// One sentence.
impl fmt::Display for Sensitivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HitRate {
                chosen,
                against,
                ttl,
                model,
                threshold,
            } => write!(
                f,
                "Cache hits: {chosen} beats {against} as long as more than {threshold} of the \
                 calls find their preamble in the cache ({} rates of {model}).",
                ttl.as_str()
            ),
            Self::LessTime {
                slack,
                then,
                then_usd_estimate,
                ..
            } => write!(
                f,
                "Deadline: with less than {slack} left it would be {then}, about {}.",
                Estimate::point(*then_usd_estimate)
            ),
            Self::MoreTime {
                slack,
                then,
                then_usd_estimate,
                ..
            } => write!(
                f,
                "Deadline: could the answers wait {slack}, it would be {then}, about {}.",
                Estimate::point(*then_usd_estimate)
            ),
            Self::FewerCalls {
                calls,
                ttl,
                pays_from_calls,
                ..
            } => write!(
                f,
                "Calls: a mark of {} pays from {pays_from_calls} calls on; {} share this preamble.",
                ttl.as_str(),
                Tokens::new(*calls)
            ),
        }
    }
}

/// The lines as data, each with its sentence.
pub(super) fn with_text<S: Serializer>(lines: &[Sensitivity], out: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Told<'a> {
        #[serde(flatten)]
        line: &'a Sensitivity,
        text: String,
    }
    out.collect_seq(lines.iter().map(|line| Told {
        line,
        text: line.to_string(),
    }))
}

impl Case<'_> {
    /// Of the preamble that matters most, whatever becomes of it.
    pub(super) fn break_evens(&self) -> Vec<BreakEven> {
        let Some(place) = self.heaviest(|place| self.calls(place) > 1) else {
            return Vec::new();
        };
        let group = &self.groups[place];
        let rates = &group.priced.sync;
        let one = |ttl| BreakEven {
            ttl,
            model: group.model.id.clone(),
            calls: break_even_calls(rates, ttl),
            hit_rate: hit_threshold(rates, ttl),
        };
        [Ttl::FiveMinutes, Ttl::OneHour].map(one).to_vec()
    }

    pub(super) fn sensitivity(&self, chosen: &Way) -> Vec<Sensitivity> {
        let hits = self.hit_line(chosen);
        let calls = self.calls_line(chosen);
        let all = hits.into_iter().chain(self.time_lines(chosen)).chain(calls);
        all.collect()
    }

    /// The lines of the preamble that matters most among those that are marked.
    fn hit_line(&self, chosen: &Way) -> Option<Sensitivity> {
        let place = self.heaviest(|place| self.is_cached(chosen, place))?;
        let group = &self.groups[place];
        // What a caller's own marks live is not known; five minutes are the default.
        let ttl = chosen.placement.marks[place].unwrap_or(Ttl::FiveMinutes);
        let lane = chosen.variant.route.lane();
        Some(Sensitivity::HitRate {
            chosen: chosen.variant.label(),
            against: Variant::plain(lane).label(),
            ttl,
            model: group.model.id.clone(),
            threshold: hit_threshold(group.priced.rates(lane)?, ttl),
        })
    }

    fn calls_line(&self, chosen: &Way) -> Option<Sensitivity> {
        let marks = &chosen.placement.marks;
        let place = self.heaviest(|place| marks[place].is_some())?;
        let (group, ttl) = (&self.groups[place], marks[place]?);
        let calls = self.forest.users(place);
        let least = break_even_calls(&group.priced.sync, ttl)?;
        // Rows of a cold batch all write at first: their number decides nothing.
        let counts = chosen.variant.warming != Warming::Cold && least > 1;
        (counts && calls <= least.saturating_mul(NEAR)).then_some(Sensitivity::FewerCalls {
            group: group.profile.id,
            calls,
            ttl,
            pays_from_calls: least,
        })
    }

    fn time_lines(&self, chosen: &Way) -> Vec<Sensitivity> {
        let least = Timing::of(Span::ZERO, self.rows);
        let thresholds = [least.two_batches(), least.one_batch()];
        let left = match self.patience {
            Patience::None => Some(Span::ZERO),
            Patience::Until(timing) => Some(timing.slack),
            Patience::Endless => None,
        };
        let (mut lines, mut now) = (Vec::new(), chosen);
        for slack in thresholds {
            if left.is_some_and(|left| left < slack) {
                continue;
            }
            let then = self.with_slack(slack - Span::from_micros(1));
            if then.variant != now.variant {
                lines.extend(self.less_time(chosen, slack, then));
                now = then;
            }
        }
        let mut now = chosen;
        for slack in thresholds.into_iter().rev() {
            if left.is_none_or(|left| left >= slack) {
                continue;
            }
            let then = self.with_slack(slack);
            if then.variant != now.variant {
                lines.extend(self.more_time(chosen, slack, then));
                now = then;
            }
        }
        lines
    }

    fn with_slack(&self, slack: Span) -> &Way {
        self.choose(Patience::Until(Timing::of(slack, self.rows)))
    }

    fn less_time(&self, chosen: &Way, slack: Span, then: &Way) -> Option<Sensitivity> {
        let (now, later) = (chosen.cost?.mid, then.cost?.mid);
        Some(Sensitivity::LessTime {
            slack,
            then: then.variant,
            then_usd_estimate: later,
            more_usd_estimate: later - now,
        })
    }

    fn more_time(&self, chosen: &Way, slack: Span, then: &Way) -> Option<Sensitivity> {
        let (now, later) = (chosen.cost?.mid, then.cost?.mid);
        Some(Sensitivity::MoreTime {
            slack,
            then: then.variant,
            then_usd_estimate: later,
            less_usd_estimate: now - later,
        })
    }
}

/// The lifetime of a single-lifetime variant.
pub(super) fn single(marks: Marks) -> Option<Ttl> {
    match marks {
        Marks::FiveMinutes => Some(Ttl::FiveMinutes),
        Marks::OneHour => Some(Ttl::OneHour),
        Marks::None | Marks::Mixed => None,
    }
}
