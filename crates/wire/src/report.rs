//! The organisation's reports: tokens by model and tier (`usage_report/messages`), and money by day
//! (`cost_report`). Both need an admin key (Anthropic docs, usage and cost API).
//!
//! Read leniently: members that are absent or null count as nothing, and unknown ones are skipped.
//! Leaves out the calls, and what the figures are held against.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::decode::DecodeError;
use crate::usage::CacheCreation;

/// Buckets of a day that a page holds at the most (Anthropic docs, usage report).
const DAYS_MAX: u32 = 31;
const HOURS_MAX: u32 = 168;
const MINUTES_MAX: u32 = 1_440;

/// How long a bucket of the usage report is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketWidth {
    /// `1m`.
    Minute,
    /// `1h`.
    Hour,
    /// `1d`.
    Day,
}

impl BucketWidth {
    /// The name in a query.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "1m",
            Self::Hour => "1h",
            Self::Day => "1d",
        }
    }

    /// Its seconds.
    #[must_use]
    pub fn seconds(self) -> i64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }

    /// The most buckets of a page.
    #[must_use]
    pub fn page_max(self) -> u32 {
        match self {
            Self::Minute => MINUTES_MAX,
            Self::Hour => HOURS_MAX,
            Self::Day => DAYS_MAX,
        }
    }
}

/// What is asked of a report. Moments are RFC 3339 in UTC, at the edges of buckets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportSpan {
    /// The start of the first bucket.
    pub starting_at: String,
    /// The end of the last.
    pub ending_at: String,
}

/// The path of one page of the usage report, grouped by model and service tier. `api_keys` narrows
/// it to calls of these keys, by their ids; with none of them all calls count.
#[must_use]
pub fn usage_path(
    span: &ReportSpan,
    width: BucketWidth,
    api_keys: &[String],
    page: Option<&str>,
) -> String {
    let mut path = format!(
        "/v1/organizations/usage_report/messages?starting_at={}&ending_at={}&bucket_width={}&limit={}\
         &group_by%5B%5D=model&group_by%5B%5D=service_tier",
        span.starting_at,
        span.ending_at,
        width.as_str(),
        width.page_max(),
    );
    for key in api_keys {
        path.push_str("&api_key_ids%5B%5D=");
        push_encoded(&mut path, key);
    }
    push_page(&mut path, page);
    path
}

/// The path of one page of the cost report, with a line per model, tier and kind of token. It has
/// days only, and cannot be narrowed to a key.
#[must_use]
pub fn cost_path(span: &ReportSpan, page: Option<&str>) -> String {
    let mut path = format!(
        "/v1/organizations/cost_report?starting_at={}&ending_at={}&bucket_width=1d&limit={DAYS_MAX}\
         &group_by%5B%5D=description",
        span.starting_at, span.ending_at,
    );
    push_page(&mut path, page);
    path
}

fn push_page(path: &mut String, page: Option<&str>) {
    if let Some(page) = page {
        path.push_str("&page=");
        push_encoded(path, page);
    }
}

fn push_encoded(path: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// One page of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportPage<L> {
    /// Its buckets, oldest first.
    pub buckets: Vec<Bucket<L>>,
    /// What to ask for next; `None` on the last page.
    pub next_page: Option<String>,
}

/// One stretch of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket<L> {
    /// Its start, as received.
    pub starting_at: String,
    /// What happened in it.
    pub lines: Vec<L>,
}

/// Tokens of one model and tier.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UsageLine {
    /// The model, by whatever name the upstream counts it under.
    pub model: Option<String>,
    /// `standard`, `batch`, `priority` and others.
    pub service_tier: Option<String>,
    /// Prompt tokens that were neither read from nor written to the cache.
    pub uncached_input_tokens: u64,
    /// Prompt tokens written with a five-minute lifetime.
    pub write_5m: u64,
    /// Prompt tokens written with a one-hour lifetime.
    pub write_1h: u64,
    /// Prompt tokens read from the cache.
    pub cache_read_input_tokens: u64,
    /// Generated tokens.
    pub output_tokens: u64,
}

/// Money for one kind of thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostLine {
    /// `tokens`, `web_search`, `code_execution`, `session_usage`.
    pub cost_type: Option<String>,
    /// The model; `None` where the cost has none.
    pub model: Option<String>,
    /// `standard` or `batch`.
    pub service_tier: Option<String>,
    /// How much.
    pub amount: Amount,
}

/// An amount as the cost report writes it: a decimal number of *cents* (Anthropic docs, cost report),
/// read without floating point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount {
    /// US dollars times 10^12, rounded half away from zero where the text is finer.
    pub picodollars: i128,
    /// Decimals of a cent that the text has: what it is rounded to.
    pub decimals: u32,
}

/// Decimals of a cent that a picodollar is.
const EXACT: usize = 10;

