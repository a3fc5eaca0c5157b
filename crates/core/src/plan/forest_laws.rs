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
        let parent = above
            .filter(|_| place > 0)
            .map(|back| place - 1 - back % place);
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
        evidence: Evidence::default(),
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
                let warm = match reading.warming {
                    Warming::Cold => f64::from(case.groups[at].expected_hits(ttl)) / 1e6,
                    _ => f64::from(in_time(reading.lane, ttl, reading.turnaround)) / 1e6,
                };
                let found = warm * rates.read as f64 + (1.0 - warm) * write(rates, ttl);
                let first = reading.warming == Warming::FirstCall && !written[at];
                written[at] = true;
                cost += (depth - done)
                    * if goes_ahead || first {
                        write(rates, ttl)
                    } else {
                        found
                    };
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
                among +=
                    (depth - done) * (warm * rates.read as f64 + (1.0 - warm) * write(rates, ttl));
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

/// All markings of a cold batch with either lifetime.
fn all_cold_markings(case: &Case<'_>) -> Vec<Vec<Option<Ttl>>> {
    let count = case.groups.len();
    let options = [None, Some(Ttl::FiveMinutes), Some(Ttl::OneHour)];
    let digits = u32::try_from(count).unwrap();
    let marks = |number: usize| {
        let digit = |place: u32| options[number / 3usize.pow(place) % 3];
        (0..digits).map(digit).collect::<Vec<_>>()
    };
    let allowed = |place: usize, ttl: Ttl| {
        let group = &case.groups[place];
        let rates = group.priced.rates(Lane::Batch).unwrap();
        let long = group.is_long_enough() && case.forest.users(place) > 1;
        long && group.hits(ttl).pays(rates, ttl)
    };
    let legal = |marks: &Vec<Option<Ttl>>| {
        (0..count).all(|place| {
            let path = std::iter::successors(Some(place), |&at| case.forest.parent(at));
            let on_path: Vec<Ttl> = path.filter_map(|at| marks[at]).collect();
            let hour_below = on_path.is_sorted_by(|below, above| {
                !(*below == Ttl::OneHour && *above == Ttl::FiveMinutes)
            });
            on_path.len() <= 4 && hour_below && marks[place].is_none_or(|ttl| allowed(place, ttl))
        })
    };
    (0..3usize.pow(digits)).map(marks).filter(legal).collect()
}

fn way_of(variant: Variant) -> Reading {
    Reading {
        lane: variant.route.lane(),
        marks: variant.marks,
        warming: variant.warming,
        turnaround: Span::from_secs(3_600),
    }
}

fn any_need() -> impl Strategy<Value = Need> {
    let by = (1i64..20_000).prop_map(|secs| Need::By {
        slack: Span::from_secs(secs),
    });
    prop_oneof![Just(Need::Seconds), Just(Need::Whenever), by]
}

fn planned(workload: &Workload) -> Plan {
    decide(workload, Book::embedded(), now()).unwrap()
}

fn cost(plan: &Plan) -> f64 {
    plan.cost_of(plan.route).cost.unwrap().mid
}

#[test]
fn what_all_calls_share_and_what_some_share_are_marked_in_one_go() {
    // Instructions for 60 calls; one document is read by twelve of them, one by two.
    let shapes = [
        (None, 8_000, 46),
        (Some(0), 60_000, 12),
        (Some(1), 60_000, 2),
    ];
    let plan = planned(&forest("claude-sonnet-5-5", &shapes, Need::Whenever));
    let marks: Vec<_> = plan
        .groups
        .iter()
        .map(|group| (group.mark, group.canary))
        .collect();
    let hour = Some(Ttl::OneHour);
    assert_eq!(marks, [(hour, false), (hour, true), (None, false)]);
    // Where somebody waits, two calls are enough for five minutes.
    let plan = planned(&forest("claude-sonnet-5-5", &shapes, Need::Seconds));
    let five = Some(Ttl::FiveMinutes);
    assert!(
        plan.groups
            .iter()
            .all(|group| group.mark == five && !group.canary)
    );
}

