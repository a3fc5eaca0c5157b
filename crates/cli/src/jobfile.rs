//! The job file: a TOML document that says where the rows are, how a row becomes a request, when
//! the answers are needed and what they may cost. Paths in it are relative to it.
//!
//! Owns the keys of the document and the files that it names. Leaves out the options that overrule
//! it (`settings`) and the rows.

mod section;

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use offpeak_core::job::machine::OnUnknown;
use offpeak_core::units::{Span, Usd};
use offpeak_engine::spec::{
    FieldsIn, InputShape, Need, OnInvalid, Reuse, Source, TableFormat, Template,
};
use toml::de::DeTable;

use crate::error::ExpectedError;
use section::{Document, Places, Section, Text, TextOrFile};

pub(crate) use section::nearest;

/// Every key, by its table.
const KEYS: &Places = &[
    (
        "",
        &[
            "name",
            "input",
            "key",
            "output",
            "model",
            "max_tokens",
            "system",
            "user",
            "reorder",
            "betas",
            "on_invalid",
            "params",
            "latency",
            "limits",
            "reuse",
        ],
    ),
    ("latency", &["needs", "deadline"]),
    (
        "limits",
        &[
            "budget_usd",
            "soft_budget_usd",
            "zero_data_retention",
            "on_unknown",
            "delete_upstream",
            "priority",
            "keep",
        ],
    ),
    ("reuse", &["identical", "earlier_runs"]),
];

/// Request members that [params] must not have, and where they come from instead.
const NOT_PARAMS: &[(&str, &str)] = &[
    ("model", "set `model` at the top of the file"),
    ("max_tokens", "set `max_tokens` at the top of the file"),
    ("system", "set `system` at the top of the file"),
    (
        "messages",
        "the message of a row is rendered from `user`, at the top of the file",
    ),
    ("stream", "the answers of a job are not streamed"),
];

/// Keys that only a template gives a meaning to.
const TEMPLATE_KEYS: &[&str] = &["key", "max_tokens", "system", "reorder", "params"];

/// A job as its file describes it.
#[derive(Debug)]
pub(crate) struct JobFile {
    pub(crate) name: Option<String>,
    pub(crate) source: Source,
    pub(crate) output: Option<PathBuf>,
    pub(crate) betas: Vec<String>,
    pub(crate) need: Option<Need>,
    pub(crate) budget: Option<Usd>,
    pub(crate) soft_budget: Option<Usd>,
    pub(crate) zero_data_retention: bool,
    pub(crate) on_unknown: OnUnknown,
    pub(crate) delete_upstream: bool,
    pub(crate) priority: i16,
    pub(crate) kept_for: Option<Span>,
    pub(crate) on_invalid: Option<OnInvalid>,
    pub(crate) reuse: Reuse,
}

/// Reads a job file and the files with prompts that it names.
pub(crate) fn read(path: &Path) -> Result<JobFile, ExpectedError> {
    let bytes = read_file(path, || format!("{}", path.display()))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| {
        ExpectedError::usage(format!("{}: not UTF-8", path.display()))
            .hint("a job file is TOML; rows are named in it: input = \"rows.jsonl\"")
    })?;
    let mut job = understand(Document { path, text })?;
    job.source.files.insert(0, (path.to_owned(), bytes));
    Ok(job)
}

