//! From the columns of a row to the text of its message, and from the settings of a job to what
//! stands around it.
//!
//! The template sees the columns it names and nothing else. Leaves out how columns are read
//! (`table`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::value::ValueKind;
use minijinja::value::{Enumerator, Object, ObjectRepr};
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value,
    escape_formatter,
};
use offpeak_core::price::Ceiling;
use offpeak_wire::request::{self as wire, RequestView};
use offpeak_wire::splice::MarkPoint;

use super::batch::{row_problem, write_string};
use super::check::{Checker, Facts, Rules, ceiling};
use super::error::{ProblemKind, RowProblem};
use super::fields::FieldPlan;
use super::levels::End;
use super::row_text::{Cell, ROW, RowText};
use crate::spec::{FieldsIn, Template};

/// Bytes that a block has at least, but for the last: some twenty tokens, below which the parts of the
/// request around it are more than what a cache saves.
const BLOCK_MIN: usize = 64;

/// What stands around the string of a text block.
const TEXT_BLOCK: (&[u8], &[u8]) = (b"{\"type\":\"text\",\"text\":", b"}");

const QUOTES: usize = 2;

/// Bytes that a text block is longer than its text.
pub(crate) const BLOCK_FRAMING: u64 = (TEXT_BLOCK.0.len() + TEXT_BLOCK.1.len() + QUOTES) as u64;

/// Ends of blocks that are looked at in a message. A mark is read up to 20 blocks further on (Anthropic
/// docs, prompt caching), and a mark in front of them all should be.
const BLOCKS_MAX: usize = 16;

/// The name under which the template is compiled; it has no file extension that would ask for HTML.
const NAME: &str = "user";

/// What is the same in all requests of a table job.
#[derive(Debug)]
pub(super) struct Shape {
    /// Everything before the message's text.
    pub(super) head: Vec<u8>,
    /// Everything after it.
    pub(super) tail: Vec<u8>,
    pub(super) facts: Facts,
    /// Of a request of this shape; only its length changes from row to row.
    pub(super) ceiling: Ceiling,
    /// Variables of the template, sorted.
    pub(super) variables: Arc<[String]>,
    /// The hash state behind the head.
    hasher: blake3::Hasher,
}

impl Shape {
    /// Writes head and tail, and checks them as a request with a text of one letter.
    pub(super) fn new(template: &Template, rules: Rules<'_>) -> Result<Self, Box<RowProblem>> {
        let (origin, line) = (template.user_origin.0.clone(), template.user_origin.1);
        let problem = |problem| Box::new(RowProblem::new(origin.clone(), 0, None, problem));
        let head = head(template);
        let tail = b"}]}".to_vec();
        let request = [&head[..], b"\"x\"", &tail].concat();
        let view =
            RequestView::parse(&request).map_err(|error| problem(row_problem(&request, &error)))?;
        let mut facts = Checker::new(rules).check(&view).map_err(problem)?;
        // The message is another one in each row.
        facts.path.end = None;
        let mut ceiling = ceiling(&view, facts.has_tools, facts.max_tokens);
        ceiling.input_bytes -= request.len() as u64;
        let environment = environment();
        let compiled = environment
            .template_from_named_str(NAME, &template.user)
            .map_err(|error| problem(template_problem(&error, line)))?;
        let built_in = |name: &String| environment.globals().any(|(global, _)| global == name);
        let variables = compiled.undeclared_variables(false).into_iter();
        let mut variables: Vec<_> = variables.filter(|name| !built_in(name)).collect();
        variables.sort_unstable();
        let writes_row = variables.iter().any(|name| name == ROW);
        if template.fields == FieldsIn::SharedOrder && !writes_row {
            return Err(problem(ProblemKind::NoRow { line }));
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&head);
        Ok(Self {
            head,
            tail,
            facts,
            ceiling,
            variables: variables.into(),
            hasher,
        })
    }

    /// Whether the template writes all columns, if none is called like that.
    pub(super) fn writes_row(&self) -> bool {
        self.variables.iter().any(|name| name == ROW)
    }

