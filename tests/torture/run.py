"""Mistreats the real binary while it runs jobs against `offpeak sim` over HTTP, and audits what comes out.

A course is one job with one simulated upstream between whose lives the process is killed (`kill -9`), stopped (SIGSTOP), cut off from
the network or left without disk, at moments drawn from the course's seed. At its end the job is left in peace, and an auditor that shares
no code with offpeak compares input, output, manifest and the upstream's own bill. Standard library only; called by `run.sh`.

What the seed does not decide is how far a process has come when it is hit: a failing course is kept on disk and named, and its seed
brings back the same job and the same plan of blows, not the same instant.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import random
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

KINDS = ["batch", "sync", "deadline", "disk"]
# Calls that the sync lane has in flight at the most, and so the most that a death can leave unknown.
IN_FLIGHT = 128
# Exit codes: all succeeded, some rows failed, stopped by the budget.
GOOD_ENDS = {0, 1}
COUNTS = ["courses", "rows", "kills", "stops", "cuts", "disks filled", "faults", "restarts"]


class Proxy:
    """Passes bytes on between a client and the upstream, until the network is cut."""

    def __init__(self, upstream):
        self.upstream, self.is_cut, self.open = upstream, False, set()
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.carry, args=(client,), daemon=True).start()

    def carry(self, client):
        server = None
        try:
            if self.is_cut:
                return
            server = socket.create_connection(self.upstream)
            with self.lock:
                self.open |= {client, server}
            with selectors.DefaultSelector() as ready:
                ready.register(client, selectors.EVENT_READ, server)
                ready.register(server, selectors.EVENT_READ, client)
                while not self.is_cut:
                    for key, _ in ready.select(0.05):
                        data = key.fileobj.recv(1 << 16)
                        if not data:
                            return
                        key.data.sendall(data)
        except OSError:
            pass
        finally:
            for end in (client, server):
                if end:
                    with self.lock:
                        self.open.discard(end)
                    end.close()

    def cut(self, seconds):
        self.is_cut = True
        with self.lock:
            for end in self.open:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
        time.sleep(seconds)
        self.is_cut = False

    def close(self):
        self.is_cut = True
        self.listener.close()


class Wrong(Exception):
    """A promise that was not kept."""


class Course:
    def __init__(self, seed, kind, offpeak, place):
        self.seed, self.kind, self.offpeak, self.place = seed, kind, offpeak, place
        self.dice = random.Random(f"{kind} {seed}")
        self.counts = dict.fromkeys(COUNTS, 0)
        self.unknown_calls, self.unknown_pico = 0, 0
        self.data, self.results = place / "data", place / "results"

    def prepare(self):
        self.data.mkdir()
        self.results.mkdir()
        dice = self.dice
        count = dice.randint(1, 40) if dice.random() < 0.2 else dice.randint(41, 600)
        preamble = "Answer with what you were asked, word for word. " * dice.choice([1, 120])
        self.keys, lines = [], []
        for number in range(count):
            key = f"row-{self.seed}-{number}"
            self.keys.append(key)
            request = {
                "model": dice.choice(["claude-haiku-5-5", "claude-sonnet-5-5"]),
                "max_tokens": 400,
                "system": preamble,
                "messages": [{"role": "user", "content": f"This is {key}."}],
            }
            lines.append(json.dumps({"custom_id": key, "params": request}) + "\n")
        (self.place / "rows.jsonl").write_text("".join(lines))
        self.counts["rows"] = count
        options = {
            "batch": ["--deadline", "none", "--expired-to-sync"],
            "sync": ["--needs", "seconds"],
            "deadline": ["--deadline", dice.choice(["3h", "8h"])],
            "disk": ["--deadline", "none", "--expired-to-sync"],
        }[self.kind]
        self.options = ["--past-guard", *options]

    def start_upstream(self):
        command = [self.offpeak, "sim", "--json", "--listen", "127.0.0.1:0", "--seed", str(self.seed)]
        command += ["--speed", str(self.dice.choice([200, 1_000, 3_000])), "--assume", "text=echo"]
        self.is_rough = self.dice.random() < 0.7
        if self.is_rough:
            command += ["--faults", "rough"]
        self.sim = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        said = json.loads("".join(iter(lambda: self.sim.stdout.readline().decode(), "}\n")) + "}")
        self.key, self.url = said["api_key"], said["base_url"]
        host, port = self.url.removeprefix("http://").rsplit(":", 1)
        self.proxy = Proxy((host, int(port)))

    def ask(self, path):
        with urllib.request.urlopen(f"{self.url}{path}") as answer:
            return json.load(answer)

    def start(self):
        self.counts["restarts"] += 1
        command = [self.offpeak, "run", self.place / "rows.jsonl", "-o", self.results / "out.jsonl", "--yes", "--json", "-q"]
        command += [*self.options, "--data-dir", self.data, "--base-url", self.proxy.url]
        environment = {**os.environ, "ANTHROPIC_API_KEY": self.key}
        self.said = open(self.place / "stderr.txt", "ab")
        self.out = open(self.place / "stdout.txt", "wb")
        return subprocess.Popen([str(part) for part in command], env=environment, stdout=self.out, stderr=self.said)

    def wait(self, run, seconds):
        try:
            return run.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def moment(self):
        """Most of what can go wrong happens early; the rest is spread over the seconds after."""
        return 10 ** self.dice.uniform(-2.3, 0.5)

    def blows(self):
        """Lives that end badly. Whether a life ended by itself before its blow is the only thing that the clock decides."""
        for _ in range(self.dice.randint(2, 6)):
            run = self.start()
            try:
                if self.wait(run, self.moment()) is not None:
                    return
                blow = self.dice.choice(["kill", "kill", "kill", "stop", "cut"])
                if blow == "stop":
                    run.send_signal(signal.SIGSTOP)
                    self.counts["stops"] += 1
                    time.sleep(self.dice.uniform(0.02, 0.5))
                    run.send_signal(signal.SIGCONT)
                elif blow == "cut":
                    self.counts["cuts"] += 1
                    self.proxy.cut(self.dice.uniform(0.02, 0.5))
                if blow != "kill" and self.wait(run, self.moment()) is not None:
                    return
                self.counts["kills"] += 1
            finally:
                run.kill()
                run.wait()

    def fill_disk(self):
        """A first life on a disk that is too small for what it keeps or for its output; then there is room."""
        if self.dice.random() < 0.5:
            self.small, kilobytes = self.data, self.dice.randint(40, 400)
        else:
            self.small, kilobytes = self.results, self.dice.randint(4, 100)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", self.small], check=True)
        run = self.start()
        code = self.wait(run, 60)
        if code is None:
            run.kill()
            run.wait()
            raise Wrong("a full disk makes it hang")
        if code not in GOOD_ENDS:
            self.counts["disks filled"] += 1
            if "space" not in (self.place / "stderr.txt").read_text():
                raise Wrong(f"exit code {code} on a full disk says nothing of space")
        subprocess.run(["mount", "-o", "remount,size=64m", self.small], check=True)

    def go(self):
        self.prepare()
        self.start_upstream()
        try:
            if self.kind == "disk":
                self.fill_disk()
            self.blows()
            run = self.start()
            code = self.wait(run, 300)
            if code is None:
                run.send_signal(signal.SIGQUIT)
                run.kill()
                run.wait()
                raise Wrong("left in peace, it does not end within five minutes")
            if code not in GOOD_ENDS:
                raise Wrong(f"left in peace, it ends with exit code {code}")
            self.audit()
        finally:
            self.proxy.close()
            self.sim.kill()
            self.sim.wait()
            if self.kind == "disk":
                subprocess.run(["umount", "-l", self.small], check=False)
        self.counts["courses"] = 1
        return self.counts

    def audit(self):
        manifest = json.loads((self.results / "out.jsonl.manifest.json").read_text())
        bill = self.ask("/_sim/bill")
        self.count_faults()
        lines = [json.loads(line) for line in (self.results / "out.jsonl").read_text().splitlines()]
        if [line["key"] for line in lines] != self.keys:
            raise Wrong("the output does not have each row of the input once and in its order")
        outcomes = {}
        for line in lines:
            outcomes[line["status"]] = outcomes.get(line["status"], 0) + 1
            if line["status"] == "succeeded" and line["key"] + "." not in line["text"]:
                raise Wrong(f"{line['key']} has the answer of another row: {line['text']!r}")
        if outcomes != manifest["outcomes"] or manifest["rows_in"] != len(self.keys):
            raise Wrong(f"outcomes {outcomes}, but the manifest says {manifest['outcomes']}")
        if bill["duplicates"]:
            raise Wrong(f"{bill['duplicates']} batch rows were paid twice")
        billed, cost = int(bill["total_picousd"]), int(manifest["cost_picousd"])
        unknown = int(manifest["unknown_picousd"])
        if not 0 <= billed - cost <= unknown:
            raise Wrong(f"the bill is {billed}, the ledger {cost} and {unknown} unknown")
        if manifest["unknown_calls"] == 0 and billed != cost:
            raise Wrong(f"a residual of {billed - cost}")
        self.unknown_calls, self.unknown_pico = manifest["unknown_calls"], unknown
        lost = self.counts["kills"] + self.counts["cuts"]
        # The upstream's log has no line for a connection that it dropped.
        dropped = self.counts["rows"] if self.is_rough else 0
        if self.unknown_calls > IN_FLIGHT * lost + dropped:
            raise Wrong(f"{self.unknown_calls} calls of unknown outcome")

    def count_faults(self):
        after, more = 0, True
        while more:
            page = self.ask(f"/_sim/requests?after={after}")
            self.counts["faults"] += sum(one.get("fault") is not None for one in page["requests"])
            more = page["has_more"]
            after = page["requests"][-1]["number"] if page["requests"] else after


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="go on until there were so many (default: 200)")
    parser.add_argument("--seed", type=int, default=1, help="the first course's")
    parser.add_argument("--only", choices=KINDS, help="one kind of course")
    parser.add_argument("--offpeak", type=pathlib.Path, default=pathlib.Path("target/release/offpeak"))
    parser.add_argument("--at-once", type=int, default=4, help="courses under way together (default: 4)")
    options = parser.parse_args()
    offpeak = options.offpeak.resolve()
    kinds = [options.only] if options.only else KINDS
    if "disk" in kinds and os.geteuid() != 0:
        print("not root: a small tmpfs cannot be mounted, so no disk is filled", file=sys.stderr)
        kinds.remove("disk")
    work = pathlib.Path(tempfile.mkdtemp(prefix="offpeak-torture-"))
    totals = dict.fromkeys(COUNTS, 0)
    unknown_calls, failed, begun, seed = 0, [], time.monotonic(), options.seed

    def course(seed):
        place = work / str(seed)
        place.mkdir()
        course = Course(seed, kinds[seed % len(kinds)], offpeak, place)
        try:
            course.go()
            shutil.rmtree(place)
        except Exception as error:  # the course is kept, and the others go on
            return course, f"seed {seed} ({course.kind}): {error!r}; kept in {place}"
        return course, None

    with concurrent.futures.ThreadPoolExecutor(options.at_once) as pool:
        running = set()
        while totals["kills"] < options.kills or running:
            while totals["kills"] < options.kills and len(running) < options.at_once:
                running.add(pool.submit(course, seed))
                seed += 1
            done, running = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
            for ended in done:
                one, wrong = ended.result()
                for name, count in one.counts.items():
                    totals[name] += count
                unknown_calls += one.unknown_calls
                if wrong:
                    failed.append(wrong)
                    print(f"\n{wrong}", file=sys.stderr)
                print(f"\r{totals['courses']} courses, {totals['kills']} kills, {len(failed)} failed ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    for name, count in totals.items():
        print(f"{name:14} {count:>8,}")
    print(f"{'unknown calls':14} {unknown_calls:>8,}   synchronous, their worst case held in the ledgers")
    print(f"{'failed':14} {len(failed):>8,}   in {time.monotonic() - begun:.0f} s")
    if not failed:
        print("rows lost 0, batch rows paid twice 0, residual 0 beyond what is held as unknown")
        shutil.rmtree(work)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
