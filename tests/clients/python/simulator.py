"""The simulator's control endpoints, for tests: its clock, its faults, its bill. No client library, so that the suites of
all clients can share it."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from typing import Any

KEY = "sk-ant-api03-simulated"


class Simulator:
    """A running `offpeak sim`, whose clock is moved by hand."""

    def __init__(self, url: str) -> None:
        self.url = url

    @classmethod
    def from_env(cls) -> Simulator:
        return cls(os.environ["OFFPEAK_SIM_URL"])

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data, {"content-type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = response.read()
        return json.loads(answer) if answer else None

    def reset(self) -> None:
        """Back to an empty world without faults."""
        self.call("POST", "/_sim/reset", {})

    def advance(self, *, seconds: float = 0, minutes: float = 0, hours: float = 0) -> None:
        self.call("POST", "/_sim/clock", {"advance_s": round(seconds + 60 * minutes + 3600 * hours)})

    def fault(self, *rules: dict[str, Any], **rule: Any) -> None:
        """What goes wrong from now on, in the words of a faults file; instead of what went wrong before."""
        self.call("POST", "/_sim/faults", {"rule": [*rules, *([rule] if rule else [])]})

    def bill(self) -> dict[str, Any]:
        return self.call("GET", "/_sim/bill")

    def billed(self) -> int:
        """Picodollars, of everything so far."""
        return int(self.bill()["total_picousd"])

    def requests(self, after: int = 0) -> list[dict[str, Any]]:
        """What arrived, without the control calls."""
        return self.call("GET", f"/_sim/requests?after={after}")["requests"]


def wait_until(reached: Any, seconds: float = 10) -> None:
    """For what a client does in its own time."""
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.01)
