//! Owns which endpoint a method and a path mean. Query parameters such as `?beta=true` do not
//! matter.

use crate::fault::Endpoint;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    Messages,
    CountTokens,
    Batches,
    BatchList,
    Batch(&'a str),
    Cancel(&'a str),
    Delete(&'a str),
    Results(&'a str),
    /// The simulator's own account, outside the API.
    Bill,
    Nowhere,
}

impl<'a> Route<'a> {
    pub(crate) fn of(method: &str, path: &'a str) -> Self {
        if (method, path) == ("GET", "/_sim/bill") {
            return Self::Bill;
        }
        let Some(rest) = path.strip_prefix("/v1/messages") else {
            return Self::Nowhere;
        };
        let mut parts = rest.trim_end_matches('/').split('/').skip(1);
        match (
            method,
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) {
            ("POST", None, ..) if rest.is_empty() => Self::Messages,
            ("POST", Some("count_tokens"), None, ..) => Self::CountTokens,
            ("POST", Some("batches"), None, ..) => Self::Batches,
            ("GET", Some("batches"), None, ..) => Self::BatchList,
            ("GET", Some("batches"), Some(id), None, _) => Self::Batch(id),
            ("DELETE", Some("batches"), Some(id), None, _) => Self::Delete(id),
            ("POST", Some("batches"), Some(id), Some("cancel"), None) => Self::Cancel(id),
            ("GET", Some("batches"), Some(id), Some("results"), None) => Self::Results(id),
            _ => Self::Nowhere,
        }
    }

    pub(crate) fn endpoint(self) -> Option<Endpoint> {
        Some(match self {
            Self::Messages => Endpoint::Messages,
            Self::CountTokens => Endpoint::CountTokens,
            Self::Batches => Endpoint::Create,
            Self::BatchList => Endpoint::List,
            Self::Batch(_) => Endpoint::Retrieve,
            Self::Cancel(_) => Endpoint::Cancel,
            Self::Delete(_) => Endpoint::Delete,
            Self::Results(_) => Endpoint::Results,
            Self::Bill | Self::Nowhere => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes() {
        let route = Route::of;
        assert_eq!(route("POST", "/v1/messages"), Route::Messages);
        assert_eq!(
            route("POST", "/v1/messages/count_tokens"),
            Route::CountTokens
        );
        assert_eq!(route("GET", "/v1/messages/batches"), Route::BatchList);
        assert_eq!(route("GET", "/v1/messages/batches/b1"), Route::Batch("b1"));
        assert_eq!(
            route("DELETE", "/v1/messages/batches/b1"),
            Route::Delete("b1")
        );
        assert_eq!(
            route("POST", "/v1/messages/batches/b1/cancel"),
            Route::Cancel("b1")
        );
        assert_eq!(
            route("GET", "/v1/messages/batches/b1/results"),
            Route::Results("b1")
        );
        for (method, path) in [
            ("GET", "/v1/messages"),
            ("POST", "/v1/messagesx"),
            ("POST", "/v1/messages/batches/b1"),
            ("GET", "/v1/messages/batches/b1/results/x"),
            ("GET", "/"),
        ] {
            assert_eq!(route(method, path), Route::Nowhere, "{method} {path}");
        }
    }
}
