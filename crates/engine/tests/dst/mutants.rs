//! Bugs that the auditor must see. Some are done to the engine from outside while it runs, as a change of
//! the engine could do them: its memory loses something, its prices are wrong, its budget is another. The
//! others are done to what it leaves behind.
//!
//! A bug shows only where it matters, so each is tried on seeds until one shows it: an auditor that sees
//! nothing in so many of them is blind.

use std::path::Path;

use crate::audit::audit;
use crate::case::{Between, Case, Crash, JobCase};
use crate::course::{Course, Sabotage, course};
use offpeak_engine::spec::Need;
use offpeak_sim::{Endpoint, EndpointFaults, Faults, Profile};

/// Seeds that a bug is tried on.
const SEEDS: u64 = 60;

/// What the auditor says, of the first seed in which it says anything, and to what.
fn seen(
    fits: impl Fn(&mut Case) -> bool,
    sabotage: Sabotage,
    spoil: impl Fn(&Course) -> bool,
) -> String {
    let mut tried = 0;
    for seed in 0..SEEDS {
        let mut case = Case::draw(seed);
        if !fits(&mut case) {
            continue;
        }
        tried += 1;
        let course = course(&case, sabotage);
        if !spoil(&course) {
            continue;
        }
        let wrong = audit(&case, &course);
        if !wrong.is_empty() {
            return wrong.join("\n");
        }
    }
    panic!("{tried} seeds of {SEEDS} show nothing");
}

/// Nothing is spoilt afterwards.
fn whole(_: &Course) -> bool {
    true
}

/// Crashes all over the time that batches are made in.
fn crashes(case: &mut Case) {
    let at = |millis| {
        (
            Crash::At(std::time::Duration::from_millis(millis)),
            Between::Nothing,
        )
    };
    case.lives = vec![at(700), at(1_900), at(400_000), at(2_000)];
}

fn only_job(case: &mut Case, need: Need) -> &mut JobCase {
    case.jobs.truncate(1);
    let job = &mut case.jobs[0];
    (job.need, job.budget, job.probe, job.past_guard) = (need, None, None, true);
    job
}

#[test]
fn a_batch_that_is_made_twice_is_seen() {
    let fits = |case: &mut Case| {
        only_job(case, Need::Whenever);
        case.config.faults = Faults::none();
        case.config.profile = Profile::Normal;
        crashes(case);
        true
    };
    let wrong = seen(fits, Sabotage::ForgetIntents, whole);
    assert!(wrong.contains("times in batches"), "{wrong}");
}

#[test]
fn a_batch_that_is_made_twice_is_told_by_the_job_itself() {
    let fits = |case: &mut Case| {
        only_job(case, Need::Whenever);
        case.config.faults = Faults::none();
        case.config.profile = Profile::Normal;
        crashes(case);
        true
    };
    // Both batches have ended when it looks.
    let told = |course: &Course| {
        let mut jobs = course.finished.iter().flatten();
        jobs.any(|job| !job.manifest.wasted.is_empty())
    };
    let wrong = seen(fits, Sabotage::ForgetIntents, told);
    assert!(wrong.contains("waste"), "{wrong}");
}

#[test]
fn a_call_that_is_made_again_without_being_held_is_seen() {
    let fits = |case: &mut Case| {
        only_job(case, Need::Seconds);
        crashes(case);
        true
    };
    let wrong = seen(fits, Sabotage::ForgetCalls, whole);
    assert!(
        wrong.contains("held for it") || wrong.contains("calls lost"),
        "{wrong}"
    );
}

#[test]
fn a_held_amount_that_is_forgotten_is_seen() {
    let fits = |case: &mut Case| {
        only_job(case, Need::Seconds);
        case.config.faults = Faults::none().on(
            Endpoint::Messages,
            EndpointFaults {
                reset_after: 0.3,
                ..EndpointFaults::default()
            },
        );
        // Between the settlement and the end of the job.
        case.lives = vec![(Crash::AfterCommit(1), Between::Nothing)];
        true
    };
    let wrong = seen(fits, Sabotage::ForgetUnknowns, whole);
    assert!(wrong.contains("another ledger than manifest"), "{wrong}");
}

