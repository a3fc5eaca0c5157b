//! Owns the organisation's reports of usage and cost, computed from the bill (Anthropic docs, usage
//! and cost API). A row of a batch counts when it ended, at the price of its batch's creation.
//!
//! Left out: accounts and service accounts, whose columns are null, and costs of tools.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::bill::{Entry, Lane};
use crate::book::Book;
use crate::dice::{self, Purpose};
use crate::http::{Answer, Problem};
use crate::query::Query;
use crate::stamp::{self, DAY, HOUR, MINUTE};
use crate::world::{Visit, World};

const LONG_CONTEXT: u64 = 200_000;
/// Picodollars of a cent.
const CENT: i128 = 10_000_000_000;

/// A column that results can be grouped by, or filtered by, or both.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    AccountId,
    ApiKeyId,
    ContextWindow,
    InferenceGeo,
    Model,
    ServiceAccountId,
    ServiceTier,
    Speed,
    WorkspaceId,
}

/// Each column with its name in `group_by[]`, and the parameter that filters by it.
const COLUMNS: [(Column, &str, &str); 9] = [
    (Column::AccountId, "account_id", "account_ids"),
    (Column::ApiKeyId, "api_key_id", "api_key_ids"),
    (Column::ContextWindow, "context_window", "context_window"),
    (Column::InferenceGeo, "inference_geo", "inference_geos"),
    (Column::Model, "model", "models"),
    (
        Column::ServiceAccountId,
        "service_account_id",
        "service_account_ids",
    ),
    (Column::ServiceTier, "service_tier", "service_tiers"),
    (Column::Speed, "speed", "speeds"),
    (Column::WorkspaceId, "workspace_id", "workspace_ids"),
];

/// The columns' values of one result; null where it is not grouped by them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Keys([Option<String>; COLUMNS.len()]);

#[derive(Serialize)]
struct Report<R> {
    data: Vec<Bucket<R>>,
    has_more: bool,
    next_page: Option<String>,
}

#[derive(Serialize)]
struct Bucket<R> {
    starting_at: String,
    ending_at: String,
    results: Vec<R>,
}

#[derive(Serialize)]
struct Usage {
    uncached_input_tokens: u64,
    cache_creation: CacheCreation,
    cache_read_input_tokens: u64,
    output_tokens: u64,
    server_tool_use: ServerToolUse,
    account_id: Option<String>,
    api_key_id: Option<String>,
    context_window: Option<String>,
    inference_geo: Option<String>,
    model: Option<String>,
    service_account_id: Option<String>,
    service_tier: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    speed: Option<String>,
    workspace_id: Option<String>,
}

#[derive(Serialize)]
struct CacheCreation {
    ephemeral_5m_input_tokens: u64,
    ephemeral_1h_input_tokens: u64,
}

#[derive(Serialize)]
struct ServerToolUse {
    web_search_requests: u64,
}

/// Sums of plain, written 5m, written 1h, read and output tokens, or of their costs.
type Sums<T> = [T; 5];

const TOKEN_TYPES: Sums<(&str, &str)> = [
    ("uncached_input_tokens", "Input Tokens"),
    (
        "cache_creation.ephemeral_5m_input_tokens",
        "Input Tokens, Cache Write 5m",
    ),
    (
        "cache_creation.ephemeral_1h_input_tokens",
        "Input Tokens, Cache Write 1h",
    ),
    ("cache_read_input_tokens", "Input Tokens, Cache Hit"),
    ("output_tokens", "Output Tokens"),
];

#[derive(Serialize)]
struct Cost {
    amount: String,
    currency: &'static str,
    cost_type: Option<&'static str>,
    token_type: Option<&'static str>,
    model: Option<String>,
    service_tier: Option<String>,
    context_window: Option<String>,
    inference_geo: Option<String>,
    description: Option<String>,
    workspace_id: Option<String>,
}

/// The buckets of a page.
struct Span {
    start: i64,
    width: i64,
    buckets: usize,
    has_more: bool,
}

