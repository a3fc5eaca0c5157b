//! Rows that were cut off, asked again with a larger `max_tokens`: what is sent is the old request with other
//! digits, nothing else is paid again, and every row comes out as it ended.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use offpeak_core::job::cancel::Cancel;
use offpeak_core::units::Usd;
use offpeak_engine::error::EngineError;
use offpeak_engine::finish::Manifest;
use offpeak_engine::ingest::IngestError;
use offpeak_engine::progress::{Progress, Report};
use offpeak_engine::spec::{FieldsIn, InputShape, Need, Reuse, TableFormat, Template};
use offpeak_engine::spool::{IndexReader, RowMarks, SpoolReader};
use offpeak_engine::start::open;
use offpeak_sim::{AnswerRules, Config, Faults, RowFaults};
use serde_json::Value;

use crate::dice::Dice;
use crate::lab::{Lab, Life};
use crate::reuse::{finished, lines, pico};

/// Rows with a small `max_tokens`, each seventh of which the API refuses; every `kinds` of them are identical.
fn rows(seed: u64, count: u64, kinds: u64) -> String {
    let mut dice = Dice(seed);
    let most: Vec<u64> = (0..kinds).map(|_| 10 + dice.below(300)).collect();
    let mut rows = String::new();
    for row in 0..count {
        let question = row % kinds;
        let max_tokens = most[question as usize];
        let wrong = if question % 7 == 3 {
            "\"temperature\":5,"
        } else {
            ""
        };
        let _ = writeln!(
            rows,
            "{{\"custom_id\":\"row {row}\",\"params\":{{ \"model\":\"claude-haiku-4-5\",{wrong}\
             \"max_tokens\" : {max_tokens} ,\"messages\":[{{\"role\":\"user\",\
             \"content\":\"\\\"max_tokens\\\" : {max_tokens} , No. {question}?\"}}]}}}}"
        );
    }
    rows
}

fn lab(seed: u64, config: Config, input: &str) -> Lab {
    let mut lab = Lab::new(seed, config, input);
    lab.spec.overwrite = true;
    lab
}

fn some_fail(seed: u64) -> Config {
    let faults = Faults {
        seed,
        rows: RowFaults {
            api_error: 0.3,
            ..RowFaults::default()
        },
        ..Faults::none()
    };
    Config {
        seed,
        refusals: 0.2,
        faults,
        ..Config::default()
    }
}

/// The rows that a run sends, with their requests.
fn sent(lab: &Lab, manifest: &Manifest) -> BTreeMap<u64, String> {
    let spool = lab.spool_of(manifest);
    let mut reader = SpoolReader::open(&spool).unwrap();
    let mut sent = BTreeMap::new();
    for entry in IndexReader::open(&spool).unwrap() {
        let entry = entry.unwrap();
        let mut request = Vec::new();
        let row = reader.read(entry.at).unwrap();
        row.write_request(RowMarks::NONE, &mut request);
        sent.insert(entry.row, String::from_utf8(request).unwrap());
    }
    sent
}

fn asked_with(request: &str) -> u64 {
    let request: Value = serde_json::from_str(request).unwrap();
    request["max_tokens"].as_u64().unwrap()
}

/// What a line says of how its row ended.
fn end(line: &Value) -> [&Value; 5] {
    ["status", "text", "message", "usage", "error"].map(|member| &line[member])
}

/// A retry of a run that said `before`, of rows whose requests were `asked`: what was settled stands, what was
/// cut off or had no answer was sent, and it all adds up. Returns the lines.
fn check(
    lab: &Lab,
    (before, asked): (&[Value], &BTreeMap<u64, String>),
    (manifest, larger, billed): (&Manifest, u64, Usd),
) -> Vec<Value> {
    let lines = lines(lab);
    let requests = sent(lab, manifest);
    assert_eq!(lines.len(), before.len());
    let (mut again, mut taken_over) = (0, 0);
    for (row, (line, was)) in lines.iter().zip(before).enumerate() {
        let request = &asked[&(row as u64)];
        assert_eq!(line["key"], was["key"]);
        let with = asked_with(request);
        let expected = match was["status"].as_str().unwrap() {
            "truncated" if with < larger => {
                again += 1;
                let (old, new) = (format!(": {with} ,"), format!(": {larger} ,"));
                Some(request.replacen(&old, &new, 1))
            }
            "exhausted" | "expired" | "canceled" | "result_unreadable" => Some(request.clone()),
            _ => None,
        };
        match expected {
            Some(expected) if line["reused"]["key"].is_null() => {
                assert_eq!(requests.get(&(row as u64)), Some(&expected), "row {row}");
                assert_eq!(line.get("reused"), None);
            }
            Some(_) => {
                let of = line["reused"]["row"].as_u64().unwrap();
                assert_eq!(end(line), end(&lines[of as usize]));
            }
            None => {
                taken_over += 1;
                assert_eq!(requests.get(&(row as u64)), None, "row {row}");
                assert_eq!(end(line), end(was), "row {row}");
                assert!(line["reused"]["run"].as_u64().unwrap() < u64::from(manifest.run));
                assert_eq!(pico(line), Usd::ZERO);
            }
        }
    }
    let facts = manifest.asked_again.unwrap();
    assert_eq!((facts.rows, u64::from(facts.max_tokens)), (again, larger));
    assert_eq!(manifest.reused.earlier_runs.rows, taken_over);
    assert_eq!(manifest.outcomes.values().sum::<u64>(), before.len() as u64);
    let cost: Usd = lines.iter().map(pico).sum();
    assert_eq!((cost, billed), (manifest.cost_picousd, cost));
    let verdict = lab.verify(manifest);
    assert_eq!(verdict.doubts, []);
    assert_eq!(verdict.proved.reused, manifest.reused.rows());
    lines
}

