//! Answers that serve more than one row: what is sent, what is billed and what comes out, compared with
//! the same job without any row twice.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use offpeak_core::job::cancel::Cancel;
use offpeak_core::job::event::Stop;
use offpeak_core::units::Usd;
use offpeak_engine::finish::Manifest;
use offpeak_engine::run::RunEnd;
use offpeak_engine::spec::{Need, Reuse};
use offpeak_sim::{Config, Faults, RowFaults};
use serde_json::Value;

use crate::dice::Dice;
use crate::lab::{Lab, Life};

const IDENTICAL: Reuse = Reuse {
    identical: true,
    earlier_runs: false,
};
const EARLIER: Reuse = Reuse {
    identical: false,
    earlier_runs: true,
};
const ALL: Reuse = Reuse {
    identical: true,
    earlier_runs: true,
};

/// Rows that ask these questions.
fn asking(questions: &[u64]) -> String {
    let mut rows = String::new();
    for (row, question) in questions.iter().enumerate() {
        let _ = writeln!(
            rows,
            "{{\"custom_id\":\"row {row}\",\"params\":{{\"model\":\"claude-haiku-5-5\",\
             \"max_tokens\":4000,\"messages\":[{{\"role\":\"user\",\"content\":\"No. {question}?\"}}]}}}}"
        );
    }
    rows
}

fn lab(seed: u64, config: Config, questions: &[u64], reuse: Reuse) -> Lab {
    let mut lab = Lab::new(seed, config, &asking(questions));
    lab.spec.reuse = reuse;
    lab.spec.overwrite = true;
    lab
}

pub(crate) fn finished(lab: &mut Lab) -> Box<Manifest> {
    match lab.live(None) {
        Life::Finished(manifest) => manifest,
        other => panic!("{other:?}"),
    }
}

/// The next run, over other rows; returns also what it was billed.
fn next_run(lab: &mut Lab, questions: &[u64]) -> (Box<Manifest>, Usd) {
    let before = lab.bill();
    std::fs::write(&lab.spec.source.input, asking(questions)).unwrap();
    let manifest = finished(lab);
    (manifest, lab.bill() - before)
}

