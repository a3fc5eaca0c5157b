"""Every error becomes the client's own exception; what it sends again, and what that costs."""

from __future__ import annotations

import time

import anthropic
import pytest
from anthropic import Anthropic

from simulator import Simulator

HAIKU = "claude-haiku-4-5"
ASK = {"model": HAIKU, "max_tokens": 20, "messages": [{"role": "user", "content": "Hello."}]}


@pytest.fixture
def once(client: Anthropic) -> Anthropic:
    return client.with_options(max_retries=0)


@pytest.mark.parametrize(
    ("status", "exception", "named"),
    [
        (403, anthropic.PermissionDeniedError, "permission_error"),
        (429, anthropic.RateLimitError, "rate_limit_error"),
        (500, anthropic.InternalServerError, "api_error"),
        (529, anthropic.OverloadedError, "overloaded_error"),
    ],
)
def test_provoked(once: Anthropic, sim: Simulator, status: int, exception: type, named: str) -> None:
    sim.fault(endpoint="messages", status=status, first=1)
    with pytest.raises(exception) as caught:
        once.messages.create(**ASK)
    error = caught.value
    assert (error.status_code, error.type) == (status, named)
    assert error.request_id.startswith("req_") and error.api_message
    assert sim.billed() == 0
    assert once.messages.create(**ASK).content, "once only"


def test_400(once: Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        once.messages.create(**{**ASK, "max_tokens": 9_999_999}, timeout=10)
    assert caught.value.api_message == (
        "max_tokens: 9999999 > 64000, which is the maximum allowed number of output tokens for claude-haiku-4-5-20251001"
    )
    with pytest.raises(anthropic.BadRequestError, match="nonsense: Extra inputs are not permitted"):
        once.messages.create(**ASK, extra_body={"nonsense": 1})


def test_401(sim: Simulator) -> None:
    with Anthropic(base_url=sim.url, api_key="sk-ant-invalid") as client:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            client.messages.create(**ASK)
    assert caught.value.type == "authentication_error" and caught.value.workspace_id is None


def test_403(sim: Simulator) -> None:
    with Anthropic(base_url=sim.url, api_key="sk-ant-denied") as client:
        with pytest.raises(anthropic.PermissionDeniedError):
            client.messages.create(**ASK)


def test_404(once: Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="model: no-such-model"):
        once.messages.create(**{**ASK, "model": "no-such-model"})
    with pytest.raises(anthropic.NotFoundError, match="msgbatch_01none not found"):
        once.messages.batches.retrieve("msgbatch_01none")
    with pytest.raises(anthropic.NotFoundError):
        once.get("/v1/no/such/path", cast_to=object)


def test_413(once: Anthropic) -> None:
    """The proxy in front of the API says so, in HTML."""
    with pytest.raises(anthropic.ContentTooLargeError) as caught:
        once.messages.create(**{**ASK, "messages": [{"role": "user", "content": "x" * 33_000_000}]})
    assert caught.value.status_code == 413


def test_the_spend_cap_has_no_retry_after(once: Anthropic, sim: Simulator) -> None:
    sim.fault(endpoint="messages", effect="spend_cap", first=1)
    with pytest.raises(anthropic.RateLimitError) as caught:
        once.messages.create(**ASK)
    assert caught.value.error_code == "enforced_spend_limit_reached"
    assert "retry-after" not in caught.value.response.headers


def test_a_retry_waits_as_long_as_it_is_told(client: Anthropic, sim: Simulator) -> None:
    sim.fault(endpoint="messages", status=429, retry_after=2, first=1)
    begun = time.monotonic()
    raw = client.messages.with_raw_response.create(**ASK)
    assert raw.retries_taken == 1
    assert 2 <= time.monotonic() - begun < 10
    assert [request["status"] for request in sim.requests()] == [429, 200]


def test_overload_is_retried_twice(client: Anthropic, sim: Simulator) -> None:
    sim.fault(endpoint="messages", status=529)
    with pytest.raises(anthropic.OverloadedError):
        client.messages.create(**ASK)
    assert len(sim.requests()) == 3, "the client's two retries"


def test_x_should_retry_wins_over_the_status(client: Anthropic, sim: Simulator) -> None:
    sim.fault(endpoint="messages", status=500, should_retry=False, first=1)
    with pytest.raises(anthropic.InternalServerError):
        client.messages.create(**ASK)
    assert len(sim.requests()) == 1
    sim.fault(endpoint="messages", status=400, should_retry=True, first=1)
    assert client.messages.create(**ASK).content
    assert len(sim.requests()) == 3


def test_a_reset_before_the_request_is_accepted(client: Anthropic, sim: Simulator) -> None:
    sim.fault(endpoint="messages", effect="reset_before_accept", first=1)
    assert client.messages.create(**ASK).content
    assert sim.bill()["calls"] == 1, "nothing was lost"


def test_a_lost_answer_is_paid_twice(client: Anthropic, sim: Simulator) -> None:
    """The client cannot know that the batch exists, creates it again, and both are billed. This is why offpeak writes
    down what it sends, never lets a client retry a create, and looks for a batch before it sends one again."""
    sim.fault(endpoint="create", effect="reset_after_accept", first=1)
    batch = client.messages.batches.create(requests=[{"custom_id": f"r{n}", "params": ASK} for n in range(5)])
    assert len(list(client.messages.batches.list())) == 2
    sim.advance(hours=1)
    assert client.messages.batches.retrieve(batch.id).request_counts.succeeded == 5
    bill = sim.bill()
    assert bill["batches"] == 2 and bill["rows"] == 10
    assert bill["duplicates"] == 5, "five rows were paid twice"


def test_a_lost_answer_without_retries(once: Anthropic, sim: Simulator) -> None:
    sim.fault(endpoint="create", effect="reset_after_accept", first=1)
    with pytest.raises(anthropic.APIConnectionError):
        once.messages.batches.create(requests=[{"custom_id": "a", "params": ASK}])
    assert len(list(once.messages.batches.list())) == 1
    sim.advance(hours=1)
    assert sim.bill()["duplicates"] == 0


def test_a_download_that_breaks_off(client: Anthropic, sim: Simulator) -> None:
    batch = client.messages.batches.create(requests=[{"custom_id": f"r{n}", "params": ASK} for n in range(50)])
    sim.advance(hours=1)
    sim.fault(endpoint="results", effect="truncated", first=1)
    with pytest.raises(Exception) as caught:  # noqa: B017 - whatever the client makes of half a line
        list(client.messages.batches.results(batch.id))
    assert not isinstance(caught.value, AssertionError)
    assert len(list(client.messages.batches.results(batch.id))) == 50, "the next download is whole"