/// The next run, and what it was billed.
fn retry(lab: &mut Lab, max_tokens: u32) -> (Box<Manifest>, Usd) {
    let before = lab.bill();
    lab.choice.retry_truncated = Some(max_tokens);
    let manifest = finished(lab);
    (manifest, lab.bill() - before)
}

/// Why a job cannot be opened.
fn refused(lab: &mut Lab) -> EngineError {
    let (spec, choice) = (lab.spec.clone(), lab.choice);
    let opened = lab.asked(|engine| async move {
        let silent: Report = Arc::new(|_: Progress| {});
        open(&engine, &spec, choice, silent).await
    });
    opened.unwrap_err()
}

#[test]
fn what_was_cut_off_is_asked_again_and_nothing_else_is_paid() {
    for (seed, kinds, need) in [
        (1, 60, Need::Whenever),
        (2, 9, Need::Whenever),
        (3, 60, Need::Seconds),
    ] {
        let mut lab = lab(seed, some_fail(seed), &rows(seed, 60, kinds));
        lab.spec.need = need;
        lab.spec.reuse.identical = kinds < 60;
        let first = finished(&mut lab);
        let monday = lines(&lab);
        let count = |class: &str| first.outcomes.get(class).copied().unwrap_or(0);
        assert!(
            count("truncated") > 3 && count("succeeded") > 3,
            "{:?}",
            first.outcomes
        );
        assert!(
            count("errored") > 0 && count("refused") > 0,
            "{:?}",
            first.outcomes
        );
        lab.mend();
        let asked = all_requests(&lab);
        let (second, billed) = retry(&mut lab, 60);
        let tuesday = check(&lab, (&monday, &asked), (&second, 60, billed));
        // Again, with more: of what is taken over then, some was asked with other requests than the input has.
        let mut larger = asked;
        larger.extend(sent(&lab, &second));
        for (row, line) in (0..).zip(&tuesday) {
            if let Some(of) = line["reused"]["row"].as_u64()
                && line["reused"]["run"].is_null()
            {
                larger.insert(row, larger[&of].clone());
            }
        }
        let (third, billed) = retry(&mut lab, 8_000);
        let wednesday = check(&lab, (&tuesday, &larger), (&third, 8_000, billed));
        assert_eq!(third.outcomes.get("truncated"), None);
        // Nothing is left to ask.
        let (fourth, billed) = retry(&mut lab, 9_000);
        assert_eq!((&fourth, billed), (&third, Usd::ZERO));
        assert_eq!(lines(&lab), wednesday);
        // The job as it is in its file has finished too.
        lab.choice.retry_truncated = None;
        assert_eq!(finished(&mut lab), third);
    }
}

/// The requests of all rows, as they are in the input.
fn all_requests(lab: &Lab) -> BTreeMap<u64, String> {
    let input = std::fs::read_to_string(&lab.spec.source.input).unwrap();
    let request = |line: &str| {
        let (_, params) = line.split_once("\"params\":").unwrap();
        params.strip_suffix('}').unwrap().to_owned()
    };
    (0..).zip(input.lines().map(request)).collect()
}

