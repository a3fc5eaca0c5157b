//! `offpeak replay`: the tables, the answer for programs, and every trace that is refused.

use crate::sandbox::{Sandbox, assert_said};

const LINE: &str = r#"{"t_ms":5,"model":"claude-sonnet-4-6","blocks":[["a",4500,"system"],["q",30]],"out":20,"max_tokens":100,"class":"deferrable","deadline_ms":90000000,"job":"j"}"#;

fn generated(workload: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    let said = sandbox.offpeak(&format!("replay --generate {workload}"));
    assert_eq!(said.exit, Some(0), "{said}");
    sandbox.write("trace.jsonl", said.stdout);
    sandbox
}

#[test]
fn a_conversation_under_all_policies() {
    let sandbox = generated("W4");
    assert_said("replay", &sandbox.offpeak("replay trace.jsonl"));
    let json = sandbox.offpeak("replay trace.jsonl --policy auto,sync+5m --json");
    assert_said("replay_json", &json);
    assert!(
        !sandbox.path("data").exists(),
        "a replay leaves nothing behind"
    );
}

#[test]
fn a_trace_as_if_for_another_model_and_upstream() {
    let sandbox = generated("w5b");
    let said = sandbox.offpeak(
        "replay trace.jsonl --policy auto --model claude-opus-5-5 --min-cacheable 4096 --domains 4 --json",
    );
    let answer: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    let score = &answer["policies"][0];
    let pico = |field: &str| score[field].as_str().unwrap().parse::<i128>().unwrap();
    assert!(pico("bound") <= pico("realised"), "{said}");
    let causes = score["regret"].as_object().unwrap().values();
    let causes: i128 = causes
        .map(|cause| cause.as_str().unwrap().parse::<i128>().unwrap())
        .sum();
    assert_eq!(causes, pico("realised") - pico("bound"));
}

#[test]
fn a_storm_at_an_upstream_with_limits_and_an_outage() {
    let sandbox = generated("W12");
    let said = sandbox.offpeak("replay trace.jsonl --policy auto --tier start --outage 60s..3m");
    assert_said("replay_storm", &said);
}

#[test]
fn a_budget_that_does_not_pay_for_all() {
    let sandbox = generated("W10");
    let said = sandbox.offpeak("replay trace.jsonl --policy auto,sync --budget 9");
    assert_said("replay_budget", &said);
    let said = sandbox.offpeak("replay trace.jsonl --policy auto --budget 0.05");
    assert_eq!(said.exit, Some(2), "{said}");
    assert_said("replay_budget_below_a_call", &said);
}

#[test]
fn traces_that_are_refused() {
    let with = |from: &str, to: &str| format!("{LINE}\n{}\n", LINE.replacen(from, to, 1));
    let cases = [
        ("empty", String::new()),
        ("not_json", "t_ms,model\n".to_owned()),
        ("unknown_model", with("sonnet-4-6", "sonet-4-6")),
        ("negative_time", with("\"t_ms\":5", "\"t_ms\":-5")),
        ("backwards", with("\"t_ms\":5", "\"t_ms\":4")),
        ("late_at_once", with("90000000", "5")),
        ("resized_block", with("30", "31")),
        ("contradiction", with("deferrable", "interactive")),
        ("too_long", with("\"out\":20", "\"out\":101")),
        ("missing_field", with("\"max_tokens\":100,", "")),
        ("misspelt_field", with("deadline_ms", "deadline")),
        ("wrong_role", with("system", "sys")),
    ];
    for (name, text) in cases {
        let sandbox = Sandbox::new();
        let said = sandbox.write("t.jsonl", text).offpeak("replay t.jsonl");
        assert_eq!(said.exit, Some(2), "{name}: {said}");
        assert!(said.stderr.contains("\nhint: "), "{name}: {said}");
        assert_said(&format!("replay_bad_{name}"), &said);
    }
}

#[test]
fn what_is_typed_wrong() {
    let sandbox = generated("W4");
    for (name, arguments) in [
        ("replay_no_such_file", "replay nothing.jsonl"),
        ("replay_unknown_policy", "replay trace.jsonl --policy best"),
        ("replay_unknown_workload", "replay --generate W99"),
        (
            "replay_outage_backwards",
            "replay trace.jsonl --outage 3m..60s",
        ),
        ("replay_outage_of_what", "replay trace.jsonl --outage 60s"),
        (
            "replay_unknown_model",
            "replay trace.jsonl --model claude-haiku-5.5",
        ),
    ] {
        let said = sandbox.offpeak(arguments);
        assert_eq!(said.exit, Some(2), "{arguments}: {said}");
        assert_said(name, &said);
    }
}
