//! The auditor. It looks at inputs, outputs, what the manifest says and the upstream's bill, and at the
//! store from outside; it takes no sum of the engine's for granted.

use std::collections::{BTreeMap, BTreeSet};

use offpeak_core::job::machine::OnUnknown;
use offpeak_core::job::mark::Mark;
use offpeak_core::job::shard::{JobId, ShardState, UpstreamCopy};
use offpeak_core::price::Book;
use offpeak_core::units::Usd;
use offpeak_engine::spec::Need;
use offpeak_engine::spool::SpoolDir;
use offpeak_engine::verify::verify;
use offpeak_sim::{Fate, Lane, Profile, Request, ResultFaults};
use offpeak_store::{JobRecord, JobState};
use serde_json::Value;

use crate::case::Case;
use crate::course::Course;
use crate::disk;

/// Most calls of a row that are billed and not answered, if the process lives: four where others pass, and twelve
/// where it is the only one.
const TRIES: u64 = 12;

/// A crash so shortly before a deadline excuses a job that is late, in microseconds.
const LAST_MINUTES: i64 = 5 * 60_000_000;

/// One line of the bill, by its message.
struct Billed {
    lane: Lane,
    pico: i128,
    /// Job and row, in a batch.
    row: Option<(String, u64)>,
}

/// What is wrong with a line that shows the answer of another row, which makes the same request.
fn not_shared(lines: &[Value], texts: &[String], row: usize, first: usize) -> Option<&'static str> {
    let line = &lines[row];
    let Some(of) = lines.get(first) else {
        return Some("the answer of a row that there is not");
    };
    let member = |name: &str| line[name] == of[name];
    match () {
        () if first >= row || texts[first] != texts[row] => Some("the answer of another request"),
        () if !of["reused"].is_null() => Some("the answer of a row that was not sent"),
        () if !(member("message") && member("status")) => Some("not the answer that it names"),
        () if line["cost_picousd"] != "0" => Some("it has a price"),
        () => None,
    }
}

/// What is wrong with a line that shows the answer of an earlier run of its job.
fn not_taken_over(line: &Value, text: &str, earlier: Option<&Answers>) -> Option<&'static str> {
    let Some(Answers { lines, texts }) = earlier else {
        return Some("the answer of an earlier run that there is not");
    };
    let of = line["reused"]["row"].as_u64().unwrap_or(u64::MAX);
    let of = usize::try_from(of).unwrap();
    let Some(answer) = lines.get(of) else {
        return Some("the answer of a row that the earlier run has not");
    };
    match () {
        () if line["reused"]["run"] != 1 => Some("the answer of a run that there is not"),
        () if texts[of] != text => Some("the answer of another request in the earlier run"),
        () if answer["status"] != "succeeded" => Some("what did not succeed is taken over"),
        () if line["message"] != answer["message"] => Some("not the answer of the earlier run"),
        () if line["cost_picousd"] != "0" => Some("it is paid for again"),
        () => None,
    }
}

/// What a job has answered.
struct Answers {
    lines: Vec<Value>,
    texts: Vec<String>,
}

impl Answers {
    fn has(&self, text: &str) -> bool {
        let mut rows = self.lines.iter().zip(&self.texts);
        rows.any(|(line, asked)| asked == text && line["status"] == "succeeded")
    }
}

