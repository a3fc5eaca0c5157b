// One answer at a time: create, count_tokens, keys and versions, the prompt cache.
import Anthropic, { BadRequestError } from "@anthropic-ai/sdk";
import assert from "node:assert/strict";
import { test } from "node:test";

import { KEY } from "./simulator.ts";
import { ASK, HAIKU, HOUR, client, freshWorlds, sim } from "./world.ts";

freshWorlds();

test("create, its headers and its price", async () => {
  const { data: message, response, request_id } = await client.messages.create(ASK).withResponse();
  assert.equal(message.type, "message");
  assert.equal(message.model, "claude-haiku-4-5-20251001");
  assert.equal(message.stop_reason, "end_turn");
  assert.equal(message.content[0]?.type, "text");
  assert.equal(message.usage.service_tier, "standard");
  assert.match(request_id ?? "", /^req_/);
  assert.match(response.headers.get("anthropic-workspace-id") ?? "", /^wrkspc_/);
  assert.ok(Number(response.headers.get("anthropic-ratelimit-requests-limit")) > 0);
  const { input_tokens, output_tokens } = message.usage;
  assert.equal(await sim.billed(), BigInt(input_tokens * 1_000_000 + output_tokens * 5_000_000));
});

test("many at once", async () => {
  const ask = (n: number) => client.messages.create({ ...ASK, messages: [{ role: "user", content: `Number ${n}.` }] });
  const answers = await Promise.all(Array.from({ length: 20 }, (_, n) => ask(n)));
  assert.equal(new Set(answers.map((answer) => JSON.stringify(answer.content))).size, 20);
  assert.equal((await sim.bill()).calls, 20);
});

test("count_tokens", async () => {
  const { model, messages } = ASK;
  const plain = await client.messages.countTokens({ model, messages });
  const longer = await client.beta.messages.countTokens({ model, messages, system: "Be brief." });
  assert.equal(plain.input_tokens, (await client.messages.create(ASK)).usage.input_tokens);
  assert.ok(longer.input_tokens > plain.input_tokens);
  assert.equal((await sim.bill()).calls, 1, "counting is free");
});

test("the beta namespace and beta headers", async () => {
  await client.beta.messages.create({ ...ASK, betas: ["context-management-2025-06-27"] });
  assert.equal((await sim.requests()).at(-1)?.path, "/v1/messages");
  await assert.rejects(client.beta.messages.create({ ...ASK, betas: ["no-such-beta-2026-01-01"] }), BadRequestError);
});

test("key styles", async () => {
  for (const options of [{ apiKey: KEY }, { authToken: KEY }, { apiKey: KEY, defaultHeaders: { "x-api-key": KEY } }]) {
    const message = await new Anthropic({ baseURL: sim.url, ...options }).messages.create(ASK);
    assert.equal(message.role, "assistant");
    assert.equal((await sim.requests()).at(-1)?.key, KEY.slice(-4));
  }
});

test("API versions", async () => {
  const warm = { ...ASK, temperature: 1 };
  await assert.rejects(client.messages.create(warm), /temperature/);
  const old = { headers: { "anthropic-version": "2023-06-01" } };
  assert.equal((await client.messages.create(warm, old)).type, "message");
  await assert.rejects(client.messages.create(ASK, { headers: { "anthropic-version": "2024-01-01" } }), BadRequestError);
});

test("the prompt cache", async () => {
  const ask = async (text: string) => {
    const message = await client.messages.create({
      model: HAIKU,
      max_tokens: 5,
      system: [
        { type: "text", text: "Know all about leaves. ".repeat(1_500), cache_control: { type: "ephemeral", ttl: "1h" } },
      ],
      messages: [{ role: "user", content: text }],
    });
    return message.usage;
  };
  const written = (await ask("one")).cache_creation?.ephemeral_1h_input_tokens ?? 0;
  assert.ok(written > 4_096);
  await sim.advance(HOUR - 600);
  assert.equal((await ask("two")).cache_read_input_tokens, written);
  await sim.advance(2 * HOUR);
  assert.equal((await ask("three")).cache_read_input_tokens, 0);
});
