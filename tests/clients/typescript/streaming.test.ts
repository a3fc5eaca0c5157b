// Streams: the helper and its accumulated message, raw events, and what breaks on the way.
import { APIError, AnthropicError } from "@anthropic-ai/sdk";
import assert from "node:assert/strict";
import { test } from "node:test";

import { ASK, all, client, freshWorlds, once, sim } from "./world.ts";

freshWorlds();

test("the accumulated message is the one that create returns", async () => {
  const whole = await client.messages.create(ASK);
  const billed = await sim.billed();
  const pieces: string[] = [];
  const final = await client.messages
    .stream(ASK)
    .on("text", (piece) => pieces.push(piece))
    .finalMessage();
  assert.ok(pieces.length > 5);
  assert.equal(whole.content[0]?.type === "text" && whole.content[0].text, pieces.join(""));
  assert.deepEqual(final.content, whole.content);
  assert.deepEqual(final.usage, whole.usage);
  assert.equal(final.stop_reason, whole.stop_reason);
  assert.equal(await sim.billed(), 2n * billed, "a stream costs what an answer costs");
});

test("raw events come in the documented order", async () => {
  const events = await all(await client.messages.create({ ...ASK, stream: true }));
  const kinds = events.map((event) => event.type);
  const runs = kinds.filter((kind, at) => kind !== kinds[at - 1]);
  assert.deepEqual(runs, [
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
  ]);
});

test("streams side by side", async () => {
  const texts = await Promise.all(Array.from({ length: 8 }, () => client.messages.stream(ASK).finalText()));
  assert.equal(new Set(texts).size, 1);
});

test("a stream that is aborted", async () => {
  const stream = client.messages.stream(ASK);
  stream.once("text", () => stream.abort());
  await assert.rejects(stream.finalMessage());
  assert.equal((await client.messages.create(ASK)).type, "message");
});

test("an error after the 200", async () => {
  await sim.fault({ endpoint: "messages", effect: "stream_error", first: 1 });
  await assert.rejects(once.messages.stream(ASK).finalMessage(), (error) => {
    assert.ok(error instanceof APIError);
    assert.equal(error.type, "overloaded_error");
    return true;
  });
});

test("a stream that breaks off", async () => {
  await sim.fault({ endpoint: "messages", effect: "stream_truncated", first: 1 });
  await assert.rejects(once.messages.stream(ASK).finalMessage(), AnthropicError);
});