/// What does not hold, in words; nothing if all does.
pub(crate) fn audit(case: &Case, course: &Course) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut bill: BTreeMap<String, Billed> = BTreeMap::new();
    let mut total = 0;
    let mut batch_rows: BTreeMap<(String, u64), u32> = BTreeMap::new();
    {
        let world = course.world.lock().unwrap();
        for line in world.bill().lines() {
            let row = line.row.and_then(|(_, custom_id)| {
                let mark = Mark::parse(custom_id)?;
                Some((mark.job.to_string(), mark.row))
            });
            if line.lane == Lane::Batch && row.is_none() {
                wrong.push(format!("a billed batch row carries no mark: {}", line.id));
            }
            if let Some(row) = &row {
                *batch_rows.entry(row.clone()).or_default() += 1;
            }
            total += line.pico;
            let billed = Billed {
                lane: line.lane,
                pico: line.pico,
                row,
            };
            if bill.insert(line.id.clone(), billed).is_some() {
                wrong.push(format!("the bill has {} twice", line.id));
            }
        }
    }
    // What was sent after a backup, it does not know; what had not ended is sent again.
    let twice = batch_rows.iter().filter(|(_, times)| **times > 1);
    for ((job, row), times) in twice.filter(|_| !case.is_restored()) {
        wrong.push(format!(
            "row {row} of {job} is paid {times} times in batches"
        ));
    }
    let mut known = 0;
    let mut held = Usd::ZERO;
    let mut wasted = Usd::ZERO;
    let mut unknown_calls = 0;
    let mut used: BTreeSet<String> = BTreeSet::new();
    let mut unreadable: BTreeSet<(String, u64)> = BTreeSet::new();
    // Jobs that may have paid for the rows of a batch again, as it was in doubt or after a backup.
    let mut hasty: BTreeSet<String> = BTreeSet::new();
    let mut answers: BTreeMap<usize, Answers> = BTreeMap::new();
    for number in 0..case.jobs.len() {
        let Some(finished) = &course.finished[number] else {
            wrong.push(format!(
                "job {number} has no end after {} lives",
                course.lives
            ));
            continue;
        };
        let manifest = &finished.manifest;
        held += manifest.unknown_picousd + manifest.waste_picousd;
        wasted += manifest.waste_picousd;
        let hurried = case.jobs[number].on_unknown == OnUnknown::Deadline && finished.doubted;
        // A job that is given up on a new disk has no use for what its rows had left over before.
        let forgot = case.jobs[number].cancel.is_some() && case.loses_the_disk();
        if hurried || forgot || case.is_restored() {
            hasty.insert(manifest.job.clone());
        } else if !manifest.wasted.is_empty() {
            wrong.push(format!("job {number}: waste {:?}", manifest.wasted));
        }
        unknown_calls += manifest.unknown_calls;
        let lines = lines(course, number, &mut wrong);
        let mut cost = 0;
        let texts = &case.jobs[number].texts;
        let earlier = case.jobs[number].follows;
        let earlier = earlier.and_then(|first| answers.get(&first));
        if lines.len() != texts.len() {
            let (out, rows) = (lines.len(), texts.len());
            wrong.push(format!("job {number}: {out} lines for {rows} rows"));
        }
        for (row, (line, text)) in lines.iter().zip(texts).enumerate() {
            let at = format!("job {number}, row {row}");
            if line["key"] != format!("row {row}") {
                wrong.push(format!("{at}: the line of {}", line["key"]));
            }
            if line["status"] == "result_unreadable" {
                unreadable.insert((manifest.job.clone(), row as u64));
            }
            let is_answered = earlier.is_some_and(|earlier| earlier.has(text));
            if (is_answered || texts[..row].contains(text)) == line["reused"].is_null() {
                wrong.push(format!(
                    "{at}: it was sent although it has an answer, or the other way round"
                ));
            }
            let pico = line["cost_picousd"].as_str();
            let pico: i128 = pico.map_or(0, |pico| pico.parse().unwrap());
            cost += pico;
            let Some(id) = line["message"]["id"].as_str() else {
                if line["status"] == "exhausted"
                    && manifest.unknown_calls == 0
                    && line["cost_picousd"].is_null()
                {
                    wrong.push(format!("{at}: no cost, and no call of unknown outcome"));
                }
                if pico != 0 {
                    wrong.push(format!("{at}: no answer, and a price of {pico}"));
                }
                continue;
            };
            if !line["reused"]["run"].is_null() {
                if let Some(what) = not_taken_over(line, text, earlier) {
                    wrong.push(format!("{at}: {what}"));
                }
                continue;
            }
            if let Some(first) = line["reused"]["row"].as_u64() {
                let first = usize::try_from(first).unwrap();
                if let Some(what) = not_shared(&lines, texts, row, first) {
                    wrong.push(format!("{at}: {what}"));
                }
                continue;
            }
            if !used.insert(id.to_owned()) {
                wrong.push(format!("{at}: {id} is the answer of another row too"));
            }
            let blocks = line["message"]["content"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let said: String = blocks
                .iter()
                .filter_map(|block| block["text"].as_str())
                .collect();
            let cut = ["refused", "truncated"].contains(&line["status"].as_str().unwrap_or(""));
            if said != *text && !cut {
                wrong.push(format!("{at}: the answer is {said:?}"));
            }
            match bill.get(id) {
                None => wrong.push(format!("{at}: {id} was never billed")),
                Some(billed) => {
                    known += billed.pico;
                    if billed.pico != pico {
                        let bill = billed.pico;
                        wrong.push(format!("{at}: {pico} in the output, {bill} on the bill"));
                    }
                    let own = (manifest.job.clone(), row as u64);
                    if billed.row.as_ref().is_some_and(|billed| *billed != own) {
                        wrong.push(format!("{at}: {id} was the answer of {:?}", billed.row));
                    }
                    let twice = billed.lane == Lane::Sync && batch_rows.contains_key(&own);
                    if twice && !hasty.contains(&own.0) {
                        wrong.push(format!("{at}: paid in a batch and by itself"));
                    }
                }
            }
        }
        if Usd::from_pico(cost) != manifest.cost_picousd {
            let stated = manifest.cost_picousd;
            wrong.push(format!(
                "job {number}: lines of {cost}, a manifest of {stated}"
            ));
        }
        deadline(case, course, number, &mut wrong);
        let shared = lines.iter().filter(|line| !line["reused"].is_null());
        store(course, number, shared.count() as u64, &mut wrong);
        let texts = texts.clone();
        answers.insert(number, Answers { lines, texts });
    }
    if case.config.faults.results == ResultFaults::default() && !unreadable.is_empty() {
        wrong.push(format!(
            "unreadable, of results that came whole: {unreadable:?}"
        ));
    }
    let lost: Vec<_> = bill.iter().filter(|(id, _)| !used.contains(*id)).collect();
    let mut lost_calls = 0;
    let mut lost_pico = 0;
    let mut lost_in_batches = 0;
    for (id, billed) in lost {
        lost_pico += billed.pico;
        if billed.row.is_some() {
            lost_in_batches += billed.pico;
        }
        match &billed.row {
            Some(row) if unreadable.contains(row) || hasty.contains(&row.0) => {}
            Some(row) => wrong.push(format!("{id} of {row:?} was billed and is in no output")),
            None => lost_calls += 1,
        }
    }
    if total != known + lost_pico {
        wrong.push(format!(
            "a bill of {total}: {known} known, {lost_pico} lost"
        ));
    }
    // What an earlier disk held for its calls is gone with it.
    let remembers = !case.loses_the_disk() && !case.is_restored();
    if wasted > Usd::from_pico(lost_in_batches) {
        wrong.push(format!(
            "{wasted} told as waste, {lost_in_batches} lost in batches"
        ));
    }
    if remembers && course.finished.iter().all(Option::is_some) {
        if Usd::from_pico(lost_pico) > held {
            wrong.push(format!("{lost_pico} lost, {held} held for it"));
        }
        if lost_calls > unknown_calls {
            wrong.push(format!("{lost_calls} calls lost, {unknown_calls} unknown"));
        }
        let rows: u64 = case.jobs.iter().map(|job| job.texts.len() as u64).sum();
        let crashes = course.crashes;
        // A crash loses at most what is in flight.
        if lost_calls > (TRIES + crashes) * rows {
            wrong.push(format!(
                "{lost_calls} calls paid and not answered, of {rows} rows and after {crashes} crashes"
            ));
        }
    }
    for (bill, budget) in &course.overspent {
        wrong.push(format!("{bill} billed under a budget of {budget}"));
    }
    copies(case, course, &mut wrong);
    for file in disk::files_with_key(course.dir.path()) {
        wrong.push(format!("the key stands in {}", file.display()));
    }
    wrong
}

