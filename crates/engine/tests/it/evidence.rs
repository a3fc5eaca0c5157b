//! What a job learns for the next one: each answer once, whatever crashes, and nothing that was said.

use std::fmt::Write as _;
use std::time::Duration;

use offpeak_core::job::event::Stop;
use offpeak_core::plan::evidence::{Method, Start};
use offpeak_core::units::{Span, Usd};
use offpeak_engine::count::{CountProblem, Counting};
use offpeak_engine::history::recall;
use offpeak_engine::run::RunEnd;
use offpeak_engine::spec::Need;
use offpeak_sim::{CacheRules, Config, Endpoint, EndpointFaults, Fault, Faults, Limits, Profile};
use offpeak_wire::error::ErrorKind;
use offpeak_wire::request::Ttl;

use crate::lab::{Lab, Life, rows};
use crate::scenarios::short_rows;

const MODEL: &str = "claude-haiku-5-5";

#[test]
fn every_answer_is_learnt_from_once_whatever_crashes() {
    for seed in 1..6 {
        let mut lab = Lab::new(seed, Config::default(), &rows(seed, 120));
        let mut lives = 0;
        let manifest = loop {
            lives += 1;
            match lab.live((lives < 40).then(|| Duration::from_secs(11 * seed))) {
                Life::Finished(manifest) => break manifest,
                Life::Crashed => {}
                Life::Ended(end) => panic!("{end:?}"),
            }
        };
        lab.check(&manifest, 120);
        assert!(lives > 1, "it crashed at least once");
        let store = lab.store();
        let seen = store.observations(lab.now() - Span::from_secs(864_000));
        let calls: u64 = seen
            .unwrap()
            .iter()
            .map(|seen| seen.observed.tokens.calls())
            .sum();
        assert_eq!(calls, 120);
        let evidence = recall(&store, "lab", lab.now()).unwrap();
        assert_eq!(evidence.method(MODEL), Method::Billed(120));
        assert!(evidence.token_spread(MODEL) < 0.1);
        assert_eq!(evidence.answers(MODEL), 120);
        let other = recall(&store, "another", lab.now()).unwrap();
        assert_eq!(other.method(MODEL), Method::Uncalibrated);
    }
}

#[test]
fn hits_behind_a_canary_are_learnt_for_every_job() {
    let learnt = |cache| {
        let config = Config {
            cache,
            ..Config::default()
        };
        let mut lab = Lab::new(9, config, &rows(9, 120));
        let Life::Finished(manifest) = lab.live(None) else {
            panic!("it ends")
        };
        lab.check(&manifest, 120);
        let seen = lab
            .store()
            .observations(lab.now() - Span::from_secs(864_000));
        let seen = seen.unwrap();
        let counts: Vec<_> = seen
            .iter()
            .flat_map(|seen| seen.observed.hits.clone())
            .collect();
        let [count] = counts[..] else {
            panic!("one group in one shard: {counts:?}")
        };
        assert_eq!((count.start, count.ttl), (Start::Led, Ttl::OneHour));
        let rows = count.hits + count.misses;
        let evidence = recall(&lab.store(), "another", lab.now()).unwrap();
        let belief = evidence.hit_rate_behind_canary(MODEL, Ttl::OneHour, rows);
        (count.hits, count.misses, belief.unwrap().mean())
    };
    let (hits, misses, mean) = learnt(CacheRules::default());
    assert!(
        hits > 60 && misses == 0 && mean > 0.9,
        "{hits} {misses} {mean}"
    );
    let (hits, misses, mean) = learnt(without_hits());
    assert!(
        hits == 0 && misses > 60 && mean < 0.1,
        "{hits} {misses} {mean}"
    );
}

/// Rows of so many groups, each with a preamble of its own: too many for one shard of canaries.
fn many_groups(groups: usize, rows_each: usize) -> String {
    let mut rows = String::new();
    for row in 0..groups * rows_each {
        let group = row % groups;
        let preamble = format!("Label the topic of a sentence about {group}. ").repeat(90);
        let _ = writeln!(
            rows,
            "{{\"custom_id\":\"row {row}\",\"params\":{{\"model\":\"{MODEL}\",\"max_tokens\":300,\
             \"system\":\"{preamble}\",\"messages\":[{{\"role\":\"user\",\
             \"content\":\"peace and commerce {row}\"}}]}}}}"
        );
    }
    rows
}

/// Rows whose answers wrote to the cache.
fn writes(audit: &crate::lab::Audit) -> usize {
    let wrote = |line: &&serde_json::Value| {
        let usage = &line["usage"]["cache_creation_input_tokens"];
        usage.as_u64().is_some_and(|tokens| tokens > 0)
    };
    audit.lines.iter().filter(wrote).count()
}

