//! The bulk on its way: the body of a shard streamed from the spool, its results streamed into it.
//!
//! Both directions hold one chunk at a time in memory, and the references of a marked shard: its rows are
//! sent group by group, so that an upstream that takes them in order finds a preamble while it is fresh.
//! The body of a shard is a function of the
//! spool and the shard alone, so it can be measured first and sent later. Leaves out when to do
//! either (the machine) and what results mean (`settle`).

use std::fs::File;
use std::io::{self, Write};

use offpeak_client::{Body, Bytes};
use offpeak_core::job::mark::Mark;
use offpeak_core::job::shard::{JobId, Shard, ShardNo};
use offpeak_core::units::Usd;
use offpeak_wire::batch::{ENVELOPE_HEAD, ENVELOPE_TAIL, ROW_SEPARATOR, ROW_TAIL, row_head};
use tokio::sync::mpsc;

use crate::blocking::blocking;
use crate::spool::{RefsReader, RowRef, SpoolDir, SpoolError, SpoolReader};
use crate::upstream::{Failure, Upstream};

/// Bytes handed to the connection at a time. Many bodies can be on their way at once.
const CHUNK: usize = 64 << 10;

/// Chunks that may wait for the connection.
const CHUNKS_WAITING: usize = 2;

/// What a body came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Measure {
    /// Its bytes.
    pub(crate) bytes: u64,
    /// Its BLAKE3, in hex.
    pub(crate) digest: String,
}

/// The body of a shard, piece by piece: the envelope, our `custom_id`s, the exact requests.
#[derive(Debug)]
pub(crate) struct BodyPieces {
    job: JobId,
    shard: Shard,
    rows: SpoolReader,
    references: References,
    place: Place,
}

/// The rows of a shard in the order of its body.
#[derive(Debug)]
enum References {
    /// As they are in the input.
    AsRead(RefsReader),
    /// By group, those of one group as they are in the input.
    ByGroup(std::vec::IntoIter<RowRef>),
}

impl References {
    fn open(spool: &SpoolDir, shard: &Shard) -> Result<Self, SpoolError> {
        let reader = RefsReader::open(spool, shard.rows)?;
        if shard.mark.is_none() {
            return Ok(Self::AsRead(reader));
        }
        let mut rows = reader.collect::<Result<Vec<_>, _>>()?;
        // The numbers of groups that stand on each other are next to each other.
        rows.sort_unstable_by_key(|reference| (reference.marks.last_group(), reference.row));
        Ok(Self::ByGroup(rows.into_iter()))
    }

