//! Laws of the comparison: any history, any cut of it into windows.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::price::Book;
use crate::units::{Span, Timestamp, Usd};

use super::*;

/// One call, as the upstream knows it.
#[derive(Debug, Clone)]
struct Call {
    cell: Cell,
    /// Seconds at which the upstream counts it.
    at: i64,
    /// Seconds that our knowledge of that moment is off, to each side.
    vague: [i64; 2],
    amounts: Amounts,
}

fn seconds(at: i64) -> Timestamp {
    Timestamp::EPOCH + Span::from_secs(at)
}

fn window(from: i64, to: i64) -> Window {
    Window {
        from: seconds(from),
        to: seconds(to),
    }
}

fn cell() -> impl Strategy<Value = Cell> {
    let models = vec!["claude-haiku-4-5-20251001", "claude-sonnet-4-5-20250929"];
    let tiers = [Tier::Standard, Tier::Batch];
    (
        prop::sample::select(models),
        prop::sample::select(tiers.to_vec()),
    )
        .prop_map(|(model, tier)| Cell {
            model: model.to_owned(),
            tier,
        })
}

fn amounts() -> impl Strategy<Value = Amounts> {
    (
        prop::sample::select(Class::ALL.to_vec()),
        1u64..1_000,
        0i128..1_000_000,
        0i128..3,
    )
        .prop_map(|(class, tokens, pico, searches)| Amounts {
            counts: Counts::only(class, tokens),
            tokens: Usd::from_pico(pico),
            searches: Usd::from_pico(searches * 10_000),
        })
}

fn call() -> impl Strategy<Value = Call> {
    (cell(), 0i64..1_000, [0i64..60, 0..60], amounts()).prop_map(|(cell, at, vague, amounts)| {
        Call {
            cell,
            at,
            vague,
            amounts,
        }
    })
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    prop::collection::vec(call(), 0..40)
}

fn books(calls: &[Call]) -> Books {
    let mut books = Books::default();
    for call in calls {
        let when = Stretch {
            from: seconds(call.at - call.vague[0]),
            to: seconds(call.at + call.vague[1]),
        };
        books.bill(call.cell.clone(), when, &call.amounts);
    }
    books
}

type Reports = (BTreeMap<Cell, Counts>, BTreeMap<Charge, Charged>);

/// What the upstream's reports say of the calls in a window.
fn reports<'a>(calls: impl IntoIterator<Item = &'a Call>, window: Window) -> Reports {
    let (mut usage, mut costs) = Reports::default();
    for call in calls {
        if seconds(call.at) < window.from || seconds(call.at) >= window.to {
            continue;
        }
        usage
            .entry(call.cell.clone())
            .or_default()
            .add(&call.amounts.counts);
        let mut charge = |charge, amount| {
            let rounding = Usd::ZERO;
            costs
                .entry(charge)
                .or_default()
                .add(Charged { amount, rounding });
        };
        charge(Charge::Tokens(call.cell.clone()), call.amounts.tokens);
        charge(Charge::Fee("web_search".to_owned()), call.amounts.searches);
    }
    (usage, costs)
}

/// Every token is worth a picodollar.
fn worth(_: &Cell, counts: &Counts) -> Option<Usd> {
    let tokens: u64 = Class::ALL.into_iter().map(|class| counts.get(class)).sum();
    Some(Usd::from_pico(tokens.into()))
}

fn findings(books: &Books, window: Window, (usage, costs): &Reports) -> Vec<Finding> {
    let tokens = compare_tokens(books, window, usage, worth);
    let money = compare_money(books, window, costs);
    let tokens = tokens.iter().map(|line| line.finding);
    tokens
        .chain(money.iter().map(|line| line.finding))
        .collect()
}

