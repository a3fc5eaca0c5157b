//! The books against the reports of the simulated upstream: they agree to the token and to the
//! picodollar, and whatever is put between them is told for what it is.

use std::time::Duration;

use offpeak_client::Call;
use offpeak_core::reconcile::{Class, Finding, Held, Verdict, Window};
use offpeak_core::units::{Timestamp, Usd};
use offpeak_engine::finish::Manifest;
use offpeak_engine::reconcile::{Reconciliation, Scope};
use offpeak_engine::spec::Need;
use offpeak_sim::{Config, Endpoint, Fault, Faults};
use serde_json::Value;

use crate::dice::Dice;
use crate::lab::{Lab, Life, rows};

fn finished(life: Life) -> Box<Manifest> {
    match life {
        Life::Finished(manifest) => manifest,
        other => panic!("{other:?}"),
    }
}

/// The newest run of this name.
pub(crate) fn job(lab: &Lab, name: &str) -> Scope {
    Scope::Job(Box::new(lab.store().latest_run(name).unwrap().unwrap()))
}

fn days(from: &str, to: &str) -> Scope {
    let day = |text| Timestamp::of_day(text).unwrap();
    Scope::Days(Window {
        from: day(from),
        to: day(to),
    })
}

fn billed(found: &Reconciliation) -> Usd {
    found
        .comparison
        .money
        .iter()
        .flatten()
        .map(|line| line.upstream.amount)
        .sum()
}

/// The upstream's money less ours.
pub(crate) fn residual(found: &Reconciliation) -> Usd {
    found
        .comparison
        .money
        .iter()
        .flatten()
        .map(|line| line.residual())
        .sum()
}

#[test]
fn a_quiet_job_agrees_to_the_token_and_to_the_picodollar() {
    for need in [Need::Whenever, Need::Seconds] {
        let mut lab = Lab::new(1, Config::default(), &rows(1, 60));
        lab.spec.need = need;
        let manifest = finished(lab.live(None));
        let scope = job(&lab, "lab");
        let found = lab.reconcile(scope, &[]);
        assert_eq!(found.comparison.verdict, Verdict::Agrees, "{found:?}");
        assert_eq!(
            (residual(&found), billed(&found)),
            (Usd::ZERO, manifest.cost_picousd)
        );
        assert_eq!(billed(&found), lab.bill());
        assert_eq!(
            (
                found.comparison.answers,
                found.comparison.unread.len(),
                found.jobs.len()
            ),
            (60, 0, 1)
        );
        let tokens = |class| -> u64 {
            found
                .comparison
                .tokens
                .iter()
                .map(|line| line.upstream.get(class))
                .sum()
        };
        assert_eq!(tokens(Class::Read), manifest.cache_read_tokens);
        assert_eq!(
            tokens(Class::Write5m) + tokens(Class::Write1h),
            manifest.cache_write_tokens
        );
        assert!(found.comparison.days_off.is_empty() && found.comparison.allowed.is_empty());
    }
}

#[test]
fn lost_answers_are_what_the_upstream_has_more() {
    let mut faults = Faults::none();
    for nth in [0, 3, 7] {
        faults = faults.at(Endpoint::Messages, nth, Fault::ResetAfterAccept);
    }
    let config = Config {
        faults,
        ..Config::default()
    };
    let mut lab = Lab::new(2, config, &rows(2, 20));
    lab.spec.need = Need::Seconds;
    let manifest = finished(lab.live(None));
    let audit = lab.check(&manifest, 20);
    assert!(audit.sync_lost > Usd::ZERO);
    let scope = job(&lab, "lab");
    let found = lab.reconcile(scope, &[]);
    assert_eq!(found.comparison.verdict, Verdict::Explained, "{found:?}");
    assert_eq!(residual(&found), audit.sync_lost);
    assert_eq!(
        found.comparison.allowed[&Held::Unknown],
        manifest.unknown_picousd
    );
    assert!(
        found
            .comparison
            .tokens
            .iter()
            .all(|line| line.finding == Finding::Unknown)
    );
}

