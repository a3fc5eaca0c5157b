//! Laws of the order of fields, on small tables.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// Bytes around each value.
const AROUND: u32 = 4;

type Cells = Vec<Vec<Option<String>>>;

fn refs(row: &[Option<String>]) -> Vec<Option<&[u8]>> {
    row.iter()
        .map(|cell| Some(cell.as_ref()?.as_bytes()))
        .collect()
}

fn table(rows: &Cells, fields: usize) -> SampleTable<'_> {
    let mut table = SampleTable::new(vec![AROUND; fields]);
    for row in rows {
        table.push(&refs(row));
    }
    table
}

/// What rows share in these orders, counted anew: each cell at a beginning that was not seen before is
/// paid for.
fn shared(rows: &Cells, orders: &[Vec<usize>]) -> u64 {
    let mut seen = HashSet::new();
    let mut shared = 0;
    for (row, order) in rows.iter().zip(orders) {
        let mut beginning = Vec::new();
        for field in order {
            let Some(value) = &row[*field] else { continue };
            beginning.push((*field, value));
            if !seen.insert(beginning.clone()) {
                shared += value.len() as u64 + u64::from(AROUND);
            }
        }
    }
    shared
}

/// Tables of up to so many rows and fields, with few values and, if asked for, absent ones.
fn tables(rows: usize, fields: usize, absent: bool) -> impl Strategy<Value = (usize, Cells)> {
    (1..=fields).prop_flat_map(move |fields| {
        let few = prop_oneof![3 => 0..2u32, 2 => 0..5u32, 1 => 0..1_000u32];
        let cell = (few, 0..8u32).prop_map(move |(value, gone)| {
            // Long and short values, as in real tables.
            let long = "x".repeat(value as usize % 5 * 3);
            (gone > 0 || !absent).then(|| format!("{value}{long}"))
        });
        let row = prop::collection::vec(cell, fields);
        (Just(fields), prop::collection::vec(row, 0..=rows))
    })
}

fn permutations(fields: usize) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new()];
    for field in 0..fields {
        let longer = |order: &Vec<usize>| {
            let insert = |place| {
                let mut order = order.clone();
                order.insert(place, field);
                order
            };
            (0..=order.len()).map(insert).collect::<Vec<_>>()
        };
        all = all.iter().flat_map(longer).collect();
    }
    all
}

/// The most that rows can share if each may have any order.
fn most(rows: &Cells, fields: usize) -> u64 {
    let permutations = permutations(fields);
    let mut orders = vec![0; rows.len()];
    let mut most = 0;
    loop {
        let chosen: Vec<_> = orders
            .iter()
            .map(|order| permutations[*order].clone())
            .collect();
        most = most.max(shared(rows, &chosen));
        let mut place = 0;
        loop {
            let Some(order) = orders.get_mut(place) else {
                return most;
            };
            *order += 1;
            if *order < permutations.len() {
                break;
            }
            *order = 0;
            place += 1;
        }
    }
}