#[test]
fn rows_of_a_table_are_asked_again_too() {
    let mut text = String::from("id,topic,words\n");
    for row in 0..40 {
        let _ = writeln!(text, "{row},{},\"{}\"", row % 3, "many words ".repeat(30));
    }
    for fields in [FieldsIn::GivenOrder, FieldsIn::SharedOrder] {
        let mut lab = lab(4, Config::default(), &text);
        lab.spec.source.shape = InputShape::Table {
            format: TableFormat::Csv,
            template: Template {
                key: "id".to_owned(),
                model: "claude-haiku-4-5".to_owned(),
                max_tokens: 150,
                system: Some("Say something long. ".repeat(40)),
                user: "Look: {{ row }}".to_owned(),
                user_origin: ("job.toml".into(), 1),
                fields,
                params: Vec::new(),
            },
        };
        let first = finished(&mut lab);
        let monday = lines(&lab);
        assert!(first.outcomes["truncated"] > 3 && first.outcomes["succeeded"] > 3);
        let asked = sent(&lab, &first);
        let (second, billed) = retry(&mut lab, 8_000);
        assert!(second.all_succeeded());
        assert_eq!(billed, second.cost_picousd);
        let requests = sent(&lab, &second);
        for (row, line) in (0..).zip(&monday) {
            let expected = asked[&row].replacen(":150,", ":8000,", 1);
            let cut_off = line["status"] == "truncated";
            assert_eq!(requests.get(&row), cut_off.then_some(&expected));
        }
        assert_eq!(lab.verify(&second).doubts, []);
    }
}

#[test]
fn a_retry_survives_a_crash_at_any_moment_and_goes_on_as_it_was_begun() {
    let mut crashed = 0;
    for seed in 0..8 {
        let mut lab = lab(seed, Config::default(), &rows(seed, 50, 50));
        finished(&mut lab);
        let (monday, asked) = (lines(&lab), all_requests(&lab));
        let before = lab.bill();
        let mut dice = Dice(seed);
        let mut manifest = None;
        for _ in 0..3 {
            // The first life makes the run, whichever command goes on with it.
            let plain = crashed % 2 == 1 && lab.store().jobs().unwrap().len() == 2;
            lab.choice.retry_truncated = (!plain).then_some(4_096);
            let crash = Duration::from_millis(dice.below(90_000));
            match lab.live(Some(crash)) {
                Life::Finished(done) => {
                    manifest = Some(done);
                    break;
                }
                Life::Crashed => crashed += 1,
                Life::Ended(end) => panic!("{end:?}"),
            }
        }
        let manifest = manifest.unwrap_or_else(|| {
            lab.choice.retry_truncated = None;
            finished(&mut lab)
        });
        let billed = lab.bill() - before;
        check(&lab, (&monday, &asked), (&manifest, 4_096, billed));
        assert_eq!(manifest.run, 2);
    }
    assert!(crashed > 8, "{crashed}");
}

#[test]
fn rows_of_a_retry_that_was_given_up_are_asked_again_with_more() {
    let mut lab = lab(6, Config::default(), &rows(6, 40, 40));
    finished(&mut lab);
    let monday = lines(&lab);
    let asked = all_requests(&lab);
    lab.choice.retry_truncated = Some(8_000);
    assert!(matches!(
        lab.live(Some(Duration::from_secs(1))),
        Life::Crashed
    ));
    lab.cancel = Some(Cancel::Everything);
    // The output of the first run is in the place of the one that the job was to have.
    std::fs::remove_file(&lab.spec.output).unwrap();
    let given_up = finished(&mut lab);
    assert!(given_up.outcomes["canceled"] > 3);
    lab.cancel = None;
    let (third, billed) = retry(&mut lab, 8_000);
    assert_eq!(third.run, 3);
    check(&lab, (&monday, &asked), (&third, 8_000, billed));
}

#[test]
fn a_lost_disk_does_not_pay_a_retry_twice() {
    let mut lab = lab(7, Config::default(), &rows(7, 40, 40));
    finished(&mut lab);
    let (second, _) = retry(&mut lab, 8_000);
    let (billed, output) = (lab.bill(), lines(&lab));
    lab.lose_the_disk();
    lab.choice.retry_truncated = None;
    finished(&mut lab);
    let (again, _) = retry(&mut lab, 8_000);
    assert_eq!((&again.job, lab.bill()), (&second.job, billed));
    assert_eq!(lines(&lab), output);
    assert_eq!(lab.verify(&again).doubts, []);
}

