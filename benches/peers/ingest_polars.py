"""Rows of the batch shape into batch bodies with Polars: parsed into columns, written as JSON again.

Usage: ingest_polars.py INPUT DIR; prints one line of JSON.
"""

import json
import os
import sys
import time

import polars as pl

from bodies import BYTES_MAX, HEAD, ROWS_MAX, TAIL

ROW = pl.Schema(
    {
        "custom_id": pl.String,
        "params": pl.Struct(
            {
                "model": pl.String,
                "max_tokens": pl.Int64,
                "system": pl.String,
                "messages": pl.List(pl.Struct({"role": pl.String, "content": pl.String})),
            }
        ),
    }
)


def rows_of(source):
    return pl.scan_ndjson(source, schema=ROW).select(
        row=pl.struct("custom_id", "params").struct.json_encode()
    )


def run(frame, directory):
    os.makedirs(directory, exist_ok=True)
    frame = frame.collect(engine="streaming")
    ends = frame.select((pl.col("row").str.len_bytes().cast(pl.Int64) + 1).cum_sum())["row"]
    written = done = files = 0
    while done < len(frame):
        base = int(ends[done - 1]) if done else 0
        fits = int(ends.search_sorted(base + BYTES_MAX - len(HEAD) - len(TAIL), side="right"))
        end = max(done + 1, min(fits, done + ROWS_MAX))
        with open(os.path.join(directory, f"{files:05}.json"), "xb") as file:
            file.write(HEAD)
            # The fastest way there is to write many strings, if commas are taken for line ends.
            frame[done:end].write_csv(
                file, include_header=False, quote_style="never", line_terminator=","
            )
            file.seek(-1, os.SEEK_CUR)
            file.write(TAIL)
            file.flush()
            os.fsync(file.fileno())
            written += file.tell()
        files += 1
        done = end
    folder = os.open(directory, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    return len(frame), written


if __name__ == "__main__":
    begun = time.perf_counter()
    rows, written = run(rows_of(sys.argv[1]), sys.argv[2])
    seconds = time.perf_counter() - begun
    print(json.dumps({"seconds": round(seconds, 4), "rows": rows, "written": written}))