proptest! {
    #[test]
    fn each_row_keeps_its_fields_and_shares_what_was_promised((fields, rows) in tables(40, 6, true)) {
        let learnt = learn(&table(&rows, fields));
        let layouts: Vec<_> = rows.iter().map(|row| learnt.order.layout(&refs(row))).collect();
        for (row, layout) in rows.iter().zip(&layouts) {
            let mut sorted = layout.order.clone();
            sorted.sort_unstable();
            let present: Vec<_> = (0..fields).filter(|field| row[*field].is_some()).collect();
            prop_assert_eq!(sorted, present);
        }
        let orders: Vec<_> = layouts.into_iter().map(|layout| layout.order).collect();
        prop_assert_eq!(shared(&rows, &orders), learnt.shares.shared);
    }

    #[test]
    fn no_given_or_single_order_shares_more((fields, rows) in tables(40, 6, true)) {
        let learnt = learn(&table(&rows, fields));
        let given: Vec<_> = (0..fields).collect();
        prop_assert_eq!(shared(&rows, &vec![given; rows.len()]), learnt.shares.given);
        prop_assert!(learnt.shares.given <= learnt.shares.single);
        prop_assert!(learnt.shares.single <= learnt.shares.shared);
        prop_assert!(learnt.shares.shared <= learnt.shares.bytes);
    }

    #[test]
    fn rows_that_begin_alike_are_cut_alike((fields, rows) in tables(30, 5, true)) {
        let learnt = learn(&table(&rows, fields));
        let layouts: Vec<_> = rows.iter().map(|row| learnt.order.layout(&refs(row))).collect();
        for (one, a) in rows.iter().zip(&layouts) {
            prop_assert!(a.cuts.is_sorted_by(|x, y| x < y));
            prop_assert!(a.cuts.iter().all(|cut| (1..=a.order.len()).contains(cut)));
            for (other, b) in rows.iter().zip(&layouts) {
                let cells = a.order.iter().zip(&b.order);
                let alike = cells.take_while(|(x, y)| x == y && one[**x] == other[**y]).count();
                let within = |cuts: &[usize]| cuts.iter().filter(|cut| **cut <= alike).count();
                prop_assert_eq!(&a.cuts[..within(&a.cuts)], &b.cuts[..within(&b.cuts)]);
            }
        }
    }

    #[test]
    fn rows_that_were_not_learnt_from_keep_their_fields_too(
        (fields, rows) in tables(20, 6, true), others in prop::collection::vec(prop::option::of(0..5u32), 60),
    ) {
        let order = learn(&table(&rows, fields)).order;
        for row in others.chunks_exact(fields) {
            let row: Vec<_> = row.iter().map(|value| value.map(|value| value.to_string())).collect();
            let mut found = order.layout(&refs(&row)).order;
            found.sort_unstable();
            prop_assert_eq!(found, (0..fields).filter(|field| row[*field].is_some()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_same_rows_give_the_same_order((fields, rows) in tables(40, 6, false)) {
        // Hash maps are seeded differently each time.
        prop_assert_eq!(learn(&table(&rows, fields)), learn(&table(&rows, fields)));
    }
}

/// No ratio is proved: greedy choices can be wrong, and one of these tables shares 59 % of what it could.
#[test]
fn of_tiny_tables_nine_in_ten_are_ordered_as_well_as_can_be() {
    let mut state = 7u64;
    let mut next = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((state >> 33) % below).unwrap()
    };
    let (mut best, mut found, mut possible) = (0, 0, 0);
    for _ in 0..200 {
        let (fields, count) = (3, 4);
        let mut row = || {
            let mut cell = |_| Some("y".repeat(1 + next(3) * 4));
            (0..fields).map(&mut cell).collect()
        };
        let rows: Cells = (0..count).map(|_| row()).collect();
        let (learnt, most) = (learn(&table(&rows, fields)), most(&rows, fields));
        assert!(learnt.shares.shared <= most);
        best += u32::from(learnt.shares.shared == most);
        found += learnt.shares.shared;
        possible += most;
    }
    assert!(best >= 180, "{best} of 200 are best");
    assert!(found * 100 >= possible * 98, "{found} of {possible} bytes");
}

/// In half of the rows few aircraft fly many routes, in the other half many aircraft fly few: whichever of
/// the two columns comes first, it is the wrong one for half of the rows.
#[test]
fn a_table_without_a_leading_column_shares_more_in_an_order_per_row() {
    let mut state = 1u64;
    let mut next = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let row = |number| {
        let (few, many) = (next(5), next(100_000));
        let (aircraft, route) = if number % 2 == 0 {
            (few, many)
        } else {
            (many, few)
        };
        let cells = [
            format!("{}", next(86_400)),
            format!("N{aircraft:05}"),
            format!("owner of {aircraft}"),
            format!("airport {route}"),
            format!("{} miles", 100 + route * 13),
        ];
        cells.map(Some).to_vec()
    };
    let rows: Cells = (0..600).map(row).collect();
    let Shares {
        given,
        single,
        shared,
        ..
    } = learn(&table(&rows, 5)).shares;
    assert!(given * 2 < single, "{given}, {single}, {shared}");
    assert!(single * 4 < shared * 3, "{given}, {single}, {shared}");
}
