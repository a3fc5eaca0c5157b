//! The upstream's own reports, asked for with an admin key and added up by model and tier.
//!
//! A page is asked for once: reports are free, and whoever is refused can ask again. Leaves out how
//! they are read (`offpeak-wire`) and what they are held against (`books`).

use std::collections::BTreeMap;

use offpeak_client::clock::Clock;
use offpeak_client::{Bytes, Call, Client};
use offpeak_core::price::Book;
use offpeak_core::reconcile::{Cell, Charge, Charged, Class, Counts, Stretch, Tier, Window};
use offpeak_core::units::{Span, Timestamp, Usd};
use offpeak_wire::DecodeError;
use offpeak_wire::error::{ErrorBody, ErrorKind};
use offpeak_wire::report::{
    BucketWidth, CostLine, ReportPage, ReportSpan, UsageLine, cost_page, cost_path, usage_page,
    usage_path,
};

use crate::books::model_id;

/// Most bytes of a page: 1,440 buckets of a minute, with dozens of models each.
const PAGE_MAX: usize = 64 << 20;

/// Pages after which a report has no end. A year of minutes has fewer.
const PAGES_MAX: usize = 1_000;

/// Decimals of a dollar beyond those of a cent.
const CENT_PLACES: u32 = 2;
const USD_PLACES: u32 = 12;

/// A report that did not come.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The upstream said no.
    #[error("the API refuses its {report} report: {message}")]
    Refused {
        /// Which one.
        report: &'static str,
        /// Why, as a kind.
        kind: ErrorKind,
        /// In its words.
        message: String,
    },
    /// It cannot be reached, or the answer broke off.
    #[error("the API does not answer")]
    Unreachable(#[from] offpeak_client::SendError),
    /// What came is no report.
    #[error(transparent)]
    Unreadable(#[from] DecodeError),
    /// Page followed page without an end.
    #[error("the {report} report has no end")]
    Endless {
        /// Which one.
        report: &'static str,
    },
}

impl ReportError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Refused { kind, .. } => match kind {
                ErrorKind::Authentication | ErrorKind::Permission => {
                    "the reports need an admin key (sk-ant-admin…), which an organisation's administrator \
                     makes in the Claude Console; individual accounts have none"
                }
                ErrorKind::RateLimit | ErrorKind::Overloaded => {
                    "wait a minute and ask again: reports are to be asked for once a minute at the most"
                }
                _ => "ask again later; nothing was changed",
            },
            Self::Unreachable(_) => "check the network, and ANTHROPIC_BASE_URL if it is set",
            Self::Unreadable(_) | Self::Endless { .. } => {
                "the API may have changed: look for a newer offpeak, or report it"
            }
        }
    }
}

/// The reports of an organisation.
#[derive(Debug)]
pub struct Reports {
    client: Client,
    clock: Clock,
    /// Only calls of these keys.
    api_keys: Vec<String>,
    /// The upstream's time less ours.
    ahead: Span,
}

impl Reports {
    /// Asks for today's usage, which says whether the key is good and what time it is upstream.
    /// `client` has an admin key. `api_keys` are the ids of those whose usage is wanted; with none it
    /// is that of all.
    ///
    /// # Errors
    /// If the upstream does not answer, or refuses.
    pub async fn open(
        client: Client,
        clock: Clock,
        api_keys: Vec<String>,
    ) -> Result<Self, ReportError> {
        let mut reports = Self {
            client,
            clock,
            api_keys,
            ahead: Span::ZERO,
        };
        let day = reports.now().day();
        let span = ReportSpan {
            starting_at: format!("{day}T00:00:00Z"),
            ending_at: format!("{day}T23:59:59Z"),
        };
        let path = usage_path(&span, BucketWidth::Day, &reports.api_keys, None);
        usage_page(&reports.get(USAGE, path).await?)?;
        Ok(reports)
    }