pub(crate) fn lines(lab: &Lab) -> Vec<Value> {
    let output = std::fs::read_to_string(&lab.spec.output).unwrap();
    let lines = output.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

pub(crate) fn pico(line: &Value) -> Usd {
    let pico = line["cost_picousd"].as_str().unwrap();
    Usd::from_pico(pico.parse().unwrap())
}

/// Rows in their order, each with its key, and everything adds up and is proved again.
fn check(lab: &Lab, manifest: &Manifest, rows: usize) -> Vec<Value> {
    let lines = lines(lab);
    assert_eq!(lines.len(), rows);
    for (row, line) in lines.iter().enumerate() {
        assert_eq!(line["key"], format!("row {row}"));
    }
    assert_eq!(
        (manifest.rows_in, manifest.rows_out),
        (rows as u64, rows as u64)
    );
    assert_eq!(manifest.outcomes.values().sum::<u64>(), rows as u64);
    let cost: Usd = lines.iter().map(pico).sum();
    assert_eq!(cost, manifest.cost_picousd);
    let reused = lines.iter().filter(|line| line.get("reused").is_some());
    let reused: Vec<&Value> = reused.collect();
    assert_eq!(reused.len() as u64, manifest.reused.rows());
    for line in reused {
        assert_eq!(pico(line), Usd::ZERO);
        assert_eq!(
            (&line["route"], &line["attempts"]),
            (&Value::Null, &0.into())
        );
    }
    let verdict = lab.verify(manifest);
    assert_eq!(verdict.doubts, []);
    assert_eq!(verdict.proved.reused, manifest.reused.rows());
    assert_eq!(verdict.proved.cost, manifest.cost_picousd);
    lines
}

/// Rows that share an answer show it as the row does that was sent; returns the rows that were sent.
fn check_shared(lines: &[Value], questions: &[u64]) -> usize {
    let mut first: BTreeMap<u64, usize> = BTreeMap::new();
    for (row, question) in questions.iter().enumerate() {
        let of = *first.entry(*question).or_insert(row);
        let (line, leader) = (&lines[row], &lines[of]);
        for member in ["status", "text", "message", "usage", "error"] {
            assert_eq!(line[member], leader[member], "row {row}, {member}");
        }
        if of == row {
            assert!(line.get("reused").is_none());
        } else {
            assert_eq!(line["reused"]["row"], of);
            assert_eq!(line["reused"]["key"], leader["key"]);
        }
    }
    first.len()
}

fn draw(seed: u64) -> Vec<u64> {
    let mut dice = Dice(seed);
    let (rows, kinds) = (1 + dice.below(90), 1 + dice.below(60));
    (0..rows).map(|_| dice.below(kinds)).collect()
}

fn distinct(questions: &[u64]) -> Vec<u64> {
    let mut seen = std::collections::BTreeSet::new();
    let first = questions.iter().filter(|question| seen.insert(**question));
    first.copied().collect()
}

#[test]
fn identical_rows_cost_what_the_distinct_ones_cost() {
    for seed in 0..12 {
        let questions = draw(seed);
        let mut once = lab(
            seed,
            Config::default(),
            &distinct(&questions),
            Reuse::default(),
        );
        let reference = finished(&mut once);
        let answers = lines(&once);
        let mut lab = lab(seed, Config::default(), &questions, IDENTICAL);
        let manifest = finished(&mut lab);
        let lines = check(&lab, &manifest, questions.len());
        let sent = check_shared(&lines, &questions);
        assert_eq!(lab.billed(), sent);
        let places = distinct(&questions);
        for (line, question) in lines.iter().zip(&questions) {
            let place = places.iter().position(|other| other == question).unwrap();
            for member in ["status", "text", "usage"] {
                assert_eq!(line[member], answers[place][member]);
            }
        }
        assert_eq!(manifest.cost_picousd, reference.cost_picousd);
        assert_eq!(lab.bill(), manifest.cost_picousd);
        let saved = manifest.reused.identical;
        assert_eq!(saved.rows, (questions.len() - sent) as u64);
        assert_eq!(saved.cost > Usd::ZERO, saved.rows > 0);
    }
}

#[test]
fn nothing_is_sent_twice_whenever_it_crashes_and_whatever_fails() {
    let (mut crashed, mut failed) = (0, 0);
    for seed in 0..16 {
        let questions = draw(seed ^ 0xabc);
        let mut faults = Faults::rough(seed);
        faults.rows = RowFaults {
            api_error: 0.2,
            overloaded: 0.1,
            expired: 0.05,
        };
        // An answer that cannot be read has no cost to add up.
        faults.results.malformed_line = 0.0;
        let config = Config {
            seed,
            faults,
            ..Config::default()
        };
        let mut lab = lab(seed, config, &questions, ALL);
        let mut dice = Dice(seed);
        let mut manifest = None;
        for _ in 0..4 {
            match lab.live(Some(Duration::from_millis(dice.below(400_000)))) {
                Life::Finished(done) => {
                    manifest = Some(done);
                    break;
                }
                Life::Crashed => crashed += 1,
                Life::Ended(end) => panic!("{end:?}"),
            }
        }
        let manifest = manifest.unwrap_or_else(|| finished(&mut lab));
        let lines = check(&lab, &manifest, questions.len());
        let sent = check_shared(&lines, &questions);
        failed += lines
            .iter()
            .filter(|line| line["error"].is_object())
            .count();
        // Only calls whose answers were lost may be billed beside what the lines say.
        let lost = lab.bill() - manifest.cost_picousd;
        assert!(lost >= Usd::ZERO && lost <= manifest.unknown_picousd);
        let lost_calls = usize::try_from(manifest.unknown_calls).unwrap();
        assert!(lab.billed() <= sent + lost_calls);
    }
    assert!(crashed > 5, "{crashed}");
    assert!(failed > 0, "no row failed");
}

#[test]
fn calls_that_are_awaited_and_rows_that_go_ahead_are_shared_too() {
    let questions = draw(77);
    for (need, probe) in [
        (Need::Seconds, None),
        (Need::Whenever, Some(3)),
        (Need::Seconds, Some(3)),
    ] {
        let mut lab = lab(12, Config::default(), &questions, IDENTICAL);
        (lab.spec.need, lab.probe) = (need, probe);
        let manifest = finished(&mut lab);
        let lines = check(&lab, &manifest, questions.len());
        assert_eq!(lab.billed(), check_shared(&lines, &questions));
        assert_eq!(lab.bill(), manifest.cost_picousd);
    }
}

#[test]
fn a_budget_is_about_the_rows_that_are_sent() {
    let mut long = asking(&[1, 2]).replace("No. 1?", &"long ".repeat(40_000));
    let mut lab = lab(13, Config::default(), &[], EARLIER);
    std::fs::write(&lab.spec.source.input, &long).unwrap();
    let first = finished(&mut lab);
    assert!(first.all_succeeded());
    // Enough for a short row, and too little for what the long one can cost.
    lab.spec.budget = Some(Usd::from_pico(5_000_000_000));
    long.push_str(&asking(&[3]).replace("row 0", "row 2"));
    std::fs::write(&lab.spec.source.input, &long).unwrap();
    let second = finished(&mut lab);
    check(&lab, &second, 3);
    assert_eq!(second.reused.earlier_runs.rows, 2);
    lab.spec.reuse = Reuse::default();
    lab.choice.fresh = true;
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| lab.live(None)));
    let words = *panic.unwrap_err().downcast::<String>().unwrap();
    assert!(words.contains("BudgetBelowRow"), "{words}");
}

