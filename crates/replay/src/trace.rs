//! A trace: the calls that came, in order, each with its blocks and what it needed.
//!
//! One JSON object a line:
//! `{"t_ms":0,"model":"claude-sonnet-4-6","blocks":[["sys",4500,"system"],["q1",300,"suffix"]],`
//! `"out":200,"max_tokens":1000,"class":"deferrable","deadline_ms":28800000,"job":"nightly"}`.
//! Times count from the trace's beginning. A block's id stands for its content. `job` says that all
//! calls of that name are known when the first of them comes. Leaves out prices and sending.

use std::collections::HashMap;

use offpeak_core::gate::{Block, Role};
use offpeak_core::price::Book;
use offpeak_core::units::{Span, Timestamp, Tokens, Usd};
use serde_json::{Map, Value};

use crate::error::{TraceError, TraceErrorKind};
use crate::score::lanes;

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// When it came.
    pub at: Timestamp,
    /// Model id or alias.
    pub model: String,
    /// Its prompt.
    pub blocks: Vec<Block>,
    /// Generated tokens; no policy sees them.
    pub output: u32,
    /// The most that may be generated.
    pub max_tokens: u32,
    /// It may wait for a batch.
    pub deferrable: bool,
    /// When its answer is needed at the latest.
    pub deadline: Option<Timestamp>,
    /// The job it belongs to, by number.
    pub job: Option<usize>,
}

impl Call {
    /// All tokens of its prompt.
    #[must_use]
    pub fn prompt_tokens(&self) -> u64 {
        self.blocks
            .iter()
            .map(|block| u64::from(block.tokens))
            .sum()
    }
}

/// Calls in the order they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// The calls.
    pub calls: Vec<Call>,
    /// The names of the jobs.
    pub jobs: Vec<String>,
    /// The names of the blocks, by id.
    pub blocks: Vec<String>,
    /// The line of each call in its file, from 1; empty for a trace that was made.
    pub lines: Vec<usize>,
}

const FIELDS: [&str; 8] = [
    "t_ms",
    "model",
    "blocks",
    "out",
    "max_tokens",
    "class",
    "deadline_ms",
    "job",
];

impl Trace {
    /// Reads a trace; `file` is its name in errors. Every model must have a price at `prices_at`;
    /// with `as_model`, all calls are taken as calls to that one, whatever they say.
    ///
    /// # Errors
    ///
    /// At the first line that is wrong.
    pub fn parse(
        text: &str,
        file: &str,
        book: &Book,
        prices_at: Timestamp,
        as_model: Option<&str>,
    ) -> Result<Self, TraceError> {
        let mut reader = Reader {
            as_model,
            trace: Self::default(),
            sizes: HashMap::new(),
            jobs: HashMap::new(),
            book,
            prices_at,
        };
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let number = index + 1;
            reader
                .line(line, number)
                .map_err(|(field, kind)| TraceError {
                    file: file.to_owned(),
                    line: number,
                    field,
                    kind,
                })?;
        }
        if reader.trace.calls.is_empty() {
            return Err(TraceError {
                file: file.to_owned(),
                line: 0,
                field: String::new(),
                kind: TraceErrorKind::Empty,
            });
        }
        Ok(reader.trace)
    }

    /// Refuses a budget that would not pay for each call alone.
    ///
    /// # Errors
    ///
    /// At the dearest call, if the budget is below its worst case.
    pub fn check_budget(
        &self,
        budget: Usd,
        file: &str,
        book: &Book,
        prices_at: Timestamp,
    ) -> Result<(), TraceError> {
        let worst = |call: &Call| {
            let model = book.model(&call.model).ok()?;
            let long = model.step_above(prices_at).ok()?;
            let long = long.is_some_and(|above| call.prompt_tokens() > above);
            let rates = lanes(model, prices_at, long).ok()?.sync;
            let prompt = Tokens::new(call.prompt_tokens()).at_rate(rates.write_1h);
            Some(prompt + Tokens::new(call.max_tokens.into()).at_rate(rates.output))
        };
        let calls = self.calls.iter().enumerate();
        let dearest = calls
            .filter_map(|(number, call)| Some((worst(call)?, std::cmp::Reverse(number))))
            .max();
        match dearest {
            Some((worst, number)) if worst > budget => Err(TraceError {
                file: file.to_owned(),
                line: self.lines.get(number.0).copied().unwrap_or(0),
                field: "max_tokens".to_owned(),
                kind: TraceErrorKind::BudgetBelowCall { worst, budget },
            }),
            _ => Ok(()),
        }
    }

    /// The trace as JSON lines.
    #[must_use]
    pub fn to_jsonl(&self) -> String {
        let lines = self.calls.iter().map(|call| self.to_line(call));
        lines.collect()
    }

    fn to_line(&self, call: &Call) -> String {
        let quoted = |text: &str| Value::from(text).to_string();
        let millis = |at: Timestamp| at.as_micros() / 1_000;
        let block = |block: &Block| {
            let index = usize::try_from(block.id).unwrap_or(usize::MAX);
            let name = quoted(self.blocks.get(index).map_or("", String::as_str));
            match block.role {
                None => format!("[{name},{}]", block.tokens),
                Some(role) => format!("[{name},{},\"{}\"]", block.tokens, role.as_str()),
            }
        };
        let blocks: Vec<String> = call.blocks.iter().map(block).collect();
        let class = if call.deferrable {
            "deferrable"
        } else {
            "interactive"
        };
        let deadline = call.deadline.map(millis);
        let deadline = deadline.map_or_else(String::new, |at| format!(",\"deadline_ms\":{at}"));
        let job = call.job.and_then(|job| self.jobs.get(job));
        let job = job.map_or_else(String::new, |name| format!(",\"job\":{}", quoted(name)));
        format!(
            "{{\"t_ms\":{},\"model\":{},\"blocks\":[{}],\"out\":{},\"max_tokens\":{},\
             \"class\":\"{class}\"{deadline}{job}}}\n",
            millis(call.at),
            quoted(&call.model),
            blocks.join(","),
            call.output,
            call.max_tokens,
        )
    }
}

