//! Prompts that share more than tools and system prompt: each level that pays is marked, written once and
//! read by all rows behind it.

use std::fmt::Write as _;

use offpeak_core::plan::Route;
use offpeak_engine::spec::Need;
use offpeak_sim::Config;
use serde_json::Value;

use crate::lab::{Lab, Life};

const MODEL: &str = "claude-haiku-5-5";

/// Questions about documents, in turn; all share the system prompt. `messages` comes first in every
/// other row.
fn questions(documents: usize, each: usize) -> String {
    let system = "Answer from the document alone, in one sentence. ".repeat(120);
    let mut rows = String::new();
    for row in 0..documents * each {
        let document = row % documents;
        let text = format!("Paragraph of document {document}. ").repeat(400);
        let messages = format!(
            "\"messages\":[{{\"role\":\"user\",\"content\":[{{\"type\":\"text\",\"text\":\"{text}\"}},\
             {{\"type\":\"text\",\"text\":\"Question {row}?\"}}]}}]"
        );
        let system = format!("\"system\":\"{system}\"");
        let [first, second] = if row % 2 == 0 {
            [&system, &messages]
        } else {
            [&messages, &system]
        };
        let _ = writeln!(
            rows,
            "{{\"custom_id\":\"row {row}\",\"params\":{{\"model\":\"{MODEL}\",\"max_tokens\":50,\
             {first},{second}}}}}"
        );
    }
    rows
}

fn tokens(line: &Value, kind: &str) -> u64 {
    line["usage"][kind].as_u64().unwrap_or(0)
}

/// Rows that wrote more than a few tokens, and rows that read the whole of what they share.
fn wrote_and_read(lines: &[Value]) -> (usize, usize) {
    let count = |kind| {
        let many = |line: &&Value| tokens(line, kind) > 1_000;
        lines.iter().filter(many).count()
    };
    (
        count("cache_creation_input_tokens"),
        count("cache_read_input_tokens"),
    )
}

#[test]
fn in_batches_a_row_of_each_document_goes_ahead_and_the_others_read_both_levels() {
    const DOCUMENTS: usize = 12;
    const EACH: usize = 10;
    let mut lab = Lab::new(31, Config::default(), &questions(DOCUMENTS, EACH));
    let Life::Finished(manifest) = lab.live(None) else {
        panic!("it ends")
    };
    let audit = lab.check(&manifest, (DOCUMENTS * EACH) as u64);
    assert_eq!(manifest.route, Route::BatchCache.as_str());
    assert_eq!(manifest.groups.canaries, DOCUMENTS as u64);
    assert_eq!(
        wrote_and_read(&audit.lines),
        (DOCUMENTS, DOCUMENTS * (EACH - 1))
    );
    // All that is not shared is the question.
    let read = audit
        .lines
        .iter()
        .filter(|line| tokens(line, "cache_read_input_tokens") > 0);
    assert!(
        read.into_iter()
            .all(|line| tokens(line, "input_tokens") < 30)
    );
}

#[test]
fn awaited_rows_of_a_document_wait_for_the_first_and_all_documents_share_the_system_prompt() {
    const DOCUMENTS: usize = 6;
    const EACH: usize = 8;
    let mut lab = Lab::new(32, Config::default(), &questions(DOCUMENTS, EACH));
    lab.spec.need = Need::Seconds;
    let Life::Finished(manifest) = lab.live(None) else {
        panic!("it ends")
    };
    let audit = lab.check(&manifest, (DOCUMENTS * EACH) as u64);
    assert_eq!(manifest.route, Route::SyncCache.as_str());
    let (wrote, read) = wrote_and_read(&audit.lines);
    assert_eq!(wrote, DOCUMENTS, "one row writes each document");
    // The system prompt is written by one of them and read by all others.
    assert_eq!(read, DOCUMENTS * EACH - 1);
}
