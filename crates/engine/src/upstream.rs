//! The upstream as the engine sees it: each call made once, its answer put into the words of the
//! machine. Keeps the server's clock, which every answer tells.
//!
//! Leaves out retries and decisions (the machine) and files (`transfer`).

use std::sync::Mutex;

use offpeak_client::clock::Clock;
use offpeak_client::{Answer, Body, Bytes, Call, Client, SendError};
use offpeak_core::job::account::Account;
use offpeak_core::job::event::{DeleteAnswer, PollAnswer, Sent, SubmitAnswer};
use offpeak_core::job::mark::Mark;
use offpeak_core::job::speed::{Allowance, Limits};
use offpeak_core::units::{Span, Timestamp};
use offpeak_wire::batch::{BatchId, BatchObject, BatchPage};
use offpeak_wire::count::counted_tokens;
use offpeak_wire::error::{ErrorBody, ErrorKind};
use offpeak_wire::limits::{LimitTriple, RateLimitHeaders};
use offpeak_wire::result::ResultLine;
use offpeak_wire::sse::Decoder;
use offpeak_wire::stream::Assembly;

const BATCHES: &str = "/v1/messages/batches";

/// Most bytes of an answer that is not a results file or a message.
const SMALL: usize = 4 << 20;

/// Most bytes of a message: the documented limit of a request, and then some.
const MESSAGE_MAX: usize = 64 << 20;

/// Most bytes of a stream: its events say everything once more, and in small pieces.
const STREAM_MAX: usize = 8 * MESSAGE_MAX;

/// Bytes of results that are read to find out whose batch it is, if need be.
const OWNER_WITHIN: usize = 1 << 20;

/// Batches in one page of a listing.
const PAGE: usize = 100;

/// How far back `date` may lie behind the moment that it was written at: whole seconds, and the
/// time that the answer took.
const DATE_SLACK: Span = Span::from_secs(60);

/// A failed call.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The error, if it was one of the API's.
    pub(crate) kind: Option<ErrorKind>,
    /// In words.
    pub(crate) message: String,
    /// When to try again, if the server said so.
    pub(crate) retry_after: Option<Span>,
}

/// A complete answer to a synchronous call.
#[derive(Debug)]
pub(crate) struct SyncAnswer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    pub(crate) retry_after: Option<Span>,
    pub(crate) limits: Limits,
}

/// The upstream.
#[derive(Debug)]
pub(crate) struct Upstream {
    client: Client,
    betas: Vec<String>,
    clock: Clock,
    /// Server time minus our time, from the newest answer.
    ahead: Mutex<Option<Span>>,
    /// The account, once an answer named it.
    workspace: Mutex<Option<String>>,
    /// The newest failure that nobody has told yet.
    trouble: Mutex<Option<String>>,
}

impl Upstream {
    pub(crate) fn new(client: Client, betas: Vec<String>, clock: Clock) -> Self {
        Self {
            client,
            betas,
            clock,
            ahead: Mutex::new(None),
            workspace: Mutex::new(None),
            trouble: Mutex::new(None),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.clock.now())
    }

    /// A time on the server's clock that is certainly not later than now.
    pub(crate) fn server_not_before(&self) -> Timestamp {
        // A server that never told its time may be behind ours by more than any clock should be.
        let unknown = Span::from_secs(-600);
        let ahead = self
            .ahead
            .lock()
            .expect("nothing panics in here")
            .unwrap_or(unknown);
        self.now() + ahead - DATE_SLACK
    }

    /// The server's time, as of its newest answer.
    pub(crate) fn server_now(&self) -> Option<Timestamp> {
        let ahead = *self.ahead.lock().expect("nothing panics in here");
        ahead.map(|ahead| self.now() + ahead)
    }

    /// The account of the key, as far as the answers so far tell.
    pub(crate) fn account(&self) -> Account {
        let workspace = self.workspace.lock().expect("nothing panics in here");
        Account {
            key: self.client.key_digest().to_owned(),
            workspace: workspace.clone(),
        }
    }