/// Holds the newest run of the lab's job against the reports: they agree, or what differs is explained.
pub(crate) fn is_explained(lab: &mut Lab) {
    let scope = job(lab, "lab");
    // The upstream stumbles over its reports too; then they are asked for again.
    let mut tries = (0..20).map(|_| lab.try_to_reconcile(scope.clone(), &[]));
    let found = tries.find_map(Result::ok).unwrap();
    let fine = matches!(
        found.comparison.verdict,
        Verdict::Agrees | Verdict::Explained
    );
    assert!(fine, "{found:?}");
    let allowed: Usd = found.comparison.allowed.values().copied().sum();
    assert!(residual(&found) <= allowed, "{found:?}");
}

#[test]
fn nothing_is_ever_missing_upstream_or_unexplained_on_bad_days_and_after_crashes() {
    let mut crashed = 0;
    for seed in 0..25 {
        let mut dice = Dice(seed);
        let config = Config {
            seed,
            faults: Faults::rough(seed),
            ..Config::default()
        };
        let mut lab = Lab::new(seed, config, &rows(seed, 40));
        if dice.below(2) == 0 {
            lab.spec.need = Need::Seconds;
        }
        let crash = Duration::from_millis(100 + dice.below(5_000));
        if let Life::Crashed = lab.live(Some(crash)) {
            crashed += 1;
            is_explained(&mut lab);
        }
        let manifest = finished(lab.live(None));
        lab.check(&manifest, 40);
        is_explained(&mut lab);
    }
    assert!(
        crashed > 0,
        "some jobs were looked at while they were under way"
    );
}

