//! Where calls go, and the rule that keeps the key from going anywhere else.
//!
//! Leaves out connecting: this is text and comparison only.

use std::fmt;
use std::net::IpAddr;

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

use crate::error::{CallError, ClientError};

/// The public API's host; absolute URLs to it are followed whatever the base URL is.
const PUBLIC_HOST: &str = "api.anthropic.com";

/// The origin (and an optional path prefix) that every path of a call is put behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    origin: Origin,
    /// Without a trailing slash; empty for a bare origin.
    prefix: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    scheme: Scheme,
    authority: Authority,
}

impl BaseUrl {
    /// `https://api.anthropic.com`.
    pub fn anthropic() -> Self {
        Self {
            origin: Origin {
                scheme: Scheme::HTTPS,
                authority: Authority::from_static(PUBLIC_HOST),
            },
            prefix: String::new(),
        }
    }

    /// Reads `scheme://host[:port][/prefix]`.
    ///
    /// # Errors
    /// For anything else, and for a URL that holds credentials; the text says what to type and never quotes the input.
    pub fn parse(text: &str) -> Result<Self, ClientError> {
        let text = text.trim();
        if text.contains('@') {
            return Err(ClientError::BaseUrlCredentials);
        }
        if text.contains(['?', '#']) {
            return Err(ClientError::BaseUrlQuery);
        }
        let uri: Uri = text.parse().map_err(|_| ClientError::BaseUrlSyntax)?;
        let prefix = uri.path().trim_end_matches('/').to_owned();
        let origin = match Origin::of(uri) {
            Ok(origin) => origin,
            Err(Flaw::Scheme) => return Err(ClientError::BaseUrlScheme),
            Err(Flaw::Port) => return Err(ClientError::BaseUrlSyntax),
        };
        if prefix.ends_with("/v1") {
            return Err(ClientError::BaseUrlVersion);
        }
        Ok(Self { origin, prefix })
    }

    /// True if calls to this URL go to the API itself, with nobody in between.
    pub fn is_public_api(&self) -> bool {
        self.origin.host() == PUBLIC_HOST
    }

    /// True if calls to this URL do not leave the machine.
    pub fn is_loopback(&self) -> bool {
        is_loopback(self.origin.host())
    }

    pub(crate) fn check_plain_http(&self, allowed: bool) -> Result<(), ClientError> {
        if self.origin.scheme == Scheme::HTTPS || self.is_loopback() || allowed {
            return Ok(());
        }
        Err(ClientError::PlainHttp {
            host: self.origin.host().to_owned(),
        })
    }

    /// The full URL of a call. An absolute URL is taken only where the key may go: our own origin, or by `https` (on the
    /// loopback also `http`) to our own host or the public API.
    pub(crate) fn target(&self, path: &str) -> Result<Uri, CallError> {
        if path.starts_with('/') {
            let path = format!("{}{path}", self.prefix);
            return self
                .origin
                .with_path(path.parse().map_err(|_| CallError::Path)?);
        }
        let uri: Uri = path.parse().map_err(|_| CallError::Path)?;
        if uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Err(CallError::Credentials);
        }
        let path = uri.path_and_query().cloned().ok_or(CallError::Path)?;
        let origin = Origin::of(uri).map_err(|_| CallError::Path)?;
        self.admit(&origin)?;
        origin.with_path(path)
    }

    fn admit(&self, origin: &Origin) -> Result<(), CallError> {
        if origin.same_as(&self.origin) {
            return Ok(());
        }
        let host = origin.host();
        if !host.eq_ignore_ascii_case(self.origin.host()) && !host.eq_ignore_ascii_case(PUBLIC_HOST)
        {
            return Err(CallError::ForeignHost {
                host: host.to_owned(),
            });
        }
        if origin.scheme != Scheme::HTTPS && !is_loopback(host) {
            return Err(CallError::PlainHttp {
                host: host.to_owned(),
            });
        }
        Ok(())
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}{}",
            self.origin.scheme, self.origin.authority, self.prefix
        )
    }
}

enum Flaw {
    Scheme,
    Port,
}

impl Origin {
    fn of(uri: Uri) -> Result<Self, Flaw> {
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(Flaw::Scheme);
        };
        if scheme != Scheme::HTTPS && scheme != Scheme::HTTP {
            return Err(Flaw::Scheme);
        }
        // The parser accepts any digits, or none, after the colon.
        let has_colon = authority.as_str().len() > authority.host().len();
        if authority.host().is_empty() || (has_colon && authority.port_u16().is_none()) {
            return Err(Flaw::Port);
        }
        Ok(Self { scheme, authority })
    }

    fn host(&self) -> &str {
        self.authority.host()
    }

    fn port(&self) -> u16 {
        let usual = if self.scheme == Scheme::HTTPS {
            443
        } else {
            80
        };
        self.authority.port_u16().unwrap_or(usual)
    }

    fn same_as(&self, other: &Self) -> bool {
        self.scheme == other.scheme
            && self.host().eq_ignore_ascii_case(other.host())
            && self.port() == other.port()
    }

    fn with_path(&self, path: PathAndQuery) -> Result<Uri, CallError> {
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()
            .map_err(|_| CallError::Path)
    }
}

