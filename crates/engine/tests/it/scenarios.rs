//! Single stories: each a way in which money or rows were lost elsewhere.

use std::time::Duration;

use offpeak_core::job::event::Stop;
use offpeak_core::units::{Span, Usd};
use offpeak_engine::run::RunEnd;
use offpeak_engine::spec::Need;
use offpeak_engine::start::Choice;
use offpeak_sim::{Config, Endpoint, Fault, Faults, Profile, ResultFaults, RowFaults};

use crate::lab::{Lab, Life, rows};

pub(crate) fn finished(life: Life) -> Box<offpeak_engine::finish::Manifest> {
    match life {
        Life::Finished(manifest) => manifest,
        other => panic!("{other:?}"),
    }
}

fn ended(life: Life) -> RunEnd {
    match life {
        Life::Ended(end) => *end,
        other => panic!("{other:?}"),
    }
}

/// Rows without a common beginning.
pub(crate) fn short_rows(count: u32) -> String {
    let own = |row: u32| {
        format!(
            "{{\"custom_id\":\"row {row}\",\"params\":{{\"model\":\"claude-haiku-5-5\",\
             \"max_tokens\":100,\"messages\":[{{\"role\":\"user\",\"content\":\"{row}\"}}]}}}}\n"
        )
    };
    (0..count).map(own).collect()
}

#[test]
fn a_quiet_day_saves_what_the_plan_says() {
    let mut lab = Lab::new(1, Config::default(), &rows(1, 200));
    let manifest = finished(lab.live(None));
    lab.check(&manifest, 200);
    assert!(manifest.all_succeeded(), "{:?}", manifest.outcomes);
    assert_eq!(manifest.route, "batch+cache");
    assert_eq!(manifest.unknown_picousd, Usd::ZERO);
    assert!(manifest.cache_read_tokens > 10 * manifest.cache_write_tokens);
    assert!(manifest.cost_picousd < manifest.plain_batch_picousd);
    assert_eq!(
        manifest.plain_batch_picousd + manifest.plain_batch_picousd,
        manifest.naive_picousd
    );
}

#[test]
fn a_finished_job_is_not_run_again() {
    let mut lab = Lab::new(2, Config::default(), &rows(2, 20));
    let first = finished(lab.live(None));
    let second = finished(lab.live(None));
    assert_eq!(first, second);
    lab.check(&second, 20);
}

#[test]
fn a_create_whose_answer_is_lost_is_adopted() {
    let faults = Faults::none().at(Endpoint::Create, 0, Fault::ResetAfterAccept);
    let config = Config {
        faults,
        ..Config::default()
    };
    let mut lab = Lab::new(3, config, &rows(3, 30));
    let manifest = finished(lab.live(None));
    lab.check(&manifest, 30);
}

#[test]
fn a_create_that_fails_with_500_is_not_repeated_before_it_is_proved_absent() {
    let faults = Faults::none().at(Endpoint::Create, 0, Fault::Internal);
    let config = Config {
        faults,
        ..Config::default()
    };
    let mut lab = Lab::new(4, config, &rows(4, 30));
    let manifest = finished(lab.live(None));
    lab.check(&manifest, 30);
    assert!(
        manifest.seconds > 300.0,
        "two listings, five minutes apart: {}",
        manifest.seconds
    );
}

#[test]
fn an_empty_disk_finds_the_batches_of_its_earlier_life() {
    let mut lab = Lab::new(5, Config::default(), &rows(5, 40));
    assert!(matches!(
        lab.live(Some(Duration::from_secs(60))),
        Life::Crashed
    ));
    lab.lose_the_disk();
    let manifest = finished(lab.live(None));
    lab.check(&manifest, 40);
}

#[test]
fn an_empty_disk_finds_the_batches_of_the_second_night_of_a_job() {
    let mut lab = Lab::new(5, Config::default(), &rows(5, 40));
    let first = finished(lab.live(None));
    std::fs::remove_file(&lab.spec.output).unwrap();
    std::fs::write(&lab.spec.source.input, rows(6, 30)).unwrap();
    assert!(matches!(
        lab.live(Some(Duration::from_secs(60))),
        Life::Crashed
    ));
    lab.lose_the_disk();
    let second = finished(lab.live(None));
    assert_eq!(lab.bill(), first.cost_picousd + second.cost_picousd);
}

