//! A load on a Messages endpoint, from one thread: as fast as it goes, or so many calls a second whether or not
//! answers come (so that a server that stalls cannot hide it). And large bodies in both directions.
//!
//! Leaves out who is measured: the simulator and the bare server speak the same HTTP.
#![expect(
    clippy::disallowed_methods,
    reason = "measuring time is what this program is for"
)]

use std::cell::RefCell;
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::LocalSet;
use tokio::time::{Instant, MissedTickBehavior};

/// How often calls are let go when there are so many a second.
const TICK: Duration = Duration::from_millis(1);

/// Bytes read at once.
const READ: usize = 256 << 10;

/// A small call, as a client would send it.
fn small_call(host: &str, key: &str) -> Vec<u8> {
    let body = r#"{"model":"claude-haiku-5-5","max_tokens":64,"messages":[{"role":"user","content":"Name three rivers of Europe and the seas that they reach."}]}"#;
    format!(
        "{}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        head("POST", "/v1/messages", host, key),
        body.len()
    )
    .into_bytes()
}

fn head(method: &str, path: &str, host: &str, key: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nx-api-key: {key}\r\nanthropic-version: 2023-06-01\r\n"
    )
}

/// A connection that is kept.
struct Line {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// How long the body of an answer is.
enum Length {
    Bytes(usize),
    Chunked,
}

impl Line {
    async fn open(host: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        let buffer = Vec::with_capacity(READ);
        Ok(Self { stream, buffer })
    }

    /// The head of the next answer: bytes of it, and the length of its body.
    async fn head(&mut self) -> anyhow::Result<(usize, Length)> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut response = httparse::Response::new(&mut headers);
            if let httparse::Status::Complete(end) = response.parse(&self.buffer)? {
                ensure!(
                    response.code == Some(200),
                    "{}",
                    String::from_utf8_lossy(&self.buffer)
                );
                let value = |name: &str| {
                    let found = response
                        .headers
                        .iter()
                        .find(|header| header.name.eq_ignore_ascii_case(name));
                    found.and_then(|header| std::str::from_utf8(header.value).ok())
                };
                let length = match value("content-length") {
                    Some(length) => Length::Bytes(length.parse()?),
                    None => Length::Chunked,
                };
                return Ok((end, length));
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        let read = self.stream.read_buf(&mut self.buffer).await?;
        ensure!(read > 0, "the connection was closed");
        Ok(())
    }