#[test]
fn marks_that_nobody_reads_are_paid_for_only_in_what_was_under_way() {
    const GROUPS: usize = 120;
    const EACH: usize = 5;
    const ROWS: u64 = (GROUPS * EACH) as u64;
    for crash in [None, Some(Duration::from_secs(41))] {
        let config = Config {
            cache: without_hits(),
            ..Config::default()
        };
        let mut lab = Lab::new(11, config, &many_groups(GROUPS, EACH));
        let mut lives = 0;
        let manifest = loop {
            lives += 1;
            match lab.live(crash.filter(|_| lives < 60)) {
                Life::Finished(manifest) => break manifest,
                Life::Crashed => {}
                Life::Ended(end) => panic!("{end:?}"),
            }
        };
        let audit = lab.check(&manifest, ROWS);
        // The canaries, and the first of the three shards behind them: that of the first row, whose
        // group has the shortest preamble and so goes with the last 20 of the canaries.
        assert_eq!(writes(&audit), GROUPS + 20 * (EACH - 1));
        assert_eq!(manifest.cache_read_tokens, 0);
        // The next run knows, and marks nothing.
        lab.choice.fresh = true;
        lab.spec.overwrite = true;
        let written = manifest.cache_write_tokens;
        let Life::Finished(manifest) = lab.live(None) else {
            panic!("it ends")
        };
        assert_eq!(
            (manifest.route.as_str(), manifest.cache_write_tokens),
            ("batch", 0)
        );
        assert!(written > 0);
    }
}

#[test]
fn marks_that_are_read_stay() {
    let mut lab = Lab::new(12, Config::default(), &many_groups(120, 5));
    let Life::Finished(manifest) = lab.live(None) else {
        panic!("it ends")
    };
    let audit = lab.check(&manifest, 600);
    assert_eq!(writes(&audit), 120, "the canaries");
    assert!(manifest.cost_picousd < manifest.plain_batch_picousd);
}