    /// The first 128 bits of the digest of the request with this between head and tail.
    pub(super) fn digest(&self, middle: &[u8]) -> [u8; 16] {
        let mut hasher = self.hasher.clone();
        hasher.update(middle).update(&self.tail);
        super::check::first_16(&hasher.finalize())
    }

    /// The end of the prompt with so many bytes, quotes included, between head and tail.
    pub(super) fn end(&self, middle: usize) -> Option<End> {
        if self.facts.caller_marked {
            return None;
        }
        let before = self.facts.path.levels.last().map_or(0, |level| level.bytes);
        Some(End {
            bytes: before + middle as u64 - 2,
            point: MarkPoint {
                start: u32::try_from(self.head.len()).ok()?,
                end: u32::try_from(self.head.len() + middle).ok()?,
                shape: wire::Shape::BareString,
            },
        })
    }

    /// Bytes of the request with so many between head and tail.
    pub(super) fn request_len(&self, middle: usize) -> u64 {
        (self.head.len() + middle + self.tail.len()) as u64
    }
}

/// Everything up to the message's text. The order of the members is part of a job's identity.
fn head(template: &Template) -> Vec<u8> {
    let mut out = b"{\"model\":".to_vec();
    write_string(&template.model, &mut out);
    out.extend_from_slice(format!(",\"max_tokens\":{}", template.max_tokens).as_bytes());
    if let Some(system) = &template.system {
        out.extend_from_slice(b",\"system\":");
        write_string(system, &mut out);
    }
    for (name, value) in &template.params {
        out.push(b',');
        write_string(name, &mut out);
        out.push(b':');
        serde_json::to_writer(&mut out, value).expect("a JSON value is written to a Vec");
    }
    out.extend_from_slice(b",\"messages\":[{\"role\":\"user\",\"content\":");
    out
}

/// Writes a value into the text: nothing for null, JSON for lists and objects.
fn write_value(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), Error> {
    if let Some(row) = value.downcast_object_ref::<RowText>() {
        return Ok(out.write_str(&row.json)?);
    }
    match value.kind() {
        ValueKind::None => Ok(()),
        ValueKind::Seq | ValueKind::Map => {
            let json = serde_json::to_string(value)
                .map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))?;
            Ok(out.write_str(&json)?)
        }
        _ => escape_formatter(out, state, value),
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_formatter(write_value);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
}

/// Renders rows.
#[derive(Debug)]
pub(super) struct Renderer<'a> {
    environment: Environment<'a>,
    shape: &'a Shape,
    fields: Option<&'a FieldPlan>,
    origin_line: usize,
}

/// What a message was written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// One string.
    Text,
    /// Several blocks, which rows may share the first of; with the bytes that this is longer.
    Blocks {
        /// Of the whole message.
        framing: u16,
    },
}

impl<'a> Renderer<'a> {
    /// Compiles the template, which [`Shape::new`] has found to be valid.
    pub(super) fn new(
        template: &'a Template,
        shape: &'a Shape,
        fields: Option<&'a FieldPlan>,
    ) -> Result<Self, ProblemKind> {
        let origin_line = template.user_origin.1;
        let mut environment = environment();
        environment
            .add_template(NAME, &template.user)
            .map_err(|error| template_problem(&error, origin_line))?;
        Ok(Self {
            environment,
            shape,
            fields,
            origin_line,
        })
    }