    /// The upstream's time less ours.
    #[must_use]
    pub fn ahead(&self) -> Span {
        self.ahead
    }

    /// The time upstream.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.clock.now()) + self.ahead
    }

    /// The tokens of a window, in buckets of `width`.
    ///
    /// # Errors
    /// As for [`Reports::open`].
    pub async fn usage(
        &mut self,
        window: Window,
        width: BucketWidth,
        book: &Book,
    ) -> Result<BTreeMap<Cell, Counts>, ReportError> {
        let span = self.span(window, width);
        let mut sums: BTreeMap<Cell, Counts> = BTreeMap::new();
        let mut next = None;
        for _ in 0..PAGES_MAX {
            let path = usage_path(&span, width, &self.api_keys, next.as_deref());
            let page: ReportPage<UsageLine> = usage_page(&self.get(USAGE, path).await?)?;
            for line in page.buckets.iter().flat_map(|bucket| &bucket.lines) {
                let cell = cell(book, line.model.as_deref(), line.service_tier.as_deref());
                sums.entry(cell).or_default().add(&counts(line));
            }
            next = page.next_page;
            if next.is_none() {
                return Ok(sums);
            }
        }
        Err(ReportError::Endless { report: USAGE })
    }

    /// The costs of a window of whole days, by day. Each line may be off by one in the last decimal
    /// that any line has.
    ///
    /// # Errors
    /// As for [`Reports::open`].
    pub async fn costs(
        &mut self,
        window: Window,
        book: &Book,
    ) -> Result<BTreeMap<Timestamp, BTreeMap<Charge, Charged>>, ReportError> {
        let span = self.span(window, BucketWidth::Day);
        let mut lines: Vec<(Timestamp, CostLine)> = Vec::new();
        let mut next = None;
        for _ in 0..PAGES_MAX {
            let page = cost_page(&self.get(COST, cost_path(&span, next.as_deref())).await?)?;
            for bucket in page.buckets {
                let day: Result<Timestamp, _> = bucket.starting_at.parse();
                let day = day.map_err(|error| DecodeError {
                    what: "cost report",
                    problem: error.to_string(),
                })?;
                lines.extend(bucket.lines.into_iter().map(|line| (day, line)));
            }
            next = page.next_page;
            if next.is_none() {
                return Ok(charges(&lines, book));
            }
        }
        Err(ReportError::Endless { report: COST })
    }

    /// A window up to the bucket of now: later ones are not asked for.
    fn span(&self, window: Window, width: BucketWidth) -> ReportSpan {
        let now = Stretch {
            from: self.now(),
            to: self.now(),
        };
        let to = window.to.min(Window::around(now, width.seconds()).to);
        ReportSpan {
            starting_at: window.from.to_string(),
            ending_at: to.max(window.from).to_string(),
        }
    }

    async fn get(&mut self, report: &'static str, path: String) -> Result<Bytes, ReportError> {
        let answer = self.client.send(Call::get(path)).await?;
        if let Some(date) = answer.server_date_micros() {
            self.ahead = Timestamp::from_micros(date) - Timestamp::from_micros(self.clock.now());
        }
        let status = answer.status;
        let body = answer.body.collect(PAGE_MAX).await?;
        if status == 200 {
            return Ok(body);
        }
        let ErrorBody { kind, message, .. } = ErrorBody::parse(status, &body);
        Err(ReportError::Refused {
            report,
            kind,
            message,
        })
    }
}

const USAGE: &str = "usage";
const COST: &str = "cost";

fn cell(book: &Book, model: Option<&str>, tier: Option<&str>) -> Cell {
    Cell {
        model: model.map_or_else(String::new, |name| model_id(book, name)),
        tier: Tier::named(tier.unwrap_or("standard")),
    }
}

