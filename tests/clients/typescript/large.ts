// 100,000 long answers through the official client: nearly 2 GB of results, while neither it nor the simulator grows.
// Prints what it measured, and fails when either does. `run.sh large` starts the simulator with answers of this length.
import Anthropic from "@anthropic-ai/sdk";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import { KEY, Simulator } from "./simulator.ts";

const ROWS = Number(process.env["OFFPEAK_LARGE_ROWS"] ?? 100_000);
// What a process may gain between the first tenth of the download and its end; Node collects its garbage late.
const SLACK_MB = 120;

const server = process.env["OFFPEAK_SIM_PID"];
const mb = (pid: string, field = "VmRSS") => {
  const line = readFileSync(`/proc/${pid}/status`, "utf8").match(new RegExp(`^${field}:\\s+(\\d+)`, "m"));
  return Number(line?.[1]) / 1024;
};
const both = () => [mb("self"), mb(server ?? "self")] as const;

const sim = new Simulator();
await sim.reset();
const client = new Anthropic({ baseURL: sim.url, apiKey: KEY });
const params = {
  model: "claude-haiku-4-5",
  max_tokens: 8_000,
  messages: [{ role: "user" as const, content: "Write a long report." }],
};
const requests = Array.from({ length: ROWS }, (_, n) => ({ custom_id: `r${n}`, params }));
const { id } = await client.messages.batches.create({ requests });
await sim.advance(3_600);

let seen = 0;
let size = 0;
let early = both();
const begun = performance.now();
for await (const { result } of await client.messages.batches.results(id)) {
  assert.equal(result.type, "succeeded");
  const block = result.message.content[0];
  size += block?.type === "text" ? block.text.length : 0;
  seen += 1;
  if (seen === ROWS / 10) early = both();
}
const seconds = (performance.now() - begun) / 1_000;
const late = both();

assert.equal(seen, ROWS);
console.log(`typescript: ${(size / 1e9).toFixed(2)} GB of text read in ${seconds.toFixed(0)} s`);
for (const [at, name] of ["client", "simulator"].entries()) {
  const [before, after] = [early[at] ?? 0, late[at] ?? 0];
  console.log(`            ${name}: ${before.toFixed(0)} MB after a tenth, ${after.toFixed(0)} MB at the end`);
  assert.ok(after - before < SLACK_MB, `the ${name} grew`);
}