    fn next(&mut self) -> Result<Option<RowRef>, SpoolError> {
        match self {
            Self::AsRead(reader) => reader.next().transpose(),
            Self::ByGroup(rows) => Ok(rows.next()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Head,
    Rows,
    End,
}

impl BodyPieces {
    pub(crate) fn open(spool: &SpoolDir, job: JobId, shard: Shard) -> Result<Self, SpoolError> {
        let rows = SpoolReader::open(spool)?;
        let references = References::open(spool, &shard)?;
        Ok(Self {
            job,
            shard,
            rows,
            references,
            place: Place::Head,
        })
    }

    /// The next piece; `None` after the last one.
    pub(crate) fn next_piece(&mut self) -> Result<Option<Vec<u8>>, SpoolError> {
        if self.place == Place::End {
            return Ok(None);
        }
        let mut piece = Vec::with_capacity(CHUNK + CHUNK / 4);
        let mut first = self.place == Place::Head;
        if first {
            piece.extend_from_slice(ENVELOPE_HEAD);
            self.place = Place::Rows;
        }
        while piece.len() < CHUNK {
            let Some(reference) = self.references.next()? else {
                piece.extend_from_slice(ENVELOPE_TAIL);
                self.place = Place::End;
                break;
            };
            let RowRef { row, at, marks, .. } = reference;
            if !std::mem::take(&mut first) {
                piece.extend_from_slice(ROW_SEPARATOR);
            }
            let mark = Mark {
                job: self.job.clone(),
                shard: self.shard.no,
                row,
            };
            row_head(&mark.custom_id(), &mut piece);
            self.rows
                .read(at)?
                .write_request(marks.within(self.shard.mark), &mut piece);
            piece.extend_from_slice(ROW_TAIL);
        }
        Ok(Some(piece))
    }
}

/// Measures the body of a shard.
pub(crate) fn measure_body(
    spool: &SpoolDir,
    job: JobId,
    shard: Shard,
) -> Result<Measure, SpoolError> {
    let mut pieces = BodyPieces::open(spool, job, shard)?;
    let mut hasher = blake3::Hasher::new();
    let mut bytes = 0;
    while let Some(piece) = pieces.next_piece()? {
        hasher.update(&piece);
        bytes += piece.len() as u64;
    }
    Ok(Measure {
        bytes,
        digest: hasher.finalize().to_hex().to_string(),
    })
}

/// The body of a shard as a stream of `len` bytes. A spool that fails midway fails the request,
/// which then was not sent whole.
pub(crate) fn stream_body(spool: SpoolDir, job: JobId, shard: Shard, len: u64) -> Body {
    let (sender, chunks) = mpsc::channel(CHUNKS_WAITING);
    tokio::spawn(async move {
        let mut opened = blocking(move || BodyPieces::open(&spool, job, shard)).await;
        loop {
            let read = blocking(move || match opened {
                Ok(mut pieces) => pieces.next_piece().map(|piece| (pieces, piece)),
                Err(error) => Err(error),
            });
            let (pieces, piece) = match read.await {
                Ok((pieces, Some(piece))) => (pieces, Ok(Bytes::from(piece))),
                Ok((_, None)) => return,
                Err(error) => {
                    let _unwanted = sender.send(Err(io::Error::other(error))).await;
                    return;
                }
            };
            // The receiver is gone when the connection is: nobody wants the rest.
            if sender.send(piece).await.is_err() {
                return;
            }
            opened = Ok(pieces);
        }
    });
    Body::Stream { len, chunks }
}

/// The first rows of a shard that fit: into `worst` of money, or into half of the bytes of its requests; of two
/// rows or more these are never all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Fit {
    pub(crate) rows: u32,
    pub(crate) worst: Usd,
    pub(crate) bytes: u64,
}

/// Finds out how many first rows of a shard fit. With none, `worst` is what the first one needs.
pub(crate) fn fit(spool: &SpoolDir, shard: &Shard, worst: Option<Usd>) -> Result<Fit, SpoolError> {
    let half = match worst {
        Some(_) => 0,
        // Not of `shard.bytes`: what those are beyond the requests is not in proportion once it was cut before.
        None => request_bytes(spool, shard)? / 2,
    };
    let mut sums = Fit::default();
    for reference in RefsReader::open(spool, shard.rows)? {
        let reference = reference?;
        let row = worst_on(shard, &reference);
        let bytes = u64::from(reference.request_len);
        let over = match worst {
            Some(most) => sums.worst + row > most,
            None => sums.rows > 0 && sums.bytes + bytes > half,
        };
        if over {
            if sums.rows == 0 {
                sums.worst = row;
            }
            return Ok(sums);
        }
        sums.rows += 1;
        sums.worst += row;
        sums.bytes += bytes;
    }
    Ok(sums)
}

/// Bytes of all requests of a shard.
fn request_bytes(spool: &SpoolDir, shard: &Shard) -> Result<u64, SpoolError> {
    let mut bytes = 0;
    for reference in RefsReader::open(spool, shard.rows)? {
        bytes += u64::from(reference?.request_len);
    }
    Ok(bytes)
}

/// Most that a row can cost on the lane of its shard.
pub(crate) fn worst_on(shard: &Shard, reference: &RowRef) -> Usd {
    let sync = i128::from(reference.worst);
    match shard.lane {
        offpeak_core::price::Lane::Sync => Usd::from_pico(sync),
        offpeak_core::price::Lane::Batch => Usd::from_pico((sync + 1) / 2),
    }
}

/// A download that did not end well.
#[derive(Debug)]
pub(crate) enum DownloadError {
    /// The upstream or the way to it.
    Upstream(Failure),
    /// Our disk.
    Io(io::Error),
}

/// Streams the results of a batch into the spool: under a name of its own until they are complete
/// and on the disk.
pub(crate) async fn download(
    upstream: &Upstream,
    spool: &SpoolDir,
    shard: ShardNo,
    batch: &offpeak_wire::batch::BatchId,
) -> Result<u64, DownloadError> {
    let mut answer = upstream
        .results(batch)
        .await
        .map_err(DownloadError::Upstream)?;
    let (part, whole) = (spool.results_part(shard), spool.results(shard));
    let mut file = crate::spool::create_file(&part).map_err(DownloadError::Io)?;
    let mut bytes = 0;
    let mut pending: Vec<Bytes> = Vec::new();
    let mut pending_bytes = 0;
    while let Some(chunk) = answer.body.next().await {
        let chunk = chunk.map_err(|error| {
            let message = format!("the results of {batch} broke off: {error}");
            DownloadError::Upstream(Failure {
                kind: None,
                message,
                retry_after: None,
            })
        })?;
        bytes += chunk.len() as u64;
        pending_bytes += chunk.len();
        pending.push(chunk);
        if pending_bytes >= 1 << 20 {
            file = append(file, std::mem::take(&mut pending)).await?;
            pending_bytes = 0;
        }
    }
    let file = append(file, pending).await?;
    let disk = spool.disk().clone();
    let placed = blocking(move || {
        disk.content(&file, &part)?;
        std::fs::rename(&part, &whole)?;
        disk.name_of(&whole)
    });
    placed.await.map_err(DownloadError::Io)?;
    Ok(bytes)
}

async fn append(mut file: File, chunks: Vec<Bytes>) -> Result<File, DownloadError> {
    let written = blocking(move || {
        for chunk in chunks {
            file.write_all(&chunk)?;
        }
        Ok(file)
    });
    written.await.map_err(DownloadError::Io)
}

#[cfg(test)]
mod tests {
    use offpeak_core::job::shard::{ShardRole, ShardState};
    use offpeak_core::price::Lane;
    use offpeak_wire::request::Ttl;

    use super::*;
    use crate::spool::{RefsWriter, RowHead, RowMark, RowMarks, RowMeta, SpoolWriter};

    /// A shard of rows of these groups.
    fn shard_of(dir: &SpoolDir, groups: &[Option<u32>]) -> Shard {
        dir.create().unwrap();
        let mut writer = SpoolWriter::create(dir).unwrap();
        let mut refs = RefsWriter::create(dir, 0).unwrap();
        let mark = |group| {
            let (level, ttl) = (0, Ttl::OneHour);
            RowMarks::new(&[RowMark { group, level, ttl }])
        };
        for (row, group) in (0u64..).zip(groups) {
            let request = format!("{{\"n\":{row}}}");
            let meta = RowMeta::of(row, request.as_bytes());
            let (key, points) = (b"1", &[]);
            let head = RowHead {
                meta: &meta,
                key,
                points,
            };
            let reference = RowRef {
                row,
                at: writer.append(head, 0, request.as_bytes()).unwrap(),
                worst: 1,
                attempts: 0,
                round: 0,
                request_len: meta.request_len,
                marks: group.map_or(RowMarks::NONE, mark),
            };
            refs.push(&reference).unwrap();
        }
        writer.finish().unwrap();
        Shard {
            no: ShardNo(0),
            lane: Lane::Batch,
            role: ShardRole::Bulk,
            rows: refs.finish().unwrap(),
            bytes: 0,
            worst: Usd::ZERO,
            reserved: Usd::ZERO,
            mark: Some(Ttl::OneHour),
            unmarked: None,
            found: false,
            account: None,
            origin: None,
            after: None,
            state: ShardState::Planned,
        }
    }

    #[test]
    fn marked_rows_are_sent_group_by_group_and_others_as_they_came() {
        let temp = tempfile::tempdir().unwrap();
        let dir = SpoolDir::new(temp.path());
        let mut shard = shard_of(&dir, &[Some(2), None, Some(0), Some(2), Some(1), Some(0)]);
        let order = |shard: &Shard| {
            let job = JobId::of_digest(&[7; 32]);
            let mut pieces = BodyPieces::open(&dir, job, shard.clone()).unwrap();
            let mut body = Vec::new();
            while let Some(piece) = pieces.next_piece().unwrap() {
                body.extend_from_slice(&piece);
            }
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let rows = body["requests"].as_array().unwrap();
            let number = |row: &serde_json::Value| row["params"]["n"].as_u64().unwrap();
            rows.iter().map(number).collect::<Vec<_>>()
        };
        assert_eq!(order(&shard), [1, 2, 5, 4, 0, 3]);
        shard.mark = None;
        assert_eq!(order(&shard), [0, 1, 2, 3, 4, 5]);
    }

    /// A part that is cut off has the bytes of all that was around its requests, and would not be halved.
    #[test]
    fn half_of_a_shard_is_never_all_of_it() {
        let temp = tempfile::tempdir().unwrap();
        let dir = SpoolDir::new(temp.path());
        let mut shard = shard_of(&dir, &[None; 6]);
        for bytes in [0, 40, 1_000_000] {
            shard.bytes = bytes;
            let half = fit(&dir, &shard, None).unwrap();
            assert_eq!((half.rows, half.worst), (3, Usd::from_pico(3)));
        }
        shard.rows.to = shard.rows.from + 1;
        assert_eq!(fit(&dir, &shard, None).unwrap().rows, 1);
    }
}