fn is_loopback(host: &str) -> bool {
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(text: &str) -> BaseUrl {
        BaseUrl::parse(text).unwrap()
    }

    #[test]
    fn what_is_and_is_not_a_base_url() {
        for (text, shown) in [
            ("https://api.anthropic.com", "https://api.anthropic.com"),
            (
                " https://api.anthropic.com/ \n",
                "https://api.anthropic.com",
            ),
            ("http://[::1]:8080", "http://[::1]:8080"),
            (
                "https://gw.example/anthropic/",
                "https://gw.example/anthropic",
            ),
        ] {
            assert_eq!(base(text).to_string(), shown);
        }
        for (text, fault) in [
            ("", ClientError::BaseUrlSyntax),
            ("https://", ClientError::BaseUrlSyntax),
            ("https://host:99999", ClientError::BaseUrlSyntax),
            ("https://host:", ClientError::BaseUrlSyntax),
            ("api.anthropic.com", ClientError::BaseUrlScheme),
            ("localhost:8080", ClientError::BaseUrlScheme),
            ("/v1", ClientError::BaseUrlScheme),
            ("ftp://api.anthropic.com", ClientError::BaseUrlScheme),
            ("https://me:secret@host", ClientError::BaseUrlCredentials),
            ("me:secret@host", ClientError::BaseUrlCredentials),
            ("https://host?key=secret", ClientError::BaseUrlQuery),
            ("https://host#secret", ClientError::BaseUrlQuery),
            ("https://api.anthropic.com/v1/", ClientError::BaseUrlVersion),
        ] {
            let found = BaseUrl::parse(text).unwrap_err();
            assert_eq!(found, fault, "{text}");
            assert!(!format!("{found} {found:?}").contains("secret"));
        }
    }

    #[test]
    fn plain_http_stays_on_the_machine_unless_allowed() {
        for text in [
            "http://localhost:1",
            "http://127.8.9.1",
            "http://[::1]",
            "https://example.com",
        ] {
            assert_eq!(base(text).check_plain_http(false), Ok(()), "{text}");
        }
        for host in [
            "example.com",
            "10.0.0.1",
            "localhost.example.com",
            "127.0.0.1.example.com",
        ] {
            let url = base(&format!("http://{host}"));
            let fault = ClientError::PlainHttp {
                host: host.to_owned(),
            };
            assert_eq!(url.check_plain_http(false), Err(fault));
            assert_eq!(url.check_plain_http(true), Ok(()));
        }
    }

    #[test]
    fn paths_stay_on_the_base() {
        let url = base("https://gw.example/anthropic");
        for (path, full) in [
            ("/v1/x?limit=1", "https://gw.example/anthropic/v1/x?limit=1"),
            (
                "//evil.example/v1",
                "https://gw.example/anthropic//evil.example/v1",
            ),
            (
                "/@evil.example/",
                "https://gw.example/anthropic/@evil.example/",
            ),
        ] {
            assert_eq!(url.target(path).unwrap().to_string(), full);
        }
        assert_eq!(
            base("https://a.example")
                .target("//b.example/")
                .unwrap()
                .host(),
            Some("a.example")
        );
        for path in [
            "",
            "v1/x",
            "?x",
            "a.example",
            "/v1/\r\nx: y",
            "ftp://gw.example/x",
        ] {
            assert_eq!(url.target(path), Err(CallError::Path), "{path:?}");
        }
    }

    #[test]
    fn absolute_urls_go_only_where_the_key_may_go() {
        let public = base("https://api.anthropic.com");
        let local = base("http://127.0.0.1:8080");
        let corporate = base("http://gw.corp:9000");
        for (from, url) in [
            (&public, "https://api.anthropic.com/v1/r"),
            (&public, "https://API.anthropic.com:443/v1/r"),
            (&local, "https://api.anthropic.com/v1/r"),
            (&local, "http://127.0.0.1:8080/v1/r"),
            (&local, "http://127.0.0.1:9/v1/r"),
            (&corporate, "http://gw.corp:9000/v1/r"),
            (&corporate, "https://gw.corp/v1/r"),
        ] {
            assert!(from.target(url).is_ok(), "{from} {url}");
        }
        for (from, url, word) in [
            (&public, "https://evil.example/v1/r", "evil.example"),
            (
                &public,
                "https://api.anthropic.com.evil.example/",
                "evil.example",
            ),
            (
                &public,
                "https://api.anthropic.com@evil.example/",
                "password",
            ),
            (&public, "http://api.anthropic.com/v1/r", "clear text"),
            (&local, "http://api.anthropic.com/v1/r", "clear text"),
            (&local, "http://localhost:8080/v1/r", "localhost"),
            (&corporate, "http://gw.corp:9001/v1/r", "clear text"),
        ] {
            let fault = from.target(url).unwrap_err().to_string();
            assert!(fault.contains(word), "{from} {url}: {fault}");
        }
    }
}
