//! Everything that can go wrong here: setting a client up, describing a call, and the attempt itself.
//!
//! No text in this file ever quotes a key, a URL as typed, or a body. What an error means for money and what to do next is
//! decided by the caller.

use std::error::Error;
use std::io;

use crate::sent::Sent;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// A client that cannot be set up as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    #[error("the base URL cannot be read: write it like `https://api.anthropic.com`")]
    BaseUrlSyntax,
    #[error(
        "the base URL must start with `https://` (or `http://` for this machine): write it like `https://api.anthropic.com`"
    )]
    BaseUrlScheme,
    #[error(
        "the base URL holds a user name or password: leave out everything up to the `@` and give the key separately"
    )]
    BaseUrlCredentials,
    #[error("the base URL has a query or a fragment: leave out everything from `?` or `#` on")]
    BaseUrlQuery,
    #[error("the base URL ends in `/v1`, which every path already starts with: leave it out")]
    BaseUrlVersion,
    #[error(
        "plain `http://` to `{host}` would send the key in clear text: write `https://`, or allow plain HTTP explicitly if the network in between is trusted"
    )]
    PlainHttp { host: String },
    #[error("the API key is empty: paste the key as one line")]
    KeyEmpty,
    #[error("the API key contains a line break: paste the key as one line")]
    KeyLineBreak,
    #[error(
        "the API key contains a space, a control character or a character outside ASCII: copy the key again"
    )]
    KeyCharacter,
}

/// A call that cannot be made as described; nothing left the process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    #[error("the path of the call must start with `/` or be an absolute `https://` URL")]
    Path,
    #[error(
        "the URL points to `{host}`, which is neither the base URL's host nor `api.anthropic.com`: the key is not sent there"
    )]
    ForeignHost { host: String },
    #[error("the URL would send the key in clear text to `{host}`: only `https://` is followed")]
    PlainHttp { host: String },
    #[error("the URL holds a user name or password")]
    Credentials,
    #[error(
        "the beta name `{name}` cannot be sent: a name is letters, digits and punctuation without commas or spaces"
    )]
    Beta { name: String },
    #[error(transparent)]
    Auth(ClientError),
}

/// A failed attempt: how much of the request body was handed to the connection, and why it failed.
///
/// Only [`Sent::Whole`] leaves it open whether the request was received in full.
#[derive(Debug, thiserror::Error)]
#[error("{kind} ({sent})")]
pub struct SendError {
    /// How much of the body had been handed over. Final: no further byte of the body follows.
    pub sent: Sent,
    pub kind: SendErrorKind,
    #[source]
    pub source: Option<BoxError>,
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendErrorKind {
    /// No connection could be made (name, TCP, TLS, or its time-out).
    #[error("failed to connect")]
    Connect,
    /// The connection ended before the answer did.
    #[error("the connection was closed before the answer was complete")]
    Reset,
    /// Nothing moved for `head_timeout` (up to the answer's head) or `idle_timeout` (within its body).
    #[error("timed out waiting for the answer")]
    Timeout,
    /// The answer is not HTTP as this client accepts it.
    #[error("the answer is not valid HTTP")]
    Protocol,
    /// The producer of a streamed body failed, ended early, or gave more than it announced.
    #[error("the request body could not be produced: {0}")]
    Body(io::Error),
    /// The answer's body is larger than the caller's limit (bytes).
    #[error("the answer is larger than {limit} bytes")]
    TooLarge { limit: usize },
    /// The call itself is not acceptable.
    #[error("{0}")]
    Call(CallError),
}

impl SendError {
    pub(crate) fn new(sent: Sent, kind: SendErrorKind) -> Self {
        Self {
            sent,
            kind,
            source: None,
        }
    }

    pub(crate) fn caused(sent: Sent, kind: SendErrorKind, source: impl Into<BoxError>) -> Self {
        Self {
            sent,
            kind,
            source: Some(source.into()),
        }
    }

    /// True if the request cannot have been received in full, so that sending it again cannot do it twice.
    pub fn proves_absence(&self) -> bool {
        self.sent != Sent::Whole
    }
}

impl From<CallError> for SendError {
    fn from(error: CallError) -> Self {
        Self::new(Sent::Nothing, SendErrorKind::Call(error))
    }
}

/// The first error of type `E` in the chain that starts at `error`.
pub(crate) fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
