//! The account of a request body: how much of it was handed to the connection, and the seal that makes this final.
//!
//! A byte counts as handed over when the connection takes it, which is before it is on the wire: the account may claim too
//! much and never too little. What was counted is only proof once nothing more can follow, so an account is sealed before
//! it is read, and a sealed body gives no further byte.
//! Leaves out when to seal (`send`, `answer`) and what the verdict means for money (callers).

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::{Notify, mpsc};

use crate::call::Body;

/// The largest piece of a body that is handed over at once, in bytes: the grain of the account.
const PIECE_BYTES: usize = 64 * 1024;

/// How much of a request body was handed to the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sent {
    /// No byte of the body. A request without a body: it was never started.
    Nothing,
    /// Some, but not all: the request cannot have been received in full.
    Part,
    /// Every byte: the request may have been received and carried out.
    Whole,
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing of the request body was sent",
            Self::Part => "part of the request body was sent",
            Self::Whole => "the whole request was sent",
        })
    }
}

/// The reader's end of an account. Dropping it seals the account: nobody is left who would want the rest sent.
#[derive(Debug)]
pub(crate) struct Account(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    len: u64,
    entries: Mutex<Entries>,
    moved: Notify,
}

#[derive(Debug, Default)]
struct Entries {
    given: u64,
    sealed: bool,
    fault: Option<io::Error>,
}

impl Account {
    /// Ends the upload and says how much of it had been handed over. A request without a body counts as whole.
    pub(crate) fn seal(&self) -> Sent {
        let mut entries = self.0.entries();
        entries.sealed = true;
        match entries.given {
            given if given == self.0.len => Sent::Whole,
            0 => Sent::Nothing,
            _ => Sent::Part,
        }
    }

    /// The producer's failure, once.
    pub(crate) fn take_fault(&self) -> Option<io::Error> {
        self.0.entries().fault.take()
    }

    /// Waits until another piece of the body is handed over.
    pub(crate) fn moved(&self) -> impl Future<Output = ()> {
        self.0.moved.notified()
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.seal();
    }
}

impl Shared {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Books `count` bytes; false if the account is sealed and they must not leave.
    fn give(&self, count: usize) -> bool {
        let mut entries = self.entries();
        if entries.sealed {
            return false;
        }
        entries.given += count as u64;
        drop(entries);
        self.moved.notify_one();
        true
    }
}

/// A request body that keeps an account of itself. Its length is always known.
#[derive(Debug)]
pub(crate) struct SendBody {
    shared: Arc<Shared>,
    /// Ready to be handed over, in pieces.
    current: Bytes,
    /// What the producer still owes, apart from `current` and `last`.
    owed: u64,
    /// The chunk that completes the body, held back until the producer has closed the channel.
    last: Bytes,
    /// Still to be handed over.
    left: u64,
    chunks: Option<mpsc::Receiver<io::Result<Bytes>>>,
}

impl SendBody {
    pub(crate) fn new(body: Body) -> (Self, Account) {
        let (current, len, chunks) = match body {
            Body::Empty => (Bytes::new(), 0, None),
            Body::Json(bytes) => {
                let len = bytes.len() as u64;
                (bytes, len, None)
            }
            Body::Stream { len, chunks } => (Bytes::new(), len, Some(chunks)),
        };
        let shared = Arc::new(Shared {
            len,
            entries: Mutex::default(),
            moved: Notify::new(),
        });
        let body = Self {
            shared: shared.clone(),
            owed: if chunks.is_some() { len } else { 0 },
            current,
            last: Bytes::new(),
            left: len,
            chunks,
        };
        (body, Account(shared))
    }

    /// Bytes in the body.
    pub(crate) fn len(&self) -> u64 {
        self.shared.len
    }

    /// Waits for the producer of an empty body to end without a byte: the connection never asks for a body of length zero.
    pub(crate) async fn settle_empty(&mut self) -> Result<(), io::Error> {
        let Some(mut chunks) = self.chunks.take_if(|_| self.left == 0) else {
            return Ok(());
        };
        while let Some(chunk) = chunks.recv().await {
            self.take_chunk(chunk?)?;
        }
        Ok(())
    }

