//! Owns what goes wrong and when: rates per endpoint and per row, and exact appointments for
//! tests. A decision depends on the seed and on the running number of the request at its
//! endpoint (or of the row in its batch), on nothing else. Rules, which look at more, are `rule`'s.

use offpeak_wire::error::ErrorKind;
use serde::{Deserialize, Serialize};

use crate::dice::{self, Purpose};
use crate::rule::Rule;
use crate::stream::StreamFault;

/// The kinds of endpoint a fault can be aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Endpoint {
    /// `POST /v1/messages`
    Messages,
    /// `POST /v1/messages/count_tokens`
    CountTokens,
    /// `POST /v1/messages/batches`
    Create,
    /// `GET /v1/messages/batches/{id}`
    Retrieve,
    /// `GET /v1/messages/batches`
    List,
    /// `POST /v1/messages/batches/{id}/cancel`
    Cancel,
    /// `DELETE /v1/messages/batches/{id}`
    Delete,
    /// `GET /v1/messages/batches/{id}/results`
    Results,
    /// `GET /v1/models` and `GET /v1/models/{id}`
    Models,
    /// The organisation's limits and reports, `GET /v1/organizations/…`
    Admin,
}

impl Endpoint {
    /// Every endpoint kind.
    pub const ALL: [Self; 10] = [
        Self::Messages,
        Self::CountTokens,
        Self::Create,
        Self::Retrieve,
        Self::List,
        Self::Cancel,
        Self::Delete,
        Self::Results,
        Self::Models,
        Self::Admin,
    ];

    /// What rules and the request log call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
            Self::Create => "create",
            Self::Retrieve => "retrieve",
            Self::List => "list",
            Self::Cancel => "cancel",
            Self::Delete => "delete",
            Self::Results => "results",
            Self::Models => "models",
            Self::Admin => "admin",
        }
    }
}

/// What can happen to one HTTP request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 429 `rate_limit_error` with `retry-after`.
    RateLimited,
    /// 429 of the monthly spend cap: no `retry-after`, and waiting does not help.
    SpendCap,
    /// 529 `overloaded_error`.
    Overloaded,
    /// 500 `api_error`.
    Internal,
    /// The connection breaks before the request is accepted: nothing happened.
    ResetBeforeAccept,
    /// The request takes effect, and then the connection breaks: the answer is lost.
    ResetAfterAccept,
    /// Any other answer of an error's kind, before anything happened.
    Refused(Refusal),
    /// A streamed answer goes wrong after its 200; nothing happens to any other.
    Stream(StreamFault),
}

/// An error that a request meets without having caused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its kind, which says its status.
    pub kind: ErrorKind,
    /// The `retry-after` header.
    pub retry_after: RetryAfter,
    /// The `x-should-retry` header.
    pub should_retry: Option<bool>,
}

/// What a refusal says about trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// Nothing.
    Unsaid,
    /// Some seconds, by the seed.
    Seeded,
    /// This many seconds.
    Seconds(u32),
}

impl Fault {
    /// What the request log calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RateLimited => "rate_limited",
            Self::SpendCap => "spend_cap",
            Self::Overloaded => "overloaded",
            Self::Internal => "internal",
            Self::ResetBeforeAccept => "reset_before_accept",
            Self::ResetAfterAccept => "reset_after_accept",
            Self::Refused(refusal) => refusal.kind.as_str(),
            Self::Stream(StreamFault::ErrorEvent { .. }) => "stream_error",
            Self::Stream(StreamFault::Truncated { .. }) => "stream_truncated",
            Self::Stream(StreamFault::Stalled { .. }) => "stream_stalled",
        }
    }
}

/// Probabilities of the faults of one endpoint, each in 0..=1; their sum is at most 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EndpointFaults {
    /// Of [`Fault::RateLimited`].
    pub rate_limited: f64,
    /// Of [`Fault::Overloaded`].
    pub overloaded: f64,
    /// Of [`Fault::Internal`].
    pub internal: f64,
    /// Of [`Fault::ResetBeforeAccept`].
    pub reset_before: f64,
    /// Of [`Fault::ResetAfterAccept`].
    pub reset_after: f64,
}

