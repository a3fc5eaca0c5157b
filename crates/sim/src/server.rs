//! Owns carrying a world over HTTP: a server on a listener, and connections within the process.
//! Decides nothing: what is answered, when, and what breaks comes from the world.
//!
//! Clients that are idle, slow or many do not pile up: on a listener there are at most so many
//! connections, and each has so long for the head of its next request and for the next piece of a
//! body. Within the process there are no such limits, as time there may be paused and skipped.

mod keep;
mod time;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::{HeaderMap, Response};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{Instant, Sleep};

use crate::control::{Said, control_reply};
use crate::http::{Body, Fate, Reply, Request};
use crate::route::is_control;
use crate::stamp::{self, SECOND};
use crate::{Ending, Events, Lines, Unread, World, body_limit};

pub use keep::Keeper;
pub use time::{Clock, Time};

/// Bytes in flight in each direction of a connection within the process.
const DUPLEX_BYTES: usize = 256 * 1024;
/// Result lines are handed to the connection in pieces of about this size.
const CHUNK_BYTES: usize = 64 * 1024;
/// The most that is reserved for a body before it has arrived.
const RESERVE_BYTES: usize = 64 * 1024 * 1024;
/// The largest body of a control request.
const CONTROL_BYTES: usize = 1024 * 1024;
/// Of a body that is too large, so many times its limit is read and thrown away, so that its
/// sender sees the answer; after that the connection breaks.
const OVERSIZE: usize = 4;
/// Connections on a listener at a time; further ones wait to be accepted.
const CONNECTIONS: usize = 1_024;
/// How long a connection on a listener may be idle between requests, or take over a head.
const HEAD_WITHIN: Duration = Duration::from_secs(60);
/// How long the next piece of a body on a listener may take.
const PIECE_WITHIN: Duration = Duration::from_secs(60);
/// How long to wait when the system has no more room for connections.
const OUT_OF_ROOM: Duration = Duration::from_millis(50);

/// A world that can be connected to.
#[derive(Clone)]
pub struct Upstream {
    world: Arc<Mutex<World>>,
    time: Time,
    keeper: Option<Keeper>,
    /// How long the next piece of a body may take.
    patience: Option<Duration>,
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").finish_non_exhaustive()
    }
}

impl Upstream {
    /// A way to a world that may be shared with whoever wants to look at its bill.
    #[must_use]
    pub fn new(world: Arc<Mutex<World>>, clock: Clock) -> Self {
        Self::on(world, Time::of(clock))
    }

    /// The same, on any kind of time.
    #[must_use]
    pub fn on(world: Arc<Mutex<World>>, time: Time) -> Self {
        Self {
            world,
            time,
            keeper: None,
            patience: None,
        }
    }

    /// The same, kept in a file when `POST /_sim/save` asks for it.
    #[must_use]
    pub fn kept(self, keeper: Keeper) -> Self {
        Self {
            keeper: Some(keeper),
            ..self
        }
    }

    /// Opens a connection within the process: the client's end of it.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    #[must_use]
    pub fn connect(&self) -> DuplexStream {
        let (client, server) = tokio::io::duplex(DUPLEX_BYTES);
        tokio::spawn(self.clone().converse(server));
        client
    }

    /// Serves one connection to its end. A broken connection is no error: breaking is part of
    /// the play.
    async fn converse(self, io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let mut server = http1::Builder::new();
        server.auto_date_header(false);
        if self.patience.is_some() {
            server.timer(TokioTimer::new());
            server.header_read_timeout(HEAD_WITHIN);
        }
        let service = service_fn(move |request| {
            let upstream = self.clone();
            async move { upstream.exchange(request).await }
        });
        let _ = server.serve_connection(TokioIo::new(io), service).await;
    }