#[test]
fn a_shared_failure_is_every_rows_failure() {
    let config = Config {
        faults: Faults {
            rows: RowFaults {
                api_error: 1.0,
                ..RowFaults::default()
            },
            ..Faults::none()
        },
        ..Config::default()
    };
    let questions = [1, 1, 2, 1];
    let mut lab = lab(3, config, &questions, IDENTICAL);
    let manifest = finished(&mut lab);
    let lines = check(&lab, &manifest, 4);
    check_shared(&lines, &questions);
    assert_eq!(manifest.outcomes["exhausted"], 4);
    assert_eq!(lines[3]["error"]["type"], "api_error");
    assert_eq!(lab.bill(), Usd::ZERO);
}

#[test]
fn rows_of_a_job_that_was_given_up_share_that_too() {
    let questions = [1, 1, 2, 2, 3, 1];
    let mut lab = lab(16, Config::default(), &questions, IDENTICAL);
    assert!(matches!(
        lab.live(Some(Duration::from_secs(1))),
        Life::Crashed
    ));
    lab.cancel = Some(Cancel::Everything);
    let manifest = finished(&mut lab);
    let lines = check(&lab, &manifest, 6);
    check_shared(&lines, &questions);
    assert_eq!(manifest.outcomes["canceled"], 6);
}

