//! Owns carrying a world over HTTP: a server on a listener, and connections within the process.
//! Decides nothing: what is answered, when, and what breaks comes from the world.
//!
//! Time is the caller's clock and tokio's timer, so both may be virtual.

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
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpListener;
use tokio::time::{Instant, Sleep};

use crate::http::{Body, Fate, Reply, Request};
use crate::{Ending, Events, Lines, World, body_limit};

/// Reads the time: microseconds since the Unix epoch.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Bytes in flight in each direction of a connection within the process.
const DUPLEX_BYTES: usize = 256 * 1024;
/// Result lines are handed to the connection in pieces of about this size.
const CHUNK_BYTES: usize = 64 * 1024;
/// The most that is reserved for a body before it has arrived.
const RESERVE_BYTES: usize = 64 * 1024 * 1024;

/// A world that can be connected to.
#[derive(Clone)]
pub struct Upstream {
    world: Arc<Mutex<World>>,
    clock: Clock,
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
        Self { world, clock }
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
        let service = service_fn(move |request| {
            let upstream = self.clone();
            async move { upstream.exchange(request).await }
        });
        let mut server = http1::Builder::new();
        server.auto_date_header(false);
        let _ = server.serve_connection(TokioIo::new(io), service).await;
    }

    async fn exchange(&self, incoming: ::http::Request<Incoming>) -> Result<Response<Out>, Broken> {
        let (head, body) = incoming.into_parts();
        let ticket = self.lock().admit(head.method.as_str(), head.uri.path());
        if ticket.resets_before_accept() {
            return Err(Broken);
        }
        let path = head.uri.path().to_owned();
        let request = Request {
            body: receive(body, body_limit(&path), &head.headers).await?,
            method: head.method.as_str().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            headers: pairs(&head.headers),
            path,
        };
        let reply = self.lock().answer((self.clock)(), ticket, &request);
        drop(request);
        let wait = u64::try_from(reply.at - (self.clock)()).unwrap_or(0);
        if wait > 0 {
            tokio::time::sleep(Duration::from_micros(wait)).await;
        }
        response(reply)
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves a world on a listener for as long as the future is polled.
///
/// # Errors
///
/// When the listener itself fails.
pub async fn serve(
    listener: TcpListener,
    world: Arc<Mutex<World>>,
    clock: Clock,
) -> io::Result<()> {
    let upstream = Upstream::new(world, clock);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(upstream.clone().converse(stream));
    }
}

/// The connection is to break here.
#[derive(Debug, thiserror::Error)]
#[error("the simulated connection breaks")]
struct Broken;

/// The body, up to one byte more than is taken: the world then refuses it.
async fn receive(mut body: Incoming, limit: usize, headers: &HeaderMap) -> Result<Vec<u8>, Broken> {
    let announced = headers.get(::http::header::CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let mut received = Vec::with_capacity(announced.unwrap_or(0).min(limit).min(RESERVE_BYTES));
    while let Some(frame) = body.frame().await {
        let data = frame.map_err(|_| Broken)?.into_data().unwrap_or_default();
        let room = (limit + 1).saturating_sub(received.len());
        received.extend_from_slice(&data[..data.len().min(room)]);
    }
    Ok(received)
}

fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    let pair = |(name, value): (&::http::HeaderName, &::http::HeaderValue)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    };
    headers.iter().map(pair).collect()
}

fn response(reply: Reply) -> Result<Response<Out>, Broken> {
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
            if micros > 0 {
                let wait = Duration::from_micros(micros);
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