#[test]
fn an_empty_disk_finds_the_batches_that_a_budget_had_cut() {
    // The budget holds a part of the rows, so the first shard was cut before it was sent. A life that knows
    // nothing of the cut sees a running batch of a size that none of its shards has.
    let mut lab = Lab::new(15, Config::default(), &short_rows(12));
    lab.choice.past_guard = true;
    lab.spec.budget = Some(Usd::from_pico(300_000_000));
    assert!(matches!(
        lab.live(Some(Duration::from_secs(60))),
        Life::Crashed
    ));
    lab.lose_the_disk();
    let mut end = lab.live(None);
    while let Life::Ended(stopped) = end {
        assert!(
            matches!(
                *stopped,
                RunEnd::Stopped {
                    stop: Stop::Budget { .. },
                    ..
                }
            ),
            "{stopped:?}"
        );
        lab.spec.budget = lab.spec.budget.map(|budget| budget + budget);
        end = lab.live(None);
    }
    lab.check(&finished(end), 12);
}

#[test]
fn a_batch_whose_first_result_line_cannot_be_read_is_not_taken_for_a_strangers() {
    // One batch, without a canary. Half of its rows expire, whose lines are so short that half of one,
    // which is what is left of a malformed line, has no id; with some seeds that is the first line.
    let own = |row: u32| {
        format!(
            "{{\"custom_id\":\"row {row}\",\"params\":{{\"model\":\"claude-haiku-5-5\",\
             \"max_tokens\":100,\"messages\":[{{\"role\":\"user\",\"content\":\"{row}\"}}]}}}}\n"
        )
    };
    let rows: String = (0..12).map(own).collect();
    for seed in 0..12 {
        let results = ResultFaults {
            malformed_line: 0.5,
            ..ResultFaults::default()
        };
        let rows_expire = RowFaults {
            expired: 0.5,
            ..RowFaults::default()
        };
        let faults = Faults {
            seed,
            results,
            rows: rows_expire,
            ..Faults::none()
        };
        let config = Config {
            faults,
            ..Config::default()
        };
        let mut lab = Lab::new(seed, config, &rows);
        assert!(matches!(
            lab.live(Some(Duration::from_secs(60))),
            Life::Crashed
        ));
        lab.lose_the_disk();
        let manifest = finished(lab.live(None));
        let audit = lab.audit(&manifest);
        assert_eq!(audit.duplicates, 0, "seed {seed}");
    }
}

#[test]
fn rows_that_expire_go_on() {
    let rows_faults = RowFaults {
        expired: 0.3,
        ..RowFaults::default()
    };
    let faults = Faults {
        rows: rows_faults,
        ..Faults::none()
    };
    let mut lab = Lab::new(
        6,
        Config {
            faults,
            ..Config::default()
        },
        &rows(6, 60),
    );
    let manifest = finished(lab.live(None));
    lab.check(&manifest, 60);
    assert!(manifest.all_succeeded(), "{:?}", manifest.outcomes);
    assert!(manifest.attempts > 60);
}

#[test]
fn torn_and_broken_results_are_downloaded_again_and_never_hang() {
    let results = ResultFaults {
        malformed_line: 0.05,
        duplicate_line: 0.1,
        truncated: 0.5,
    };
    let faults = Faults {
        results,
        ..Faults::none()
    };
    let mut lab = Lab::new(
        7,
        Config {
            faults,
            ..Config::default()
        },
        &rows(7, 80),
    );
    let manifest = finished(lab.live(None));
    assert_eq!(manifest.rows_out, 80);
    let unreadable = manifest
        .outcomes
        .get("result_unreadable")
        .copied()
        .unwrap_or(0);
    assert_eq!(manifest.unknown_calls, unreadable);
    let audit = lab.audit(&manifest);
    assert!(
        audit.bill - audit.cost <= manifest.unknown_picousd,
        "what is unknown is held"
    );
}

#[test]
fn a_dead_batch_lane_is_hedged_before_the_deadline() {
    let config = Config {
        profile: Profile::Dead,
        ..Config::default()
    };
    let mut lab = Lab::new(8, config, &rows(8, 50));
    lab.spec.need = Need::Within(Span::from_secs(4 * 3_600));
    let manifest = finished(lab.live(None));
    lab.check(&manifest, 50);
    assert!(manifest.all_succeeded(), "{:?}", manifest.outcomes);
    assert!(!manifest.after_deadline, "{} s", manifest.seconds);
}

#[test]
fn answers_needed_in_seconds_never_see_a_batch() {
    let mut lab = Lab::new(9, Config::default(), &rows(9, 50));
    lab.spec.need = Need::Seconds;
    let manifest = finished(lab.live(None));
    lab.check(&manifest, 50);
    assert!(
        manifest
            .routes
            .keys()
            .all(|route| route.starts_with("sync")),
        "{:?}",
        manifest.routes
    );
    assert!(manifest.seconds < 120.0, "{} s", manifest.seconds);
}