fn understand(document: Document<'_>) -> Result<JobFile, ExpectedError> {
    let root = DeTable::parse(document.text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        document
            .error(offset, &format!("not valid TOML: {}", error.message()))
            .hint("correct the TOML at that place")
    })?;
    let top = Section::top(document, root.get_ref());
    top.only(KEYS)?;
    let mut files = Vec::new();
    let Some(input) = top.text("input")? else {
        return Err(document
            .missing("input")
            .hint("name the rows: input = \"rows.jsonl\""));
    };
    let input = beside(document.path, input.text);
    let shape = shape(document, &top, &input, &mut files)?;
    let limits = top.section("limits")?;
    if let Some(limits) = &limits {
        limits.only(KEYS)?;
    }
    let flag = |key| match &limits {
        Some(limits) => Ok::<_, ExpectedError>(limits.flag(key)?.unwrap_or(false)),
        None => Ok(false),
    };
    Ok(JobFile {
        name: top.text("name")?.map(|name| name.text.to_owned()),
        source: Source {
            input,
            shape,
            files,
        },
        output: top
            .text("output")?
            .map(|output| beside(document.path, output.text)),
        betas: top.texts("betas")?,
        need: top
            .section("latency")?
            .map_or(Ok(None), |latency| need(&latency))?,
        budget: limits.as_ref().map_or(Ok(None), |l| l.usd("budget_usd"))?,
        soft_budget: limits
            .as_ref()
            .map_or(Ok(None), |l| l.usd("soft_budget_usd"))?,
        zero_data_retention: flag("zero_data_retention")?,
        on_unknown: limits.as_ref().map_or(Ok(OnUnknown::Wait), on_unknown)?,
        delete_upstream: flag("delete_upstream")?,
        priority: limits
            .as_ref()
            .map_or(Ok(None), |l| l.rank("priority"))?
            .unwrap_or(0),
        kept_for: limits.as_ref().map_or(Ok(None), kept_for)?,
        on_invalid: on_invalid(&top)?,
        reuse: match top.section("reuse")? {
            Some(section) => reuse(&section)?,
            None => Reuse::default(),
        },
    })
}

/// A template makes requests of rows; without one, the rows are requests already.
fn shape(
    document: Document<'_>,
    top: &Section<'_>,
    input: &Path,
    files: &mut Vec<(PathBuf, Vec<u8>)>,
) -> Result<InputShape, ExpectedError> {
    let (user, model) = (top.text_or_file("user")?, top.text("model")?);
    let (user, model) = match (user, model) {
        (None, None) => {
            return match TEMPLATE_KEYS.iter().find(|key| top.has(key)) {
                None => Ok(InputShape::Batch),
                Some(key) => Err(top
                    .error(
                        key,
                        "needs a template: without `user` and `model` the rows are requests",
                    )
                    .hint("add `model` and `user`, or remove it")),
            };
        }
        (Some(user), Some(model)) => (user, model.text.to_owned()),
        (Some(_), None) => {
            return Err(document
                .missing("model")
                .hint("name one: model = \"claude-haiku-5-5\"; `offpeak prices` lists them"));
        }
        (None, Some(_)) => {
            return Err(document.missing("user").hint(
                "say what a row asks: user = \"{{ text }}\", with the columns of the row in braces",
            ));
        }
    };
    let Some(key) = top.text("key")? else {
        return Err(document
            .missing("key")
            .hint("name the column that tells rows apart: key = \"id\""));
    };
    let Some(max_tokens) = top.count("max_tokens")? else {
        return Err(document
            .missing("max_tokens")
            .hint("add the most tokens that an answer may have: max_tokens = 1024"));
    };
    let (user, user_origin) = template(document, user, files)?;
    let system = match top.text_or_file("system")? {
        None => None,
        Some(system) => Some(template(document, system, files)?.0),
    };
    let template = Template {
        key: key.text.to_owned(),
        model,
        max_tokens,
        system,
        user,
        user_origin,
        fields: fields(top)?,
        params: params(top)?,
    };
    Ok(InputShape::Table {
        format: table_format(input)?,
        template,
    })
}

