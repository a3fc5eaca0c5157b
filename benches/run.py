"""Runs all sides of the benchmarks in alternating order and prints medians and ratios as Markdown.

Called by `run.sh`, which builds and installs what is run here. Standard library only. Every side is a process of
its own that measures its own time, start-up and imports left out; its peak memory and processor time, start-up included, are what the kernel says.
"""

import argparse
import json
import os
import pathlib
import platform
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
import urllib.request

PEERS = pathlib.Path("benches/peers")
PARTS = ["ingest", "results", "durable", "recovery", "memory", "sim", "build"]


class Size:
    def __init__(self, quick):
        self.rows = 10_000 if quick else 200_000
        self.row_bytes = 2_225
        self.memory_rows = [5_000, 50_000] if quick else [100_000, 1_000_000]
        self.memory_row_bytes = 1_024
        self.recovered_rows = 20_000 if quick else 1_000_000
        self.load_seconds = 1 if quick else 4
        self.batch_rows = 5_000 if quick else 100_000
        self.batch_row_bytes = 2_000


class Side:
    """One contestant: `command` gets the place to write to as its last argument."""

    def __init__(self, name, command, prove=None, wanted=None):
        self.name, self.command, self.prove, self.wanted = name, command, prove, wanted
        self.seconds, self.peaks, self.work, self.written = [], [], [], 0


def say(text):
    print(text, file=sys.stderr, flush=True)


def measured(command, **options):
    """Output of a process, its peak resident memory in bytes, and its seconds of processor time."""
    command = [str(part) for part in command]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, **options)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}")
    return output, usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime


def answer_of(command):
    output, peak, work = measured(command)
    return json.loads(output), peak, work


def read_once(paths):
    """Puts files into the page cache, so that every side finds them there."""
    for path in paths:
        with open(path, "rb", buffering=0) as file:
            while file.read(1 << 20):
                pass


def remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def contest(title, sides, inputs, work, rounds):
    """First every side once, untimed, to prove that all make the same; then the rounds."""
    say(f"{title}: proof")
    digests = {}
    for side in sides:
        place = work / "made"
        remove(place)
        answer_of(side.command + [place])
        digests[side.name], *_ = answer_of(side.prove + [place])
        remove(place)
    if len({json.dumps(digest) for digest in digests.values()}) != 1:
        sys.exit(f"{title}: the sides do not make the same: {digests}")
    for number in range(rounds):
        order = sides if number % 2 == 0 else sides[::-1]
        for side in order:
            place = work / f"made-{number}"
            remove(place)
            read_once(inputs)
            os.sync()
            answer, peak, busy = answer_of(side.command + [place])
            remove(place)
            side.seconds.append(answer["seconds"])
            side.peaks.append(peak)
            side.work.append(busy)
            side.written = answer["written"]
            say(f"{title}, round {number + 1}: {side.name}: {answer['seconds']:.2f} s")
    read = sum(os.path.getsize(path) for path in inputs)
    return table(title, sides, read)


def table(title, sides, read):
    ours = sides[0]
    rows = []
    for side in sides:
        ratios = [theirs / mine for theirs, mine in zip(side.seconds, ours.seconds)]
        seconds = statistics.median(side.seconds)
        ratio = statistics.median(ratios)
        rows.append(
            {
                "side": side.name,
                "ratio": ratio,
                "ratios": [round(ratio, 2) for ratio in ratios],
                "wanted": side.wanted,
                "seconds": seconds,
                "mb_per_s": read / 1e6 / seconds,
                "cpu_s": statistics.median(side.work),
                "peak_mb": statistics.median(side.peaks) / 1e6,
                "written_mb": side.written / 1e6,
            }
        )
    return {"title": title, "read_mb": read / 1e6, "rows": rows}