    fn take_chunk(&mut self, chunk: Bytes) -> io::Result<()> {
        let len = chunk.len() as u64;
        if len > self.owed {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("more than the announced {} bytes", self.shared.len),
            ));
        }
        self.owed -= len;
        match self.owed {
            0 if len > 0 => self.last = chunk,
            _ => self.current = chunk,
        }
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        self.chunks = None;
        if self.owed > 0 {
            let came = self.shared.len - self.owed;
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!(
                    "ended after {came} of the announced {} bytes",
                    self.shared.len
                ),
            ));
        }
        self.current = std::mem::take(&mut self.last);
        Ok(())
    }

    fn give_piece(&mut self) -> io::Result<Frame<Bytes>> {
        let piece = self.current.split_to(self.current.len().min(PIECE_BYTES));
        if !self.shared.give(piece.len()) {
            return Err(stopped());
        }
        self.left -= piece.len() as u64;
        Ok(Frame::data(piece))
    }

    /// Leaves the producer's failure for the reader of the account; the connection only learns that the body stopped.
    fn fail(&mut self, fault: io::Error) -> io::Error {
        self.chunks = None;
        self.shared.entries().fault = Some(fault);
        stopped()
    }
}

fn stopped() -> io::Error {
    io::Error::other("the request body was stopped")
}

impl http_body::Body for SendBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        loop {
            if !this.current.is_empty() {
                return Poll::Ready(Some(this.give_piece()));
            }
            let Some(chunks) = &mut this.chunks else {
                return Poll::Ready(None);
            };
            let step = match ready!(chunks.poll_recv(cx)) {
                Some(Ok(chunk)) => this.take_chunk(chunk),
                Some(Err(fault)) => Err(fault),
                None => this.close(),
            };
            if let Err(fault) = step {
                return Poll::Ready(Some(Err(this.fail(fault))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use http_body::Body as _;
    use proptest::prelude::*;

    use super::*;

    fn streamed(len: u64, chunks: &[usize], fails: bool) -> (SendBody, Account) {
        let (producer, receiver) = mpsc::channel(64);
        for &size in chunks {
            let chunk = Bytes::from(vec![b'7'; size]);
            producer.try_send(Ok(chunk)).unwrap();
        }
        if fails {
            producer.try_send(Err(io::Error::other("gone"))).unwrap();
        }
        let chunks = receiver;
        SendBody::new(Body::Stream { len, chunks })
    }

    /// Polls as a connection does: until the body says that it has ended, or fails. The bytes it gave, and the verdict.
    fn run(body: &mut SendBody) -> (u64, Result<(), io::Error>) {
        let mut given = 0;
        let mut cx = Context::from_waker(Waker::noop());
        while !body.is_end_stream() {
            match Pin::new(&mut *body).poll_frame(&mut cx) {
                Poll::Ready(Some(Ok(frame))) => given += frame.into_data().unwrap().len() as u64,
                Poll::Ready(Some(Err(fault))) => return (given, Err(fault)),
                Poll::Ready(None) | Poll::Pending => panic!("neither ended nor failed"),
            }
        }
        (given, Ok(()))
    }

    #[test]
    fn nothing_is_given_after_the_seal() {
        let bytes = Bytes::from(vec![b'7'; 3 * PIECE_BYTES]);
        let (mut body, account) = SendBody::new(Body::Json(bytes));
        let mut cx = Context::from_waker(Waker::noop());
        let first = Pin::new(&mut body).poll_frame(&mut cx);
        assert!(matches!(first, Poll::Ready(Some(Ok(_)))));
        assert_eq!(account.seal(), Sent::Part);
        let (given, end) = run(&mut body);
        assert_eq!((given, end.is_err()), (0, true));
        assert_eq!(account.seal(), Sent::Part);
    }

    proptest! {
        #[test]
        fn a_body_is_whole_exactly_when_its_producer_keeps_its_word(
            len in 1_u64..300_000,
            mut chunks in prop::collection::vec(prop_oneof![Just(0_usize), 1..150_000_usize], 0..6),
            exact: bool,
            fails: bool,
        ) {
            let sum = chunks.iter().sum::<usize>() as u64;
            if exact && sum < len {
                chunks.push(usize::try_from(len - sum).unwrap());
            }
            let sum = chunks.iter().sum::<usize>() as u64;
            let (mut body, account) = streamed(len, &chunks, fails);
            let (given, end) = run(&mut body);
            if sum == len && !fails {
                prop_assert!(end.is_ok());
                prop_assert_eq!((given, account.seal()), (len, Sent::Whole));
            } else {
                prop_assert!(end.is_err() && account.take_fault().is_some());
                prop_assert!(given < len);
                let sent = if given == 0 { Sent::Nothing } else { Sent::Part };
                prop_assert_eq!(account.seal(), sent);
            }
        }
    }
}