#[test]
fn a_nightly_run_pays_for_what_is_new() {
    let mut lab = lab(5, Config::default(), &[1, 2, 3, 4], EARLIER);
    let first = finished(&mut lab);
    let monday = check(&lab, &first, 4);
    let (second, billed) = next_run(&mut lab, &[4, 9, 2, 1, 8]);
    let tuesday = check(&lab, &second, 5);
    assert_eq!((billed, second.run), (second.cost_picousd, 2));
    assert_eq!(second.reused.earlier_runs.rows, 3);
    for (row, of) in [(0, 3), (2, 1), (3, 0)] {
        assert_eq!(tuesday[row]["message"], monday[of]["message"]);
        assert_eq!(tuesday[row]["reused"]["run"], 1);
        assert_eq!(tuesday[row]["reused"]["row"], of);
    }
    let saved: Usd = [3, 1, 0]
        .map(|row: usize| pico(&monday[row]))
        .into_iter()
        .sum();
    assert_eq!(second.reused.earlier_runs.cost, saved);

    // The files of the first run are gone; what the second took over is still there, and known as the
    // first one's. Nothing is new, so nothing is sent.
    lab.purge(&first);
    let (third, billed) = next_run(&mut lab, &[9, 4, 1]);
    let wednesday = check(&lab, &third, 3);
    assert_eq!((billed, third.cost_picousd), (Usd::ZERO, Usd::ZERO));
    assert!(third.all_succeeded());
    for (row, of, run, in_run) in [(0, 1, 2, 1), (1, 0, 1, 3), (2, 3, 1, 0)] {
        assert_eq!(wednesday[row]["message"], tuesday[of]["message"]);
        assert_eq!(wednesday[row]["reused"]["run"], run);
        assert_eq!(wednesday[row]["reused"]["row"], in_run);
    }
    // It is finished as any other run is.
    let again = finished(&mut lab);
    assert_eq!(again, third);
}

#[test]
fn rows_that_are_identical_on_purpose_take_an_answer_each() {
    let mut lab = lab(6, Config::default(), &[7, 7, 7], EARLIER);
    let first = finished(&mut lab);
    check(&lab, &first, 3);
    let (second, _) = next_run(&mut lab, &[7, 7, 7, 7, 7]);
    let lines = check(&lab, &second, 5);
    assert_eq!(second.reused.earlier_runs.rows, 3);
    let from: Vec<&Value> = lines.iter().map(|line| &line["reused"]["row"]).collect();
    assert_eq!(from[..3], [&Value::from(0), &1.into(), &2.into()]);
    // Five answers are there now, three of them twice on the disk.
    let (third, billed) = next_run(&mut lab, &[7, 7, 7, 7, 7, 7]);
    check(&lab, &third, 6);
    assert_eq!(third.reused.earlier_runs.rows, 5);
    assert_eq!(billed, third.cost_picousd);
    // Where one answer does for all of them, it does for all of them.
    lab.spec.reuse = ALL;
    let (fourth, billed) = next_run(&mut lab, &[7; 9]);
    check(&lab, &fourth, 9);
    assert_eq!((fourth.reused.earlier_runs.rows, billed), (9, Usd::ZERO));
}

#[test]
fn only_answers_that_succeeded_are_taken_over() {
    let config = Config {
        refusals: 0.5,
        ..Config::default()
    };
    let questions: Vec<u64> = (0..30).collect();
    let mut lab = lab(8, config, &questions, EARLIER);
    let first = finished(&mut lab);
    let succeeded = first.outcomes["succeeded"];
    assert!((1..30).contains(&succeeded), "{succeeded}");
    let (second, _) = next_run(&mut lab, &(0..31).collect::<Vec<_>>());
    check(&lab, &second, 31);
    assert_eq!(second.reused.earlier_runs.rows, succeeded);
}

#[test]
fn requests_with_other_beta_features_are_other_requests() {
    let mut lab = lab(9, Config::default(), &[1, 2], EARLIER);
    finished(&mut lab);
    lab.spec.betas = vec!["advanced-tool-use-2025-11-20".to_owned()];
    let (second, _) = next_run(&mut lab, &[1, 2, 3]);
    assert_eq!(second.reused.rows(), 0);
}