    async fn send(&self, call: Call) -> Result<Answer, SendError> {
        let answer = match self.client.send(call).await {
            Ok(answer) => answer,
            Err(error) => {
                self.note_trouble(root_cause(&error));
                return Err(error);
            }
        };
        if matches!(answer.status, 429 | 500..) {
            self.note_trouble(format!("it answers with status {}", answer.status));
        }
        if let Some(workspace) = workspace(&answer) {
            *self.workspace.lock().expect("nothing panics in here") = Some(workspace);
        }
        if let Some(date) = answer.server_date_micros() {
            let ahead = Timestamp::from_micros(date) - self.now();
            *self.ahead.lock().expect("nothing panics in here") = Some(ahead);
        }
        Ok(answer)
    }

    pub(crate) fn note_trouble(&self, message: String) {
        *self.trouble.lock().expect("nothing panics in here") = Some(message);
    }

    /// What went wrong since the last time somebody asked.
    pub(crate) fn take_trouble(&self) -> Option<String> {
        self.trouble.lock().expect("nothing panics in here").take()
    }

    /// What an answer of 200 says.
    pub(crate) async fn get(&self, path: String) -> Result<Bytes, Failure> {
        let answer = self.send(Call::get(path)).await.map_err(transport)?;
        let (status, retry_after) = (answer.status, retry_after(&answer));
        let body = answer.body.collect(SMALL).await.map_err(transport)?;
        if status == 200 {
            Ok(body)
        } else {
            Err(api(status, &body, retry_after))
        }
    }

    // ---- batches ------------------------------------------------------------------------------

    /// Creates a batch: one attempt, never repeated in here.
    pub(crate) async fn create(&self, body: Body) -> SubmitAnswer {
        let mut call = Call::post(BATCHES, body);
        call.betas.clone_from(&self.betas);
        let answer = match self.send(call).await {
            Ok(answer) => answer,
            Err(error) => {
                return SubmitAnswer::Lost {
                    sent: sent(error.sent),
                };
            }
        };
        let (status, retry_after) = (answer.status, retry_after(&answer));
        // An answer may come before the body is through; then it was not acted on.
        let sent = sent(answer.body.stop_upload());
        let lost = SubmitAnswer::Lost { sent };
        let Ok(body) = answer.body.collect(SMALL).await else {
            // Refusals are told by the status alone.
            return match status {
                400..=499 if status != 408 => refused(status, b"", retry_after),
                _ => lost,
            };
        };
        match status {
            200 => accepted(&body).unwrap_or(lost),
            408 | 500.. => lost,
            _ => refused(status, &body, retry_after),
        }
    }

    pub(crate) async fn poll(&self, batch: &BatchId) -> PollAnswer {
        let answer = match self.send(Call::get(format!("{BATCHES}/{batch}"))).await {
            Ok(answer) => answer,
            Err(error) => return poll_failed(transport(error)),
        };
        let (status, retry_after) = (answer.status, retry_after(&answer));
        match answer.body.collect(SMALL).await {
            Ok(body) if status == 200 => match BatchObject::parse(&body) {
                Ok(object) => PollAnswer::Status {
                    status: object.status,
                    retry_after,
                },
                Err(error) => {
                    let message = error.to_string();
                    PollAnswer::Failed {
                        kind: None,
                        message,
                        retry_after,
                    }
                }
            },
            Ok(_) if status == 404 => PollAnswer::NotFound,
            Ok(body) => poll_failed(api(status, &body, retry_after)),
            Err(error) => poll_failed(transport(error)),
        }
    }

    /// Whether the upstream says that it has thrown the results of a batch away.
    pub(crate) async fn is_archived(&self, batch: &BatchId) -> bool {
        let body = self.get(format!("{BATCHES}/{batch}")).await;
        let object = body.ok().and_then(|body| BatchObject::parse(&body).ok());
        object.is_some_and(|object| object.archived_at.is_some())
    }

