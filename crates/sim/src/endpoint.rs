//! Owns what each endpoint does, once a request has come through the frame in `world`.

mod batches;
mod limits;
mod messages;
mod models;
mod reports;

use offpeak_wire::request::{RequestView, RowError};

use serde::Serialize;

use crate::http::Problem;

/// A page of a list (Anthropic docs, list batches and list models).
#[derive(Serialize)]
struct Page<'a, T> {
    data: Vec<T>,
    has_more: bool,
    first_id: Option<&'a str>,
    last_id: Option<&'a str>,
}

/// A request's view, or the API's words for a body that is none.
fn view(body: &[u8]) -> Result<RequestView<'_>, Problem> {
    RequestView::parse(body).map_err(|error: RowError| {
        Problem::invalid(format!("The request body is not valid JSON: {error}"))
    })
}
