//! Owns reading fault plans: a TOML file, or the same as JSON. Whatever is unknown or does not fit
//! together is an error that says where, and what may have been meant.

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use crate::fault::{Endpoint, Fault, Faults, LineFault, Refusal, RetryAfter, RowFault};
use crate::stream::StreamFault;
use offpeak_wire::error::ErrorKind;

use super::given::{BadRules, Entry, Given, json, unknown, wrong};
use super::{CutAt, Effect, Occasion, Rule, kind};

/// What a plan may say besides its rules.
const TOP: [&str; 3] = ["preset", "rule", "seed"];
const PRESETS: [&str; 2] = ["none", "rough"];

/// What every rule may say; the rest goes with some effects only.
const COMMON: [&str; 10] = [
    "after", "effect", "endpoint", "every", "first", "key", "model", "nth", "p", "until",
];

/// The effects' names, and what goes with each besides.
const EFFECTS: [(&str, &[&str]); 19] = [
    ("clock_skew", &["seconds"]),
    ("content_type", &["value"]),
    ("duplicate_line", &["custom_id"]),
    ("hidden", &["seconds"]),
    ("malformed_line", &["custom_id"]),
    ("missing_line", &["custom_id"]),
    ("own_spend_limit", &[]),
    ("reordered_lines", &[]),
    ("reset_after_accept", &[]),
    ("reset_before_accept", &[]),
    ("row_errored", &["custom_id", "status"]),
    ("row_expired", &["custom_id"]),
    ("slow", &["ms"]),
    ("spend_cap", &[]),
    ("status", &["retry_after", "should_retry", "status"]),
    ("stream_error", &["percent"]),
    ("stream_stalled", &["percent"]),
    ("stream_truncated", &["percent"]),
    ("truncated", &["byte", "line"]),
];

impl Faults {
    /// Reads a plan of faults from TOML:
    ///
    /// ```
    /// let plan = r#"
    ///     seed = 7
    ///     [[rule]]
    ///     endpoint = "create"
    ///     nth = 2
    ///     effect = "reset_after_accept"
    ///     [[rule]]
    ///     p = 0.05
    ///     status = 529
    /// "#;
    /// assert_eq!(offpeak_sim::Faults::parse(plan).unwrap().rules.len(), 2);
    /// ```
    ///
    /// # Errors
    ///
    /// When it is not TOML, or something in it is unknown or does not fit together.
    pub fn parse(text: &str) -> Result<Self, BadRules> {
        let line = |offset: usize| text[..offset].matches('\n').count() + 1;
        let root = DeTable::parse(text).map_err(|error| {
            let place = error.span().map(|span| line(span.start));
            wrong(place, &format!("not valid TOML: {}", error.message()))
        })?;
        let mut top = Vec::new();
        let mut rules = Vec::new();
        for (key, value) in root.into_inner() {
            let place = Some(line(key.span().start));
            let key = key.into_inner();
            let DeValue::Array(tables) = value.get_ref() else {
                top.push(Entry::new(&key, json(value.get_ref()), place));
                continue;
            };
            if key != "rule" {
                top.push(Entry::new(&key, Value::Null, place));
                continue;
            }
            for table in tables.iter() {
                let DeValue::Table(table) = table.get_ref() else {
                    return Err(wrong(place, "`rule` must be a list of tables"));
                };
                let entries = table.iter().map(|(key, value)| {
                    let place = Some(line(key.span().start));
                    Entry::new(key.get_ref(), json(value.get_ref()), place)
                });
                rules.push(Given(entries.collect()));
            }
        }
        plan(Given(top), rules)
    }

    /// Reads the same from JSON: `{"seed": 7, "rule": [{"p": 0.05, "status": 529}]}`.
    ///
    /// # Errors
    ///
    /// As [`Faults::parse`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, BadRules> {
        let value = serde_json::from_slice(bytes)
            .map_err(|error| wrong(None, &format!("not valid JSON: {error}")))?;
        let Value::Object(members) = value else {
            return Err(wrong(None, "a fault plan is a JSON object"));
        };
        let mut top = Vec::new();
        let mut rules = Vec::new();
        for (key, value) in members {
            match (key.as_str(), value) {
                ("rule", Value::Array(list)) => {
                    for rule in list {
                        let Value::Object(rule) = rule else {
                            return Err(wrong(None, "`rule` must be a list of tables"));
                        };
                        let entries = rule.into_iter();
                        let entries = entries.map(|(key, value)| Entry::new(&key, value, None));
                        rules.push(Given(entries.collect()));
                    }
                }
                (_, value) => top.push(Entry::new(&key, value, None)),
            }
        }
        plan(Given(top), rules)
    }
}