    /// Asks for a cancel; whether it was taken.
    pub(crate) async fn cancel(&self, batch: &BatchId) -> bool {
        let call = Call::post(format!("{BATCHES}/{batch}/cancel"), Body::Empty);
        match self.send(call).await {
            Ok(answer) => {
                let taken = answer.status == 200;
                // The body says nothing that the next poll does not; reading it frees the connection.
                drop(answer.body.collect(SMALL).await);
                taken
            }
            Err(_) => false,
        }
    }

    /// Deletes a batch that has ended, with everything that the upstream keeps of it.
    pub(crate) async fn delete(&self, batch: &BatchId) -> DeleteAnswer {
        let answer = match self.send(Call::delete(format!("{BATCHES}/{batch}"))).await {
            Ok(answer) => answer,
            Err(error) => return delete_failed(transport(error)),
        };
        let (status, retry_after) = (answer.status, retry_after(&answer));
        // The status alone says it; the body says why, and reading it frees the connection.
        let body = answer.body.collect(SMALL).await.unwrap_or_default();
        match status {
            200 => DeleteAnswer::Deleted,
            404 => DeleteAnswer::NotFound,
            _ => delete_failed(api(status, &body, retry_after)),
        }
    }

    /// The batches created at `since` (server time) or later, newest first.
    pub(crate) async fn list(&self, since: Timestamp) -> Result<Vec<BatchObject>, Failure> {
        let mut found = Vec::new();
        let mut after: Option<BatchId> = None;
        loop {
            let cursor = after
                .map(|id| format!("&after_id={id}"))
                .unwrap_or_default();
            let body = self.get(format!("{BATCHES}?limit={PAGE}{cursor}")).await?;
            let page = BatchPage::parse(&body).map_err(|error| unreadable(&error))?;
            let (before, in_page) = (found.len(), page.data.len());
            // One whose time cannot be read may be the one that is looked for.
            let recent = |batch: &BatchObject| created_at(batch).is_none_or(|at| at >= since);
            found.extend(page.data.into_iter().filter(recent));
            let all_recent = found.len() - before == in_page;
            match page.last_id {
                Some(last) if page.has_more && all_recent => after = Some(last),
                _ => return Ok(found),
            }
        }
    }

    /// One small listing, for the server's clock.
    pub(crate) async fn knock(&self) -> Result<(), Failure> {
        self.get(format!("{BATCHES}?limit=1")).await.map(drop)
    }

    /// The mark that the results of an ended batch carry: `Ok(None)` if they are not ours. Of lines that
    /// cannot be read nobody knows whose they are: the first that can be read decides.
    pub(crate) async fn whose(&self, batch: &BatchId) -> Result<Option<Mark>, Failure> {
        let mut answer = self.results(batch).await?;
        let (mut line, mut read) = (Vec::new(), 0);
        while let Some(chunk) = answer.body.next().await {
            let chunk = chunk.map_err(transport)?;
            read += chunk.len();
            let mut pieces = chunk.split(|byte| *byte == b'\n').peekable();
            while let Some(piece) = pieces.next() {
                line.extend_from_slice(piece);
                if pieces.peek().is_none() {
                    break;
                }
                if let Some(id) = ResultLine::custom_id_of(&line) {
                    return Ok(Mark::parse(&id));
                }
                line.clear();
            }
            if read > OWNER_WITHIN {
                break;
            }
        }
        // A long first line is not read to its end: its id comes first.
        match ResultLine::custom_id_of(&line) {
            Some(id) => Ok(Mark::parse(&id)),
            None => Err(Failure {
                kind: None,
                message: format!("no line of the results of {batch} can be read"),
                retry_after: None,
            }),
        }
    }

    /// The results of an ended batch, to be streamed.
    pub(crate) async fn results(&self, batch: &BatchId) -> Result<Answer, Failure> {
        // Our own path, not `results_url`: behind a gateway that URL names another host.
        let answer = self
            .send(Call::get(format!("{BATCHES}/{batch}/results")))
            .await;
        let answer = answer.map_err(transport)?;
        if answer.status == 200 {
            return Ok(answer);
        }
        let (status, retry_after) = (answer.status, retry_after(&answer));
        let body = answer.body.collect(SMALL).await.map_err(transport)?;
        Err(api(status, &body, retry_after))
    }

