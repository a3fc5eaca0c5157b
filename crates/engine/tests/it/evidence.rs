//! What a job learns for the next one: each answer once, whatever crashes, and nothing that was said.

use std::time::Duration;

use offpeak_core::plan::evidence::{Method, Start};
use offpeak_core::units::Span;
use offpeak_engine::history::recall;
use offpeak_sim::{CacheRules, Config};
use offpeak_wire::request::Ttl;

use crate::lab::{Lab, Life, rows};

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

/// A world in which no row ever reads what another wrote.
fn without_hits() -> CacheRules {
    CacheRules {
        within_batch: false,
        domains: 1_000_000,
        ..CacheRules::default()
    }
}
