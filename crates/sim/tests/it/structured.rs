//! Generated JSON conforms to the schemas it is generated for, whatever they are: structured answers to
//! those that the API takes for an output, inputs of tools to any.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::conform::conforms;
use crate::harness::{client, params_with};

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({"type": "string"})),
        Just(json!({"type": "integer"})),
        Just(json!({"type": "number"})),
        Just(json!({"type": "boolean"})),
        Just(json!({"type": "null"})),
        Just(json!({"type": ["string", "null"]})),
        Just(json!({"enum": ["a", "b\n", 3, null]})),
        Just(json!({"type": "string", "enum": ["x", "y"]})),
        Just(json!({"const": {"k": [1]}})),
        Just(json!({"$ref": "#/$defs/shared"})),
        prop::sample::select(vec![
            "date-time",
            "time",
            "date",
            "duration",
            "email",
            "hostname",
            "uri",
            "ipv4",
            "ipv6",
            "uuid",
        ])
        .prop_map(|format| json!({"type": "string", "format": format})),
    ]
}

/// What structured outputs allow, nested.
fn schema() -> impl Strategy<Value = Value> {
    let node = leaf().prop_recursive(4, 24, 4, |inner| {
        let object = (
            prop::collection::btree_map("[a-zé\"\\\\]{1,5}", inner.clone(), 0..4),
            prop::collection::vec(any::<bool>(), 4),
        );
        let object = object.prop_map(|(properties, wanted)| {
            let required: Vec<&String> = properties.keys().zip(wanted).filter(|(_, w)| *w).map(|(k, _)| k).collect();
            json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
        });
        prop_oneof![
            2 => object,
            1 => (inner.clone(), 0..2u8).prop_map(|(items, least)| json!({"type": "array", "items": items, "minItems": least})),
            1 => prop::collection::vec(inner.clone(), 1..3).prop_map(|branches| json!({"anyOf": branches})),
            1 => inner.prop_map(|part| json!({"allOf": [part]})),
        ]
    });
    node.prop_map(|node| {
        json!({
            "type": "object",
            "properties": {"answer": node},
            "required": ["answer"],
            "additionalProperties": false,
            "$defs": {"shared": {"type": "object", "properties": {"n": {"type": "integer"}},
                "required": ["n"], "additionalProperties": false}},
        })
    })
}

/// What schemas of tools may have beyond that.
fn loose() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-50i32..50, 0u32..40).prop_map(|(low, width)| json!({"type": "integer", "minimum": low, "maximum": i64::from(low) + i64::from(width)})),
        (-50i32..50).prop_map(|low| json!({"type": "integer", "exclusiveMinimum": low})),
        (-50i32..50).prop_map(|high| json!({"type": "number", "exclusiveMaximum": high})),
        Just(json!({"type": "number", "minimum": 0, "maximum": 1})),
        Just(json!({"type": "integer", "multipleOf": 7, "minimum": 20, "maximum": 60})),
        (0usize..30, 0usize..30).prop_map(|(a, b)| json!({"type": "string", "minLength": a, "maxLength": a + b})),
        prop::sample::select(vec!["^[A-Z]{3}-\\d{2,4}$", "(red|green)+", "^\\w+@x\\.org$", "[^a-z]{2}"])
            .prop_map(|pattern| json!({"type": "string", "pattern": pattern})),
        Just(json!({"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": true, "maxItems": 3})),
        (0u8..6).prop_map(|n| json!({"type": "array", "items": {"type": "boolean"}, "minItems": n, "maxItems": n + 1})),
        Just(json!({"oneOf": [{"type": "string"}, {"type": "integer"}]})),
        Just(json!({"type": "object", "additionalProperties": {"type": "integer"}})),
        Just(json!({"type": "object", "required": ["unlisted"]})),
        Just(json!({"$ref": "#/$defs/tree"})),
        Just(json!({"properties": {"a": {"type": "string"}}, "required": ["a"]})),
    ]
    .prop_map(|part| {
        json!({
            "type": "object",
            "properties": {"value": part},
            "required": ["value"],
            "$defs": {"tree": {"type": "object", "properties": {
                "name": {"type": "string"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/tree"}},
            }, "required": ["name", "children"]}},
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn structured_answers_conform(schema in schema(), text in "[a-z]{1,8}") {
        let mut request = params_with(&text, json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}}));
        request["max_tokens"] = json!(64_000);
        let (status, answer) = client().post("/v1/messages", request.to_string());
        if status == 400 {
            let message = answer["error"]["message"].as_str().unwrap();
            prop_assert!(message.starts_with("Schemas contains too many"), "{}", message);
            return Ok(());
        }
        prop_assert_eq!(&answer["stop_reason"], "end_turn");
        let said: Value = serde_json::from_str(answer["content"][0]["text"].as_str().unwrap()).unwrap();
        prop_assert_eq!(conforms(&said, &schema, &schema), Ok(()));
    }

    #[test]
    fn inputs_of_tools_conform(schema in loose(), text in "[a-z]{1,8}") {
        let tools = json!({"tools": [{"name": "t", "input_schema": schema}],
            "tool_choice": {"type": "any"}, "max_tokens": 64_000});
        let answer = client().message(&params_with(&text, tools));
        prop_assert_eq!(&answer["stop_reason"], "tool_use");
        for call in answer["content"].as_array().unwrap() {
            prop_assert_eq!(conforms(&call["input"], &schema, &schema), Ok(()));
        }
    }
}