    // ---- messages -----------------------------------------------------------------------------

    /// The tokens of a request, counted for free.
    pub(crate) async fn count(&self, body: Bytes) -> Result<u64, Failure> {
        let mut call = Call::post("/v1/messages/count_tokens", Body::Json(body));
        call.betas.clone_from(&self.betas);
        let answer = self.send(call).await.map_err(transport)?;
        let (status, retry_after) = (answer.status, retry_after(&answer));
        let body = answer.body.collect(SMALL).await.map_err(transport)?;
        if status != 200 {
            return Err(api(status, &body, retry_after));
        }
        counted_tokens(&body).map_err(|error| unreadable(&error))
    }

    /// One synchronous call: a complete answer, or how much of the request was handed over. One that is
    /// streamed is put together first; if its stream breaks off, the answer is lost like any other.
    pub(crate) async fn message(&self, request: Bytes) -> Result<SyncAnswer, Sent> {
        let mut call = Call::post("/v1/messages", Body::Json(request));
        call.betas.clone_from(&self.betas);
        let answer = self.send(call).await.map_err(|error| sent(error.sent))?;
        let (status, retry_after) = (answer.status, retry_after(&answer));
        let limits = limits(&RateLimitHeaders::from_pairs(answer.header_pairs()));
        let upload = sent(answer.body.stop_upload());
        let body = if status == 200 && is_stream(&answer) {
            put_together(answer).await
        } else {
            let body = answer.body.collect(MESSAGE_MAX).await;
            body.map_err(|error| root_cause(&error))
        };
        match body {
            Ok(body) => Ok(SyncAnswer {
                status,
                body,
                retry_after,
                limits,
            }),
            // An error is told by its status; a message without its end is lost.
            Err(_) if status >= 400 => Ok(SyncAnswer {
                status,
                body: Bytes::new(),
                retry_after,
                limits,
            }),
            Err(trouble) => {
                self.note_trouble(trouble);
                Err(upload)
            }
        }
    }
}

/// The message of a stream, read to its end; or why there is none.
async fn put_together(mut answer: Answer) -> Result<Bytes, String> {
    let (mut decoder, mut assembly) = (Decoder::with_limit(MESSAGE_MAX), Assembly::default());
    let (mut events, mut read) = (Vec::new(), 0);
    while let Some(chunk) = answer.body.next().await {
        let chunk = chunk.map_err(|error| root_cause(&error))?;
        read += chunk.len();
        if read > STREAM_MAX {
            return Err(format!("a stream of more than {STREAM_MAX} bytes"));
        }
        let decoded = decoder.push(&chunk, &mut events);
        decoded.map_err(|error| error.to_string())?;
        for event in events.drain(..) {
            let taken = assembly.push(&event.data);
            taken.map_err(|error| error.to_string())?;
        }
        // What the connection does after the message has come to its end is of no account.
        if assembly.is_complete() {
            break;
        }
    }
    let whole = assembly.finish();
    whole.map(Bytes::from).map_err(|error| error.to_string())
}

/// Server time of a batch's creation.
pub(crate) fn created_at(batch: &BatchObject) -> Option<Timestamp> {
    batch.created_at.parse().ok()
}

fn accepted(body: &[u8]) -> Option<SubmitAnswer> {
    let object = BatchObject::parse(body).ok()?;
    let created_at = created_at(&object)?;
    Some(SubmitAnswer::Accepted {
        batch: object.id,
        created_at,
    })
}

fn refused(status: u16, body: &[u8], retry_after: Option<Span>) -> SubmitAnswer {
    let error = ErrorBody::parse(status, body);
    SubmitAnswer::Refused {
        kind: error.kind,
        message: error.message,
        retry_after,
    }
}

