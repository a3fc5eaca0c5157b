// Vercel's AI SDK: the newest major that Node 20 runs.
import { createAnthropic } from "@ai-sdk/anthropic";
import { APICallError, Output, generateText, stepCountIs, streamText, tool } from "ai";
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import * as z from "zod/v4";

import { KEY, Simulator } from "../typescript/simulator.ts";

const sim = new Simulator();
const model = createAnthropic({ baseURL: `${sim.url}/v1`, apiKey: KEY })("claude-haiku-4-5");
const prompt = "Why do leaves turn red?";

beforeEach(() => sim.reset());

test("text", async () => {
  const { text, usage, finishReason } = await generateText({ model, prompt, maxOutputTokens: 500 });
  assert.ok(text);
  assert.equal(finishReason, "stop");
  const cost = (usage.inputTokens ?? 0) * 1_000_000 + (usage.outputTokens ?? 0) * 5_000_000;
  assert.equal(await sim.billed(), BigInt(cost));
});

test("stream", async () => {
  const pieces: string[] = [];
  for await (const piece of streamText({ model, prompt, maxOutputTokens: 500 }).textStream) pieces.push(piece);
  assert.ok(pieces.length > 5);
  assert.equal(pieces.join(""), (await generateText({ model, prompt, maxOutputTokens: 500 })).text);
});

test("tool", async () => {
  const asked: string[] = [];
  const { text, steps } = await generateText({
    model,
    prompt: "What is the weather in Oslo?",
    maxOutputTokens: 500,
    stopWhen: stepCountIs(3),
    tools: {
      get_weather: tool({
        description: "The weather in a city.",
        inputSchema: z.object({ city: z.string() }),
        execute: ({ city }) => {
          asked.push(city);
          return "7 degrees, rain";
        },
      }),
    },
  });
  assert.ok(asked.length > 0);
  assert.equal(steps.length, 2);
  assert.ok(text);
});

test("object", async () => {
  const schema = z.object({ label: z.enum(["a", "b"]), sure: z.boolean() });
  const { output } = await generateText({ model, prompt, maxOutputTokens: 500, output: Output.object({ schema }) });
  schema.parse(output);
});

test("error", async () => {
  await sim.fault({ endpoint: "messages", status: 529 });
  await assert.rejects(generateText({ model, prompt, maxRetries: 0 }), (error) => {
    assert.ok(APICallError.isInstance(error));
    assert.equal(error.statusCode, 529);
    assert.ok(error.isRetryable);
    return true;
  });
});
