//! Reading rows back: in order at the speed of the disk, at random correctly.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use super::SpoolError;
use super::frames::{Frame, Frames};
use super::layout::SpoolDir;
use super::row::{HEADER_LEN, RowAt, RowMeta, SpooledRow, are_points, decode};

/// Read ahead when rows are asked for in their order.
const WINDOW: usize = 1 << 20;

/// Read when they are not.
const GLANCE: usize = 16 << 10;

/// A row this little behind the last one read still counts as being in order: shards leave rows
/// out.
const NEAR: u64 = 256 << 10;

/// Reads the rows of a job.
#[derive(Debug)]
pub struct SpoolReader {
    dir: SpoolDir,
    frames: Frames,
    segment: Option<Segment>,
    /// Bytes of the segment from `start` on; the rest of it is scratch space.
    window: Vec<u8>,
    filled: usize,
    start: u64,
}

#[derive(Debug)]
struct Segment {
    file: File,
    path: PathBuf,
    number: u32,
    len: u64,
}

impl SpoolReader {
    /// Opens the rows of a job whose ingest was finished.
    ///
    /// # Errors
    ///
    /// When its frames cannot be read.
    pub fn open(dir: &SpoolDir) -> Result<Self, SpoolError> {
        Ok(Self {
            frames: Frames::load(dir)?,
            dir: dir.clone(),
            segment: None,
            window: Vec::new(),
            filled: 0,
            start: 0,
        })
    }

