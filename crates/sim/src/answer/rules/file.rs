//! Owns reading rules from TOML text: every refusal names the line and the key, and a key that
//! nobody knows is an error with a suggestion.

use offpeak_wire::error::ErrorKind;
use regex::Regex;
use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{AnswerRules, Failure, Rule, Says};
use crate::answer::Stop;

const RULE: &[&str] = &[
    "contains",
    "matches",
    "model",
    "text",
    "json",
    "tool",
    "error",
    "thinking",
    "stop_reason",
    "stop_sequence",
    "output_tokens",
    "first_token_ms",
    "tokens_per_second",
];

/// Why a text is no set of rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct AnswerRulesError {
    /// Where, counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: String,
    /// What to do about it.
    pub hint: Option<String>,
}

type Read<T> = Result<T, AnswerRulesError>;

pub(super) fn parse(text: &str) -> Read<AnswerRules> {
    let document = DeTable::parse(text).map_err(|error| AnswerRulesError {
        line: line(text, error.span().map_or(0, |span| span.start)),
        problem: error.message().to_owned(),
        hint: None,
    })?;
    let top = Section {
        text,
        name: "",
        offset: 0,
        table: document.get_ref(),
    };
    top.only(&["rule"])?;
    let Some(list) = top.table.get("rule") else {
        return Ok(AnswerRules::default());
    };
    let DeValue::Array(list) = list.get_ref() else {
        return Err(top.error("rule", "must be written as [[rule]]"));
    };
    let rule = |entry: &Spanned<DeValue<'_>>| match entry.get_ref() {
        DeValue::Table(table) => Section {
            text,
            name: "rule",
            offset: entry.span().start,
            table,
        }
        .rule(),
        _ => Err(top.error("rule", "must be written as [[rule]]")),
    };
    let rules = list.iter().map(rule).collect::<Read<_>>()?;
    Ok(AnswerRules { rules })
}

fn line(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or_default();
    before.iter().filter(|&&byte| byte == b'\n').count() + 1
}

/// One table of the text.
#[derive(Clone, Copy)]
struct Section<'a> {
    text: &'a str,
    name: &'static str,
    offset: usize,
    table: &'a DeTable<'a>,
}

impl<'a> Section<'a> {
    /// An error at a key, or at the table if it has none such.
    fn error(&self, key: &str, problem: &str) -> AnswerRulesError {
        let at = self.table.get_key_value(key);
        AnswerRulesError {
            line: line(
                self.text,
                at.map_or(self.offset, |(key, _)| key.span().start),
            ),
            problem: format!("`{key}` {problem}"),
            hint: None,
        }
    }

    fn only(&self, known: &[&str]) -> Read<()> {
        let unknown = self
            .table
            .keys()
            .filter(|key| !known.contains(&&**key.get_ref()));
        let Some(key) = unknown.min_by_key(|key| key.span().start) else {
            return Ok(());
        };
        let name: &str = key.get_ref();
        let near = known
            .iter()
            .map(|known| (strsim::damerau_levenshtein(name, known), known))
            .filter(|(distance, _)| *distance <= name.len() / 3 + 1)
            .min_by_key(|(distance, _)| *distance);
        let place = if self.name.is_empty() {
            "at the top".to_owned()
        } else {
            format!("in `{}`", self.name)
        };
        let mut error = self.error(name, &format!("is not known {place}"));
        error.hint = Some(match near {
            Some((_, near)) => format!("did you mean `{near}`?"),
            None => format!("known are {}", quoted(known)),
        });
        Err(error)
    }