    /// Sends a call and passes over its answer; returns the answer, head included.
    async fn call(&mut self, request: &[u8]) -> anyhow::Result<Vec<u8>> {
        self.stream.write_all(request).await?;
        let (head, length) = self.head().await?;
        let Length::Bytes(body) = length else {
            bail!("an answer without a length");
        };
        while self.buffer.len() < head + body {
            self.more().await?;
        }
        let rest = self.buffer.split_off(head + body);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }
}

/// Keeps one answer to the small call, for a bare server to repeat.
pub(crate) fn capture(host: &str, key: &str, file: &Path) -> anyhow::Result<String> {
    let answer = run(async { Line::open(host).await?.call(&small_call(host, key)).await })?;
    fs::write(file, answer)?;
    Ok("{}".to_owned())
}

/// Small calls over so many connections for so many seconds; `rate` of them a second, or as many as can be.
pub(crate) fn small(
    host: &str,
    key: &str,
    seconds: u64,
    connections: usize,
    rate: Option<u64>,
) -> anyhow::Result<String> {
    let request: Rc<[u8]> = small_call(host, key).into();
    let host: Rc<str> = host.into();
    let latencies = Rc::new(RefCell::new(Vec::new()));
    run(async {
        let due = Rc::new(RefCell::new(std::collections::VecDeque::new()));
        let permits = Rc::new(Semaphore::new(0));
        let begun = Instant::now();
        let end = begun + Duration::from_secs(seconds);
        let workers: Vec<_> = (0..connections)
            .map(|_| {
                let (host, request) = (Rc::clone(&host), Rc::clone(&request));
                let (due, permits) = (Rc::clone(&due), Rc::clone(&permits));
                let latencies = Rc::clone(&latencies);
                tokio::task::spawn_local(async move {
                    let mut line = Line::open(&host).await?;
                    loop {
                        let since = match rate {
                            None => Instant::now(),
                            Some(_) => match permits.acquire().await {
                                Ok(permit) => {
                                    permit.forget();
                                    due.borrow_mut().pop_front().context("a call is due")?
                                }
                                Err(_) => return anyhow::Ok(()),
                            },
                        };
                        if rate.is_none() && since >= end {
                            return Ok(());
                        }
                        line.call(&request).await?;
                        latencies.borrow_mut().push(since.elapsed());
                    }
                })
            })
            .collect();
        if let Some(rate) = rate {
            let mut ticks = tokio::time::interval_at(begun + TICK, TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut let_go = 0;
            while let_go < rate * seconds {
                // A tick that comes late does not make its calls younger.
                let tick = ticks.tick().await;
                let elapsed = u64::try_from((tick - begun).as_micros())?;
                let wanted = (rate * elapsed / 1_000_000).min(rate * seconds);
                for _ in let_go..wanted {
                    due.borrow_mut().push_back(tick);
                }
                permits.add_permits(usize::try_from(wanted - let_go)?);
                let_go = wanted;
            }
            while permits.available_permits() > 0 {
                tokio::task::yield_now().await;
            }
            permits.close();
        }
        for worker in workers {
            worker.await??;
        }
        let mut latencies = std::mem::take(&mut *latencies.borrow_mut());
        latencies.sort_unstable();
        let calls = latencies.len();
        let at = |share: usize| latencies[(calls - 1) * share / 1000].as_micros();
        Ok(format!(
            "{{\"calls\":{calls},\"seconds\":{:.3},\"p50_us\":{},\"p99_us\":{},\"p999_us\":{}}}",
            begun.elapsed().as_secs_f64(),
            at(500),
            at(990),
            at(999)
        ))
    })
}

/// Posts a file of rows in the batch shape as one batch; says how long the answer took and the batch's id.
pub(crate) fn upload(host: &str, key: &str, rows: &Path) -> anyhow::Result<String> {
    let mut body = b"{\"requests\":[".to_vec();
    for line in fs::read(rows)?.split(|byte| *byte == b'\n') {
        if !line.is_empty() {
            if body.len() > 13 {
                body.push(b',');
            }
            body.extend_from_slice(line);
        }
    }
    body.extend_from_slice(b"]}");
    let mut request = format!(
        "{}content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        head("POST", "/v1/messages/batches", host, key),
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(&body);
    run(async {
        let mut line = Line::open(host).await?;
        let begun = Instant::now();
        let answer = line.call(&request).await?;
        let seconds = begun.elapsed().as_secs_f64();
        let text = String::from_utf8_lossy(&answer);
        let id = text
            .split_once("\"id\":\"")
            .and_then(|(_, rest)| rest.split_once('"'))
            .map_or("", |(id, _)| id);
        Ok(format!(
            "{{\"seconds\":{seconds:.4},\"bytes\":{},\"id\":\"{id}\"}}",
            body.len()
        ))
    })
}

/// Downloads a path and counts its bytes, chunk sizes included.
pub(crate) fn download(host: &str, key: &str, path: &str) -> anyhow::Result<String> {
    run(async {
        let mut line = Line::open(host).await?;
        let request = format!("{}connection: close\r\n\r\n", head("GET", path, host, key));
        let begun = Instant::now();
        line.stream.write_all(request.as_bytes()).await?;
        line.head().await?;
        let mut bytes = line.buffer.len();
        loop {
            line.buffer.clear();
            match line.stream.read_buf(&mut line.buffer).await? {
                0 => break,
                read => bytes += read,
            }
        }
        Ok(format!(
            "{{\"seconds\":{:.4},\"bytes\":{bytes}}}",
            begun.elapsed().as_secs_f64()
        ))
    })
}

fn run<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, work)
}
