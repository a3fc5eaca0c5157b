//! Traps of the API and failures of other runners that no other test acts out, each with the whole engine:
//! docs/traps.md lists all of them and the tests that hold them.

use std::time::Duration;

use offpeak_core::job::event::Stop;
use offpeak_core::units::{Span, Usd};
use offpeak_engine::finish::Manifest;
use offpeak_engine::run::RunEnd;
use offpeak_engine::spec::Need;
use offpeak_sim::{AnswerMode, Answers, Config, Faults, Profile, RowFaults};
use offpeak_wire::error::ErrorKind;
use offpeak_wire::limits::MAX_TOKENS_UNSTREAMED;

use crate::lab::{Lab, Life, rows};

/// A lab whose upstream follows fault rules.
fn lab(seed: u64, rules: &str, count: u64) -> Lab {
    let faults = Faults::parse(rules).unwrap();
    let config = Config {
        faults,
        ..Config::default()
    };
    Lab::new(seed, config, &rows(seed, count))
}

fn finished(life: Life) -> Box<Manifest> {
    match life {
        Life::Finished(manifest) => manifest,
        other => panic!("{other:?}"),
    }
}

/// Why the job stopped.
fn stop_of(life: Life) -> Stop {
    match life {
        Life::Ended(end) => match *end {
            RunEnd::Stopped { stop, .. } => stop,
            RunEnd::Done(tally) => panic!("{tally:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// What the upstream said when it stopped the job.
fn stopped(life: Life) -> (ErrorKind, String) {
    match stop_of(life) {
        Stop::Upstream { kind, message } => (kind, message),
        other => panic!("{other:?}"),
    }
}

/// Lives until a batch is under way, and no longer.
fn leave_a_batch_upstream(lab: &mut Lab) {
    let life = lab.live(Some(Duration::from_secs(60)));
    assert!(matches!(life, Life::Crashed), "{life:?}");
    assert!(lab.batches() > 0);
}

#[test]
fn a_batch_that_is_not_found_right_after_its_creation_is_waited_for() {
    let mut lab = lab(31, "[[rule]]\neffect = 'hidden'\nseconds = 90", 30);
    let manifest = finished(lab.live(None));
    lab.check(&manifest, 30);
    assert!(manifest.all_succeeded(), "{:?}", manifest.outcomes);
}

#[test]
fn results_that_are_not_found_at_first_are_asked_for_again() {
    let rules = "[[rule]]\nstatus = 404\nendpoint = 'results'\nfirst = 3";
    let mut lab = lab(32, rules, 30);
    let manifest = finished(lab.live(None));
    lab.check(&manifest, 30);
    assert!(manifest.all_succeeded(), "{:?}", manifest.outcomes);
}

#[test]
fn batches_that_end_with_nothing_but_expired_rows_are_no_success() {
    let row_faults = RowFaults {
        expired: 1.0,
        ..RowFaults::default()
    };
    let faults = Faults {
        rows: row_faults,
        ..Faults::none()
    };
    let config = Config {
        faults,
        ..Config::default()
    };
    let mut lab = Lab::new(33, config, &rows(33, 20));
    lab.choice.expired_to_sync = false;
    let RunEnd::Stopped {
        stop: Stop::Expired { rows },
        tally,
        ..
    } = (match lab.live(None) {
        Life::Ended(end) => *end,
        other => panic!("{other:?}"),
    })
    else {
        panic!("nobody said what becomes of them");
    };
    assert!(rows > 0);
    assert_eq!((tally.cost, lab.bill()), (Usd::ZERO, Usd::ZERO));
    lab.choice.expired_to_sync = true;
    let manifest = finished(lab.live(None));
    lab.check(&manifest, 20);
    assert!(manifest.all_succeeded(), "{:?}", manifest.outcomes);
}

#[test]
fn a_crash_in_the_middle_of_a_download_repeats_no_row() {
    // Every download of the first lives breaks off.
    let rules = "[[rule]]\neffect = 'truncated'\nline = 9\nuntil = 7200";
    let mut lab = lab(34, rules, 40);
    let parts = |lab: &Lab| {
        let mut files = lab.spooled("results");
        files.retain(|path| path.extension().is_some_and(|part| part == "part"));
        files
    };
    for _ in 0..12 {
        let life = lab.live(Some(Duration::from_secs(600)));
        assert!(matches!(life, Life::Crashed), "{life:?}");
    }
    let [part] = &parts(&lab)[..] else {
        panic!("the beginning of a download lies in the spool");
    };
    // Of a longer one there would be lines in it, and half of one.
    let id = format!("{}-0-3", lab.jobs()[0]);
    let line = format!("{{\"custom_id\":\"{id}\",\"result\":{{\"type\":\"expired\"}}}}\n");
    std::fs::write(part, line.clone() + &line + &line[..20]).unwrap();
    let manifest = finished(lab.live(None));
    lab.check(&manifest, 40);
    assert!(manifest.all_succeeded(), "{:?}", manifest.outcomes);
    assert_eq!(parts(&lab).len(), 0);
}

#[test]
fn a_line_that_never_comes_ends_as_unreadable_with_its_worst_case_held() {
    let rules = "[[rule]]\neffect = 'missing_line'\ncustom_id = '*-7'";
    let mut lab = lab(35, rules, 30);
    let manifest = finished(lab.live(None));
    assert_eq!(manifest.outcomes["result_unreadable"], 1);
    let audit = lab.audit(&manifest);
    assert_eq!((audit.lines.len(), audit.duplicates), (30, 0));
    assert_eq!(audit.lines[7]["status"], "result_unreadable");
    let lost = audit.bill - audit.cost;
    assert!(lost > Usd::ZERO && lost <= manifest.unknown_picousd);
}

#[test]
fn rows_of_a_batch_that_cannot_be_paid_stop_the_job_and_are_not_tried_again() {
    // The rows of the first batch; what is left over goes in another.
    let rules = "[[rule]]\neffect = 'row_errored'\nstatus = 402\ncustom_id = '*-0-*'";
    let mut lab = lab(36, rules, 30);
    let (kind, _) = stopped(lab.live(None));
    assert_eq!(kind, ErrorKind::Billing);
    let batches = lab.batches();
    assert!(batches <= 2, "{batches}: what cannot be paid is sent once");
    let manifest = finished(lab.live(None));
    lab.check(&manifest, 30);
    assert!(manifest.all_succeeded(), "{:?}", manifest.outcomes);
}

#[test]
fn a_reached_spend_limit_stops_both_lanes_at_once_and_keeps_everything() {
    let (cap, own) = (
        ("spend_cap", ErrorKind::SpendLimit),
        ("own_spend_limit", ErrorKind::OwnSpendLimit),
    );
    for (seed, endpoint, need, (effect, limit)) in [
        (37, "create", Need::Whenever, cap),
        (38, "messages", Need::Seconds, cap),
        (37, "create", Need::Whenever, own),
        (38, "messages", Need::Seconds, own),
    ] {
        let rules = format!("[[rule]]\neffect = '{effect}'\nendpoint = '{endpoint}'\nuntil = 600");
        let mut lab = lab(seed, &rules, 30);
        lab.spec.need = need;
        let (kind, _) = stopped(lab.live(None));
        assert_eq!(kind, limit);
        assert_eq!(lab.bill(), Usd::ZERO);
        lab.pass(Span::from_secs(600));
        let manifest = finished(lab.live(None));
        lab.check(&manifest, 30);
    }
}

#[test]
fn a_proxy_that_ends_every_call_too_soon_is_paid_for_a_few_calls_and_not_for_the_job() {
    let rules = "[[rule]]\neffect = 'reset_after_accept'\nendpoint = 'messages'\nuntil = 36000";
    let mut lab = lab(41, rules, 300);
    lab.spec.need = Need::Seconds;
    let Stop::Unanswered { calls } = stop_of(lab.live(None)) else {
        panic!("it stops because nothing is answered");
    };
    assert!((20..=30).contains(&calls), "{calls}");
    assert_eq!(lab.billed() as u64, calls);
    lab.pass(Span::from_secs(36_000));
    let manifest = finished(lab.live(None));
    let audit = lab.check(&manifest, 300);
    assert_eq!(audit.sync_lost_calls, calls);
    assert!(manifest.all_succeeded(), "{:?}", manifest.outcomes);
}

#[test]
fn an_organisation_that_may_not_use_batches_is_told_so_and_nothing_is_lost() {
    let rules = "[[rule]]\nstatus = 400\nendpoint = 'create'";
    let mut lab = lab(39, rules, 30);
    let (kind, message) = stopped(lab.live(None));
    assert_eq!(kind, ErrorKind::InvalidRequest);
    assert!(!message.is_empty());
    lab.spec.zero_data_retention = true;
    lab.choice.fresh = true;
    let manifest = finished(lab.live(None));
    lab.check(&manifest, 30);
    assert!(
        manifest
            .routes
            .keys()
            .all(|route| route.starts_with("sync"))
    );
}

#[test]
fn results_that_the_upstream_threw_away_are_reported_and_held() {
    let mut lab = lab(40, "", 30);
    leave_a_batch_upstream(&mut lab);
    // Kept for 29 days from the creation, however late it ended.
    lab.pass(Span::from_secs(30 * 86_400));
    let manifest = finished(lab.live(None));
    let audit = lab.audit(&manifest);
    assert_eq!((audit.lines.len(), audit.duplicates), (30, 0));
    assert!(manifest.outcomes["result_unreadable"] > 0);
    assert!(audit.bill - audit.cost <= manifest.unknown_picousd);
}

#[test]
fn two_that_poll_one_job_pay_it_once() {
    let mut lab = lab(42, "", 30);
    leave_a_batch_upstream(&mut lab);
    let held = lab.hold_the_job();
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| lab.live(None)));
    let words = *panic.unwrap_err().downcast::<String>().unwrap();
    assert!(words.contains("Held"), "{words}");
    drop(held);
    let manifest = finished(lab.live(None));
    lab.check(&manifest, 30);
}

#[test]
fn moving_counters_and_counters_that_stand_still_come_to_the_same() {
    let sums = [false, true].map(|live_counts| {
        let config = Config {
            live_counts,
            profile: Profile::SlowTail,
            ..Config::default()
        };
        let mut lab = Lab::new(43, config, &rows(43, 60));
        leave_a_batch_upstream(&mut lab);
        let manifest = finished(lab.live(None));
        lab.check(&manifest, 60);
        (manifest.cost_picousd, manifest.outcomes)
    });
    assert_eq!(sums[0], sums[1]);
}

/// A lab of calls, each of which may be answered with so many tokens.
fn calls(seed: u64, rules: &str, max_tokens: u32) -> Lab {
    let faults = Faults::parse(rules).unwrap();
    let config = Config {
        faults,
        answers: Answers {
            mode: AnswerMode::Echo,
            ..Answers::default()
        },
        ..Config::default()
    };
    let rows = rows(seed, 12).replace(
        "\"max_tokens\":300,",
        &format!("\"max_tokens\":{max_tokens},"),
    );
    let mut lab = Lab::new(seed, config, &rows);
    lab.spec.need = Need::Seconds;
    lab
}

#[test]
fn an_answer_that_may_be_long_is_streamed_and_comes_to_the_same() {
    let [short, long] = [MAX_TOKENS_UNSTREAMED, MAX_TOKENS_UNSTREAMED + 1].map(|max_tokens| {
        let mut lab = calls(44, "", max_tokens);
        let manifest = finished(lab.live(None));
        let audit = lab.check(&manifest, 12);
        assert_eq!(manifest.unknown_calls, 0);
        let lines = audit.lines.into_iter();
        lines
            .map(|line| (line["text"].clone(), line["usage"]["input_tokens"].clone()))
            .collect::<Vec<_>>()
    });
    assert_eq!(short, long);
}

#[test]
fn a_stream_that_breaks_off_may_have_been_billed_and_is_asked_for_again() {
    for effect in ["stream_truncated", "stream_error", "stream_stalled"] {
        let rules = format!("[[rule]]\neffect = '{effect}'\nendpoint = 'messages'\nnth = 3");
        let mut lab = calls(45, &rules, MAX_TOKENS_UNSTREAMED + 1);
        let manifest = finished(lab.live(None));
        let audit = lab.check(&manifest, 12);
        assert_eq!(
            (manifest.unknown_calls, manifest.outcomes["succeeded"]),
            (1, 12)
        );
        assert_eq!(audit.sync_lost_calls, 1, "{effect}: it was billed");
        // Calls that are not streamed do not meet it.
        let mut lab = calls(45, &rules, MAX_TOKENS_UNSTREAMED);
        let manifest = finished(lab.live(None));
        lab.check(&manifest, 12);
        assert_eq!(manifest.unknown_calls, 0);
    }
}