#[test]
fn a_run_that_takes_over_survives_a_crash_at_any_moment() {
    for seed in 0..6 {
        let mut lab = lab(seed, Config::default(), &draw(seed), ALL);
        finished(&mut lab);
        let mut questions = draw(seed ^ 1);
        questions.extend(draw(seed));
        std::fs::write(&lab.spec.source.input, asking(&questions)).unwrap();
        let before = lab.bill();
        let mut dice = Dice(seed);
        let mut manifest = None;
        for _ in 0..3 {
            let crash = Duration::from_millis(dice.below(90_000));
            if let Life::Finished(done) = lab.live(Some(crash)) {
                manifest = Some(done);
            }
        }
        let manifest = manifest.unwrap_or_else(|| finished(&mut lab));
        check(&lab, &manifest, questions.len());
        assert_eq!(lab.bill() - before, manifest.cost_picousd);
        assert!(manifest.reused.earlier_runs.rows > 0);
    }
}

#[test]
fn other_reuse_goes_on_with_the_run_as_it_was_cut() {
    let questions = [1, 1, 2, 2, 3];
    let mut lab = lab(10, Config::default(), &questions, Reuse::default());
    assert!(matches!(
        lab.live(Some(Duration::from_secs(60))),
        Life::Crashed
    ));
    lab.spec.reuse = IDENTICAL;
    let manifest = finished(&mut lab);
    check(&lab, &manifest, 5);
    assert_eq!((manifest.run, manifest.reused.rows()), (1, 0));
    assert_eq!(lab.billed(), 5);
    assert_eq!(lab.bill(), manifest.cost_picousd);
}

#[test]
fn a_purge_that_was_interrupted_leaves_nothing_to_take_over() {
    let mut lab = lab(15, Config::default(), &[1, 2], EARLIER);
    let first = finished(&mut lab);
    // The note comes first, and the rows are gone before the answers.
    let spool = lab.spool_of(&first);
    let note = r#"{"at":"2026-11-22T00:10:00Z","files":1,"bytes":1}"#;
    std::fs::write(spool.root().join("purged.json"), note).unwrap();
    std::fs::remove_dir_all(spool.root().join("rows")).unwrap();
    let (second, billed) = next_run(&mut lab, &[1, 2, 3]);
    check(&lab, &second, 3);
    assert_eq!((second.reused.rows(), billed), (0, second.cost_picousd));
}

#[test]
fn a_night_that_was_lost_with_the_answers_it_took_over_is_not_paid_again_unasked() {
    let mut lab = lab(14, Config::default(), &[1, 2, 3, 4], EARLIER);
    finished(&mut lab);
    std::fs::write(&lab.spec.source.input, asking(&[4, 9, 2, 1, 8])).unwrap();
    assert!(matches!(
        lab.live(Some(Duration::from_secs(60))),
        Life::Crashed
    ));
    lab.lose_the_disk();
    lab.wait(Duration::from_secs(3_600));
    sent_other_rows(lab.live(None));
    assert_eq!(lab.billed(), 4 + 2, "each row once");
}

#[test]
fn an_empty_disk_finds_what_it_paid_if_it_shares_as_it_did_and_else_says_so() {
    let questions: Vec<u64> = (0..40).map(|row| row % 25).collect();
    for (then, now) in [(IDENTICAL, Reuse::default()), (Reuse::default(), IDENTICAL)] {
        let mut lab = lab(11, Config::default(), &questions, then);
        // Its batches have ended, and say whose they are.
        assert!(matches!(
            lab.live(Some(Duration::from_secs(60))),
            Life::Crashed
        ));
        lab.lose_the_disk();
        lab.wait(Duration::from_secs(3_600));
        lab.spec.reuse = now;
        sent_other_rows(lab.live(None));
        lab.lose_the_disk();
        lab.spec.reuse = then;
        let manifest = finished(&mut lab);
        check(&lab, &manifest, 40);
        assert_eq!(lab.bill(), manifest.cost_picousd, "nothing was paid twice");
    }
}

fn sent_other_rows(life: Life) {
    let Life::Ended(end) = life else {
        panic!("{life:?}")
    };
    let RunEnd::Stopped { stop, .. } = *end else {
        panic!("{end:?}")
    };
    assert!(matches!(stop, Stop::SentOtherRows { .. }), "{stop:?}");
}
