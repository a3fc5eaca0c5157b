//! The threads of an ingest: one reads, some parse, the caller's takes the rows in their order.
//!
//! A fixed number of buffers goes round, which bounds both memory and how far the reader runs
//! ahead. When one side fails, the channels close and the others end by themselves.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use super::error::IngestError;
use super::parser::Parser;
use super::reader::{Piece, Pieces};
use super::rows::Rows;
use super::sink::Sink;

/// Sizes of the pipeline.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tuning {
    /// Bytes of a piece, unless a row is longer.
    pub(super) piece_len: usize,
    /// Threads that parse.
    pub(super) workers: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            piece_len: 2 << 20,
            workers: 2,
        }
    }
}

/// A piece's rows with its number; `None` from a thread that panics.
type Done = Option<(u64, Rows)>;

/// Runs all pieces through the parsers into the sink; returns the reader at its end.
pub(super) fn run(
    pieces: Pieces<File>,
    first: Option<Piece>,
    parsers: Vec<Parser<'_>>,
    sink: &mut Sink<'_>,
    progress: &dyn Fn(u64),
) -> Result<Pieces<File>, IngestError> {
    let buffers = parsers.len() + 3;
    let (spare_in, spare) = sync_channel(buffers);
    let (to_parse, parse) = sync_channel(parsers.len());
    let (done_in, done) = sync_channel::<Done>(buffers + parsers.len());
    let parse = Mutex::new(parse);
    for _ in 0..buffers {
        // The channel has room for all of them.
        let _ = spare_in.try_send(Rows::default());
    }
    let path = sink.input.to_owned();
    let pieces = std::thread::scope(|scope| {
        let parse = &parse;
        let reader = scope.spawn(move || read(pieces, first, &spare, &to_parse));
        for mut parser in parsers {
            let done = done_in.clone();
            scope.spawn(move || {
                let alarm = Alarm(&done);
                while let Some((number, rows)) = take(parse) {
                    if done.send(Some((number, parser.parse(rows)))).is_err() {
                        break;
                    }
                }
                drop(alarm);
            });
        }
        drop(done_in);
        drain(done, spare_in, sink, progress)?;
        match reader.join() {
            Ok(read) => read.map_err(|source| IngestError::Read { path, source }),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })?;
    Ok(pieces)
}

/// Sends numbered pieces until the input or the demand ends.
fn read(
    mut pieces: Pieces<File>,
    first: Option<Piece>,
    spare: &Receiver<Rows>,
    to_parse: &SyncSender<(u64, Rows)>,
) -> io::Result<Pieces<File>> {
    let mut number = 0;
    let mut first = first;
    while let Ok(Rows { piece, made, rows }) = spare.recv() {
        let next = match first.take() {
            Some(first) => Some(first),
            None => pieces.next(piece.bytes)?,
        };
        let Some(piece) = next else { break };
        if to_parse
            .send((number, Rows::of(piece, made, rows)))
            .is_err()
        {
            break;
        }
        number += 1;
    }
    Ok(pieces)
}

fn take(parse: &Mutex<Receiver<(u64, Rows)>>) -> Option<(u64, Rows)> {
    parse
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .recv()
        .ok()
}

/// Hands the pieces to the sink in their order.
fn drain(
    done: Receiver<Done>,
    spare: SyncSender<Rows>,
    sink: &mut Sink<'_>,
    progress: &dyn Fn(u64),
) -> Result<(), IngestError> {
    let mut early = BTreeMap::new();
    let mut next = 0;
    for done in done {
        // A thread panicked; joining it will say so.
        let Some((number, rows)) = done else { break };
        early.insert(number, rows);
        while let Some(mut rows) = early.remove(&next) {
            next += 1;
            sink.take(&mut rows)?;
            progress(rows.piece.read);
            // When the input has ended nobody takes buffers any more.
            let _ = spare.try_send(rows);
        }
    }
    Ok(())
}

/// Tells the others when a parser panics: its piece is lost, and waiting for it would never end.
struct Alarm<'a>(&'a SyncSender<Done>);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.0.send(None);
        }
    }
}