/// What the store says of the upstream's copies is so: what it calls deleted is not listed, and nothing is
/// deleted that nobody asked for.
fn copies(case: &Case, course: &Course, wrong: &mut Vec<String>) {
    let list = Request::new("GET", "/v1/messages/batches?limit=1000").signed(disk::KEY);
    let mut world = course.world.lock().unwrap();
    let now = world.now().unwrap_or(0);
    let mut replies = (0..100).map(|_| world.handle(now, &list));
    let listed = replies.find(|reply| reply.status == 200 && reply.fate == Fate::Answer);
    let body = listed
        .expect("a listing in a hundred works")
        .body
        .collect()
        .0;
    let page: Value = serde_json::from_slice(&body).unwrap();
    let listed: BTreeSet<&str> = page["data"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|batch| batch["id"].as_str())
        .collect();
    let store = course.store();
    for record in store.jobs().unwrap() {
        for shard in store.shards(&record.id).unwrap() {
            let Some(origin) = &shard.origin else {
                continue;
            };
            let (id, no) = (origin.batch.as_str(), shard.no);
            let is_listed = listed.contains(id);
            match origin.copy {
                UpstreamCopy::There => {}
                _ if !case.delete_upstream => wrong.push(format!("{no}: {id} was deleted unasked")),
                UpstreamCopy::Deleted | UpstreamCopy::Missing if is_listed => {
                    wrong.push(format!("{no}: {id} is said to be deleted, and is listed"));
                }
                UpstreamCopy::Deleted | UpstreamCopy::Missing => {}
            }
        }
    }
}