#[test]
fn a_mark_of_the_callers_bars_those_above_it() {
    let shapes = [
        (None, 20_000, 50),
        (Some(0), 20_000, 50),
        (None, 20_000, 50),
    ];
    let mut workload = forest("claude-sonnet-5-5", &shapes, Need::Whenever);
    workload.groups[1].caller_marked = true;
    let plan = planned(&workload);
    let marks: Vec<_> = plan
        .groups
        .iter()
        .map(|group| (group.mark, group.canary))
        .collect();
    assert_eq!(
        marks,
        [(None, false), (None, true), (Some(Ttl::OneHour), true)]
    );
}

#[test]
fn what_was_learnt_of_cold_batches_replaces_the_canary_only_where_there_is_no_time_for_it() {
    let between = Need::By {
        slack: Span::from_secs(5_400),
    };
    let workload = forest("claude-haiku-5-5", &[(None, 4_000, 500)], between);
    let mut case = Case::new(&workload, Book::embedded(), now()).unwrap();
    let warming = |case: &Case<'_>| case.choose(case.patience).variant.warming;
    assert_ne!(warming(&case), Warming::Cold);
    case.learnt(980, 20);
    let chosen = case.choose(case.patience);
    assert_eq!(chosen.variant.warming, Warming::Cold);
    let reasons = case.reasons(chosen);
    assert!(
        reasons
            .iter()
            .any(|reason| matches!(reason.because, Because::LearntHits { .. }))
    );
    let workload = Workload {
        need: Need::Whenever,
        ..workload.clone()
    };
    let mut case = Case::new(&workload, Book::embedded(), now()).unwrap();
    case.learnt(980, 20);
    assert_eq!(warming(&case), Warming::Canary);
}