#[test]
fn what_cannot_be_asked_again_is_refused_before_anything_is_sent() {
    let mut lab = lab(8, Config::default(), &rows(8, 20, 20));
    lab.choice.retry_truncated = Some(4_096);
    let error = refused(&mut lab);
    assert!(
        matches!(error, EngineError::NothingToRetry { .. }),
        "{error}"
    );
    lab.choice.retry_truncated = None;
    assert!(matches!(
        lab.live(Some(Duration::from_secs(1))),
        Life::Crashed
    ));
    lab.choice.retry_truncated = Some(4_096);
    let error = refused(&mut lab);
    assert!(
        matches!(error, EngineError::RetryUnfinished { with: None, .. }),
        "{error}"
    );
    lab.choice.retry_truncated = None;
    let first = finished(&mut lab);
    let billed = lab.bill();

    lab.choice.retry_truncated = Some(64_001);
    let error = refused(&mut lab);
    assert_eq!(
        error.to_string(),
        "`--retry-truncated 64001`: `claude-haiku-4-5-20251001` answers with at most 64000 tokens"
    );
    lab.choice.retry_truncated = Some(4_096);
    let input = std::fs::read_to_string(&lab.spec.source.input).unwrap();
    for changed in [
        input.replace("No. 5?", "No. 500?"),
        format!("{input}{}", rows(9, 1, 1).replace("row 0", "row 20")),
        input
            .lines()
            .skip(1)
            .fold(String::new(), |text, line| text + line + "\n"),
    ] {
        std::fs::write(&lab.spec.source.input, changed).unwrap();
        let error = refused(&mut lab);
        let other = matches!(
            error,
            EngineError::Ingest(IngestError::OtherRows { run: 1 })
        );
        assert!(other, "{error}");
    }
    std::fs::write(&lab.spec.source.input, &input).unwrap();
    lab.spec.betas = vec!["advanced-tool-use-2025-11-20".to_owned()];
    let error = refused(&mut lab);
    assert!(matches!(error, EngineError::Ingest(_)), "{error}");
    lab.spec.betas.clear();

    // Another retry is under way.
    assert!(matches!(
        lab.live(Some(Duration::from_secs(1))),
        Life::Crashed
    ));
    lab.choice.retry_truncated = Some(5_000);
    let error = refused(&mut lab);
    let with = matches!(
        error,
        EngineError::RetryUnfinished {
            with: Some(4_096),
            run: 2,
            ..
        }
    );
    assert!(with, "{error}");
    lab.choice.retry_truncated = None;
    let second = finished(&mut lab);
    assert_eq!(lab.bill() - billed, second.cost_picousd);

    // The answers that would be taken over are gone.
    lab.choice.retry_truncated = Some(20);
    assert_eq!(finished(&mut lab), second, "nothing to ask");
    std::fs::remove_file(lab.spool_of(&second).earlier_answers()).unwrap();
    lab.choice.retry_truncated = Some(5_000);
    let error = refused(&mut lab);
    assert!(matches!(error, EngineError::AnswersGone { .. }), "{error}");
    lab.purge(&second);
    let error = refused(&mut lab);
    assert!(matches!(error, EngineError::RetryPurged { .. }), "{error}");
    assert_eq!(
        lab.bill(),
        first.cost_picousd + second.cost_picousd,
        "nothing of this was paid"
    );
}

#[test]
fn what_ended_at_the_context_window_is_not_paid_again() {
    let rules = r#"[[rule]]
contains = "No. 1?"
text = "So"
stop_reason = "model_context_window_exceeded"
"#;
    let mut config = Config::default();
    config.answers.rules = AnswerRules::parse(rules).unwrap();
    let mut lab = lab(10, config, &rows(10, 20, 20));
    let first = finished(&mut lab);
    let (second, billed) = retry(&mut lab, 8_000);
    assert_eq!(second.outcomes["truncated"], 1);
    assert_eq!(
        second.asked_again.unwrap().rows,
        first.outcomes["truncated"] - 1
    );
    assert_eq!(billed, second.cost_picousd);
    let lines = lines(&lab);
    let reused = serde_json::json!({"run": 1, "row": 1});
    assert_eq!(
        (&lines[1]["status"], &lines[1]["reused"]),
        (&"truncated".into(), &reused)
    );
    assert_eq!(finished(&mut lab), second, "nothing is left to ask");
}

#[test]
fn the_next_night_is_not_misled() {
    let mut lab = lab(9, Config::default(), &rows(9, 30, 30));
    lab.spec.reuse = Reuse {
        identical: false,
        earlier_runs: true,
    };
    let first = finished(&mut lab);
    let (second, _) = retry(&mut lab, 8_000);
    assert!(second.all_succeeded() || second.outcomes.contains_key("errored"));
    lab.choice.retry_truncated = None;
    let mut input = std::fs::read_to_string(&lab.spec.source.input).unwrap();
    input.push_str(&rows(77, 1, 1).replace("row 0", "row 30"));
    std::fs::write(&lab.spec.source.input, input).unwrap();
    let third = finished(&mut lab);
    // What the requests of the input were answered with holds; the larger ones are others.
    assert_eq!(third.reused.earlier_runs.rows, first.outcomes["succeeded"]);
    let cut_off = |line: &&Value| line["status"] == "truncated";
    let cut_off = lines(&lab)[..30].iter().filter(cut_off).count() as u64;
    assert_eq!(cut_off, first.outcomes["truncated"]);
    assert_eq!(lab.verify(&third).doubts, []);
}