def ingest(size, tools, work, rounds):
    bench, python = tools
    batch, csv = work / "rows.jsonl", work / "rows.csv"
    answer_of([bench, "make-batch", size.rows, size.row_bytes, batch])
    answer_of([bench, "make-csv", size.rows, size.row_bytes, csv])
    bodies = [bench, "prove-bodies"]
    spool = [bench, "prove-spool"]
    of_batch = [
        Side("offpeak", [bench, "ingest-batch", batch], spool),
        Side("bare Rust loop, raw splice", [bench, "bare-batch", batch], bodies, 0.4),
        Side("Polars", [python, PEERS / "ingest_polars.py", batch], bodies, 2),
        Side("Python client types, `json`", [python, PEERS / "ingest_json.py", batch], bodies, 10),
    ]
    of_csv = [
        Side("offpeak", [bench, "ingest-csv", csv], spool),
        Side("bare Rust loop, `csv` crate", [bench, "bare-csv", csv], bodies, 0.4),
    ]
    yield contest("Ingest, rows of the batch shape", of_batch, [batch], work, rounds)
    yield contest("Ingest, CSV and a template", of_csv, [csv], work, rounds)
    remove(batch)
    remove(csv)


def results(size, tools, work, rounds):
    bench, python = tools
    batch, job = work / "rows.jsonl", work / "job"
    remove(job)
    answer_of([bench, "make-batch", size.rows, size.row_bytes, batch])
    answer_of([bench, "make-results", batch, job])
    remove(batch)
    lines = sorted((job / "spool" / "results").iterdir())
    read_once(sorted((job / "spool" / "rows").iterdir()))
    output = [bench, "prove-output"]
    sides = [
        Side("offpeak", [bench, "results", job], output),
        Side("bare Rust loop, `serde_json`", [bench, "bare-results", job], output, 0.4),
        Side("Python, `json`", [python, PEERS / "results_json.py", job], output, 8),
    ]
    yield contest("Results", sides, lines, work, rounds)
    remove(job)


def durable(size, tools, work, rounds):
    """The same ingest on a disk that is asked to keep nothing: what it costs to be durable."""
    bench, _ = tools
    batch, spool = work / "rows.jsonl", [bench, "prove-spool"]
    answer_of([bench, "make-batch", size.rows, size.row_bytes, batch])
    sides = [
        Side("offpeak", [bench, "ingest-batch", batch], spool),
        Side("offpeak without fsync", [bench, "ingest-batch-unsynced", batch], spool, 0.9),
    ]
    yield contest("What durability costs: ingest", sides, [batch], work, rounds)
    remove(batch)


def recovery(size, tools, work, rounds):
    """A run is killed while its batches are under way, or its calls; the time from the next start to its first request."""
    yield {"title": "Recovery after kill -9", "recovery": recovered(size, tools[0], work, rounds, ["--deadline", "none"])}
    figures = recovered(size, tools[0], work, rounds, ["--needs", "seconds"])
    yield {"title": "Recovery after kill -9, of calls", "recovery": figures}


def answer_calls(bench, data):
    """Has the calls of all running shards answered, but for some: the rows and bytes of their journals."""
    store = sqlite3.connect(data / "jobs.db")
    running = store.execute("SELECT job, no, body FROM shard WHERE state = 'running'").fetchall()
    store.close()
    rows, written = 0, 0
    for job, shard, body in running:
        of = json.loads(body)["rows"]
        told, *_ = answer_of([bench, "answer-calls", data / "jobs" / job, shard, of["file"], of["from"], of["to"]])
        rows, written = rows + told["rows"], written + told["written"]
    return {"answered": rows, "journals": written}


