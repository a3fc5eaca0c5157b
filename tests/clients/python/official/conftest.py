"""The official client, set to refuse every answer that its own schema does not allow."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from anthropic import Anthropic, AsyncAnthropic

from simulator import KEY, Simulator


@pytest.fixture
def client(sim: Simulator) -> Iterator[Anthropic]:
    with Anthropic(base_url=sim.url, api_key=KEY, _strict_response_validation=True) as client:
        yield client


@pytest.fixture
def async_client(sim: Simulator) -> AsyncAnthropic:
    """To be closed by the test, in its own event loop."""
    return AsyncAnthropic(base_url=sim.url, api_key=KEY, _strict_response_validation=True)
