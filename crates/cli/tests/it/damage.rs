//! Damage to what offpeak keeps: found, told with what to do, and not paid for again.

use std::fs;

use serde_json::Value;

use crate::over_http::{Server, ask, to};
use crate::sandbox::{Said, Sandbox, requests};

fn offpeak(sandbox: &Sandbox, url: &str, arguments: &str) -> Said {
    let mut command = to(url, sandbox, arguments);
    sandbox.said(&command.output().unwrap())
}

#[test]
fn a_damaged_store_is_found_and_a_new_directory_pays_for_no_batch_again() {
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", requests(40));
    let (_server, url) = Server::simulator(&sandbox, "--speed 1000");
    let run = "run rows.jsonl --yes --json -q";
    let first = offpeak(&sandbox, &url, run);
    assert_eq!(first.exit, Some(0), "{first}");
    let healthy = offpeak(&sandbox, &url, "doctor");
    assert!(
        healthy.stdout.contains("is whole, 1 runs of jobs"),
        "{healthy}"
    );
    let bill = ask(&url, "/_sim/bill");

    let store = sandbox.path("data/jobs.db");
    let mut bytes = fs::read(&store).unwrap();
    for byte in &mut bytes[4_096..12_288] {
        *byte = 0xA5;
    }
    fs::write(&store, bytes).unwrap();
    let broken = offpeak(&sandbox, &url, run);
    assert_eq!(broken.exit, Some(2), "{broken}");
    assert!(broken.stderr.contains("run `offpeak doctor`"), "{broken}");
    let sick = offpeak(&sandbox, &url, "doctor");
    assert_eq!(sick.exit, Some(2), "{sick}");
    assert!(
        sick.stdout.contains("FAIL  job store")
            && sick.stdout.contains("give the same command again"),
        "{sick}"
    );

    // As it says.
    fs::rename(sandbox.path("data"), sandbox.path("damaged")).unwrap();
    fs::remove_file(sandbox.path("rows.out.jsonl")).unwrap();
    let again = offpeak(&sandbox, &url, run);
    assert_eq!(again.exit, Some(0), "{again}");
    assert_eq!(ask(&url, "/_sim/bill"), bill);
    let cost = |said: &Said| {
        let manifest: Value = serde_json::from_str(&said.stdout).unwrap();
        manifest["cost_picousd"].clone()
    };
    assert_eq!(cost(&again), cost(&first));
}

#[test]
fn lost_answers_of_a_finished_job_are_downloaded_again_for_its_output() {
    let sandbox = Sandbox::new();
    sandbox.write("rows.jsonl", requests(40));
    let (_server, url) = Server::simulator(&sandbox, "--speed 1000");
    let run = "run rows.jsonl --yes";
    let first = offpeak(&sandbox, &url, run);
    assert_eq!(first.exit, Some(0), "{first}");
    let (output, bill) = (sandbox.read("rows.out.jsonl"), ask(&url, "/_sim/bill"));
    let jobs = fs::read_dir(sandbox.path("data/jobs")).unwrap();
    let job = jobs
        .map(|job| job.unwrap().path())
        .find(|job| job.join("results").exists());
    fs::remove_dir_all(job.unwrap().join("results")).unwrap();
    let verify = offpeak(&sandbox, &url, "verify rows");
    assert_eq!(verify.exit, Some(70), "{verify}");
    assert!(verify.stdout.contains("downloaded again"), "{verify}");
    fs::remove_file(sandbox.path("rows.out.jsonl")).unwrap();
    let again = offpeak(&sandbox, &url, run);
    assert_eq!(again.exit, Some(0), "{again}");
    assert!(
        again.stderr.contains("were downloaded again, for free"),
        "{again}"
    );
    assert_eq!(sandbox.read("rows.out.jsonl"), output);
    assert_eq!(ask(&url, "/_sim/bill"), bill);
    assert_eq!(offpeak(&sandbox, &url, "verify rows").exit, Some(0));
}
