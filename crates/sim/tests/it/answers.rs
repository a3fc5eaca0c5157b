//! What answers contain: thinking, tool calls, JSON by a schema, canned texts; why they stop; and
//! that rows of a batch get the same.

use offpeak_sim::{AnswerMode, AnswerRules, Answers, Config, OutputModel};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::conform::conforms;
use crate::harness::{Client, client, params, params_with, row, words};

fn ruled(rules: &str) -> Client {
    let rules = AnswerRules::parse(rules).unwrap();
    Client::new(Config {
        answers: Answers {
            rules,
            ..Answers::default()
        },
        ..Config::default()
    })
}

fn kinds(message: &Value) -> Vec<&str> {
    let blocks = message["content"].as_array().unwrap();
    blocks
        .iter()
        .map(|block| block["type"].as_str().unwrap())
        .collect()
}

fn weather() -> Value {
    json!([{
        "name": "get_weather",
        "description": "The weather in a city.",
        "input_schema": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
            "required": ["city"],
        },
    }])
}

#[test]
fn a_whole_message() {
    let mut request = params("Hello there.");
    request["model"] = json!("claude-opus-4-8");
    request["thinking"] = json!({"type": "adaptive", "display": "summarized"});
    let message = client().message(&request);
    let text = serde_json::to_string_pretty(&message).unwrap();
    insta::with_settings!({filters => vec![
        (r#""signature": ".*""#, r#""signature": "[signature]""#),
        (r#""(text|thinking)": "[A-Z].*""#, r#""$1": "[prose]""#),
    ]}, {
        insta::assert_snapshot!(text);
    });
}

#[test]
fn thinking_follows_the_model_and_the_request() {
    let mut client = client();
    let mut ask = |model: &str, thinking: Value| {
        let mut request = params("Hello.");
        request["model"] = json!(model);
        request["max_tokens"] = json!(4_000);
        if !thinking.is_null() {
            request["thinking"] = thinking;
        }
        let message = client.message(&request);
        let usage = &message["usage"];
        let thought = usage["output_tokens_details"]["thinking_tokens"]
            .as_u64()
            .unwrap();
        assert!(thought < usage["output_tokens"].as_u64().unwrap());
        assert_eq!(
            thought > 0,
            kinds(&message) == ["thinking", "text"],
            "{message}"
        );
        let text = message["content"][0]["thinking"]
            .as_str()
            .map(|text| !text.is_empty());
        (thought > 0).then_some(text == Some(true))
    };
    let adaptive = || json!({"type": "adaptive"});
    assert_eq!(
        ask("claude-sonnet-4-6", Value::Null),
        None,
        "off by default"
    );
    assert_eq!(
        ask("claude-sonnet-4-6", adaptive()),
        Some(true),
        "summarized by default"
    );
    assert_eq!(ask("claude-opus-4-8", Value::Null), None);
    assert_eq!(
        ask("claude-opus-4-8", adaptive()),
        Some(false),
        "omitted by default"
    );
    assert_eq!(
        ask("claude-opus-5", Value::Null),
        Some(false),
        "on by default"
    );
    assert_eq!(ask("claude-sonnet-5", json!({"type": "disabled"})), None);
    let shown = json!({"type": "adaptive", "display": "summarized"});
    assert_eq!(ask("claude-fable-5", shown), Some(true));
    let between = json!({"type": "between_tools"});
    assert_eq!(
        ask("claude-sonnet-5-5", between),
        None,
        "no tool was called"
    );
    let budget = json!({"type": "enabled", "budget_tokens": 1_024, "display": "omitted"});
    assert_eq!(ask("claude-haiku-4-5", budget), Some(false));
}

#[test]
fn thinking_comes_back_unchanged_or_is_refused() {
    let mut client = client();
    let mut request = params_with("Think.", json!({"thinking": {"type": "adaptive"}}));
    let answer = client.message(&request);
    let mut turns = vec![
        json!({"role": "user", "content": "Think."}),
        json!({"role": "assistant", "content": answer["content"]}),
        json!({"role": "user", "content": "Go on."}),
    ];
    request["messages"] = json!(turns);
    client.message(&request);
    turns[1]["content"][0]["thinking"] = json!("Something else.");
    request["messages"] = json!(turns);
    let (status, body) = client.post("/v1/messages", request.to_string());
    assert_eq!(status, 400);
    let message = "messages.1.content.0: Invalid `signature` in `thinking` block";
    assert_eq!(body["error"]["message"], message);
    let mut lenient = Client::new(Config {
        answers: Answers {
            verify_thinking: false,
            ..Answers::default()
        },
        ..Config::default()
    });
    lenient.message(&request);
}

#[test]
fn a_tool_is_called_and_its_result_answered() {
    let mut client = client();
    let mut request = params_with("What is the weather in Rome?", json!({"tools": weather()}));
    let answer = client.message(&request);
    assert_eq!(answer["stop_reason"], "tool_use");
    assert_eq!(answer["content"][0]["type"], "text");
    let calls: Vec<&Value> = answer["content"]
        .as_array()
        .unwrap()
        .iter()
        .skip(1)
        .collect();
    assert!((1..=2).contains(&calls.len()));
    let mut results = Vec::new();
    for call in &calls {
        assert_eq!(
            (&call["type"], &call["name"]),
            (&json!("tool_use"), &json!("get_weather"))
        );
        assert_eq!(call["caller"], json!({"type": "direct"}));
        assert!(call["id"].as_str().unwrap().starts_with("toolu_01"));
        let schema = &weather()[0]["input_schema"];
        conforms(&call["input"], schema, schema).unwrap();
        results.push(json!({"type": "tool_result", "tool_use_id": call["id"], "content": "18 °C"}));
    }
    request["messages"] = json!([
        {"role": "user", "content": "What is the weather in Rome?"},
        {"role": "assistant", "content": answer["content"]},
        {"role": "user", "content": results},
    ]);
    let end = client.message(&request);
    assert_eq!(
        (kinds(&end), &end["stop_reason"]),
        (vec!["text"], &json!("end_turn"))
    );
}

#[test]
fn the_choice_of_tools_is_obeyed() {
    let mut client = client();
    let mut tools = weather();
    let other = json!({"name": "other", "input_schema": {"type": "object"}});
    let search = json!({"type": "web_search_20250305", "name": "web_search"});
    let bash = json!({"type": "bash_20250124", "name": "bash"});
    tools
        .as_array_mut()
        .unwrap()
        .extend([other, search.clone(), bash]);
    let mut two = 0;
    for n in 0..40 {
        let mut ask = |choice: Value| {
            let tool_choice = json!({"tools": tools, "tool_choice": choice});
            client.message(&params_with(&format!("Question {n}"), tool_choice))
        };
        let none = ask(json!({"type": "none"}));
        assert_eq!(kinds(&none), ["text"]);
        let any = ask(json!({"type": "any"}));
        assert!(
            kinds(&any).iter().all(|kind| *kind == "tool_use"),
            "no prose before a forced call"
        );
        two += usize::from(kinds(&any).len() == 2);
        for call in any["content"].as_array().unwrap() {
            assert_ne!(
                call["name"], "web_search",
                "run by the server, which is not simulated"
            );
        }
        let one = ask(json!({"type": "tool", "name": "other", "disable_parallel_tool_use": true}));
        assert_eq!(
            (kinds(&one), &one["content"][0]["name"]),
            (vec!["tool_use"], &json!("other"))
        );
    }
    assert!((2..20).contains(&two), "{two} of 40 call two");
    let only_server = client.message(&params_with("x", json!({"tools": [search]})));
    assert_eq!(kinds(&only_server), ["text"]);
}

#[test]
fn why_an_answer_stops() {
    let mut client = Client::new(Config {
        output: OutputModel::Fixed(200),
        ..Config::default()
    });
    let answer = client.message(&params_with(
        "x",
        json!({"stop_sequences": ["zzz", " the "]}),
    ));
    assert_eq!(
        (&answer["stop_reason"], &answer["stop_sequence"]),
        (&json!("stop_sequence"), &json!(" the "))
    );
    assert!(
        !answer["content"][0]["text"]
            .as_str()
            .unwrap()
            .contains(" the ")
    );
    assert!(answer["usage"]["output_tokens"].as_u64().unwrap() < 20);

    let answer = client.message(&params_with("x", json!({"stop_sequences": ["zzz"]})));
    assert_eq!(
        (&answer["stop_reason"], &answer["stop_sequence"]),
        (&json!("end_turn"), &Value::Null)
    );

    // The window of 200,000 tokens has room for 50 more.
    let long = params_with(&words(199_950), json!({"model": "claude-haiku-4-5"}));
    let answer = client.message(&long);
    assert_eq!(answer["stop_reason"], "model_context_window_exceeded");
    assert_eq!(answer["usage"]["output_tokens"], 50);
    let over = params_with(&words(200_001), json!({"model": "claude-haiku-4-5"}));
    let (status, body) = client.post("/v1/messages", over.to_string());
    let message = "prompt is too long: 200001 tokens > 200000 maximum";
    assert_eq!((status, &body["error"]["message"]), (400, &json!(message)));

    let mut refusing = Client::new(Config {
        refusals: 1.0,
        ..Config::default()
    });
    let answer = refusing.message(&params("x"));
    assert_eq!(answer["stop_reason"], "refusal");
    assert_eq!(answer["stop_details"]["type"], "refusal");
}

#[test]
fn an_echo_gives_the_users_text_back() {
    let mut client = Client::new(Config {
        answers: Answers {
            mode: AnswerMode::Echo,
            ..Answers::default()
        },
        ..Config::default()
    });
    let answer = client.message(&params_with(
        "“Hi”\n\"there\"",
        json!({"model": "claude-opus-4-8"}),
    ));
    assert_eq!(answer["content"][0]["text"], "“Hi”\n\"there\"");
    let content = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
    let answer = client.message(&params_with(
        "",
        json!({"messages": [{"role": "user", "content": content}]}),
    ));
    assert_eq!(answer["content"][0]["text"], "a\nb");
}

const RULES: &str = include_str!("../../examples/answers.toml");

#[test]
fn rules_decide_what_is_answered() {
    let mut client = ruled(RULES);
    let mut ask = |text: &str| client.message(&params(text));
    let answer = ask("Say hello, please.");
    assert_eq!(answer["content"][0]["text"], "Hello from the simulator.");
    assert_eq!(
        (&answer["stop_reason"], &answer["usage"]["output_tokens"]),
        (&json!("end_turn"), &json!(5))
    );
    let answer = ask("Classify: I love it");
    let text = answer["content"][0]["text"].as_str().unwrap();
    let said: Value = serde_json::from_str(text).unwrap();
    assert_eq!(said, json!({"label": "positive", "score": 0.9}));
    let answer = ask("WEATHER in Paris?");
    assert_eq!(answer["content"][0]["name"], "get_weather");
    assert_eq!(
        (&answer["content"][0]["input"], &answer["stop_reason"]),
        (&json!({"city": "Paris"}), &json!("tool_use"))
    );
    let answer = ask("Something forbidden");
    assert_eq!(
        (
            &answer["stop_reason"],
            answer["content"].as_array().unwrap().len()
        ),
        (&json!("refusal"), 1)
    );
    let answer = ask("a very long story");
    assert_eq!(
        (&answer["stop_reason"], &answer["usage"]["output_tokens"]),
        (&json!("max_tokens"), &json!(1_000))
    );
    let (status, body) = client.post("/v1/messages", params("break down").to_string());
    assert_eq!(
        (status, &body["error"]["type"]),
        (529, &json!("overloaded_error"))
    );
    let answer = client.message(&params("nothing of all that"));
    assert_eq!(answer["stop_reason"], "end_turn");
}

#[test]
fn rules_look_at_the_model_and_set_the_pace() {
    let mut client = ruled(
        r#"
        [[rule]]
        model = "claude-haiku-4-5"
        text = "small"
        thinking = "Let me see."
        first_token_ms = 10
        tokens_per_second = 0

        [[rule]]
        text = "other"
        stop_sequence = "END"
        "#,
    );
    let small = params_with("x", json!({"model": "claude-haiku-4-5-20251001"}));
    assert_eq!(
        client.message(&small)["content"],
        json!([{"type": "text", "text": "small"}])
    );
    let small = params_with(
        "x",
        json!({"model": "claude-haiku-4-5", "max_tokens": 4_000,
        "thinking": {"type": "enabled", "budget_tokens": 2_000}}),
    );
    let call = offpeak_sim::Request::new("POST", "/v1/messages")
        .signed("key")
        .body(small.to_string());
    let reply = client.send(&call);
    assert!(
        reply.at - client.now <= 40_000,
        "the overhead of every call is the least"
    );
    let message = crate::harness::value(reply);
    assert_eq!(message["content"][0]["thinking"], "Let me see.");
    let other = client.message(&params("x"));
    assert_eq!(
        (&other["content"][0]["text"], &other["stop_sequence"]),
        (&json!("other"), &json!("END"))
    );
}

#[test]
fn rows_of_a_batch_are_answered_alike() {
    let rules = format!(
        "{RULES}\n[[rule]]\ncontains = \"invalid\"\nerror = {{ type = \"invalid_request_error\", message = \"No.\" }}\n"
    );
    let schema = json!({"type": "object", "properties": {"name": {"type": "string"}},
        "required": ["name"], "additionalProperties": false});
    let requests = [
        params("plain"),
        params_with("thinks", json!({"model": "claude-opus-5"})),
        params_with("calls", json!({"tools": weather()})),
        params_with(
            "formats",
            json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}}),
        ),
        params_with("stops", json!({"stop_sequences": [" the "]})),
        params("Say hello, please."),
        params("Something forbidden"),
    ];
    let mut rows: Vec<Value> = requests
        .iter()
        .enumerate()
        .map(|(i, params)| row(&i.to_string(), params))
        .collect();
    rows.push(row("overloaded", &params("break down")));
    rows.push(row("invalid", &params("invalid")));
    let mut client = ruled(&rules);
    let id = client.create(&rows);
    client.wait(crate::harness::HOUR);
    let (lines, again) = (client.results(&id), client.results(&id));
    assert_eq!(lines, again, "every download says the same");
    let find = |id: &str| lines.iter().find(|line| line["custom_id"] == id).unwrap();
    for (i, params) in requests.iter().enumerate() {
        let row = &find(&i.to_string())["result"]["message"];
        let call = client.message(params);
        for same in ["content", "stop_reason", "stop_sequence", "stop_details"] {
            assert_eq!(row[same], call[same], "{params}");
        }
        assert_eq!(
            row["usage"]["output_tokens"],
            call["usage"]["output_tokens"]
        );
        assert_eq!(row["usage"]["service_tier"], "batch");
    }
    let error = &find("overloaded")["result"]["error"];
    assert_eq!(error["error"]["type"], "overloaded_error");
    assert!(
        error["request_id"]
            .as_str()
            .unwrap()
            .starts_with("workerreq_")
    );
    assert_eq!(
        find("invalid")["result"]["error"]["request_id"],
        Value::Null
    );
    assert_eq!(client.world.bill().rows(), 7, "errors are free");
}