proptest! {
    #[test]
    fn on_a_forest_the_chosen_way_is_allowed_and_none_that_is_allowed_is_cheaper(
        shapes in any_shapes(12), model in 0usize..4, need in any_need(), zero in any::<bool>(),
    ) {
        let mut workload = forest(MODELS[model], &shapes, need);
        workload.limits.zero_data_retention = zero;
        let plan = planned(&workload);
        let chosen = plan.costs.iter().find(|way| way.variant == plan.variant).unwrap();
        prop_assert_eq!(&chosen.barred, &None);
        prop_assert_eq!(chosen.variant.route, plan.route);
        prop_assert!(!zero || plan.route.lane() == Lane::Sync);
        for other in plan.costs.iter().filter(|way| way.barred.is_none()) {
            prop_assert!(cost(&plan) <= other.cost.unwrap().mid * (1.0 + 1e-12), "{:?}", other);
        }
        // The plan of the groups is one that can be carried out.
        let place = |id| workload.groups.iter().position(|group| group.id == id);
        for (at, group) in plan.groups.iter().enumerate() {
            let above = |at: &usize| workload.groups[*at].parent.and_then(place);
            let path: Vec<usize> = std::iter::successors(Some(at), above).collect();
            let marks: Vec<Ttl> = path.iter().filter_map(|&at| plan.groups[at].mark).collect();
            prop_assert!(marks.len() <= 4);
            prop_assert!(!group.canary || group.mark.is_some());
            let canary_above = path[1..].iter().any(|&at| plan.groups[at].canary);
            prop_assert!(!(canary_above && group.mark.is_some()), "covered already");
        }
        let marked = plan.groups.iter().any(|group| group.mark.is_some());
        prop_assert_eq!(marked, plan.route.is_cached());
        let canary = plan.groups.iter().any(|group| group.canary);
        prop_assert_eq!(canary, plan.variant.warming == Warming::Canary);
    }

    #[test]
    fn groups_that_contradict_each_other_are_planned_all_the_same(
        groups in prop::collection::vec((0u32..9, prop::option::of(0u32..9), 0u64..60_000, 0u64..50, any::<bool>()), 1..9),
        need in any_need(),
    ) {
        let mut workload = forest(MODELS[0], &[(None, 5_000, 3)], need);
        let profile = workload.groups[0].clone();
        workload.groups.extend(groups.into_iter().map(|(id, parent, prefix_bytes, rows, tools)| {
            let sums = Sums { rows, request_bytes: rows * 900, ..profile.sums };
            GroupProfile { id, parent, prefix_bytes, has_tools: tools, sums, ..profile.clone() }
        }));
        workload.rows = workload.sums().rows;
        let plan = planned(&workload);
        prop_assert_eq!(plan.groups.len(), workload.groups.len());
        prop_assert!(cost(&plan).is_finite());
    }

    #[test]
    fn each_line_of_the_sensitivity_is_true(
        shapes in any_shapes(6), model in 0usize..4, need in any_need(),
    ) {
        let workload = forest(MODELS[model], &shapes, need);
        let plan = planned(&workload);
        let with = |slack| planned(&Workload { need: Need::By { slack }, ..workload.clone() });
        let tick = Span::from_micros(1);
        for line in &plan.sensitivity {
            match line {
                Sensitivity::LessTime { slack, then, then_usd_estimate, more_usd_estimate } => {
                    let less = with(*slack - tick);
                    prop_assert_eq!(less.variant, *then);
                    prop_assert!((cost(&less) - then_usd_estimate).abs() < 1e-9);
                    prop_assert!(*more_usd_estimate >= 0.0);
                    prop_assert!(with(*slack).variant != *then);
                }
                Sensitivity::MoreTime { slack, then, then_usd_estimate, less_usd_estimate } => {
                    let more = with(*slack);
                    prop_assert_eq!(more.variant, *then);
                    prop_assert!((cost(&more) - then_usd_estimate).abs() < 1e-9);
                    prop_assert!(*less_usd_estimate >= 0.0);
                    prop_assert!(with(*slack - tick).variant != *then);
                }
                Sensitivity::HitRate { ttl, threshold, model, .. } => {
                    let model = Book::embedded().model(model).unwrap();
                    let mode = crate::price::Mode::plain(plan.route.lane());
                    let rates = model.rates(now(), mode).unwrap();
                    let load = Load { calls: 100_000, prefix: 1e4, suffix: 0.0, output: 0.0 };
                    let plain = route_cost(&load, &rates, Caching::None).total();
                    let marked = |more: f64| {
                        let hits = (threshold.share() + more) * 100_000.0;
                        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
                        let writes = 100_000 - hits.round() as u64;
                        route_cost(&load, &rates, Caching::Marked { ttl: *ttl, writes }).total()
                    };
                    prop_assert!(marked(0.001) < plain && plain < marked(-0.001));
                }
                Sensitivity::FewerCalls { calls, pays_from_calls, .. } => {
                    prop_assert!(calls >= pays_from_calls);
                }
            }
        }
    }

    #[test]
    fn a_preamble_alone_is_marked_from_the_calls_on_that_the_line_names(
        model in 0usize..4, rows in 2u64..12, seconds in any::<bool>(),
    ) {
        let need = if seconds { Need::Seconds } else { Need::Whenever };
        let with = |rows| planned(&forest(MODELS[model], &[(None, 40_000, rows)], need));
        let fewest = (1u64..).find(|&rows| with(rows).route.is_cached()).unwrap();
        for line in &with(rows).sensitivity {
            if let Sensitivity::FewerCalls { pays_from_calls, calls, .. } = line {
                prop_assert_eq!((*pays_from_calls, *calls), (fewest, rows));
            }
        }
    }

    #[test]
    fn padding_is_advised_where_the_padded_workload_is_cheaper(
        rows in 3u64..2_000, bytes in 1u64..13_000, seconds in any::<bool>(),
    ) {
        let need = if seconds { Need::Seconds } else { Need::Whenever };
        let short = planned(&forest("claude-opus-4-6", &[(None, bytes, rows)], need));
        // Four bytes are a token of this model, which caches from 4,096 on.
        let padded = planned(&forest("claude-opus-4-6", &[(None, 16_384, rows)], need));
        let advice = short.reasons.iter().find_map(|reason| match &reason.because {
            Because::TooShort { padding, .. } => Some(*padding),
            _ => None,
        });
        let saved = cost(&short) - cost(&padded);
        match advice.unwrap() {
            Some(padding) => prop_assert!(
                (padding.saves_usd_estimate - saved).abs() < 1e-6 + saved.abs() * 1e-3,
                "{} is not {saved}", padding.saves_usd_estimate
            ),
            None => prop_assert!(saved <= 1e-6 + cost(&short) * 1e-3, "{saved}"),
        }
    }

    #[test]
    fn more_time_never_costs_more_on_a_forest(
        shapes in any_shapes(8), model in 0usize..4, sooner in 1i64..20_000, more in 1i64..20_000,
    ) {
        let by = |secs| cost(&planned(&forest(
            MODELS[model], &shapes, Need::By { slack: Span::from_secs(secs) },
        )));
        prop_assert!(by(sooner + more) <= by(sooner) * (1.0 + 1e-12));
    }

    #[test]
    fn an_hour_is_taken_where_it_spares_two_fifths_of_the_misses(
        five in 300u64..990, hour in 600u64..1_000,
    ) {
        // An hour's write is dearer than one of five minutes by (2 - 0.1)/(1.25 - 0.1) = 38/23.
        let workload = forest("claude-haiku-5-5", &[(None, 8_000, 900)], Need::Whenever);
        let mut case = Case::new(&workload, Book::embedded(), now()).unwrap();
        let [a, b] = case.groups[0].hits;
        case.groups[0].hits = [
            a.after(five * 100, (1_000 - five) * 100),
            b.after(hour * 100, (1_000 - hour) * 100),
        ];
        let misses = |ttl| 1_000_000 - u64::from(case.groups[0].expected_hits(ttl));
        let (short, long) = (misses(Ttl::FiveMinutes), misses(Ttl::OneHour));
        let reading = way_of(Variant::marked(Lane::Batch, Marks::Mixed, Warming::Cold));
        let placement = case.forest.place(&case.groups, reading);
        let hourly = long * 38 < short * 23;
        let ttl = if hourly { Ttl::OneHour } else { Ttl::FiveMinutes };
        prop_assert_eq!(&placement.marks, &vec![Some(ttl)]);
    }

    #[test]
    fn marks_of_a_cold_batch_are_the_best_of_both_lifetimes(
        shapes in any_shapes(5), model in 0usize..4, five in 300u64..990, hour in 300u64..990,
    ) {
        let workload = forest(MODELS[model], &shapes, Need::Whenever);
        let mut case = Case::new(&workload, Book::embedded(), now()).unwrap();
        for (place, group) in case.groups.iter_mut().enumerate() {
            // Some groups are known to hit more than others.
            let of = |hits: u64| hits.saturating_sub(200 * (place as u64 % 2));
            let [a, b] = group.hits;
            group.hits = [a.after(of(five), 1_000 - of(five)), b.after(of(hour), 1_000 - of(hour))];
        }
        let reading = way_of(Variant::marked(Lane::Batch, Marks::Mixed, Warming::Cold));
        let placement = case.forest.place(&case.groups, reading);
        let told = by_rows(&case, &placement.marks, reading);
        let all = all_cold_markings(&case);
        let best = all.iter().map(|marks| by_rows(&case, marks, reading)).fold(f64::INFINITY, f64::min);
        prop_assert!(told <= best * (1.0 + 1e-9), "{:?} costs {told}, best {best}", placement.marks);
    }

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
