//! Every row once and in order, or no file.

use offpeak_core::job::shard::ShardNo;
use proptest::prelude::*;

use super::*;
use crate::disk::Disk;
use crate::settle::kept::KeptIn;
use crate::settle::segment::{SegmentWriter, frame_line};

struct Job {
    dir: tempfile::TempDir,
    spool: SpoolDir,
}

impl Job {
    fn of(segments: &[Vec<u64>]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let spool = SpoolDir::new(dir.path().join("abcdefghij"));
        spool.create().unwrap();
        for (number, rows) in (0..).zip(segments) {
            let path = match number {
                0 => spool.invalid_outcomes(),
                shard => spool.outcomes(ShardNo(shard)),
            };
            let mut segment =
                SegmentWriter::create(&path, KeptIn::Nowhere, &Disk::default()).unwrap();
            let mut framed = Vec::new();
            for row in rows {
                frame_line(*row, &mut framed, |out| {
                    out.extend_from_slice(line(*row).as_bytes());
                });
            }
            segment.append(&framed).unwrap();
            segment.finish().unwrap();
        }
        Self { dir, spool }
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out.jsonl")
    }

    fn write(&self, rows: u64, overwrite: bool) -> Result<Output, OutputError> {
        write_output(&self.spool, rows, &self.out(), overwrite)
    }

    /// Names beside the spool.
    fn files(&self) -> Vec<String> {
        let names = fs::read_dir(self.dir.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != "abcdefghij").collect()
    }
}

fn line(row: u64) -> String {
    format!(
        "{{\"row\":{row},\"text\":\"{}\"}}\n",
        "x".repeat((row % 50) as usize)
    )
}

fn whole(rows: u64) -> Vec<u8> {
    (0..rows).map(line).collect::<String>().into_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn rows_come_out_in_order_however_they_lie_in_segments(
        segment_of in prop::collection::vec(0usize..5, 0..120),
    ) {
        let mut segments = vec![Vec::new(); 5];
        for (row, segment) in (0..).zip(&segment_of) {
            segments[*segment].push(row);
        }
        let rows = segment_of.len() as u64;
        let job = Job::of(&segments);
        let output = job.write(rows, false).unwrap();
        let bytes = fs::read(job.out()).unwrap();
        prop_assert_eq!(&bytes, &whole(rows));
        let digest = blake3::hash(&bytes).into();
        prop_assert_eq!(output, Output { rows, bytes: bytes.len() as u64, digest, reused: Reused::default() });
        prop_assert_eq!(job.files(), ["out.jsonl"]);
    }

    #[test]
    fn one_row_too_few_or_too_many_leaves_no_file(
        rows in 1usize..60, split in any::<prop::sample::Index>(),
        victim in any::<prop::sample::Index>(), twice: bool,
    ) {
        let split = split.index(rows + 1);
        let victim = victim.index(rows) as u64;
        let rows = rows as u64;
        let all: Vec<u64> = (0..rows).collect();
        let mut segments = vec![all[..split].to_vec(), all[split..].to_vec()];
        if twice {
            segments.push(vec![victim]);
        } else {
            segments.iter_mut().for_each(|rows| rows.retain(|row| *row != victim));
        }
        let job = Job::of(&segments);
        let Err(OutputError::Count { wanted, found, .. }) = job.write(rows, false) else {
            return Err(TestCaseError::fail("the count was not noticed"));
        };
        if twice {
            prop_assert!(found == Some(victim) && wanted > victim);
        } else {
            prop_assert_eq!(wanted, victim);
        }
        prop_assert!(job.files().is_empty());
    }
}

#[test]
fn a_row_beyond_the_job_is_one_too_many() {
    let error = Job::of(&[vec![0, 1], vec![2]]).write(2, false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the outcomes cannot be proved complete: row 2 has an outcome, but the job has 2 rows"
    );
}

#[test]
fn an_existing_file_is_left_alone_unless_it_may_be_replaced() {
    let job = Job::of(&[vec![0, 1]]);
    for theirs in [&b"mine"[..], b"", &whole(3)] {
        fs::write(job.out(), theirs).unwrap();
        let error = job.write(2, false).unwrap_err();
        assert!(matches!(error, OutputError::Exists { .. }), "{error}");
        assert_eq!(fs::read(job.out()).unwrap(), theirs);
    }
    let output = job.write(2, true).unwrap();
    assert_eq!(fs::read(job.out()).unwrap(), whole(2));
    // As after a crash between the move and the note that it was done.
    assert_eq!(job.write(2, false).unwrap(), output);
    assert_eq!(job.files(), ["out.jsonl"]);
}

#[test]
fn a_file_that_appears_meanwhile_is_left_alone() {
    let job = Job::of(&[]);
    fs::write(job.out(), "theirs").unwrap();
    let path = job.dir.path().join("part");
    fs::write(&path, "ours").unwrap();
    let placed = Temporary { path }.place(&job.out(), false);
    assert!(matches!(placed, Err(OutputError::Exists { .. })));
    assert_eq!(fs::read(job.out()).unwrap(), b"theirs");
    assert_eq!(job.files(), ["out.jsonl"]);
}

/// A disk with room for so many bytes.
struct SmallDisk {
    room: usize,
}

impl Write for SmallDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fit = bytes.len().min(self.room);
        self.room -= fit;
        if fit == 0 {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(fit)
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_says_how_far_it_came_and_that_nothing_is_lost() {
    let job = Job::of(&[(0..10).collect()]);
    let work = Work::open(&job.spool, 10).unwrap();
    let error = fill(work, Path::new("out.jsonl"), SmallDisk { room: 100 }).map(|_| ());
    let error = error.unwrap_err();
    assert_eq!(
        error.to_string(),
        "out.jsonl: no space left after 100 bytes"
    );
    assert!(error.hint().starts_with("nothing is lost: free some space"));
    assert_eq!(job.write(10, false).unwrap().rows, 10);
}

#[test]
fn a_segment_cut_short_is_an_error_that_names_it() {
    let job = Job::of(&[vec![], (0..10).collect()]);
    let path = job.spool.outcomes(ShardNo(1));
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let error = job.write(10, false).unwrap_err();
    assert!(
        matches!(&error, OutputError::Io { path: named, .. } if *named == path),
        "{error}"
    );
    assert!(job.files().is_empty());
}