    /// The variables of the template, in the order in which [`Renderer::render`] takes their values.
    pub(super) fn variables(&self) -> &'a [String] {
        &self.shape.variables
    }

    /// Renders one row and appends the message's content. `values` are those of the variables, `None` for
    /// a column the row does not have; `columns` lists what it has.
    pub(super) fn render<'c>(
        &self,
        mut values: Vec<Option<Value>>,
        columns: impl Fn() -> Vec<(&'c str, Cell<'c>)>,
        out: &mut Vec<u8>,
    ) -> Result<Written, ProblemKind> {
        let mut row_text = None;
        if let Some(place) = self.shape.variables.iter().position(|name| name == ROW) {
            match (&values[place], self.fields) {
                (None, fields) => {
                    let text = RowText::write(&columns(), fields);
                    values[place] = Some(Value::from_dyn_object(Arc::clone(&text)));
                    row_text = Some(text);
                }
                (Some(_), Some(_)) => return Err(ProblemKind::RowHidden),
                (Some(_), None) => {}
            }
        }
        let template = self
            .environment
            .get_template(NAME)
            .expect("it was added when this was made");
        let row = Arc::new(Columns {
            names: Arc::clone(&self.shape.variables),
            values,
            missed: AtomicUsize::new(usize::MAX),
        });
        let text = template
            .render(Value::from_dyn_object(Arc::clone(&row)))
            .map_err(|error| {
                let missed = row.missed.load(Ordering::Relaxed);
                match (error.kind(), self.shape.variables.get(missed)) {
                    (ErrorKind::UndefinedError, Some(name)) => ProblemKind::MissingVariable {
                        name: name.clone(),
                        line: line_of(&error, self.origin_line),
                        columns: columns()
                            .iter()
                            .map(|(name, _)| (*name).to_owned())
                            .collect(),
                    },
                    _ => template_problem(&error, self.origin_line),
                }
            })?;
        if text.trim().is_empty() {
            return Err(ProblemKind::EmptyMessage);
        }
        let blocks = row_text.map_or_else(Vec::new, |row| blocks(&text, &row));
        if blocks.len() < 2 {
            write_string(&text, out);
            return Ok(Written::Text);
        }
        let (start, mut content) = (out.len(), 0);
        for (begins_with, block) in std::iter::once('[')
            .chain(std::iter::repeat(','))
            .zip(blocks)
        {
            out.extend_from_slice(begins_with.to_string().as_bytes());
            out.extend_from_slice(TEXT_BLOCK.0);
            let begun = out.len();
            write_string(block, out);
            content += out.len() - begun - QUOTES;
            out.extend_from_slice(TEXT_BLOCK.1);
        }
        out.push(b']');
        let framing = out.len() - start - content - QUOTES;
        let framing = u16::try_from(framing).expect("blocks are few");
        Ok(Written::Blocks { framing })
    }
}

/// Blocks of a message that end where rows stop sharing their beginning: in front of the row, and within
/// it. Cache entries end with blocks, so what is shared by some must not stand in one block with the rest.
fn blocks<'t>(text: &'t str, row: &RowText) -> Vec<&'t str> {
    let mut blocks = Vec::new();
    let mut rest = text;
    // Not there as it is if the template has changed it.
    let start = text.find(&row.json).filter(|_| !row.cuts.is_empty());
    let ends = start.into_iter().flat_map(|start| {
        let cuts = row.cuts.iter().map(move |cut| start + cut);
        std::iter::once(start).chain(cuts)
    });
    for end in ends.take(BLOCKS_MAX) {
        let (block, behind) = rest.split_at(end - (text.len() - rest.len()));
        if block.trim().len() >= BLOCK_MIN {
            blocks.push(block);
            rest = behind;
        }
    }
    blocks.push(rest);
    blocks
}

/// The line of the template's file at which it failed.
fn line_of(error: &Error, origin_line: usize) -> usize {
    origin_line + error.line().unwrap_or(1) - 1
}

fn template_problem(error: &Error, origin_line: usize) -> ProblemKind {
    let what = match error.detail() {
        Some(detail) => detail.to_owned(),
        None => error.kind().to_string(),
    };
    ProblemKind::Template {
        line: line_of(error, origin_line),
        what,
    }
}

/// The columns of a row that the template names.
#[derive(Debug)]
struct Columns {
    names: Arc<[String]>,
    values: Vec<Option<Value>>,
    /// The last one that was asked for and is not there.
    missed: AtomicUsize,
}

impl Object for Columns {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        let index = self.names.iter().position(|name| name == key)?;
        let value = self.values.get(index)?;
        if value.is_none() {
            self.missed.store(index, Ordering::Relaxed);
        }
        value.clone()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }
}
