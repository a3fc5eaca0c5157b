//! The client: a pool of connections, and `send`, which makes exactly one attempt and says what became of it.
//!
//! Leaves out retries of any kind, also the ones an HTTP library offers: a connection that turns out to be dead before the
//! request was started is an error with [`Sent::Nothing`].

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Request};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;

use crate::answer::Answer;
use crate::auth::Auth;
use crate::base_url::BaseUrl;
use crate::call::Call;
use crate::dial::{Connector, Dialer};
use crate::error::{CallError, ClientError, SendError, SendErrorKind, find};
use crate::sent::{Account, SendBody, Sent};

/// Shorter than servers usually keep a connection, so that a stale one is rarely picked.
const POOL_IDLE: Duration = Duration::from_secs(30);

const VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("offpeak/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Time limits and permissions of a client.
#[derive(Debug, Clone)]
pub struct Options {
    /// For a connection: name, TCP and TLS together.
    pub connect_timeout: Duration,
    /// From the last piece of the request body that could be handed over to the head of the answer.
    pub head_timeout: Duration,
    /// Between two pieces of the answer's body.
    pub idle_timeout: Duration,
    /// Lets the key travel in clear text to a base URL that is not on this machine.
    pub allow_plain_http: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            head_timeout: Duration::from_secs(600),
            idle_timeout: Duration::from_secs(120),
            allow_plain_http: false,
        }
    }
}

/// An HTTP/1.1 client for one base URL and one key. Clones share the connection pool. Works within a tokio runtime that
/// has its timers (and, for sockets, its I/O) switched on.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    http: legacy::Client<Dialer, SendBody>,
    base_url: BaseUrl,
    auth: Result<(HeaderName, HeaderValue), ClientError>,
    key_digest: String,
    options: Options,
}

impl Client {
    /// A client over the network: TLS with the bundled Mozilla roots, no proxy.
    ///
    /// # Errors
    /// If the key cannot be sent in a header, or would travel in clear text.
    pub fn https(base_url: BaseUrl, auth: Auth, options: Options) -> Result<Self, ClientError> {
        base_url.check_plain_http(options.allow_plain_http)?;
        auth.header()?;
        let dialer = Dialer::network(options.connect_timeout);
        Ok(Self::new(dialer, base_url, auth, options))
    }

    /// A client over streams from `connect`, whatever host a call names. The caller answers for where they lead: plain HTTP
    /// is spoken on them. A key that cannot be sent in a header is reported by [`Client::send`].
    pub fn over(connect: Connector, base_url: BaseUrl, auth: Auth, options: Options) -> Self {
        let dialer = Dialer::custom(connect, options.connect_timeout);
        Self::new(dialer, base_url, auth, options)
    }

    fn new(dialer: Dialer, base_url: BaseUrl, auth: Auth, options: Options) -> Self {
        let http = legacy::Client::builder(TokioExecutor::new())
            .retry_canceled_requests(false)
            .pool_idle_timeout(POOL_IDLE)
            .build(dialer);
        Self(Arc::new(Inner {
            http,
            base_url,
            auth: auth.header(),
            key_digest: auth.digest(),
            options,
        }))
    }

    /// First 16 hexadecimal digits of a digest of the key in use, by which keys are told apart.
    #[must_use]
    pub fn key_digest(&self) -> &str {
        &self.0.key_digest
    }

    /// Makes one attempt. Any status is an [`Answer`], redirects included, also when it comes before the whole body was
    /// sent. Dropping the future ends the upload, but leaves open how much of it was received.
    ///
    /// # Errors
    /// If no answer came, with proof of how much of the body had been handed to the connection.
    pub async fn send(&self, call: Call) -> Result<Answer, SendError> {
        let (request, account) = self.request(call).await?;
        let head_timeout = self.0.options.head_timeout;
        let mut response = self.0.http.request(request);
        loop {
            tokio::select! {
                biased;
                response = &mut response => return match response {
                    Ok(response) => Ok(Answer::new(response, account, self.0.options.idle_timeout)),
                    Err(error) => Err(failed(error, &account)),
                },
                () = account.moved() => {}
                () = tokio::time::sleep(head_timeout) => {
                    return Err(SendError::new(account.seal(), SendErrorKind::Timeout));
                }
            }
        }
    }

    async fn request(&self, call: Call) -> Result<(Request<SendBody>, Account), SendError> {
        let (auth_name, auth_value) = self.0.auth.clone().map_err(CallError::Auth)?;
        let betas = call.beta_header()?;
        let target = self.0.base_url.target(&call.path)?;
        let (mut body, account) = SendBody::new(call.body);
        let settled = tokio::time::timeout(self.0.options.head_timeout, body.settle_empty());
        let unsent = match settled.await {
            Ok(Ok(())) => None,
            Ok(Err(fault)) => Some(SendErrorKind::Body(fault)),
            Err(_elapsed) => Some(SendErrorKind::Timeout),
        };
        if let Some(kind) = unsent {
            return Err(SendError::new(Sent::Nothing, kind));
        }
        let len = body.len();
        let has_body = len > 0 || call.method != Method::GET;

        let mut request = Request::new(body);
        *request.method_mut() = call.method;
        *request.uri_mut() = target;
        let headers = request.headers_mut();
        headers.insert(auth_name, auth_value);
        headers.insert("anthropic-version", VERSION);
        headers.insert(USER_AGENT, AGENT);
        if let Some(betas) = betas {
            headers.insert("anthropic-beta", betas);
        }
        if has_body {
            headers.insert(CONTENT_TYPE, JSON);
            headers.insert(CONTENT_LENGTH, HeaderValue::from(len));
        }
        Ok((request, account))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("base_url", &self.0.base_url.to_string())
            .field("options", &self.0.options)
            .finish_non_exhaustive()
    }
}

/// The error of an attempt that got no answer.
fn failed(error: legacy::Error, account: &Account) -> SendError {
    let counted = account.seal();
    if let Some(fault) = account.take_fault() {
        return SendError::caused(counted, SendErrorKind::Body(fault), error);
    }
    // The connection gives a request back untouched (canceled) or never existed. Only this tells an unsent request
    // without a body from a sent one.
    let never_started = error.is_connect() || is_canceled(&error);
    let sent = if never_started {
        Sent::Nothing
    } else {
        counted
    };
    let kind = if error.is_connect() {
        SendErrorKind::Connect
    } else {
        broken(&error)
    };
    SendError::caused(sent, kind, error)
}

fn is_canceled(error: &legacy::Error) -> bool {
    find::<hyper::Error>(error).is_some_and(hyper::Error::is_canceled)
}

/// Tells an answer that is not HTTP from a connection that broke.
pub(crate) fn broken(error: &(dyn Error + 'static)) -> SendErrorKind {
    match find::<hyper::Error>(error) {
        Some(error) if error.is_parse() => SendErrorKind::Protocol,
        _ => SendErrorKind::Reset,
    }
}