#[test]
fn a_wrong_price_is_seen() {
    let fits = |case: &mut Case| {
        only_job(case, Need::Whenever);
        case.config.profile = Profile::Fast;
        true
    };
    let wrong = seen(fits, Sabotage::WrongPrices, whole);
    assert!(wrong.contains("on the bill"), "{wrong}");
}

#[test]
fn a_budget_that_is_exceeded_is_seen() {
    let fits = |case: &mut Case| {
        let job = only_job(case, Need::Seconds);
        job.budget = Some(offpeak_core::units::Usd::from_pico(1_500_000_000));
        job.texts.len() > 30
    };
    let wrong = seen(fits, Sabotage::LargeBudget, whole);
    assert!(wrong.contains("billed under a budget"), "{wrong}");
}

#[test]
fn a_deadline_that_is_missed_is_seen() {
    let fits = |case: &mut Case| {
        let hours = offpeak_core::units::Span::from_secs(3 * 3_600);
        only_job(case, Need::Within(hours));
        case.lives.clear();
        case.create_works = true;
        case.config.faults = Faults::none();
        case.config.profile = Profile::Dead;
        true
    };
    let wrong = seen(fits, Sabotage::LateDeadline, whole);
    assert!(wrong.contains("with a deadline of"), "{wrong}");
}

/// Changes the output of the first job; false if it has too few lines for that.
fn spoil_lines(course: &Course, spoil: impl Fn(&mut Vec<String>)) -> bool {
    let path = course.output(0);
    let text = std::fs::read_to_string(&path).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let answered = |line: &String| line.contains("\"succeeded\"");
    if lines.len() < 3 || !lines[..3].iter().all(answered) {
        return false;
    }
    spoil(&mut lines);
    let mut text = lines.join("\n");
    text.push('\n');
    std::fs::write(path, text).is_ok()
}

fn any(_: &mut Case) -> bool {
    true
}

#[test]
fn a_row_that_is_lost_is_seen() {
    let wrong = seen(any, Sabotage::None, |course| {
        spoil_lines(course, |lines| drop(lines.remove(1)))
    });
    assert!(wrong.contains("lines for"), "{wrong}");
    assert!(wrong.contains("is in no output"), "{wrong}");
}

#[test]
fn a_row_that_stands_twice_is_seen() {
    let wrong = seen(any, Sabotage::None, |course| {
        spoil_lines(course, |lines| lines.insert(1, lines[0].clone()))
    });
    assert!(
        wrong.contains("is the answer of another row too"),
        "{wrong}"
    );
}

#[test]
fn rows_out_of_order_are_seen() {
    let wrong = seen(any, Sabotage::None, |course| {
        spoil_lines(course, |lines| lines.swap(0, 2))
    });
    assert!(wrong.contains("the line of"), "{wrong}");
}

#[test]
fn an_answer_to_another_row_is_seen() {
    let wrong = seen(any, Sabotage::None, |course| {
        spoil_lines(course, |lines| {
            let (first, second) = (lines[0].clone(), lines[1].clone());
            lines[0] = second.replace("\"row 1\"", "\"row 0\"");
            lines[1] = first.replace("\"row 0\"", "\"row 1\"");
        })
    });
    assert!(wrong.contains("the answer is"), "{wrong}");
}

#[test]
fn a_shared_answer_of_another_request_is_seen() {
    let fits = |case: &mut Case| case.jobs[0].identical;
    let wrong = seen(fits, Sabotage::None, |course| {
        spoil_lines(course, |lines| {
            let shared = lines
                .iter()
                .position(|line| line.contains("\"reused\":{\"row\":"));
            // It shows the answer of the row before, and says so.
            if let Some(row) = shared.filter(|row| *row > 1) {
                let key = |row| format!("\"row {row}\"");
                let before = lines[row - 1].replace(&key(row - 1), &key(row));
                let body = before.strip_suffix('}').unwrap();
                let named = format!("\"row\":{},\"key\":{}", row - 1, key(row - 1));
                lines[row] = format!("{body},\"reused\":{{{named}}}}}");
            }
        })
    });
    assert!(wrong.contains("the answer of another request"), "{wrong}");
}