#[test]
fn a_soft_line_stops_before_it_is_crossed_and_a_higher_one_goes_on() {
    for (seed, need) in [(96, Need::Seconds), (97, Need::Whenever)] {
        let mut lab = Lab::new(seed, Config::default(), &rows(seed, 1_200));
        lab.spec.need = need;
        lab.spec.soft_budget = Some("0.03".parse().unwrap());
        let mut lives = 0;
        let manifest = loop {
            lives += 1;
            let life = lab.live(None);
            if let Life::Finished(manifest) = life {
                break manifest;
            }
            let RunEnd::Stopped {
                stop: Stop::SoftBudget { line, spent },
                ..
            } = ended(life)
            else {
                panic!("only the line stops it");
            };
            assert_eq!(spent, lab.bill(), "everything is at home");
            assert!(spent <= line, "{spent} of {line}");
            lab.spec.soft_budget = Some(line + line);
            assert!(lives < 10, "it goes round in circles");
        };
        assert!(lives > 1, "the line was crossed at once");
        lab.check(&manifest, 1_200);
        assert!(manifest.cost_picousd > "0.03".parse().unwrap());
    }
}

#[test]
fn a_budget_stops_cleanly_and_a_larger_one_goes_on() {
    let mut lab = Lab::new(10, Config::default(), &rows(10, 50));
    let tiny = Usd::from_pico(600_000_000);
    lab.spec.budget = Some(tiny);
    let RunEnd::Stopped {
        stop: Stop::Budget { .. },
        tally,
        ..
    } = ended(lab.live(None))
    else {
        panic!("the budget holds a few rows at most");
    };
    assert!(tally.cost <= tiny);
    lab.spec.budget = None;
    let manifest = finished(lab.live(None));
    lab.check(&manifest, 50);
}

#[test]
fn what_may_not_be_kept_upstream_goes_in_no_batch() {
    let mut lab = Lab::new(21, Config::default(), &rows(21, 60));
    lab.spec.zero_data_retention = true;
    let manifest = finished(lab.live(None));
    assert!(
        manifest
            .routes
            .keys()
            .all(|route| route.starts_with("sync"))
    );
    let facts = manifest.reasons.iter();
    let mut kinds = facts.filter_map(|reason| reason["because"]["kind"].as_str());
    assert!(kinds.any(|kind| kind == "zero_data_retention"));
    lab.check(&manifest, 60);
}

#[test]
fn batches_under_way_are_not_gone_on_with_once_nothing_may_be_kept() {
    let mut lab = Lab::new(22, Config::default(), &rows(22, 60));
    assert!(matches!(
        lab.live(Some(Duration::from_secs(20))),
        Life::Crashed
    ));
    lab.spec.zero_data_retention = true;
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| lab.live(None)));
    let words = *panic.unwrap_err().downcast::<String>().unwrap();
    assert!(words.contains("Retained"), "{words}");
    lab.spec.zero_data_retention = false;
    let manifest = finished(lab.live(None));
    lab.check(&manifest, 60);
}

#[test]
fn a_job_whose_first_answers_are_refused_stops_before_the_bulk() {
    let config = Config {
        refusals: 1.0,
        ..Config::default()
    };
    let mut lab = Lab::new(11, config, &rows(11, 80));
    lab.choice = Choice::default();
    let RunEnd::Stopped {
        stop: Stop::Guard { bad, of, .. },
        ..
    } = ended(lab.live(None))
    else {
        panic!("the canary was refused");
    };
    assert_eq!(bad, of);
    lab.choice.past_guard = true;
    let manifest = finished(lab.live(None));
    lab.check(&manifest, 80);
}

#[test]
fn an_unfinished_run_whose_input_changed_is_told() {
    let mut lab = Lab::new(12, Config::default(), &rows(12, 20));
    assert!(matches!(
        lab.live(Some(Duration::from_secs(20))),
        Life::Crashed
    ));
    std::fs::write(&lab.spec.source.input, rows(13, 20)).unwrap();
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| lab.live(None)));
    let words = *panic.unwrap_err().downcast::<String>().unwrap();
    assert!(words.contains("InputChanged"), "{words}");
    lab.choice.fresh = true;
    let manifest = finished(lab.live(None));
    assert_eq!(manifest.run, 2);
}

#[test]
fn a_run_that_died_after_its_output_was_in_place_ends_well() {
    let mut lab = Lab::new(14, Config::default(), &rows(14, 20));
    let manifest = finished(lab.live(None));
    let output = std::fs::read(&lab.spec.output).unwrap();
    lab.reopen_job();
    let again = finished(lab.live(None));
    assert_eq!(again.output_blake3, manifest.output_blake3);
    assert_eq!(std::fs::read(&lab.spec.output).unwrap(), output);
    lab.check(&again, 20);
}
