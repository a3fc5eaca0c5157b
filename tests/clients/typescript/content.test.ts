// Tools, structured outputs and thinking.
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import type { MessageParam, Tool } from "@anthropic-ai/sdk/resources/messages";
import assert from "node:assert/strict";
import { test } from "node:test";
import * as z from "zod/v4";

import { ASK, HAIKU, client, freshWorlds, sim } from "./world.ts";

freshWorlds();

const weather: Tool = {
  name: "get_weather",
  description: "The weather in a city.",
  input_schema: {
    type: "object",
    properties: { city: { type: "string" }, unit: { type: "string", enum: ["celsius", "fahrenheit"] } },
    required: ["city", "unit"],
  },
};

test("tool loop: the model calls, the result goes back, text comes", async () => {
  const messages: MessageParam[] = [{ role: "user", content: "What is the weather in Oslo?" }];
  const first = await client.messages.create({ model: HAIKU, max_tokens: 500, tools: [weather], messages });
  assert.equal(first.stop_reason, "tool_use");
  const calls = first.content.filter((block) => block.type === "tool_use"); // may be parallel
  const results = calls.map((call) => {
    assert.equal(call.name, "get_weather");
    const input = z.object({ city: z.string(), unit: z.enum(["celsius", "fahrenheit"]) }).parse(call.input);
    return { type: "tool_result" as const, tool_use_id: call.id, content: `7 degrees in ${input.city}` };
  });
  messages.push({ role: "assistant", content: first.content }, { role: "user", content: results });
  const second = await client.messages.create({ model: HAIKU, max_tokens: 500, tools: [weather], messages });
  assert.equal(second.stop_reason, "end_turn");
  assert.equal(second.content.at(-1)?.type, "text");
  assert.equal((await sim.bill()).calls, 2);

  const streamed = await client.messages
    .stream({ model: HAIKU, max_tokens: 500, tools: [weather], messages: messages.slice(0, 1) })
    .finalMessage();
  assert.deepEqual(streamed.content.filter((block) => block.type === "tool_use"), calls);
});

test("the client's own tool runner", async () => {
  const asked: string[] = [];
  const tool = betaZodTool({
    name: "get_weather",
    description: "The weather in a city.",
    inputSchema: z.object({ city: z.string() }),
    run: ({ city }) => {
      asked.push(city);
      return "7 degrees, rain";
    },
  });
  const final = await client.beta.messages.toolRunner({ ...ASK, tools: [tool] });
  assert.ok(asked.length > 0);
  assert.equal(final.stop_reason, "end_turn");
});

const Order = z.object({
  customer: z.string(),
  urgent: z.boolean(),
  items: z.array(z.object({ name: z.string(), colour: z.enum(["red", "blue"]), count: z.int() })),
  note: z.string().nullable(),
});

test("structured outputs", async () => {
  const ask = { ...ASK, max_tokens: 2_000, output_config: { format: zodOutputFormat(Order) } };
  const message = await client.messages.parse(ask);
  assert.ok(message.parsed_output);
  Order.parse(message.parsed_output);
  const streamed = await client.messages.stream(ask).finalMessage();
  assert.deepEqual(streamed.parsed_output, message.parsed_output);
});

test("thinking, whole and in a stream", async () => {
  const ask = { ...ASK, max_tokens: 4_000, thinking: { type: "enabled" as const, budget_tokens: 1_024 } };
  const whole = await client.messages.create(ask);
  assert.deepEqual(
    whole.content.map((block) => block.type),
    ["thinking", "text"],
  );
  assert.ok((whole.usage.output_tokens_details?.thinking_tokens ?? 0) > 0);
  const streamed = await client.messages.stream(ask).finalMessage();
  assert.deepEqual(streamed.content, whole.content, "signature and all");
});