    /// Reads one row.
    ///
    /// # Errors
    ///
    /// When the file system refuses, or no whole row begins there.
    pub fn read(&mut self, at: RowAt) -> Result<SpooledRow<'_>, SpoolError> {
        let (number, offset) = at.parts();
        let offset = u64::from(offset);
        self.enter(number)?;
        let header = self.fetch(offset, HEADER_LEN)?;
        let header: &[u8; HEADER_LEN] = header.try_into().expect("that many bytes were asked for");
        let (meta, extent) = decode(header).map_err(|what| self.damaged(offset, what))?;
        let len = usize::try_from(extent.record_len()).unwrap_or(usize::MAX);
        self.fetch(offset, len)?;
        let frame = match extent.frame {
            None => None,
            Some(id) => match self.frames.get(id) {
                None => return Err(self.damaged(offset, "it names a frame that does not exist")),
                found => found,
            },
        };
        let record = self.loaded(offset, len);
        let (key, rest) = record[HEADER_LEN..].split_at(extent.key_len as usize);
        let points_len = usize::try_from(extent.points_len()).unwrap_or(usize::MAX);
        let (points, middle) = rest.split_at(points_len);
        let (head, tail): (&[u8], &[u8]) =
            frame.map_or((&[], &[]), |Frame { head, tail }| (head, tail));
        if head.len() + middle.len() + tail.len() != meta.request_len as usize {
            return Err(self.damaged(offset, "the lengths of its parts do not add up"));
        }
        if !are_points(points, meta.request_len) {
            return Err(self.damaged(offset, "the place of a cache mark is outside the request"));
        }
        Ok(SpooledRow {
            meta,
            key,
            points,
            parts: [head, middle, tail],
        })
    }

    /// What is known of a row, without its bytes.
    ///
    /// # Errors
    ///
    /// As [`SpoolReader::read`].
    pub fn meta(&mut self, at: RowAt) -> Result<RowMeta, SpoolError> {
        self.read(at).map(|row| row.meta)
    }

    fn enter(&mut self, number: u32) -> Result<(), SpoolError> {
        if self
            .segment
            .as_ref()
            .is_some_and(|segment| segment.number == number)
        {
            return Ok(());
        }
        let path = self.dir.segment(number);
        let file = File::open(&path).map_err(SpoolError::io(&path))?;
        let len = file.metadata().map_err(SpoolError::io(&path))?.len();
        self.segment = Some(Segment {
            file,
            path,
            number,
            len,
        });
        self.filled = 0;
        self.start = 0;
        Ok(())
    }

    fn loaded(&self, offset: u64, len: usize) -> &[u8] {
        let from = usize::try_from(offset - self.start).expect("it was just loaded");
        &self.window[from..from + len]
    }

    /// Makes sure that these bytes of the segment are in the window.
    fn fetch(&mut self, offset: u64, len: usize) -> Result<&[u8], SpoolError> {
        let end = self.start + self.filled as u64;
        if offset < self.start || offset + len as u64 > end {
            let in_order = (self.start..end + NEAR).contains(&offset);
            self.load(offset, len.max(if in_order { WINDOW } else { GLANCE }))?;
            if self.filled < len {
                return Err(self.damaged(offset, "the file ends within a row"));
            }
        }
        Ok(self.loaded(offset, len))
    }

    fn load(&mut self, offset: u64, wanted: usize) -> Result<(), SpoolError> {
        let segment = self.segment.as_mut().expect("a segment was entered");
        // A damaged length must not make us ask for memory that no file fills.
        let rest = usize::try_from(segment.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = wanted.min(rest);
        self.filled = 0;
        self.start = offset;
        if self.window.len() < wanted {
            self.window.resize(wanted, 0);
        } else if self.window.len() > 8 * WINDOW && wanted <= WINDOW {
            self.window.truncate(WINDOW);
            self.window.shrink_to_fit();
        }
        let path = &segment.path;
        segment
            .file
            .seek(SeekFrom::Start(offset))
            .map_err(SpoolError::io(path))?;
        let window = &mut self.window[..wanted];
        segment
            .file
            .read_exact(window)
            .map_err(SpoolError::io(path))?;
        self.filled = wanted;
        Ok(())
    }

    fn damaged(&self, offset: u64, what: &'static str) -> SpoolError {
        let path = self
            .segment
            .as_ref()
            .map(|segment| segment.path.clone())
            .unwrap_or_default();
        SpoolError::Damaged { path, offset, what }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{RowHead, RowMark, RowMarks, SpoolWriter};
    use super::*;
    use offpeak_wire::request::{Shape, Ttl};
    use offpeak_wire::splice::MarkPoint;
    use proptest::prelude::*;

    const LEVEL: RowMark = RowMark {
        group: 0,
        level: 0,
        ttl: Ttl::OneHour,
    };

    fn head(meta: &RowMeta) -> RowHead<'_> {
        let (key, points) = (b"1", &[]);
        RowHead { meta, key, points }
    }

    #[derive(Debug, Clone)]
    struct Given {
        hint: u64,
        key: Vec<u8>,
        request: Vec<u8>,
        mark: Option<MarkPoint>,
    }

    /// Requests with one of a few preambles, so that frames are made, shrunk and passed over.
    fn given() -> impl Strategy<Value = Given> {
        let preamble = prop::sample::select(vec![0usize, 100, 300, 700]);
        let text = prop::collection::vec(97u8..100, 0..40);
        (
            preamble,
            text,
            prop::collection::vec(any::<u8>(), 1..6),
            0u64..3,
            any::<[bool; 2]>(),
        )
            .prop_map(|(preamble, text, key, hint, [marked, string])| {
                let mut request = b"{\"s\":\"".to_vec();
                request.extend((0..preamble).map(|i| b'A' + u8::try_from(i % 26).unwrap()));
                request.extend_from_slice(b"\",\"t\":\"");
                request.extend(text);
                request.extend_from_slice(&b"\"}".repeat(preamble / 7 + 1));
                let shape = if string {
                    Shape::BareString
                } else {
                    Shape::Object
                };
                let end = u32::try_from(6 + preamble).unwrap();
                let mark = marked.then_some(MarkPoint {
                    start: 4,
                    end,
                    shape,
                });
                Given {
                    hint,
                    key,
                    request,
                    mark,
                }
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn rows_come_back_byte_for_byte(
            rows in prop::collection::vec(given(), 1..40),
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        ) {
            let temp = tempfile::tempdir().unwrap();
            let dir = SpoolDir::new(temp.path());
            dir.create().unwrap();
            let mut writer = SpoolWriter::with_segments(&dir, 3000);
            let at: Vec<_> = (0u64..).zip(&rows).map(|(number, given)| {
                let meta = RowMeta::of(number, &given.request);
                let points = given.mark.as_slice();
                let row = RowHead { meta: &meta, key: &given.key, points };
                writer.append(row, given.hint, &given.request).unwrap()
            }).collect();
            writer.finish().unwrap();

            let mut reader = SpoolReader::open(&dir).unwrap();
            let order = (0..rows.len()).chain(order.iter().map(|index| index.index(rows.len())));
            for number in order {
                let given = &rows[number];
                let row = reader.read(at[number]).unwrap();
                prop_assert_eq!(row.meta.row, number as u64);
                prop_assert_eq!(row.key, &given.key);
                prop_assert!(row.is_intact());
                prop_assert_eq!(row.point(0), given.mark);
                for mark in [None, Some(Ttl::FiveMinutes), Some(Ttl::OneHour)] {
                    let mut request = Vec::new();
                    let marks = RowMarks::new(&[LEVEL]).within(mark);
                    row.write_request(marks, &mut request);
                    let expected = match given.mark.zip(mark) {
                        Some((point, ttl)) => point.apply(&given.request, ttl),
                        None => given.request.clone(),
                    };
                    prop_assert_eq!(row.request_len(marks), expected.len() as u64);
                    prop_assert_eq!(request, expected);
                }
            }
        }
    }

    #[test]
    fn a_shared_preamble_is_on_the_disk_once() {
        let temp = tempfile::tempdir().unwrap();
        let dir = SpoolDir::new(temp.path());
        dir.create().unwrap();
        let mut writer = SpoolWriter::create(&dir).unwrap();
        for row in 0..100 {
            let request = format!("{{\"system\":\"{}\",\"n\":{row}}}", "x".repeat(20_000));
            let request = request.as_bytes();
            writer
                .append(head(&RowMeta::of(row, request)), 0, request)
                .unwrap();
        }
        assert!(writer.finish().unwrap() < 60_000);
    }

    #[test]
    fn damage_is_an_error_that_names_the_place() {
        let temp = tempfile::tempdir().unwrap();
        let dir = SpoolDir::new(temp.path());
        dir.create().unwrap();
        let mut writer = SpoolWriter::create(&dir).unwrap();
        let at = writer
            .append(head(&RowMeta::of(0, b"{\"a\":1}")), 0, b"{\"a\":1}")
            .unwrap();
        writer.finish().unwrap();
        let whole = std::fs::read(dir.segment(0)).unwrap();
        for len in 0..whole.len() {
            std::fs::write(dir.segment(0), &whole[..len]).unwrap();
            let error = SpoolReader::open(&dir).unwrap().read(at).unwrap_err();
            assert!(
                error.to_string().contains("the file ends within a row"),
                "{error}"
            );
        }
        std::fs::write(dir.segment(0), &whole).unwrap();
        let error = SpoolReader::open(&dir).unwrap().read(RowAt(1)).unwrap_err();
        assert!(
            matches!(error, SpoolError::Damaged { offset: 1, .. }),
            "{error}"
        );
    }
}
