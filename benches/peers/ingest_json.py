"""Rows of the batch shape into batch bodies: the official client's types, and `json` as the client uses it.

Keeps one row in memory. Usage: ingest_json.py INPUT DIR; prints one line of JSON.
"""

import json
import sys
import time

from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from anthropic.types.messages.batch_create_params import Request

from bodies import Bodies

encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def run(source, directory):
    bodies = Bodies(directory)
    with open(source, "rb", buffering=1 << 20) as lines:
        for line in lines:
            row = json.loads(line)
            params = MessageCreateParamsNonStreaming(**row["params"])
            request = Request(custom_id=row["custom_id"], params=params)
            bodies.push(encode(request).encode())
    return bodies.finish()


if __name__ == "__main__":
    begun = time.perf_counter()
    rows, written = run(sys.argv[1], sys.argv[2])
    seconds = time.perf_counter() - begun
    print(json.dumps({"seconds": round(seconds, 4), "rows": rows, "written": written}))
