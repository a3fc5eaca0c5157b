"""100,000 long answers through the official client: nearly 2 GB of results, while neither it nor the simulator grows.
Prints what it measured, and fails when either does. `run.sh large` starts the simulator with answers of this length."""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

from anthropic import Anthropic

from simulator import KEY, Simulator

ROWS = int(os.environ.get("OFFPEAK_LARGE_ROWS", "100000"))
# What a process may gain between the first tenth of the download and its end.
SLACK_MB = 40


def mb(pid: int | str, field: str = "VmRSS") -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise ValueError(field)


def main() -> None:
    sim = Simulator.from_env()
    sim.reset()
    server = os.environ["OFFPEAK_SIM_PID"]
    with Anthropic(base_url=sim.url, api_key=KEY) as client:
        row = {
            "model": "claude-haiku-4-5",
            "max_tokens": 8_000,
            "messages": [{"role": "user", "content": "Write a long report."}],
        }
        requests = [{"custom_id": f"r{n}", "params": row} for n in range(ROWS)]
        begun = time.monotonic()
        batch = client.messages.batches.create(requests=requests)
        created = time.monotonic() - begun
        del requests
        sim.advance(hours=1)
        assert client.messages.batches.retrieve(batch.id).request_counts.succeeded == ROWS

        early, size, seen = (0.0, 0.0), 0, 0
        begun = time.monotonic()
        for seen, result in enumerate(client.messages.batches.results(batch.id), start=1):
            size += len(result.result.message.content[0].text)
            if seen == ROWS // 10:
                early = (mb("self"), mb(server))
        took = time.monotonic() - begun
        late = (mb("self"), mb(server))

    assert seen == ROWS
    print(f"python: {ROWS:,} rows created in {created:.1f} s; {size / 1e9:.2f} GB of text read in {took:.0f} s")
    print(f"        {size / 1e6 / took:.0f} MB/s, which is the speed of the client")
    for name, before, after in zip(["client", "simulator"], early, late, strict=True):
        print(f"        {name}: {before:.0f} MB after a tenth, {after:.0f} MB at the end")
        assert after - before < SLACK_MB, f"the {name} grew"
    print(f"        highest: client {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB,", end=" ")
    print(f"simulator {mb(server, 'VmHWM'):.0f} MB")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