/// A prompt, with the file and line where it begins.
fn template(
    document: Document<'_>,
    text: TextOrFile<'_>,
    files: &mut Vec<(PathBuf, Vec<u8>)>,
) -> Result<(String, (PathBuf, usize)), ExpectedError> {
    match text {
        TextOrFile::Here(Text { text, offset }) => {
            let line = document.line(offset) + lines_before_text(&document.text[offset..]);
            Ok((text.to_owned(), (document.path.to_owned(), line)))
        }
        TextOrFile::File(Text { text, offset }) => {
            let path = beside(document.path, text);
            let place = document.line(offset);
            let bytes = read_file(&path, || {
                format!(
                    "{}, line {place}: {}",
                    document.path.display(),
                    path.display()
                )
            })?;
            let text = String::from_utf8(bytes.clone()).map_err(|_| {
                ExpectedError::usage(format!("{}: not UTF-8", path.display()))
                    .hint("convert the file: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW")
            })?;
            files.push((path.clone(), bytes));
            Ok((text, (path, 1)))
        }
    }
}

/// TOML drops a line break right after three opening quotes: the text begins a line below them.
fn lines_before_text(value: &str) -> usize {
    let opened = value
        .strip_prefix("\"\"\"")
        .or_else(|| value.strip_prefix("'''"));
    usize::from(opened.is_some_and(|rest| rest.starts_with('\n') || rest.starts_with("\r\n")))
}

fn fields(top: &Section<'_>) -> Result<FieldsIn, ExpectedError> {
    match top.text("reorder")?.map(|text| text.text) {
        None => Ok(FieldsIn::GivenOrder),
        Some("fields") => Ok(FieldsIn::SharedOrder),
        Some(_) => Err(top.error("reorder", "can only be \"fields\"").hint(
            "\"fields\" puts the fields of each row in the order in which rows begin alike; remove it \
             to keep the order of the columns",
        )),
    }
}

fn params(top: &Section<'_>) -> Result<Vec<(String, serde_json::Value)>, ExpectedError> {
    let Some(params) = top.section("params")? else {
        return Ok(Vec::new());
    };
    for (key, instead) in NOT_PARAMS {
        if params.has(key) {
            return Err(params.error(key, "does not belong here").hint(*instead));
        }
    }
    params.json_members()
}

fn table_format(input: &Path) -> Result<TableFormat, ExpectedError> {
    let extension = input
        .extension()
        .and_then(OsStr::to_str)
        .unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "csv" => Ok(TableFormat::Csv),
        "jsonl" | "ndjson" => Ok(TableFormat::Jsonl),
        _ => Err(ExpectedError::usage(format!(
            "{}: the format of the table cannot be told from its name",
            input.display()
        ))
        .hint("rename it to end in .jsonl (one JSON object a line) or .csv (with a header)")),
    }
}

fn need(latency: &Section<'_>) -> Result<Option<Need>, ExpectedError> {
    latency.only(KEYS)?;
    if latency.is_moment("deadline") {
        return Err(latency
            .error(
                "deadline",
                "is a moment; it must be a length of time, counted from the start of the job",
            )
            .hint("say how long the job may take: deadline = \"8h\""));
    }
    let (needs, deadline) = (latency.text("needs")?, latency.text("deadline")?);
    match (needs, deadline) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(latency
            .error("deadline", "and `latency.needs` contradict each other")
            .hint(
                "keep `needs = \"seconds\"` if somebody waits for each answer, else keep `deadline`",
            )),
        (Some(Text { text: "seconds", .. }), None) => Ok(Some(Need::Seconds)),
        (Some(_), None) => Err(latency
            .error("needs", "can only be \"seconds\"")
            .hint("for anything longer write a deadline, like deadline = \"8h\"")),
        (None, Some(Text { text: "none", .. })) => Ok(Some(Need::Whenever)),
        (None, Some(Text { text, .. })) => match text.parse::<Span>() {
            Ok(span) if span > Span::ZERO => Ok(Some(Need::Within(span))),
            Ok(_) => Err(latency
                .error("deadline", "must be longer than nothing")
                .hint("for no deadline write deadline = \"none\"")),
            Err(error) => Err(latency
                .error("deadline", &format!("cannot be read: {error}"))
                .hint("for no deadline write deadline = \"none\"")),
        },
    }
}