fn plan(mut top: Given, rules: Vec<Given>) -> Result<Faults, BadRules> {
    let seed = top.number("seed")?.unwrap_or(0);
    let mut faults = match top.take("preset") {
        None => Faults::none(),
        Some(entry) => match entry.value.as_str() {
            Some("none") => Faults::none(),
            Some("rough") => Faults::rough(seed),
            other => return Err(entry.not_one_of(other.unwrap_or_default(), &PRESETS)),
        },
    };
    faults.seed = seed;
    if let Some(entry) = top.0.first() {
        if entry.key == "rule" {
            return Err(wrong(entry.line, "`rule` must be a list of tables"));
        }
        return Err(unknown(entry.line, &entry.key, &TOP));
    }
    faults.rules = rules.into_iter().map(rule).collect::<Result<_, _>>()?;
    Ok(faults)
}

fn rule(mut given: Given) -> Result<Rule, BadRules> {
    let source = given.source();
    let line = given.0.iter().filter_map(|entry| entry.line).min();
    let named = given.take("effect");
    let name = match &named {
        Some(entry) => {
            let name = entry.text()?;
            let known = EFFECTS.iter().find(|(known, _)| *known == name);
            let names = EFFECTS.map(|(name, _)| name);
            known.ok_or_else(|| entry.not_one_of(name, &names))?.0
        }
        None if given.has("status") => "status",
        None => return Err(wrong(line, "a rule needs an `effect`, or a `status`")),
    };
    let extra = EFFECTS.iter().find(|(known, _)| *known == name);
    let extra = extra.map_or(&[][..], |(_, extra)| extra);
    refuse_strangers(&given, name, extra)?;
    let effect = effect(name, &mut given, line)?;
    let by_number = matches!(effect, Effect::Row(_) | Effect::Line(_));
    for key in ["after", "endpoint", "key", "model", "until"] {
        if by_number && let Some(entry) = given.take(key) {
            let text = format!("`{key}` does not go with `{name}`: it knows rows by `custom_id`");
            return Err(wrong(entry.line, &text));
        }
    }
    Ok(Rule {
        source,
        endpoint: endpoint(&mut given, &effect, line)?,
        model: given.string("model")?,
        key: given.string("key")?,
        custom_id: given.string("custom_id")?,
        occasion: occasion(&mut given)?,
        after: given.mark("after")?,
        until: given.mark("until")?,
        effect,
    })
}

/// Whatever goes with no rule, or not with this effect, is an error.
fn refuse_strangers(given: &Given, effect: &str, extra: &[&str]) -> Result<(), BadRules> {
    let known: Vec<&str> = COMMON.iter().chain(extra).copied().collect();
    let stranger = given
        .0
        .iter()
        .find(|entry| !known.contains(&entry.key.as_str()));
    let Some(entry) = stranger else {
        return Ok(());
    };
    if EFFECTS
        .iter()
        .any(|(_, keys)| keys.contains(&entry.key.as_str()))
    {
        let text = format!("`{}` does not go with the effect `{effect}`", entry.key);
        return Err(wrong(entry.line, &text));
    }
    Err(unknown(entry.line, &entry.key, &known))
}

