"""A fresh simulated world for every test. `run.sh` starts the simulator and says where it is."""

from __future__ import annotations

import pytest

from simulator import Simulator


@pytest.fixture
def sim() -> Simulator:
    simulator = Simulator.from_env()
    simulator.reset()
    return simulator