impl World {
    pub(crate) fn usage_report(&self, visit: &Visit<'_>) -> Result<Answer, Problem> {
        let query = Query::read(&visit.request.query);
        let (width, usual, most) = match query.one("bucket_width").unwrap_or("1d") {
            "1m" => (MINUTE, 60, 1_440),
            "1h" => (HOUR, 24, 168),
            "1d" => (DAY, 7, 31),
            _ => {
                return Err(Problem::invalid(
                    "bucket_width: Input should be '1m', '1h' or '1d'",
                ));
            }
        };
        let span = Span::of(&query, visit.now, width, query.limit(usual, most)?)?;
        let group_by = grouping(&query, &COLUMNS.map(|(column, name, _)| (name, column)))?;
        let filters = COLUMNS.map(|(column, _, parameter)| (column, query.list(parameter)));
        let mut sums: BTreeMap<(usize, Keys), Sums<u64>> = BTreeMap::new();
        for entry in self.bill().entries() {
            let Some(bucket) = span.bucket(entry.at) else {
                continue;
            };
            let all = self.keys(&entry);
            let wanted = filters.iter().all(|(column, wanted)| {
                let value = all.0[*column as usize].as_deref().unwrap_or_default();
                wanted.is_empty() || wanted.contains(&value)
            });
            if wanted {
                let tally = entry.tally;
                let tokens = [
                    tally.input,
                    tally.write_5m,
                    tally.write_1h,
                    tally.read,
                    tally.output,
                ];
                let sum = sums.entry((bucket, all.only(&group_by))).or_default();
                for (sum, tokens) in sum.iter_mut().zip(tokens) {
                    *sum += u64::from(tokens);
                }
            }
        }
        let results = sums
            .into_iter()
            .map(|((bucket, keys), sums)| (bucket, usage(keys, sums)));
        Ok(span.report(results))
    }

    pub(crate) fn cost_report(&self, visit: &Visit<'_>) -> Result<Answer, Problem> {
        let query = Query::read(&visit.request.query);
        if query.one("bucket_width").is_some_and(|width| width != "1d") {
            return Err(Problem::invalid("bucket_width: Input should be '1d'"));
        }
        let span = Span::of(&query, visit.now, DAY, query.limit(7, 31)?)?;
        let group_by = grouping(&query, &[("workspace_id", true), ("description", false)])?;
        let (by_workspace, described) = (group_by.contains(&true), group_by.contains(&false));
        let mut columns = Vec::new();
        if by_workspace {
            columns.push(Column::WorkspaceId);
        }
        if described {
            columns.extend([
                Column::ContextWindow,
                Column::InferenceGeo,
                Column::Model,
                Column::ServiceTier,
            ]);
        }
        let book = Book::embedded();
        let mut sums: BTreeMap<(usize, Keys, Option<usize>), i128> = BTreeMap::new();
        for entry in self.bill().entries() {
            let Some(bucket) = span.bucket(entry.at) else {
                continue;
            };
            let keys = self.keys(&entry).only(&columns);
            let parts = book.parts(entry.priced_at, entry.lane, entry.model, &entry.tally);
            for (part, pico) in parts.into_iter().enumerate().filter(|(_, pico)| *pico > 0) {
                let part = described.then_some(part);
                *sums.entry((bucket, keys.clone(), part)).or_default() += pico;
            }
        }
        let results = sums
            .into_iter()
            .map(|((bucket, keys, part), pico)| (bucket, cost(keys, part, pico)));
        Ok(span.report(results))
    }

    fn keys(&self, entry: &Entry) -> Keys {
        let model = Book::embedded().model(entry.model);
        let tally = entry.tally;
        let long = tally.prompt() > LONG_CONTEXT;
        let geo = match (tally.us, model.us_geo) {
            (true, _) => "us",
            (false, true) => "global",
            (false, false) => "not_available",
        };
        let tier = match entry.lane {
            Lane::Sync => "standard",
            Lane::Batch => "batch",
        };
        let mut keys = Keys::default();
        let mut put = |column: Column, value: String| keys.0[column as usize] = Some(value);
        let roll = |b| dice::roll(self.config.seed, Purpose::ReportKey, entry.workspace, b);
        put(Column::ApiKeyId, dice::id("apikey_01", roll(0), roll(1)));
        put(
            Column::ContextWindow,
            if long { "200k-1M" } else { "0-200k" }.to_owned(),
        );
        put(Column::InferenceGeo, geo.to_owned());
        put(Column::Model, model.id.clone());
        put(Column::ServiceTier, tier.to_owned());
        put(
            Column::Speed,
            if tally.fast { "fast" } else { "standard" }.to_owned(),
        );
        put(
            Column::WorkspaceId,
            crate::world::workspace_id(entry.workspace),
        );
        keys
    }
}

impl Keys {
    fn only(mut self, columns: &[Column]) -> Self {
        for (column, ..) in COLUMNS {
            if !columns.contains(&column) {
                self.0[column as usize] = None;
            }
        }
        self
    }

    fn take(&mut self, column: Column) -> Option<String> {
        self.0[column as usize].take()
    }
}

/// What `group_by[]` names.
fn grouping<T: Copy>(query: &Query, known: &[(&str, T)]) -> Result<Vec<T>, Problem> {
    let column = |(index, name): (usize, &str)| {
        let found = known.iter().find(|(known, _)| *known == name);
        found.map(|&(_, column)| column).ok_or_else(|| {
            let names: Vec<_> = known.iter().map(|(name, _)| format!("'{name}'")).collect();
            let names = names.join(", ");
            Problem::invalid(format!("group_by.{index}: Input should be one of {names}"))
        })
    };
    query
        .list("group_by")
        .into_iter()
        .enumerate()
        .map(column)
        .collect()
}