type Fault = (String, TraceErrorKind);

struct Reader<'a> {
    trace: Trace,
    /// Each block's id, tokens and the line it was first seen at.
    sizes: HashMap<String, (u64, u32, usize)>,
    jobs: HashMap<String, usize>,
    as_model: Option<&'a str>,
    book: &'a Book,
    prices_at: Timestamp,
}

impl Reader<'_> {
    fn line(&mut self, line: &str, number: usize) -> Result<(), Fault> {
        let not_json = |text: String| (String::new(), TraceErrorKind::NotJson(text));
        let value: Value = serde_json::from_str(line).map_err(|e| not_json(e.to_string()))?;
        let Value::Object(fields) = value else {
            return Err(not_json("it is another kind of value".to_owned()));
        };
        if let Some(unknown) = fields.keys().find(|key| !FIELDS.contains(&key.as_str())) {
            let near = |known: &&&str| strsim::jaro_winkler(known, unknown) > 0.8;
            let suggestion = FIELDS.iter().find(near).copied();
            let kind = TraceErrorKind::UnknownField { suggestion };
            return Err((unknown.clone(), kind));
        }
        let at = self.arrival(&fields)?;
        let model = self.model(&fields)?;
        let blocks = self.blocks(required(&fields, "blocks")?, number)?;
        let (output, max_tokens) = (count(&fields, "out")?, count(&fields, "max_tokens")?);
        if output > max_tokens {
            let kind = TraceErrorKind::TooLong {
                out: output,
                max_tokens,
            };
            return Err(("out".to_owned(), kind));
        }
        let deferrable = match required(&fields, "class")?.as_str() {
            Some("interactive") => false,
            Some("deferrable") => true,
            _ => return Err(wrong("class", "`interactive` or `deferrable`")),
        };
        let deadline = deadline(&fields, at)?;
        if deadline.is_some() && !deferrable {
            return Err(("deadline_ms".to_owned(), TraceErrorKind::Contradiction));
        }
        let job = self.job(&fields)?;
        self.trace.lines.push(number);
        self.trace.calls.push(Call {
            at: moment(at),
            model,
            blocks,
            output,
            max_tokens,
            deferrable,
            deadline: deadline.map(moment),
            job,
        });
        Ok(())
    }

    fn arrival(&self, fields: &Map<String, Value>) -> Result<i64, Fault> {
        let expected = "a whole number of milliseconds";
        let at = required(fields, "t_ms")?.as_i64();
        let at = at.ok_or_else(|| wrong("t_ms", expected))?;
        let fault = |kind| Err(("t_ms".to_owned(), kind));
        if at < 0 {
            return fault(TraceErrorKind::NegativeTime(at));
        }
        let before = self.trace.calls.last().map(|call| call.at);
        match before.map(|before| before.as_micros() / 1_000) {
            Some(before) if at < before => fault(TraceErrorKind::Backwards { at, before }),
            _ => Ok(at),
        }
    }

    fn model(&self, fields: &Map<String, Value>) -> Result<String, Fault> {
        let model = required(fields, "model")?.as_str();
        let model = model.ok_or_else(|| wrong("model", "a model's name"))?;
        if let Some(instead) = self.as_model {
            return Ok(instead.to_owned());
        }
        if self
            .trace
            .calls
            .last()
            .is_some_and(|call| call.model == model)
        {
            return Ok(model.to_owned());
        }
        let priced = self
            .book
            .model(model)
            .and_then(|m| m.step_above(self.prices_at));
        match priced {
            Ok(_) => Ok(model.to_owned()),
            Err(error) => {
                let kind = TraceErrorKind::Model(error.to_string());
                Err(("model".to_owned(), kind))
            }
        }
    }

    fn blocks(&mut self, value: &Value, line: usize) -> Result<Vec<Block>, Fault> {
        let expected = "a list of blocks like [\"id\", 4500] or [\"id\", 4500, \"system\"]";
        let list = value.as_array().filter(|list| !list.is_empty());
        let list = list.ok_or_else(|| wrong("blocks", expected))?;
        let block = |(index, value): (usize, &Value)| self.block(value, index, line);
        list.iter().enumerate().map(block).collect()
    }

    fn block(&mut self, value: &Value, index: usize, line: usize) -> Result<Block, Fault> {
        let field = format!("blocks[{index}]");
        let expected = "a block like [\"id\", 4500] or [\"id\", 4500, \"system\"]";
        let parts = value.as_array().map(Vec::as_slice);
        let (id, tokens, role) = match parts {
            Some([id, tokens]) => (id, tokens, None),
            Some([id, tokens, role]) => (id, tokens, Some(role)),
            _ => return Err(wrong(&field, expected)),
        };
        let name = match id {
            Value::String(name) => name.clone(),
            Value::Number(number) => number.to_string(),
            _ => return Err(wrong(&field, expected)),
        };
        let tokens = tokens.as_u64().and_then(|n| u32::try_from(n).ok());
        let tokens =
            tokens.ok_or_else(|| wrong(&field, "a block with a whole number of tokens"))?;
        let role = match role {
            None => None,
            Some(role) => {
                let known = Role::ALL.into_iter().find(|known| role == known.as_str());
                let expected = "a block whose role is tools, system, context, turn or suffix";
                Some(known.ok_or_else(|| wrong(&field, expected))?)
            }
        };
        let next = u64::try_from(self.sizes.len()).expect("a count fits u64");
        let (id, before, first) = match self.sizes.get(&name) {
            Some(&known) => known,
            None => {
                self.trace.blocks.push(name.clone());
                self.sizes.insert(name.clone(), (next, tokens, line));
                (next, tokens, line)
            }
        };
        if before != tokens {
            let kind = TraceErrorKind::Resized {
                id: name,
                tokens,
                before,
                line: first,
            };
            return Err((field, kind));
        }
        Ok(Block { id, tokens, role })
    }

    fn job(&mut self, fields: &Map<String, Value>) -> Result<Option<usize>, Fault> {
        let name = match fields.get("job") {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(name)) => name,
            Some(_) => return Err(wrong("job", "a job's name")),
        };
        if let Some(&known) = self.jobs.get(name) {
            return Ok(Some(known));
        }
        let number = self.trace.jobs.len();
        self.trace.jobs.push(name.clone());
        self.jobs.insert(name.clone(), number);
        Ok(Some(number))
    }
}