def recovered(size, bench, work, rounds, lane):
    offpeak, place = bench.with_name("offpeak"), work / "recovery"
    remove(place)
    place.mkdir()
    batch, data, out = place / "rows.jsonl", place / "data", place / "out.jsonl"
    answer_of([bench, "make-batch", size.recovered_rows, size.memory_row_bytes, batch])
    sim = subprocess.Popen(
        [offpeak, "sim", "--json", "--listen", "127.0.0.1:0", "--clock", "virtual"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        said = json.loads("".join(iter(lambda: sim.stdout.readline().decode(), "}\n")) + "}")
        url = said["base_url"]
        environment = dict(os.environ, ANTHROPIC_API_KEY=said["api_key"])
        command = [offpeak, "run", batch, "-o", out, "--yes", "--quiet", *lane]
        command = [str(part) for part in command + ["--data-dir", data, "--base-url", url, "--past-guard"]]

        def arrived():
            with urllib.request.urlopen(f"{url}/_sim/state") as answer:
                return json.load(answer)

        def arrived_when(enough):
            """Lets a run go until the simulator has seen enough, and kills it; the seconds from its start."""
            read_once([batch])
            begun = time.monotonic()
            run = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
            try:
                while not enough(arrived()):
                    if run.poll() is not None:
                        sys.exit(f"Recovery: the run ended by itself with {run.returncode}")
                    time.sleep(0.01)
                return time.monotonic() - begun
            finally:
                run.kill()
                run.wait()

        wanted = max(1, size.recovered_rows // 100_000)
        if "--needs" in lane:
            fresh = arrived_when(lambda seen: seen["requests"] >= 10)
            journals = answer_calls(bench, data)
        else:
            fresh = arrived_when(lambda seen: sum(seen["batches"].values()) >= wanted)
            journals = {}
        seconds = []
        for number in range(rounds):
            before = arrived()["requests"]
            seconds.append(arrived_when(lambda seen: seen["requests"] > before))
            say(f"Recovery, round {number + 1}: {seconds[-1]:.2f} s")
    finally:
        sim.kill()
        sim.wait()
    remove(place)
    figures = {"rows": size.recovered_rows, "fresh": fresh, "median": statistics.median(seconds), "worst": max(seconds)}
    return figures | journals


def memory(size, tools, work, rounds):
    """Peak memory of whole runs against a simulator in another process, over loopback."""
    bench, _ = tools
    rows = []
    for count in size.memory_rows:
        runs = [whole_run(count, size.memory_row_bytes, bench, work / "run") for _ in range(min(rounds, 3))]
        rows.append({key: statistics.median(run[key] for run in runs) for key in runs[0]})
    yield {"title": "Memory of a run", "memory": rows}


def whole_run(count, row_bytes, bench, place):
    offpeak = bench.with_name("offpeak")
    remove(place)
    place.mkdir()
    batch, data, out = place / "rows.jsonl", place / "data", place / "out.jsonl"
    answer_of([bench, "make-batch", count, row_bytes, batch])
    sim = subprocess.Popen(
        [offpeak, "sim", "--json", "--listen", "127.0.0.1:0", "--speed", "1000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        served = json.loads("".join(iter(lambda: sim.stdout.readline().decode(), "}\n")) + "}")
        environment = dict(os.environ, ANTHROPIC_API_KEY=served["api_key"])
        command = [offpeak, "run", batch, "-o", out, "--yes", "--quiet", "--deadline", "none"]
        command += ["--data-dir", data, "--base-url", served["base_url"]]
        begun = time.monotonic()
        _, peak, busy = measured(command, env=environment)
        seconds = time.monotonic() - begun
    finally:
        sim.kill()
        sim.wait()
    say(f"Memory: {count} rows: {peak / 1e6:.1f} MB in {seconds:.0f} s")
    answer, *_ = answer_of([bench, "prove-output", out])
    if answer["rows"] != count:
        sys.exit(f"{count} rows in, {answer['rows']} lines out")
    read = os.path.getsize(batch) / 1e6
    remove(place)
    return {"rows": count, "peak_mb": peak / 1e6, "seconds": seconds, "cpu_s": busy, "read_mb": read}


def on_core(number, command):
    """The same command kept to one core, where there are several."""
    several = shutil.which("taskset") and os.cpu_count() > 1
    return [*(["taskset", "-c", str(number)] if several else []), *map(str, command)]


def served(command):
    """A server on the first core."""
    return subprocess.Popen(on_core(0, command), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def peak_of(process):
    """Most memory that a running process has had, in bytes."""
    for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


def sim(size, tools, work, rounds):
    """The simulator over loopback, and a bare hyper server that answers the same bytes; the load is on the other core."""
    bench, _ = tools
    generator = on_core(1, [bench])
    batch, kept = work / "rows.jsonl", work / "answer"
    answer_of([bench, "make-batch", size.batch_rows, size.batch_row_bytes, batch])
    command = [bench.with_name("offpeak"), "sim", "--json", "--listen", "127.0.0.1:0", "--clock", "virtual"]
    simulator = served(command)
    bare = None
    try:
        said = json.loads("".join(iter(lambda: simulator.stdout.readline().decode(), "}\n")) + "}")
        url, key = said["base_url"], said["api_key"]
        host = url.removeprefix("http://")
        answer_of([bench, "capture", host, key, kept])
        rows = []
        saturated, paced = [], []
        uploaded = answer_of(generator + ["upload", host, key, batch])[0]
        peak = peak_of(simulator)
        request = urllib.request.Request(f"{url}/_sim/clock", b'{"advance_s": 7200}', method="POST")
        urllib.request.urlopen(request).close()
        path = f"/v1/messages/batches/{uploaded['id']}/results"
        downloaded = answer_of(generator + ["download", host, key, path])[0]
        bare = served([bench, "bare-server", kept, downloaded["bytes"]])
        bare_host = bare.stdout.readline().decode().strip()
        bare_up = answer_of(generator + ["upload", bare_host, key, batch])[0]
        bare_down = answer_of(generator + ["download", bare_host, key, "/"])[0]
        for number in range(rounds):
            both = [host, bare_host] if number % 2 == 0 else [bare_host, host]
            load = {at: answer_of(generator + ["load", at, key, size.load_seconds, 32])[0] for at in both}
            saturated.append([load[at]["calls"] / load[at]["seconds"] for at in (host, bare_host)])
            load = {at: answer_of(generator + ["load", at, key, size.load_seconds, 64, 5_000])[0] for at in both}
            paced.append([load[at]["p99_us"] / 1e3 for at in (host, bare_host)])
            say(f"Simulator, round {number + 1}: {saturated[-1][0]:.0f} calls/s, bare {saturated[-1][1]:.0f}")
        ours, theirs = (statistics.median(column) for column in zip(*saturated))
        rows.append(["small Messages calls, one core, per second", f"{ours:,.0f}", f"{theirs:,.0f}", ours / theirs])
        ours, theirs = (statistics.median(column) for column in zip(*paced))
        rows.append(["p99 at 5,000 calls a second, ms", f"{ours:.1f}", f"{theirs:.1f}", theirs / ours])
        title = f"a batch of {size.batch_rows:,} rows, {uploaded['bytes'] / 1e6:.0f} MB, accepted, s"
        ours, theirs = uploaded["seconds"], bare_up["seconds"]
        rows.append([title, f"{ours:.2f}", f"{theirs:.2f}", theirs / ours])
        ours, theirs = (down["bytes"] / 1e6 / down["seconds"] for down in (downloaded, bare_down))
        rows.append(["its results, MB/s", f"{ours:,.0f}", f"{theirs:,.0f}", ours / theirs])
        yield {"title": "Simulator", "sim": rows, "peak": peak / uploaded["bytes"]}
    finally:
        for process in (simulator, bare):
            if process:
                process.kill()
                process.wait()
        remove(batch)


def build(_size, _tools, work, _rounds):
    """A build from nothing but downloaded sources, with the default features, on all cores there are."""
    target = work / "build"
    remove(target)
    subprocess.run(["cargo", "fetch", "--locked"], check=True)
    begun = time.monotonic()
    environment = dict(os.environ, CARGO_TARGET_DIR=str(target.resolve()))
    subprocess.run(["cargo", "build", "--release", "--locked"], check=True, env=environment)
    seconds = time.monotonic() - begun
    size = (target / "release" / "offpeak").stat().st_size / 1e6
    remove(target)
    yield {"title": "Cold release build", "build": {"seconds": seconds, "binary_mb": size}}


def machine():
    """What the figures depend on."""
    processor = platform.processor() or platform.machine()
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                processor = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True)
    pinned = pathlib.Path("benches/requirements.txt").read_text().splitlines()
    peers = ", ".join(line.replace("==", " ") for line in pinned if "==" in line)
    return [
        f"{os.cpu_count()} × {processor}, {memory_gb:.0f} GiB, {platform.system()} {platform.release()}",
        f"{rustc.stdout.strip()}, Python {platform.python_version()}, {peers}",
    ]


def markdown(part):
    lines = [f"### {part['title']}", ""]
    if "rows" in part:
        lines += [
            f"Input: {part['read_mb']:.0f} MB.",
            "",
            "| | offpeak's speed over it | target | range | median s | MB/s | CPU s | peak MB | written MB |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for row in part["rows"]:
            wanted = f"≥ {row['wanted']:g}" if row["wanted"] else ""
            span = f"{min(row['ratios']):.2f}–{max(row['ratios']):.2f}" if row["wanted"] else ""
            ratio = f"**{row['ratio']:.2f}**" if row["wanted"] else "1"
            lines.append(
                f"| {row['side']} | {ratio} | {wanted} | {span} | {row['seconds']:.2f} | {row['mb_per_s']:.0f} "
                f"| {row['cpu_s']:.2f} | {row['peak_mb']:.0f} | {row['written_mb']:.0f} |"
            )
    elif "memory" in part:
        lines += ["| rows | input MB | peak MB | s | CPU s |", "|---|---|---|---|---|"]
        for row in part["memory"]:
            peak, seconds = row["peak_mb"], row["seconds"]
            lines.append(f"| {row['rows']:,} | {row['read_mb']:.0f} | {peak:.1f} | {seconds:.0f} | {row['cpu_s']:.0f} |")
        peaks = [row["peak_mb"] for row in part["memory"]]
        lines += ["", f"Ten times the rows take {peaks[-1] / peaks[0]:.2f} times the memory."]
    elif "recovery" in part:
        made = part["recovery"]
        taken = f"{made['median']:.2f} s (worst {made['worst']:.2f} s)"
        lines.append(f"A job of {made['rows']:,} rows, from the start of the process to its first request: {taken}.")
        if "journals" in made:
            lines.append(f"{made['answered']:,} calls were answered, in journals of {made['journals'] / 1e6:.0f} MB.")
        else:
            lines.append(f"Until all its batches were sent the first time: {made['fresh']:.1f} s.")
    elif "sim" in part:
        lines += ["| | simulator | bare server | ratio |", "|---|---|---|---|"]
        lines += [f"| {what} | {ours} | {theirs} | {ratio:.2f} |" for what, ours, theirs, ratio in part["sim"]]
        lines += ["", f"Peak memory while the batch is accepted: {part['peak']:.2f} times its body."]
    else:
        made = part["build"]
        lines.append(f"{made['seconds']:.0f} s; the binary has {made['binary_mb']:.1f} MB.")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything runs")
    parser.add_argument("--rounds", type=int, default=5, help="timed runs of every side")
    parser.add_argument("--only", help=f"some of {','.join(PARTS)}; by default all but build")
    parser.add_argument("--target", type=pathlib.Path, default=pathlib.Path("target"))
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("there has to be a round")
    parts = options.only.split(",") if options.only else PARTS[:-1]
    unknown = set(parts) - set(PARTS)
    if unknown:
        parser.error(f"no part is called {', '.join(sorted(unknown))}")
    work = options.target / "bench" / "work"
    remove(work)
    work.mkdir(parents=True)
    tools = (options.target / "release" / "offpeak-bench", options.target / "bench" / "venv" / "bin" / "python")
    figures = []
    print("\n".join(machine()) + "\n")
    for part in parts:
        run = {
            "ingest": ingest,
            "results": results,
            "durable": durable,
            "recovery": recovery,
            "memory": memory,
            "sim": sim,
            "build": build,
        }[part]
        for made in run(Size(options.quick), tools, work, options.rounds):
            figures.append(made)
            print(markdown(made), flush=True)
    (options.target / "bench" / "figures.json").write_text(json.dumps(figures, indent=1))
    remove(work)


if __name__ == "__main__":
    main()