    async fn exchange(&self, incoming: ::http::Request<Incoming>) -> Result<Response<Out>, Broken> {
        let (head, body) = incoming.into_parts();
        let mut request = Request {
            method: head.method.as_str().to_owned(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            headers: pairs(&head.headers),
            body: Vec::new(),
        };
        if is_control(&request.path) {
            request.body = match self.receive(body, CONTROL_BYTES, &head.headers).await {
                Ok(bytes) => bytes,
                Err(_) => return Err(Broken),
            };
            return response(self.control(&request), &self.time);
        }
        let ticket = self.lock().admit(self.time.now(), &request);
        if ticket.resets_before_accept() {
            return Err(Broken);
        }
        let limit = body_limit(&request.path);
        let reply = match self.receive(body, limit, &head.headers).await {
            Ok(bytes) => {
                request.body = bytes;
                self.lock().answer(self.time.now(), ticket, &request)
            }
            Err(Unreadable::Late) => return Err(Broken),
            Err(Unreadable::Why(why)) => self.lock().refuse(self.time.now(), ticket, &request, why),
        };
        drop(request);
        let wait = self.time.until(reply.at);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        response(reply, &self.time)
    }

    /// What is asked of the simulator itself: the clock and the file are at hand here, the rest is
    /// the world's.
    fn control(&self, request: &Request) -> Reply {
        let now = self.time.now();
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/_sim/clock") => control_reply(now, Ok(self.clock())),
            ("POST", "/_sim/clock") => {
                let said = self.move_clock(&request.body);
                control_reply(self.time.now(), said)
            }
            ("POST", "/_sim/save") => control_reply(now, self.save()),
            _ => self.lock().control(now, request),
        }
    }

    fn clock(&self) -> Value {
        json!({
            "now": stamp::rfc3339(self.time.now()),
            "mode": self.time.mode(),
            "speed": self.time.speed(),
        })
    }

    fn move_clock(&self, body: &[u8]) -> Said {
        let wrong = |text: &str| (400, text.to_owned());
        let asked: Value = serde_json::from_slice(body)
            .map_err(|error| (400, format!("not valid JSON: {error}")))?;
        let now = self.time.now();
        let to = match (asked.get("advance_s"), asked.get("to")) {
            (Some(seconds), None) => {
                let seconds = seconds.as_u64().and_then(|n| i64::try_from(n).ok());
                let seconds = seconds.and_then(|n| n.checked_mul(SECOND));
                let to = seconds.and_then(|micros| now.checked_add(micros));
                to.ok_or_else(|| wrong("`advance_s` must be a whole number of seconds"))?
            }
            (None, Some(to)) => {
                let to = to.as_str().and_then(stamp::parse);
                to.ok_or_else(|| wrong("`to` must be an instant like \"2026-11-22T10:00:00Z\""))?
            }
            _ => {
                return Err(wrong(
                    "say {\"advance_s\": SECONDS} or {\"to\": \"2026-11-22T10:00:00Z\"}",
                ));
            }
        };
        if to > stamp::LAST {
            return Err(wrong("the clock ends with the year 9998"));
        }
        if to < now {
            return Err((409, "the clock does not go back".to_owned()));
        }
        if !self.time.advance_to(to) {
            let text = format!(
                "the clock is {} and cannot be moved; start with `--clock virtual`",
                self.time.mode()
            );
            return Err((409, text));
        }
        self.lock().advance(to);
        Ok(self.clock())
    }

    fn save(&self) -> Said {
        let keeper = self.keeper.as_ref().ok_or_else(|| {
            let text = "this simulator keeps no state; start it with `--state FILE`";
            (409, text.to_owned())
        })?;
        let failed = |error| (500, format!("{}: {error}", keeper.path().display()));
        keeper.write(|| self.lock().save()).map_err(failed)?;
        Ok(json!({ "saved": keeper.path().display().to_string() }))
    }

    /// The body, unless it is larger than is taken.
    async fn receive(
        &self,
        mut body: Incoming,
        limit: usize,
        headers: &HeaderMap,
    ) -> Result<Vec<u8>, Unreadable> {
        let announced = headers.get(::http::header::CONTENT_LENGTH);
        let announced = announced.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        let announced = announced.unwrap_or(0);
        let too_large = Err(Unreadable::Why(Unread::TooLarge));
        if announced > limit && headers.contains_key(::http::header::EXPECT) {
            // The sender waits for a word before it sends anything.
            return too_large;
        }
        let mut received = Vec::new();
        if announced <= limit {
            received.reserve(announced.min(RESERVE_BYTES));
        }
        let mut length = 0usize;
        loop {
            let frame = match self.patience {
                None => body.frame().await,
                Some(patience) => tokio::time::timeout(patience, body.frame())
                    .await
                    .map_err(|_| Unreadable::Late)?,
            };
            let Some(frame) = frame else {
                break;
            };
            let frame = frame.map_err(|_| Unreadable::Why(Unread::Broken))?;
            let data = frame.into_data().unwrap_or_default();
            length += data.len();
            if length > limit || announced > limit {
                received = Vec::new();
                if length > limit.saturating_mul(OVERSIZE) {
                    return too_large;
                }
            } else {
                received.extend_from_slice(&data);
            }
        }
        if length > limit {
            return too_large;
        }
        Ok(received)
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves an upstream on a listener for as long as the future is polled.
///
/// # Errors
///
/// When the listener itself fails.
pub async fn serve(listener: TcpListener, upstream: Upstream) -> io::Result<()> {
    let upstream = Upstream {
        patience: Some(PIECE_WITHIN),
        ..upstream
    };
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = Arc::clone(&room).acquire_owned().await;
        let place = place.map_err(io::Error::other)?;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // The client was gone before it was accepted, or the system is out of files: neither
            // is the listener's end.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) if error.raw_os_error().is_some() => {
                tokio::time::sleep(OUT_OF_ROOM).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        if stream.set_nodelay(true).is_err() {
            continue;
        }
        let connection = upstream.clone().converse(stream);
        tokio::spawn(async move {
            connection.await;
            drop(place);
        });
    }
}

/// Why there is no body.
enum Unreadable {
    Why(Unread),
    /// It stopped coming: nobody is there to be answered.
    Late,
}

/// The connection is to break here.
#[derive(Debug, thiserror::Error)]
#[error("the simulated connection breaks")]
struct Broken;

fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    let pair = |(name, value): (&::http::HeaderName, &::http::HeaderValue)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    };
    headers.iter().map(pair).collect()
}

