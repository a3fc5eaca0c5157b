//! Whether a request can be sent, and what it is to the planner: model, levels, worst case.
//!
//! Checks what would make every try fail or cost without bound. Leaves out what only the upstream
//! can judge, such as the content of messages.

use std::collections::HashMap;
use std::sync::Arc;

use offpeak_core::price::{Book, Ceiling, Lane, PriceError, Status};
use offpeak_core::units::Timestamp;
use offpeak_wire::limits::{MAX_BATCH_BYTES, MAX_MESSAGES_BYTES};
use offpeak_wire::request::{MaxTokens, RequestView, Section, Ttl};

use super::error::ProblemKind;
use super::levels::{Leveler, Path};
use crate::spec::{JobSpec, Need};

/// Bytes of a batch body around a single request, cache mark included; generously.
const ENVELOPE_MAX: u64 = 1024;

/// Tokens that an image can come to whatever its bytes are (Anthropic docs, vision: at most 4,784 on
/// the models that see most).
const IMAGE_TOKENS_MAX: u64 = 5_000;

/// Output tokens of a batch row under the beta below (Anthropic docs, batch processing).
const LONG_OUTPUT: u64 = 300_000;
const LONG_OUTPUT_BETA: &str = "output-300k-";

/// What is known of a valid request.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) model: Arc<str>,
    pub(super) max_tokens: u32,
    /// Picodollars, on the sync lane.
    pub(super) worst: u64,
    pub(super) path: Path,
    pub(super) caller_marked: bool,
    pub(super) has_tools: bool,
    pub(super) geo_pinned: bool,
    pub(super) unbounded: Option<&'static str>,
}

/// What the settings of a job have to say about every request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) book: &'a Book,
    pub(super) now: Timestamp,
    /// Rows may travel in a batch.
    pub(super) batch: bool,
    pub(super) long_output: bool,
}

impl<'a> Rules<'a> {
    pub(super) fn of(spec: &JobSpec, book: &'a Book, now: Timestamp) -> Self {
        let batch = spec.need != Need::Seconds && !spec.zero_data_retention;
        let long_output = batch
            && spec
                .betas
                .iter()
                .any(|beta| beta.starts_with(LONG_OUTPUT_BETA));
        Self {
            book,
            now,
            batch,
            long_output,
        }
    }

    /// Bytes of the longest request.
    pub(super) fn request_max(&self) -> u64 {
        if self.batch {
            MAX_BATCH_BYTES - ENVELOPE_MAX
        } else {
            MAX_MESSAGES_BYTES - ENVELOPE_MAX
        }
    }

    /// Most tokens that a request can ask for, of a model that answers with at most so many.
    pub(super) fn output_max(&self, of_model: Option<u64>) -> u64 {
        let max = of_model.unwrap_or_else(|| u32::MAX.into());
        if self.long_output {
            max.max(LONG_OUTPUT)
        } else {
            max
        }
    }

    pub(super) fn fits(&self, request_len: u64) -> Result<(), ProblemKind> {
        if request_len <= self.request_max() {
            return Ok(());
        }
        let max = if self.batch {
            MAX_BATCH_BYTES
        } else {
            MAX_MESSAGES_BYTES
        };
        Err(ProblemKind::TooLong {
            bytes: request_len,
            max,
        })
    }

    /// Most that a request can cost on the sync lane, with an hour's cache write; picodollars.
    pub(super) fn worst(&self, model: &str, ceiling: &Ceiling) -> Result<u64, ProblemKind> {
        let worst = self
            .book
            .worst_case(self.now, Lane::Sync, model, ceiling)
            .map_err(ProblemKind::Model)?;
        Ok(u64::try_from(worst.pico()).unwrap_or(u64::MAX))
    }
}

/// Checks requests; remembers the last one, with which the next has most in common.
#[derive(Debug)]
pub(super) struct Checker<'a> {
    rules: Rules<'a>,
    models: HashMap<String, Result<Known, ProblemKind>>,
    leveler: Leveler,
}

/// A model that can be used.
#[derive(Debug, Clone)]
struct Known {
    id: Arc<str>,
    max_output: Option<u64>,
}

impl<'a> Checker<'a> {
    pub(super) fn new(rules: Rules<'a>) -> Self {
        Self {
            rules,
            models: HashMap::new(),
            leveler: Leveler::default(),
        }
    }

