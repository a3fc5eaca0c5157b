//! Every row in one shard, every byte counted, whoever goes ahead of whom.

use std::collections::HashSet;

use super::*;
use crate::spool::{IndexWriter, NO_GROUP, RefsReader, RowHead, RowMeta, SpoolReader, SpoolWriter};
use offpeak_wire::request::Shape;
use proptest::prelude::*;

/// Rows of a forest: group 0 on the ground, 1 and 2 on it, 3 on 2, 4 apart.
const PARENTS: [Option<u32>; 5] = [None, Some(0), Some(0), Some(2), None];

fn above(group: u32) -> Vec<u32> {
    let mut path = vec![group];
    while let Some(parent) = path.last().and_then(|last| PARENTS[*last as usize]) {
        path.push(parent);
    }
    path.reverse();
    path
}

#[derive(Debug, Clone)]
struct Given {
    group: u32,
    text: usize,
    worst: u64,
}

fn given() -> impl Strategy<Value = Given> {
    let group = prop::sample::select(vec![0, 1, 2, 3, 4, NO_GROUP]);
    (group, 0usize..60, 0u64..100).prop_map(|(group, text, worst)| Given { group, text, worst })
}

fn shape(group: u32) -> Shape {
    [Shape::Object, Shape::BareString][group as usize % 2]
}

/// What the planner might want: each group with its mark, and whether the marked ones without
/// marks below send a row ahead.
fn cuts(marks: &[Option<Ttl>], canaries: bool) -> BTreeMap<u32, GroupCut> {
    let marked = |group: &u32| marks[*group as usize].is_some();
    let last = |group: u32| above(group).into_iter().rev().find(marked);
    let covered =
        |group: u32| (0..5).any(|o| o != group && marked(&o) && above(o).contains(&group));
    let leads = |group: &u32| marked(group) && !covered(*group);
    let cut = |group: u32| {
        let level = |place: usize, group: u32| GroupLevel {
            place: u8::try_from(place).unwrap(),
            shape: shape(group),
        };
        let path = above(group).into_iter().enumerate();
        let mark = |(place, group): (usize, u32)| {
            Some(GroupMark {
                group,
                level: level(place, group),
                ttl: marks[group as usize]?,
            })
        };
        let last = last(group);
        let ahead = |last: u32| (0..5).filter(leads).find(|o| above(*o).contains(&last));
        GroupCut {
            marks: path.filter_map(mark).collect(),
            behind: last.filter(|_| canaries).and_then(ahead),
        }
    };
    (0..5).map(|group| (group, cut(group))).collect()
}

fn last_group(cut: Option<&GroupCut>) -> Option<u32> {
    cut?.marks.last().map(|mark| mark.group)
}

fn plan() -> impl Strategy<Value = CutPlan> {
    let ttl = prop::sample::select(vec![None, Some(Ttl::FiveMinutes), Some(Ttl::OneHour)]);
    (
        prop::collection::vec(ttl, 5),
        1u32..12,
        100u64..2000,
        prop::option::of(1i128..200),
        any::<[bool; 2]>(),
    )
        .prop_map(
            |(marks, rows_max, bytes_max, worst_max, [sync, canaries])| CutPlan {
                lane: if sync { Lane::Sync } else { Lane::Batch },
                groups: cuts(&marks, canaries),
                rows_max,
                bytes_max,
                worst_max: worst_max.map(Usd::from_pico),
            },
        )
}

