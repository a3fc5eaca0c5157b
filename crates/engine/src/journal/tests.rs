//! Laws of the journal's bytes.

use proptest::prelude::*;

use super::*;

fn record() -> impl Strategy<Value = Record> {
    let at = any::<i64>().prop_map(Timestamp::from_micros);
    let held = any::<i64>().prop_map(|pico| Usd::from_pico(i128::from(pico)));
    prop_oneof![
        (any::<u64>(), any::<u16>(), at.clone(), held.clone()).prop_map(
            |(row, attempt, at, held)| Record::Sent {
                row,
                attempt,
                at,
                held
            }
        ),
        (
            any::<u64>(),
            at,
            any::<u16>(),
            prop::collection::vec(any::<u8>(), 0..80)
        )
            .prop_map(|(row, at, status, body)| Record::Answered {
                row,
                at,
                status,
                body
            }),
        (any::<u64>(), held.clone()).prop_map(|(row, held)| Record::Unknown { row, held }),
        (any::<u64>(), held).prop_map(|(row, held)| Record::Lost { row, held }),
        any::<u64>().prop_map(|row| Record::NotSent { row }),
    ]
}

fn records_of(path: &Path) -> Result<Vec<Record>, JournalError> {
    let mut records = Vec::new();
    replay_at(path, |_, record| records.push(record))?;
    Ok(records)
}

/// A journal on the disk with these groups appended, and its bytes.
fn written(dir: &Path, groups: &[Vec<Record>]) -> (PathBuf, Vec<u8>) {
    let path = dir.join("0.journal");
    let mut journal = Journal::open_at(path.clone(), &Disk::default()).unwrap();
    for group in groups {
        journal.append(group).unwrap();
    }
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes.len() as u64, journal.len());
    (path, bytes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_prefix_of_the_bytes_replays_to_a_prefix_of_the_records(
        groups in prop::collection::vec(prop::collection::vec(record(), 0..5), 0..5),
        cut in any::<prop::sample::Index>(),
        more in record(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (path, bytes) = written(dir.path(), &groups);
        let all = groups.concat();
        prop_assert_eq!(&records_of(&path).unwrap(), &all);

        let cut = cut.index(bytes.len() + 1);
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let mut kept = records_of(&path).unwrap();
        prop_assert_eq!(&kept[..], &all[..kept.len()]);

        // Opening cuts the torn tail, so that what is appended next can be read.
        Journal::open_at(path.clone(), &Disk::default()).unwrap().append(std::slice::from_ref(&more)).unwrap();
        kept.push(more);
        prop_assert_eq!(records_of(&path).unwrap(), kept);
    }

    #[test]
    fn a_flipped_bit_never_hides_a_later_record(
        records in prop::collection::vec(record(), 2..6),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (path, mut bytes) = written(dir.path(), std::slice::from_ref(&records));
        let mut offsets = Vec::new();
        replay_at(&path, |offset, _| offsets.push(offset)).unwrap();
        let last = usize::try_from(*offsets.last().unwrap()).unwrap();
        let at = at.index(last);
        bytes[at] ^= 1 << bit;
        std::fs::write(&path, &bytes).unwrap();
        let error = records_of(&path).unwrap_err();
        let start = offsets.iter().rev().find(|o| **o <= at as u64).unwrap();
        let JournalError::Damaged { offset, .. } = error else {
            return Err(TestCaseError::fail("not reported as damage"));
        };
        prop_assert_eq!(offset, *start);
        prop_assert!(Journal::open_at(path, &Disk::default()).is_err());
    }
}

#[test]
fn pages_that_were_never_filled_in_are_a_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    let kept = Record::NotSent { row: 7 };
    let torn = Record::Answered {
        row: 8,
        at: Timestamp::EPOCH,
        status: 200,
        body: vec![b'x'; 5000],
    };
    let (path, mut bytes) = written(dir.path(), &[vec![kept.clone()], vec![torn]]);
    for hole in [bytes.len() - 4096, HEADER_LEN + 9] {
        bytes[hole..].fill(0);
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(records_of(&path).unwrap(), std::slice::from_ref(&kept));
    }
}

#[test]
fn a_record_can_be_read_again_by_its_offset() {
    let dir = tempfile::tempdir().unwrap();
    let group = [
        Record::NotSent { row: 1 },
        Record::Answered {
            row: 2,
            at: Timestamp::EPOCH,
            status: 529,
            body: b"{}".to_vec(),
        },
    ];
    let (path, _) = written(dir.path(), &[group.to_vec()]);
    let mut seen = Vec::new();
    replay_at(&path, |offset, record| seen.push((offset, record))).unwrap();
    let mut reader = RecordReader::open(&path).unwrap();
    for (offset, record) in seen.into_iter().rev() {
        assert_eq!(reader.read(offset).unwrap(), record);
    }
}

#[test]
fn a_journal_that_was_never_opened_has_no_records() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(records_of(&dir.path().join("9.journal")).unwrap(), []);
}
