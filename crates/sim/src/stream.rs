//! Owns a streamed body on its way: its pieces, the time between them, and how it ends. What the
//! events say is `answer`'s matter, waiting the server's.

/// What can happen to a streamed answer after its 200. The percentage says how much of it comes
/// before that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamFault {
    /// An `error` event (`overloaded_error`), and the end.
    ErrorEvent {
        /// Share of the events that come before, in percent.
        after_percent: u8,
    },
    /// The connection breaks in the middle of an event.
    Truncated {
        /// Share of the events that come before, in percent.
        after_percent: u8,
    },
    /// Nothing more comes, and the connection stays open.
    Stalled {
        /// Share of the events that come before, in percent.
        after_percent: u8,
    },
}

/// How a streamed body ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// In good order.
    #[default]
    Complete,
    /// The connection breaks.
    Broken,
    /// Never.
    Stalled,
}

/// A streamed body: pieces of bytes, each with the time that passes before it.
#[derive(Clone, Debug, Default)]
pub struct Events {
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
    /// Pieces that were taken, and where their bytes end.
    taken: usize,
    at: usize,
    ending: Ending,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Microseconds.
    wait: u64,
    end: usize,
}

impl Events {
    /// Appends a piece that leaves `wait` microseconds after the one before.
    pub(crate) fn piece(
        &mut self,
        wait: u64,
        write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        write(&mut self.bytes)?;
        let end = self.bytes.len();
        self.pieces.push(Piece { wait, end });
        Ok(())
    }

    /// The same body with this fault.
    pub(crate) fn with_fault(mut self, fault: Option<StreamFault>) -> Self {
        let Some(fault) = fault else {
            return self;
        };
        let (StreamFault::ErrorEvent { after_percent }
        | StreamFault::Truncated { after_percent }
        | StreamFault::Stalled { after_percent }) = fault;
        let whole = self.pieces.len() * usize::from(after_percent.min(100)) / 100;
        let start = whole.checked_sub(1).map_or(0, |last| self.pieces[last].end);
        let next = self.pieces.get(whole).copied();
        self.pieces.truncate(whole);
        self.bytes.truncate(match (fault, next) {
            (StreamFault::Truncated { .. }, Some(next)) => start + (next.end - start) / 2,
            _ => start,
        });
        let wait = next.map_or(0, |next| next.wait);
        match fault {
            StreamFault::ErrorEvent { .. } => self.bytes.extend_from_slice(
                b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n",
            ),
            StreamFault::Truncated { .. } => self.ending = Ending::Broken,
            StreamFault::Stalled { .. } => self.ending = Ending::Stalled,
        }
        let end = self.bytes.len();
        if end > start {
            self.pieces.push(Piece { wait, end });
        }
        self
    }

    /// Microseconds between the last piece that was taken and the next; `None` after the last.
    #[must_use]
    pub fn wait(&self) -> Option<u64> {
        self.pieces.get(self.taken).map(|piece| piece.wait)
    }

    /// The next piece.
    pub fn next_piece(&mut self) -> Option<&[u8]> {
        let piece = self.pieces.get(self.taken)?;
        self.taken += 1;
        let start = std::mem::replace(&mut self.at, piece.end);
        Some(&self.bytes[start..piece.end])
    }

    /// What happens after the last piece.
    #[must_use]
    pub fn ending(&self) -> Ending {
        self.ending
    }

    /// All its bytes, and whether it ends in good order.
    pub(crate) fn collect(self) -> (Vec<u8>, bool) {
        (self.bytes, self.ending == Ending::Complete)
    }
}
