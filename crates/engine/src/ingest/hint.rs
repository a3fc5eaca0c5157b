//! What to type or change for each problem of a row, for people who meet it for the first time.

use offpeak_core::price::PriceError;

use super::error::{LooksLike, ProblemKind};

/// Columns that are listed before the list is cut.
const COLUMNS_MAX: usize = 12;

pub(super) fn hint(problem: &ProblemKind) -> String {
    match problem {
        ProblemKind::Json { looks_like, .. } => looks_like_hint(*looks_like).to_owned(),
        ProblemKind::NotUtf8 { .. } => {
            "convert the file: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW (or -f UTF-16; `file FILE` \
             guesses which)"
                .to_owned()
        }
        ProblemKind::DuplicateMember { name, .. } => {
            format!("keep one `{name}`; readers disagree about which of the two counts")
        }
        ProblemKind::TooDeep { .. } => "flatten the value".to_owned(),
        ProblemKind::WrongType { member, wanted } if member == "`custom_id`" => {
            format!("write {member} as {wanted}, in double quotes")
        }
        ProblemKind::WrongType { member, wanted } => format!("write {member} as {wanted}"),
        ProblemKind::UnknownMember(name) if name == "requests" => {
            "this is the body of a whole batch; take its rows out: jq -c '.requests[]' FILE > NEW"
                .to_owned()
        }
        ProblemKind::UnknownMember(name) if matches!(name.as_str(), "method" | "url" | "body") => {
            "this is another vendor's batch format; each row is {\"custom_id\": …, \"params\": {…}} \
             with the request in `params`"
                .to_owned()
        }
        ProblemKind::UnknownMember(name) => format!(
            "move `{name}` into `params` if it belongs to the request, else remove it; a table is \
             described by a job file"
        ),
        ProblemKind::MissingMember("params") => {
            "put the request into `params`: {\"custom_id\": \"a1\", \"params\": {\"model\": …, \
             \"max_tokens\": …, \"messages\": […]}}"
                .to_owned()
        }
        ProblemKind::MissingMember("custom_id") => {
            "give every row a name of its own: \"custom_id\": \"a1\"".to_owned()
        }
        ProblemKind::MissingMember("model") => {
            "name one, e.g. \"model\": \"claude-haiku-5-5\"; `offpeak prices` lists them".to_owned()
        }
        ProblemKind::MissingMember("messages") => {
            "add \"messages\": [{\"role\": \"user\", \"content\": \"…\"}]".to_owned()
        }
        ProblemKind::MissingMember(name) => format!("add `{name}`"),
        ProblemKind::MissingKey { column, empty: true, .. } => {
            format!("fill in `{column}`; every row needs a name of its own")
        }
        ProblemKind::MissingKey { columns, .. } => format!(
            "set `key` in the job file to a column that names the row; there are: {}",
            list(columns)
        ),
        ProblemKind::DuplicateKey { .. } => {
            "give each row a key of its own: answers are told apart by it".to_owned()
        }
        ProblemKind::Model(error) => model_hint(error),
        ProblemKind::MaxTokensMissing => {
            "add the most tokens that an answer may have, e.g. \"max_tokens\": 1024".to_owned()
        }
        ProblemKind::MaxTokensZero => {
            "set it to what an answer needs, e.g. \"max_tokens\": 1024; offpeak warms caches by \
             itself"
                .to_owned()
        }
        ProblemKind::MaxTokensNotAnInteger => {
            "write a number without quotes or fraction, e.g. \"max_tokens\": 1024".to_owned()
        }
        ProblemKind::MaxTokensAbove { max, .. } => format!("set `max_tokens` to {max} or less"),
        ProblemKind::Streams { .. } => "remove `stream` from the request".to_owned(),
        ProblemKind::NotInBatch(name) => {
            format!("remove `{name}`, or send the job at once with --needs seconds")
        }
        ProblemKind::TooLong { .. } => "split the row, or shorten what it quotes".to_owned(),
        ProblemKind::MissingVariable { columns, .. } => format!(
            "the row has: {}; for a column that only some rows have, write {{{{ name | default('') }}}}",
            list(columns)
        ),
        ProblemKind::Template { .. } => {
            "the syntax is Jinja's: {{ column }}, {% if column %}…{% endif %}".to_owned()
        }
        ProblemKind::NoRow { .. } => {
            "write {{ row }} where all fields of a row shall stand, as one JSON object, or leave \
             `reorder` out: fields that the template names one by one stay where it puts them"
                .to_owned()
        }
        ProblemKind::RowHidden => {
            "give the column another name, or leave `reorder` out".to_owned()
        }
        ProblemKind::EmptyMessage => {
            "put text around the columns, or leave the row out of the input".to_owned()
        }
        ProblemKind::Ragged { .. } => {
            "put fields that contain a comma, a quote or a line break in double quotes: \"a, b\""
                .to_owned()
        }
        ProblemKind::OpenQuote => {
            "close the field with a double quote; one inside a field is written twice: \"say \
             \"\"yes\"\"\""
                .to_owned()
        }
        ProblemKind::DuplicateColumn(name) => format!("rename one of the columns `{name}`"),
    }
}

/// The same for a problem of the settings in a job file.
pub(super) fn job_hint(problem: &ProblemKind) -> String {
    match problem {
        ProblemKind::DuplicateMember { name, .. } => {
            format!("remove `{name}` from [params]; it is set elsewhere in the job file")
        }
        ProblemKind::MaxTokensZero => {
            "set it to what an answer needs, e.g. max_tokens = 1024; offpeak warms caches by itself"
                .to_owned()
        }
        ProblemKind::Streams { .. } => "remove `stream` from [params]".to_owned(),
        ProblemKind::NotInBatch(name) => {
            format!("remove `{name}` from [params], or send the job at once with --needs seconds")
        }
        _ => hint(problem),
    }
}

fn model_hint(error: &PriceError) -> String {
    match error {
        PriceError::UnknownModel {
            suggestion: Some(name),
            ..
        } => {
            format!("write \"{name}\"; or {}", error.hint())
        }
        PriceError::NotBatchable { .. } => {
            "choose another model from `offpeak prices`, or send the job at once with --needs \
             seconds"
                .to_owned()
        }
        _ => error.hint(),
    }
}

fn looks_like_hint(looks_like: LooksLike) -> &'static str {
    match looks_like {
        LooksLike::Nothing => {
            "each line is one JSON object; `jq -c . FILE > NEW` says where the syntax breaks"
        }
        LooksLike::Array => {
            "the file is one JSON array; put each row on a line: jq -c '.[]' FILE > NEW"
        }
        LooksLike::Indented => {
            "the object goes on in the next line; put each row on one line: jq -c . FILE > NEW"
        }
        LooksLike::Table => {
            "this is not JSON; a CSV table needs a job file that says how its rows become requests"
        }
        LooksLike::Python => {
            "JSON has double quotes; this looks like a printed Python dict: write it with json.dumps"
        }
    }
}

fn list(columns: &[String]) -> String {
    let shown: Vec<_> = columns
        .iter()
        .take(COLUMNS_MAX)
        .map(|column| format!("`{column}`"))
        .collect();
    let mut text = if shown.is_empty() {
        "no columns".to_owned()
    } else {
        shown.join(", ")
    };
    if columns.len() > COLUMNS_MAX {
        text.push_str(&format!(" and {} more", columns.len() - COLUMNS_MAX));
    }
    text
}
