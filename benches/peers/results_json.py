"""Result lines parsed, joined by id, priced in whole picodollars and written in input order, with `json`.

The lines of one batch wait in memory for their turn. Usage: results_json.py DIR OUT; prints one line of JSON.
"""

import json
import os
import sys
import time

encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def cost_of(usage, rates):
    created = usage["cache_creation"]
    return (
        usage["input_tokens"] * rates["input"]
        + created["ephemeral_5m_input_tokens"] * rates["write_5m"]
        + created["ephemeral_1h_input_tokens"] * rates["write_1h"]
        + usage["cache_read_input_tokens"] * rates["read"]
        + usage["output_tokens"] * rates["output"]
    )


def row_of(key, message, rates):
    usage = message["usage"]
    cost = cost_of(usage, rates)
    dollars = f"{cost // 10**12}.{cost % 10**12:012}".rstrip("0").rstrip(".")
    cached = usage["cache_creation_input_tokens"] + usage["cache_read_input_tokens"] > 0
    return {
        "key": key,
        "status": "truncated" if message["stop_reason"] == "max_tokens" else "succeeded",
        "text": "".join(block["text"] for block in message["content"] if block["type"] == "text"),
        "message": message,
        "usage": usage,
        "cost_picousd": str(cost),
        "cost_usd": dollars,
        "route": "batch+cache" if cached else "batch",
        "attempts": 1,
        "error": None,
    }


def run(directory, target):
    with open(os.path.join(directory, "job.json")) as file:
        job = json.load(file)
    with open(os.path.join(directory, "ids.txt")) as file:
        ids = [line.split() for line in file]
    done = 0
    with open(target, "xb", buffering=1 << 20) as out:
        for shard in job["shards"]:
            rows = ids[done : done + shard["rows"]["to"] - shard["rows"]["from"]]
            done += len(rows)
            positions = {custom_id: position for position, (custom_id, _) in enumerate(rows)}
            lines = [None] * len(rows)
            path = os.path.join(directory, "spool", "results", f"{shard['no']:05}.jsonl")
            with open(path, "rb", buffering=1 << 20) as results:
                for line in results:
                    result = json.loads(line)
                    position = positions[result["custom_id"]]
                    message = result["result"]["message"]
                    lines[position] = encode(row_of(rows[position][1], message, job["rates"])).encode()
            for line in lines:
                out.write(line)
                out.write(b"\n")
        out.flush()
        os.fsync(out.fileno())
        return done, out.tell()


if __name__ == "__main__":
    begun = time.perf_counter()
    rows, written = run(sys.argv[1], sys.argv[2])
    seconds = time.perf_counter() - begun
    print(json.dumps({"seconds": round(seconds, 4), "rows": rows, "written": written}))
