//! Files that are lost or damaged between two lives: what the upstream still has is fetched again, for free.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use offpeak_engine::spec::Need;
use offpeak_engine::verify::Doubt;
use offpeak_sim::Config;

use crate::lab::{Lab, Life, rows};
use crate::scenarios::{finished, short_rows};

/// The downloaded results below the data directory.
fn results(lab: &Lab) -> Vec<PathBuf> {
    let jobs = fs::read_dir(lab.data_dir().join("jobs")).unwrap();
    let dirs = jobs.map(|job| job.unwrap().path().join("results"));
    let mut files: Vec<_> = dirs
        .filter_map(|dir| fs::read_dir(dir).ok())
        .flatten()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    files
}

/// A job that died when its output was about to be made: every shard is settled.
fn settled() -> (Lab, Box<offpeak_engine::finish::Manifest>, Vec<u8>) {
    let mut lab = Lab::new(21, Config::default(), &short_rows(600));
    let manifest = finished(lab.live(None));
    let output = fs::read(&lab.spec.output).unwrap();
    fs::remove_file(&lab.spec.output).unwrap();
    lab.reopen_job();
    assert!(results(&lab).len() > 1);
    (lab, manifest, output)
}

#[test]
fn lost_and_damaged_results_of_settled_batches_are_downloaded_again() {
    let damages: [fn(&PathBuf); 3] = [
        |file| fs::remove_file(file).unwrap(),
        |file| {
            let text = fs::read(file).unwrap();
            fs::write(file, &text[..text.len() / 2]).unwrap();
        },
        |file| {
            let len = fs::metadata(file).unwrap().len();
            fs::write(file, vec![0; usize::try_from(len).unwrap()]).unwrap();
        },
    ];
    for damage in damages {
        let (mut lab, first, output) = settled();
        let bill = lab.bill();
        for file in results(&lab) {
            damage(&file);
        }
        let manifest = finished(lab.live(None));
        assert_eq!(fs::read(&lab.spec.output).unwrap(), output);
        assert_eq!(manifest.outcomes, first.outcomes);
        lab.check(&manifest, 600);
        assert_eq!(lab.bill(), bill);
    }
}

#[test]
fn a_lost_outcome_segment_is_made_again() {
    let (mut lab, _, output) = settled();
    for file in results(&lab) {
        let name = file.with_extension("seg");
        let segment = file
            .parent()
            .unwrap()
            .with_file_name("outcomes")
            .join(name.file_name().unwrap());
        fs::remove_file(segment).unwrap();
    }
    let manifest = finished(lab.live(None));
    assert_eq!(fs::read(&lab.spec.output).unwrap(), output);
    lab.check(&manifest, 600);
}

#[test]
fn what_was_only_noted_of_answers_is_made_again_without_the_upstream() {
    for need in [Need::Seconds, Need::Whenever] {
        let mut lab = Lab::new(23, Config::default(), &short_rows(60));
        lab.spec.need = need;
        // So that nothing can be downloaded.
        lab.spec.delete_upstream = true;
        let manifest = finished(lab.live(None));
        let output = fs::read(&lab.spec.output).unwrap();
        fs::remove_file(&lab.spec.output).unwrap();
        lab.reopen_job();
        let outcomes = lab.spool_of(&manifest).root().join("outcomes");
        for segment in fs::read_dir(outcomes).unwrap() {
            fs::remove_file(segment.unwrap().path()).unwrap();
        }
        let again = finished(lab.live(None));
        assert_eq!(fs::read(&lab.spec.output).unwrap(), output);
        lab.check(&again, 60);
    }
}

#[test]
fn a_half_written_output_is_finished_by_the_next_run() {
    let (mut lab, first, output) = settled();
    let name = format!(".out.jsonl.{}.part", first.job);
    let half = lab.spec.output.with_file_name(name);
    fs::write(&half, &output[..output.len() / 2]).unwrap();
    let manifest = finished(lab.live(None));
    lab.check(&manifest, 600);
    assert_eq!(fs::read(&lab.spec.output).unwrap(), output);
    assert!(!half.exists());
}

#[test]
fn results_that_are_lost_before_they_are_settled_are_collected_again() {
    let damages: [fn(&PathBuf); 2] = [
        |file| fs::remove_file(file).unwrap(),
        |file| {
            let text = fs::read(file).unwrap();
            fs::write(file, &text[..text.len() / 2]).unwrap();
        },
    ];
    for damage in damages {
        let mut lab = Lab::new(22, Config::default(), &rows(22, 40));
        lab.crash_in = Some("collected");
        assert!(matches!(lab.live(None), Life::Crashed));
        let files = results(&lab);
        assert_eq!(files.len(), 1, "of the canary");
        damage(&files[0]);
        lab.crash_in = None;
        let manifest = finished(lab.live(None));
        let audit = lab.check(&manifest, 40);
        assert!(
            audit
                .lines
                .iter()
                .all(|line| line["status"] != "result_unreadable")
        );
    }
}

#[test]
fn what_the_upstream_does_not_keep_either_is_named_with_its_rows() {
    let (mut lab, first, output) = settled();
    let file = results(&lab).remove(0);
    let lost = fs::read_to_string(&file).unwrap().lines().count();
    fs::remove_file(&file).unwrap();
    lab.later(Duration::from_secs(30 * 86_400));
    let manifest = finished(lab.live(None));
    assert_eq!(manifest.outcomes["result_unreadable"], lost as u64);
    assert_eq!(manifest.rows_out, 600);
    assert_eq!(manifest.cost_picousd, first.cost_picousd, "they were paid");
    let (before, after) = (
        String::from_utf8(output).unwrap(),
        fs::read_to_string(&lab.spec.output),
    );
    let mut unreadable = 0;
    for (before, after) in before.lines().zip(after.unwrap().lines()) {
        if before != after {
            unreadable += 1;
            let line: serde_json::Value = serde_json::from_str(after).unwrap();
            assert_eq!(line["status"], "result_unreadable");
            let why = line["error"]["message"].as_str().unwrap();
            assert!(why.contains(&file.display().to_string()), "{why}");
        }
    }
    assert_eq!(unreadable, lost);
    // What was paid for them stands, and is what cannot be proved.
    let verdict = lab.verify(&manifest);
    let [Doubt::Unreadable { .. }] = &verdict.doubts[..] else {
        panic!("{:?}", verdict.doubts)
    };
    assert!(verdict.proved.cost < manifest.cost_picousd);
}

#[test]
fn an_upstream_that_cannot_be_reached_is_no_reason_to_give_answers_up() {
    let (mut lab, ..) = settled();
    let file = results(&lab).remove(0);
    fs::remove_file(&file).unwrap();
    lab.key = "sk-ant-api03-of-another-workspace";
    let error = lab.fails();
    assert!(
        error.to_string().contains(&file.display().to_string()),
        "{error}"
    );
    assert!(error.hint().contains("29 days"), "{}", error.hint());
    lab.key = "sk-ant-api03-laboratory";
    let manifest = finished(lab.live(None));
    lab.check(&manifest, 600);
}
