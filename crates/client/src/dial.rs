//! How a connection is made: TCP and TLS to the network, or a byte stream from a caller's own connector. Both end in the
//! same stream type, so that simulations and tests run the very code that runs against the network.
//!
//! Leaves out proxies: none is honoured.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

use crate::error::BoxError;

/// Idle connections are probed this often, so that a lost peer is noticed during a long wait.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A boxed future that may change threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A two-way byte stream.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Opens a byte stream that speaks HTTP/1.1, such as an in-process duplex stream.
pub type Connector = Arc<dyn Fn() -> BoxFuture<io::Result<Box<dyn Io>>> + Send + Sync>;

impl Connection for Box<dyn Io> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

/// Opens connections for the pool, each within a time limit that covers name, TCP and TLS together.
#[derive(Clone)]
pub(crate) struct Dialer {
    via: Via,
    timeout: Duration,
}

#[derive(Clone)]
enum Via {
    Network(HttpsConnector<HttpConnector>),
    Custom(Connector),
}

impl Dialer {
    pub(crate) fn network(timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE));
        let https = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let via = Via::Network(https);
        Self { via, timeout }
    }

    pub(crate) fn custom(connect: Connector, timeout: Duration) -> Self {
        let via = Via::Custom(connect);
        Self { via, timeout }
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.via {
            Via::Network(_) => "network",
            Via::Custom(_) => "custom",
        })
    }
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<Box<dyn Io>>;
    type Error = BoxError;
    type Future = BoxFuture<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match &mut self.via {
            Via::Network(https) => https.poll_ready(cx),
            Via::Custom(_) => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let open: BoxFuture<Result<Box<dyn Io>, BoxError>> = match &mut self.via {
            Via::Network(https) => {
                let open = https.call(uri);
                Box::pin(async move { Ok(Box::new(TokioIo::new(open.await?)) as Box<dyn Io>) })
            }
            Via::Custom(connect) => {
                let open = connect();
                Box::pin(async move { Ok(open.await?) })
            }
        };
        let timeout = self.timeout;
        Box::pin(async move {
            match tokio::time::timeout(timeout, open).await {
                Ok(stream) => Ok(TokioIo::new(stream?)),
                Err(_) => Err(no_connection(timeout).into()),
            }
        })
    }
}

fn no_connection(timeout: Duration) -> io::Error {
    let text = format!("no connection within {} s", timeout.as_secs_f64());
    io::Error::new(io::ErrorKind::TimedOut, text)
}
