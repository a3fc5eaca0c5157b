//! Owns who may come in: what a request's key is, and which API version it asks for. Keys are
//! told apart by how they begin; no list of them is kept.

use offpeak_wire::error::ErrorKind;

use crate::fault::Endpoint;
use crate::http::{Problem, Request};

/// A key that begins so is unknown to the API: every call is a 401.
const INVALID: &str = "sk-ant-invalid";
/// A key that begins so may do nothing: every call is a 403.
const DENIED: &str = "sk-ant-denied";
/// A key that begins so is for the organisation's reports, and for nothing else.
const ADMIN: &str = "sk-ant-admin";

/// What a request's key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    Nobody,
    Invalid,
    Denied,
    Admin,
    /// Every other key has a workspace of its own.
    Workspace(u64),
}

impl Caller {
    pub(crate) fn of(request: &Request) -> Self {
        match key(request) {
            None => Self::Nobody,
            Some(key) if key.starts_with(INVALID) => Self::Invalid,
            Some(key) if key.starts_with(DENIED) => Self::Denied,
            Some(key) if key.starts_with(ADMIN) => Self::Admin,
            Some(key) => {
                let digest = blake3::hash(key.as_bytes());
                let word = digest.as_bytes().first_chunk();
                Self::Workspace(u64::from_le_bytes(*word.expect("a hash has 32 bytes")))
            }
        }
    }

    /// The workspace that a call to this endpoint is made for; 0 for the organisation's own.
    pub(crate) fn enter(self, endpoint: Endpoint) -> Result<u64, Problem> {
        match (self, endpoint) {
            (Self::Nobody, _) => Err(unknown("API key is invalid.")),
            (Self::Invalid, _) => Err(unknown("invalid x-api-key")),
            (Self::Admin, Endpoint::Admin) => Ok(0),
            (Self::Workspace(workspace), endpoint) if endpoint != Endpoint::Admin => Ok(workspace),
            (Self::Denied | Self::Admin | Self::Workspace(_), _) => Err(Problem::new(
                ErrorKind::Permission,
                "Your API key does not have permission to use the specified resource.",
            )),
        }
    }

    pub(crate) fn workspace(self) -> Option<u64> {
        match self {
            Self::Workspace(workspace) => Some(workspace),
            Self::Nobody | Self::Invalid | Self::Denied | Self::Admin => None,
        }
    }
}

fn unknown(message: &str) -> Problem {
    Problem::new(ErrorKind::Authentication, message)
}

/// The API key, sent either way.
pub(crate) fn key(request: &Request) -> Option<&str> {
    let bearer = request.header("authorization");
    let bearer = bearer.and_then(|value| value.strip_prefix("Bearer "));
    [request.header("x-api-key"), bearer]
        .into_iter()
        .flatten()
        .map(str::trim)
        .find(|key| !key.is_empty())
}

pub(crate) fn version(request: &Request) -> Result<&str, Problem> {
    match request.header("anthropic-version") {
        None | Some("") => Err(Problem::invalid("anthropic-version: header is required")),
        Some(known @ ("2023-01-01" | "2023-06-01" | "2026-10-21")) => Ok(known),
        Some(other) => Err(Problem::invalid(format!(
            "anthropic-version: \"{other}\" is not a valid version"
        ))),
    }
}
