//! Books beside reports: all the same, and everything that can be amiss at once.

use std::collections::BTreeMap;

use offpeak_core::reconcile::{
    Cell, Charge, Charged, Class, Compared, Comparison, Counts, Finding, Held, Money, Tier,
    Verdict, Window,
};
use offpeak_core::units::{Timestamp, Usd};
use offpeak_report::{ReconcileView, reconcile_text};

use crate::{at_both_widths, usd};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn cell(model: &str, tier: Tier) -> Cell {
    Cell {
        model: model.to_owned(),
        tier,
    }
}

fn counts(tokens: [u64; 5]) -> Counts {
    let mut counts = Counts::default();
    for (class, tokens) in Class::ALL.into_iter().zip(tokens) {
        counts.add(&Counts::only(class, tokens));
    }
    counts
}

fn tokens(cell: Cell, ours: [u64; 5], upstream: [u64; 5], finding: Finding) -> Compared {
    Compared {
        cell,
        ours: counts(ours),
        perhaps: Counts::default(),
        upstream: counts(upstream),
        finding,
    }
}

fn money(charge: Charge, ours: &str, upstream: &str, finding: Finding) -> Money {
    Money {
        charge,
        ours: usd(ours),
        perhaps: Usd::ZERO,
        upstream: Charged {
            amount: usd(upstream),
            rounding: Usd::ZERO,
        },
        finding,
    }
}

fn agreeing() -> ReconcileView {
    let batch = || cell("claude-haiku-4-5-20251001", Tier::Batch);
    let sync = || cell("claude-haiku-4-5-20251001", Tier::Standard);
    ReconcileView {
        what: "speeches (job k3x7q2mzab), run 2".to_owned(),
        jobs: 1,
        comparison: Comparison {
            window: Window {
                from: at("2026-11-22T08:28:00Z"),
                to: at("2026-11-22T09:42:00Z"),
            },
            days: Window {
                from: at("2026-11-22T00:00:00Z"),
                to: at("2026-11-23T00:00:00Z"),
            },
            answers: 4_133,
            tokens: vec![
                tokens(
                    batch(),
                    [1_220_400, 0, 4_512, 18_214_944, 310_224],
                    [1_220_400, 0, 4_512, 18_214_944, 310_224],
                    Finding::Equal,
                ),
                tokens(
                    sync(),
                    [2_210, 0, 0, 9_024, 512],
                    [2_210, 0, 0, 9_024, 512],
                    Finding::Equal,
                ),
            ],
            money: Some(vec![
                money(
                    Charge::Tokens(batch()),
                    "2.300019472",
                    "2.300019472",
                    Finding::Equal,
                ),
                money(
                    Charge::Tokens(sync()),
                    "0.0056724",
                    "0.0056724",
                    Finding::Equal,
                ),
            ]),
            days_off: Vec::new(),
            allowed: BTreeMap::new(),
            verdict: Verdict::Agrees,
            asked_at: at("2026-11-22T10:00:31Z"),
            complete_from: Some(at("2026-11-22T09:45:00Z")),
            unread: Vec::new(),
        },
    }
}

#[test]
fn books_and_reports_agree() {
    let view = agreeing();
    insta::assert_snapshot!(at_both_widths(|width| reconcile_text(&view, width)));
}

#[test]
fn everything_is_amiss() {
    let mut view = agreeing();
    view.what = "2026-11".to_owned();
    (view.jobs, view.comparison.verdict) = (3, Verdict::Defect);
    let sonnet = |tier| cell("claude-sonnet-5-5", tier);
    view.comparison.tokens[0].finding = Finding::AtTheEdge;
    view.comparison.tokens[0].upstream = counts([1_220_460, 0, 4_512, 18_214_944, 310_250]);
    view.comparison.tokens[1].finding = Finding::Unknown;
    view.comparison.tokens[1].upstream = counts([2_260, 0, 0, 9_024, 540]);
    view.comparison.tokens.push(tokens(
        sonnet(Tier::Standard),
        [0; 5],
        [80, 0, 0, 0, 20],
        Finding::OtherTraffic,
    ));
    view.comparison.tokens.push(tokens(
        sonnet(Tier::Batch),
        [100, 9, 0, 0, 20],
        [0; 5],
        Finding::Short,
    ));
    let mut off = vec![
        money(
            Charge::Tokens(sonnet(Tier::Standard)),
            "0",
            "0.00054",
            Finding::OtherTraffic,
        ),
        money(
            Charge::Fee("web_search".to_owned()),
            "0.01",
            "0.00",
            Finding::Short,
        ),
    ];
    off[1].upstream.rounding = usd("0.000001");
    view.comparison.days_off = vec![(at("2026-11-22T00:00:00Z"), off.clone())];
    view.comparison.money.as_mut().unwrap().append(&mut off);
    view.comparison.allowed = BTreeMap::from([
        (Held::Unknown, usd("0.02")),
        (Held::Wasted, usd("0.003")),
        (Held::UnderWay, usd("1.5")),
        (Held::Unread, usd("0.4")),
    ]);
    view.comparison.unread =
        vec!["nightly, shard 2: results/00002.jsonl: No such file or directory".to_owned()];
    insta::assert_snapshot!(at_both_widths(|width| reconcile_text(&view, width)));
}

#[test]
fn every_verdict_says_what_to_do() {
    let mut text = String::new();
    for (verdict, narrowed) in [
        (Verdict::Explained, false),
        (Verdict::OtherTraffic, false),
        (Verdict::OtherTraffic, true),
        (Verdict::NotYet, false),
    ] {
        let mut view = agreeing();
        view.comparison.verdict = verdict;
        if narrowed {
            view.comparison.money = None;
        }
        let whole = reconcile_text(&view, 80);
        let (_, end) = whole.rsplit_once("\n\n").unwrap();
        text.push_str(&format!("{verdict:?}\n{end}\n"));
    }
    // The same tokens are dearer in our books: over whole days, and over those that a job's time lies in.
    let mut dearer = agreeing();
    dearer.comparison.verdict = Verdict::Defect;
    dearer.comparison.money.as_mut().unwrap()[0].finding = Finding::Short;
    for (what, window) in [
        ("of days", dearer.comparison.days),
        ("of a job", dearer.comparison.window),
    ] {
        dearer.comparison.window = window;
        let whole = reconcile_text(&dearer, 80);
        let (_, end) = whole.rsplit_once("\n\n").unwrap();
        text.push_str(&format!("Defect {what}\n{end}\n"));
    }
    let mut nothing = agreeing();
    (nothing.comparison.tokens, nothing.comparison.money) = (Vec::new(), Some(Vec::new()));
    text.push_str(&reconcile_text(&nothing, 80));
    insta::assert_snapshot!(text);
}