impl EndpointFaults {
    /// Every kind with the same probability.
    #[must_use]
    pub fn each(probability: f64) -> Self {
        Self {
            rate_limited: probability,
            overloaded: probability,
            internal: probability,
            reset_before: probability,
            reset_after: probability,
        }
    }
}

/// Probabilities of what can happen to one batch row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RowFaults {
    /// Errored with an inner `api_error`.
    pub api_error: f64,
    /// Errored with an inner `overloaded_error`.
    pub overloaded: f64,
    /// Expired, though its batch ended in time.
    pub expired: f64,
}

/// Probabilities of what can happen to a download of results.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ResultFaults {
    /// Per download: the connection breaks in the middle of a line.
    pub truncated: f64,
    /// Per line: it comes twice.
    pub duplicate_line: f64,
    /// Per line: it is cut short and is not JSON. Stays so in every download.
    pub malformed_line: f64,
}

/// The plan of everything that goes wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// The seed of all fault decisions.
    pub seed: u64,
    /// Rates by endpoint kind, in the order of [`Endpoint::ALL`]; see [`Faults::on`].
    pub endpoints: [EndpointFaults; 10],
    /// Rates of row faults.
    pub rows: RowFaults,
    /// Rates of download faults.
    pub results: ResultFaults,
    /// Per batch: for some seconds after its creation it is not found and not listed.
    pub hidden_at_first: f64,
    /// Appointments: the n-th request (from 0) at an endpoint meets this fault, or for certain
    /// none. They win over the rates.
    pub script: Vec<(Endpoint, u64, Option<Fault>)>,
    /// Rules, which win over the rates too; see [`Faults::parse`].
    pub rules: Vec<Rule>,
}

impl Faults {
    /// Nothing goes wrong.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// A bad day: about 4 % of each HTTP fault, 1 % of each row fault, downloads that break.
    #[must_use]
    pub fn rough(seed: u64) -> Self {
        Self {
            seed,
            endpoints: [EndpointFaults::each(0.04); 10],
            rows: RowFaults {
                api_error: 0.01,
                overloaded: 0.01,
                expired: 0.01,
            },
            results: ResultFaults {
                truncated: 0.05,
                duplicate_line: 0.01,
                malformed_line: 0.0,
            },
            hidden_at_first: 0.05,
            script: Vec::new(),
            rules: Vec::new(),
        }
    }

    /// The same plan with other rates at one endpoint.
    #[must_use]
    pub fn on(mut self, endpoint: Endpoint, rates: EndpointFaults) -> Self {
        self.endpoints[endpoint as usize] = rates;
        self
    }

    /// The same plan with an appointment for the n-th request (from 0) at one endpoint.
    #[must_use]
    pub fn at(mut self, endpoint: Endpoint, nth: u64, fault: Fault) -> Self {
        self.script.push((endpoint, nth, Some(fault)));
        self
    }

    /// The appointment of the n-th request (from 0) at an endpoint.
    pub(crate) fn appointment(&self, endpoint: Endpoint, nth: u64) -> Option<Option<Fault>> {
        let appointed = |&&(e, n, _): &&(Endpoint, u64, Option<Fault>)| e == endpoint && n == nth;
        self.script
            .iter()
            .find(appointed)
            .map(|&(_, _, fault)| fault)
    }

    /// What the n-th request (from 0) at an endpoint meets by its rates.
    pub(crate) fn by_rate(&self, endpoint: Endpoint, nth: u64) -> Option<Fault> {
        let rates = &self.endpoints[endpoint as usize];
        let roll = dice::roll(self.seed, Purpose::EndpointFault, endpoint as u64, nth);
        pick(
            dice::unit(roll),
            [
                (rates.rate_limited, Fault::RateLimited),
                (rates.overloaded, Fault::Overloaded),
                (rates.internal, Fault::Internal),
                (rates.reset_before, Fault::ResetBeforeAccept),
                (rates.reset_after, Fault::ResetAfterAccept),
            ],
        )
    }