fn wrong(field: &str, expected: &'static str) -> Fault {
    (field.to_owned(), TraceErrorKind::Wrong { expected })
}

fn required<'v>(fields: &'v Map<String, Value>, name: &str) -> Result<&'v Value, Fault> {
    let missing = || (name.to_owned(), TraceErrorKind::Missing);
    fields.get(name).ok_or_else(missing)
}

fn count(fields: &Map<String, Value>, name: &str) -> Result<u32, Fault> {
    let number = required(fields, name)?.as_u64();
    let number = number.and_then(|n| u32::try_from(n).ok());
    number.ok_or_else(|| wrong(name, "a whole number of tokens"))
}

fn deadline(fields: &Map<String, Value>, at: i64) -> Result<Option<i64>, Fault> {
    let value = match fields.get("deadline_ms") {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value,
    };
    let deadline = value.as_i64();
    let deadline =
        deadline.ok_or_else(|| wrong("deadline_ms", "a whole number of milliseconds"))?;
    if deadline <= at {
        let kind = TraceErrorKind::LateAtOnce { deadline, at };
        return Err(("deadline_ms".to_owned(), kind));
    }
    Ok(Some(deadline))
}

fn moment(millis: i64) -> Timestamp {
    Timestamp::EPOCH + Span::from_millis(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"t_ms":5,"model":"claude-sonnet-4-6","blocks":[["a",4500,"system"],["q",30]],"out":20,"max_tokens":100,"class":"deferrable","deadline_ms":90,"job":"j"}"#;

    fn parse(text: &str) -> Result<Trace, TraceError> {
        let book = Book::embedded();
        let at = Timestamp::of_day(book.as_of()).unwrap();
        Trace::parse(text, "t.jsonl", book, at, None)
    }

    #[test]
    fn what_is_written_is_read_again() {
        let trace = parse(&format!("{LINE}\n\n{LINE}\n")).unwrap();
        assert_eq!(trace.calls.len(), 2);
        assert_eq!(trace.calls[0], trace.calls[1]);
        assert_eq!(trace.calls[0].blocks[0].role, Some(Role::System));
        assert_eq!(trace.to_jsonl(), format!("{LINE}\n{LINE}\n"));
        assert_eq!(trace.lines, [1, 3]);
        let again = parse(&trace.to_jsonl()).unwrap();
        assert_eq!((again.calls, again.lines), (trace.calls, vec![1, 2]));
    }

    #[test]
    fn each_fault_names_its_line_and_field() {
        let with = |from: &str, to: &str| format!("{LINE}\n{}\n", LINE.replacen(from, to, 1));
        let interactive = LINE.replacen("deferrable", "interactive", 1);
        let cases = [
            (
                with("\"t_ms\":5", "\"t_ms\":-5"),
                "t.jsonl:2: `t_ms`: -5 is before",
            ),
            (
                with("\"t_ms\":5", "\"t_ms\":4"),
                "t.jsonl:2: `t_ms`: 4 comes after a call at 5",
            ),
            (with("\"t_ms\":5,", ""), "t.jsonl:2: `t_ms`: missing"),
            (
                with("\"out\":20", "\"out\":101"),
                "t.jsonl:2: `out`: the answer has 101",
            ),
            (
                with("\"deadline_ms\":90", "\"deadline_ms\":5"),
                "t.jsonl:2: `deadline_ms`: 5 is not",
            ),
            (
                with("deadline_ms", "deadline"),
                "t.jsonl:2: `deadline`: not a field",
            ),
            (
                with("30", "31"),
                "t.jsonl:2: `blocks[1]`: block `q` has 31 tokens, but had 30 at line 1",
            ),
            (with("4500", "-1"), "t.jsonl:2: `blocks[0]`: must be"),
            (with("system", "sys"), "t.jsonl:2: `blocks[0]`: must be"),
            (with("sonnet-4-6", "sonet-4-6"), "t.jsonl:2: `model`: "),
            (with("deferrable", "soon"), "t.jsonl:2: `class`: must be"),
            (interactive, "t.jsonl:1: `deadline_ms`: an interactive call"),
            ("[1]".to_owned(), "t.jsonl:1: not a JSON object"),
            (String::new(), "t.jsonl: there are no calls"),
        ];
        for (text, expected) in cases {
            let error = parse(&text).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{error}");
            assert!(!error.hint().is_empty());
        }
    }
}
