//! Owns reading the body of a create call: what is refused at once, and what waits to become an
//! errored row (live captures of the split: envelope and ids now, params later).

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashSet};
use std::hash::BuildHasherDefault;

use offpeak_wire::json;
use offpeak_wire::limits::{CUSTOM_ID_MAX, MAX_ROWS_PER_BATCH};
use offpeak_wire::request::RequestView;

use crate::answer::{Ask, Composed, Plan, compose};
use crate::bill::Lane;
use crate::book::Book;
use crate::cache::Split;
use crate::check::{self, Checked, Terms};
use crate::config::Config;
use crate::fault::RowFault;
use crate::http::{Problem, Request};
use crate::pick;
use crate::prompt::{Prompt, Realm};

use super::row::{Outcome, Row, Rows};

/// Where the client reaches the simulator, for absolute URLs.
#[derive(Debug)]
pub(crate) struct Origin(String);

impl Origin {
    pub(crate) fn of(request: &Request) -> Self {
        Self(request.header("host").unwrap_or("localhost").to_owned())
    }

    pub(super) fn results_url(&self, id: &str) -> String {
        format!("http://{}/v1/messages/batches/{id}/results", self.0)
    }
}

/// The rows of a batch that is about to be created.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    list: Vec<Row>,
    ids: String,
    problems: BTreeMap<u32, Problem>,
}

impl Draft {
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.list.len()).expect("at most 100,000 rows")
    }

    pub(super) fn into_rows(self, batch: u32, seed: u64) -> Rows {
        let Self {
            list,
            ids,
            problems,
        } = self;
        Rows {
            list,
            ids,
            problems,
            batch,
            seed,
        }
    }

    /// Reads a create body. `number` is the number the batch will have.
    pub(crate) fn read(
        body: &[u8],
        config: &Config,
        workspace: u64,
        number: u32,
        terms: Terms<'_>,
    ) -> Result<Self, Problem> {
        let requests = envelope(body)?;
        let mut seen: HashSet<&[u8], BuildHasherDefault<DefaultHasher>> = HashSet::default();
        let mut draft = Self::default();
        for (index, element) in pick::elements(requests).enumerate() {
            if index >= MAX_ROWS_PER_BATCH {
                let found = pick::elements(requests).count();
                return Err(Problem::invalid(format!(
                    "requests: List should have at most {MAX_ROWS_PER_BATCH} items after \
                     validation, not {found}"
                )));
            }
            let (custom_id, params) = row(index, element)?;
            if !seen.insert(custom_id.as_bytes()) {
                return Err(Problem::invalid(format!(
                    "requests: custom_id's must be unique within a batch. Duplicate custom_id \
                     found: {custom_id}"
                )));
            }
            let view = RequestView::parse(params).map_err(|_| {
                Problem::invalid(format!(
                    "requests.{index}.params: Input should be a valid dictionary"
                ))
            })?;
            draft.push(custom_id, &view, config, workspace, number, terms);
        }
        if draft.list.is_empty() {
            return Err(Problem::invalid(
                "requests: List should have at least 1 item after validation, not 0",
            ));
        }
        draft.ids.shrink_to_fit();
        draft.list.shrink_to_fit();
        Ok(draft)
    }

    fn push(
        &mut self,
        custom_id: &str,
        view: &RequestView<'_>,
        config: &Config,
        workspace: u64,
        number: u32,
        terms: Terms<'_>,
    ) {
        let index = self.len();
        self.ids.push_str(custom_id);
        let id_end = u32::try_from(self.ids.len()).expect("100,000 ids of 64 bytes");
        let mut row = Row {
            id_end,
            model: 0,
            outcome: Outcome::Invalid,
            us: false,
            split: Split::default(),
            plan: Plan::empty(),
            spots: None,
        };
        match answer(view, config, workspace, terms) {
            Err(problem) => {
                self.problems.insert(index, problem);
            }
            Ok((checked, prompt, plan)) => {
                let fault = config
                    .faults
                    .of_row(u64::from(number), u64::from(index), custom_id);
                row.model = checked.model;
                row.us = checked.us;
                if !plan.is_free() {
                    row.split.input = prompt.tokens;
                    row.spots = (!prompt.spots.is_empty()).then(|| prompt.spots.into_boxed_slice());
                }
                row.plan = plan;
                row.outcome = match fault {
                    None => Outcome::Pending,
                    Some(RowFault::ApiError) => Outcome::ApiError,
                    Some(RowFault::Overloaded) => Outcome::Overloaded,
                    Some(RowFault::Expired) => Outcome::Expired,
                    Some(RowFault::Refused(kind)) => {
                        let words = format!("The row was refused with {}.", kind.as_str());
                        self.problems.insert(index, Problem::new(kind, words));
                        Outcome::Invalid
                    }
                };
            }
        }
        self.list.push(row);
    }
}

