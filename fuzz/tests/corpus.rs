//! Replays the committed corpus, so that what a fuzzer once found stays found. The fuzzing itself is `fuzz/run.sh`.

use std::fs;
use std::path::Path;

#[expect(
    clippy::print_stdout,
    reason = "shown when a property fails: with which file"
)]
fn replay(target: &str, property: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("every target has a corpus")
        .map(|entry| entry.expect("a folder's entry can be read").path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let data = fs::read(&file).expect("a file of the corpus can be read");
        println!("{}", file.display());
        property(&data);
    }
}

#[test]
fn request() {
    replay("request", offpeak_fuzz::request);
}

#[test]
fn result_line() {
    replay("result_line", offpeak_fuzz::result_line);
}

#[test]
fn exchange() {
    replay("exchange", offpeak_fuzz::exchange);
}

#[test]
fn rules() {
    replay("rules", offpeak_fuzz::rules);
}

#[test]
fn sse() {
    replay("sse", offpeak_fuzz::sse);
}
