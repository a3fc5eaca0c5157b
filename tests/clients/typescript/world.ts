// A fresh simulated world and a client for it, for every test.
import Anthropic from "@anthropic-ai/sdk";
import { beforeEach } from "node:test";

import { KEY, Simulator } from "./simulator.ts";

export const sim = new Simulator();
export const client = new Anthropic({ baseURL: sim.url, apiKey: KEY });
export const once = client.withOptions({ maxRetries: 0 });

export const HAIKU = "claude-haiku-4-5";
export const ASK = {
  model: HAIKU,
  max_tokens: 400,
  messages: [{ role: "user" as const, content: "Why do leaves turn red in autumn?" }],
};

export const HOUR = 3_600;

export function freshWorlds(): void {
  beforeEach(() => sim.reset());
}

/** Everything that an async iterable yields. */
export async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}