fn lines(course: &Course, number: usize, wrong: &mut Vec<String>) -> Vec<Value> {
    let Ok(output) = std::fs::read_to_string(course.output(number)) else {
        wrong.push(format!("job {number}: there is no output"));
        return Vec::new();
    };
    let parsed = output.lines().map(serde_json::from_str);
    let mut lines = Vec::new();
    for line in parsed {
        match line {
            Ok(line) => lines.push(line),
            Err(error) => wrong.push(format!("job {number}: {error}")),
        }
    }
    lines
}

/// A deadline of three hours or more is kept whatever batches do, as a few dozen rows are answered one by
/// one within minutes. Not asked where promises collide: a budget, a batch that may exist and cannot be
/// found or is not proved ours, or a clock that was wrong.
fn deadline(case: &Case, course: &Course, number: usize, wrong: &mut Vec<String>) {
    let job = &case.jobs[number];
    let remembers = !case.loses_the_disk() && !case.is_restored();
    let limited = job.budget.is_some() || job.soft_budget.is_some();
    let asked = case.create_works && !limited && remembers;
    let Need::Within(within) = job.need else {
        return;
    };
    if !asked || case.clock_is_set() || case.loses_answers || job.cancel.is_some() {
        return;
    }
    let finished = course.finished[number].as_ref().expect("it has ended");
    if finished.doubted && job.on_unknown == OnUnknown::Wait {
        return;
    }
    // Whatever happens in its last minutes, they may not be enough to begin anew.
    let last_minutes = within.as_micros() - LAST_MINUTES..=within.as_micros();
    if course.crashed_at.iter().any(|at| last_minutes.contains(at)) {
        return;
    }
    if finished.took > within.as_micros() {
        let took = finished.took / 1_000_000;
        let profile = case.config.profile;
        wrong.push(format!(
            "job {number}: {took} s with a deadline of {within}; batches {profile:?}"
        ));
    }
    let late = finished.manifest.after_deadline;
    let slow = matches!(profile_of(case), Profile::Dead | Profile::Stuck);
    if late && !slow {
        wrong.push(format!("job {number}: says that it is late"));
    }
}

fn profile_of(case: &Case) -> Profile {
    case.config.profile
}

/// The store says that all is done, of all rows, and its ledger has the manifest's sums.
fn store(course: &Course, number: usize, shared: u64, wrong: &mut Vec<String>) {
    let finished = course.finished[number].as_ref().expect("it has ended");
    let manifest = &finished.manifest;
    let store = course.store();
    let id = JobId::parse(&manifest.job).unwrap();
    let finished = |record: &JobRecord| record.state == JobState::Finished;
    let Some(record) = store.job(&id).unwrap().filter(finished) else {
        wrong.push(format!("job {number}: the store does not know its end"));
        return;
    };
    // What the product says when it is asked for a proof.
    let spool = SpoolDir::new(course.data_dir().join("jobs").join(&manifest.job));
    let verdict = verify(&store, &record, &spool, Book::embedded()).unwrap();
    let doubts = verdict.doubts.iter();
    wrong.extend(doubts.map(|doubt| format!("job {number}, verify: {doubt}")));
    let mut rows = 0;
    for shard in store.shards(&id).unwrap() {
        match &shard.state {
            ShardState::Settled(tally) => rows += tally.outcomes.total(),
            other => wrong.push(format!(
                "job {number}: shard {} is {}",
                shard.no,
                other.tag()
            )),
        }
    }
    let of = manifest.rows_in - shared;
    if rows != of {
        wrong.push(format!("job {number}: {rows} of {of} rows in the store"));
    }
    let sums = store.ledger(&id).unwrap();
    if (sums.settled, sums.unknown) != (manifest.cost_picousd, manifest.unknown_picousd) {
        wrong.push(format!(
            "job {number}: another ledger than manifest: {sums:?}"
        ));
    }
}