fn reuse(reuse: &Section<'_>) -> Result<Reuse, ExpectedError> {
    reuse.only(KEYS)?;
    let flag = |key| reuse.flag(key).map(Option::unwrap_or_default);
    Ok(Reuse {
        identical: flag("identical")?,
        earlier_runs: flag("earlier_runs")?,
    })
}

fn on_invalid(top: &Section<'_>) -> Result<Option<OnInvalid>, ExpectedError> {
    match top.text("on_invalid")?.map(|text| text.text) {
        None => Ok(None),
        Some("stop") => Ok(Some(OnInvalid::Stop)),
        Some("skip") => Ok(Some(OnInvalid::Skip)),
        Some(_) => Err(top
            .error("on_invalid", "must be \"stop\" or \"skip\"")
            .hint("\"stop\" sends nothing if a row is invalid; \"skip\" sends the other rows")),
    }
}

/// How long requests and answers stay here once the job has finished.
fn kept_for(limits: &Section<'_>) -> Result<Option<Span>, ExpectedError> {
    const HINT: &str = "\"none\" removes requests and answers when the job has finished, \"30d\" thirty \
                        days later; leave `keep` out to keep them until `offpeak purge`";
    match limits.text("keep")?.map(|text| text.text) {
        None => Ok(None),
        Some("none") => Ok(Some(Span::ZERO)),
        Some(text) => match text.parse::<Span>() {
            Ok(span) => Ok(Some(span)),
            Err(error) => Err(limits
                .error("keep", &format!("cannot be read: {error}"))
                .hint(HINT)),
        },
    }
}

fn on_unknown(limits: &Section<'_>) -> Result<OnUnknown, ExpectedError> {
    match limits.text("on_unknown")?.map(|text| text.text) {
        None | Some("wait") => Ok(OnUnknown::Wait),
        Some("deadline") => Ok(OnUnknown::Deadline),
        Some(_) => Err(limits
            .error("on_unknown", "must be \"wait\" or \"deadline\"")
            .hint(
                "\"wait\" pays no row twice, even if a batch that nobody can find makes the job late; \
                 \"deadline\" answers its rows by calls in time, which may pay them twice",
            )),
    }
}

fn read_file(path: &Path, name: impl Fn() -> String) -> Result<Vec<u8>, ExpectedError> {
    std::fs::read(path).map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::NotFound => "no such file".to_owned(),
            std::io::ErrorKind::PermissionDenied => "it may not be read".to_owned(),
            std::io::ErrorKind::IsADirectory => "it is a directory, not a file".to_owned(),
            _ => error.to_string(),
        };
        ExpectedError::usage(format!("{}: {why}", name()))
            .hint("check the name; paths in a job file are relative to that file")
    })
}

/// `path` as seen from the directory of `file`.
fn beside(file: &Path, path: &str) -> PathBuf {
    let dir = file.parent().unwrap_or_else(|| Path::new(""));
    shortened(&dir.join(path))
}

/// A path without the detours of its `..`, as people would write it, if it is the same place: with
/// symbolic links `a/..` need not be `.`.
fn shortened(path: &Path) -> PathBuf {
    let mut short = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(short.components().next_back(), Some(Component::Normal(_))) =>
            {
                short.pop();
            }
            _ => short.push(part),
        }
    }
    let detour: PathBuf = {
        let parts: Vec<_> = path.components().collect();
        let last = parts.iter().rposition(|part| *part == Component::ParentDir);
        parts[..last.map_or(0, |last| last + 1)].iter().collect()
    };
    let rest = path.strip_prefix(&detour).unwrap_or(path);
    let kept = short
        .components()
        .count()
        .saturating_sub(rest.components().count());
    let direct: PathBuf = short.components().take(kept).collect();
    let place = |path: &Path| {
        let here = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        here.canonicalize().ok()
    };
    match (place(&detour), place(&direct)) {
        (Some(one), Some(other)) if one == other => short,
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests;
