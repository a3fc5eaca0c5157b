//! Every way in which a single member or block of a request can be wrong, and the words for it: one
//! table. What depends on how the request was sent is in `validation`.

use serde_json::{Value, json};

use crate::harness::{client, params_with};

/// Bodies (as changes to a good one) with the words for what is wrong in them.
fn refusals() -> Vec<(Value, String)> {
    let say = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    let block = |block: Value| say(json!([{"type": "text", "text": "x"}, block]));
    let turns = |turns: Value| json!({ "messages": turns });
    let tool = |tool: Value| json!({ "tools": [tool] });
    let named = |name: &str| json!({"name": name, "input_schema": {"type": "object"}});
    let call = |id: &str| json!({"role": "assistant", "content": [{"type": "tool_use", "id": id, "name": "t", "input": {}}]});
    let result =
        |id: &str| json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": id}]});
    let user = || json!({"role": "user", "content": "x"});
    let format = |schema: Value| json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}});
    let object = |properties: Value| json!({"type": "object", "properties": properties, "additionalProperties": false});
    let image = |source: Value| block(json!({"type": "image", "source": source}));
    let extra = "Extra inputs are not permitted";
    let tags = "'advisor_tool_result', 'bash_code_execution_tool_result', \
        'code_execution_tool_result', 'compaction', 'container_upload', 'document', \
        'fallback', 'image', 'mcp_tool_listing', 'mcp_tool_result', 'mcp_tool_use', \
        'redacted_thinking', 'search_result', 'server_tool_use', 'text', \
        'text_editor_code_execution_tool_result', 'thinking', 'tool_addition', \
        'tool_removal', 'tool_result', 'tool_search_tool_result', 'tool_use', \
        'web_fetch_tool_result', 'web_search_tool_result'";
    let cases: Vec<(Value, &str)> = vec![
        // Members of the body.
        (
            json!({"stream": "yes"}),
            "stream: Input should be a valid boolean",
        ),
        (
            json!({"temperature": 1.5}),
            "temperature: Input should be less than or equal to 1",
        ),
        (
            json!({"top_k": -1}),
            "top_k: Input should be greater than or equal to 0",
        ),
        (
            json!({"max_tokens": -1}),
            "max_tokens: Input should be greater than or equal to 0",
        ),
        (
            json!({"stop_sequences": [" "]}),
            "stop_sequences: each stop sequence must contain non-whitespace",
        ),
        (
            json!({"stop_sequences": [7]}),
            "stop_sequences.0: Input should be a valid string",
        ),
        (
            json!({"metadata": {"user": "x"}}),
            "metadata.user: Extra inputs are not permitted",
        ),
        (
            json!({"metadata": {"user_id": 7}}),
            "metadata.user_id: Input should be a valid string",
        ),
        (
            json!({"service_tier": "batch"}),
            "service_tier: Input should be 'auto' or 'standard_only'",
        ),
        (
            json!({"output_config": {"efort": "low"}}),
            "output_config.efort: Extra inputs are not permitted",
        ),
        (json!({"system": 7}), "system: Input should be a valid list"),
        (
            json!({"system": [{"type": "text", "text": ""}]}),
            "system: text content blocks must be non-empty",
        ),
        (
            json!({"cache_control": {"type": "ephemeral", "ttl": "2h"}}),
            "cache_control.ephemeral.ttl: Input should be '5m' or '1h'",
        ),
        // Messages and their blocks.
        (
            json!({"messages": [{"content": "x"}]}),
            "messages.0.role: Field required",
        ),
        (
            json!({"messages": [{"role": "user"}]}),
            "messages.0.content: Field required",
        ),
        (
            json!({"messages": [{"role": "tool", "content": "x"}]}),
            "messages.0.role: Input should be 'user' or 'assistant'",
        ),
        (
            json!({"messages": [{"role": "user", "content": "x", "name": "y"}]}),
            "messages.0.name: Extra inputs are not permitted",
        ),
        (
            say(json!(7)),
            "messages.0.content: Input should be a valid list",
        ),
        (
            say(json!(["x"])),
            "messages.0.content.0: Input should be a valid dictionary",
        ),
        (
            turns(json!([{"role": "system", "content": "x"}, user()])),
            "messages.0: use the top-level 'system' parameter for the initial system prompt",
        ),
        (
            turns(json!([user(), {"role": "system", "content": "x"}, user()])),
            "role 'system' is not supported on this model",
        ),
        (
            block(json!({"text": "x"})),
            "messages.0.content.1.type: Field required",
        ),
        (
            block(json!({"type": "text"})),
            "messages.0.content.1.text.text: Field required",
        ),
        (
            block(json!({"type": "text", "text": 7})),
            "messages.0.content.1.text.text: Input should be a valid string",
        ),
        (
            block(json!({"type": "text", "text": "x", "txt": 7})),
            "messages.0.content.1.text.txt: Extra inputs are not permitted",
        ),
        (
            block(json!({"type": "text", "text": "x", "cache_control": {"type": "forever"}})),
            "messages.0.content.1.text.cache_control: Input tag 'forever' found using 'type' does not match any of the expected tags: 'ephemeral'",
        ),
        (
            block(
                json!({"type": "thinking", "thinking": "x", "signature": "y", "cache_control": {"type": "ephemeral"}}),
            ),
            "messages.0.content.1.thinking.cache_control: Extra inputs are not permitted",
        ),
        (
            image(json!({"type": "base64", "media_type": "image/bmp", "data": ""})),
            "messages.0.content.1.image.source.base64.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'",
        ),
        (
            image(json!({"type": "base64", "media_type": "image/png"})),
            "messages.0.content.1.image.source.base64.data: Field required",
        ),
        (
            image(json!({"type": "url"})),
            "messages.0.content.1.image.source.url.url: Field required",
        ),
        (
            image(json!({"type": "ftp"})),
            "messages.0.content.1.image.source: Input tag 'ftp' found using 'type' does not match any of the expected tags: 'base64', 'file', 'url'",
        ),
        (
            block(
                json!({"type": "document", "source": {"type": "base64", "media_type": "text/plain", "data": ""}}),
            ),
            "messages.0.content.1.document.source.base64.media_type: Input should be 'application/pdf'",
        ),
        (
            block(json!({"type": "container_upload"})),
            "messages.0.content.1.container_upload.file_id: Field required",
        ),
        // Tools and their use.
        (
            turns(json!([user(), call("a b"), result("a b")])),
            "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'",
        ),
        (
            turns(json!([user(), call("a"), user()])),
            "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: a. \
             Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
        ),
        (
            turns(json!([user(), result("a")])),
            "messages.1.content.0: unexpected `tool_use_id` found in `tool_result` blocks: a. Each \
             `tool_result` block must have a corresponding `tool_use` block in the previous message.",
        ),
        (
            turns(json!([user(), call("a"), result("a"), result("a")])),
            "messages.3.content.0: each tool_use must have a single result. Found multiple `tool_result` blocks with id: a",
        ),
        (
            turns(json!([
                user(),
                call("a"),
                result("a"),
                call("a"),
                result("a")
            ])),
            "messages: `tool_use` ids must be unique",
        ),
        (
            turns(
                json!([user(), call("a"), {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a",
            "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/tiff", "data": ""}}]}]}]),
            ),
            "messages.2.content.0.tool_result.content.0.image.source.base64.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'",
        ),
        (
            tool(named("two words")),
            "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'",
        ),
        (
            tool(json!({"name": "t"})),
            "tools.0.custom.input_schema: Field required",
        ),
        (
            tool(json!({"name": "t", "input_schema": {}})),
            "tools.0.custom.input_schema.type: Field required",
        ),
        (
            tool(json!({"name": "t", "input_schema": {"type": "string"}})),
            "tools.0.custom.input_schema.type: Input should be 'object'",
        ),
        (
            tool(json!({"name": "t", "function": {}, "input_schema": {"type": "object"}})),
            "tools.0.custom.function: Extra inputs are not permitted",
        ),
        (
            json!({"tools": [named("t"), named("t")]}),
            "tools: Tool names must be unique.",
        ),
        (
            json!({"tool_choice": {"type": "auto"}}),
            "tool_choice: may only be specified while providing tools.",
        ),
        (
            json!({"tools": [named("t")], "tool_choice": {"type": "tool"}}),
            "tool_choice.tool.name: Field required",
        ),
        (
            json!({"tools": [named("t")], "tool_choice": {"type": "tool", "name": "u"}}),
            "Tool 'u' not found in provided tools",
        ),
        (
            json!({"tools": [named("t")], "tool_choice": {"type": "some"}}),
            "tool_choice: Input tag 'some' found using 'type' does not match any of the expected tags: 'any', 'auto', 'none', 'tool'",
        ),
        // Thinking and effort.
        (
            json!({"thinking": {"type": "enabled"}}),
            "thinking.enabled.budget_tokens: Field required",
        ),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 100}}),
            "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
        ),
        (
            json!({"max_tokens": 2_000, "temperature": 0.5, "thinking": {"type": "enabled", "budget_tokens": 1_024}}),
            "`temperature` may only be set to 1 when thinking is enabled.",
        ),
        (
            json!({"max_tokens": 2_000, "tools": [named("t")], "tool_choice": {"type": "any"},
            "thinking": {"type": "enabled", "budget_tokens": 1_024}}),
            "Thinking may not be enabled when tool_choice forces tool use.",
        ),
        (
            json!({"thinking": {"type": "adaptive", "display": "full"}}),
            "thinking.adaptive.display: Input should be 'summarized' or 'omitted'",
        ),
        (
            json!({"output_config": {"effort": "huge"}}),
            "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'",
        ),
        (
            json!({"output_config": {"effort": "xhigh"}}),
            "This model does not support effort level 'xhigh'. Supported levels: high, low, max, medium.",
        ),
        (
            json!({"model": "claude-haiku-4-5", "output_config": {"effort": "low"}}),
            "This model does not support the effort parameter.",
        ),
        (
            json!({"model": "claude-opus-5", "temperature": 0.5}),
            "`temperature` is deprecated for this model.",
        ),
        // Structured outputs.
        (
            format(json!({"type": "object"})),
            "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false",
        ),
        (
            format(json!({"type": "object", "additionalProperties": true})),
            "output_config.format.schema: For 'object' type, 'additionalProperties: true' is not supported. Please set 'additionalProperties' to false",
        ),
        (
            format(object(
                json!({"n": {"type": "integer", "minimum": 0, "maximum": 9}}),
            )),
            "output_config.format.schema: For 'integer' type, properties maximum, minimum are not supported",
        ),
        (
            format(object(json!({"s": {"type": "string", "maxLength": 9}}))),
            "output_config.format.schema: For 'string' type, property 'maxLength' is not supported",
        ),
        (
            format(object(
                json!({"a": {"type": "array", "minItems": 2, "items": {"type": "null"}}}),
            )),
            "output_config.format.schema: For 'array' type, 'minItems' values other than 0 or 1 are not supported",
        ),
        (
            format(object(json!({"x": {"oneOf": [{"type": "null"}]}}))),
            "output_config.format.schema: Schema type 'oneOf' is not supported",
        ),
        (
            format(object(json!({"x": {}}))),
            "output_config.format.schema: Schema type is missing for schema: {}",
        ),
        (
            format(object(json!({"x": {"$ref": "https://example.com/x"}}))),
            "output_config.format.schema: External $ref 'https://example.com/x' is not supported",
        ),
        (
            format(
                json!({"$ref": "#/$defs/node", "$defs": {"node": object(json!({"next": {"$ref": "#/$defs/node"}}))}}),
            ),
            "output_config.format.schema: Circular reference detected in schema definitions: #/$defs/node. Recursive schemas are not supported",
        ),
        (
            format(object(
                (0..25)
                    .map(|i| (format!("p{i}"), json!({"type": "null"})))
                    .collect(),
            )),
            "Schemas contains too many optional parameters (25), which would make grammar compilation \
             inefficient. Reduce the number of optional parameters in your tool schemas (limit: 24).",
        ),
        (
            json!({"tools": (0..21).map(|i| json!({"name": format!("t{i}"), "strict": true, "input_schema": object(json!({}))})).collect::<Vec<_>>()}),
            "Too many strict tools (21). The maximum number of strict tools supported is 20. Try \
             reducing the number of tools marked as strict.",
        ),
        (
            tool(json!({"name": "t", "strict": true, "input_schema": {"type": "object"}})),
            "tools.0.custom: For 'object' type, 'additionalProperties' must be explicitly set to false",
        ),
    ];
    let mut cases: Vec<(Value, String)> = cases
        .into_iter()
        .map(|(body, words)| (body, words.to_owned()))
        .collect();
    cases.push((
        block(json!({"type": "input_text", "text": "x"})),
        format!("messages.0.content.1: Input tag 'input_text' found using 'type' does not match any of the expected tags: {tags}"),
    ));
    cases.push((json!({"betas": ["x"]}), format!("betas: {extra}")));
    cases
}

#[test]
fn every_refusal_names_its_place() {
    let mut client = client();
    for (changes, message) in refusals() {
        let body = params_with("x", changes.clone());
        let (status, answer) = client.post("/v1/messages", body.to_string());
        assert_eq!(answer["error"]["message"], message.as_str(), "{changes}");
        assert_eq!(
            (status, &answer["error"]["type"]),
            (400, &json!("invalid_request_error"))
        );
    }
    assert!(client.world.bill().is_empty());
}
