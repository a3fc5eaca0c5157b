//! One call as the caller describes it: method, path, betas and body.
//!
//! Leaves out what is the same for every call of a client (key, version, user agent).

use std::fmt;
use std::io;

use bytes::Bytes;
use http::header::HeaderValue;
use http::{Method, Uri};
use tokio::sync::mpsc;

use crate::error::CallError;

/// One call. It is attempted exactly once.
#[derive(Debug)]
pub struct Call {
    pub method: Method,
    /// A path with its query that starts with `/`, or an absolute URL that the upstream handed out (`results_url`).
    pub path: String,
    /// Names for `anthropic-beta`.
    pub betas: Vec<String>,
    pub body: Body,
}

impl Call {
    /// A `GET` without betas or body.
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            betas: Vec::new(),
            body: Body::Empty,
        }
    }

    /// A `POST` of `body` without betas.
    pub fn post(path: impl Into<String>, body: Body) -> Self {
        Self {
            method: Method::POST,
            path: path.into(),
            betas: Vec::new(),
            body,
        }
    }

    /// A `DELETE` without betas or body.
    pub fn delete(path: impl Into<String>) -> Self {
        Self {
            method: Method::DELETE,
            ..Self::get(path)
        }
    }

    /// The path and query of an absolute URL, to be called on the client's own base URL.
    ///
    /// For a `results_url` whose origin is not ours because a gateway stands in between.
    ///
    /// # Errors
    /// [`CallError::Path`] if `url` is not an absolute `http` or `https` URL.
    pub fn path_of_url(url: &str) -> Result<String, CallError> {
        let uri: Uri = url.parse().map_err(|_| CallError::Path)?;
        match (uri.scheme_str(), uri.path_and_query()) {
            (Some("http" | "https"), Some(path)) => Ok(path.as_str().to_owned()),
            _ => Err(CallError::Path),
        }
    }

    pub(crate) fn beta_header(&self) -> Result<Option<HeaderValue>, CallError> {
        for name in &self.betas {
            let fits = |byte: u8| byte.is_ascii_graphic() && byte != b',';
            if name.is_empty() || !name.bytes().all(fits) {
                let name = name.escape_debug().to_string();
                return Err(CallError::Beta { name });
            }
        }
        if self.betas.is_empty() {
            return Ok(None);
        }
        let joined = HeaderValue::try_from(self.betas.join(","));
        Ok(Some(joined.expect("checked names make a header value")))
    }
}

/// The body of a request; its length is always known and announced.
pub enum Body {
    Empty,
    Json(Bytes),
    /// `len` bytes from a producer, which must close the channel after the last of them: the end of the body is held back
    /// until then, so that a producer that fails, ends early or gives too much never makes a complete request.
    Stream {
        len: u64,
        chunks: mpsc::Receiver<io::Result<Bytes>>,
    },
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Json(bytes) => write!(f, "Json({} bytes)", bytes.len()),
            Self::Stream { len, .. } => write!(f, "Stream({len} bytes)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_results_url() {
        let url = "https://api.anthropic.com/v1/messages/batches/msgbatch_1/results?x=1";
        let path = Call::path_of_url(url).unwrap();
        assert_eq!(path, "/v1/messages/batches/msgbatch_1/results?x=1");
        for wrong in ["/v1/messages", "api.anthropic.com", "ftp://a/b", ""] {
            assert_eq!(Call::path_of_url(wrong), Err(CallError::Path), "{wrong}");
        }
    }

    #[test]
    fn betas_are_joined_and_checked() {
        let mut call = Call::get("/v1/models");
        assert_eq!(call.beta_header(), Ok(None));
        call.betas = vec!["a-1".into(), "b-2".into()];
        assert_eq!(call.beta_header().unwrap().unwrap(), "a-1,b-2");
        for wrong in ["", "a,b", "a b", "a\r\nx-api-key: 1", "\u{e9}"] {
            call.betas = vec![wrong.into()];
            assert!(
                matches!(call.beta_header(), Err(CallError::Beta { .. })),
                "{wrong:?}"
            );
        }
    }
}
