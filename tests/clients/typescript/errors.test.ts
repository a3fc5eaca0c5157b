// Every error becomes the client's own class; what it sends again, and what that costs.
import Anthropic, * as errors from "@anthropic-ai/sdk";
import assert from "node:assert/strict";
import { test } from "node:test";

import { ASK, HOUR, all, client, freshWorlds, once, sim } from "./world.ts";

freshWorlds();

for (const [status, expected, type] of [
  [403, errors.PermissionDeniedError, "permission_error"],
  [429, errors.RateLimitError, "rate_limit_error"],
  [500, errors.InternalServerError, "api_error"],
  [529, errors.OverloadedError, "overloaded_error"],
] as const) {
  test(`${status}`, async () => {
    await sim.fault({ endpoint: "messages", status, first: 1 });
    await assert.rejects(once.messages.create(ASK), (error) => {
      assert.ok(error instanceof expected);
      assert.equal(error.status, status);
      assert.equal(error.type, type);
      assert.match(error.requestID ?? "", /^req_/);
      return true;
    });
    assert.equal(await sim.billed(), 0n);
    assert.equal((await once.messages.create(ASK)).type, "message");
  });
}

test("400, 401, 403, 404 and 413 without being provoked", async () => {
  await assert.rejects(once.messages.create({ ...ASK, max_tokens: 9_999_999 }, { timeout: 10_000 }), errors.BadRequestError);
  const bad = new Anthropic({ baseURL: sim.url, apiKey: "sk-ant-invalid" });
  await assert.rejects(bad.messages.create(ASK), errors.AuthenticationError);
  const denied = new Anthropic({ baseURL: sim.url, apiKey: "sk-ant-denied" });
  await assert.rejects(denied.messages.create(ASK), errors.PermissionDeniedError);
  await assert.rejects(once.messages.create({ ...ASK, model: "no-such-model" }), errors.NotFoundError);
  await assert.rejects(once.messages.batches.retrieve("msgbatch_01none"), errors.NotFoundError);
  const huge = [{ role: "user" as const, content: "x".repeat(33_000_000) }];
  await assert.rejects(once.messages.create({ ...ASK, messages: huge }), errors.ContentTooLargeError);
});

test("a retry waits as long as it is told", async () => {
  await sim.fault({ endpoint: "messages", status: 429, retry_after: 2, first: 1 });
  const begun = performance.now();
  await client.messages.create(ASK);
  assert.ok(performance.now() - begun >= 2_000);
  assert.deepEqual(
    (await sim.requests()).map((request) => request.status),
    [429, 200],
  );
});

test("overload is retried twice, and x-should-retry wins over the status", async () => {
  await sim.fault({ endpoint: "messages", status: 529 });
  await assert.rejects(client.messages.create(ASK), errors.OverloadedError);
  assert.equal((await sim.requests()).length, 3);
  await sim.fault({ endpoint: "messages", status: 500, should_retry: false, first: 1 });
  await assert.rejects(client.messages.create(ASK), errors.InternalServerError);
  assert.equal((await sim.requests()).length, 4);
  await sim.fault({ endpoint: "messages", status: 400, should_retry: true, first: 1 });
  await client.messages.create(ASK);
  assert.equal((await sim.requests()).length, 6);
});

test("a lost answer is paid twice", async () => {
  // The client cannot know that the batch exists, creates it again, and both are billed.
  await sim.fault({ endpoint: "create", effect: "reset_after_accept", first: 1 });
  const requests = Array.from({ length: 5 }, (_, n) => ({ custom_id: `r${n}`, params: ASK }));
  await client.messages.batches.create({ requests });
  assert.equal((await all(client.messages.batches.list())).length, 2);
  await sim.advance(HOUR);
  const bill = await sim.bill();
  assert.deepEqual([bill.batches, bill.rows, bill.duplicates], [2, 10, 5]);
});

test("a download that breaks off", async () => {
  const requests = Array.from({ length: 50 }, (_, n) => ({ custom_id: `r${n}`, params: ASK }));
  const batch = await client.messages.batches.create({ requests });
  await sim.advance(HOUR);
  await sim.fault({ endpoint: "results", effect: "truncated", first: 1 });
  const download = async () => (await all(await client.messages.batches.results(batch.id))).length;
  await assert.rejects(download());
  assert.equal(await download(), 50);
});