impl Amount {
    /// Reads `123.45`, which is US$ 1.2345.
    ///
    /// # Errors
    /// When the text is no decimal number, or larger than any bill.
    pub fn of_cents(text: &str) -> Result<Self, DecodeError> {
        let wrong = || DecodeError::new(COST, format_args!("`{text}` is not a number of cents"));
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || digits.ends_with('.')
        {
            return Err(wrong());
        }
        let decimals = u32::try_from(fraction.len()).map_err(|_| wrong())?;
        let places = fraction.bytes().chain(std::iter::repeat(b'0')).take(EXACT);
        let mut picodollars: i128 = 0;
        for digit in whole.bytes().chain(places) {
            picodollars = picodollars
                .checked_mul(10)
                .and_then(|value| value.checked_add(i128::from(digit - b'0')))
                .ok_or_else(wrong)?;
        }
        let rounds_up = fraction
            .as_bytes()
            .get(EXACT)
            .is_some_and(|digit| *digit >= b'5');
        picodollars = picodollars
            .checked_add(i128::from(rounds_up))
            .ok_or_else(wrong)?;
        Ok(Self {
            picodollars: if negative { -picodollars } else { picodollars },
            decimals,
        })
    }
}

const USAGE: &str = "usage report";
const COST: &str = "cost report";

/// A page of the usage report.
///
/// # Errors
/// When the bytes are no such page.
pub fn usage_page(raw: &[u8]) -> Result<ReportPage<UsageLine>, DecodeError> {
    page(USAGE, raw, |line: UsageWire| {
        let created = line.cache_creation.unwrap_or_default();
        Ok(UsageLine {
            model: line.model,
            service_tier: line.service_tier,
            uncached_input_tokens: line.uncached_input_tokens.unwrap_or(0),
            write_5m: created.ephemeral_5m_input_tokens.unwrap_or(0),
            write_1h: created.ephemeral_1h_input_tokens.unwrap_or(0),
            cache_read_input_tokens: line.cache_read_input_tokens.unwrap_or(0),
            output_tokens: line.output_tokens.unwrap_or(0),
        })
    })
}

/// A page of the cost report.
///
/// # Errors
/// When the bytes are no such page, or an amount is none, or not in US dollars.
pub fn cost_page(raw: &[u8]) -> Result<ReportPage<CostLine>, DecodeError> {
    page(COST, raw, |line: CostWire<'_>| {
        if let Some(currency) = line.currency.filter(|currency| currency != "USD") {
            return Err(DecodeError::new(
                COST,
                format_args!("its currency is `{currency}`"),
            ));
        }
        // A number would do as well: its text is what counts.
        let text = line.amount.get();
        let text = text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
            .unwrap_or(text);
        Ok(CostLine {
            cost_type: line.cost_type,
            model: line.model,
            service_tier: line.service_tier,
            amount: Amount::of_cents(text)?,
        })
    })
}

fn page<'a, W: Deserialize<'a>, L>(
    what: &'static str,
    raw: &'a [u8],
    read: impl Fn(W) -> Result<L, DecodeError>,
) -> Result<ReportPage<L>, DecodeError> {
    let page: PageWire<W> =
        serde_json::from_slice(raw).map_err(|error| DecodeError::new(what, error))?;
    let buckets = page.data.into_iter().map(|bucket| {
        Ok(Bucket {
            starting_at: bucket.starting_at,
            lines: bucket
                .results
                .into_iter()
                .map(&read)
                .collect::<Result<_, _>>()?,
        })
    });
    Ok(ReportPage {
        buckets: buckets.collect::<Result<_, _>>()?,
        next_page: page.next_page.filter(|_| page.has_more.unwrap_or(true)),
    })
}

#[derive(Deserialize)]
struct PageWire<W> {
    data: Vec<BucketWire<W>>,
    has_more: Option<bool>,
    next_page: Option<String>,
}

#[derive(Deserialize)]
struct BucketWire<W> {
    starting_at: String,
    results: Vec<W>,
}