proptest! {
    #[test]
    fn books_that_hold_everything_agree_with_any_window(
        calls in calls(), from in 0i64..1_000, len in 1i64..1_000,
    ) {
        let (books, window) = (books(&calls), window(from, from + len));
        let found = findings(&books, window, &reports(&calls, window));
        let worst = found.iter().max().copied().unwrap_or(Finding::Equal);
        prop_assert!(worst <= Finding::AtTheEdge, "{worst:?}");
    }

    #[test]
    fn a_window_around_everything_leaves_no_residual(calls in calls()) {
        let (books, window) = (books(&calls), window(-100, 1_100));
        let reports = reports(&calls, window);
        for line in compare_tokens(&books, window, &reports.0, worth) {
            prop_assert!(Class::ALL.into_iter().all(|class| line.residual(class) == 0));
            prop_assert_eq!(line.perhaps, Counts::default());
        }
        let money = compare_money(&books, window, &reports.1);
        for line in &money {
            prop_assert_eq!((line.residual(), line.perhaps), (Usd::ZERO, Usd::ZERO));
        }
        let all = findings(&books, window, &reports);
        prop_assert_eq!(Verdict::of(all, true), Verdict::Agrees);
        let cost: Usd = calls.iter().map(|call| call.amounts.cost()).sum();
        prop_assert_eq!(money.iter().map(|line| line.ours).sum::<Usd>(), cost);
    }

    #[test]
    fn a_call_that_the_upstream_does_not_know_is_a_defect_once_it_had_the_time(
        calls in calls(), extra in call(),
    ) {
        let window = window(-100, 1_100);
        let reports = reports(&calls, window);
        let mut all = calls;
        all.push(extra);
        let found = findings(&books(&all), window, &reports);
        prop_assert_eq!(Verdict::of(found.clone(), true), Verdict::Defect);
        prop_assert_eq!(Verdict::of(found, false), Verdict::NotYet);
    }

    #[test]
    fn what_is_missing_is_missing_among_what_was_billed_before_unless_it_came_later(
        calls in calls(), extra in call(), bound in 0i64..1_200,
    ) {
        let window = window(-100, 1_100);
        let reports = reports(&calls, window);
        let mut all = calls;
        all.push(extra.clone());
        let found = findings(&books(&all).before(seconds(bound)), window, &reports);
        let is_before = extra.at + extra.vague[1] < bound;
        prop_assert!(is_before || !found.contains(&Finding::Short));
        // What came after it cannot hide it, if nobody else made such a call since.
        let alone = books(std::slice::from_ref(&extra)).before(seconds(bound));
        let nothing = Reports::default();
        prop_assert_eq!(findings(&alone, window, &nothing).contains(&Finding::Short), is_before);
    }

    #[test]
    fn a_call_that_we_do_not_know_is_explained_by_as_much_as_it_is_worth(
        calls in calls(), extra in call(), own: bool, short in 1i128..1_000,
    ) {
        let window = window(-100, 1_100);
        let mut extra = extra;
        extra.amounts.searches = Usd::ZERO;
        let mut all = calls.clone();
        all.push(extra.clone());
        let reports = reports(&all, window);
        let with = |amount: Usd| {
            let mut books = books(&calls);
            let cell = own.then(|| extra.cell.clone());
            let when = Stretch { from: seconds(0), to: seconds(1_000) };
            books.allow(Allowance { why: Held::Unknown, when, cell, amount });
            findings(&books, window, &reports).into_iter().max().unwrap()
        };
        let needed = worth(&extra.cell, &extra.amounts.counts).unwrap().max(extra.amounts.cost());
        prop_assert_eq!(with(needed), Finding::Unknown);
        let less = (needed - Usd::from_pico(short)).max(Usd::ZERO);
        prop_assert_eq!(with(less), Finding::OtherTraffic);
    }

    #[test]
    fn an_allowance_explains_one_thing_and_not_two(amount in 1u64..1_000) {
        let window = window(0, 10);
        let cells = [Tier::Standard, Tier::Batch].map(|tier| Cell { model: "m".to_owned(), tier });
        let counts = Counts::only(Class::Input, amount);
        let report = BTreeMap::from(cells.map(|cell| (cell, counts)));
        let found = |pool: u64| {
            let mut books = Books::default();
            let when = Stretch { from: seconds(1), to: seconds(2) };
            let amount = Usd::from_pico(pool.into());
            books.allow(Allowance { why: Held::UnderWay, when, cell: None, amount });
            let lines = compare_tokens(&books, window, &report, worth);
            lines.iter().map(|line| line.finding).max().unwrap()
        };
        prop_assert_eq!(found(2 * amount), Finding::Unknown);
        prop_assert_eq!(found(2 * amount - 1), Finding::OtherTraffic);
    }

    #[test]
    fn the_reports_rounding_is_no_difference(
        calls in calls(), off in -1_000i128..=1_000, rounding in 0i128..1_000,
    ) {
        let window = window(-100, 1_100);
        let (books, mut costs) = (books(&calls), reports(&calls, window).1);
        for charged in costs.values_mut() {
            charged.amount += Usd::from_pico(off);
            charged.rounding = Usd::from_pico(rounding);
        }
        for line in compare_money(&books, window, &costs) {
            let wanted = match off {
                off if off.abs() <= rounding => Finding::Equal,
                off if off > 0 => Finding::OtherTraffic,
                _ => Finding::Short,
            };
            prop_assert_eq!(line.finding, wanted);
        }
    }

    #[test]
    fn windows_hold_their_stretch_whole(
        from in -10_000i64..10_000, len in 0i64..10_000, width in prop::sample::select(vec![60, 3_600, 86_400]),
    ) {
        let stretch = Stretch { from: seconds(from), to: seconds(from + len) };
        let window = Window::around(stretch, width);
        prop_assert!(window.from <= stretch.from && window.to > stretch.to);
        let micros = width * 1_000_000;
        prop_assert_eq!(window.from.as_micros().rem_euclid(micros), 0);
        prop_assert_eq!(window.to.as_micros().rem_euclid(micros), 0);
        prop_assert!((window.to - window.from).as_micros() < len * 1_000_000 + 2 * micros);
        prop_assert_eq!(window.widened_to(width), window);
        let days = window.widened_to(86_400);
        prop_assert!(days.from <= window.from && days.to >= window.to);
        let buckets = i64::try_from(window.starts(width).count()).unwrap();
        prop_assert_eq!(buckets * micros, (window.to - window.from).as_micros());
    }

    #[test]
    fn tokens_are_worth_no_more_than_an_answer_that_had_them(
        cell in cell(), tokens in prop::collection::vec(0u64..50_000, 5),
    ) {
        let book = Book::embedded();
        let at = Timestamp::of_day(book.as_of()).unwrap();
        let mut counts = Counts::default();
        for (class, tokens) in Class::ALL.into_iter().zip(tokens) {
            counts.add(&Counts::only(class, tokens));
        }
        let lane = match cell.tier {
            Tier::Batch => crate::price::Lane::Batch,
            _ => crate::price::Lane::Sync,
        };
        let bill = book.bill(at, lane, &cell.model, &counts.as_usage()).unwrap();
        prop_assert_eq!(least_worth(book, at, &cell, &counts).unwrap(), bill.total());
    }
}

#[test]
fn priority_is_not_in_the_cost_report() {
    let mut books = Books::default();
    let cell = Cell {
        model: "m".to_owned(),
        tier: Tier::named("priority_on_demand"),
    };
    let amounts = Amounts {
        counts: Counts::only(Class::Output, 7),
        tokens: Usd::from_pico(7),
        searches: Usd::ZERO,
    };
    let when = Stretch {
        from: seconds(1),
        to: seconds(2),
    };
    books.bill(cell, when, &amounts);
    assert_eq!(compare_money(&books, window(0, 10), &BTreeMap::new()), []);
    let tokens = compare_tokens(&books, window(0, 10), &BTreeMap::new(), worth);
    assert_eq!(tokens[0].finding, Finding::Short);
}
