//! Laws of marks over groups that stand on each other: against all markings of small forests, row by
//! row, and of the decision over them.

use offpeak_wire::request::Ttl;
use proptest::prelude::*;

use crate::price::{Book, Lane, Rates};
use crate::units::{Span, Timestamp, Usd};

use super::decide::Case;
use super::placement::Reading;
use super::variant::{Marks, Variant};
use super::warm::{Warming, in_time};
use super::*;

const MODELS: [&str; 4] = [
    "claude-haiku-5-5",
    "claude-opus-5",
    "claude-opus-4-6",
    "claude-sonnet-5-5",
];

fn now() -> Timestamp {
    Timestamp::of_day("2026-11-22").unwrap()
}

/// One group: which earlier one it stands on (counted from the last), bytes more than that one, rows.
type Shape = (Option<usize>, u64, u64);

pub(super) fn forest(model: &str, shapes: &[Shape], need: Need) -> Workload {
    let mut groups: Vec<GroupProfile> = Vec::new();
    for (place, &(above, more, rows)) in shapes.iter().enumerate() {
        let parent = above.filter(|_| place > 0).map(|back| place - 1 - back % place);
        let prefix_bytes = more + parent.map_or(0, |parent| groups[parent].prefix_bytes);
        groups.push(GroupProfile {
            id: u32::try_from(place).unwrap() + 10,
            parent: parent.map(|parent| groups[parent].id),
            model: model.to_owned(),
            prefix_bytes,
            caller_marked: false,
            has_tools: false,
            sums: Sums {
                rows,
                request_bytes: rows * (prefix_bytes + 500),
                max_tokens: rows * 300,
                worst: Usd::from_pico(1_000_000_000).times(rows),
            },
        });
    }
    Workload {
        rows: groups.iter().map(|group| group.sums.rows).sum(),
        ungrouped: Sums::default(),
        groups,
        need,
        models: vec![model.to_owned()],
        limits: Limits::default(),
    }
}

fn any_shapes(groups: usize) -> impl Strategy<Value = Vec<Shape>> {
    let more = prop_oneof![1u64..4_000, 4_000u64..60_000];
    let rows = prop_oneof![0u64..4, 1u64..400];
    let shape = (prop::option::weighted(0.7, 0usize..4), more, rows);
    prop::collection::vec(shape, 1..=groups)
        .prop_filter("rows", |shapes| shapes.iter().any(|shape| shape.2 > 0))
}

/// What the prompts cost with a marking, row by row, in picodollars; every group is of one model.
fn by_rows(case: &Case<'_>, marks: &[Option<Ttl>], reading: Reading) -> f64 {
    let parent = |place| case.forest.parent(place);
    let path = |place: usize| {
        let mut path: Vec<usize> = std::iter::successors(Some(place), |&at| parent(at)).collect();
        path.reverse();
        path
    };
    let leads = |place: usize| {
        let below = |other: usize| other != place && path(other).contains(&place);
        marks[place].is_some()
            && !(0..marks.len()).any(|other| marks[other].is_some() && below(other))
    };
    let write = |rates: &Rates, ttl| match ttl {
        Ttl::FiveMinutes => rates.write_5m as f64,
        Ttl::OneHour => rates.write_1h as f64,
    };
    let mut written = vec![false; marks.len()];
    let mut sum = 0.0;
    for (place, group) in case.groups.iter().enumerate() {
        let rates = group.priced.rates(reading.lane).unwrap();
        let mut one = |goes_ahead: bool| {
            let (mut cost, mut done) = (0.0, 0.0);
            for at in path(place) {
                let Some(ttl) = marks[at] else { continue };
                let depth = case.groups[at].priced.loads[1].prefix;
                let warm = f64::from(in_time(reading.lane, ttl, reading.turnaround)) / 1e6;
                let found = warm * rates.read as f64 + (1.0 - warm) * write(rates, ttl);
                let first = reading.warming == Warming::FirstCall && !written[at];
                written[at] = true;
                cost += (depth - done) * if goes_ahead || first { write(rates, ttl) } else { found };
                done = depth;
            }
            let load = &group.priced.loads[1];
            cost + (load.prefix - done + load.suffix) * rates.input as f64
        };
        for _ in 0..group.profile.sums.rows {
            sum += one(false);
        }
        // One of the rows that read this mark last goes ahead; which of them, is all the same.
        if reading.warming == Warming::Canary && leads(place) {
            let marked = |at: &&usize| marks[**at].is_some();
            let (mut ahead, mut among, mut done) = (0.0, 0.0, 0.0);
            for &at in path(place).iter().filter(marked) {
                let ttl = marks[at].unwrap();
                let depth = case.groups[at].priced.loads[1].prefix;
                let warm = f64::from(in_time(reading.lane, ttl, reading.turnaround)) / 1e6;
                ahead += (depth - done) * write(rates, ttl);
                among += (depth - done)
                    * (warm * rates.read as f64 + (1.0 - warm) * write(rates, ttl));
                done = depth;
            }
            sum += ahead - among;
        }
    }
    sum
}

fn all_markings(case: &Case<'_>, ttl: Ttl) -> Vec<Vec<Option<Ttl>>> {
    let count = case.groups.len();
    let legal = |marks: &Vec<Option<Ttl>>| {
        (0..count).all(|place| {
            let long = case.groups[place].is_long_enough() && case.forest.users(place) > 1;
            let above = std::iter::successors(Some(place), |&at| case.forest.parent(at));
            let on_path = above.filter(|&at| marks[at].is_some()).count();
            (marks[place].is_none() || long) && on_path <= 4
        })
    };
    let marks = |bits: usize| {
        let mark = |place| (bits >> place & 1 == 1).then_some(ttl);
        (0..count).map(mark).collect::<Vec<_>>()
    };
    (0..1usize << count).map(marks).filter(legal).collect()
}

fn way_of(variant: Variant) -> Reading {
    Reading {
        lane: variant.route.lane(),
        marks: variant.marks,
        warming: variant.warming,
        turnaround: Span::from_secs(3_600),
    }
}

proptest! {
    #[test]
    fn marks_cost_what_they_cost_row_by_row_and_none_are_cheaper(
        shapes in any_shapes(7), model in 0usize..4,
    ) {
        let workload = forest(MODELS[model], &shapes, Need::Whenever);
        let case = Case::new(&workload, Book::embedded(), now()).unwrap();
        for (lane, warming, ttl) in [
            (Lane::Sync, Warming::FirstCall, Ttl::FiveMinutes),
            (Lane::Sync, Warming::FirstCall, Ttl::OneHour),
            (Lane::Batch, Warming::Canary, Ttl::FiveMinutes),
            (Lane::Batch, Warming::Canary, Ttl::OneHour),
        ] {
            let reading = way_of(Variant::marked(lane, Marks::of(ttl), warming));
            let placement = case.forest.place(&case.groups, reading);
            let planned = case.forest.prompts(&case.groups, &placement, reading, 1);
            let planned: f64 = planned.iter().sum::<f64>() * 1e12;
            let told = by_rows(&case, &placement.marks, reading);
            prop_assert!((planned - told).abs() <= told * 1e-9, "{planned} is not {told}");
            let all = all_markings(&case, ttl);
            let best = all.iter().map(|marks| by_rows(&case, marks, reading));
            let best = best.fold(f64::INFINITY, f64::min);
            prop_assert!(
                told <= best * (1.0 + 1e-9),
                "{lane:?} {warming:?} {ttl:?}: {:?} costs {told}, best {best}", placement.marks
            );
        }
    }
}
