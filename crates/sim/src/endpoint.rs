//! Owns what each endpoint does, once a request has come through the frame in `world`.

mod batches;
mod messages;

use offpeak_wire::request::{RequestView, RowError};

use crate::http::Problem;

/// A request's view, or the API's words for a body that is none.
fn view(body: &[u8]) -> Result<RequestView<'_>, Problem> {
    RequestView::parse(body).map_err(|error: RowError| {
        Problem::invalid(format!("The request body is not valid JSON: {error}"))
    })
}