    pub(crate) fn of_row(&self, batch: u64, row: u64, custom_id: &str) -> Option<RowFault> {
        let roll = dice::roll(self.seed, Purpose::RowFault, batch, row);
        let by_rule = self.rules.iter().enumerate();
        let mut by_rule = by_rule.filter_map(|(index, rule)| {
            let fault = rule.on_row()?;
            self.occurs(index, rule, batch, row, custom_id)
                .then_some(fault)
        });
        by_rule.next().or_else(|| {
            pick(
                dice::unit(roll),
                [
                    (self.rows.api_error, RowFault::ApiError),
                    (self.rows.overloaded, RowFault::Overloaded),
                    (self.rows.expired, RowFault::Expired),
                ],
            )
        })
    }

    /// Whether a rule about rows or lines meets this one.
    fn occurs(&self, index: usize, rule: &Rule, batch: u64, row: u64, custom_id: &str) -> bool {
        let salt = u64::try_from(index).unwrap_or(u64::MAX);
        let roll = dice::roll(self.seed ^ salt, Purpose::RuleRow, batch, row);
        rule.names(custom_id) && rule.occasion().meets(row + 1, roll)
    }

    /// After how many microseconds a new batch becomes visible.
    pub(crate) fn hidden_for(&self, batch: u64) -> i64 {
        let roll = |b| dice::roll(self.seed, Purpose::HiddenAtFirst, batch, b);
        if !dice::happens(roll(0), self.hidden_at_first) {
            return 0;
        }
        i64::try_from(dice::between(roll(1), 1_000_000, 10_000_000)).expect("seconds fit i64")
    }

    /// The number of the line in the middle of which this download breaks.
    pub(crate) fn truncation(&self, batch: u64, download: u64, lines: u64) -> Option<u64> {
        let roll = |p| dice::roll(self.seed, p, batch, download);
        dice::happens(roll(Purpose::ResultFault), self.results.truncated)
            .then(|| dice::between(roll(Purpose::FaultDetail), 0, lines.saturating_sub(1)))
    }

    pub(crate) fn of_line(&self, batch: u64, row: u64, custom_id: &str) -> Option<LineFault> {
        let by_rule = self.rules.iter().enumerate();
        let mut by_rule = by_rule.filter_map(|(index, rule)| {
            let fault = rule.on_line()?;
            self.occurs(index, rule, batch, row, custom_id)
                .then_some(fault)
        });
        by_rule.next().or_else(|| {
            let roll = dice::roll(!self.seed, Purpose::ResultFault, batch, row);
            pick(
                dice::unit(roll),
                [
                    (self.results.duplicate_line, LineFault::Twice),
                    (self.results.malformed_line, LineFault::Malformed),
                ],
            )
        })
    }

    /// Seconds a `retry-after` asks for.
    pub(crate) fn retry_after(&self, endpoint: Endpoint, nth: u64) -> u64 {
        let roll = dice::roll(self.seed, Purpose::FaultDetail, endpoint as u64, !nth);
        dice::between(roll, 1, 15)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowFault {
    ApiError,
    Overloaded,
    Expired,
    /// Any other error.
    Refused(ErrorKind),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineFault {
    Twice,
    Malformed,
    Missing,
}

/// The first of the kinds in whose slice of [0, 1) the number falls.
fn pick<T: Copy, const N: usize>(mut at: f64, kinds: [(f64, T); N]) -> Option<T> {
    for (probability, kind) in kinds {
        if at < probability {
            return Some(kind);
        }
        at -= probability;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_come_true_and_endpoints_are_apart() {
        let faults = Faults::none().on(Endpoint::Create, EndpointFaults::each(0.1));
        let count = |endpoint, fault| {
            (0..10_000)
                .filter(|&n| faults.by_rate(endpoint, n) == Some(fault))
                .count()
        };
        for fault in [Fault::RateLimited, Fault::Internal, Fault::ResetAfterAccept] {
            assert!(count(Endpoint::Create, fault).abs_diff(1_000) < 120);
            assert_eq!(count(Endpoint::Retrieve, fault), 0);
        }
    }
}
