//! The other end of the line: a connector that hands each new stream to the test, and a few words of HTTP/1.1.
//! Leaves out correctness checks of HTTP itself: `happy` has a real server for that.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use offpeak_client::{
    Auth, BaseUrl, Body, Call, Client, Connector, Io, Options, SecretString, SendError,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

pub(crate) const KEY: &str = "sk-ant-zebra-0123456789";
pub(crate) const BATCHES: &str = "/v1/messages/batches";

/// Bytes that fit into one direction of a stream before the writer has to wait.
const PIPE_BYTES: usize = 1024;

/// Longer than any time limit of the client. The tests that wait so long do it in paused time.
const PATIENCE: Duration = Duration::from_secs(3600);

/// The server's ends of the streams that a client has opened.
pub(crate) struct Peers(mpsc::UnboundedReceiver<DuplexStream>);

impl Peers {
    pub(crate) async fn accept(&mut self) -> DuplexStream {
        self.0.recv().await.expect("the client holds the connector")
    }

    /// True if the client has opened no further stream.
    pub(crate) fn none_left(&mut self) -> bool {
        self.0.try_recv().is_err()
    }
}

pub(crate) fn auth() -> Auth {
    Auth::ApiKey(SecretString::from(KEY))
}

/// A client whose streams end in this process.
pub(crate) fn client() -> (Client, Peers) {
    let (streams, peers) = mpsc::unbounded_channel();
    let connect: Connector = Arc::new(move || {
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let result = streams
            .send(far)
            .map(|()| Box::new(near) as Box<dyn Io>)
            .map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused));
        Box::pin(std::future::ready(result))
    });
    let client = Client::over(connect, BaseUrl::anthropic(), auth(), Options::default());
    (client, Peers(peers))
}

/// A call with a JSON body of `len` bytes.
pub(crate) fn post(len: usize) -> Call {
    Call::post(BATCHES, Body::Json(Bytes::from(vec![b'7'; len])))
}

/// A call with a streamed body, and the producer's end of it.
pub(crate) fn stream(len: u64) -> (Call, mpsc::Sender<io::Result<Bytes>>) {
    let (producer, chunks) = mpsc::channel(4);
    (Call::post(BATCHES, Body::Stream { len, chunks }), producer)
}

/// Reads up to and including the blank line after the head.
pub(crate) async fn read_head<S: AsyncRead + Unpin>(peer: &mut S) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(peer.read_u8().await.expect("a head"));
    }
    String::from_utf8(head).expect("a head is text")
}

pub(crate) async fn read_exactly<S: AsyncRead + Unpin>(peer: &mut S, count: usize) {
    let mut buffer = vec![0; count];
    peer.read_exact(&mut buffer).await.expect("so many bytes");
}

/// Reads until the client closes its end; the count of bytes.
pub(crate) async fn drain<S: AsyncRead + Unpin>(peer: &mut S) -> usize {
    read_to_end(peer).await.len()
}

/// Reads until the client closes its end; the count of bytes after the head, if a head came.
pub(crate) async fn drain_body<S: AsyncRead + Unpin>(peer: &mut S) -> usize {
    let all = read_to_end(peer).await;
    let head = all.windows(4).position(|four| four == b"\r\n\r\n");
    head.map_or(0, |head| all.len() - head - 4)
}

async fn read_to_end<S: AsyncRead + Unpin>(peer: &mut S) -> Vec<u8> {
    let mut all = Vec::new();
    let end = tokio::time::timeout(PATIENCE, peer.read_to_end(&mut all)).await;
    assert!(end.is_ok(), "the client keeps the connection open");
    all
}

pub(crate) async fn write(peer: &mut DuplexStream, text: &str) {
    peer.write_all(text.as_bytes())
        .await
        .expect("the client reads");
}

pub(crate) async fn answer(peer: &mut DuplexStream, status: &str, body: &str) {
    let len = body.len();
    write(
        peer,
        &format!("HTTP/1.1 {status}\r\ncontent-length: {len}\r\n\r\n{body}"),
    )
    .await;
}

/// Lets the client's own tasks run until nothing moves any more.
pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// The whole chain of an error, as a user or a log would see it.
pub(crate) fn chain(error: &SendError) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text += &format!(" {cause} {cause:?}");
        next = cause.source();
    }
    text
}