fn counts(line: &UsageLine) -> Counts {
    let mut counts = Counts::default();
    for (class, tokens) in [
        (Class::Input, line.uncached_input_tokens),
        (Class::Write5m, line.write_5m),
        (Class::Write1h, line.write_1h),
        (Class::Read, line.cache_read_input_tokens),
        (Class::Output, line.output_tokens),
    ] {
        counts.add(&Counts::only(class, tokens));
    }
    counts
}

fn charges(
    lines: &[(Timestamp, CostLine)],
    book: &Book,
) -> BTreeMap<Timestamp, BTreeMap<Charge, Charged>> {
    let finest = lines
        .iter()
        .map(|(_, line)| line.amount.decimals)
        .max()
        .unwrap_or(0);
    // A report that writes picodollars, or more, rounds nothing away.
    let rounding = match USD_PLACES.checked_sub(CENT_PLACES + finest) {
        Some(places) if places > 0 => Usd::from_pico(10_i128.pow(places)),
        _ => Usd::ZERO,
    };
    let mut days: BTreeMap<Timestamp, BTreeMap<Charge, Charged>> = BTreeMap::new();
    for (day, line) in lines {
        let charge = match line.cost_type.as_deref() {
            None | Some("tokens") => Charge::Tokens(cell(
                book,
                line.model.as_deref(),
                line.service_tier.as_deref(),
            )),
            Some(fee) => Charge::Fee(fee.to_owned()),
        };
        let amount = Usd::from_pico(line.amount.picodollars);
        let charged = days.entry(*day).or_default().entry(charge).or_default();
        charged.add(Charged { amount, rounding });
    }
    days
}

#[cfg(test)]
mod tests {
    use offpeak_wire::report::Amount;

    use super::*;

    fn line(cost_type: &str, model: Option<&str>, cents: &str) -> CostLine {
        CostLine {
            cost_type: Some(cost_type.to_owned()),
            model: model.map(str::to_owned),
            service_tier: model.map(|_| "batch".to_owned()),
            amount: Amount::of_cents(cents).unwrap(),
        }
    }

    #[test]
    fn lines_add_up_by_model_and_each_may_be_off_in_its_last_decimal() {
        let (one, two) = (Timestamp::EPOCH, Timestamp::EPOCH + Span::from_secs(86_400));
        let lines = [
            (one, line("tokens", Some("claude-haiku-4-5"), "1.25")),
            (
                one,
                line("tokens", Some("claude-haiku-4-5-20251001"), "0.5"),
            ),
            (one, line("web_search", None, "3")),
            (two, line("tokens", Some("claude-of-tomorrow"), "7")),
        ];
        let days = charges(&lines, Book::embedded());
        let tokens = |model: &str| {
            Charge::Tokens(Cell {
                model: model.to_owned(),
                tier: Tier::Batch,
            })
        };
        let charged = |amount: &str, rounding: &str| Charged {
            amount: amount.parse().unwrap(),
            rounding: rounding.parse().unwrap(),
        };
        // An alias and its model are one; a hundredth of a cent per line.
        assert_eq!(
            days[&one],
            BTreeMap::from([
                (
                    tokens("claude-haiku-4-5-20251001"),
                    charged("0.0175", "0.0002")
                ),
                (
                    Charge::Fee("web_search".to_owned()),
                    charged("0.03", "0.0001")
                ),
            ])
        );
        assert_eq!(
            days[&two],
            BTreeMap::from([(tokens("claude-of-tomorrow"), charged("0.07", "0.0001"))])
        );
    }

    #[test]
    fn a_report_that_writes_picodollars_rounds_nothing_away() {
        for (cents, rounding) in [
            ("1", "0.01"),
            ("1.000000001", "0.00000000001"),
            ("1.0000000001", "0"),
            ("1.00000000000000001", "0"),
        ] {
            let days = charges(
                &[(Timestamp::EPOCH, line("tokens", None, cents))],
                Book::embedded(),
            );
            let charged = days.values().flat_map(BTreeMap::values).next().unwrap();
            assert_eq!(charged.rounding, rounding.parse().unwrap(), "{cents}");
        }
    }
}
