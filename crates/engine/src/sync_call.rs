//! One synchronous call: in the journal before its first byte leaves, and again before anybody acts
//! on its answer.
//!
//! A row that may be answered at length is asked for as a stream; what is kept is the message that the stream
//! comes to. Leaves out which row is sent when, and what an answer means (the machine).

use offpeak_client::Bytes;
use offpeak_core::job::event::{RowAnswer, Sent};
use offpeak_core::job::shard::ShardNo;
use offpeak_core::job::speed::Limits;
use offpeak_core::price::{Book, Lane};
use offpeak_core::units::{Span, Timestamp, Usd};
use offpeak_wire::error::ErrorBody;
use offpeak_wire::message::MessageView;

use crate::error::EngineError;
use crate::journal::Record;
use crate::journal_writer::JournalWriter;
use crate::settle::priced::priced;
use crate::upstream::Upstream;

/// What a call is about.
#[derive(Debug)]
pub(crate) struct SyncCall {
    pub(crate) shard: ShardNo,
    pub(crate) row: u64,
    pub(crate) attempt: u16,
    pub(crate) held: Usd,
    pub(crate) model: String,
    pub(crate) request: Bytes,
}

/// Makes the call once; says what came back, and the limits that it told.
pub(crate) async fn call(
    upstream: &Upstream,
    journal: &JournalWriter,
    book: &Book,
    call: SyncCall,
) -> Result<(RowAnswer, Limits), EngineError> {
    let SyncCall {
        shard,
        row,
        attempt,
        held,
        model,
        request,
    } = call;
    let at = upstream.now();
    journal
        .append(
            shard,
            Record::Sent {
                row,
                attempt,
                at,
                held,
            },
        )
        .await?;
    match upstream.message(request).await {
        Ok(answer) => {
            let (status, retry_after) = (answer.status, answer.retry_after);
            let body = answer.body.to_vec();
            let kept = body.clone();
            let answered = Record::Answered {
                row,
                at,
                status,
                body: kept,
            };
            journal.append(shard, answered).await?;
            // Only now: an answer without a price must not be lost, it was paid.
            let read = read_answer(book, &model, at, status, &body, retry_after)?;
            Ok((read, answer.limits))
        }
        Err(sent) => {
            let record = match sent {
                Sent::Whole => Record::Lost { row, held },
                Sent::Nothing | Sent::Part => Record::NotSent { row },
            };
            journal.append(shard, record).await?;
            Ok((RowAnswer::Lost { sent }, Limits::default()))
        }
    }
}

/// Puts an answer into the words of the machine. `at` is when the call was sent: its prices hold.
pub(crate) fn read_answer(
    book: &Book,
    model: &str,
    at: Timestamp,
    status: u16,
    body: &[u8],
    retry_after: Option<Span>,
) -> Result<RowAnswer, EngineError> {
    if status != 200 {
        let ErrorBody { kind, message, .. } = ErrorBody::parse(status, body);
        return Ok(RowAnswer::Error {
            kind,
            message,
            retry_after,
        });
    }
    let Ok(message) = MessageView::parse(body) else {
        return Ok(RowAnswer::Unreadable);
    };
    let sums = priced(
        book,
        Lane::Sync,
        at,
        [&message.model, model],
        &message.usage,
    )?;
    Ok(RowAnswer::Message {
        stop: message.stop_reason,
        sums: Box::new(sums),
    })
}