    pub(super) fn rules(&self) -> &Rules<'a> {
        &self.rules
    }

    /// Checks a request.
    pub(super) fn check(&mut self, view: &RequestView<'_>) -> Result<Facts, ProblemKind> {
        let model = match (view.model(), view.member("model")) {
            (Some(model), _) => self.model(model)?,
            (None, None) => return Err(ProblemKind::MissingMember("model")),
            (None, Some(_)) => return Err(wrong_type("`model`", "a string")),
        };
        let max_tokens = self.max_tokens(view, &model)?;
        if view.member("messages").is_none() {
            return Err(ProblemKind::MissingMember("messages"));
        }
        if view.stream() == Some(true) {
            return Err(ProblemKind::Streams {
                batch: self.rules.batch,
            });
        }
        for name in ["speed", "fallbacks"] {
            if self.rules.batch && view.member(name).is_some_and(|value| value != b"null") {
                return Err(ProblemKind::NotInBatch(name));
            }
        }
        let request_len = view.bytes().len() as u64;
        self.rules.fits(request_len)?;

        let has_tools = view
            .blocks()
            .iter()
            .any(|block| block.section == Section::Tools);
        // Another model may answer, at prices that nobody asked about.
        let fallback = view.member("fallbacks").map(|_| "fallback model");
        let unbounded = view.unbounded_input().or(fallback);
        let ceiling = ceiling(view, has_tools, max_tokens);
        let worst = self.rules.worst(&model.id, &ceiling)?;
        let caller_marked = view.marks() > 0 || view.auto_cache();
        Ok(Facts {
            path: self.leveler.path(view, &model.id, caller_marked),
            caller_marked,
            model: model.id,
            max_tokens,
            worst,
            has_tools,
            geo_pinned: view.inference_geo().is_some(),
            unbounded,
        })
    }

    fn model(&mut self, id: &str) -> Result<Known, ProblemKind> {
        if let Some(known) = self.models.get(id) {
            return known.clone();
        }
        let known = self.look_up(id).map_err(ProblemKind::Model);
        self.models.insert(id.to_owned(), known.clone());
        known
    }

    fn look_up(&self, id: &str) -> Result<Known, PriceError> {
        let model = self.rules.book.model(id)?;
        if model.status == Status::Retired && model.retired_on.is_none() {
            let on = "an unknown day".to_owned();
            let (model, replacement) = (model.id.clone(), model.replacement.clone());
            return Err(PriceError::Retired {
                model,
                on,
                replacement,
            });
        }
        // Retirement and missing prices are found here, once.
        model.step_above(self.rules.now)?;
        if self.rules.batch && !model.batch {
            return Err(PriceError::NotBatchable {
                model: model.id.clone(),
            });
        }
        Ok(Known {
            id: model.id.as_str().into(),
            max_output: model.max_output,
        })
    }

    fn max_tokens(&self, view: &RequestView<'_>, model: &Known) -> Result<u32, ProblemKind> {
        let given = match view.max_tokens() {
            MaxTokens::Missing => return Err(ProblemKind::MaxTokensMissing),
            MaxTokens::NotAnInteger => return Err(ProblemKind::MaxTokensNotAnInteger),
            MaxTokens::Value(0) => return Err(ProblemKind::MaxTokensZero),
            MaxTokens::Value(given) => given,
        };
        let max = self.rules.output_max(model.max_output);
        u32::try_from(given)
            .ok()
            .filter(|_| given <= max)
            .ok_or_else(|| ProblemKind::MaxTokensAbove {
                given,
                max,
                model: model.id.to_string(),
            })
    }
}

pub(super) fn wrong_type(member: &str, wanted: &'static str) -> ProblemKind {
    ProblemKind::WrongType {
        member: member.to_owned(),
        wanted,
    }
}

/// What bounds the price of a request.
pub(super) fn ceiling(view: &RequestView<'_>, has_tools: bool, max_tokens: u32) -> Ceiling {
    let images = view.images() as u64;
    Ceiling {
        input_bytes: (view.bytes().len() as u64).saturating_add(images * IMAGE_TOKENS_MAX),
        max_tokens: max_tokens.into(),
        marked: Some(Ttl::OneHour),
        has_tools,
        global_pinned: view.inference_geo() == Some("global"),
        fast: view.member("speed") == Some(b"\"fast\""),
    }
}

/// The first 128 bits of a digest.
pub(super) fn first_16(digest: &blake3::Hash) -> [u8; 16] {
    *digest
        .as_bytes()
        .first_chunk()
        .expect("a digest has 32 bytes")
}