/// The ids of the keys that were used, by the upstream's own report.
fn key_ids(lab: &mut Lab) -> Vec<String> {
    let key = std::mem::replace(&mut lab.key, "sk-ant-admin01-laboratory");
    let body = lab.asked(|engine| async move {
        let path = "/v1/organizations/usage_report/messages?starting_at=2026-11-22T00:00:00Z\
                    &group_by[]=api_key_id";
        let answer = engine.client.send(Call::get(path)).await.unwrap();
        answer.body.collect(1 << 20).await.unwrap()
    });
    lab.key = key;
    let report: Value = serde_json::from_slice(&body).unwrap();
    let lines = report["data"].as_array().unwrap().iter();
    let lines = lines.flat_map(|bucket| bucket["results"].as_array().unwrap());
    lines
        .map(|line| line["api_key_id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_traffic_of_others_is_told_apart_and_left_out_by_their_key() {
    let mut lab = Lab::new(3, Config::default(), &rows(3, 30));
    lab.spec.need = Need::Seconds;
    let manifest = finished(lab.live(None));
    let ours = key_ids(&mut lab);
    // Somebody else, elsewhere, an hour later on the same day.
    let (here, aside) = (lab.data_dir(), lab.path("aside"));
    std::fs::rename(&here, &aside).unwrap();
    lab.wait(Duration::from_secs(3_600));
    lab.key = "sk-ant-api03-somebody-else";
    lab.spec.overwrite = true;
    finished(lab.live(None));
    std::fs::remove_dir_all(&here).unwrap();
    std::fs::rename(&aside, &here).unwrap();

    // In the minutes of our job nothing is amiss; its day has more.
    let scope = job(&lab, "lab");
    let found = lab.reconcile(scope, &[]);
    assert!(
        found
            .comparison
            .tokens
            .iter()
            .all(|line| line.finding == Finding::Equal)
    );
    assert_eq!(found.comparison.verdict, Verdict::OtherTraffic, "{found:?}");
    assert_eq!(residual(&found), lab.bill() - manifest.cost_picousd);
    assert_eq!(found.comparison.days_off.len(), 1);
    let month = lab.reconcile(days("2026-11-01", "2026-12-01"), &[]);
    assert_eq!(month.comparison.verdict, Verdict::OtherTraffic);
    assert!(
        month
            .comparison
            .tokens
            .iter()
            .all(|line| line.finding == Finding::OtherTraffic)
    );

    let month = lab.reconcile(days("2026-11-01", "2026-12-01"), &ours);
    assert_eq!(
        (month.comparison.verdict, month.comparison.money),
        (Verdict::Agrees, None)
    );
    // A month in which nothing was done has nothing to compare.
    let before = lab.reconcile(days("2026-10-01", "2026-11-01"), &[]);
    assert_eq!(
        (before.comparison.verdict, before.comparison.tokens),
        (Verdict::Agrees, Vec::new())
    );
}

/// Makes the first answer of the first batch longer than it was, by our files.
fn lengthen_an_answer(lab: &Lab, job: &Scope) {
    let Scope::Job(record) = job else {
        panic!("a job");
    };
    let dir = lab
        .data_dir()
        .join("jobs")
        .join(record.id.as_str())
        .join("results");
    let path = std::fs::read_dir(dir)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let text = std::fs::read_to_string(&path).unwrap();
    let at = text.find("\"output_tokens\":").unwrap() + "\"output_tokens\":".len();
    let mut text = text;
    assert_ne!(&text[at..=at], "9");
    text.replace_range(at..=at, "9");
    std::fs::write(path, text).unwrap();
}

#[test]
fn more_than_the_upstream_has_is_a_defect_once_the_reports_are_complete() {
    let mut lab = Lab::new(4, Config::default(), &rows(4, 30));
    // Not at midnight, where a row may belong to either day.
    lab.wait(Duration::from_secs(3_600));
    finished(lab.live(None));
    let scope = job(&lab, "lab");
    lengthen_an_answer(&lab, &scope);
    let found = lab.reconcile(scope.clone(), &[]);
    assert_eq!(found.comparison.verdict, Verdict::NotYet, "{found:?}");
    assert!(found.comparison.complete_from.unwrap() > found.comparison.asked_at);
    lab.wait(Duration::from_secs(301));
    let found = lab.reconcile(scope, &[]);
    assert_eq!(found.comparison.verdict, Verdict::Defect, "{found:?}");
    assert!(residual(&found) < Usd::ZERO);
    assert_eq!(found.comparison.days_off.len(), 1);
    // Calls of a moment ago do not hide it.
    lab.wait(Duration::from_secs(3_600));
    "later".clone_into(&mut lab.spec.name);
    (lab.spec.need, lab.spec.overwrite) = (Need::Seconds, true);
    finished(lab.live(None));
    let found = lab.reconcile(days("2026-11-01", "2026-12-01"), &[]);
    assert!(found.comparison.complete_from.unwrap() > found.comparison.asked_at);
    assert_eq!(found.comparison.verdict, Verdict::Defect, "{found:?}");
}

#[test]
fn answers_that_are_gone_are_taken_from_the_ledger_and_named() {
    let mut lab = Lab::new(5, Config::default(), &rows(5, 30));
    let manifest = finished(lab.live(None));
    let scope = job(&lab, "lab");
    let Scope::Job(record) = &scope else {
        panic!("a job");
    };
    let dir = lab.data_dir().join("jobs").join(record.id.as_str());
    std::fs::remove_dir_all(dir.join("results")).unwrap();
    let found = lab.reconcile(scope, &[]);
    assert_eq!(found.comparison.verdict, Verdict::Explained, "{found:?}");
    assert_eq!(
        found.comparison.allowed[&Held::Unread],
        manifest.cost_picousd
    );
    assert_eq!(residual(&found), manifest.cost_picousd);
    assert!(
        !found.comparison.unread.is_empty() && found.comparison.unread[0].contains("results"),
        "{found:?}"
    );
}

#[test]
fn a_job_across_the_end_of_a_month_is_missed_in_neither() {
    for seconds in [0, 30, 240, 600] {
        let mut lab = Lab::new(6, Config::default(), &rows(6, 40));
        let end = Timestamp::of_day("2026-12-01").unwrap() - lab.now();
        lab.wait(
            Duration::from_micros(end.as_micros().try_into().unwrap())
                - Duration::from_secs(seconds),
        );
        let manifest = finished(lab.live(None));
        let mut sum = Usd::ZERO;
        for (from, to) in [("2026-11-01", "2026-12-01"), ("2026-12-01", "2027-01-01")] {
            let found = lab.reconcile(days(from, to), &[]);
            let fine = matches!(
                found.comparison.verdict,
                Verdict::Agrees | Verdict::Explained
            );
            assert!(fine, "{found:?}");
            sum += billed(&found);
        }
        assert_eq!(sum, manifest.cost_picousd);
    }
}