/// The last job is the next run of another.
fn is_last_a_next_run(case: &mut Case) -> bool {
    case.jobs.last().unwrap().follows.is_some()
}

#[test]
fn a_row_that_is_paid_again_in_the_next_run_is_seen() {
    let wrong = seen(is_last_a_next_run, Sabotage::ForgetEarlierRuns, whole);
    assert!(wrong.contains("sent although it has an answer"), "{wrong}");
}

#[test]
fn an_answer_of_another_request_of_the_run_before_is_seen() {
    let wrong = seen(is_last_a_next_run, Sabotage::None, |course| {
        let path = course.output(course.finished.len() - 1);
        let output = std::fs::read_to_string(&path).unwrap();
        let mut lines: Vec<String> = output.lines().map(str::to_owned).collect();
        let taken_over = |line: &String| line.contains("\"reused\":{\"run\":1");
        let rows: Vec<usize> = (0..lines.len())
            .filter(|row| taken_over(&lines[*row]))
            .collect();
        let [one, other, ..] = rows[..] else {
            return false;
        };
        // Each under the key of the other.
        lines.swap(one, other);
        for (row, was) in [(one, other), (other, one)] {
            let key = |row| format!("{{\"key\":\"row {row}\"");
            lines[row] = lines[row].replacen(&key(was), &key(row), 1);
        }
        std::fs::write(path, lines.join("\n") + "\n").is_ok()
    });
    assert!(
        wrong.contains("another request in the earlier run"),
        "{wrong}"
    );
}

#[test]
fn a_picodollar_is_seen() {
    let wrong = seen(any, Sabotage::None, |course| {
        spoil_lines(course, |lines| {
            let at = lines[0].find("\"cost_picousd\":\"").unwrap() + "\"cost_picousd\":\"".len();
            let end = at + lines[0][at..].find('"').unwrap();
            let pico: i128 = lines[0][at..end].parse().unwrap();
            lines[0].replace_range(at..end, &(pico + 1).to_string());
        })
    });
    assert!(wrong.contains("on the bill"), "{wrong}");
    assert!(wrong.contains("a manifest of"), "{wrong}");
}

/// Changes the store.
fn spoil_store(course: &Course, sql: &str) -> bool {
    let path = course.data_dir().join("jobs.db");
    let store = rusqlite::Connection::open(path).unwrap();
    store.execute_batch(sql).is_ok()
}

#[test]
fn a_ledger_that_settles_twice_is_seen() {
    let wrong = seen(any, Sabotage::None, |course| {
        spoil_store(
            course,
            "INSERT INTO ledger (job, shard, at, kind, lane, pico) \
             SELECT job, shard, at, kind, lane, pico FROM ledger WHERE kind = 'settle' AND pico <> '0'",
        )
    });
    assert!(wrong.contains("another ledger than manifest"), "{wrong}");
}

#[test]
fn a_shard_that_was_never_settled_is_seen() {
    let wrong = seen(any, Sabotage::None, |course| {
        spoil_store(
            course,
            "UPDATE shard SET state = 'running', body = json_set(body, '$.state', 'Running')",
        )
    });
    assert!(wrong.contains("rows in the store"), "{wrong}");
}

#[test]
fn a_key_in_a_file_is_seen() {
    let wrong = seen(any, Sabotage::None, |course| {
        let log: &Path = &course.data_dir().join("debug.log");
        std::fs::write(log, format!("x-api-key: {}\n", crate::disk::KEY)).is_ok()
    });
    assert!(wrong.contains("the key stands in"), "{wrong}");
}
