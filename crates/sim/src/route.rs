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
    ModelList,
    Model(&'a str),
    UsageReport,
    CostReport,
    RateLimits,
    /// Of this workspace.
    WorkspaceLimits(&'a str),
    /// A known path that takes these methods only.
    WrongMethod(&'static str),
    Nowhere,
}

/// Whether a path belongs to the simulator itself and not to the API.
pub(crate) fn is_control(path: &str) -> bool {
    path.strip_prefix("/_sim")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl<'a> Route<'a> {
    pub(crate) fn of(method: &str, path: &'a str) -> Self {
        let Some(rest) = path.strip_prefix("/v1/") else {
            return Self::Nowhere;
        };
        let mut parts = rest.split('/');
        let mut next = || parts.next().filter(|part| !part.is_empty());
        let parts = [next(), next(), next(), next(), next()];
        let get = |route| [Some(("GET", route)), None];
        let post = |route| [Some(("POST", route)), None];
        let known = match parts {
            [Some("messages"), None, ..] => post(Self::Messages),
            [Some("messages"), Some("count_tokens"), None, ..] => post(Self::CountTokens),
            [Some("messages"), Some("batches"), None, ..] => [
                Some(("GET", Self::BatchList)),
                Some(("POST", Self::Batches)),
            ],
            [Some("messages"), Some("batches"), Some(id), None, _] => [
                Some(("GET", Self::Batch(id))),
                Some(("DELETE", Self::Delete(id))),
            ],
            [
                Some("messages"),
                Some("batches"),
                Some(id),
                Some("cancel"),
                None,
            ] => post(Self::Cancel(id)),
            [
                Some("messages"),
                Some("batches"),
                Some(id),
                Some("results"),
                None,
            ] => get(Self::Results(id)),
            [Some("models"), None, ..] => get(Self::ModelList),
            [Some("models"), Some(id), None, ..] => get(Self::Model(id)),
            [Some("organizations"), Some("rate_limits"), None, ..] => get(Self::RateLimits),
            [Some("organizations"), Some("cost_report"), None, ..] => get(Self::CostReport),
            [
                Some("organizations"),
                Some("usage_report"),
                Some("messages"),
                None,
                _,
            ] => get(Self::UsageReport),
            [
                Some("organizations"),
                Some("workspaces"),
                Some(id),
                Some("rate_limits"),
                None,
            ] => get(Self::WorkspaceLimits(id)),
            _ => return Self::Nowhere,
        };
        let mut methods = known.iter().flatten();
        let found = methods.find(|(verb, _)| *verb == method);
        match (found, known) {
            (Some((_, route)), _) => *route,
            (None, [_, Some(("POST", _))]) => Self::WrongMethod("GET, POST"),
            (None, [_, Some(_)]) => Self::WrongMethod("GET, DELETE"),
            (None, [Some(("POST", _)), None]) => Self::WrongMethod("POST"),
            (None, _) => Self::WrongMethod("GET"),
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
            Self::ModelList | Self::Model(_) => Endpoint::Models,
            Self::UsageReport | Self::CostReport | Self::RateLimits | Self::WorkspaceLimits(_) => {
                Endpoint::Admin
            }
            Self::WrongMethod(_) | Self::Nowhere => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes() {
        for (method, path, wanted) in [
            ("POST", "/v1/messages", Route::Messages),
            ("POST", "/v1/messages/count_tokens", Route::CountTokens),
            ("GET", "/v1/messages/batches", Route::BatchList),
            ("GET", "/v1/messages/batches/", Route::BatchList),
            ("GET", "/v1/messages/batches/b1", Route::Batch("b1")),
            ("DELETE", "/v1/messages/batches/b1", Route::Delete("b1")),
            (
                "POST",
                "/v1/messages/batches/b1/cancel",
                Route::Cancel("b1"),
            ),
            (
                "GET",
                "/v1/messages/batches/b1/results",
                Route::Results("b1"),
            ),
            ("GET", "/v1/models/m", Route::Model("m")),
            (
                "GET",
                "/v1/organizations/usage_report/messages",
                Route::UsageReport,
            ),
            ("GET", "/v1/messages", Route::WrongMethod("POST")),
            (
                "PUT",
                "/v1/messages/batches",
                Route::WrongMethod("GET, POST"),
            ),
            (
                "POST",
                "/v1/messages/batches/b1",
                Route::WrongMethod("GET, DELETE"),
            ),
            ("POST", "/v1/messagesx", Route::Nowhere),
            ("GET", "/v1/messages/batches/b1/results/x", Route::Nowhere),
            ("GET", "/", Route::Nowhere),
        ] {
            assert_eq!(Route::of(method, path), wanted, "{method} {path}");
        }
        assert!(is_control("/_sim/bill") && !is_control("/_simulator"));
    }
}
