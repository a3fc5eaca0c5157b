//! What came back: status, headers, and a body whose end is proved before it is believed.
//!
//! Leaves out what the bytes mean, except for the few headers that steer pace and time.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use http::Response;
use http::header::{DATE, HeaderMap, RETRY_AFTER, TRANSFER_ENCODING};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::error::{SendError, SendErrorKind};
use crate::send::broken;
use crate::sent::{Account, Sent};

/// An answer of any status. Redirects are answers too.
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: AnswerBody,
}

impl Answer {
    pub(crate) fn new(response: Response<Incoming>, account: Account, idle: Duration) -> Self {
        let (head, incoming) = response.into_parts();
        let framed = incoming.size_hint().exact().is_some() || is_chunked(&head.headers);
        Self {
            status: head.status.as_u16(),
            headers: head.headers,
            body: AnswerBody {
                incoming: Some(incoming),
                account,
                idle,
                unproved_end: head.status.is_success() && !framed,
            },
        }
    }

    /// How long the server asks to wait: `retry-after-ms`, else `retry-after` in seconds (fractions allowed) or as an HTTP
    /// date, which is taken relative to the answer's own `date`. Zero for a date gone by.
    pub fn retry_after(&self) -> Option<Duration> {
        if let Some(millis) = self.number("retry-after-ms") {
            return Duration::try_from_secs_f64(millis / 1e3).ok();
        }
        if let Some(seconds) = self.number(RETRY_AFTER.as_str()) {
            return Duration::try_from_secs_f64(seconds).ok();
        }
        let until = self.date(RETRY_AFTER.as_str())?;
        let now = self.date(DATE.as_str())?;
        Some(until.duration_since(now).unwrap_or_default())
    }

    /// The server's clock when it answered (µs since the Unix epoch), from `date`; whole seconds.
    pub fn server_date_micros(&self) -> Option<i64> {
        let since = self.date(DATE.as_str())?.duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(since.as_micros()).ok()
    }

    /// The upstream's id of this exchange (`request-id`).
    pub fn request_id(&self) -> Option<&str> {
        self.text("request-id")
    }

    /// The headers that are text, as pairs with lower-case names, for parsers that know no HTTP library.
    pub fn header_pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.headers.iter();
        pairs.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok().map(str::trim)
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.text(name)?.parse().ok()
    }

    fn date(&self, name: &str) -> Option<SystemTime> {
        httpdate::parse_http_date(self.text(name)?).ok()
    }
}

fn is_chunked(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(TRANSFER_ENCODING).iter().next_back();
    let last = codings.and_then(|codings| codings.to_str().ok()?.rsplit(',').next());
    last.is_some_and(|coding| coding.trim().eq_ignore_ascii_case("chunked"))
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("request_id", &self.request_id())
            .finish_non_exhaustive()
    }
}

/// The bytes of an answer as they come. Dropping it ends what is left of the upload and, if the answer was not read to its
/// end, the connection.
pub struct AnswerBody {
    /// `None` after the end or an error.
    incoming: Option<Incoming>,
    account: Account,
    idle: Duration,
    /// A success whose end is marked by nothing but the end of the connection.
    unproved_end: bool,
}

impl AnswerBody {
    /// The next bytes; `None` after the proved end, and after an error.
    ///
    /// # Errors
    /// If the connection ended before the announced end (`content-length` or the last chunk), if a successful answer
    /// announces no end at all, or if nothing came for the idle time-out.
    pub async fn next(&mut self) -> Option<Result<Bytes, SendError>> {
        loop {
            let incoming = self.incoming.as_mut()?;
            let kind = match tokio::time::timeout(self.idle, incoming.frame()).await {
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => return Some(Ok(data)),
                    Err(_trailers) => continue,
                },
                Ok(Some(Err(error))) => {
                    let kind = broken(&error);
                    return Some(Err(self.fail(kind, Some(error))));
                }
                Ok(None) if self.unproved_end => SendErrorKind::Protocol,
                Ok(None) => {
                    self.incoming = None;
                    return None;
                }
                Err(_elapsed) => SendErrorKind::Timeout,
            };
            return Some(Err(self.fail(kind, None)));
        }
    }

    /// The whole body, at most `limit` bytes.
    ///
    /// # Errors
    /// As [`AnswerBody::next`], and if the body is longer than `limit`.
    pub async fn collect(mut self, limit: usize) -> Result<Bytes, SendError> {
        let mut first: Option<Bytes> = None;
        let mut joined = BytesMut::new();
        while let Some(data) = self.next().await {
            let data = data?;
            if joined.len() + first.as_ref().map_or(0, Bytes::len) + data.len() > limit {
                return Err(self.fail(SendErrorKind::TooLarge { limit }, None));
            }
            match first.take() {
                None if joined.is_empty() => first = Some(data),
                None => joined.extend_from_slice(&data),
                Some(head) => {
                    joined.extend_from_slice(&head);
                    joined.extend_from_slice(&data);
                }
            }
        }
        Ok(first.unwrap_or_else(|| joined.freeze()))
    }

    /// Ends what is left of the upload and says how much of the request body was handed over: whether an error that was
    /// answered early (say by a proxy) can have reached the upstream in full.
    pub fn stop_upload(&self) -> Sent {
        self.account.seal()
    }

    fn fail(&mut self, kind: SendErrorKind, source: Option<hyper::Error>) -> SendError {
        self.incoming = None;
        let sent = self.account.seal();
        match source {
            Some(source) => SendError::caused(sent, kind, source),
            None => SendError::new(sent, kind),
        }
    }
}

impl fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerBody")
            .field("ended", &self.incoming.is_none())
            .finish_non_exhaustive()
    }
}
