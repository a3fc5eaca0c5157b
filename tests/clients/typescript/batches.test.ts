// Models and batches: pages, and a day of batches in a moment.
import { AnthropicError, BadRequestError, NotFoundError } from "@anthropic-ai/sdk";
import assert from "node:assert/strict";
import { test } from "node:test";

import { HAIKU, HOUR, all, client, freshWorlds, sim } from "./world.ts";

freshWorlds();

const row = (custom_id: string, model = HAIKU) => ({
  custom_id,
  params: { model, max_tokens: 100, messages: [{ role: "user" as const, content: `Label document ${custom_id}.` }] },
});
const rows = (count: number) => Array.from({ length: count }, (_, n) => row(`r${n}`));

test("models over many pages", async () => {
  const everything = (await client.models.list({ limit: 1_000 })).data;
  assert.deepEqual(
    (await all(client.models.list({ limit: 3 }))).map((model) => model.id),
    everything.map((model) => model.id),
  );
  const model = await client.models.retrieve(HAIKU);
  assert.equal(model.display_name, "Claude Haiku 4.5");
  assert.equal(model.capabilities?.batch.supported, true);
  await assert.rejects(client.models.retrieve("no-such-model"), NotFoundError);
});

test("create, poll, results, delete", async () => {
  let batch = await client.messages.batches.create({ requests: [...rows(30), row("bad", "no-such")] });
  assert.equal(batch.request_counts.processing, 31);
  await assert.rejects(client.messages.batches.results(batch.id), AnthropicError);
  await assert.rejects(client.messages.batches.delete(batch.id), BadRequestError);
  for (let polls = 0; batch.processing_status !== "ended"; polls += 1) {
    assert.ok(polls < 12, "less than an hour");
    await sim.advance(300);
    batch = await client.messages.batches.retrieve(batch.id);
  }
  assert.deepEqual(batch.request_counts, { processing: 0, succeeded: 30, errored: 1, canceled: 0, expired: 0 });
  assert.ok(batch.results_url?.startsWith(sim.url));

  let cost = 0;
  const ids: string[] = [];
  for await (const { custom_id, result } of await client.messages.batches.results(batch.id)) {
    ids.push(custom_id);
    if (result.type === "succeeded") {
      assert.equal(result.message.usage.service_tier, "batch");
      cost += result.message.usage.input_tokens * 500_000 + result.message.usage.output_tokens * 2_500_000;
    } else {
      assert.equal(result.type === "errored" && result.error.error.type, "not_found_error");
    }
  }
  assert.deepEqual(ids.sort(), ["bad", ...rows(30).map(({ custom_id }) => custom_id)].sort());
  assert.equal(await sim.billed(), BigInt(cost), "half of every price, and nothing for the row that failed");

  assert.equal((await client.messages.batches.delete(batch.id)).type, "message_batch_deleted");
  await assert.rejects(client.messages.batches.retrieve(batch.id), NotFoundError);
});

test("cancel", async () => {
  const batch = await client.messages.batches.create({ requests: rows(200) });
  assert.equal((await client.messages.batches.cancel(batch.id)).processing_status, "canceling");
  await sim.advance(120);
  assert.equal((await client.messages.batches.retrieve(batch.id)).request_counts.canceled, 200);
  assert.equal(await sim.billed(), 0n);
});

test("list over many pages", async () => {
  const made: string[] = [];
  for (let n = 0; n < 110; n += 1) made.push((await client.messages.batches.create({ requests: rows(1) })).id);
  const listed = (await all(client.messages.batches.list())).map((batch) => batch.id);
  assert.deepEqual(listed, made.reverse());
});

test("the beta namespace", async () => {
  const batch = await client.beta.messages.batches.create({ requests: rows(3) });
  await sim.advance(HOUR);
  assert.equal((await all(await client.beta.messages.batches.results(batch.id))).length, 3);
});