/// What a row is answered, if it is.
fn answer(
    view: &RequestView<'_>,
    config: &Config,
    workspace: u64,
    terms: Terms<'_>,
) -> Result<(Checked, Prompt, Plan), Problem> {
    let checked = check::request(view, terms)?;
    let model = Book::embedded().model(checked.model);
    let realm = Realm {
        seed: config.seed,
        workspace,
        lane: Lane::Batch,
        model,
        rules: config.cache,
    };
    let prompt = Prompt::read(view, realm);
    check::window(&prompt, &checked, model)?;
    let ask = Ask {
        view,
        checked: &checked,
        model,
        prompt: &prompt,
    };
    // How fast an answer comes makes no difference to a batch.
    let Composed { plan, .. } = compose(ask, config)?;
    Ok((checked, prompt, plan))
}

/// The array of rows.
fn envelope(body: &[u8]) -> Result<&[u8], Problem> {
    if let Err(error) = json::validate(body) {
        return Err(Problem::invalid(format!(
            "The request body is not valid JSON: {error}"
        )));
    }
    let mut requests = None;
    for (key, value) in pick::members(body) {
        if key != b"requests" {
            let key = String::from_utf8_lossy(key);
            return Err(Problem::invalid(format!(
                "{key}: Extra inputs are not permitted"
            )));
        }
        requests = Some(value);
    }
    let requests = requests.ok_or_else(|| Problem::invalid("requests: Field required"))?;
    if requests.first() != Some(&b'[') {
        return Err(Problem::invalid("requests: Input should be a valid list"));
    }
    Ok(requests)
}

/// The `custom_id` and the params of one element.
fn row(index: usize, element: &[u8]) -> Result<(&str, &[u8]), Problem> {
    let wrong = |what: &str| Problem::invalid(format!("requests.{index}{what}"));
    if element.first() != Some(&b'{') {
        return Err(wrong(": Input should be a valid dictionary"));
    }
    let (mut custom_id, mut params) = (None, None);
    for (key, value) in pick::members(element) {
        match key {
            b"custom_id" => custom_id = Some(value),
            b"params" => params = Some(value),
            _ => {
                let key = String::from_utf8_lossy(key);
                return Err(wrong(&format!(".{key}: Extra inputs are not permitted")));
            }
        }
    }
    let custom_id = custom_id.ok_or_else(|| wrong(".custom_id: Field required"))?;
    let text = pick::text(custom_id);
    let text = text.ok_or_else(|| wrong(".custom_id: Input should be a valid string"))?;
    if text.chars().count() > CUSTOM_ID_MAX {
        return Err(wrong(&format!(
            ".custom_id: String should have at most {CUSTOM_ID_MAX} characters"
        )));
    }
    if text.is_empty() {
        return Err(wrong(".custom_id: String should have at least 1 character"));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    let std::borrow::Cow::Borrowed(text) = text else {
        // Escapes within an id: nobody's encoder writes them for these characters.
        return Err(pattern(index));
    };
    if !text.bytes().all(plain) {
        return Err(pattern(index));
    }
    let params = params.ok_or_else(|| wrong(".params: Field required"))?;
    Ok((text, params))
}

fn pattern(index: usize) -> Problem {
    Problem::invalid(format!(
        "requests.{index}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'"
    ))
}
