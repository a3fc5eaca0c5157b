//! Everything that can be wrong with an input or a job file: each is refused with its place and
//! what to do about it, and nothing is sent.

use std::fs::File;

use crate::sandbox::{Said, Sandbox, assert_said, message, request, requests};

const JOB: &str = "input = \"rows.jsonl\"\nkey = \"id\"\nmodel = \"claude-haiku-4-5\"\n\
                   max_tokens = 100\nuser = \"\"\"\nAbout {{ topic }}:\n{{ text }}\n\"\"\"\n";

fn refused(name: &str, said: &Said) {
    assert_eq!(said.exit, Some(2), "{name}: {said}");
    assert!(said.stderr.contains("\nhint: "), "{name}: {said}");
    assert_said(name, said);
}

#[test]
fn rows_that_cannot_be_sent() {
    let good = requests(1);
    let hi = message(0);
    let row = |members: &str| good.clone() + &request("bad", members);
    let other =
        |model: &str| row(&format!("\"max_tokens\":5,{hi}")).replacen("claude-haiku-4-5", model, 2);
    let cases = [
        (
            "malformed_json",
            good.clone() + "{\"custom_id\":\"bad\",\"params\":{\"model\" \"x\"}}\n",
        ),
        ("no_json_at_all", "id,text\n1,hello\n".to_owned()),
        ("missing_key", good.clone() + "{\"params\":{}}\n"),
        ("duplicate_key", good.clone() + &good),
        ("max_tokens_zero", row(&format!("\"max_tokens\":0,{hi}"))),
        ("max_tokens_missing", row(&hi)),
        (
            "stream",
            row(&format!("\"max_tokens\":5,\"stream\":true,{hi}")),
        ),
        (
            "duplicate_json_keys",
            row(&format!("\"max_tokens\":5,\"max_tokens\":6,{hi}")),
        ),
        ("unknown_model", other("claude-haiku-5.5")),
        ("unknown_price", other("claude-mythos-preview")),
        ("no_messages", row("\"max_tokens\":5")),
        ("empty_input", String::new()),
        (
            "many_at_once",
            (0..25).map(|n| request(&format!("r{n}"), &hi)).collect(),
        ),
    ];
    for (name, rows) in cases {
        let sandbox = Sandbox::new();
        let said = sandbox
            .write("rows.jsonl", rows)
            .offpeak("run rows.jsonl --sim");
        refused(&format!("bad_{name}"), &said);
        assert!(!sandbox.path("rows.out.jsonl").exists(), "{name}");
    }
}

#[test]
fn a_row_larger_than_a_batch() {
    let sandbox = Sandbox::new();
    let file = File::create(sandbox.path("rows.jsonl")).unwrap();
    file.set_len(300_000_000).unwrap();
    refused("bad_huge_row", &sandbox.offpeak("run rows.jsonl --sim"));
}

#[test]
fn tables_that_do_not_fit_their_template() {
    let table = |name: &str, job: &str, rows: &str| {
        let sandbox = Sandbox::new();
        sandbox
            .write("job.toml", job)
            .write("rows.jsonl", rows)
            .write("rows.csv", rows);
        refused(name, &sandbox.offpeak("run job.toml --sim"));
    };
    table("bad_missing_variable", JOB, "{\"id\":1,\"text\":\"x\"}\n");
    table(
        "bad_missing_column",
        JOB,
        "{\"topic\":\"a\",\"text\":\"x\"}\n",
    );
    let csv = JOB.replace("rows.jsonl", "rows.csv");
    table("bad_ragged_record", &csv, "id,topic,text\n1,a,b\n2,a\n");
    table(
        "bad_template",
        &JOB.replace("{{ text }}", "{{ text }"),
        "{\"id\":1}\n",
    );
}

