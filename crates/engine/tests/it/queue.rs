//! The upstream's queue has room for some of the rows only: jobs wait for it, and take turns.

use std::sync::{Arc, Mutex};

use offpeak_core::job::Stop;
use offpeak_core::units::{Span, Usd};
use offpeak_engine::finish::Manifest;
use offpeak_engine::progress::Progress;
use offpeak_engine::run::RunEnd;
use offpeak_engine::spec::{JobSpec, Need};
use offpeak_sim::{Config, Limits, Profile};

use crate::lab::{Lab, Life};

/// A lab whose upstream takes so many rows at once.
fn lab(queued_rows: u32, sees_the_limit: bool, profile: Profile) -> Lab {
    let config = Config {
        profile,
        limits: Limits {
            enforced: true,
            queued_rows,
            ..Limits::default()
        },
        ..Config::default()
    };
    let mut lab = Lab::new(3, config, &rows(60));
    lab.sees_the_limit = sees_the_limit;
    lab
}

/// Requests that share nothing, so that they are one shard.
fn rows(count: u32) -> String {
    let row = |row| {
        format!(
            "{{\"custom_id\":\"row {row}\",\"params\":{{\"model\":\"claude-haiku-5-5\",\"max_tokens\":300,\
             \"messages\":[{{\"role\":\"user\",\"content\":\"Label sentence {row}.\"}}]}}}}\n"
        )
    };
    (0..count).map(row).collect()
}

/// Jobs of 60 rows; `change` makes each of them what it is.
fn jobs(lab: &Lab, count: usize, change: impl Fn(usize, &mut JobSpec)) -> Vec<(JobSpec, u64)> {
    let job = |number: usize| {
        let mut spec = lab.spec.clone();
        spec.name = format!("job {number}");
        spec.output = lab.path(&format!("{number}.out.jsonl"));
        change(number, &mut spec);
        // The first is at work when the others come, and they come one after the other.
        (spec, number as u64)
    };
    (0..count).map(job).collect()
}

/// What happened while jobs ran together.
#[derive(Default)]
struct Seen {
    /// The jobs in the order in which their batches were made.
    order: Vec<usize>,
    /// What went wrong upstream.
    trouble: Vec<String>,
    /// How often a job said that it waits.
    waits: u32,
    /// What they came to.
    manifests: Vec<Manifest>,
}

fn together(lab: &mut Lab, jobs: &[(JobSpec, u64)]) -> Seen {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let told = Arc::clone(&seen);
    let tell = move |job, progress| {
        let mut seen = told.lock().unwrap();
        match progress {
            Progress::Shard {
                state: "in_progress",
                ..
            } => seen.order.push(job),
            Progress::Trouble { message } => seen.trouble.push(message),
            Progress::Queue { no_room } => seen.waits += u32::from(no_room.is_some()),
            _ => {}
        }
    };
    let manifests = lab.together(jobs, tell);
    let cost: Usd = manifests.iter().map(|manifest| manifest.cost_picousd).sum();
    assert_eq!(cost, lab.bill());
    for manifest in &manifests {
        assert_eq!(manifest.outcomes["succeeded"], 60);
    }
    let mut seen = std::mem::take(&mut *seen.lock().unwrap());
    seen.manifests = manifests;
    seen
}

#[test]
fn where_the_limit_is_known_nobody_is_refused_and_the_highest_priority_goes_first() {
    let mut lab = lab(70, true, Profile::Fast);
    let jobs = jobs(&lab, 4, |number, spec| spec.priority = number as i64);
    let seen = together(&mut lab, &jobs);
    assert_eq!((seen.order, seen.trouble), (vec![0, 3, 2, 1], vec![]));
    assert!(seen.waits >= 3);
}

#[test]
fn among_equals_the_earliest_deadline_goes_first() {
    let mut lab = lab(70, true, Profile::Fast);
    let jobs = jobs(&lab, 4, |number, spec| {
        spec.need = match number {
            0 | 1 => Need::Whenever,
            2 => Need::Within(Span::from_secs(30 * 3_600)),
            _ => Need::Within(Span::from_secs(20 * 3_600)),
        };
    });
    assert_eq!(together(&mut lab, &jobs).order, [0, 3, 2, 1]);
}

#[test]
fn where_it_is_not_known_those_who_wait_for_a_job_ahead_do_not_ask() {
    let mut lab = lab(70, false, Profile::Fast);
    let jobs = jobs(&lab, 4, |number, spec| {
        spec.priority = if number == 1 { 5 } else { 0 };
    });
    let seen = together(&mut lab, &jobs);
    assert_eq!(seen.order[..2], [0, 1]);
    assert!(seen.waits >= 2, "the others see that it waits");
}

#[test]
fn a_deadline_is_kept_although_there_is_never_room() {
    let mut lab = lab(70, true, Profile::Stuck);
    let mut jobs = jobs(&lab, 2, |_, _| {});
    jobs[1].0.need = Need::Within(Span::from_secs(3 * 3_600));
    let seen = together(&mut lab, &jobs);
    assert_eq!(seen.order, [0]);
    assert!(!seen.manifests[1].after_deadline);
}

#[test]
fn a_job_whose_batch_is_larger_than_the_queue_stops_before_it_pays() {
    let mut lab = lab(59, true, Profile::Fast);
    let Life::Ended(end) = lab.live(None) else {
        panic!("it goes on");
    };
    let RunEnd::Stopped { stop, .. } = *end else {
        panic!("it is done");
    };
    let (rows, limit) = (60, 59);
    assert_eq!(stop, Stop::NeverFits { rows, limit });
    assert_eq!((lab.bill(), lab.batches()), (Usd::ZERO, 0));
}
