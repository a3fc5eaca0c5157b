//! The bytes of a journal record: a head of 16 bytes, then the payload.
//!
//! Head: payload length (u32), its complement (u32), the first 8 bytes of the payload's BLAKE3. The
//! complement tells a damaged length from a record that the file ends within; without it, one
//! flipped bit would pass for a torn tail and cut off everything behind it. Integers are
//! little-endian.

use std::io;

use offpeak_core::units::{Timestamp, Usd};

use super::Record;

pub(super) const HEADER_LEN: usize = 16;

/// Where the body of an answer begins in its record: behind head, kind, row, time and status.
pub(crate) const BODY_AT: u64 = HEADER_LEN as u64 + 1 + 8 + 8 + 2;

/// How far before the body of an answer the time of its send is: that, and the status.
pub(crate) const TIME_BEFORE_BODY: u64 = 8 + 2;

const SENT: u8 = 1;
const ANSWERED: u8 = 2;
const UNKNOWN: u8 = 3;
const NOT_SENT: u8 = 4;
const LOST: u8 = 5;

/// A record's head whose length can be believed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) len: u32,
    check: [u8; 8],
}

impl Header {
    pub(super) fn parse(head: &[u8; HEADER_LEN]) -> Option<Self> {
        let mut fields = Fields(head);
        let (len, complement) = (u32::from_le_bytes(fields.take()?), fields.take()?);
        (u32::from_le_bytes(complement) == !len).then_some(Self {
            len,
            check: fields.take()?,
        })
    }

    pub(super) fn fits(self, payload: &[u8]) -> bool {
        checksum(payload) == self.check
    }
}

fn checksum(payload: &[u8]) -> [u8; 8] {
    let hash = blake3::hash(payload);
    let mut check = [0; 8];
    check.copy_from_slice(&hash.as_bytes()[..8]);
    check
}

/// Appends the bytes of a record.
pub(super) fn encode(record: &Record, out: &mut Vec<u8>) -> io::Result<()> {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_LEN]);
    match record {
        Record::Sent {
            row,
            attempt,
            at,
            held,
        } => {
            out.push(SENT);
            out.extend_from_slice(&row.to_le_bytes());
            out.extend_from_slice(&attempt.to_le_bytes());
            out.extend_from_slice(&at.as_micros().to_le_bytes());
            out.extend_from_slice(&held.pico().to_le_bytes());
        }
        Record::Answered {
            row,
            at,
            status,
            body,
        } => {
            out.push(ANSWERED);
            out.extend_from_slice(&row.to_le_bytes());
            out.extend_from_slice(&at.as_micros().to_le_bytes());
            out.extend_from_slice(&status.to_le_bytes());
            out.extend_from_slice(body);
        }
        Record::Unknown { row, held } | Record::Lost { row, held } => {
            let lost = matches!(record, Record::Lost { .. });
            out.push(if lost { LOST } else { UNKNOWN });
            out.extend_from_slice(&row.to_le_bytes());
            out.extend_from_slice(&held.pico().to_le_bytes());
        }
        Record::NotSent { row } => {
            out.push(NOT_SENT);
            out.extend_from_slice(&row.to_le_bytes());
        }
    }
    let (head, payload) = out[start..].split_at_mut(HEADER_LEN);
    let len = u32::try_from(payload.len()).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "a journal record is at most 4 GiB long",
        )
    })?;
    head[..4].copy_from_slice(&len.to_le_bytes());
    head[4..8].copy_from_slice(&(!len).to_le_bytes());
    head[8..].copy_from_slice(&checksum(payload));
    Ok(())
}

/// Reads a payload whose checksum fits; `None` when a later version wrote it.
pub(super) fn decode(payload: &[u8]) -> Option<Record> {
    let mut fields = Fields(payload);
    let [kind] = fields.take()?;
    let row = u64::from_le_bytes(fields.take()?);
    let record = match kind {
        SENT => Record::Sent {
            row,
            attempt: u16::from_le_bytes(fields.take()?),
            at: fields.time()?,
            held: fields.money()?,
        },
        ANSWERED => Record::Answered {
            row,
            at: fields.time()?,
            status: u16::from_le_bytes(fields.take()?),
            body: std::mem::take(&mut fields.0).to_vec(),
        },
        UNKNOWN => Record::Unknown {
            row,
            held: fields.money()?,
        },
        LOST => Record::Lost {
            row,
            held: fields.money()?,
        },
        NOT_SENT => Record::NotSent { row },
        _ => return None,
    };
    fields.0.is_empty().then_some(record)
}

/// What of the bytes is still unread.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    fn time(&mut self) -> Option<Timestamp> {
        self.take()
            .map(|b| Timestamp::from_micros(i64::from_le_bytes(b)))
    }

    fn money(&mut self) -> Option<Usd> {
        self.take().map(|b| Usd::from_pico(i128::from_le_bytes(b)))
    }
}