#[test]
fn job_files_that_are_wrong() {
    for (name, job) in [
        ("unknown_key", JOB.replace("max_tokens", "max_token")),
        ("misplaced_key", JOB.to_owned() + "deadline = \"8h\"\n"),
        ("wrong_type", JOB.replace("100", "\"100\"")),
        ("max_tokens_zero_in_the_job", JOB.replace("100", "0")),
        (
            "max_tokens_missing_in_the_job",
            JOB.replace("max_tokens = 100\n", ""),
        ),
        (
            "contradictory_latency",
            JOB.to_owned() + "[latency]\nneeds = \"seconds\"\ndeadline = \"8h\"\n",
        ),
        (
            "deadline_that_is_a_moment",
            JOB.to_owned() + "[latency]\ndeadline = 2020-01-01T06:00:00Z\n",
        ),
        (
            "deadline_of_no_time",
            JOB.to_owned() + "[latency]\ndeadline = \"0h\"\n",
        ),
        (
            "retention_that_is_no_flag",
            JOB.to_owned() + "[limits]\nzero_data_retention = \"yes\"\n",
        ),
        (
            "keep_that_is_no_time",
            JOB.to_owned() + "[limits]\nkeep = \"forever\"\n",
        ),
        (
            "unquoted_budget",
            JOB.to_owned() + "[limits]\nbudget_usd = 5.00\n",
        ),
        ("not_toml", JOB.replace("key = ", "key ")),
        (
            "missing_prompt",
            JOB.to_owned() + "system = { file = \"prompt.md\" }\n",
        ),
    ] {
        let sandbox = Sandbox::new();
        sandbox
            .write("job.toml", job)
            .write("rows.jsonl", "{\"id\":1,\"topic\":\"a\",\"text\":\"x\"}\n");
        refused(
            &format!("bad_job_{name}"),
            &sandbox.offpeak("run job.toml --sim"),
        );
    }
}

#[test]
fn files_and_settings_that_are_not_there() {
    let sandbox = Sandbox::new();
    sandbox
        .write("rows.jsonl", requests(2))
        .write("rows.csv", "id\n1\n");
    refused("bad_no_such_file", &sandbox.offpeak("run raws.jsonl --sim"));
    refused(
        "bad_no_such_job_file",
        &sandbox.offpeak("run jub.toml --sim"),
    );
    refused(
        "bad_table_without_job_file",
        &sandbox.offpeak("run rows.csv --sim"),
    );
    refused("bad_no_api_key", &sandbox.offpeak("run rows.jsonl"));
    refused("bad_no_such_job", &sandbox.offpeak("status nightly"));
    let base = sandbox
        .command("run rows.jsonl --base-url http://me:secret@example.com")
        .env("ANTHROPIC_API_KEY", "sk-ant-x")
        .output()
        .unwrap();
    refused("bad_base_url", &sandbox.said(&base));
    let said = sandbox
        .command("run rows.jsonl --base-url http://example.com --yes")
        .env("ANTHROPIC_API_KEY", "sk-ant-x")
        .output()
        .unwrap();
    assert_said("bad_clear_text", &sandbox.said(&said));
}

#[test]
fn a_budget_needs_rows_whose_cost_is_bounded() {
    let sandbox = Sandbox::new();
    let image = "\"max_tokens\":5,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\",\
                 \"source\":{\"type\":\"url\",\"url\":\"https://example.com/a.png\"}}]}]";
    sandbox.write("rows.jsonl", request("a", image));
    refused(
        "bad_unbounded",
        &sandbox.offpeak("run rows.jsonl --sim --budget 5"),
    );
}

#[test]
fn a_budget_covers_each_single_row() {
    let sandbox = Sandbox::new();
    let long = "\"max_tokens\":8000,".to_owned() + &message(0);
    sandbox.write("rows.jsonl", requests(2) + &request("long", &long));
    refused(
        "bad_budget_below_a_row",
        &sandbox.offpeak("plan rows.jsonl --sim --budget 0.01"),
    );
    refused(
        "bad_budget_below_a_row_run",
        &sandbox.offpeak("run rows.jsonl --sim --budget 0.01"),
    );
}

#[test]
fn an_output_that_exists_is_kept() {
    let sandbox = Sandbox::new();
    sandbox
        .write("rows.jsonl", requests(2))
        .write("rows.out.jsonl", "precious\n");
    refused(
        "bad_output_exists",
        &sandbox.offpeak("run rows.jsonl --sim"),
    );
    assert_eq!(sandbox.read("rows.out.jsonl"), "precious\n");
    assert_eq!(
        sandbox.offpeak("run rows.jsonl --sim --overwrite").exit,
        Some(0)
    );
    assert!(sandbox.read("rows.out.jsonl").contains("succeeded"));
}

#[test]
fn errors_are_json_too() {
    let sandbox = Sandbox::new();
    let said = sandbox.offpeak("run rows.jsonl --json");
    let answer: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(answer["error"]["exit_code"], 2);
    assert_eq!(answer["error"]["message"], "there is no API key");
}