fn effect(name: &str, given: &mut Given, line: Option<usize>) -> Result<Effect, BadRules> {
    let needs = |key: &str| wrong(line, &format!("`{name}` needs `{key}`"));
    Ok(match name {
        "status" => Effect::Decides(Fault::Refused(refusal(given, line)?)),
        "spend_cap" => Effect::Decides(Fault::SpendCap),
        "own_spend_limit" => Effect::Decides(Fault::Refused(Refusal {
            kind: ErrorKind::OwnSpendLimit,
            retry_after: RetryAfter::Unsaid,
            should_retry: None,
        })),
        "reset_before_accept" => Effect::Decides(Fault::ResetBeforeAccept),
        "reset_after_accept" => Effect::Decides(Fault::ResetAfterAccept),
        "stream_error" | "stream_stalled" | "stream_truncated" => {
            let percent = given.number("percent")?.unwrap_or(50);
            let percent = u8::try_from(percent).ok().filter(|&share| share <= 100);
            let text = "`percent` must be a share from 0 to 100";
            let after_percent = percent.ok_or_else(|| wrong(line, text))?;
            Effect::Decides(Fault::Stream(match name {
                "stream_error" => StreamFault::ErrorEvent { after_percent },
                "stream_stalled" => StreamFault::Stalled { after_percent },
                _ => StreamFault::Truncated { after_percent },
            }))
        }
        "hidden" => Effect::Hidden(
            given
                .micros("seconds", 1_000_000)?
                .ok_or_else(|| needs("seconds"))?,
        ),
        "clock_skew" => Effect::ClockSkew(
            given
                .micros("seconds", 1_000_000)?
                .ok_or_else(|| needs("seconds"))?,
        ),
        "slow" => Effect::Slow(
            given
                .micros("ms", 1_000)?
                .ok_or_else(|| needs("ms"))?
                .max(0),
        ),
        "content_type" => {
            let value = given.string("value")?.ok_or_else(|| needs("value"))?;
            if value.is_empty() || value.bytes().any(|b| !(b' '..=b'~').contains(&b)) {
                return Err(wrong(line, "`value` must be a header's value"));
            }
            Effect::ContentType(value)
        }
        "row_expired" => Effect::Row(RowFault::Expired),
        "row_errored" => Effect::Row(match given.number("status")? {
            None | Some(500) => RowFault::ApiError,
            Some(529) => RowFault::Overloaded,
            Some(status) => RowFault::Refused(error_of(status, line)?),
        }),
        "duplicate_line" => Effect::Line(LineFault::Twice),
        "malformed_line" => Effect::Line(LineFault::Malformed),
        "missing_line" => Effect::Line(LineFault::Missing),
        "reordered_lines" => Effect::Reordered,
        "truncated" => {
            let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
            match (given.number("line")?, given.number("byte")?) {
                (None, None) => Effect::Truncated(CutAt::Anywhere),
                (Some(0), None) => return Err(wrong(line, "`line` counts from 1")),
                (Some(n), None) => Effect::Truncated(CutAt::Line(count(n - 1))),
                (None, Some(n)) => Effect::Truncated(CutAt::Byte(count(n))),
                (Some(_), Some(_)) => return Err(wrong(line, "give `line` or `byte`, not both")),
            }
        }
        other => unreachable!("`{other}` is not in the table of effects"),
    })
}

/// The error of a status.
fn error_of(status: u64, line: Option<usize>) -> Result<ErrorKind, BadRules> {
    kind(status).ok_or_else(|| {
        wrong(
            line,
            &format!(
                "no error of the API has status {status}; it has 400, 401, 402, 403, 404, 409, \
                 413, 429, 500, 504 and 529"
            ),
        )
    })
}

fn refusal(given: &mut Given, line: Option<usize>) -> Result<Refusal, BadRules> {
    let status = given.number("status")?;
    let status = status.ok_or_else(|| wrong(line, "`status` needs a number, like 529"))?;
    let kind = error_of(status, line)?;
    let retry_after = match given.take("retry_after") {
        None if status == 429 => RetryAfter::Seeded,
        None => RetryAfter::Unsaid,
        Some(entry) => match entry.value {
            Value::Bool(false) => RetryAfter::Unsaid,
            ref value => {
                let seconds = value.as_u64().and_then(|n| u32::try_from(n).ok());
                let text = "`retry_after` must be a number of seconds, or false";
                RetryAfter::Seconds(seconds.ok_or_else(|| wrong(entry.line, text))?)
            }
        },
    };
    let should_retry = match given.take("should_retry") {
        None => None,
        Some(entry) => {
            let text = "`should_retry` must be true or false";
            Some(
                entry
                    .value
                    .as_bool()
                    .ok_or_else(|| wrong(entry.line, text))?,
            )
        }
    };
    Ok(Refusal {
        kind,
        retry_after,
        should_retry,
    })
}

fn endpoint(
    given: &mut Given,
    effect: &Effect,
    line: Option<usize>,
) -> Result<Option<Endpoint>, BadRules> {
    let named = match given.take("endpoint") {
        None => None,
        Some(entry) => {
            let name = entry.text()?;
            let found = Endpoint::ALL.iter().find(|e| e.name() == name).copied();
            if found.is_none() && name != "any" {
                let mut names = Endpoint::ALL.map(Endpoint::name).to_vec();
                names.push("any");
                return Err(entry.not_one_of(name, &names));
            }
            found
        }
    };
    let (only, what) = match effect {
        Effect::Hidden(_) => (Endpoint::Create, "`hidden` is about created batches"),
        Effect::Truncated(_) => (
            Endpoint::Results,
            "`truncated` is about downloads of results",
        ),
        Effect::Reordered => (
            Endpoint::Results,
            "`reordered_lines` is about downloads of results",
        ),
        Effect::Decides(Fault::Stream(_)) => {
            (Endpoint::Messages, "a stream is an answer of Messages")
        }
        _ => return Ok(named),
    };
    if named.is_some_and(|endpoint| endpoint != only) {
        let text = format!("{what}: endpoint = \"{}\"", only.name());
        return Err(wrong(line, &text));
    }
    Ok(Some(only))
}

