//! The dealing of answers, against a slow one that keeps everything in memory.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// An answer of an earlier run: of which request, in which run and row it was paid, and which run has it.
type Given = (u8, u32, u64, u32);

fn answers() -> impl Strategy<Value = Vec<Given>> {
    prop::collection::vec((0u8..6, 1u32..4, 0u64..5, 0u32..3), 0..20)
}

fn place((_, run, row, holder): Given) -> AnswerAt {
    AnswerAt {
        holder,
        segment: run,
        offset: row,
        row: RowAt(row * 7),
    }
}

/// What must come out: the rows that are not sent, and how many could do without a call.
fn slowly(rows: &[(u8, bool)], given: &[Given], reuse: Reuse) -> (Vec<(u64, Why)>, u64, u64) {
    let mut pools: BTreeMap<u8, VecDeque<Given>> = BTreeMap::new();
    let mut sorted = given.to_vec();
    sorted.sort_unstable_by_key(|(request, run, row, holder)| {
        (*request, std::cmp::Reverse(*run), *row, *holder)
    });
    // Copies of one answer are one answer.
    sorted.dedup_by_key(|(request, run, row, _)| (*request, *run, *row));
    for given in sorted {
        pools.entry(given.0).or_default().push_back(given);
    }
    let mut leaders: BTreeMap<u8, u64> = BTreeMap::new();
    let (mut unsent, mut identical, mut earlier) = (Vec::new(), 0, 0);
    for (row, (request, valid)) in (0..).zip(rows) {
        if !valid {
            continue;
        }
        let pool = pools.entry(*request).or_default();
        let answer = if reuse.identical {
            pool.front().copied()
        } else {
            pool.pop_front()
        };
        if let Some(answer) = answer {
            earlier += 1;
            if reuse.earlier_runs {
                unsent.push((row, Why::Earlier(place(answer))));
                continue;
            }
        }
        match leaders.get(request) {
            None => {
                leaders.insert(*request, row);
            }
            Some(of) => {
                identical += 1;
                if reuse.identical {
                    let (of, of_at) = (*of, RowAt(*of * 100));
                    unsent.push((row, Why::Shared { of, of_at }));
                }
            }
        }
    }
    (unsent, identical, earlier)
}

proptest! {
    #[test]
    fn answers_are_dealt_as_by_hand(
        rows in prop::collection::vec((0u8..6, prop::bool::weighted(0.9)), 1..60),
        given in answers(),
        identical: bool, earlier_runs: bool, run_max in 1usize..50,
    ) {
        let reuse = Reuse { identical, earlier_runs };
        let mut requests = Requests(Sorter::in_runs_of(run_max, None));
        for answer @ (request, run, row, _) in &given {
            let offered = Offered {
                digest: [*request; 16],
                run: *run,
                row: *row,
                cost: Usd::from_pico(7),
                at: place(*answer),
            };
            requests.push_answer(&offered).unwrap();
        }
        let mut invalid = Vec::new();
        for (row, (request, valid)) in (0..).zip(&rows) {
            requests.push(&[*request; 16], row, RowAt(row * 100), 3).unwrap();
            if !valid {
                invalid.push((Entry { digest: 0, row, line: row + 1 }, 1));
            }
        }
        let mut found = requests.finish(reuse, &invalid, None).unwrap();
        let (unsent, identical, earlier) = slowly(&rows, &given, reuse);
        let sums = |rows: u64, paid: i128| Unsent {
            rows,
            worst: Usd::from_pico(3 * i128::from(rows)),
            paid: Usd::from_pico(paid * i128::from(rows)),
        };
        prop_assert_eq!((found.identical, found.earlier), (sums(identical, 0), sums(earlier, 7)));
        let dealt = found.unsent.iter().unwrap().map(|record| decode(&record.unwrap()));
        let dealt: Vec<_> = dealt
            .map(|(row, at, why)| {
                assert_eq!(at, RowAt(row * 100));
                (row, why)
            })
            .collect();
        prop_assert_eq!(&dealt, &unsent);
        prop_assert_eq!(found.digest().unwrap().is_some(), !unsent.is_empty());
        let mut asked = found.rows().unwrap();
        for row in 0..rows.len() as u64 {
            let expected = unsent.iter().any(|(unsent, _)| *unsent == row);
            prop_assert_eq!(asked.has(row).unwrap(), expected);
        }
    }
}