impl Span {
    /// From `starting_at`, or from where the last page ended, up to `ending_at` or now.
    fn of(query: &Query, now: i64, width: i64, limit: usize) -> Result<Self, Problem> {
        let instant = |name: &str| {
            let given = query.one(name).map(|text| {
                stamp::parse(text).ok_or_else(|| {
                    Problem::invalid(format!("{name}: Input should be a valid datetime"))
                })
            });
            given.transpose()
        };
        let start = instant("starting_at")?;
        let start = start.ok_or_else(|| Problem::invalid("starting_at: Field required"))?;
        let start = match query.one("page") {
            None => start,
            Some(page) => {
                let next = page
                    .strip_prefix("page_")
                    .and_then(|n| i64::from_str_radix(n, 16).ok());
                let next = next.filter(|&next| next >= start);
                next.ok_or_else(|| Problem::invalid("page: Invalid page token"))?
            }
        };
        let start = start.div_euclid(width) * width;
        let end = instant("ending_at")?.unwrap_or(now);
        let left = end.saturating_sub(start).max(0).div_euclid(width)
            + i64::from(end.saturating_sub(start).max(0).rem_euclid(width) > 0);
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        Ok(Self {
            start,
            width,
            buckets: left.min(limit),
            has_more: left > limit,
        })
    }

    fn bucket(&self, at: i64) -> Option<usize> {
        let bucket = usize::try_from(at.saturating_sub(self.start).div_euclid(self.width)).ok()?;
        (bucket < self.buckets).then_some(bucket)
    }

    fn edge(&self, bucket: usize) -> i64 {
        let bucket = i64::try_from(bucket).expect("a page has few buckets");
        self.start + bucket * self.width
    }

    fn report<R: Serialize>(&self, results: impl Iterator<Item = (usize, R)>) -> Answer {
        let mut data: Vec<Bucket<R>> = (0..self.buckets)
            .map(|bucket| Bucket {
                starting_at: stamp::rfc3339_seconds(self.edge(bucket)),
                ending_at: stamp::rfc3339_seconds(self.edge(bucket + 1)),
                results: Vec::new(),
            })
            .collect();
        for (bucket, result) in results {
            data[bucket].results.push(result);
        }
        let next = self.edge(self.buckets);
        let report = Report {
            data,
            has_more: self.has_more,
            next_page: self.has_more.then(|| format!("page_{next:x}")),
        };
        Answer::object(&report, 0)
    }
}

fn usage(mut keys: Keys, sums: Sums<u64>) -> Usage {
    let [input, write_5m, write_1h, read, output] = sums;
    Usage {
        uncached_input_tokens: input,
        cache_creation: CacheCreation {
            ephemeral_5m_input_tokens: write_5m,
            ephemeral_1h_input_tokens: write_1h,
        },
        cache_read_input_tokens: read,
        output_tokens: output,
        server_tool_use: ServerToolUse {
            web_search_requests: 0,
        },
        account_id: keys.take(Column::AccountId),
        api_key_id: keys.take(Column::ApiKeyId),
        context_window: keys.take(Column::ContextWindow),
        inference_geo: keys.take(Column::InferenceGeo),
        model: keys.take(Column::Model),
        service_account_id: keys.take(Column::ServiceAccountId),
        service_tier: keys.take(Column::ServiceTier),
        speed: keys.take(Column::Speed),
        workspace_id: keys.take(Column::WorkspaceId),
    }
}

fn cost(mut keys: Keys, part: Option<usize>, pico: i128) -> Cost {
    let model = keys.take(Column::Model);
    let token_type = part.map(|part| TOKEN_TYPES[part]);
    let tier = keys.take(Column::ServiceTier);
    let description = token_type.map(|(_, words)| {
        let batch = if tier.as_deref() == Some("batch") {
            " Batch"
        } else {
            ""
        };
        format!(
            "{}{batch} Usage - {words}",
            model.as_deref().unwrap_or_default()
        )
    });
    Cost {
        amount: cents(pico),
        currency: "USD",
        cost_type: part.map(|_| "tokens"),
        token_type: token_type.map(|(name, _)| name),
        model,
        service_tier: tier,
        context_window: keys.take(Column::ContextWindow),
        inference_geo: keys.take(Column::InferenceGeo),
        description,
        workspace_id: keys.take(Column::WorkspaceId),
    }
}

/// Exactly, as a decimal number of cents.
fn cents(pico: i128) -> String {
    let fraction = format!("{:010}", pico % CENT);
    let fraction = fraction.trim_end_matches('0');
    let whole = pico / CENT;
    match fraction {
        "" => whole.to_string(),
        fraction => format!("{whole}.{fraction}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cents_are_exact() {
        assert_eq!(cents(0), "0");
        assert_eq!(cents(CENT), "1");
        assert_eq!(cents(1_234_500_000_000), "123.45");
        assert_eq!(cents(1), "0.0000000001");
    }
}