fn occasion(given: &mut Given) -> Result<Occasion, BadRules> {
    let mut found: Option<(&str, Option<usize>, Occasion)> = None;
    for key in ["p", "nth", "every", "first"] {
        let Some(entry) = given.take(key) else {
            continue;
        };
        if let Some((other, ..)) = found {
            let text = format!("`{key}` and `{other}` contradict each other");
            return Err(wrong(entry.line, &text));
        }
        let count = || {
            let text = format!("`{key}` must be a whole number of at least 1");
            let number = entry.value.as_u64().filter(|&n| n > 0);
            number.ok_or_else(|| wrong(entry.line, &text))
        };
        let occasion = match key {
            "p" => {
                let p = entry.value.as_f64().filter(|p| (0.0..=1.0).contains(p));
                let text = "`p` must be a probability from 0 to 1";
                Occasion::Chance(p.ok_or_else(|| wrong(entry.line, text))?)
            }
            "nth" => Occasion::Nth(count()?),
            "every" => Occasion::Every(count()?),
            _ => Occasion::First(count()?),
        };
        found = Some((key, entry.line, occasion));
    }
    Ok(found.map_or(Occasion::Always, |(_, _, occasion)| occasion))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (plan, wanted) in [
            ("sed = 1", "line 1: unknown key `sed`; did you mean `seed`?"),
            (
                "[[rule]]\nstatus = 529\nprobability = 0.1",
                "line 3: unknown key `probability`; known here are",
            ),
            (
                "[[rule]]\n\nefect = 'slow'",
                "line 3: a rule needs an `effect`, or a `status`",
            ),
            (
                "[[rule]]\neffect = 'reset_afer_accept'",
                "line 2: unknown effect \"reset_afer_accept\"; did you mean \"reset_after_accept\"?",
            ),
            (
                "[[rule]]\nstatus = 418",
                "line 2: no error of the API has status 418",
            ),
            (
                "[[rule]]\nstatus = 500\nendpoint = 'mesages'",
                "line 3: unknown endpoint \"mesages\"; did you mean \"messages\"?",
            ),
            (
                "[[rule]]\nstatus = 500\nnth = 1\nevery = 2",
                "line 4: `every` and `nth` contradict each other",
            ),
            (
                "[[rule]]\nstatus = 500\np = 2",
                "line 3: `p` must be a probability from 0 to 1",
            ),
            (
                "[[rule]]\nstatus = 500\nms = 2",
                "line 3: `ms` does not go with the effect `status`",
            ),
            (
                "[[rule]]\neffect = 'hidden'",
                "line 2: `hidden` needs `seconds`",
            ),
            (
                "[[rule]]\neffect = 'hidden'\nseconds = 1\nendpoint = 'list'",
                "line 2: `hidden` is about created batches",
            ),
            (
                "[[rule]]\neffect = 'row_expired'\nkey = 'x'",
                "line 3: `key` does not go with `row_expired`",
            ),
            (
                "[[rule]]\nstatus = 500\nafter = 'noon'",
                "line 3: `after` must be an instant",
            ),
            (
                "preset = 'ruogh'",
                "line 1: unknown preset \"ruogh\"; did you mean \"rough\"?",
            ),
            ("[[rule]\n", "line 1: not valid TOML"),
            ("rule = 5", "line 1: `rule` must be a list of tables"),
            ("seed = [1]", "line 1: `seed` must be a whole number"),
            (
                "rules = [1]",
                "line 1: unknown key `rules`; did you mean `rule`?",
            ),
        ] {
            let error = Faults::parse(plan).unwrap_err().to_string();
            assert!(error.starts_with(wanted), "{plan}\n{error}");
        }
    }

    #[test]
    fn toml_and_json_say_the_same() {
        let toml = "seed = 3\n[[rule]]\nstatus = 429\nretry_after = false\nafter = 5\n[[rule]]\neffect = 'truncated'\nbyte = 99\n";
        let json = br#"{"seed":3,"rule":[{"status":429,"retry_after":false,"after":5},{"effect":"truncated","byte":99}]}"#;
        assert_eq!(
            Faults::parse(toml).unwrap(),
            Faults::from_json(json).unwrap()
        );
        assert!(
            Faults::from_json(br#"{"rules":[]}"#)
                .unwrap_err()
                .to_string()
                .contains("`rule`")
        );
    }
}