fn spooled(rows: &[Given]) -> (tempfile::TempDir, SpoolDir) {
    let temp = tempfile::tempdir().unwrap();
    let dir = SpoolDir::new(temp.path());
    dir.create().unwrap();
    let mut writer = SpoolWriter::create(&dir).unwrap();
    let mut index = IndexWriter::create(&dir).unwrap();
    for (row, given) in (0u64..).zip(rows) {
        // Rows that were left out by ingest leave gaps in the numbers.
        let row = row * 3;
        let mut request = b"{".to_vec();
        let mut points = Vec::new();
        if given.group != NO_GROUP {
            for group in above(given.group) {
                let start = u32::try_from(request.len()).unwrap();
                request.extend_from_slice(b"<>");
                let end = start + 2;
                points.push(MarkPoint {
                    start,
                    end,
                    shape: shape(group),
                });
            }
        }
        request.extend(std::iter::repeat_n(b'y', given.text));
        request.push(b'}');
        let meta = RowMeta::of(row, &request);
        let at = writer
            .append(
                RowHead {
                    meta: &meta,
                    key: b"1",
                    points: &points,
                },
                0,
                &request,
            )
            .unwrap();
        let (group, worst) = (given.group, given.worst);
        index
            .push(&IndexEntry {
                row,
                at,
                worst,
                group,
                request_len: meta.request_len,
            })
            .unwrap();
    }
    writer.finish().unwrap();
    index.finish().unwrap();
    (temp, dir)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_row_is_in_one_shard_and_every_byte_is_counted(
        rows in prop::collection::vec(given(), 0..120), plan in plan(),
    ) {
        let (_temp, dir) = spooled(&rows);
        let job = JobId::of_digest(&[7; 32]);
        let shards = cut(&dir, &job, &plan).unwrap();
        let mut reader = SpoolReader::open(&dir).unwrap();
        let mut seen = HashSet::new();
        let mut led = HashMap::new();
        for (no, shard) in (0u32..).zip(&shards) {
            prop_assert_eq!(shard.no, ShardNo(no));
            prop_assert_eq!(shard.lane, plan.lane);
            let (mut body, mut worst, mut last) = (ENVELOPE_HEAD.to_vec(), 0, None);
            for (place, row) in RefsReader::open(&dir, shard.rows).unwrap().enumerate() {
                let row = row.unwrap();
                prop_assert!(seen.insert(row.row), "row {} twice", row.row);
                prop_assert!(last < Some(row.row), "order");
                last = Some(row.row);
                let given = &rows[usize::try_from(row.row / 3).unwrap()];
                let wanted = plan.groups.get(&given.group).cloned().unwrap_or_default();
                let mark = |mark: &GroupMark| RowMark {
                    group: mark.group,
                    level: mark.level.place,
                    ttl: mark.ttl,
                };
                let marks: Vec<_> = wanted.marks.iter().map(mark).collect();
                prop_assert_eq!(row.marks, RowMarks::new(&marks));
                // The shard's own lifetime cuts none of them short.
                prop_assert_eq!(row.marks.within(shard.mark), row.marks);
                worst += row.worst;
                let spooled = reader.read(row.at).unwrap();
                prop_assert_eq!(spooled.meta.row, row.row);
                if plan.lane == Lane::Batch {
                    if place > 0 {
                        body.extend_from_slice(ROW_SEPARATOR);
                    }
                    let mark = Mark { job: job.clone(), shard: shard.no, row: row.row };
                    row_head(&mark.custom_id(), &mut body);
                }
                spooled.write_request(row.marks, &mut body);
                if plan.lane == Lane::Batch {
                    body.extend_from_slice(ROW_TAIL);
                }
                let behind = wanted.behind.filter(|_| plan.lane == Lane::Batch);
                if shard.role == ShardRole::Canary {
                    let leader = behind.unwrap();
                    let own = |given: &Given| {
                        let wanted = plan.groups.get(&given.group);
                        last_group(wanted) == Some(leader)
                    };
                    prop_assert!(last_group(Some(&wanted)) == Some(leader) || !rows.iter().any(own));
                    prop_assert_eq!(led.insert(leader, shard.no), None, "one row goes ahead");
                } else {
                    prop_assert_eq!(shard.after, behind.map(|leader| led[&leader]));
                }
            }
            body.extend_from_slice(ENVELOPE_TAIL);
            let many = shard.rows.len() > 1;
            prop_assert!(!shard.rows.is_empty() && shard.rows.len() <= plan.rows_max);
            if plan.lane == Lane::Batch {
                prop_assert_eq!(shard.bytes, body.len() as u64);
                prop_assert_eq!(shard.worst, Usd::from_pico(i128::from(worst.div_ceil(2))));
                prop_assert!(!many || shard.bytes <= plan.bytes_max);
            } else {
                let envelope = ENVELOPE_HEAD.len() + ENVELOPE_TAIL.len();
                prop_assert_eq!(shard.bytes, (body.len() - envelope) as u64);
                prop_assert_eq!(shard.worst, Usd::from_pico(worst.into()));
            }
            prop_assert!(!many || plan.worst_max.is_none_or(|max| shard.worst <= max));
        }
        prop_assert_eq!(seen.len(), rows.len());
    }
}

#[test]
fn large_shards_differ_in_their_number_of_rows() {
    let counts: Vec<_> = (0..66).map(|no| staggered(100_000, ShardNo(no))).collect();
    assert_eq!(counts[..3], [100_000, 99_999, 99_998]);
    assert_eq!(counts[63..], [99_937, 100_000, 99_999]);
    assert_eq!(staggered(1, ShardNo(63)), 1);
}

#[test]
fn a_shard_may_be_as_large_as_a_batch_and_not_a_byte_larger() {
    let rows = [10, 20, 30].map(|text| Given {
        group: NO_GROUP,
        text,
        worst: 1,
    });
    let (_temp, dir) = spooled(&rows);
    let job = JobId::of_digest(&[7; 32]);
    let shards = |bytes_max| {
        let plan = CutPlan {
            lane: Lane::Batch,
            groups: BTreeMap::new(),
            rows_max: 100,
            bytes_max,
            worst_max: None,
        };
        let shards = cut(&dir, &job, &plan).unwrap();
        let sizes = shards.iter().map(|shard| (shard.rows.len(), shard.bytes));
        sizes.collect::<Vec<_>>()
    };
    let [(3, whole)] = shards(u64::MAX)[..] else {
        panic!("one shard holds them all")
    };
    assert_eq!(shards(whole), [(3, whole)]);
    let cut: Vec<_> = shards(whole - 1).iter().map(|(rows, _)| *rows).collect();
    assert_eq!(cut, [2, 1]);
}