    fn string(&self, key: &str) -> Read<Option<&'a str>> {
        match self.table.get(key).map(Spanned::get_ref) {
            None => Ok(None),
            Some(DeValue::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.error(key, "must be a string in quotes")),
        }
    }

    fn number<N: TryFrom<u32>>(&self, key: &str) -> Read<Option<N>> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        let number = match value.get_ref() {
            DeValue::Integer(n) => u32::from_str_radix(n.as_str(), n.radix()).ok(),
            _ => None,
        };
        number
            .and_then(|n| N::try_from(n).ok())
            .map(Some)
            .ok_or_else(|| self.error(key, "must be a whole number, 0 or more"))
    }

    fn table(&self, key: &'static str, known: &[&str]) -> Read<Option<Self>> {
        match self.table.get(key) {
            None => Ok(None),
            Some(value) => match value.get_ref() {
                DeValue::Table(table) => {
                    let section = Self {
                        name: key,
                        offset: value.span().start,
                        table,
                        ..*self
                    };
                    section.only(known)?;
                    Ok(Some(section))
                }
                _ => Err(self.error(key, "must be a table")),
            },
        }
    }

    fn needed(&self, key: &str) -> Read<&'a str> {
        let missing = || self.error(key, &format!("is missing in `{}`", self.name));
        self.string(key)?.ok_or_else(missing)
    }

    fn json(&self, key: &str) -> Read<Option<Value>> {
        match self.table.get(key) {
            None => Ok(None),
            Some(value) => json(value.get_ref()).map(Some).ok_or_else(|| {
                self.error(
                    key,
                    "cannot be written as JSON: dates need quotes, and infinities have none",
                )
            }),
        }
    }

    fn rule(&self) -> Read<Rule> {
        self.only(RULE)?;
        let matches = self.string("matches")?.map(|pattern| {
            Regex::new(pattern).map_err(|error| {
                self.error("matches", &format!("is no regular expression: {error}"))
            })
        });
        Ok(Rule {
            contains: self.string("contains")?.map(str::to_owned),
            matches: matches.transpose()?,
            model: self.string("model")?.map(str::to_owned),
            says: self.says()?,
            stop: self.stop()?,
            thinking: self.string("thinking")?.map(str::to_owned),
            output_tokens: self.number("output_tokens")?,
            first_token_ms: self.number("first_token_ms")?,
            tokens_per_second: self.number("tokens_per_second")?,
        })
    }

    fn says(&self) -> Read<Says> {
        let kinds = ["text", "json", "tool", "error"];
        let mut given = kinds.iter().filter(|key| self.table.contains_key(**key));
        if let (Some(first), Some(second)) = (given.next(), given.next()) {
            return Err(self.error(second, &format!("and `{first}` cannot both be the answer")));
        }
        if let Some(text) = self.string("text")? {
            return Ok(Says::Text(text.into()));
        }
        if let Some(value) = self.json("json")? {
            return Ok(Says::Text(value.to_string().into()));
        }
        if let Some(tool) = self.table("tool", &["name", "input"])? {
            let input = tool
                .json("input")?
                .unwrap_or_else(|| Value::Object(Map::new()));
            if !input.is_object() {
                return Err(tool.error("input", "must be a table"));
            }
            return Ok(Says::Tool {
                name: tool.needed("name")?.into(),
                input: input.to_string().into(),
            });
        }
        let Some(error) = self.table("error", &["type", "message", "status"])? else {
            return Ok(Says::Nothing);
        };
        let kind = ErrorKind::from_type(error.needed("type")?);
        let status = error.number::<u16>("status")?;
        if kind == ErrorKind::Unknown {
            return Err(error.error(
                "type",
                "is no error type of the API, e.g. `overloaded_error`",
            ));
        }
        if status.is_some_and(|status| !(400..=599).contains(&status)) {
            return Err(error.error("status", "must be from 400 to 599"));
        }
        Ok(Says::Error(Failure {
            kind,
            message: error.needed("message")?.to_owned(),
            status,
        }))
    }

    fn stop(&self) -> Read<Option<Stop>> {
        let sequence = self.string("stop_sequence")?;
        Ok(match (self.string("stop_reason")?, sequence) {
            (None | Some("stop_sequence"), Some(sequence)) => Some(Stop::Sequence(sequence.into())),
            (Some("stop_sequence"), None) => {
                return Err(self.error("stop_reason", "needs the `stop_sequence` that was met"));
            }
            (Some(_), Some(_)) => {
                return Err(self.error("stop_reason", "does not go with `stop_sequence`"));
            }
            (None, None) => None,
            (Some(name), None) => {
                let known = [
                    Stop::EndTurn,
                    Stop::MaxTokens,
                    Stop::ToolUse,
                    Stop::PauseTurn,
                    Stop::Refusal,
                    Stop::ContextWindow,
                ];
                let names: Vec<&str> = known.iter().map(Stop::as_str).collect();
                let stop = known.iter().find(|stop| stop.as_str() == name);
                let wrong =
                    || self.error("stop_reason", &format!("must be one of {}", quoted(&names)));
                Some(stop.cloned().ok_or_else(wrong)?)
            }
        })
    }
}

fn quoted(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// A TOML value as JSON; `None` for what JSON has no word for.
fn json(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(n) => Value::from(i64::from_str_radix(n.as_str(), n.radix()).ok()?),
        DeValue::Float(n) => Value::Number(Number::from_f64(n.as_str().parse().ok()?)?),
        DeValue::Boolean(flag) => Value::from(*flag),
        DeValue::Datetime(_) => return None,
        DeValue::Array(items) => {
            let items = items.iter().map(|item| json(item.get_ref()));
            Value::Array(items.collect::<Option<_>>()?)
        }
        DeValue::Table(table) => {
            let members = table.iter().map(|(key, value)| {
                Some((key.get_ref().clone().into_owned(), json(value.get_ref())?))
            });
            Value::Object(members.collect::<Option<_>>()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, line: usize, problem: &str, hint: Option<&str>) {
        let error = parse(text).unwrap_err();
        assert_eq!(
            (error.line, error.problem.as_str(), error.hint.as_deref()),
            (line, problem, hint)
        );
    }

    #[test]
    fn refusals_name_the_line_and_the_key() {
        let rule = |rest: &str| format!("[[rule]]\ncontains = \"a\"\n{rest}\n");
        refused(
            &rule("txt = \"b\""),
            3,
            "`txt` is not known in `rule`",
            Some("did you mean `text`?"),
        );
        refused(
            "[[rules]]\n",
            1,
            "`rules` is not known at the top",
            Some("did you mean `rule`?"),
        );
        refused(
            &rule("text = 7"),
            3,
            "`text` must be a string in quotes",
            None,
        );
        refused(
            &rule("text = \"a\"\njson = 1"),
            4,
            "`json` and `text` cannot both be the answer",
            None,
        );
        refused(
            &rule("tool = { input = {} }"),
            3,
            "`name` is missing in `tool`",
            None,
        );
        refused(
            &rule("error = { type = \"oops\", message = \"\" }"),
            3,
            "`type` is no error type of the API, e.g. `overloaded_error`",
            None,
        );
        refused(
            &rule("output_tokens = -1"),
            3,
            "`output_tokens` must be a whole number, 0 or more",
            None,
        );
        refused(
            &rule("stop_reason = \"stop_sequence\""),
            3,
            "`stop_reason` needs the `stop_sequence` that was met",
            None,
        );
        assert!(
            parse(&rule("matches = \"(\""))
                .unwrap_err()
                .problem
                .starts_with("`matches` is no regular expression")
        );
        assert_eq!(parse("[[rule]\n").unwrap_err().line, 1);
    }

    #[test]
    fn nothing_is_no_rule() {
        assert!(parse("").unwrap().is_empty());
    }
}
