//! The power goes out wherever the disk is asked to keep something: each job then goes on as if it had only
//! been stopped. And every one of these requests is needed: without it, some power cut is noticed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use offpeak_engine::spec::Need;
use offpeak_sim::{Faults, Profile};

use crate::audit::audit;
use crate::case::{Between, Case, Crash, JobCase};
use crate::course::{Sabotage, course};
use crate::power::Forgets;

/// Jobs that between them write every kind of file.
const WAYS: [&str; 6] = [
    "batch",
    "deleted",
    "leftovers",
    "calls",
    "probe",
    "two jobs",
];

/// A small job on a quiet day.
fn case(way: &str) -> Case {
    let mut cases = (0..).filter_map(|seed| case_of(seed, way));
    cases.next().expect("there are seeds enough")
}

fn case_of(seed: u64, way: &str) -> Option<Case> {
    let mut case = Case::draw(seed);
    let jobs = if way == "two jobs" { 2 } else { 1 };
    case.jobs.truncate(jobs);
    let small = |job: &JobCase| (6..14).contains(&job.texts.len());
    if case.jobs.len() < jobs || !case.jobs.iter().all(small) {
        return None;
    }
    for job in &mut case.jobs {
        (job.need, job.budget, job.probe, job.past_guard) = (Need::Whenever, None, None, true);
    }
    let job = &mut case.jobs[0];
    case.config.profile = Profile::Fast;
    case.config.refusals = 0.0;
    case.config.faults = Faults::none();
    match way {
        "batch" => {}
        // What was deleted upstream cannot be downloaded again. The probe's batch is deleted while the rest is
        // under way; the last one only when the output is there.
        "deleted" => (case.delete_upstream, job.probe) = (true, Some(3)),
        "leftovers" => {
            let rule = "[[rule]]\neffect = 'row_errored'\ncustom_id = '*-0-*'\nevery = 2";
            case.config.faults = Faults::parse(rule).unwrap();
        }
        "calls" => job.need = Need::Seconds,
        "probe" => job.probe = Some(3),
        // The first is done when the second has hardly begun.
        "two jobs" => job.need = Need::Seconds,
        other => unreachable!("no job goes {other}"),
    }
    Some(case)
}

/// What is wrong after a power cut at the n-th request, a panic included; `None` if the job ended before it.
fn cut(case: &Case, nth: u64, sabotage: Sabotage) -> Option<Vec<String>> {
    let mut case = case.clone();
    case.lives = vec![(Crash::AtSync(nth), Between::PowerCut)];
    let run = || {
        let course = course(&case, sabotage);
        (course.crashes > 0).then(|| audit(&case, &course))
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<String>().cloned();
        Some(vec![format!("a panic: {what:?}")])
    })
}

/// What is wrong after each power cut that a job can meet.
fn cuts(way: &str, sabotage: Sabotage) -> impl Iterator<Item = Vec<String>> {
    let case = case(way);
    (0..).map_while(move |nth| cut(&case, nth, sabotage))
}

#[test]
fn wherever_the_power_goes_out_nothing_is_lost_and_nothing_paid_twice() {
    let mut all = 0;
    for way in WAYS {
        for (nth, wrong) in cuts(way, Sabotage::None).enumerate() {
            assert!(wrong.is_empty(), "{way}, request {nth}: {wrong:#?}");
            all += 1;
        }
    }
    println!("{all} power cuts");
    assert!(all > 150, "{all} are too few to mean anything");
}

#[test]
fn every_request_to_keep_something_is_needed() {
    use Forgets::{Content, Names};
    let forgets = [
        (Content("rows/"), "batch"),
        (Content("frames.bin"), "batch"),
        (Content("index.bin"), "probe"),
        (Content("workload.json"), "probe"),
        (Content("refs/"), "batch"),
        (Content("results/"), "deleted"),
        (Content("sync/"), "calls"),
        (Content(".out.jsonl."), "two jobs"),
        (Content("manifest.json"), "two jobs"),
        (Names(""), "two jobs"),
        (Names("data"), "batch"),
        (Names("data/jobs"), "batch"),
        (Names("data/jobs/"), "two jobs"),
        (Names(".new-"), "batch"),
        (Names("rows"), "batch"),
        (Names("refs"), "leftovers"),
        (Names("results"), "deleted"),
        (Names("sync"), "calls"),
    ];
    for (forgets, way) in forgets {
        let seen = cuts(way, Sabotage::ForgetSync(forgets)).any(|wrong| !wrong.is_empty());
        assert!(seen, "{way}: nobody misses {forgets:?}");
    }
}
