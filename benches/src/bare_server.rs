//! What the simulator would be if it had nothing to do: a hyper server that reads every request and
//! repeats one answer, or streams bytes that it holds in memory.
//!
//! Leaves out the load on it (`load`).

use std::convert::Infallible;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::Context as _;
use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Pieces of a download.
const PIECE: usize = 64 << 10;

struct Script {
    headers: Vec<(String, String)>,
    answer: Bytes,
    download: Bytes,
}

/// Serves on a free port, which is printed: POST repeats the answer that `capture` kept, GET gives `download` bytes.
pub(crate) fn serve(answer: &Path, download: usize) -> anyhow::Result<()> {
    let script = Arc::new(Script::read(&fs::read(answer)?, download)?);
    // As the simulator: one thread that serves, and the main one that accepts.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut out = std::io::stdout();
        writeln!(out, "{}", listener.local_addr()?)?;
        out.flush()?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let script = Arc::clone(&script);
            tokio::spawn(async move {
                let service = service_fn(move |request| answer_to(Arc::clone(&script), request));
                let mut server = http1::Builder::new();
                server.auto_date_header(false);
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

impl Script {
    fn read(captured: &[u8], download: usize) -> anyhow::Result<Self> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(end) = response.parse(captured)? else {
            anyhow::bail!("half an answer");
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let headers = response
            .headers
            .iter()
            .filter(|header| header.name != "content-length")
            .map(|header| (header.name.to_owned(), text(header.value)))
            .collect();
        Ok(Self {
            headers,
            answer: Bytes::copy_from_slice(&captured[end..]),
            download: vec![b'x'; download].into(),
        })
    }
}

async fn answer_to(
    script: Arc<Script>,
    request: Request<Incoming>,
) -> anyhow::Result<Response<Either<Full<Bytes>, Pieces>>> {
    let get = request.method() == Method::GET;
    let mut body = request.into_body();
    let mut received = Vec::new();
    while let Some(frame) = body.frame().await {
        received.extend_from_slice(&frame?.into_data().unwrap_or_default());
    }
    drop(received);
    let mut response = Response::builder();
    for (name, value) in &script.headers {
        response = response.header(name, value);
    }
    let body = if get {
        Either::Right(Pieces(script.download.clone()))
    } else {
        Either::Left(Full::new(script.answer.clone()))
    };
    response
        .body(body)
        .context("headers that were answered before")
}

/// Bytes in pieces, without a length announced.
struct Pieces(Bytes);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = PIECE.min(self.0.len());
        // Copied, as the simulator's lines are written anew.
        let piece = Bytes::copy_from_slice(&self.0.split_to(piece));
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }
}