#[derive(Deserialize)]
struct UsageWire {
    model: Option<String>,
    service_tier: Option<String>,
    uncached_input_tokens: Option<u64>,
    cache_creation: Option<CacheCreation>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct CostWire<'a> {
    cost_type: Option<String>,
    model: Option<String>,
    service_tier: Option<String>,
    currency: Option<String>,
    #[serde(borrow)]
    amount: &'a RawValue,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn span() -> ReportSpan {
        ReportSpan {
            starting_at: "2026-11-01T00:00:00Z".to_owned(),
            ending_at: "2026-12-01T00:00:00Z".to_owned(),
        }
    }

    #[test]
    fn what_is_asked_for() {
        assert_eq!(
            usage_path(
                &span(),
                BucketWidth::Hour,
                &["apikey_01A".to_owned()],
                Some("a b=")
            ),
            "/v1/organizations/usage_report/messages?starting_at=2026-11-01T00:00:00Z\
             &ending_at=2026-12-01T00:00:00Z&bucket_width=1h&limit=168&group_by%5B%5D=model\
             &group_by%5B%5D=service_tier&api_key_ids%5B%5D=apikey_01A&page=a%20b%3D"
        );
        assert_eq!(
            cost_path(&span(), None),
            "/v1/organizations/cost_report?starting_at=2026-11-01T00:00:00Z\
             &ending_at=2026-12-01T00:00:00Z&bucket_width=1d&limit=31&group_by%5B%5D=description"
        );
    }

    #[test]
    fn a_page_of_usage() {
        let raw = br#"{"data":[{"starting_at":"2025-08-01T00:00:00Z","ending_at":"2025-08-02T00:00:00Z",
            "results":[{"uncached_input_tokens":1500,"cache_creation":{"ephemeral_1h_input_tokens":1000,
            "ephemeral_5m_input_tokens":500},"cache_read_input_tokens":200,"output_tokens":500,
            "server_tool_use":{"web_search_requests":10},"api_key_id":"apikey_01Rj2N8SVvo6BePZj99NhmiT",
            "workspace_id":null,"model":"claude-opus-4-6","service_tier":"standard","context_window":"0-200k",
            "inference_geo":"global"}]},
            {"starting_at":"2025-08-02T00:00:00Z","ending_at":"2025-08-03T00:00:00Z","results":[]}],
            "has_more":true,"next_page":"page_MjAyNS0wNS0xNFQwMDowMDowMFo="}"#;
        let page = usage_page(raw).unwrap();
        assert_eq!(
            page.next_page.as_deref(),
            Some("page_MjAyNS0wNS0xNFQwMDowMDowMFo=")
        );
        assert_eq!(page.buckets[1].lines, []);
        let line = UsageLine {
            model: Some("claude-opus-4-6".to_owned()),
            service_tier: Some("standard".to_owned()),
            uncached_input_tokens: 1_500,
            write_5m: 500,
            write_1h: 1_000,
            cache_read_input_tokens: 200,
            output_tokens: 500,
        };
        assert_eq!(page.buckets[0].lines, [line]);
    }

    #[test]
    fn a_page_of_costs_is_in_cents() {
        let raw =
            br#"{"data":[{"starting_at":"2025-08-01T00:00:00Z","ending_at":"2025-08-02T00:00:00Z",
            "results":[{"currency":"USD","amount":"123.78912","workspace_id":null,"description":"x",
            "cost_type":"tokens","context_window":"0-200k","model":"claude-opus-4-6",
            "service_tier":"standard","token_type":"uncached_input_tokens"},{"amount":7}]}],
            "has_more":false,"next_page":null}"#;
        let page = cost_page(raw).unwrap();
        assert_eq!(page.next_page, None);
        let [first, second] = &page.buckets[0].lines[..] else {
            panic!("two lines");
        };
        assert_eq!(first.amount.picodollars, 1_237_891_200_000, "US$ 1.2378912");
        assert_eq!(first.amount.decimals, 5);
        assert_eq!(second.amount.picodollars, 70_000_000_000);
        assert_eq!((&second.model, &second.cost_type), (&None, &None));
    }

    #[test]
    fn what_is_no_report_is_said() {
        for wrong in ["", "{}", r#"{"data":[{"results":[]}]}"#, r#"{"data":7}"#] {
            assert!(usage_page(wrong.as_bytes()).is_err(), "{wrong}");
        }
        for amount in [
            r#""""#,
            r#""1,5""#,
            r#""1.""#,
            r#"".5""#,
            r#""1e-5""#,
            r#""--1""#,
            "null",
        ] {
            let raw =
                format!(r#"{{"data":[{{"starting_at":"x","results":[{{"amount":{amount}}}]}}]}}"#);
            assert!(cost_page(raw.as_bytes()).is_err(), "{amount}");
        }
        let euros =
            br#"{"data":[{"starting_at":"x","results":[{"amount":"1","currency":"EUR"}]}]}"#;
        assert!(cost_page(euros).unwrap_err().problem.contains("EUR"));
    }

    #[test]
    fn finer_than_a_picodollar_is_rounded_once() {
        let read = |text| Amount::of_cents(text).unwrap().picodollars;
        assert_eq!(read("0.00000000004"), 0);
        assert_eq!(read("0.00000000005"), 1);
        assert_eq!(read("-0.000000000149"), -1);
        assert_eq!(read("0.30000000000000004"), 3_000_000_000);
        assert!(Amount::of_cents(&"9".repeat(60)).is_err());
    }

    proptest! {
        #[test]
        fn cents_round_trip(pico in -1_000_000_000_000_000_000_000_i128..1_000_000_000_000_000_000_000) {
            let sign = if pico < 0 { "-" } else { "" };
            let (whole, rest) = (pico.abs() / 10_000_000_000, pico.abs() % 10_000_000_000);
            let amount = Amount::of_cents(&format!("{sign}{whole}.{rest:010}")).unwrap();
            prop_assert_eq!(amount, Amount { picodollars: pico, decimals: 10 });
        }
    }
}