#[test]
fn a_refusal_before_any_word_is_free() {
    let mut client = ruled("[[rule]]\ncontains = \"no\"\ntext = \"\"\nstop_reason = \"refusal\"\n");
    let answer = client.message(&params("no"));
    assert_eq!(
        (&answer["content"], &answer["stop_reason"]),
        (&json!([]), &json!("refusal"))
    );
    assert_eq!(answer["usage"]["input_tokens"], 0);
    let line = client.run(&[row("a", &params("no"))]).remove(0);
    assert_eq!(line["result"]["message"]["stop_reason"], "refusal");
    assert_eq!(client.world.bill().total(), 0);
}

#[test]
fn a_schema_costs_tokens() {
    let mut client = client();
    let schema = json!({"type": "object", "properties": {"name": {"type": "string"}},
        "required": ["name"], "additionalProperties": false});
    let format = json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}});
    let plain = client.message(&params("x"))["usage"]["input_tokens"].as_u64();
    let formatted = client.message(&params_with("x", format))["usage"]["input_tokens"].as_u64();
    assert!(formatted > plain.map(|tokens| tokens + 20));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn usage_is_what_is_billed(
        text in "\\PC{1,40}", max_tokens in 1u32..400, newer: bool, tools: bool, thinking: bool, stop: bool,
    ) {
        let mut request = params_with(&text, json!({"max_tokens": max_tokens}));
        request["model"] = json!(if newer { "claude-opus-4-8" } else { "claude-opus-4-6" });
        if tools {
            request["tools"] = weather();
        }
        if thinking {
            request["thinking"] = json!({"type": "adaptive"});
        }
        if stop {
            request["stop_sequences"] = json!(["the", "a"]);
        }
        let mut client = client();
        let answer = client.message(&request);
        let usage = &answer["usage"];
        let output = usage["output_tokens"].as_u64().unwrap();
        let thought = usage["output_tokens_details"]["thinking_tokens"].as_u64().unwrap();
        prop_assert!((1..=u64::from(max_tokens)).contains(&output));
        prop_assert!(thought <= output);
        let line = client.world.bill().lines().next().unwrap();
        prop_assert_eq!(u64::from(line.tally.output), output);
        prop_assert_eq!(line.tally.prompt(), usage["input_tokens"].as_u64().unwrap());
        if answer["stop_reason"] == "max_tokens" {
            prop_assert_eq!(output, u64::from(max_tokens));
        }
    }
}
