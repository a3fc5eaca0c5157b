// The simulator's control endpoints, for tests: its clock, its faults, its bill. No client library, so that all suites
// can share it.

export const KEY = "sk-ant-api03-simulated";

export interface Bill {
  total_picousd: string;
  calls: number;
  rows: number;
  batches: number;
  duplicates: number;
}

export interface Seen {
  status: number;
  path: string;
  key: string;
}

export class Simulator {
  readonly url: string;

  constructor() {
    const url = process.env["OFFPEAK_SIM_URL"];
    if (url === undefined) throw new Error("OFFPEAK_SIM_URL is not set; use tests/clients/run.sh");
    this.url = url;
  }

  async call<T>(method: "GET" | "POST", path: string, body?: unknown): Promise<T> {
    const response = await fetch(this.url + path, {
      method,
      headers: { "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return (text === "" ? null : JSON.parse(text)) as T;
  }

  /** Back to an empty world without faults. */
  async reset(): Promise<void> {
    await this.call("POST", "/_sim/reset", {});
  }

  async advance(seconds: number): Promise<void> {
    await this.call("POST", "/_sim/clock", { advance_s: seconds });
  }

  /** What goes wrong from now on, in the words of a faults file; instead of what went wrong before. */
  async fault(...rule: Record<string, unknown>[]): Promise<void> {
    await this.call("POST", "/_sim/faults", { rule });
  }

  bill(): Promise<Bill> {
    return this.call("GET", "/_sim/bill");
  }

  /** Picodollars, of everything so far. */
  async billed(): Promise<bigint> {
    return BigInt((await this.bill()).total_picousd);
  }

  /** What arrived, without the control calls. */
  async requests(): Promise<Seen[]> {
    return (await this.call<{ requests: Seen[] }>("GET", "/_sim/requests?after=0")).requests;
  }
}