fn response(reply: Reply, time: &Time) -> Result<Response<Out>, Broken> {
    if reply.fate != Fate::Answer {
        return Err(Broken);
    }
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    let body = match reply.body {
        Body::Full(bytes) => Out::Full(Some(Bytes::from(bytes))),
        Body::Lines(lines) => Out::Lines(lines),
        Body::Events(events) => Out::Events(Flow {
            events,
            time: time.clone(),
            sleep: None,
            due: None,
        }),
    };
    response.body(body).map_err(|_| Broken)
}

/// A body on its way out.
enum Out {
    Full(Option<Bytes>),
    Lines(Lines),
    Events(Flow),
    /// What was written goes out before the connection breaks.
    Breaking,
    Broken,
}

/// Events that leave when they are due.
struct Flow {
    events: Events,
    /// What the waits between them are by.
    time: Time,
    /// Towards the next piece.
    sleep: Option<Pin<Box<Sleep>>>,
    /// When the last piece was due: counting from there, delays do not add up.
    due: Option<Instant>,
}

impl Flow {
    /// Everything that is due, and a wake-up for what is not.
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Vec<u8> {
        let mut chunk = Vec::new();
        while let Some(micros) = self.events.wait() {
            let wait = self.time.lasting(micros);
            if !wait.is_zero() {
                let due = self.due;
                let sleep = self.sleep.get_or_insert_with(|| {
                    Box::pin(match due {
                        None => tokio::time::sleep(wait),
                        Some(due) => tokio::time::sleep_until(due + wait),
                    })
                });
                if sleep.as_mut().poll(context).is_pending() {
                    break;
                }
                self.due = Some(sleep.deadline());
                self.sleep = None;
            }
            chunk.extend_from_slice(self.events.next_piece().unwrap_or_default());
        }
        chunk
    }
}

impl http_body::Body for Out {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut *self {
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Lines(lines) => {
                let mut chunk = Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 4);
                while chunk.len() < CHUNK_BYTES {
                    match lines.write_next(&mut chunk) {
                        Some(Ok(())) => {}
                        Some(Err(_)) => {
                            *self = Self::Breaking;
                            break;
                        }
                        None => break,
                    }
                }
                let data = (!chunk.is_empty()).then(|| Ok(Frame::data(Bytes::from(chunk))));
                Poll::Ready(data)
            }
            Self::Events(flow) => {
                let chunk = flow.poll_ready(context);
                if !chunk.is_empty() {
                    return Poll::Ready(Some(Ok(Frame::data(Bytes::from(chunk)))));
                }
                match flow.events.ending() {
                    _ if flow.sleep.is_some() => Poll::Pending,
                    Ending::Complete => Poll::Ready(None),
                    Ending::Broken => {
                        *self = Self::Breaking;
                        self.poll_frame(context)
                    }
                    // Until the client hangs up.
                    Ending::Stalled => Poll::Pending,
                }
            }
            Self::Breaking => {
                // Pending once: the connection flushes what it has.
                *self = Self::Broken;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Self::Broken => Poll::Ready(Some(Err(Broken))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => {
                let len = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(len).expect("a length fits u64"))
            }
            Self::Lines(_) | Self::Events(_) | Self::Breaking | Self::Broken => SizeHint::default(),
        }
    }
}