fn poll_failed(failure: Failure) -> PollAnswer {
    let Failure {
        kind,
        message,
        retry_after,
    } = failure;
    PollAnswer::Failed {
        kind,
        message,
        retry_after,
    }
}

fn delete_failed(failure: Failure) -> DeleteAnswer {
    let Failure {
        kind,
        message,
        retry_after,
    } = failure;
    DeleteAnswer::Failed {
        kind,
        message,
        retry_after,
    }
}

fn api(status: u16, body: &[u8], retry_after: Option<Span>) -> Failure {
    let error = ErrorBody::parse(status, body);
    Failure {
        kind: Some(error.kind),
        message: error.message,
        retry_after,
    }
}

fn transport(error: SendError) -> Failure {
    Failure {
        kind: None,
        message: chain(&error),
        retry_after: None,
    }
}

pub(crate) fn unreadable(error: &dyn std::error::Error) -> Failure {
    Failure {
        kind: None,
        message: error.to_string(),
        retry_after: None,
    }
}

/// What a failed call comes down to, without the layers in between.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut root = error;
    while let Some(cause) = root.source() {
        root = cause;
    }
    root.to_string()
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}

/// Whether an answer comes as a stream of events.
fn is_stream(answer: &Answer) -> bool {
    let mut pairs = answer.header_pairs();
    pairs.any(|(name, value)| {
        name.eq_ignore_ascii_case("content-type") && value.starts_with("text/event-stream")
    })
}

fn retry_after(answer: &Answer) -> Option<Span> {
    let micros = answer.retry_after()?.as_micros();
    Some(Span::from_micros(
        i64::try_from(micros).unwrap_or(i64::MAX / 4),
    ))
}

/// Organization and workspace of the key, where the answer names both.
fn workspace(answer: &Answer) -> Option<String> {
    let of = |wanted: &str| {
        let mut pairs = answer.header_pairs();
        pairs
            .find(|(name, _)| *name == wanted)
            .map(|(_, value)| value.to_owned())
    };
    let (organization, workspace) = (
        of("anthropic-organization-id")?,
        of("anthropic-workspace-id")?,
    );
    Some(format!("{organization}/{workspace}"))
}

fn limits(told: &RateLimitHeaders) -> Limits {
    let allowance = |triple: &Option<LimitTriple>| {
        triple.as_ref().map(|triple| Allowance {
            limit: triple.limit,
            left: triple.remaining,
        })
    };
    Limits {
        requests: allowance(&told.requests),
        input_tokens: allowance(&told.input_tokens),
        output_tokens: allowance(&told.output_tokens),
    }
}

fn sent(sent: offpeak_client::Sent) -> Sent {
    match sent {
        offpeak_client::Sent::Nothing => Sent::Nothing,
        offpeak_client::Sent::Part => Sent::Part,
        offpeak_client::Sent::Whole => Sent::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_taken_from_its_own_headers() {
        let kinds = [
            ("requests", 10, 1),
            ("input-tokens", 20, 2),
            ("output-tokens", 30, 3),
            ("tokens", 40, 4),
        ];
        let mut headers = Vec::new();
        for (kind, limit, left) in kinds {
            let name = |what: &str| format!("anthropic-ratelimit-{kind}-{what}");
            headers.push((name("limit"), limit.to_string()));
            headers.push((name("remaining"), left.to_string()));
            headers.push((name("reset"), "2026-11-22T10:00:00Z".to_owned()));
        }
        let pairs = headers.iter();
        let pairs = pairs.map(|(name, value)| (name.as_str(), value.as_str()));
        let told = limits(&RateLimitHeaders::from_pairs(pairs));
        let of = |allowance: Option<Allowance>| {
            let allowance = allowance.unwrap();
            (allowance.limit, allowance.left)
        };
        assert_eq!(of(told.requests), (10, 1));
        assert_eq!(of(told.input_tokens), (20, 2));
        assert_eq!(of(told.output_tokens), (30, 3));
    }
}