#[test]
fn counting_costs_nothing_and_narrows_the_estimate() {
    let mut lab = Lab::new(21, Config::default(), &rows(21, 400));
    let (plan, counts, _) = lab.plan_counted(Counting::Sample);
    assert_eq!((counts.counted, counts.asked, counts.of), (128, 128, 400));
    assert_eq!(counts.problem, None);
    assert_eq!(plan.assumptions.token_method, "128 rows counted");
    let sampled = plan.assumptions.token_spread;
    assert!((0.01..0.15).contains(&sampled), "{sampled}");
    let (plan, counts, _) = lab.plan_counted(Counting::Exact);
    assert_eq!((counts.counted, counts.of), (400, 400));
    assert_eq!(plan.assumptions.token_method, "all rows counted");
    assert!(plan.assumptions.token_spread <= sampled);
    assert_eq!(lab.bill(), Usd::ZERO);
    assert_eq!(
        std::fs::read_dir(lab.data_dir().join("jobs"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn the_counters_own_limit_is_obeyed() {
    let config = Config {
        limits: Limits {
            count_tokens: 60,
            ..Limits::start()
        },
        ..Config::default()
    };
    let mut lab = Lab::new(22, config, &rows(22, 150));
    let (_, counts, micros) = lab.plan_counted(Counting::Exact);
    assert_eq!((counts.counted, counts.problem), (150, None));
    assert!(micros > 60_000_000, "150 calls at 60 a minute: {micros} µs");
}

#[test]
fn a_counter_that_never_answers_leaves_the_estimate() {
    let mut faults = Faults::none();
    for call in 0..200 {
        faults = faults.at(Endpoint::CountTokens, call, Fault::Internal);
    }
    let config = Config {
        faults,
        ..Config::default()
    };
    let mut lab = Lab::new(23, config, &rows(23, 50));
    let (plan, counts, _) = lab.plan_counted(Counting::Sample);
    assert_eq!(counts.counted, 0);
    let problem = counts.problem.unwrap();
    assert!(
        matches!(problem, CountProblem::Unreachable { .. }),
        "{problem}"
    );
    assert_eq!(plan.assumptions.token_method, "uncalibrated");
}

#[test]
fn a_probe_is_paid_once_and_the_rest_is_planned_by_it_whenever_it_crashes() {
    for (seed, crash) in [
        (31, None),
        (32, Some(7)),
        (33, Some(19)),
        (34, Some(53)),
        (35, Some(211)),
    ] {
        let mut lab = Lab::new(seed, Config::default(), &rows(seed, 200));
        lab.probe = Some(30);
        let mut lives = 0;
        let manifest = loop {
            lives += 1;
            let after = crash.filter(|_| lives < 80).map(Duration::from_secs);
            match lab.live(after) {
                Life::Finished(manifest) => break manifest,
                Life::Crashed => {}
                Life::Ended(end) => panic!("{end:?}"),
            }
        };
        lab.check(&manifest, 200);
        assert!(manifest.all_succeeded(), "{:?}", manifest.outcomes);
        assert_eq!(manifest.route, "batch+cache");
        // Half of `max_tokens` was assumed of the answers, and the bytes of a token: both are known.
        let share = manifest.planned_picousd.pico() as f64 / manifest.cost_picousd.pico() as f64;
        assert!((0.8..1.25).contains(&share), "seed {seed}: {share}");
        let store = lab.store();
        let seen = store
            .observations(lab.now() - Span::from_secs(864_000))
            .unwrap();
        let calls: u64 = seen.iter().map(|seen| seen.observed.tokens.calls()).sum();
        assert_eq!(calls, 200);
        assert_eq!(seen[0].observed.tokens.calls(), 30, "the probe came first");
    }
}

#[test]
fn a_probe_of_all_rows_is_the_job() {
    let mut lab = Lab::new(36, Config::default(), &rows(36, 20));
    lab.probe = Some(20);
    let Life::Finished(manifest) = lab.live(None) else {
        panic!("it ends")
    };
    lab.check(&manifest, 20);
}

#[test]
fn a_probe_on_an_empty_disk_finds_its_earlier_life_or_stops() {
    let mut finished = 0;
    for seconds in [5, 15, 30, 60, 90, 120, 150] {
        let mut lab = Lab::new(37, Config::default(), &rows(37, 60));
        lab.probe = Some(10);
        if !matches!(lab.live(Some(Duration::from_secs(seconds))), Life::Crashed) {
            continue;
        }
        lab.lose_the_disk();
        match lab.live(None) {
            Life::Finished(manifest) => {
                lab.check(&manifest, 60);
                finished += 1;
            }
            // The rest may be cut differently than in the life before: then nothing is paid again.
            Life::Ended(end) => {
                let RunEnd::Stopped { stop, .. } = &*end else {
                    panic!("{end:?}")
                };
                let kind = ErrorKind::Conflict;
                assert!(
                    matches!(stop, Stop::Upstream { kind: k, .. } if *k == kind),
                    "{stop:?}"
                );
            }
            Life::Crashed => panic!("it was not to"),
        }
    }
    assert!(finished > 1, "{finished}");
}

#[test]
fn a_search_on_an_empty_disk_does_not_pass_over_a_batch_that_cannot_be_read_at_once() {
    for seed in 0..8 {
        let often = EndpointFaults {
            overloaded: 0.5,
            ..EndpointFaults::default()
        };
        let faults = Faults {
            seed,
            ..Faults::none()
        };
        let config = Config {
            seed,
            faults: faults.on(Endpoint::Results, often),
            ..Config::default()
        };
        let mut lab = Lab::new(seed, config, &short_rows(60));
        lab.probe = Some(10);
        assert!(matches!(
            lab.live(Some(Duration::from_secs(200))),
            Life::Crashed
        ));
        lab.lose_the_disk();
        // Cut otherwise, it has no shard of the probe's size: the mark in its results is all that tells.
        lab.probe = None;
        let Life::Ended(end) = lab.live(None) else {
            panic!("seed {seed}: the probe was paid again")
        };
        let kind = ErrorKind::Conflict;
        assert!(
            matches!(&*end, RunEnd::Stopped { stop: Stop::Upstream { kind: k, .. }, .. } if *k == kind),
            "{end:?}"
        );
    }
}

#[test]
fn a_probe_whose_deadline_comes_too_soon_misses_no_row() {
    let config = Config {
        profile: Profile::Stuck,
        ..Config::default()
    };
    let mut lab = Lab::new(38, config, &rows(38, 60));
    lab.probe = Some(10);
    lab.spec.need = Need::Within(Span::from_secs(4 * 3_600));
    let Life::Finished(manifest) = lab.live(None) else {
        panic!("it ends")
    };
    lab.check(&manifest, 60);
    assert!(!manifest.after_deadline, "{}", manifest.seconds);
}

/// A world in which no row ever reads what another wrote.
fn without_hits() -> CacheRules {
    CacheRules {
        within_batch: false,
        domains: 1_000_000,
        ..CacheRules::default()
    }
}
